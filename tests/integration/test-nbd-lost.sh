#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The disk of an NBD server that dies and comes back: requests wait and nothing is lost
# that was durable; what was not flushed is reported once; the same when the backend dies,
# after whose end the server may still be writing.

. "$(dirname "$0")/nbd-server.sh"

requires_program nbdkit
format_transport transport
make_disk "$disks/disk" 32M

# --- Killed under load -------------------------------------------------------

# start_file_server [one]: "one" connection is to serve all handlers
start_file_server()
{
	if [ -n "${1-}" ]; then
		start_server server --filter=multi-conn file "$disks/disk" multi-conn-mode=disable
	else
		start_server server file "$disks/disk"
	fi
}

for mode in "" one; do
	echo "server killed under load, connections: ${mode:-two}"
	start_file_server $mode
	start_backend 1 --handlers 2 --write-through "$server_uri"
	start_nbdkit cbd "$transport" backend=1 queues=4
	start_random_io
	for ((round = 0; round < $(share 5); round++)); do
		wait_for_answers 200
		kill_server
		start_file_server $mode
	done
	wait_for_answers 200
	stop_random_io
	stop "$nbdkit_pid"
	stop_backend 1
	stop "$server_pid"
	cmp "$disks/image" "$disks/disk"
	if grep 'error: .* bytes at' "$tmp/nbdkit.log"; then fail "requests have failed"; fi
	[ "$(grep -c 'connected again' "$tmp/backend-1.log")" -ge "$(share 5)" ] ||
		fail "it has not lost a connection for each server"
	! grep 'may be under way' "$tmp/backend-1.log" || fail "a dead server was waited for"
	! grep 'may be lost' "$tmp/backend-1.log" || fail "a loss of what is durable"
done

# --- What was not flushed ---------------------------------------------------

pause()
{
	wait_until 20 test -e "$tmp/pause" || fail "it does not come so far"
}

# client REQUEST...: until its pause
client()
{
	rm -f "$tmp/pause"
	"$nbd_io" "$uri" "$@" 2>"$tmp/client.log" &
	client_pid=$!
	cleanup_fn stop $!
	pause
}

client_ends()
{
	local status=0

	rm "$tmp/pause"
	wait "$client_pid" || status=$?
	[ $status -eq 0 ] || fail "the client: $(cat "$tmp/client.log")"
}

start_file_server
start_backend 1 --handlers 2 "$server_uri"
start_nbdkit cbd "$transport" backend=1 queues=2

echo "nothing to lose"
client write:0:1M:1 flush pause:"$tmp/pause" flush write:0:4K:2 flush
kill_server
start_file_server
client_ends

echo "server killed: one error"
client write:0:1M:3 pause:"$tmp/pause" fails:EIO:flush flush write:0:1M:4 flush read:0:1M:4
kill_server
start_file_server
client_ends

echo "backend stopped in order: no error"
client write:0:1M:5 pause:"$tmp/pause" flush read:0:1M:5
stop_backend 1
start_backend 1 --handlers 2 "$server_uri"
client_ends
! grep 'may be under way' "$tmp/backend-1.log" || fail "it waits after a stop in order"

echo "backend replaced: no error"
client write:0:1M:6 pause:"$tmp/pause" flush read:0:1M:6
old=${backend_pids[1]}
start_backend 1 --takeover --handlers 2 "$server_uri"
wait_until 20 gone "$old" || fail "the old process stays"
client_ends
! grep 'may be under way' "$tmp/backend-1.log" || fail "it waits after a take-over"

echo "backend killed: one error"
client write:0:1M:7 pause:"$tmp/pause" fails:EIO:flush flush read:0:1M:7
kill_backend 1
start_backend 1 --handlers 2 "$server_uri"
client_ends
grep -q 'may be under way' "$tmp/backend-1.log" || fail "it does not wait for the old writes"

echo "server gone, then the backend told to end"
client write:0:1M:8 flush pause:"$tmp/pause"
kill_server
client_ends
stop_backend 1
