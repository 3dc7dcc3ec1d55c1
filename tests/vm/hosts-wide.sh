#!/bin/bash
# What two hosts do together, each being backend and client of the other one where it can be:
# races for a slot, upgrades and a loss of power under load, file systems with thousands of
# files, programs of QEMU and a virtual machine in a host, and devices that are not as they
# should be.
#
# usage: build/run tests/vm/hosts-wide.sh [CASE]...
#        cases: those of $all_cases
#
# Exits as automake wants it: 0 passed, 1 failed, 77 skipped, 99 broken.
# CBD_VM_KEEP=1 keeps the run folder; RACES, FILES: how many (50, 8000).

# shellcheck disable=SC2016 # what is sent is expanded by the host
set -eEuo pipefail
trap 'echo "hosts-wide.sh: line $LINENO: $BASH_COMMAND: failed" >&2' ERR

# shellcheck source=remote.sh
. "$(dirname "$0")/remote.sh"

all_cases="races:hardware races:software mutual:hardware mutual:software files qemu devices"
races=${RACES:-50}
files=${FILES:-8000}

# vda of both is their own, of a size that XFS takes.
boots() # HOST...
{
	local host

	for host in "$@"; do
		truncate -s 320M "$LAB_RUN/disk-$host"
		boot "$host" -drive "if=none,id=disk,format=raw,discard=unmap,file=$LAB_RUN/disk-$host" \
			-device "virtio-blk-pci,bus=pcie.0,drive=disk,serial=disk-of-$host"
	done
	for host in "$@"; do
		is_up "$host"
	done
}

format() # MODE
{
	quietly A "cbdctl format --force --coherence=$1 --backends 8 --heartbeat 200 --dead-after 20 $dev"
}

sound()
{
	quietly A "cbdctl check $dev; no_error"
	quietly B no_error
}

# --- Races

# Exactly one has won each round, and the other one was told REASON.
one_won() # NAME REASON
{
	local i wins=(0 0)

	for ((i = 0; i < races; i++)); do
		case "$(cat "$LAB_RUN/race-$1-result-$i-1") / $(cat "$LAB_RUN/race-$1-result-$i-2")" in
		"won / "*"$2"*) wins[0]=$((wins[0] + 1)) ;;
		*"$2"*" / won") wins[1]=$((wins[1] + 1)) ;;
		*) fail "$1, round $i: $(tail -v "$LAB_RUN/race-$1-result-$i-"*)" ;;
		esac
	done
	say "$1: A has won ${wins[0]} times, B ${wins[1]} times"
	rm -f "$LAB_RUN/race-$1-"*
}

races() # MODE
{
	local host

	format "$1"
	for host in A B; do
		quietly $host "truncate -s 16M /run/disk"
		send $host "race slot $races /run/slot.pid serve 1 slot /run/disk"
	done
	for host in A B; do
		answer $host $((races * 4)) || fail "on host $host: $(cat "$LAB_RUN/said")"
	done
	one_won slot "is owned by host"
	quietly B "serve 2 client /run/disk"
	for host in A B; do
		send $host "race client $races /run/client.nbdkit attach client"
	done
	for host in A B; do
		answer $host $((races * 4)) || fail "on host $host: $(cat "$LAB_RUN/said")"
	done
	one_won client "has its maximum of blkdevs attached"
	quietly B "end /run/client.pid"
	sound
}

# --- Each is backend and client of the other

# Sets done_now.
requests() # HOST
{
	quietly "$1" "awk '{ print \$1 + \$5 }' /sys/block/nbd0/stat"
	done_now=$(cat "$LAB_RUN/said")
}

# Requests of each are answered, from now.
await_flow() # HOST...
{
	local host was end

	for host in "$@"; do
		end=$((SECONDS + $(patience 60)))
		requests "$host"
		was=$done_now
		until [ "$done_now" -gt $((was + 30)) ]; do
			[ ! -s "$LAB_RUN/fio.errors" ] || fail "fio says: $(cat "$LAB_RUN/fio.errors")"
			[ $SECONDS -lt $end ] || fail "host $host's requests are not answered"
			sleep 0.5
			requests "$host"
		done
	done
}

