#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# nbdkit is killed while a client does I/O; the same command attaches at once, and
# what was acknowledged is there.

. "$(dirname "$0")/crash.sh"

requires_program nbdkit

for coherence in hardware software; do
	format_transport $coherence --coherence $coherence
	make_disk "$disks/$coherence" 64M
	start_backend 1 "$disk"
	for round in 1 2 3; do
		start_nbdkit cbd "$transport" backend=1 queues=4
		[ $round -eq 1 ] || "$nbd_io" "$uri" read:0:8M:$((round - 1))
		# random-io does not know what was lost of its requests: here it
		# is the load, and nbd-io the one who knows
		start_random_io
		wait_for_answers 200
		kill -9 "$nbdkit_pid"
		wait "$nbdkit_pid" 2>/dev/null || true
		wait_until 10 gone "$random_pid" || fail "the client has not noticed"

		start=$SECONDS
		start_nbdkit cbd "$transport" backend=1 queues=4
		! late $start 5 || fail "attached after $((SECONDS - start)) s only"
		"$nbd_io" "$uri" write:0:8M:$round flush
		kill -9 "$nbdkit_pid"
		wait "$nbdkit_pid" 2>/dev/null || true
	done
	stop_backend 1
	cmp -n 8388608 "$disk" <(tr '\0' '\3' </dev/zero)
done
