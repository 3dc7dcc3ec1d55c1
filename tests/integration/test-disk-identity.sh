#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A file is the same disk after its file system was mounted under another device
# number or elsewhere, after a rename, and when it has grown; a copy, and a new file in
# its place, are others. So is a loop device, whatever it is called. A client goes on.

. "$(dirname "$0")/functions.sh"

requires_program jq nbdkit

format_transport transport

# identity [OPTION-OF-BACKEND]... DISK: sets $id
identity()
{
	start_backend 1 "$@"
	id=$(cbdctl list -B --id 1 "$transport" | jq -r '.[0].disk_identity')
	stop_backend 1
}

# same WHAT DISK, differs WHAT DISK: from $first
same()
{
	identity "$2"
	[ "$id" = "$first" ] || fail "$1: another disk"
}

differs()
{
	identity "$2"
	[ "$id" != "$first" ] || fail "$1: the same disk"
}

# make NAME: an image of a file system; overlay: of the one below it
make()
{
	local type=${1#overlay-}

	image=$disks/$1.image
	folder=$disks/$1
	mkdir -p "$folder"
	[ "$1" != tmpfs ] || return 0
	command -v "mkfs.$type" >/dev/null || return 1
	rm -f "$image"
	truncate -s 400M "$image"
	"mkfs.$type" -q "$image" >/dev/null
}

# mount_again NAME FOLDER: as far as it goes under another device number than before
mount_again()
{
	local below=$disks/$1.below

	case $1 in
	tmpfs)
		mount -t tmpfs -o size=64M none "$2"
		;;
	overlay-*)
		mkdir -p "$below"
		mount -o loop "$image" "$below" || return 1
		mkdir -p "$below/upper" "$below/work" "$below/lower"
		mount -t overlay -o "${overlay}lowerdir=$below/lower,upperdir=$below/upper" \
			-o "workdir=$below/work" none "$2"
		;;
	*)
		mount -o loop "$image" "$2"
		;;
	esac 2>/dev/null
}

# unmount NAME FOLDER
unmount()
{
	umount "$2"
	! mountpoint -q "$disks/$1.below" || umount "$disks/$1.below"
}

# shellcheck disable=SC2317,SC2329 # by its name
unmount_all()
{
	local place device

	cut -d ' ' -f 5 /proc/self/mountinfo | tac | while read -r place; do
		[ "${place#"$disks"/}" = "$place" ] || umount "$place"
	done
	losetup -n -O NAME,BACK-FILE | grep -F "$disks/" | while read -r device _; do
		losetup -d "$device"
	done
}

# another_number NAME: what the next mount would get is taken by somebody else
another_number()
{
	case $1 in
	tmpfs) ;;
	*) losetup -f "$disks/spare" ;;
	esac
	mkdir -p "$disks/anonymous.$1"
	mount -t tmpfs none "$disks/anonymous.$1"
}

file_identity()
{
	local name=$1 number again=$disks/again

	make_disk "$folder/disk" 8M
	number=$(stat -c %d "$folder/disk")
	identity "$disk"
	first=$id
	cp "$disk" "$folder/copy"
	mv "$disk" "$folder/renamed"
	truncate -s 16M "$folder/renamed"
	same "$name, renamed and grown" "$folder/renamed"
	differs "$name, a copy" "$folder/copy"
	mkdir -p "$again"
	mount --bind "$folder" "$again"
	same "$name, bound elsewhere" "$again/renamed"
	umount "$again"
	if [ "$name" != tmpfs ]; then
		unmount "$name" "$folder"
		another_number "$name"
		mount_again "$name" "$again"
		[ "$(stat -c %d "$again/renamed")" != "$number" ] ||
			echo "$name: cannot be given another number"
		same "$name, mounted again" "$again/renamed"
		differs "$name, the copy, mounted again" "$again/copy"
		unmount "$name" "$again"
		mount_again "$name" "$folder"
	fi
	rm "$folder/renamed"
	make_disk "$folder/renamed" 8M
	differs "$name, a new file in its place" "$folder/renamed"
	rm "$folder/renamed"
	unmount "$name" "$folder"
	echo "$name $overlay: tried"
}

cleanup_fn unmount_all
truncate -s 1M "$disks/spare"
tried=0
for name in ext4 xfs btrfs tmpfs overlay-ext4 overlay-xfs; do
	for overlay in "" "uuid=null,"; do
		[ -z "$overlay" ] || [ "$name" != "${name#overlay}" ] || continue
		if ! make "$name" || ! mount_again "$name" "$folder"; then
			echo "$name $overlay: cannot be mounted here"
			continue
		fi
		file_identity "$name"
		tried=$((tried + 1))
	done
done
[ $tried -gt 0 ] || skip "no file system can be mounted"

# A loop device is its file, by any number and any path of that.
make_disk "$disks/behind" 8M
if ! loop=$(losetup -f --show "$disk" 2>/dev/null); then
	echo "loop devices: there are none here"
	exit 0
fi
identity "$loop"
first=$id
losetup -d "$loop"
mv "$disk" "$disks/moved"
losetup -f "$disks/spare"
loop=$(losetup -f --show "$disks/moved")
same "loop device" "$loop"
losetup -d "$loop"
loop=$(losetup -f -o 4096 --show "$disks/moved")
differs "loop device, from another place on" "$loop"
losetup -d "$loop"
cp "$disks/moved" "$disks/behind"
loop=$(losetup -f --show "$disks/behind")
differs "loop device, a file of the old name" "$loop"
losetup -d "$loop"

# A client is not cut off by an unmount.
make xfs && mount_again xfs "$folder" || exit 0
make_disk "$folder/disk" 8M
start_backend 1 "$disk"
start_nbdkit cbd "$transport" backend=1
"$nbd_io" "$uri" write:0:1M:5 flush
kill -9 "${backend_pids[1]}"
wait "${backend_pids[1]}" 2>/dev/null || true
wait_until 10 umount "$folder"
another_number xfs-2
mount_again xfs "$folder"
start_backend 1 "$disk"
"$nbd_io" "$uri" read:0:1M:5 write:4M:1M:6 flush
stop "$nbdkit_pid"
stop_backend 1
