#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Block devices: loop devices with sectors of 512 and of 4096 bytes, whole and with
# partitions.

. "$(dirname "$0")/block.sh"

requires_program nbdkit jq losetup mkfs.ext4 addpart
requires test -w /dev/loop-control

# attach OPTION...: sets $loop and $image
attach()
{
	image=$disks/image-$1
	truncate -s 96M "$image"
	loop=$(losetup -f --show -b "$1" "$image" 2>/dev/null) || skip "no loop device"
	cleanup_fn losetup -d "$loop"
}

format_transport transport
for sector in 512 4096; do
	echo "sectors of $sector bytes"
	attach $sector
	[ "$(blockdev --getss "$loop")" -eq $sector ] || skip "losetup cannot set the sector size"
	block_geometry "$loop" $sector
	block_random "$loop" --engine psync --handlers 2
	block_random "$loop" --engine uring
	block_random "$loop" --engine psync --direct --handlers 2
	block_random "$loop" --engine uring --direct --handlers 2
	block_random "$loop" --engine uring --write-through
	block_punches "$loop" "$image" "trim zero fast" --engine psync
	block_punches "$loop" "$image" "trim zero fast" --engine uring
	block_punches "$loop" "$image" "trim zero fast" --engine uring --direct
	block_exclusive "$loop"
done

# A partition and its disk exclude each other; two partitions do not.
addpart "$loop" 1 2048 65536
addpart "$loop" 2 67584 65536
cleanup_fn sh -c "delpart $loop 1; delpart $loop 2"
wait_until 10 test -b "${loop}p2" || skip "no partitions of loop devices"
start_backend 1 "${loop}p1"
block_refused "$loop" "is in use, mounted or by another process"
block_refused "${loop}p1" "is in use, mounted or by another process"
start_backend 3 "${loop}p2"
start_nbdkit cbd "$transport" backend=3
"$nbd_io" "$uri" write:0:1M:3:fua read:0:1M:3 fails:ENOSPC:write:32M:1:3
stop "$nbdkit_pid"
cmp -n 1048576 -i $((67584 * 512)):0 "$image" <(tr '\0' '\3' </dev/zero)
stop_backend 1
stop_backend 3
start_backend 1 "$loop"
block_refused "${loop}p1" "is in use, mounted or by another process"
stop_backend 1

# The file behind it is the same disk.
start_backend 1 "${loop}p2"
block_refused "$image" "is in use by another process"
expect 1 "cbdctl: $image: is in use, and not as a transport" cbdctl format --force "$image"
stop_backend 1
start_backend 1 "$image"
block_refused "$loop" "the file behind it, $image, is in use by another process"
block_refused "${loop}p1" "the file behind it, $image, is in use by another process" -r
stop_backend 1

# One that cannot be written.
truncate -s 16M "$disks/fixed"
loop=$(losetup -f --show -r "$disks/fixed")
cleanup_fn losetup -d "$loop"
block_refused "$loop" "is a read-only device (--read-only may do)"
start_backend 1 -r "$loop"
start_nbdkit cbd "$transport" backend=1
"$nbd_io" "$uri" read:0:16M:0 fails:EPERM:write:0:1:1
