#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A file system that is full: ENOSPC reaches the client, what was written before stays,
# no loss is reported, and with room again everything goes on. On tmpfs, and on ext4,
# which reserves space long before it allocates; all engines.

. "$(dirname "$0")/functions.sh"

requires_program nbdkit mkfs.ext4 losetup

# Other users must not fill or free them: two file systems of its own.
mkdir "$disks/tmpfs" "$disks/ext4"
requires mount -t tmpfs -o size=8M none "$disks/tmpfs"
cleanup_fn umount "$disks/tmpfs"
truncate -s 16M "$disks/image"
mkfs.ext4 -q -m 0 "$disks/image"
requires mount -o loop "$disks/image" "$disks/ext4"
cleanup_fn umount "$disks/ext4"

format_transport transport

# full ENGINE FOLDER [OPTION]...
full()
{
	local engine=$1 folder=$2 request
	shift 2

	echo "engine $engine, $folder $*"
	make_disk "$folder/disk" 64M
	start_backend 1 --engine "$engine" "$@" "$disk"
	start_nbdkit cbd "$transport" backend=1
	"$nbd_io" "$uri" write:0:1M:1 write:63M:1M:2 flush
	head -c 64M /dev/zero >"$folder/filler" 2>/dev/null || true
	for request in write:32M:4M:3 write:32M:4M:3:fua zero:32M:4M:no-hole; do
		: >"$tmp/nbdkit.log"
		expect 0 "" "$nbd_io" "$uri" "fails:ENOSPC:$request" flush
		grep -q "cbd.*error: backend 1: .* bytes at .*: No space left on device" \
			"$tmp/nbdkit.log" || fail "$request: $(cat "$tmp/nbdkit.log")"
		! grep -q "may be lost" "$tmp/nbdkit.log" || fail "$request: a loss is reported"
	done
	"$nbd_io" "$uri" read:0:1M:1 read:63M:1M:2 write:0:1M:3 trim:0:1M flush
	rm "$folder/filler"
	"$nbd_io" "$uri" write:32M:4M:3:fua read:32M:4M:3 flush read:63M:1M:2
	stop "$nbdkit_pid"
	grep -q "cbd-backend: $disk: write of .*: No space left on device" "$tmp/backend-1.log" ||
		fail "the backend does not say so"
	stop_backend 1
	rm "$disk"
}

for engine in psync uring mmap; do
	full $engine "$disks/tmpfs"
	full $engine "$disks/ext4"
	[ $engine = mmap ] || full $engine "$disks/ext4" --direct
done
full psync "$disks/ext4" --write-through
