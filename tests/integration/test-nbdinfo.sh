#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# What nbdkit tells clients of the disk.

. "$(dirname "$0")/functions.sh"

requires_program nbdkit nbdinfo jq

# info FILTER: true of the one export
info()
{
	nbdinfo --json "$uri" >"$tmp/info.json"
	jq -e ".exports | length == 1 and (.[0] | $1)" "$tmp/info.json" >/dev/null ||
		fail "not so: $1: $(cat "$tmp/info.json")"
}

format_transport transport
make_disk "$disks/disk" 100M
start_backend 1 --name scratch "$disk"
start_nbdkit cbd "$transport" backend=1
info '."export-name" == "" and ."export-size" == 104857600'
info '.description == "'"$disk"', 100.00 MiB"'
info '.can_multi_conn and .can_fua and .can_flush and .can_trim and .can_zero'
info '.can_fast_zero and .can_cache == false and .is_read_only == false'
info '.block_size_minimum == 1 and .block_size_preferred == 4096'
info '.block_size_maximum == 67108864'

# nothing was written yet
nbdinfo --map --json "$uri" |
	jq -e '. == [{offset: 0, length: 104857600, type: 3, description: "hole,zero"}]' >/dev/null ||
	fail "base:allocation: $(nbdinfo --map "$uri")"

# an extent of more than 4 GiB made older servers abort
stop "$nbdkit_pid"
make_disk "$disks/large" 9G
start_backend 2 "$disk"
start_nbdkit cbd "$transport" backend=2
info '."export-size" == 9663676416'
nbdinfo --map --json "$uri" | jq -e 'map(.length) | add == 9663676416' >/dev/null ||
	fail "base:allocation: $(nbdinfo --map "$uri")"

# by name, and read-only in both ways
stop "$nbdkit_pid"
start_nbdkit cbd "$transport" backend=scratch readonly=true
info '.is_read_only and .can_trim == false and ."export-size" == 104857600'
stop "$nbdkit_pid"
start_nbdkit -r cbd "$transport" backend=scratch
info '.is_read_only and .can_zero == false'
