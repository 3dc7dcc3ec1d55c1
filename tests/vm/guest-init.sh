#!/bin/busybox sh
# shellcheck shell=dash
#
# First process of a guest, in the initramfs: puts the root file system together
# and hands over to guest-run.sh. The host's root is mounted read-only, with a
# tmpfs overlay that takes the guest's writes; /host is the same without the
# overlay, /lab the run folder that all guests and the host write to.
#
# With lab.root=DEVICE on the kernel's command line the root is that disk, which keeps
# what is written, and its own init takes over: systemd, with the units of the run folder.
# It loads the modules of block devices itself.

export PATH=/bin
/bin/busybox --install -s /bin
root=/newroot

mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
disk=$(sed -n 's/.*lab\.root=\([^ ]*\).*/\1/p' /proc/cmdline)
while read -r module args; do
	case $disk:$module in
	/*:nbd.ko | /*:ublk_drv.ko) continue ;;
	esac
	# shellcheck disable=SC2086 # several arguments
	insmod "/lib/modules/$module" $args || echo "init: $module not loaded"
done </lib/modules/order

# Uncached: a file that one guest writes is seen by the other at its next look.
mount_lab()
{
	mount -t 9p -o trans=virtio,version=9p2000.L,msize=524288,cache=none,access=any \
		lab $root/lab
}

boot_disk()
{
	local dir

	mkdir -p $root
	mount -t ext4 "$disk" $root
	for dir in proc sys dev; do
		mount --move /$dir $root/$dir
	done
	mkdir -p $root/lab
	mount_lab
	mount -t tmpfs -o mode=755,nosuid,nodev tmpfs $root/run
	mkdir -p $root/run/systemd
	cp -a $root/lab/units $root/run/systemd/system
	exec switch_root $root /sbin/init
}
[ -z "$disk" ] || boot_disk

mkdir -p /lower /upper $root
mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=524288,cache=loose \
	hostroot /lower
mount -t tmpfs -o size=75% tmpfs /upper
mkdir /upper/data /upper/work
mount -t overlay -o lowerdir=/lower,upperdir=/upper/data,workdir=/upper/work \
	overlay $root

for dir in proc sys dev; do
	mount --move /$dir $root/$dir
done
mkdir -p $root/dev/pts $root/dev/shm $root/run $root/lab $root/host
mount -t devpts devpts $root/dev/pts
mount -t tmpfs tmpfs $root/dev/shm
mount -t tmpfs tmpfs $root/run
mount --move /lower $root/host
mount_lab

exec switch_root $root /bin/bash /lab/guest-run.sh
