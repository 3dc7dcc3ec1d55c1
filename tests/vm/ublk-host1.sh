# cbd-ublk on the kernel's driver (Linux 6.12): both sides are on this host, over
# /dev/dax0.0. The device of a file system outlives its process, which is killed under load,
# upgraded in place, and stopped while the device is mounted; and its backend.
# shellcheck shell=bash

# shellcheck source=ublk-lib.sh
. /lab/ublk-lib.sh

size=$((96 << 20))

say "a device, and what the kernel knows of it"
make_disk "$disks/disk" $size
start_backend 0 --name data --max-blkdevs 4 "$disk"
serve data add -t "$transport" --backend data --queues 2
dev=$(of data device)
[ "$(of data state) $(of data size_bytes)" = "live $size" ] || fail "$(cbd-ublk list)"
[ "$(cat /sys/block/ublkb0/queue/{logical_block_size,physical_block_size,write_cache,fua,rotational,max_sectors_kb,discard_max_bytes} |
	paste -sd ' ')" = "512 4096 write back 1 0 512 268435456" ] || fail "other parameters"
[ "$(cbd-ublk list --udev "$dev")" = CBD_UBLK_NAME=data ] || fail "no name for udev"
expect 1 "process $server serves it" cbd-ublk recover data
expect 1 "process $server serves it" cbd-ublk add -t "$transport" --backend data

say "requests of all kinds"
head -c 3M /dev/urandom >"$memory/random"
dd if="$memory/random" of="$dev" bs=1M oflag=direct status=none
cmp -n $((3 << 20)) "$memory/random" "$dev"
cmp -n $((3 << 20)) "$memory/random" "$disk"
blkdiscard -o 1M -l 1M "$dev"
blkdiscard -z -o 0 -l 4096 "$dev"
cmp -n $((1 << 20)) -i $((1 << 20)):0 "$disk" /dev/zero
cmp -n 4096 "$disk" /dev/zero
cmp -i 4096 -n $(((1 << 20) - 4096)) "$disk" "$memory/random"

say "ext4"
mkfs.ext4 -q "$dev"
mkdir "$disks/mnt"
mount "$dev" "$disks/mnt"
cleanup_fn unmount "$disks/mnt"
for n in 0 1 4097 1048576 5000003; do
	head -c $n /dev/urandom >"$disks/mnt/file-$n"
done
(cd "$disks/mnt" && sha256sum file-*) >"$tmp/sums"
fstrim "$disks/mnt"
expect 1 "$dev is in use" cbd-ublk del data

# Writes that are read again and compared, until told to stop.
load()
{
	local i=0

	until [ -e "$tmp/stop" ]; do
		fio --name=load --filename="$disks/mnt/load" --size=8M --rw=randrw --bs=4k-64k \
			--ioengine=libaio --iodepth=8 --direct=1 --verify=crc32c \
			--verify_fatal=1 --verify_backlog=64 --fsync=32 --number_ios=400 \
			--randseed=$i >"$tmp/fio.log" 2>&1 || fail "fio has failed"
		i=$((i + 1))
		echo $i >"$tmp/rounds"
	done
}

# goes_on: the load ends another request
reads_and_writes()
{
	awk '{ print $4 + $8 + $11 + $15 }' /sys/block/ublkb0/stat
}

# pause WHAT: how long until requests are answered again
pause()
{
	local start=$EPOCHREALTIME before

	before=$(reads_and_writes)
	wait_until 60 moved_on "$before" || fail "$1: nothing is answered"
	say "$1: answered again after $(((${EPOCHREALTIME/./} - ${start/./}) / 1000)) ms"
}

moved_on() # BEFORE
{
	[ "$(reads_and_writes)" -ne "$1" ]
}

say "under load"
rm -f "$tmp/stop"
load &
loader=$!
cleanup_fn stop $!
sleep 1
for i in 1 2 3; do
	killed
	serve "data-$i" recover data
	pause "killed, recovered"
	sleep 1
