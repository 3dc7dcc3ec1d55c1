#!/bin/bash
# Two hosts lose their power, one after the other and both at once, stand still for longer
# than the time after which they are suspect, and a third one takes a disk over. Host A
# writes to three disks of host B all the time: a block device with --direct and a file, with
# a program that knows what was flushed (flush-io.py), and a file with --write-through, with a
# file system that fio verifies. What was flushed is there, one flush tells of what was lost, the
# file system sees no error, and no client is cut off.
#
# usage: build/run tests/vm/hosts-power.sh [hardware|software]...
#
# Exits as automake wants it: 0 passed, 1 failed, 77 skipped, 99 broken.
# CBD_VM_KEEP=1 keeps the run folder; ACTS names the acts to do, functions of this script.

# shellcheck disable=SC2016 # what is sent is expanded by the host
set -eEuo pipefail
trap 'echo "hosts-power.sh: line $LINENO: $BASH_COMMAND: failed" >&2' ERR

# shellcheck source=remote.sh
. "$(dirname "$0")/remote.sh"

size=$((48 << 20))
dead_s=5 # (dead-after + 1) x heartbeat, and some

fail()
{
	echo "hosts-power.sh: $*" >&2
	hosts_said
	tail -n 5 "$LAB_RUN"/*.errors >&2 || true
	exit 1
}

# --- The hosts

# B and C are in front of the same storage; vdb is B's alone.
boot_host() # HOST
{
	local extra=()

	if [ "$1" != A ]; then
		extra+=(-drive "if=none,id=disk,format=raw,file=$LAB_RUN/disk"
			-device "virtio-blk-pci,bus=pcie.0,drive=disk,serial=array-7-disk-1,share-rw=on")
	fi
	if [ "$1" = B ]; then
		extra+=(-drive "if=none,id=own,format=raw,file=$LAB_RUN/own"
			-device "virtio-blk-pci,bus=pcie.0,drive=own")
	fi
	boot "$1" "${extra[@]}"
}

boots() # HOST...
{
	local host

	for host in "$@"; do
		boot_host "$host"
	done
	for host in "$@"; do
		is_up "$host"
	done
}

serve_direct()
{
	quietly "$1" "serve 1 direct --direct /dev/vda"
}

serve_files()
{
	quietly B "mountpoint -q /disk || mount_disk /dev/vdb
		touch /disk/file /disk/through
		truncate -s $size /disk/file /disk/through
		serve 2 file /disk/file
		serve 3 through --write-through /disk/through"
}

attach_all()
{
	quietly A "attach direct; attach file; attach through
		connect through /dev/nbd0 $size"
}

# --- What A does

load_start()
{
	: >"$LAB_RUN/fio.errors"
	quietly A "flush_start direct; flush_start file; verify_start"
	await_flow
}

load_stop()
{
	quietly A "flush_stop direct; flush_stop file; verify_stop"
	no_errors
	jq -c . "$LAB_RUN"/{direct,file}.result
}

no_errors()
{
	local name

	for name in direct file fio; do
		[ ! -s "$LAB_RUN/$name.errors" ] || fail "$name: $(cat "$LAB_RUN/$name.errors")"
	done
}

lines() # FILE
{
	{ wc -l <"$1"; } 2>/dev/null || echo 0
}

# Sets done_now: lines of the logs, and requests of fio.
progress()
{
	quietly A "cut -c1-40 /sys/block/nbd0/stat | awk '{ print \$1 + \$5 }'"
	done_now=("$(lines "$LAB_RUN/direct.log")" "$(lines "$LAB_RUN/file.log")"
		"$(cat "$LAB_RUN/said")")
}

# All three have gone on, from now.
await_flow()
{
	local end=$((SECONDS + $(patience 60))) was i

	progress
	was=("${done_now[@]}")
	for i in 0 1 2; do
		until [ "${done_now[i]}" -gt $((was[i] + 15)) ]; do
			no_errors
			[ $SECONDS -lt $end ] ||
				fail "A's requests are not answered: ${was[*]}, ${done_now[*]}"
			sleep 0.5
			progress
			# its program has begun a new log
			[ "${done_now[i]}" -ge "${was[i]}" ] || was[i]=0
		done
	done
}

count_losses() # NAME
{
	grep -c '^l$' "$LAB_RUN/$1.log" || true
}

# At most MOST more reports of loss for each disk since the last call; the file system has
# never had one.
lost_at_most() # MOST
{
	local name now=() n=0

	for name in direct file; do
		now[n]=$(count_losses $name)
		[ "${now[n]}" -le $((${told[n]:-0} + $1)) ] ||
			fail "$name: ${now[n]} losses were told, ${told[n]:-0} before"
		n=$((n + 1))
	done
	say "$((now[0] - ${told[0]:-0})) and $((now[1] - ${told[1]:-0})) losses told"
	told=("${now[@]}")
	quietly A no_error
}

# --- The acts

format()
{
	say "$1: format, serve, attach"
	told=()
	quietly A "cbdctl format --force --coherence=$1 --backends 8 --heartbeat 200 --dead-after 20 $dev"
	serve_direct B
	serve_files
	attach_all
	quietly A 'mkfs.ext4 -q /dev/nbd0 && mount /dev/nbd0 /mnt
		head -c 5000003 /dev/urandom >/mnt/kept && sync -f /mnt/kept
		sha256sum /mnt/kept >/lab/sums'
	load_start
}

stands_still() # HOST
{
	say "$1 stands still"
	"$here/lab.sh" pause "${node[$1]}"
	sleep $((2 * dead_s))
	if [ "$1" = A ]; then
		refused B "timeout $(limit 20) nbdkit -f -U /run/x.sock cbd $dev backend=direct" \
			"has its maximum of blkdevs attached"
	else
		quietly A "cbdctl list -B --id 1 $dev | jq -e '.[0].alive == false'"
	fi
	"$here/lab.sh" resume "${node[$1]}"
	await_flow
	lost_at_most 0
}

b_stands_still()
{
	stands_still B
}

a_stands_still()
{
	stands_still A
}

b_off()
{
	say "B loses its power, and boots"
	await_flow
	power_off B
	boots B
	serve_direct B
	serve_files
	await_flow
	lost_at_most 1
}

# What A may have lost is what it had not flushed.
comes_back()
{
	attach_all
	quietly A 'flush_verify direct; flush_verify file'
	quietly A 'e2fsck -p /dev/nbd0; e2fsck -fn /dev/nbd0 && mount /dev/nbd0 /mnt
		sha256sum -c /lab/sums'
	told=()
	load_start
}

a_off()
{
	say "A loses its power, and boots"
	await_flow
	power_off A
	boots A
	comes_back
}

both_off()
{
	say "both lose their power, and boot"
	await_flow
	power_off A &
	power_off B
	wait
	boots A B
	serve_direct B
	serve_files
	comes_back
}

taken_over()
{
	local backend="serve 1 direct --direct --takeover"

	say "C takes the disk over"
	[ -e "$LAB_RUN/node-3/up" ] || boots C
	refused C "serve 1 direct --direct /dev/vda" "is owned by host"
	refused C "$backend /dev/vda" "is owned by host"
	refused C "$backend --fenced /dev/vda" "is alive"
	refused C "$backend --fence true /dev/vda" "is alive"
	"$here/lab.sh" pause 2
	sleep $dead_s
	refused C "$backend /dev/vda" "is owned by host"
	refused C "$backend --fence 'exit 3' /dev/vda" "has failed"
	"$here/lab.sh" resume 2
	await_flow
	lost_at_most 0
	quietly C "$backend --fence-alive --fence '/lab/power-off \"\$CBD_HOST_NAME\"' /dev/vda"
	! "$here/lab.sh" alive 2 || fail "host B is on"
	boots B
	refused B "serve 1 direct --direct /dev/vda" "is owned by host"
	serve_files
	await_flow
	lost_at_most 1
	say "and gives it back"
	quietly C "end /run/direct.pid"
	serve_direct B
	await_flow
	lost_at_most 0
}

is_sound()
{
	load_stop
	say "what is there"
	quietly A 'flush_verify direct; flush_verify file
		echo 3 >/proc/sys/vm/drop_caches; sha256sum -c /lab/sums
		umount /mnt; e2fsck -fn /dev/nbd0
		disconnect /dev/nbd0
		end /run/{direct,file,through}.nbdkit'
	quietly A no_error
	quietly B 'end /run/{direct,file,through}.pid; e2fsck -fn /disk/through; no_error'
	quietly A "cbdctl check $dev"
}

[ $# -gt 0 ] || set -- hardware software
requires nbdkit nbd-client mkfs.ext4 e2fsck fio jq sha256sum
/usr/bin/python3 -c 'import nbd' 2>/dev/null || skip "python3-libnbd is missing"
build_lab
trap remove_run_folder EXIT
trap 'exit 99' INT TERM HUP
new_run_folder 500 "$here/demo-guest.sh" "$here/hosts-guest.sh"
cp "$here/demo.fio" "$LAB_RUN/"
cp "$here/guest-power-off.sh" "$LAB_RUN/power-off"
truncate -s $size "$LAB_RUN/disk"
truncate -s 160M "$LAB_RUN/own"
"$here/lab.sh" prepare
boots A B
for mode in "$@"; do
	format "$mode"
	for act in ${ACTS:-b_stands_still a_stands_still b_off a_off both_off taken_over}; do
		$act
	done
	is_sound
	rm -f "$LAB_RUN"/{direct,file}.log
done
hosts=(A B)
[ ! -e "$LAB_RUN/node-3/up" ] || hosts+=(C)
switch_off "${hosts[@]}"
say "all was as it should be"
