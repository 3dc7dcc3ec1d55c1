#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# nbdkit as a daemon, and under --run, where another process of it lives on: killed,
# and started again by the same command.

. "$(dirname "$0")/functions.sh"

requires_program nbdkit

format_transport transport
make_disk "$disks/disk" 16M
start_backend 1 "$disk"
socket=$tmp/daemon.sock
uri="nbd+unix:///?socket=$socket"

cleanup_fn stop_pidfile "$tmp/daemon.pid"

start_daemon()
{
	rm -f "$socket" "$tmp/daemon.pid"
	timeout "$(limit 20)" nbdkit -U "$socket" -P "$tmp/daemon.pid" cbd "$transport" backend=1 \
		2>"$tmp/daemon.log" || fail "nbdkit: status $?"
	# nbdkit returns before its child has written that
	wait_until 10 test -s "$tmp/daemon.pid" || fail "nbdkit: no pid file"
	daemon_pid=$(cat "$tmp/daemon.pid")
}

for round in 1 2 3; do
	start_daemon
	[ $round -eq 1 ] || "$nbd_io" "$uri" read:0:1M:$((round - 1))
	"$nbd_io" "$uri" write:0:1M:$round
	kill -9 "$daemon_pid"
	wait_until 10 gone "$daemon_pid"
done

# The client of --run kills the server. The process that waits for the client lives
# on, with all that it inherited, while the client starts another server.
cat >"$tmp/client" <<'END'
set -e
trap '' TERM # nbdkit asks its client to end
"$nbd_io" "$uri" read:0:1M:3 write:0:1M:4
kill -9 "$(cat "$tmp/run.pid")"
rm -f "$socket" "$tmp/daemon.pid"
nbdkit -U "$socket" -P "$tmp/daemon.pid" cbd "$transport" backend=1
"$nbd_io" "nbd+unix:///?socket=$socket" read:0:1M:4 write:0:1M:5
echo "parent of the client: $PPID"
kill -0 $PPID
touch "$tmp/client-done"
END
export nbd_io tmp socket transport
timeout "$(limit 30)" nbdkit -U "$tmp/run.sock" -P "$tmp/run.pid" cbd "$transport" backend=1 \
	--run "export uri; exec bash $tmp/client" || true # the status is that of the killed server
[ -e "$tmp/client-done" ] || fail "the client of --run has failed"
"$nbd_io" "$uri" read:0:1M:5
