#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A trim of 192 MiB frees space on the disk and changes nothing beside its range.

. "$(dirname "$0")/functions.sh"

requires_program nbdkit

allocated()
{
	stat -c %b "$disk"
}

format_transport transport
make_disk "$disks/disk" 256M
start_backend 1 "$disk"
start_nbdkit cbd "$transport" backend=1

"$nbd_io" "$uri" write:0:64M:7 write:64M:64M:7 write:128M:64M:7 write:192M:64M:7
before=$(allocated)
"$nbd_io" "$uri" trim:10000:192M read:0:10000:7 read:201336592:67098864:7
after=$(allocated)
echo "$before blocks before, $after after"
# 192 MiB are 393216 blocks of 512 bytes
[ $((before - after)) -gt 390000 ] || fail "the disk has freed $((before - after)) blocks"

# the whole disk, and it can be written again
"$nbd_io" "$uri" trim:0:256M write:100M:64M:3 read:100M:64M:3
