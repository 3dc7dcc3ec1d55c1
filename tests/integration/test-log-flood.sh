#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# What goes wrong at full speed does not fill the logs: failing requests in nbdkit's, and
# clients that are refused in the backend's. What was left out is counted.

. "$(dirname "$0")/functions.sh"

requires_program nbdkit

# kind LOG TEXT: lines of one kind, without those that count
kind()
{
	grep -F "$2" "$1" | grep -cv "more like this" || true
}

# counted LOG TEXT: what the lines that count have counted
counted()
{
	grep -F "$2" "$1" | sed -n 's/.* \([0-9]*\) more like this in .*/\1/p' |
		awk '{ n += $1 } END { print n + 0 }'
}

# limited LOG TEXT TOTAL: at most 10 in ten seconds, and none is forgotten
limited()
{
	local written most=$((10 * (SECONDS / 10 + 2)))

	written=$(kind "$1" "$2")
	if [ "$written" -lt 1 ] || [ "$written" -gt $most ]; then
		fail "$written lines, at most $most are right: $2"
	fi
	[ $((written + $(counted "$1" "$2"))) -ge "$3" ] ||
		fail "$written written and $(counted "$1" "$2") counted, not $3: $2"
}

format_transport transport
make_disk "$disks/disk" 16M
start_backend 1 "$disk"
start_nbdkit cbd "$transport" backend=1

# --- Clients that are refused -----------------------------------------------

for _ in {1..30}; do
	expect 1 "has its maximum of blkdevs attached" timeout "$(limit 20)" \
		nbdkit -U "$tmp/no.sock" cbd "$transport" backend=1
done

# --- Requests that fail -----------------------------------------------------

stop_backend 1
limited "$tmp/backend-1.log" "refused: the maximum of blkdevs is attached" 30
expect 0 "" cbdctl clear backend 1 "$transport"
requests=()
for _ in {1..500}; do
	requests+=(fails:ESHUTDOWN:write:0:4K:1)
done
"$nbd_io" "$uri" "${requests[@]}"
stop "$nbdkit_pid"
limited "$tmp/nbdkit.log" "backend 1: write 4096 bytes at 0: " 500
