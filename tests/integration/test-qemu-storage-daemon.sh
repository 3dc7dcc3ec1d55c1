#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# qemu-storage-daemon as a client, which serves the disk on to clients of its own.

. "$(dirname "$0")/functions.sh"

requires_program nbdkit qemu-storage-daemon cmp

format_transport transport
make_disk "$disks/disk" 32M
start_backend 1 "$disk"
start_nbdkit cbd "$transport" backend=1 queues=2

qemu-storage-daemon \
	--blockdev "driver=nbd,node-name=disk,server.type=unix,server.path=$socket,discard=unmap" \
	--nbd-server "addr.type=unix,addr.path=$tmp/qsd.sock" \
	--export type=nbd,id=export,node-name=disk,name=disk,writable=on \
	--pidfile "$tmp/qsd.pid" 2>"$tmp/qsd.log" &
qsd=$!
cleanup_fn stop $qsd
qsd_started()
{
	[ -s "$tmp/qsd.pid" ] || gone $qsd
}
wait_until 20 qsd_started || fail "qemu-storage-daemon: not ready in time"
"$random_io" -s "$((SRANDOM))" -n "$(share 1000)" -o "$disks/image" \
	"nbd+unix:///disk?socket=$tmp/qsd.sock" | grep -v ' finished$'
stop $qsd
stop "$nbdkit_pid"
stop_backend 1
cmp "$disks/image" "$disk"
