#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# nbdkit is told to end while a request waits for a backend that is gone: the request
# ends with an error, and nbdkit ends.

. "$(dirname "$0")/functions.sh"

requires_program nbdkit

make_disk "$disks/disk" 16M
for parameters in "backend=1" ""; do
	format_transport transport --force --force --heartbeat 50
	start_backend 1 "$disk"
	# shellcheck disable=SC2086 # none, or one
	start_nbdkit cbd "$transport" $parameters
	[ -n "$parameters" ] || uri=${uri/:\/\/\//:\/\/\/1}
	"$nbd_io" "$uri" write:0:1M:7
	kill -STOP "${backend_pids[1]}"
	"$nbd_io" "$uri" write:0:1M:8 2>"$tmp/waits.err" &
	waits=$!
	kill_backend 1
	alive $waits || fail "did not wait: $(cat "$tmp/waits.err")"
	kill "$nbdkit_pid"
	wait_until 20 gone "$nbdkit_pid" || fail "nbdkit waits still"
	! wait $waits || fail "the request has succeeded"
done
