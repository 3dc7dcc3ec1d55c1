# What the kernel puts on a block device, on devices of cbd-ublk (Linux 6.12): fio that
# verifies, discards, ext4, xfs, btrfs, partitions, LVM, dm-crypt and swap; and cbd-ublk is
# killed and recovered below some of these. A table at the end tells how long each took.
# shellcheck shell=bash

# shellcheck source=ublk-lib.sh
. /lab/ublk-lib.sh

# There is no udev here.
export DM_DISABLE_UDEV=1
size=$((384 << 20)) # the least that xfs takes is 300 MiB
mnt=$disks/mnt
mkdir "$mnt"
dev=/dev/ublkb0
cleanup_fn unmount "$mnt"

table=()
step_name=

now_ms()
{
	echo $((${EPOCHREALTIME/./} / 1000))
}

# step [NAME]: the next one; the one before has taken so long
step()
{
	[ -z "$step_name" ] ||
		table+=("| $step_name | $((($(now_ms) - step_start) / 1000)) |")
	step_name=${1-} step_start=$(now_ms)
	[ -z "$step_name" ] || say "$step_name"
}

# quietly COMMAND...: what it says is of interest when it fails
quietly()
{
	"$@" >"$tmp/command.log" 2>&1 || fail "$* has failed"
}

# blocks: how many of 512 bytes the file behind the disk has
blocks()
{
	stat -c %b "$behind"
}

# freed WHAT BEFORE: the discard has reached the file
freed()
{
	[ "$(blocks)" -lt "$2" ] || fail "$1: no block of $2 was freed"
}

# kill_and_recover WHAT: requests are answered again
kill_and_recover()
{
	local start

	killed
	start=$(now_ms)
	recoveries=$((${recoveries-0} + 1))
	serve "recovered-$recoveries" recover data
	say "$1: killed; recovered after $(($(now_ms) - start)) ms"
}

refused_in_use()
{
	expect 1 "$dev is in use" cbd-ublk del data
}

# make_files: some that are small and some that are not, and their checksums
make_files()
{
	local n

	for n in 0 1 511 4097 65536 1048576 5000003; do
		head -c "$n" /dev/urandom >"$mnt/file-$n"
	done
	mkdir "$mnt/many"
	(cd "$mnt/many" && seq 500 | split -l 1 -a 3 -d - f)
	(cd "$mnt" && find . -type f -exec sha256sum {} +) >"$tmp/sums"
}

check_files()
{
	echo 3 >/proc/sys/vm/drop_caches
	(cd "$mnt" && sha256sum --quiet -c "$tmp/sums") || fail "files are not what they were"
}

# load FILE-OR-DEVICE OPTION...: writes that are read again and compared
load()
{
	quietly fio --name=load --filename="$1" --direct=1 --verify=crc32c --verify_fatal=1 \
		--verify_backlog=64 --fsync=32 --iodepth=16 "${@:2}"
}

# under_load FILE: cbd-ublk is killed and recovered twice meanwhile
under_load()
{
	load "$1" --size=16M --rw=randrw --bsrange=4k-64k --blockalign=4k --ioengine=libaio \
		--time_based --runtime=6 &
	local loader=$!
	cleanup_fn stop $loader
	sleep 1
	kill_and_recover "$2"
	sleep 1
	kill_and_recover "$2"
	wait $loader || fail "$2: the load has failed"
}

# files_on DEVICE: mounted, files, fstrim, mounted again
files_on()
{
	local before

	mount "$1" "$mnt"
	make_files
	dd if=/dev/urandom of="$mnt/to-free" bs=1M count=8 conv=fsync status=none
	rm "$mnt/to-free"
	sync -f "$mnt"
	before=$(blocks)
	quietly fstrim -v "$mnt"
	freed fstrim "$before"
	umount "$mnt"
	mount "$1" "$mnt"
	check_files
}

