#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# SIGTERM and SIGINT stop cbd-backend in order: it exits with 0, and slot, disk and
# pid file are free.

. "$(dirname "$0")/functions.sh"

requires_program nbdkit jq

format_transport transport
make_disk "$disks/disk" 16M

for signal in TERM INT; do
	start_backend 1 -P "$tmp/backend.pid" "$disk"
	pid=${backend_pids[1]}
	wait_until 5 test -s "$tmp/backend.pid"
	[ "$(cat "$tmp/backend.pid")" = "$pid" ] || fail "the pid file has another pid"
	cbdctl list -B "$transport" | jq -e ".[0].pid == $pid and .[0].state == \"live\"" >/dev/null

	# SIGHUP is ignored
	kill -HUP "$pid"
	kill -"$signal" "$pid"
	wait_until 10 gone "$pid"
	status=0
	wait "$pid" || status=$?
	[ $status -eq 0 ] || fail "SIG$signal: status $status"
	[ ! -e "$tmp/backend.pid" ] || fail "SIG$signal: the pid file is still there"
	cbdctl list -B "$transport" | jq -e 'length == 0' >/dev/null ||
		fail "the slot is in use: $(cbdctl list -B "$transport")"
done

# With a client: what was taken is finished, then requests end with ESHUTDOWN.
start_backend 1 "$disk"
start_nbdkit cbd "$transport" backend=1
"$nbd_io" "$uri" write:0:1M:1
stop_backend 1
"$nbd_io" "$uri" fails:ESHUTDOWN:read:0:512:1 fails:ESHUTDOWN:write:0:512:1
cmp -n 1048576 "$disk" <(tr '\0' '\1' </dev/zero)
