#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A disk that grows is followed: at SIGHUP, at a start and at a take-over, while I/O goes
# on; new connections see the new size. One that shrinks is not: requests beyond its end
# get an error.

. "$(dirname "$0")/crash.sh"

requires_program nbdkit jq nbdinfo

size_is() # BYTES
{
	[ "$(nbdinfo --size "$uri" 2>/dev/null)" = "$1" ]
}

is_listed()
{
	cbdctl list -B "$transport" | jq -e ".[0].size == $1" >/dev/null
}

format_transport transport
for engine in psync uring mmap; do
	make_disk "$disks/disk" 8M
	start_backend 1 --engine $engine "$disk"
	start_nbdkit cbd "$transport" backend=1 queues=2
	start_random_io
	wait_for_answers 50
	truncate -s 12M "$disk"
	kill -HUP "${backend_pids[1]}"
	wait_until 20 size_is $((12 << 20)) || fail "$engine: SIGHUP: the size is not followed"
	is_listed $((12 << 20)) || fail "$engine: the list shows another size"
	"$nbd_io" "$uri" write:11M:1M:7 flush read:11M:1M:7 zero:9M:1M read:9M:1M:0
	wait_for_answers 50
	# while nobody serves
	kill_backend 1
	truncate -s 16M "$disk"
	start_backend 1 --engine $engine "$disk"
	wait_until 20 size_is $((16 << 20)) || fail "$engine: start: the size is not followed"
	"$nbd_io" "$uri" write:15M:1M:8 read:15M:1M:8 read:11M:1M:7
	wait_for_answers 50
	# at a take-over
	old=${backend_pids[1]}
	truncate -s 20M "$disk"
	start_backend 1 --takeover --engine $engine "$disk"
	wait_until 20 gone "$old" || fail "$engine: the old process stays"
	wait_until 20 size_is $((20 << 20)) || fail "$engine: take-over: the size is not followed"
	"$nbd_io" "$uri" write:19M:1M:9 read:19M:1M:9
	wait_for_answers 50
	stop_random_io
	cmp -n $((8 << 20)) "$disks/image" "$disk"

	# Smaller again: an error, and no hole that reads as zeroes.
	truncate -s 18M "$disk"
	kill -HUP "${backend_pids[1]}"
	wait_until 20 grep -q "has shrunk from 20971520 to 18874368 bytes" "$tmp/backend-1.log" ||
		fail "$engine: nobody notices"
	"$nbd_io" "$uri" fails:EIO:write:19M:4K:1 fails:EIO:read:19M:4K:1 read:17M:4K:0
	grep -q "the disk has shrunk" "$tmp/backend-1.log" || fail "$engine: the reason is not told"
	[ "$(stat -c %s "$disk")" = $((18 << 20)) ] || fail "$engine: a write has made it longer"
	truncate -s 20M "$disk"
	kill -HUP "${backend_pids[1]}"
	wait_until 20 grep -q "has 20971520 bytes now" "$tmp/backend-1.log"
	"$nbd_io" "$uri" write:19M:4K:1 read:19M:4K:1
	stop "$nbdkit_pid"
	stop_backend 1
done

# It has shrunk, and nobody is attached: served with a new size.
truncate -s 8M "$disk"
start_backend 1 "$disk"
start_nbdkit cbd "$transport" backend=1
size_is $((8 << 20)) || fail "the size is not the new one"
stop "$nbdkit_pid"
stop_backend 1

# --- A loop device ----------------------------------------------------------

if [ "$(id -u)" -ne 0 ] || ! loop=$(losetup --show -f "$disk" 2>/dev/null); then
	echo "no loop devices: files only"
	exit 0
fi
cleanup_fn losetup -d "$loop"
start_backend 1 "$loop"
start_nbdkit cbd "$transport" backend=1
"$nbd_io" "$uri" write:0:1M:1
truncate -s 24M "$disk"
losetup -c "$loop"
kill -HUP "${backend_pids[1]}"
wait_until 20 size_is $((24 << 20)) || fail "the size of a loop device is not followed"
"$nbd_io" "$uri" write:23M:1M:5 flush read:23M:1M:5 read:0:1M:1
old=${backend_pids[1]}
start_backend 1 --takeover "$loop"
wait_until 20 gone "$old" || fail "the old process stays"
"$nbd_io" "$uri" write:22M:1M:6 read:23M:1M:5
stop "$nbdkit_pid"
stop_backend 1
