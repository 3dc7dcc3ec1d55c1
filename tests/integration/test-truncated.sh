#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The transport's file is truncated under a load, as poisoned memory would be gone:
# EIO for the client, and nobody dies of a signal (rule 12).

. "$(dirname "$0")/crash.sh"

requires_program nbdkit jq

# One request after the other until the first error: nbdkit 1.32 aborts when a client
# leaves with requests in flight.
client()
{
	local offset=$1 i

	for ((i = 0; i < 10000; i++)); do
		echo $i >"$tmp/client$offset"
		"$nbd_io" "$uri" write:"$offset"M:512K:$((i % 256)) read:"$offset"M:512K:$((i % 256)) \
			zero:"$offset"M:64K flush 2>"$tmp/client$offset.log" || break
	done
	grep -q "Input/output error" "$tmp/client$offset.log"
}

clients_run()
{
	local offset

	for offset in 0 2 4 6; do
		[ "$(cat "$tmp/client$offset" 2>/dev/null)" -ge 5 ] 2>/dev/null || return 1
	done
}

# ended PID WHAT: by itself or by SIGTERM, but not of a signal
ended()
{
	local status=0

	kill "$1" 2>/dev/null || true
	wait_until 20 gone "$1" || fail "$2 does not end"
	wait "$1" || status=$?
	[ $status -le 1 ] || fail "$2 ended with status $status"
}

# truncated ENGINE SIZE [OPTION-OF-FORMAT]...
truncated()
{
	local engine=$1 size=$2 offset pid pids
	shift 2

	echo "$engine, $size bytes left: $*"
	rm -f "$memory/transport"
	format_transport transport "$@"
	make_disk "$disks/disk" 16M
	start_backend 1 --engine "$engine" "$disk"
	start_nbdkit cbd "$transport" backend=1 queues=2
	rm -f "$tmp"/client*
	pids=()
	for offset in 0 2 4 6; do
		client $offset &
		pids+=($!)
	done
	wait_until 20 clients_run || fail "the clients do not run"
	truncate -s "$size" "$transport"
	for pid in "${pids[@]}"; do
		wait_until 30 gone "$pid" || fail "a client hangs"
		wait "$pid" || fail "a client has got another error: $(cat "$tmp"/client*.log)"
	done
	if [ "$size" = 0 ]; then
		"$nbd_io" "$uri" fails:EIO:write:0:512K:1 fails:EIO:read:0:4K:0 fails:EIO:flush
	fi
	alive "$nbdkit_pid" || fail "nbdkit has died"
	ended "$nbdkit_pid" nbdkit
	ended "${backend_pids[1]}" cbd-backend
}

for options in "--coherence hardware" "--coherence hardware --data-crc" "--coherence software"; do
	rm -f "$memory/transport"
	# shellcheck disable=SC2086 # words
	format_transport transport $options
	size=$(stat -c %s "$transport")
	for engine in psync uring; do
		# all of it, and all but a part of the data areas
		# shellcheck disable=SC2086 # words
		truncated $engine 0 $options
		# shellcheck disable=SC2086 # words
		truncated $engine $((size - 20 * 1024 * 1024)) $options
	done
done
