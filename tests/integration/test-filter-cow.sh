#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# nbdkit's cow filter: changes are seen and thrown away, the disk keeps what it had.

. "$(dirname "$0")/functions.sh"

requires_program nbdkit
requires nbdkit --dump-plugin --filter=cow null

format_transport transport
make_disk "$disks/disk" 8M
start_backend 1 "$disk"
start_nbdkit cbd "$transport" backend=1
"$nbd_io" "$uri" write:0:8M:0x11 flush
stop "$nbdkit_pid"
cp "$disk" "$disks/before"

start_nbdkit --filter=cow cbd "$transport" backend=1 readonly=true
"$nbd_io" "$uri" write:1M:1M:0x22 write:4093:7:0x33 write:4M:1M:0 flush
"$nbd_io" "$uri" read:0:4093:0x11 read:4093:7:0x33 read:1M:1M:0x22 read:2M:2M:0x11 read:4M:1M:0
stop "$nbdkit_pid"
cmp "$disk" "$disks/before"

# and a new process sees nothing of it
start_nbdkit --filter=cow cbd "$transport" backend=1 readonly=true
"$nbd_io" "$uri" read:0:8M:0x11
