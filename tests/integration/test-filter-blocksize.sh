#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# nbdkit's blocksize filter: what reaches the plugin is aligned, of bounded length, and
# what clients see is the same.

. "$(dirname "$0")/functions.sh"

requires_program nbdkit
requires nbdkit --dump-plugin --filter=blocksize null

format_transport transport
make_disk "$disks/disk" 32M
start_backend 1 "$disk"
start_nbdkit --filter=log --filter=blocksize --filter=log cbd "$transport" backend=1 \
	minblock=4096 maxdata=64K maxlen=1M logfile="$tmp/requests.log"
"$random_io" -s "$((SRANDOM))" -n "$(share 1000)" -o "$disks/image" "$uri" | grep -v ' finished$'
stop "$nbdkit_pid"
stop_backend 1
cmp "$disks/image" "$disk"
