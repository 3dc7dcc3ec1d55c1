#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A file as the disk, on tmpfs, ext4 and xfs, sparse and more than 2 TiB large: random
# I/O around byte 2^41, its end, what discard and zero free, and with --direct.

. "$(dirname "$0")/functions.sh"

requires_program nbdkit jq

operations=${RANDOM_OPERATIONS:-$(share 1500)}
format_transport transport

blocks()
{
	stat -c %b "$1"
}

# punched REQUEST...: each frees at least 31 of the 32 MiB that it is about
punched()
{
	local request before after

	for request in "$@"; do
		"$nbd_io" "$uri" write:$base:64M:7 flush
		before=$(blocks "$disk")
		"$nbd_io" "$uri" "$request" flush
		after=$(blocks "$disk")
		[ $((before - after)) -ge $((31 * 2048)) ] ||
			fail "$request: $before blocks before, $after after"
		"$nbd_io" "$uri" read:$base:100:7 read:$((base + 100)):32M:0 \
			read:$((base + 33554532)):1M:7
	done
}

# large FOLDER [OPTION-OF-BACKEND]...
large()
{
	local folder=$1 base=$(((1 << 41) - (1 << 20) - 100)) size=$((3 << 40)) before last
	shift

	echo "3 TiB in $folder, $*"
	make_disk "$folder/large" $size
	last=$((size - 1))
	start_backend 1 "$@" "$disk"
	cbdctl list -B --id 1 "$transport" | jq -e ".[0].size == $size" >/dev/null
	start_nbdkit cbd "$transport" backend=1 queues=2
	before=$(blocks "$disk")
	"$nbd_io" "$uri" read:0:1M:0 read:$((last - 65535)):64K:0 flush
	[ "$(blocks "$disk")" -eq "$before" ] || fail "reading has allocated blocks"
	"$nbd_io" "$uri" write:$last:1:9 write:$(((1 << 32) - 1)):2:8 write:$(((1 << 41) - 1)):2:6:fua \
		read:$last:1:9 read:$(((1 << 32) - 1)):2:8 read:$(((1 << 41) - 1)):2:6 \
		read:$(((1 << 41) + 1)):1M:0 read:0:1M:0
	punched trim:$((base + 100)):32M zero:$((base + 100)):32M
	# sparse: only what was written takes space, but for what a file system allocates ahead
	[ "$(blocks "$disk")" -lt $((256 * 2048)) ] || fail "takes $(blocks "$disk") blocks"
	stop "$nbdkit_pid"
	stop_backend 1
	# the same bytes without us, at the same offsets
	cmp -n 1 -i $last:0 "$disk" <(printf '\11')
	cmp -n 2 -i $(((1 << 32) - 1)):0 "$disk" <(printf '\10\10')
	rm "$disk"
}

# small FOLDER [OPTION-OF-BACKEND]...: against a shadow copy
small()
{
	local folder=$1
	shift

	echo "random I/O in $folder, $*"
	make_disk "$folder/small" $((48 * 1024 * 1024 + 1024))
	start_backend 1 "$@" "$disk"
	start_nbdkit cbd "$transport" backend=1 queues=2
	"$random_io" -s "${RANDOM_SEED:-$SRANDOM}" -n "$operations" -o "$disks/shadow" "$uri" |
		grep -v ' finished$'
	stop "$nbdkit_pid"
	stop_backend 1
	cmp "$disks/shadow" "$disk"
	rm "$disks/shadow" "$disk"
}

# on NAME: a file system of its own; sets $folder
on()
{
	local image=$disks/$1.image

	folder=$disks/$1
	mkdir "$folder"
	if [ "$1" = tmpfs ]; then
		mount -t tmpfs -o size=512M none "$folder" 2>/dev/null || return 1
	else
		command -v "mkfs.$1" >/dev/null || return 1
		truncate -s 1G "$image"
		"mkfs.$1" -q "$image"
		mount -o loop "$image" "$folder" 2>/dev/null || return 1
	fi
	cleanup_fn umount "$folder"
}

tried=0
for name in tmpfs ext4 xfs; do
	if ! on $name; then
		echo "$name cannot be mounted here"
		continue
	fi
	tried=$((tried + 1))
	large "$folder" --engine psync
	large "$folder" --engine uring
	small "$folder" --engine auto
	small "$folder" --write-through
	if dd if=/dev/zero of="$folder/probe" bs=4096 count=1 oflag=direct 2>/dev/null; then
		large "$folder" --engine uring --direct
		small "$folder" --direct --handlers 2
	else
		make_disk "$folder/small" 1M
		expect 1 "cbd-backend: $disk: direct I/O is not supported there" \
			cbd-backend -f -t "$transport" --id 1 --direct "$disk"
	fi
done
[ $tried -gt 0 ] || skip "no file system can be mounted"
