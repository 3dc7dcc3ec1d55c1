#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# A virtual machine's disk is a cbd disk by way of vhost-user-blk: qemu-storage-daemon is
# the client of nbdkit cbd, and the guest's memory and requests are shared with it. Beside it
# is a disk by -drive file=nbd:unix:SOCKET, for comparison. While the guest writes, the
# backend, nbdkit and qemu-storage-daemon are killed, one after the other, and started again;
# the guest must not notice. Commands are those of docs/vhost-user.md.
#
# Here transport, backends and nbdkit are on this machine, and one guest of lab.sh is
# the user of the disks. ROUNDS says how often the disks are measured, one after the other.
# Exits as automake wants it.

# shellcheck source-path=SCRIPTDIR/../integration
. "$(dirname "$0")/../integration/functions.sh"

lab=${abs_top_srcdir:?}/tests/vm/lab.sh
rounds=${ROUNDS:-3}
requires_program nbdkit qemu-storage-daemon e2fsck debugfs fio jq sha256sum

# The guest has no more of the test than this script.
guest_script()
{
	echo "rounds=$rounds"
	cat <<'END'
set -eu

# Requests a second, and their median in us
measure() # DISK PATTERN DEPTH [CACHE]
{
	fio --name=m --filename=/dev/$1 --size=32M --offset=64M --direct=1 --ioengine=libaio \
		--rw=$2 --bs=4k --iodepth=$3 --runtime=3 --time_based --thread \
		--output-format=json >/run/fio.json
	jq -c --arg disk "$1${4:+ $4}" --arg rw $2 --argjson depth $3 '.jobs[0] |
		(if $rw == "randread" then .read else .write end) | {disk: $disk, rw: $rw,
		depth: $depth, iops: (.iops | round),
		p50_us: (.clat_ns.percentile."50.000000" / 1000 | round)}' /run/fio.json
}

[ "$(blockdev --getsize64 /dev/vda)" = 134217728 ]
[ "$(blockdev --getsize64 /dev/vdb)" = 134217728 ]
# the daemon begins so, and lets the guest choose
[ "$(cat /sys/block/vdb/cache_type)" = "write through" ]
for round in $(seq $rounds); do
	for disk in vda vdb; do
		measure $disk randread 1
		measure $disk randread 16
	done
	echo "write through" >/sys/block/vdb/cache_type
	measure vdb randwrite 16 through
	measure vda randwrite 16
	echo "write back" >/sys/block/vdb/cache_type
	measure vdb randwrite 16
done >/lab/measured
echo "write back" >/sys/block/vdb/cache_type
[ "$(cat /sys/block/vdb/cache_type)" = "write back" ]

mkfs.ext4 -q /dev/vdb
mkdir -p /mnt/vdb
mount /dev/vdb /mnt/vdb
i=0
until [ -e /lab/stop ]; do
	head -c 300003 /dev/urandom >/mnt/vdb/file-$((i % 20))
	sync -f /mnt/vdb/file-$((i % 20))
	i=$((i + 1))
	echo $i >/lab/written
done
cd /mnt/vdb
sha256sum file-* >/lab/sums
cd /
rm /mnt/vdb/file-0
fstrim /mnt/vdb
umount /mnt/vdb
e2fsck -fn /dev/vdb
mount /dev/vdb /mnt/vdb
echo 3 >/proc/sys/vm/drop_caches
cd /mnt/vdb
grep -v ' file-0$' /lab/sums | sha256sum -c --quiet
cd /
umount /mnt/vdb
! dmesg | grep -E 'I/O error|blk_update_request'
END
}

# serve ID: nbdkit with a socket of its own
serve()
{
	start_nbdkit cbd transport="$transport" backend="$1"
	mv "$socket" "$tmp/$1.sock"
	nbdkit_pids[$1]=$nbdkit_pid
}

