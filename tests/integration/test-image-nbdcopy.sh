#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A file system goes in and out with nbdcopy, over several connections.

. "$(dirname "$0")/image.sh"

requires_program nbdcopy debugfs

make_image
start_image_server --coherence hardware
nbdcopy --flush "$image" "$uri"
nbdcopy "$uri" "$disks/copy"
stop "$nbdkit_pid"
stop_backend 1
check_image "$disks/copy"
check_image "$disk"
