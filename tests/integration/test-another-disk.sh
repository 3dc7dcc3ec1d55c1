#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A backend comes back with another disk: nothing is ever sent to that, ESHUTDOWN
# instead, until the right one is there again; with fewer handlers or another engine
# it goes on.

. "$(dirname "$0")/crash.sh"

requires_program nbdkit

format_transport transport
make_disk "$disks/other" 16M
make_disk "$disks/larger" 32M
make_disk "$disks/disk" 16M
start_backend 1 --handlers 4 --engine psync "$disk"
start_nbdkit cbd "$transport" backend=1 queues=4
"$nbd_io" "$uri" write:0:1M:1 flush

for wrong in other larger; do
	kill_backend 1
	# in flight when the wrong one comes: never executed there
	"$nbd_io" "$uri" fails:ESHUTDOWN:write:0:1M:2 fails:ESHUTDOWN:read:0:4K:0 \
		fails:ESHUTDOWN:flush 2>"$tmp/client.log" &
	client=$!
	cleanup_fn stop $client
	start_backend 1 "$disks/$wrong"
	wait_until 20 gone $client || fail "the client hangs"
	wait $client || fail "$(cat "$tmp/client.log")"
	stop_backend 1
	cmp "$disks/$wrong" <(head -c "$(stat -c %s "$disks/$wrong")" /dev/zero)
	# a disk that was another once is never trusted again
	stop "$nbdkit_pid"
	start_backend 1 --handlers 1 --engine uring "$disk"
	start_nbdkit cbd "$transport" backend=1 queues=4
	"$nbd_io" "$uri" read:0:1M:1
done

# Fewer handlers, another engine, while requests are in flight.
start_random_io
for options in "--handlers 1 --engine psync" "--handlers 4 --engine uring" \
	"--handlers 2 --engine psync --direct"; do
	wait_for_answers 100
	kill_backend 1
	# shellcheck disable=SC2086 # words
	start_backend 1 $options "$disk"
done
wait_for_answers 100
stop_random_io
stop "$nbdkit_pid"
stop_backend 1