# The names of A's disk is a, that of B's is b; each has the other one's mounted.
declare -A id=([A]=1 [B]=2) own=([A]=a [B]=b) peer=([A]=b [B]=a)

serve_own() # HOST [OPTION]...
{
	quietly "$1" "serve ${id[$1]} ${own[$1]} --direct --write-through ${*:2} /dev/vda"
}

mutual() # MODE
{
	local host i

	say "$1: A and B are backend and client of each other"
	format "$1"
	: >"$LAB_RUN/fio.errors"
	for host in A B; do
		serve_own $host
	done
	for host in A B; do
		quietly $host "attach ${peer[$host]}; connect ${peer[$host]} /dev/nbd0 $((320 << 20))
			mkfs.ext4 -q /dev/nbd0; mount /dev/nbd0 /mnt
			head -c 3000003 /dev/urandom >/mnt/kept; sync -f /mnt/kept
			sha256sum /mnt/kept >/lab/sums-$host; verify_start"
	done
	await_flow A B
	say "both backends are killed"
	for host in A B; do
		quietly $host "kill -9 \$(cat /run/${own[$host]}.pid)"
	done
	for host in A B; do
		serve_own $host
	done
	await_flow A B
	say "ten upgrades of each"
	for i in {1..10}; do
		for host in A B; do
			serve_own $host --takeover
		done
	done
	await_flow A B
	say "B loses its power, and boots"
	power_off B
	boots B
	serve_own B
	quietly B "attach a; connect a /dev/nbd0 $((320 << 20))
		e2fsck -p /dev/nbd0 || [ \$? -eq 1 ]; e2fsck -fn /dev/nbd0; mount /dev/nbd0 /mnt
		sha256sum -c /lab/sums-B; verify_start"
	await_flow A B
	for host in A B; do
		quietly $host "verify_stop; echo 3 >/proc/sys/vm/drop_caches
			sha256sum -c /lab/sums-$host; umount /mnt; e2fsck -fn /dev/nbd0
			disconnect /dev/nbd0; end /run/${peer[$host]}.nbdkit"
	done
	for host in A B; do
		quietly $host "end /run/${own[$host]}.pid"
	done
	sound
}

# --- File systems

files()
{
	say "ext4 on one connection, xfs on four, $files files in each"
	format hardware
	quietly B "serve 1 ext4 --direct /dev/vda
		truncate -s 320M /run/disk; serve 2 xfs --handlers 2 /run/disk"
	quietly A "modprobe xfs; attach ext4; attach xfs queues=2
		connect ext4 /dev/nbd0 $((320 << 20))
		connect xfs /dev/nbd1 $((320 << 20)) -C 4 -timeout 86400"
	quietly A "many_files ext4 /dev/nbd0 ext4 $files"
	quietly A "many_files xfs /dev/nbd1 xfs $files"
	quietly A "echo 3 >/proc/sys/vm/drop_caches
		same_files ext4 /dev/nbd0; same_files xfs /dev/nbd1
		disconnect /dev/nbd0; disconnect /dev/nbd1; end /run/{ext4,xfs}.nbdkit"
	quietly B "end /run/{ext4,xfs}.pid; modprobe xfs
		same_files ext4 /dev/vda
		losetup /dev/loop0 /run/disk; same_files xfs /dev/loop0; losetup -d /dev/loop0"
	sound
}

# --- QEMU

