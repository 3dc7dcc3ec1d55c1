#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# SIGTERM and SIGINT stop cbd-backend in order: it exits with 0, and slot, disk and
# pid file are free. Clients wait, and the next one serves them on; "cbdctl clear" ends
# them.

. "$(dirname "$0")/crash.sh"

requires_program nbdkit jq

format_transport transport
make_disk "$disks/disk" 16M

for signal in TERM INT; do
	start_backend 1 -P "$tmp/backend.pid" "$disk"
	pid=${backend_pids[1]}
	wait_until 5 test -s "$tmp/backend.pid"
	[ "$(cat "$tmp/backend.pid")" = "$pid" ] || fail "the pid file has another pid"
	cbdctl list -B "$transport" | jq -e ".[0].pid == $pid and .[0].state == \"live\"" >/dev/null

	# SIGHUP does not end it
	kill -HUP "$pid"
	kill -"$signal" "$pid"
	wait_until 10 gone "$pid"
	status=0
	wait "$pid" || status=$?
	[ $status -eq 0 ] || fail "SIG$signal: status $status"
	[ ! -e "$tmp/backend.pid" ] || fail "SIG$signal: the pid file is still there"
	cbdctl list -B "$transport" | jq -e '.[0].state == "gone"' >/dev/null ||
		fail "the slot is in use: $(cbdctl list -B "$transport")"
done

client=
client() # REQUEST...: in the background
{
	"$nbd_io" "$uri" "$@" 2>"$tmp/client.log" &
	client=$!
	cleanup_fn stop $client
}

client_ends()
{
	wait_until 20 gone $client || fail "the client hangs"
	wait $client || fail "$(cat "$tmp/client.log")"
}

# With a client: what was taken is finished, the rest waits for the next one, and a
# flush finds nothing lost.
start_backend 1 "$disk"
start_nbdkit --filter=log cbd "$transport" backend=1 logfile="$tmp/requests"
"$nbd_io" "$uri" write:0:1M:1
stop_backend 1
cmp -n 1048576 "$disk" <(tr '\0' '\1' </dev/zero)
client write:1M:1M:2 flush read:0:1M:1
wait_until 10 grep -q 'Write id=.* offset=0x100000 ' "$tmp/requests"
wait_until 20 grep -q 'does not beat: its requests wait' "$tmp/nbdkit.log"
alive $client || fail "the client does not wait: $(cat "$tmp/client.log")"
start_backend 1 "$disk"
client_ends
"$nbd_io" "$uri" read:1M:1M:2 flush

# Under load, again and again.
start_random_io
for ((i = 0; i < 5; i++)); do
	wait_for_answers 100
	stop_backend 1
	start_backend 1 "$disk"
done
wait_for_answers 100
stop_random_io
# a start may be slow enough for the client to say that it waits
if grep -v 'does not beat: its requests wait\|is back, after' "$tmp/nbdkit.log" |
	grep 'may be lost\|error: '; then
	fail "something is reported"
fi

# Gone for good is a word of the operator's.
stop_backend 1
client fails:ESHUTDOWN:write:0:512:9 fails:ESHUTDOWN:read:0:512:1 fails:ESHUTDOWN:flush
expect 0 "" cbdctl clear backend 1 "$transport"
client_ends
expect 1 "is not in use" cbdctl clear backend 1 "$transport"
# and one that is there nevertheless serves them
start_backend 1 "$disk"
wait_until 10 "$nbd_io" "$uri" flush 2>/dev/null || fail "the client is not served again"
