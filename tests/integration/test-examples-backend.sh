#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The examples of cbd-backend(8).

. "$(dirname "$0")/examples.sh"

examples backend/cbd-backend.pod
truncate -s 64M "$shared"
truncate -s 16M "$disks/images/scratch.img" "$scratch/debian.img"
example offer
example readers
cbdctl list -B "$shared" | jq -e 'length == 2 and .[1].read_only and .[1].max_blkdevs == 3' \
	>/dev/null || fail "not the two backends of the examples"
example upgrade
example stop
wait_until 10 test ! -e "$tmp/run/cbd-backend-1.pid" || fail "cbd-backend has not stopped"
all_run
