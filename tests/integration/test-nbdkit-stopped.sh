#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# nbdkit is told to end while a request waits, for a backend that is gone, or for one
# that beats and serves another disk: the request ends with an error, and nbdkit ends.
# So it does while it attaches.

. "$(dirname "$0")/functions.sh"

requires_program nbdkit

make_disk "$disks/other" 16M
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

# It beats, so it is not suspect.
format_transport transport --force --force --heartbeat 50
start_backend 1 "$disk"
start_nbdkit cbd "$transport" backend=1
kill_backend 1
start_backend 1 --replace "$disks/other"
"$nbd_io" "$uri" write:0:1M:8 2>"$tmp/waits.err" &
waits=$!
wait_until 10 grep -q "I/O waits for the right one" "$tmp/nbdkit.log"
alive $waits || fail "did not wait: $(cat "$tmp/waits.err")"
kill "$nbdkit_pid"
wait_until 20 gone "$nbdkit_pid" || fail "nbdkit waits for another disk"
! wait $waits || fail "the request has succeeded"
stop_backend 1

# A backend that is stopped answers no attach: nbdkit has not begun to serve.
format_transport transport --force --force --heartbeat 50 --dead-after 1000
start_backend 1 "$disk"
kill -STOP "${backend_pids[1]}"
nbdkit -f -U "$tmp/attach.sock" cbd "$transport" backend=1 2>"$tmp/attach.log" &
attaching=$!
cleanup_fn stop $attaching
wait_until 10 grep -q "$transport" "/proc/$attaching/maps" || fail "does not attach: $(cat "$tmp/attach.log")"
kill $attaching
wait_until 20 gone $attaching || fail "nbdkit goes on attaching"
# not by the attempt's own bound
status=0
wait $attaching || status=$?
[ $status -eq 143 ] || fail "nbdkit ended with status $status: $(cat "$tmp/attach.log")"
kill -CONT "${backend_pids[1]}"
