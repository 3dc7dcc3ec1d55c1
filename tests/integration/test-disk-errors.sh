#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A disk that fails: EIO reaches the client and the logs, only of the requests that
# failed; a failed sync is reported as a loss. The disk is a file of nbdfuse in front of
# an nbdkit that fails when it is told so; and a file that is too short.

. "$(dirname "$0")/functions.sh"

requires_program nbdkit nbdfuse mountpoint
requires test -w /dev/fuse

mkdir "$disks/fuse"
truncate -s 16M "$disks/image"
export image=$disks/image failing=$tmp/failing
# shellcheck disable=SC2016 # for the shell of nbdkit
nbdkit -U "$tmp/bad.sock" -P "$tmp/bad.pid" eval get_size='echo 16M' can_write='exit 0' \
	can_flush='exit 0' can_trim='exit 3' can_zero='exit 3' \
	pread='[ ! -e $failing-read ] || { echo EIO; exit 1; }
		dd if=$image iflag=skip_bytes,count_bytes skip=$4 count=$3 bs=64K status=none' \
	pwrite='[ ! -e $failing-write ] || { echo EIO; exit 1; }
		dd of=$image oflag=seek_bytes iflag=fullblock seek=$4 conv=notrunc bs=64K status=none' \
	flush='[ ! -e $failing-flush ] || { echo EIO; exit 1; }'
cleanup_fn stop_pidfile "$tmp/bad.pid"
nbdfuse "$disks/fuse/disk" "nbd+unix:///?socket=$tmp/bad.sock" 2>"$tmp/nbdfuse.log" &
fuse_pid=$!
cleanup_fn stop $fuse_pid
cleanup_fn umount "$disks/fuse"
mounted()
{
	mountpoint -q "$disks/fuse" || gone $fuse_pid
}
wait_until 20 mounted || fail "nbdfuse does not start"
alive $fuse_pid || skip "nbdfuse cannot mount"

format_transport transport

# failing WHAT REQUEST TEXT [BACKEND-TEXT]: EIO while WHAT fails, and both logs tell. Of
# many errors the backend tells the 1st, 2nd, 4th and so on.
failing()
{
	: >"$failing-$1"
	: >"$tmp/nbdkit.log"
	expect 0 "" "$nbd_io" "$uri" "fails:EIO:$2"
	rm "$failing-$1"
	grep -q "cbd.*error: backend 1: $3: Input/output error" "$tmp/nbdkit.log" ||
		fail "$2: nbdkit says $(cat "$tmp/nbdkit.log")"
	[ -z "${4-}" ] || grep -q "^cbd-backend: $disk: $4: Input/output error" "$tmp/backend-1.log" ||
		fail "$2: the backend does not say '$4'"
}

# short_file ENGINE: somebody has truncated it
short_file()
{
	local folder

	for folder in "$disks" "$memory"; do
		make_disk "$folder/disk" 16M
		start_backend 1 --engine "$1" "$disk"
		start_nbdkit cbd "$transport" backend=1
		"$nbd_io" "$uri" write:0:16M:1
		truncate -s 8M "$disk"
		"$nbd_io" "$uri" read:0:8M:1 fails:EIO:read:8M:4K:1 \
			fails:EIO:read:8388607:2:1 read:8388607:1:1
		stop "$nbdkit_pid"
		stop_backend 1
	done
}

for engine in psync uring; do
	echo "engine $engine"
	short_file $engine
	disk=$disks/fuse/disk
	start_backend 1 --engine $engine "$disk"
	start_nbdkit cbd "$transport" backend=1
	"$nbd_io" "$uri" write:0:64K:1 write:4M:64K:2 flush
	failing read read:8M:64K:0 "read 65536 bytes at 8388608" "read of 65536 bytes at 8388608"
	failing write write:8M:64K:3 "write 65536 bytes at 8388608" "write of 65536 bytes at 8388608"
	failing write zero:8M:64K:no-hole "zero 65536 bytes at 8388608"
	failing flush flush flush sync
	failing flush write:8M:64K:3:fua "write 65536 bytes at 8388608"
	grep -q "backend 1: a sync has failed; written data may be lost" "$tmp/backend-1.log"
	# all is well again, and what did not fail is there
	"$nbd_io" "$uri" read:0:64K:1 read:4M:64K:2 write:8M:64K:4:fua read:8M:64K:4 flush
	stop "$nbdkit_pid"
	stop_backend 1
	cmp -n 65536 "$image" <(tr '\0' '\1' </dev/zero)
	cmp -n 65536 -i 8M:0 "$image" <(tr '\0' '\4' </dev/zero)
	truncate -s 0 "$image"
	truncate -s 16M "$image"
done
