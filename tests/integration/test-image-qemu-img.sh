#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A file system goes in and out with qemu-img, which compares it too.

. "$(dirname "$0")/image.sh"

requires_program qemu-img debugfs

make_image
start_image_server --coherence software
nbd=nbd:unix:$socket
# what was there before has to go: convert skips zeroes only where it zeroed
"$nbd_io" "$uri" write:0:64M:0x5a write:64M:64M:0x5a write:128M:64M:0x5a write:192M:64M:0x5a
qemu-img convert -n -f raw -O raw "$image" "$nbd"
qemu-img compare -f raw -F raw "$image" "$nbd"
qemu-img convert -f raw -O raw "$nbd" "$disks/copy"

# compare can tell them apart
"$nbd_io" "$uri" write:200M:1:1
if qemu-img compare -f raw -F raw "$image" "$nbd"; then
	fail "qemu-img compare does not see a different byte"
fi
"$nbd_io" "$uri" write:200M:1:0
stop "$nbdkit_pid"
stop_backend 1
check_image "$disks/copy"
check_image "$disk"
