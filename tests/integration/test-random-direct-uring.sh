#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Random I/O against a shadow copy: O_DIRECT, so that requests which begin or end
# inside a block are read, changed and written by the backend; engine uring.

. "$(dirname "$0")/random.sh"

operations=$((operations / 2))
requires dd if=/dev/zero of="$disks/probe" bs=4096 count=1 oflag=direct
format_transport transport
random_round 4 "$disks" uring --direct --handlers 2
