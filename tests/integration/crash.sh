# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
#
# crash.sh - random I/O in the background, to be disturbed. Sourced by the tests of
# processes that are killed.

# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/functions.sh"

# start_random_io: on $uri, until stop_random_io; sets $random_pid
start_random_io()
{
	: >"$tmp/random-io.log"
	"$random_io" -n 0 -s "${RANDOM_SEED:-$SRANDOM}" -o "$disks/image" "$uri" \
		>"$tmp/random-io.log" 2>&1 &
	random_pid=$!
	cleanup_fn stop $!
}

# How many requests were answered.
random_answered()
{
	awk '/^[0-9]+ finished$/ { n = $1 } END { print n + 0 }' "$tmp/random-io.log"
}

random_reached()
{
	gone "$random_pid" || [ "$(random_answered)" -ge "$1" ]
}

# wait_for_answers N: more than there are
wait_for_answers()
{
	local goal=$(($(random_answered) + $1))

	wait_until 30 random_reached $goal || fail "requests are not answered any more"
	alive "$random_pid" || fail "random-io has ended"
}

# It verifies the whole disk before it ends.
stop_random_io()
{
	local status=0

	kill "$random_pid"
	wait_until 60 gone "$random_pid" || fail "random-io does not end"
	wait "$random_pid" || status=$?
	tail -n 1 "$tmp/random-io.log"
	[ $status -eq 0 ] || fail "random-io: status $status"
}

# backend_killed_test ENGINE [OPTION-OF-FORMAT]...
backend_killed_test()
{
	local engine=$1 round
	shift

	requires_program nbdkit
	format_transport transport "$@"
	make_disk "$disks/disk" 64M
	start_backend 1 --engine "$engine" "$disk"
	start_nbdkit cbd "$transport" backend=1 queues=4
	start_random_io
	for ((round = 0; round < $(share 10); round++)); do
		wait_for_answers 200
		kill_backend 1
		start_backend 1 --engine "$engine" "$disk"
	done
	wait_for_answers 200
	stop_random_io
	stop "$nbdkit_pid"
	stop_backend 1
	cmp "$disks/image" "$disk"
	if grep 'error: .* bytes at' "$tmp/nbdkit.log"; then fail "requests have failed"; fi
}
