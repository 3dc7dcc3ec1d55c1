#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The largest and the smallest requests, and those that reach beyond the end.

. "$(dirname "$0")/functions.sh"

requires_program nbdkit

format_transport transport
make_disk "$disks/disk" $((128 * 1024 * 1024 + 512))
start_backend 1 "$disk"
start_nbdkit cbd "$transport" backend=1
end=134218240

# one request of 64 MiB, aligned and not
"$nbd_io" "$uri" write:0:64M:1 read:0:64M:1 read:64M:64M:0
"$nbd_io" "$uri" write:32769:64M:2:fua read:0:32769:1 read:32769:64M:2 read:67141633:1M:0

# one byte
"$nbd_io" "$uri" write:100:1:3 zero:200:1 trim:300:1 \
	read:0:100:1 read:100:1:3 read:101:99:1 read:200:1:0 read:201:99:1 read:301:9:1

# the end
"$nbd_io" "$uri" write:$((end - 1)):1:4 read:$((end - 1)):1:4 read:$((end - 2)):1:0
"$nbd_io" "$uri" write:$((end - 1000)):1000:5 read:$((end - 1000)):1000:5
"$nbd_io" "$uri" zero:$((end - 999)):999 read:$((end - 1000)):1:5 read:$((end - 999)):999:0

# beyond it
"$nbd_io" "$uri" fails:ENOSPC:write:$((end - 1)):2:6 fails:EINVAL:read:$((end - 1)):2:6 \
	fails:EINVAL:read:$end:1:6 fails:ENOSPC:zero:$((end - 999)):1000 \
	fails:EINVAL:trim:$((end - 1)):2 fails:EINVAL:read:0xffffffffffffff00:1:0 \
	read:$((end - 1)):1:0
