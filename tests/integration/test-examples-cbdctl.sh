#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The examples of cbdctl(1).

. "$(dirname "$0")/examples.sh"

examples ctl/cbdctl.pod
truncate -s 64M "$shared"
example format-device
example format-file
jq -e '.size == 536870912' "$tmp/format-file.log" >/dev/null || fail "a transport of another size"
rm "$shared"
truncate -s 300M "$shared"
example format-many
make_disk "$disks/disk" 8M
transport=$memory/cbd
start_backend 1 --name small "$disk"
example look
grep -q '"size": 8388608' "$tmp/look.log" || fail "the list does not show the disk"
example check
all_run