start_daemon()
{
	local node=driver=nbd,node-name=disk,server.type=unix,server.path=$tmp/2.sock

	rm -f "$tmp/vhost.sock" "$tmp/daemon.pid"
	qemu-storage-daemon --pidfile "$tmp/daemon.pid" \
		--blockdev "$node,reconnect-delay=86400,discard=unmap" \
		--export "vhost-user-blk,id=disk,node-name=disk,writable=on,num-queues=2,addr.type=unix,addr.path=$tmp/vhost.sock" \
		2>>"$tmp/daemon.log" &
	daemon=$!
	cleanup_fn stop $daemon
	wait_until 20 daemon_started || fail "qemu-storage-daemon: not ready in time"
	[ -s "$tmp/daemon.pid" ] || fail "qemu-storage-daemon has not started"
}

daemon_started()
{
	[ -s "$tmp/daemon.pid" ] || gone $daemon
}

run_guest()
{
	# devices in the order of their names in the guest
	LAB_EXTRA="-drive file=nbd:unix:$tmp/1.sock,format=raw,if=none,id=drive"
	LAB_EXTRA+=" -device virtio-blk-pci,drive=drive"
	LAB_EXTRA+=" -object memory-backend-memfd,id=ram,size=1G,share=on -machine memory-backend=ram"
	LAB_EXTRA+=" -chardev socket,id=vhost,path=$tmp/vhost.sock,reconnect=1"
	LAB_EXTRA+=" -device vhost-user-blk-pci,chardev=vhost,num-queues=2"
	export LAB_EXTRA
	LAB_TIMEOUT=$(limit $((120 + 20 * rounds))) "$lab" run "$tmp/script" >"$tmp/lab.log" 2>&1
}

# Sets $written.
written()
{
	written=0
	[ ! -e "$LAB_RUN/written" ] || read -r written <"$LAB_RUN/written" || true
}

has_written() # N
{
	written
	gone $guest || [ "${written:-0}" -ge "$1" ]
}

guest_failed() # WHEN
{
	cat "$tmp/lab.log" "$LAB_RUN"/node-1/{out,console,qemu.log}
	fail "$1: the guest has failed"
}

writes_on() # WHAT [SECONDS]
{
	written
	wait_until "${2:-60}" has_written $((${written:-0} + 3)) || fail "$1: nothing is written"
	! gone $guest || guest_failed "$1"
	echo "$1: the guest writes on"
}

status=0
"$lab" build >"$tmp/build.log" 2>&1 || status=$?
case $status in
0) ;;
77) skip "this machine cannot run the guest: $(tail -n 1 "$tmp/build.log")" ;;
*) fail "what the guest boots from could not be built: $(tail -n 1 "$tmp/build.log")" ;;
esac

export LAB_RUN=$tmp/lab
mkdir "$LAB_RUN"
guest_script >"$tmp/script"
declare -A nbdkit_pids # by backend
format_transport transport
for id in 1 2; do
	make_disk "$disks/$id" 128M
	start_backend $id "$disk"
	serve $id
done
start_daemon

run_guest &
guest=$!
cleanup_fn "$lab" clean
writes_on "begins" $((120 + 20 * rounds))
kill_backend 2
start_backend 2 "$disks/2"
writes_on "the backend was killed"
kill -9 "${nbdkit_pids[2]}"
serve 2
writes_on "nbdkit was killed"
kill -9 $daemon
start_daemon
writes_on "qemu-storage-daemon was killed"
kill -9 $daemon "${nbdkit_pids[2]}"
kill_backend 2
start_backend 2 "$disks/2"
serve 2
start_daemon
writes_on "all three were killed"
: >"$LAB_RUN/stop"
wait $guest || status=$?
[ $status -eq 0 ] || guest_failed "at the end"
jq -s 'group_by([.rw, .depth, .disk]) | map({disk: .[0].disk, rw: .[0].rw, depth: .[0].depth,
	iops: (map(.iops) | sort | .[length / 2 | floor]),
	p50_us: (map(.p50_us) | sort | .[length / 2 | floor])})[]' -c "$LAB_RUN/measured"
stop $daemon
for id in 1 2; do
	stop "${nbdkit_pids[$id]}"
	stop_backend $id
done
e2fsck -fn "$disks/2"
debugfs -R "cat /file-3" "$disks/2" 2>/dev/null | sha256sum | cut -d' ' -f1 |
	grep -xf - <(sed -n "s/  file-3\$//p" "$LAB_RUN/sums") >/dev/null ||
	fail "file-3 is not on the disk as the guest wrote it"
