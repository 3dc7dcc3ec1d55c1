# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
#
# block.sh - a block device as the disk of a backend: random I/O against a shadow
# copy, freed space, its geometry, and who may not have it at the same time. Sourced
# by the tests of block devices, also in virtual machines.

# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/functions.sh"

operations=${RANDOM_OPERATIONS:-$(share 1500)}

allocated()
{
	stat -c %b "$1"
}

# block_random DEVICE [OPTION-OF-BACKEND]...: the whole of it
block_random()
{
	local device=$1
	shift

	echo "random I/O on $device $*"
	start_backend 1 "$@" "$device"
	start_nbdkit cbd "$transport" backend=1 queues=4
	"$random_io" -s "${RANDOM_SEED:-$SRANDOM}" -n "$operations" -o "$disks/shadow" "$uri" |
		grep -v ' finished$'
	stop "$nbdkit_pid"
	stop_backend 1
	cmp "$disks/shadow" "$device"
	# no line is empty: without slow_disk each is an error
	! grep 'error:' "$tmp/nbdkit.log" | grep -v "${slow_disk:-^$}" ||
		fail "nbdkit reports errors"
	! grep -e error -e damaged "$tmp/backend-1.log" || fail "cbd-backend reports errors"
	rm "$disks/shadow"
}

# freed FILE REQUEST FIRST: it frees 46 MiB of the file behind the disk, and from
# FIRST on there are zeroes
freed()
{
	local before after

	"$nbd_io" "$uri" write:0:64M:7 flush
	before=$(allocated "$1")
	"$nbd_io" "$uri" "$2" flush
	after=$(allocated "$1")
	[ $((before - after)) -ge $((46 * 2048)) ] ||
		fail "$2: $before blocks before, $after after"
	"$nbd_io" "$uri" "read:$3:32M:0" read:0:10000:7
}

# block_punches DEVICE FILE REQUESTS [OPTION-OF-BACKEND]...: what is discarded or zeroed
# is freed in the file behind the device; a discard is of whole pages, a zero of every
# byte. REQUESTS are some of trim, zero, fast.
block_punches()
{
	local device=$1 file=$2 requests=$3 request
	shift 3

	echo "freed space of $device $*"
	start_backend 1 "$@" "$device"
	start_nbdkit cbd "$transport" backend=1
	for request in $requests; do
		case $request in
		trim) freed "$file" trim:10000:48M 12288 ;;
		zero) freed "$file" zero:10000:48M 10000 ;;
		fast) freed "$file" zero:10000:48M:fast 10000 ;;
		esac
	done
	"$nbd_io" "$uri" write:0:4M:7 zero:1:1M:no-hole read:0:1:7 read:1:1M:0 read:1048577:1M:7 \
		trim:2097252:200 read:2M:100:7 read:2097452:1:7
	stop "$nbdkit_pid"
	stop_backend 1
}

# block_geometry DEVICE LOGICAL: what is told of it
block_geometry()
{
	start_backend 1 "$1"
	cbdctl list -B --id 1 "$transport" >"$tmp/list.json"
	[ "$(jq -c '.[0] | [.path, .size, .logical_block_size, .discard, .read_only]' \
		"$tmp/list.json")" = "[\"$1\",$(blockdev --getsize64 "$1"),$2,true,false]" ] ||
		fail "$1: $(cat "$tmp/list.json")"
	stop_backend 1
}

# block_refused DEVICE TEXT [OPTION-OF-BACKEND]...
block_refused()
{
	local device=$1 text=$2
	shift 2

	expect 1 "cbd-backend: $device: $text" \
		cbd-backend -f -t "$transport" --id 2 "$@" "$device"
}

# mounts_differ PID PID: they are in two namespaces of mounts, and one is this test's own
mounts_differ()
{
	[ "$(readlink "/proc/$1/ns/mnt")" != "$(readlink "/proc/$2/ns/mnt")" ] &&
		[ "$(readlink "/proc/$1/ns/mnt")" != "$(readlink /proc/self/ns/mnt)" ]
}

# block_exclusive DEVICE: not what is mounted, and once only, whoever was first
block_exclusive()
{
	local folder=$disks/mounted

	echo "exclusive use of $1"
	mkfs.ext4 -q -F "$1"
	mkdir -p "$folder"
	mount "$1" "$folder"
	block_refused "$1" "is in use, mounted or by another process"
	block_refused "$1" "is in use, mounted or by another process" -r
	# a namespace of mounts that another test makes meanwhile
	nsenter -t $PPID -m unshare --mount sleep 60 &
	cleanup_fn stop $!
	wait_until 10 mounts_differ $! $PPID
	umount "$folder"
	start_backend 1 "$1"
	block_refused "$1" "is in use, mounted or by another process"
	ln -sf "$1" "$disks/alias"
	block_refused "$disks/alias" "is in use, mounted or by another process"
	if mount "$1" "$folder" 2>/dev/null; then
		umount "$folder"
		fail "$1: was mounted while a backend has it"
	fi
	stop_backend 1
}
