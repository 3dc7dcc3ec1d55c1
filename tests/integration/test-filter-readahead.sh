#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# nbdkit's readahead filter: the data of sequential and of random reads is right.

. "$(dirname "$0")/functions.sh"

requires_program nbdkit nbdcopy cmp
requires nbdkit --dump-plugin --filter=readahead null

format_transport transport
make_disk "$disks/disk" 32M
head -c 32M /dev/urandom >"$disk"
start_backend 1 "$disk"
start_nbdkit --filter=readahead cbd "$transport" backend=1
nbdcopy --connections=1 --requests=1 --request-size=65536 "$uri" "$disks/copy"
cmp "$disk" "$disks/copy"
"$random_io" -s "$((SRANDOM))" -n "$(share 1000)" -o "$disks/image" "$uri" | grep -v ' finished$'
stop "$nbdkit_pid"
stop_backend 1
cmp "$disks/image" "$disk"
