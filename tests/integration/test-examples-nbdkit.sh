#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The examples of nbdkit-cbd-plugin(1).

. "$(dirname "$0")/examples.sh"

requires_program qemu-img nbdinfo nbdcopy cmp

examples nbdkit-plugin/nbdkit-cbd-plugin.pod
truncate -s 32M "$disks/srv/disk.img"
head -c 32M /dev/urandom >"$scratch/disk.img"
format_shared
example serve
cmp "$scratch/disk.img" "$disks/srv/disk.img"
qemu-img compare -f raw -F qcow2 "$scratch/disk.img" "$scratch/copy.qcow2"
stop_daemons

format_shared
example exports
stop_daemons

format_shared
start_backend 1 "$disks/srv/disk.img"
example list
example cow
cmp "$scratch/disk.img" "$disks/srv/disk.img"
stop_backend 1

example one-host
all_run
