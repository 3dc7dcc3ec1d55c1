#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# /dev/nbdN over an outage of its backend, in a guest: ext4 with a writer, on one
# connection and on four, with the options that nbdkit-cbd-plugin(1) gives for
# nbd-client. One backend is stopped in order, the other one killed; both are away for
# OUTAGE seconds, longer than the 30 after which the kernel gives up one of several
# connections unless it is told otherwise. Before that, a disk grows under a mounted
# file system; at the end nbdkit dies, and the devices are connected again.
#
# Runs beside block-host1.sh, on its transport, while that has something to do.

# shellcheck source-path=SCRIPTDIR/../integration
. "$(dirname "$0")/../integration/functions.sh"

transport=$1
outage=${OUTAGE:-60}
size=$((48 << 20))
grown=$((80 << 20))
one=()
four=(-C 4 -timeout 86400)
declare -A nbdkit_pids # by backend

# The device of backend 3 is /dev/nbd1.
device()
{
	echo "/dev/nbd$(($1 - 2))"
}

has_size() # DEVICE BYTES
{
	[ "$(blockdev --getsize64 "$1")" -eq "$2" ]
}

serve() # BACKEND
{
	start_nbdkit cbd "$transport" backend="$1" queues=4
	mv "$socket" "$tmp/$1.sock"
	nbdkit_pids[$1]=$nbdkit_pid
}

connect() # BACKEND BYTES OPTION...
{
	nbd-client -unix "$tmp/$1.sock" "$(device "$1")" "${@:3}"
	wait_until 20 has_size "$(device "$1")" "$2" || fail "$(device "$1") is not there"
}

is_free() # DEVICE
{
	[ ! -e "/sys/block/${1##*/}/pid" ]
}

disconnect() # BACKEND
{
	nbd-client -d "$(device "$1")"
	wait_until 20 is_free "$(device "$1")" || fail "$(device "$1") is not free"
}

# At the end, however far the test has come.
# shellcheck disable=SC2317,SC2329 # reached through the trap
leave() # BACKEND
{
	umount -q "$disks/mnt-$1" || true
	nbd-client -d "$(device "$1")" || true
}

offer() # BACKEND OPTION...
{
	make_disk "$disks/$1" $size
	start_backend "$1" "$disk"
	serve "$1"
	connect "$1" $size "${@:2}"
	cleanup_fn leave "$1"
	mkfs.ext4 -q "$(device "$1")"
	mkdir "$disks/mnt-$1"
	mount "$(device "$1")" "$disks/mnt-$1"
}

# A disk that has grown, and what an administrator types for it: to a connection that
# is there nbdkit keeps the old size.
grow() # BACKEND OPTION...
{
	local dev blocks
	dev=$(device "$1")

	truncate -s $grown "$disks/$1"
	kill -HUP "${backend_pids[$1]}"
	wait_until 20 grep -q "has $grown bytes now" "$tmp/backend-$1.log"
	[ "$(nbdinfo --size "nbd+unix:///?socket=$tmp/$1.sock")" -eq $grown ] ||
		fail "a new connection does not see the new size"
	has_size "$dev" $size || fail "$dev has grown by itself: the manual says it does not"
	umount "$disks/mnt-$1"
	disconnect "$1"
	connect "$1" $grown "${@:2}"
	mount "$dev" "$disks/mnt-$1"
	resize2fs "$dev"
	blocks=$(stat -f -c '%b * %S' "$disks/mnt-$1")
	[ $((blocks)) -gt $size ] || fail "the file system has not grown"
}

# Writes files, one after the other, over again, until there is a file "stop". Sums are
# of the sources, which are not on the disk. Each program costs in an emulated guest.
writer() # BACKEND
{
	local i=0 source=$memory/source-$1

	until [ -e "$tmp/stop" ]; do
		head -c 300003 /dev/urandom >"$source"
		dd if="$source" of="$disks/mnt-$1/file-$((i % 20))" bs=100K conv=fsync status=none
		sha256sum <"$source" >"$tmp/sums-$1.$((i % 20))"
		i=$((i + 1))
		echo $i >"$tmp/written-$1"
	done
}

# Sets $written.
written() # BACKEND
{
	written=0
	[ ! -e "$tmp/written-$1" ] || read -r written <"$tmp/written-$1" || true
}

has_written() # BACKEND N
{
	written "$1"
	[ "${written:-0}" -ge "$2" ] || { sleep 0.5 && false; }
}

writes_on() # BACKEND
{
	written "$1"
	wait_until 60 has_written "$1" $((${written:-0} + 2)) ||
		fail "nothing is written to $(device "$1")"
}

verify() # BACKEND
{
	local file n=0

	for file in "$disks/mnt-$1"/file-*; do
		sha256sum <"$file" | cmp - "$tmp/sums-$1.${file##*-}" ||
			fail "$file is not as it was written"
		n=$((n + 1))
	done
	[ $n -ge 4 ] || fail "$n files only"
}

now()
{
	echo "== $(cut -d' ' -f1 /proc/uptime) s: $*"
}

now "two devices, one and four connections"
offer 3 "${one[@]}"
offer 4 "${four[@]}"
now "one of them grows"
grow 4 "${four[@]}"

now "the backends are away for $outage s"
declare -A writers
for id in 3 4; do
	writer $id &
	writers[$id]=$!
	cleanup_fn stop $!
	writes_on $id
done
kill "${backend_pids[3]}"
kill_backend 4
wait_until 10 gone "${backend_pids[3]}" || fail "backend 3 does not stop"
sleep "$outage"
start_backend 3 "$disks/3"
start_backend 4 "$disks/4"
now "they are back"
for id in 3 4; do
	writes_on $id
done
: >"$tmp/stop"
for id in 3 4; do
	wait "${writers[$id]}" || fail "the writer to $(device $id) has failed"
	umount "$disks/mnt-$id"
	e2fsck -fn "$(device $id)"
done
if dmesg | grep -iE '(error|timed out).*nbd[12]|nbd[12].*(error|timed out)'; then
	fail "the kernel has seen the outage"
fi

now "nbdkit dies, and is started again"
echo 3 >/proc/sys/vm/drop_caches
for id in 3 4; do
	kill -9 "${nbdkit_pids[$id]}"
	serve $id
	disconnect $id
done
connect 3 $size "${one[@]}"
connect 4 $grown "${four[@]}"
for id in 3 4; do
	mount -o ro "$(device $id)" "$disks/mnt-$id"
	verify $id
	umount "$disks/mnt-$id"
	disconnect $id
	stop "${nbdkit_pids[$id]}"
	stop_backend $id
	e2fsck -fn "$disks/$id"
done
now "done"