# serve_disk SECTOR: as $dev, with logical blocks of SECTOR bytes
serve_disk()
{
	start_backend 0 --name data --max-blkdevs 4 "$disk"
	serve data add -t "$transport" --backend data --queues 2
	[ "$(blockdev --getss $dev)" -eq "$1" ] || fail "other sectors than of $1 bytes"
}

no_more()
{
	cbd-ublk del data
	ends 0
	stop_backend 0
}

raw()
{
	local engine

	for engine in libaio io_uring; do
		step "fio verify, $engine, O_DIRECT, $1-byte sectors"
		load $dev --size=6M --rw=randwrite --bsrange="$1-256k" --blockalign="$1" \
			--ioengine=$engine
		load $dev --size=3M --rw=randrw --bsrange="$1-32k" --blockalign="$1" \
			--ioengine=$engine --numjobs=2 --offset_increment=3M
	done
	step "blkdiscard, $1-byte sectors"
	dd if=/dev/urandom of=$dev bs=1M count=8 oflag=direct status=none
	local before
	before=$(blocks)
	say "discards"
	blkdiscard -o "$1" -l $(((4 << 20) - $1)) $dev
	freed blkdiscard "$before"
	blkdiscard -z -o 4M -l "$1" $dev
	cmp -n "$1" -i 4M:0 "$behind" /dev/zero || fail "blkdiscard -z has not zeroed"
	say "discards all"
	blkdiscard $dev
	say "discarded all"
	[ "$(blocks)" -le 16 ] || fail "$(blocks) blocks are left of all that were discarded"
	cmp -n 8M $dev /dev/zero || fail "not zero after a discard"
}

make_disk "$disks/disk" $size
behind=$disk
serve_disk 512
raw 512

step "ext4: files, fstrim, killed under fio, fsck"
quietly mkfs.ext4 -q $dev
files_on $dev
refused_in_use
under_load "$mnt/load" ext4
check_files
umount "$mnt"
quietly fsck.ext4 -fn $dev

step "xfs: files, fstrim, killed under fio, xfs_repair -n"
quietly mkfs.xfs -q -f $dev
files_on $dev
refused_in_use
under_load "$mnt/load" xfs
check_files
umount "$mnt"
quietly xfs_repair -n $dev

step "btrfs: files, fstrim, killed, scrub, check"
quietly mkfs.btrfs -q -f $dev
files_on $dev
refused_in_use
dd if=/dev/urandom of="$mnt/load" bs=64k count=200 status=none &
loader=$!
kill_and_recover btrfs
wait $loader || fail "dd has failed"
quietly btrfs scrub start -B "$mnt"
quietly btrfs filesystem sync "$mnt"
check_files
umount "$mnt"
quietly btrfs check $dev
quietly wipefs -a $dev

step "partitions: sfdisk, parted, partprobe, ext4"
quietly sfdisk -q $dev <<<$'label: gpt\n,64M\n,64M\n'
quietly parted -s $dev mkpart third 130MiB 200MiB
quietly partprobe $dev
[ "$(lsblk -nro NAME $dev | paste -sd ' ')" = "ublkb0 ublkb0p1 ublkb0p2 ublkb0p3" ] ||
	fail "partitions: $(lsblk -n $dev)"
quietly parted -s $dev align-check optimal 3
[ "$(blockdev --getsize64 ${dev}p3)" -eq $((70 << 20)) ] || fail "partition 3 has another size"
quietly mkfs.ext4 -q ${dev}p3
files_on ${dev}p3
refused_in_use
kill_and_recover "a partition"
quietly partprobe $dev
check_files
umount "$mnt"
quietly fsck.ext4 -fn ${dev}p3

