#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# cbdctl check finds nothing, and with --repair repairs nothing, on a sound transport
# whose lines change all the time: under random I/O, and while clients come and go. What
# they write is not disturbed either.

. "$(dirname "$0")/crash.sh"

requires_program nbdkit

rounds=$(share 4)

# sound COUNT: so often, looking and repairing
sound()
{
	local i option

	for ((i = 0; i < $1; i++)); do
		for option in "" --repair; do
			# shellcheck disable=SC2086 # none or one
			expect 0 "" cbdctl check $option "$transport"
			[ ! -s "$tmp/expect.err" ] || fail "check $option: $(cat "$tmp/expect.err")"
			grep -qx "$transport: sound" "$tmp/expect.out"
		done
	done
}

come_and_go()
{
	while [ ! -e "$tmp/enough" ]; do
		timeout "$(limit 20)" nbdkit -U - cbd "$transport" backend=0 queues=2 \
			--run "'$nbd_io' \"\$uri\" write:0:64K:1 read:0:64K:1" || return
		echo once >>"$tmp/visits"
	done
}

for kind in hardware software; do
	format_transport transport --force --force --coherence $kind --heartbeat 20 \
		--dead-after 100
	make_disk "$disks/disk" 32M
	start_backend 0 --handlers 2 "$disk"
	start_nbdkit cbd "$transport" backend=0 queues=3
	start_random_io
	wait_for_answers 50
	sound "$rounds"
	wait_for_answers 50
	stop_random_io
	stop "$nbdkit_pid"

	rm -f "$tmp/enough" "$tmp/visits"
	come_and_go &
	visitors=$!
	wait_until 20 test -s "$tmp/visits" || fail "nobody has come"
	sound "$rounds"
	: >"$tmp/enough"
	wait $visitors || fail "a client has failed"
	stop_backend 0
done