done
kill -HUP "$server"
# the same process, and the program once more
recovered_twice()
{
	[ "$(grep -c ': ready, ' "$tmp/data-3.log")" -eq 2 ]
}
wait_until 30 recovered_twice || fail "no upgrade in place"
pause "upgraded in place"
[ "$(of data pid)" -eq "$server" ] || fail "another process than $server"
kill_backend 0
start_backend 0 --name data --max-blkdevs 4 "$disk"
pause "the backend was killed"
killed
kill_backend 0
start_backend 0 --name data --max-blkdevs 4 "$disk"
serve data-4 recover data
pause "both were killed"
sleep 1
kill "$server"
ends 0
[ "$(of data state)" = waiting ] || fail "a mounted device was not left: $(cbd-ublk list)"
expect 1 "'cbd-ublk recover data' does" cbd-ublk add -t "$transport" --backend data
serve data-5 add -t "$transport" --backend data --recover
pause "stopped while it was mounted"
: >"$tmp/stop"
wait "$loader" || fail "the load has failed: $(cat "$tmp/fio.log")"
say "$(cat "$tmp/rounds") rounds of fio without an error"
if dmesg | grep -iE 'ublkb0.*error|error.*ublkb0'; then fail "the kernel has seen an error"; fi

say "what was written is there"
echo 3 >/proc/sys/vm/drop_caches
(cd "$disks/mnt" && sha256sum --quiet -c "$tmp/sums")
umount "$disks/mnt"
fsck.ext4 -fn "$dev" >"$tmp/fsck.log" 2>&1 || fail "fsck: $(cat "$tmp/fsck.log")"

say "removed, also without its process"
cbd-ublk del data
ends 0
[ ! -e "$dev" ] || fail "$dev is there"
[ "$(cbd-ublk list | jq -c .)" = "[]" ] || fail "$(cbd-ublk list)"
fsck.ext4 -fn "$disk" >"$tmp/fsck.log" 2>&1 || fail "fsck of the disk: $(cat "$tmp/fsck.log")"
serve ro add -t "$transport" --backend data --name ro --number 7 --read-only
[ "$(of ro device)" = /dev/ublkb7 ] || fail "not /dev/ublkb7"
[ "$(blockdev --getro /dev/ublkb7)" -eq 1 ] || fail "it can be written to"
killed
cbd-ublk del ro
[ ! -e /dev/ublkc7 ] || fail "/dev/ublkc7 is there"

say "by force, with the backend away"
serve data-6 add -t "$transport" --backend data
kill_backend 0
dd if="$dev" of="$memory/read" bs=4k count=1 iflag=direct 2>"$tmp/dd.log" &
reader=$!
sleep 1
cbd-ublk del --force data
ends 0
! wait $reader || fail "a read without a backend has succeeded"

say "in the background, without privileges"
start_backend 0 --name data --max-blkdevs 4 "$disk"
chmod 666 /dev/ublk-control "$transport"
mkdir -m 777 /run/own
# what the rule of udev does
own_nodes()
{
	until [ -e "$tmp/owned" ]; do
		for node in /dev/ublk[bc][0-9]*; do
			[ ! -e "$node" ] || chown 12345:12345 "$node"
		done
		sleep 0.05
	done
}
own_nodes &
cleanup_fn stop $!
as_user=(setpriv --reuid=12345 --regid=12345 --clear-groups env CBD_UBLK_RUN=/run/own)
"${as_user[@]}" cbd-ublk add -t "$transport" --backend data --unprivileged ||
	fail "no unprivileged device"
cbd-ublk list --udev /dev/ublkb0 | grep -x CBD_UBLK_UID=12345 >/dev/null || fail "no owner for udev"
is_owned()
{
	[ "$(stat -c %u /dev/ublkb0)" -eq 12345 ]
}
wait_until 20 is_owned
: >"$tmp/owned"
"${as_user[@]}" dd of=/dev/ublkb0 bs=1M iflag=fullblock oflag=direct status=none <"$memory/random"
cmp -n $((3 << 20)) "$memory/random" "$disk"
kill -9 "$("${as_user[@]}" cbd-ublk list | jq '.[0].pid')"
expect 1 "does not keep this device" "${as_user[@]}" cbd-ublk recover data
"${as_user[@]}" cbd-ublk del data
[ ! -e /dev/ublkc0 ] || fail "/dev/ublkc0 is there"
stop_backend 0
say "done"
