#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# timeout= by rule 9: EIO in time, new writes end with EIO until the late one was
# answered, and what is written after that is not undone by it. And a plugin ends
# although its backend is dead or hangs.

. "$(dirname "$0")/functions.sh"

requires_program nbdkit jq

for coherence in hardware software; do
	rm -f "$memory/transport"
	format_transport transport --coherence $coherence
	make_disk "$disks/disk" 16M
	start_backend 1 "$disk"
	start_nbdkit cbd "$transport" backend=1 queues=2 timeout=2

	"$nbd_io" "$uri" write:0:64K:1 flush
	kill -STOP "${backend_pids[1]}"
	start=$SECONDS
	"$nbd_io" "$uri" fails:EIO:write:0:64K:2 fails:EIO:write:1M:4K:2 fails:EIO:zero:1M:4K
	"$nbd_io" "$uri" fails:EIO:read:0:64K:1
	! late $start 10 || fail "EIO after $((SECONDS - start)) s only"
	kill -CONT "${backend_pids[1]}"
	wait_until 10 "$nbd_io" "$uri" write:0:64K:3 2>/dev/null ||
		fail "writes fail although the backend is back"
	"$nbd_io" "$uri" flush read:0:64K:3
	cmp -n 65536 "$disk" <(tr '\0' '\3' </dev/zero)

	# a backend that hangs, and one that is dead, keep nobody
	for signal in STOP KILL; do
		kill -$signal "${backend_pids[1]}"
		stop "$nbdkit_pid"
		if [ $signal = STOP ]; then
			kill -CONT "${backend_pids[1]}"
		else
			wait "${backend_pids[1]}" 2>/dev/null || true
			start_backend 1 "$disk"
		fi
		start_nbdkit cbd "$transport" backend=1 queues=4
		"$nbd_io" "$uri" read:0:64K:3
		cbdctl list "$transport" | jq -e '(.blkdevs | length == 1) and
			([.channels[] | select(.state == "granted")] | length == 4)' >/dev/null ||
			fail "something is left: $(cbdctl list "$transport")"
	done
	stop "$nbdkit_pid"
	stop_backend 1
	expect 0 "" cbdctl check "$transport"
done
