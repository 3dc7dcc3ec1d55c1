#!/bin/bash
# The smoke tests in guests: the real programs on a devdax device. This script owns
# the verdict; the guests belong to lab.sh, and what the hosts do is in
# CASE-host1.sh and CASE-host2.sh. A boot is what costs most, so cases share one.
#
# usage: smoke.sh hosts    two hosts, the cases of $hosts_cases
#        smoke.sh block    one host, and its block devices
#        smoke.sh ublk     one host, and devices of cbd-ublk: no part of check-vm
#        smoke.sh ublk-fs       file systems and what else the kernel puts on them
#        smoke.sh ublk-bench    and how fast they are, beside nbd-client
#
# Exits as automake wants it: 0 passed, 1 failed, 77 skipped, 99 broken.
# abs_top_builddir is the build tree under test, abs_top_srcdir its source;
# CBD_VM_KEEP=1 keeps the run folder, CBD_VM_CASES names cases of two hosts to run.

set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd -P)
: "${abs_top_srcdir:=$(cd "$here/../.." && pwd -P)}"
PATH=$PATH:/usr/sbin:/sbin
# shellcheck source=../factor.sh
. "$here/../factor.sh"
# shellcheck source=verdict.sh
. "$here/verdict.sh"

hosts_cases="smoke:hardware smoke:software host-id"

clean_up()
{
	if [ -n "${CBD_VM_KEEP:-}" ]; then
		echo "smoke.sh: the run folder is $LAB_RUN"
	else
		"$here/lab.sh" clean
	fi
}

new_run_folder()
{
	LAB_RUN=$(mktemp -d "${TMPDIR:-/tmp}/cbd-vm.XXXXXX")
	export LAB_RUN
	trap clean_up EXIT
	trap 'exit 99' INT TERM HUP
	cp "$here/guest-lib.sh" "$here/ublk-lib.sh" "$LAB_RUN/"
	# a guest does not see the load of this machine
	printf 'RUN=%q\nSRC=%q\nCASES=%q\nCBD_TEST_FACTOR=%s\n' "$abs_top_builddir/run" \
		"$abs_top_srcdir" "$1" "$(factor)" >"$LAB_RUN/settings"
	# what the integration tests of this machine leave out
	[ -w /dev/loop-control ] || loops=yes
	echo "LOOPS=${loops-}" >>"$LAB_RUN/settings"
	echo "BENCH_ROUNDS=${BENCH_ROUNDS-} BENCH_SECONDS=${BENCH_SECONDS-}" \
		"BENCH_COHERENCE=${BENCH_COHERENCE-}" >>"$LAB_RUN/settings"
}

report() # NODE FILE...
{
	local file

	for file in "${@:2}"; do
		echo "---- host $1: $file"
		tail -n 100 "$LAB_RUN/node-$1/$file" 2>&1 || true
	done
}

# The host sees by the files behind them what a discard has freed.
virtio_disks() # SIZE SECTOR...
{
	local sector

	for sector in "${@:2}"; do
		truncate -s "$1" "$LAB_RUN/disk-$sector"
		LAB_EXTRA+=" -drive if=none,id=d$sector,format=raw,discard=unmap"
		LAB_EXTRA+=",file=$LAB_RUN/disk-$sector"
		LAB_EXTRA+=" -device virtio-blk-pci,bus=pcie.0,drive=d$sector"
		LAB_EXTRA+=",logical_block_size=$sector,physical_block_size=4096"
	done
	export LAB_EXTRA
}

run_guests() # SCRIPT OF EACH HOST...
{
	local rc=0 node scripts=("$@")

	LAB_TIMEOUT=${LAB_TIMEOUT:-$(limit 240)}
	export LAB_TIMEOUT
	export LAB_SHOW=$abs_top_srcdir$'\n'$abs_top_builddir
	"$here/lab.sh" run "${scripts[@]}" || rc=$?
	for node in $(seq ${#scripts[@]}); do
		report "$node" out
		[ "$rc" = 0 ] || report "$node" console qemu.log
	done
	case $rc in
	0 | 1) return "$rc" ;;
	*) broken "lab.sh ended with $rc" ;;
	esac
}

case ${1:-} in
hosts) cases=${CBD_VM_CASES:-$hosts_cases} scripts=("$here/guest-cases.sh"{,}) ;;
block) cases='' scripts=("$here/block-host1.sh") ;;
ublk | ublk-fs | ublk-bench)
	cases='' scripts=("$here/$1-host1.sh")
	: "${LAB_KERNEL:=k612}" "${LAB_TIMEOUT:=$(limit 400)}" "${LAB_SMP:=2}"
	export LAB_KERNEL LAB_SMP
	;;
*) broken "usage: smoke.sh hosts|block|ublk|ublk-fs|ublk-bench" ;;
esac
: "${abs_top_builddir:=$(find_build)}" "${LAB_EXTRA:=}"
case $1 in
ublk-fs) requires fio mkfs.xfs mkfs.btrfs parted sfdisk lvm cryptsetup ;;
ublk-bench) requires fio ;;
esac
requires nbdkit nbd-client nbdinfo qemu-img mkfs.ext4 e2fsck jq sha256sum
[ -x "$abs_top_builddir/run" ] || broken "$abs_top_builddir: not built"
build_lab
new_run_folder "$cases"
case $1 in
block) virtio_disks 96M 512 4096 ;;
ublk-fs) virtio_disks 384M 4096 ;;
esac
run_guests "${scripts[@]}"