step "swap: used, killed, used, swapoff"
quietly mkswap ${dev}p2
swapon --discard ${dev}p2
refused_in_use
mkdir "$tmp/cgroup"
mount -t cgroup2 cgroup2 "$tmp/cgroup"
cleanup_fn unmount "$tmp/cgroup"
echo +memory >"$tmp/cgroup/cgroup.subtree_control"
mkdir "$tmp/cgroup/small"
echo 24M >"$tmp/cgroup/small/memory.max"
python3 "$SRC/tests/vm/swapped.py" "$tmp/cgroup/small" 48 "$tmp/swapped" "$tmp/again" &
swapper=$!
cleanup_fn stop $!
is_swapped()
{
	[ -e "$tmp/swapped" ] || gone $swapper
}
wait_until 60 is_swapped
[ "$(awk '$1 == "'${dev}p2'" { print $4 }' /proc/swaps)" -gt 8192 ] || fail "$(cat /proc/swaps)"
kill_and_recover swap
: >"$tmp/again"
wait $swapper || fail "memory is not what it was"
swapoff ${dev}p2
umount "$tmp/cgroup"

step "LVM: two volumes, ext4, killed under fio, extended, removed"
cat >"$tmp/lvm.conf" <<-EOF
	devices { obtain_device_list_from_udev=0 use_devicesfile=0 issue_discards=1
		filter=["a|^$dev|","r|.*|"] }
	activation { udev_sync=0 udev_rules=0 monitoring=0 }
	backup { backup=0 archive=0 }
EOF
mkdir "$tmp/lvm"
mv "$tmp/lvm.conf" "$tmp/lvm"
export LVM_SYSTEM_DIR=$tmp/lvm LVM_SUPPRESS_FD_WARNINGS=1
modprobe dm_mod
quietly wipefs -a ${dev}p1 ${dev}p2
quietly pvcreate -y ${dev}p1 ${dev}p2
quietly vgcreate vg ${dev}p1 ${dev}p2
quietly lvcreate -y -L 40M -n one vg
quietly lvcreate -y -L 24M -n two -i 2 vg
cleanup_fn dmsetup remove_all
quietly mkfs.ext4 -q /dev/vg/one
files_on /dev/vg/one
refused_in_use
under_load "$mnt/load" LVM
quietly lvextend -L +8M -r /dev/vg/one
load /dev/vg/two --size=24M --rw=randwrite --bs=128k --ioengine=libaio
check_files
umount "$mnt"
quietly fsck.ext4 -fn /dev/vg/one
before=$(blocks)
quietly lvremove -y vg/one vg/two
freed lvremove "$before"
quietly vgremove vg
quietly pvremove ${dev}p1 ${dev}p2

step "dm-crypt: ext4, killed under fio, fsck, nothing readable"
head -c 32 /dev/urandom >"$tmp/key"
quietly cryptsetup luksFormat -q --pbkdf pbkdf2 --pbkdf-force-iterations 1000 ${dev}p1 "$tmp/key"
quietly cryptsetup open --allow-discards --key-file "$tmp/key" ${dev}p1 secret
quietly mkfs.ext4 -q /dev/mapper/secret
files_on /dev/mapper/secret
refused_in_use
printf 'a text that is easy to find\n%.0s' {1..40000} >"$mnt/text"
under_load "$mnt/load" dm-crypt
check_files
umount "$mnt"
quietly fsck.ext4 -fn /dev/mapper/secret
quietly cryptsetup close secret
! grep -qF "a text that is easy to find" "$behind" || fail "the disk has the plain text"
no_more

disk=/dev/vda
behind=/lab/disk-4096
serve_disk 4096
raw 4096

step "xfs on 4096-byte sectors"
quietly mkfs.xfs -q -f $dev
files_on $dev
umount "$mnt"
quietly xfs_repair -n $dev

step "partitions on 4096-byte sectors"
quietly sfdisk -q $dev <<<$'label: gpt\n,64M\n'
quietly partprobe $dev
quietly mkfs.ext4 -q ${dev}p1
files_on ${dev}p1
umount "$mnt"
quietly fsck.ext4 -fn ${dev}p1
no_more

step
if dmesg | grep -iE 'ublkb0.*error|error.*ublkb0'; then fail "the kernel has seen an error"; fi
echo "| what | seconds |"
echo "|---|---|"
printf '%s\n' "${table[@]}"
