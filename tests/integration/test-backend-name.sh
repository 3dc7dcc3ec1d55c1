#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A name finds the backend that bears it now, wherever its slot is; a second living one
# with the same name is refused.

. "$(dirname "$0")/functions.sh"

requires_program nbdkit

# served_by BYTE: what a new nbdkit finds under the name
served_by()
{
	timeout "$(limit 20)" nbdkit -U - cbd "$transport" backend=scratch \
		--run "'$nbd_io' \"\$uri\" read:0:4K:$1" || fail "not the disk with $1"
}

format_transport transport
for n in 1 2 3; do
	make_disk "$disks/$n" 16M
	head -c 16M /dev/zero | tr '\0' "\\$n" >"$disks/$n"
done

start_backend 1 --name scratch "$disks/1"
served_by 1
# stopped in order, and again in another slot
stop_backend 1
start_backend 2 --name scratch "$disks/2"
served_by 2
# killed, and again in another slot
kill_backend 2
start_backend 3 --name scratch "$disks/3"
served_by 3
# the same slot with another name
stop_backend 3
start_backend 3 --name other "$disks/3"
expect 1 "backend 'scratch': " timeout "$(limit 20)" nbdkit -U "$tmp/s" cbd "$transport" backend=scratch
rm -f "$tmp/s"

expect 1 "name 'other': backend 3 has it, process ${backend_pids[3]} on host 0" \
	cbd-backend -f -t "$transport" --id 1 --name other "$disks/1"
