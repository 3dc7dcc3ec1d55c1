# The host with the disk: runs cbd-backend on a file until host 1 is done, then
# looks into that file itself.
# shellcheck shell=bash

# shellcheck source=guest-lib.sh
. /lab/guest-lib.sh

disk=/run/disk.img

check_disk()
{
	e2fsck -fn "$disk"
	mount -o loop,ro "$disk" /mnt
	(cd /mnt && sha256sum -c /lab/sums)
	umount /mnt
}

need_build
new_host_id
new_disk "$disk"
wait_flag formatted
start_backend 1 "$disk" --handlers 2
raise_flag backend-runs
wait_flag nbdkit-ended
stop_backend
check_disk
