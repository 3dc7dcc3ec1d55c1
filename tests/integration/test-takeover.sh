#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A take-over that fails changes nothing, wherever it fails: what can be checked is checked
# before the old process is asked, and it goes on when the new one gives up or dies.

. "$(dirname "$0")/crash.sh"

requires_program nbdkit jq setsid

format_transport transport
make_disk "$disks/odd" 1000
make_disk "$disks/disk" 16M
start_backend 1 --engine psync -P "$tmp/backend.pid" "$disk"
old=${backend_pids[1]}
start_nbdkit cbd "$transport" backend=1 queues=2
start_random_io
takeover=(timeout "$(limit 40)" cbd-backend -t "$transport" --id 1 --takeover)

asked()
{
	grep -q "hands over" "$tmp/backend-1.log"
}

# The old process was not even asked.
unharmed()
{
	! asked || fail "$*: the old process was asked"
	alive "$old" || fail "$*: the old process has left"
	[ "$(cat "$tmp/backend.pid")" = "$old" ] || fail "$*: the pid file names another process"
	wait_for_answers 20
}

# refused STATUS TEXT ARGUMENT...
refused()
{
	expect "$1" "$2" "${takeover[@]}" "${@:3}"
	unharmed "${@:3}"
}

# --- Checked before ---------------------------------------------------------

refused 1 "No such file or directory" "$disks/none"
refused 1 "is not a multiple of 512" "$disks/odd"
refused 1 "is a directory" "$disks"
refused 1 "engine mmap: a mapping cannot go around the page cache" --engine mmap --direct "$disk"
refused 1 "handlers: 99 is more than the 4 channels of a backend" --handlers 99 "$disk"
refused 1 "max_blkdevs: 200 is more than" --max-blkdevs 200 "$disk"
refused 1 "there is no such user" -u nobody-of-that-name "$disk"
refused 1 "host id 60: the transport has 0..15" --host-id 60 "$disk"
# --foreground: one that is not refused would stay behind as a daemon
refused 1 "/none/pid: No such file" -f -P /none/pid "$disk"
echo "not a number" >"$tmp/text"
refused 1 "$tmp/text: is not a pid file" -f -P "$tmp/text" "$disk"
[ "$(cat "$tmp/text")" = "not a number" ] || fail "a file that is no pid file was changed"
echo $$ >"$tmp/pid"
refused 1 "$tmp/pid: names process $$, which is alive" -f -P "$tmp/pid" "$disk"
[ "$(cat "$tmp/pid")" = $$ ] || fail "the pid file of another process was changed"
# A process that has just begun is alive too.
for ((i = 0; i < 3; i++)); do
	sleep 600 &
	young=$!
	cleanup_fn stop $young
	echo $young >"$tmp/pid"
	refused 1 "$tmp/pid: names process $young, which is alive" -f -P "$tmp/pid" "$disk"
done

# --- Given up ---------------------------------------------------------------

without=() # a command that takes a privilege away

# new_process ARGUMENT...: in the background; sets $new
new_process()
{
	: >"$tmp/new.log"
	"${without[@]}" "${takeover[@]:2}" --engine psync "$@" "$disk" 2>"$tmp/new.log" &
	new=$!
	cleanup_fn stop $new
}

ends_with() # STATUS
{
	local status=0

	wait_until 20 gone "$new" || fail "the new process does not end"
	wait "$new" || status=$?
	[ $status -eq "$1" ] || fail "the new process ended with $status: $(cat "$tmp/new.log")"
}

waits_for_old()
{
	# the lock that it holds while it asks
	grep -q "^.*OFDLCK.* 4611686018427398145 4611686018427398145" /proc/locks || gone "$new"
}

# The old process is stopped for longer than the new one waits: it hands over to nobody.
for how in "-f" ""; do
	kill -STOP "$old"
	# shellcheck disable=SC2086 # no word, or one
	new_process $how
	wait_until 20 waits_for_old || fail "it does not ask"
	alive "$new" || fail "it has ended: $(cat "$tmp/new.log")"
	expect 1 "another process is taking it over" "${takeover[@]}" -f "$disk"
	# in the background the command is a parent that waits
	child=$(pgrep -P "$new" || true)
	kill -INT "$new"
	ends_with 1
	grep -q "told to end before it was ready" "$tmp/new.log" || fail "$(cat "$tmp/new.log")"
	[ -z "$child" ] || gone "$child" || fail "the daemon outlives the command"
	kill -CONT "$old"
	unharmed "given up"
done

# --- Dies -------------------------------------------------------------------

# At any moment until it is ready: then the old one serves.
served_by()
{
	cbdctl list -B "$transport" |
		jq -e --argjson pid "$1" 'length == 1 and .[0].state == "live" and .[0].pid == $pid' \
			>/dev/null
}

ready()
{
	grep -q ': ready, ' "$tmp/new.log"
}

ready_or_gone()
{
	ready || gone "$new"
}

# The old process serves, or has ended, as the new one was seen to serve before its death.
settled()
{
	gone "$old" || served_by "$old"
}

for ((i = 0; i < $(share 12); i++)); do
	new_process -f -P "$tmp/backend.pid"
	# somewhere between its start and some heartbeats after it is ready
	sleep "0.$(printf '%03d' $((RANDOM % (i % 3 ? 60 : 300))))"
	kill -9 "$new"
	wait "$new" 2>/dev/null || true
	wait_until 20 settled || fail "nobody serves: $(cat "$tmp/backend-1.log")"
	if gone "$old"; then
		# a crash after the take-over, which had come to its end
		ready || fail "the old process has left before the new one served"
		wait "$old" || fail "the old process ended with an error"
		start_backend 1 --engine psync -P "$tmp/backend.pid" "$disk"
		old=${backend_pids[1]}
	fi
	wait_for_answers 20
done
[ "$(cat "$tmp/backend.pid")" = "$old" ] || fail "the pid file names $(cat "$tmp/backend.pid"), not $old"

# --- Succeeds ---------------------------------------------------------------

# The second time by one that may not look at the files of the old process, which has more
# privileges: the pid file is replaced nevertheless.
for ((i = 0; i < 3; i++)); do
	without=()
	if [ "$i" -eq 1 ] && [ "$(id -u)" -eq 0 ]; then
		without=(setpriv --inh-caps=-sys_ptrace --bounding-set=-sys_ptrace)
	fi
	new_process -f -P "$tmp/backend.pid"
	wait_until 20 ready_or_gone || fail "it is not ready in time"
	alive "$new" || fail "it has ended: $(cat "$tmp/new.log")"
	wait_until 20 gone "$old" || fail "the old process stays"
	status=0
	wait "$old" || status=$?
	[ $status -eq 0 ] || fail "the old process ended with status $status"
	old=$new
	[ "$(cat "$tmp/backend.pid")" = "$old" ] || fail "the pid file names another process"
	wait_for_answers 100
done
stop_random_io
stop "$nbdkit_pid"
stop "$old"
cmp "$disks/image" "$disk"
if grep 'may be lost\|error: .* bytes at' "$tmp/nbdkit.log"; then fail "clients have seen it"; fi
