# The host without a disk: formats the memory, serves host 2's disk with nbdkit,
# mounts it as /dev/nbd0, and finds its files again after nbdkit was killed.
# shellcheck shell=bash

# shellcheck source=guest-lib.sh
. /lab/guest-lib.sh

nbd=/dev/nbd0
socket=/run/cbd.sock
pidfile=/run/cbd.pid
uri="nbd+unix:///?socket=$socket"

start_nbdkit()
{
	rm -f "$socket" "$pidfile"
	"$RUN" nbdkit -U "$socket" -P "$pidfile" \
		cbd transport="$dev" backend=1
	wait_until "nbdkit's pid file" test -s "$pidfile"
	say "nbdkit runs"
}

end_nbdkit() # SIGNAL
{
	local pid

	pid=$(cat "$pidfile")
	kill "-$1" "$pid"
	wait_until "nbdkit to end" gone "$pid"
	say "nbdkit has ended by $1"
}

nbd_is_ready()
{
	[ "$(blockdev --getsize64 "$nbd")" = "$disk_size" ]
}

connect()
{
	nbd-client -unix "$socket" "$nbd"
	wait_until "$nbd to have its size" nbd_is_ready
}

nbd_is_free()
{
	[ ! -e "/sys/block/${nbd##*/}/pid" ]
}

disconnect()
{
	nbd-client -d "$nbd"
	wait_until "$nbd to be free" nbd_is_free
}

write_files() # FOLDER
{
	local size

	for size in 0 1 511 4096 4097 65537 1048576 20000003; do
		head -c "$size" /dev/urandom >"$1/file-$size"
	done
	(cd "$1" && sha256sum file-*) >/lab/sums
}

fill_disk()
{
	mkfs.ext4 -q "$nbd"
	mount "$nbd" /mnt
	write_files /mnt
	umount /mnt
	e2fsck -fn "$nbd"
	say "the files are written"
}

check_size() # WHAT SIZE
{
	[ "$2" = "$disk_size" ] || die "$1 says $2 bytes, not $disk_size"
}

check_clients()
{
	check_size qemu-img "$(qemu-img info --output=json "nbd:unix:$socket" |
		jq '."virtual-size"')"
	nbdinfo "$uri"
	check_size nbdinfo "$(nbdinfo --size "$uri")"
}

check_list()
{
	cbdctl list "$dev"
	wait_until "two hosts to be alive" has_alive 2 -H
	wait_until "one backend to be alive" has_alive 1 -B
	wait_until "one blkdev to be alive" has_alive 1 -D
}

check_files()
{
	echo 3 >/proc/sys/vm/drop_caches
	mount -o ro "$nbd" /mnt
	(cd /mnt && sha256sum -c /lab/sums)
	umount /mnt
}

need_build
new_host_id
cbdctl format --force --coherence="$KIND" "$dev"
raise_flag formatted
wait_flag backend-runs

start_nbdkit
connect
fill_disk
# In the other kind of memory they would say the same, and take as long.
[ "$KIND" != hardware ] || check_clients
check_list
disconnect
end_nbdkit KILL

start_nbdkit
connect
check_files
disconnect
end_nbdkit TERM
raise_flag nbdkit-ended