# NBD URI and QEMU's older form name the same disk.
qemu()
{
	local uri='nbd+unix:///?socket=/run/vm.sock' old=nbd:unix:/run/vm.sock

	say "qemu-img, and a virtual machine in a host, whose disk is on the other host"
	as --32 -o "$LAB_RUN/boot.o" "$here/boot-sector.S"
	objcopy -O binary -j .text "$LAB_RUN/boot.o" "$LAB_RUN/boot.bin"
	{ cat "$LAB_RUN/boot.bin" && echo "booted from cbd"; } >"$LAB_RUN/image"
	truncate -s 16M "$LAB_RUN/image"
	format hardware
	quietly B "truncate -s 16M /run/disk; serve 1 vm /run/disk"
	quietly A "attach vm"
	for from in "$uri" "$old"; do
		quietly A "qemu-img info --output=json '$from' | jq -e '.\"virtual-size\" == $((16 << 20))'"
		quietly A "qemu-img convert -n -f raw -O raw /lab/image '$from'"
		quietly A "qemu-img compare -f raw -F raw /lab/image '$from'"
		quietly A "qemu-img convert -f raw -O qcow2 '$from' /run/copy"
		quietly A "qemu-img compare -f qcow2 -F raw /run/copy '$from'"
		quietly A 'rm -f /run/serial; rc=0
			timeout '"$(limit 60)"' qemu-system-x86_64 -accel tcg -m 32 -display none -nic none \
				-drive "file='"$from"',format=raw" -serial file:/run/serial \
				-device isa-debug-exit,iobase=0xf4,iosize=4 -no-reboot || rc=$?
			[ $rc = 1 ] && grep "^booted from cbd" /run/serial'
	done
	quietly A "end /run/vm.nbdkit"
	quietly B "end /run/vm.pid"
	quietly B 'cmp -i 512:1024 -n 512 /run/disk /run/disk; cmp -n 1024 /run/disk /lab/image'
	sound
}

# --- Devices

devices()
{
	say "a second node of the device, a device in another mode, odd sizes"
	format hardware
	quietly B "truncate -s 16M /run/disk; serve 1 one /run/disk"
	# of the same host: the other one is not affected, nor is what runs there
	quietly B 'mknod /run/dax c $((0x$(stat -c %t /dev/dax0.0))) $((0x$(stat -c %T /dev/dax0.0)))
		cbdctl list /run/dax'
	quietly B "truncate -s 16M /run/disk-2"
	refused B "cbd-backend -t /run/dax --id 1 -P /run/x.pid /run/disk-2" "under another device node"
	refused B "cbd-backend -t /run/dax --id 1 --takeover -P /run/x.pid /run/disk-2" \
		"under another device node"
	refused B "cbdctl clear backend 1 /run/dax" "is alive"
	refused B "cbdctl format --force /run/dax" "is alive"
	quietly B "cbd-backend -t /run/dax --id 2 --name two -P /run/two.pid /run/disk-2"
	quietly A "attach one; attach two
		nbdinfo --size 'nbd+unix:///?socket=/run/two.sock'"
	quietly A "timeout $(limit 60) qemu-io -f raw -c 'write -P 5 0 1M' -c 'read -P 5 0 1M' \
		'nbd+unix:///?socket=/run/two.sock'
		end /run/{one,two}.nbdkit"
	quietly B "end /run/{one,two}.pid"
	quietly A "cbdctl check $dev"
	quietly A "daxctl disable-device dax0.0"
	refused A "cbdctl list $dev" "it is disabled"
	quietly A "modprobe kmem; daxctl reconfigure-device --mode=system-ram --no-online dax0.0"
	refused A "cbdctl list $dev" "it is in system-ram mode"
	refused A "cbdctl format --force $dev" "it is in system-ram mode"
	refused A "cbd-backend -t $dev --id 1 /dev/vda" "it is in system-ram mode"
	refused A "nbdkit -f -U /run/x.sock cbd $dev backend=1" "it is in system-ram mode"
	quietly A "daxctl reconfigure-device --force --mode=devdax dax0.0; cbdctl list $dev"
	# the device is mapped in pieces of 2 MiB; a transport in it may have any size
	refused A "cbdctl format --force --size 600M $dev" "the device has"
	quietly A "cbdctl format --force --size 100000001 $dev && cbdctl check $dev"
}

[ $# -gt 0 ] || eval "set -- $all_cases"
requires nbdkit nbd-client mkfs.ext4 e2fsck mkfs.xfs xfs_repair fio jq sha256sum qemu-img qemu-io as
build_lab
trap remove_run_folder EXIT
trap 'exit 99' INT TERM HUP
new_run_folder 700 "$here/demo-guest.sh" "$here/hosts-guest.sh"
cp "$here/demo.fio" "$LAB_RUN/"
"$here/lab.sh" prepare
boots A B
for case in "$@"; do
	mode=${case#*:}
	"${case%:*}" "$mode"
done
switch_off A B
say "all was as it should be"
