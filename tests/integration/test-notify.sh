#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# What cbd-backend tells a service manager: ready, what it does, reload, stop; and the
# watchdog, which is fed by the control thread and by no other.

. "$(dirname "$0")/functions.sh"

requires_program nbdkit python3
here=${abs_top_srcdir:?}/tests/integration
log=$tmp/notify.log

"$here/notify-listen.py" "$tmp/notify" "$log" 2>"$tmp/listen.log" &
cleanup_fn stop $!
wait_until 10 test -S "$tmp/notify"
export NOTIFY_SOCKET=$tmp/notify

# told PID PATTERN: the process has sent a message with such a line
told()
{
	grep -E "^[0-9]+ $1 (.*\|)?$2(\||\$)" "$log" >/dev/null
}

must_tell()
{
	wait_until 20 told "$@" || fail "$1 does not tell $2: $(cat "$log")"
}

# --- Start, status, reload, stop --------------------------------------------

format_transport transport
make_disk "$disks/disk" 16M
start_backend 1 "$disk"
pid=${backend_pids[1]}
must_tell "$pid" READY=1
must_tell "$pid" "STATUS=serving $disk as backend 1, 0 blkdevs attached"
start_nbdkit cbd "$transport" backend=1
must_tell "$pid" "STATUS=serving $disk as backend 1, 1 blkdev attached"
! told "$pid" WATCHDOG=1 || fail "it feeds a watchdog that is not there"

: >"$log"
truncate -s 32M "$disk"
kill -HUP "$pid"
must_tell "$pid" RELOADING=1
must_tell "$pid" READY=1
grep -oE 'RELOADING=1\|MONOTONIC_USEC=[0-9]+$|READY=1' "$log" | cut -d '|' -f 1 | paste -sd ' ' |
	grep -x 'RELOADING=1 READY=1' >/dev/null || fail "not the messages of a reload: $(cat "$log")"
cbdctl list -B "$transport" | grep '"size":33554432' >/dev/null ||
	fail "told to look at the size, it did not"
stop "$nbdkit_pid"

# --- Watchdog ---------------------------------------------------------------

stop_backend 1
must_tell "$pid" STOPPING=1
must_tell "$pid" "STATUS=stopping: writing the page cache of $disk back"
: >"$log"
export WATCHDOG_USEC=400000
start_backend 1 --handlers 2 "$disk"
pid=${backend_pids[1]}

fed()
{
	grep -c " $pid WATCHDOG=1\$" "$log" || true
}

# fed_often N
fed_often()
{
	[ "$(fed)" -ge "$1" ]
}

wait_until 20 fed_often 9 || fail "the watchdog is not fed: $(cat "$log")"
# Half of the interval.  A message that this machine delivers late makes the next gap
# short, so the least gap tells that it is not longer, and all of them that it is not
# shorter.
awk '/ WATCHDOG=1$/ { if (n++) print $1 - last; last = $1 }' "$log" | sort -n >"$tmp/gaps"
least=$(head -n 1 "$tmp/gaps")
mean=$(awk '{ sum += $1 } END { print int(sum / NR) }' "$tmp/gaps")
if [ "$least" -gt 240 ] || [ "$mean" -lt 130 ]; then
	fail "not fed each 200 ms but after $(paste -sd ' ' "$tmp/gaps") ms"
fi

# Without the control thread, whose number is the process's, nobody feeds it: the handlers
# go on and say nothing.  Whom the kernel does not let hold a thread stops all of them.
"$here/hold-thread.py" "$pid" "$tmp/held" 2>"$tmp/hold.log" &
holder=$!
cleanup_fn stop $!
may_hold() # CAP_SYS_PTRACE, which root of a container may lack
{
	[ $((0x$(sed -n 's/^CapEff:[[:space:]]*//p' /proc/self/status) >> 19 & 1)) -eq 1 ]
}

held_or_not()
{
	[ -e "$tmp/held" ] || gone "$holder"
}
wait_until 20 held_or_not || fail "the control thread is not held"
if gone "$holder"; then
	! may_hold || fail "the control thread is not held: $(cat "$tmp/hold.log")"
	kill -STOP "$pid"
else
	for task in "/proc/$pid/task"/*; do
		state=$(sed 's/.*) //; s/ .*//' "$task/stat")
		case ${task##*/}:$state in
		"$pid:t") ;;
		"$pid":* | *:t) fail "thread ${task##*/} is in state $state" ;;
		esac
	done
fi
# what was sent before is read before this
python3 -c 'import socket, sys
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"MARK=1", sys.argv[1])' "$tmp/notify"
must_tell "[0-9]+" MARK=1
before=$(fed)
sleep 0.6 # for nothing: one and a half intervals
[ "$(fed)" -eq "$before" ] || fail "somebody feeds the watchdog of a control thread that hangs"
rm -f "$tmp/held"
kill -CONT "$pid"
wait_until 20 fed_often $((before + 1)) || fail "the watchdog is not fed any more"

# A take-over: the old process ends with 0 and says that it does, the new one is ready.
: >"$log"
: >"$tmp/new.log"
WATCHDOG_PID=1 cbd-backend -f -t "$transport" --id 1 --takeover "$disk" 2>"$tmp/new.log" &
new=$!
cleanup_fn stop $new
wait_until 20 gone "$pid" || fail "the old process does not end"
wait "$pid" || fail "the old process ended with status $?"
must_tell "$pid" STOPPING=1
must_tell "$pid" "STATUS=handing over: .*"
must_tell "$new" "STATUS=waiting for the process that serves backend 1 to hand over"
must_tell "$new" READY=1
stop $new
must_tell "$new" STOPPING=1
! told "$new" WATCHDOG=1 || fail "the watchdog of another process is fed"

# --- A daemon ---------------------------------------------------------------

# The command, which the service manager knows, names the daemon; before that the daemon
# itself is silent.
: >"$log"
cleanup_fn stop_pidfile "$tmp/daemon.pid"
# shellcheck disable=SC2016 # for the inner shell
sh -c 'export WATCHDOG_PID=$$; exec "$@"' sh \
	cbd-backend -t "$transport" --id 1 -P "$tmp/daemon.pid" "$disk" 2>"$tmp/daemon.log" &
parent=$!
wait $parent || fail "it has not started: $(cat "$tmp/daemon.log")"
daemon=$(cat "$tmp/daemon.pid")
must_tell $parent "READY=1\|MAINPID=$daemon"
must_tell "$daemon" "STATUS=serving $disk .*"
must_tell "$daemon" WATCHDOG=1
[ "$(cut -d ' ' -f 2 "$log" | uniq | paste -sd ' ')" = "$parent $daemon" ] ||
	fail "not the parent first, then the daemon: $(cat "$log")"
stop "$daemon"

# --- A service manager that does not listen ---------------------------------

# Its queue is full: the backend serves nevertheless, and tells everything later.
unset WATCHDOG_USEC
: >"$log"
"$here/notify-listen.py" "$tmp/notify-full" "$log" "$tmp/full" 2>"$tmp/full.log" &
cleanup_fn stop $!
wait_until 10 test -e "$tmp/full"
export NOTIFY_SOCKET=$tmp/notify-full
start_backend 1 "$disk"
start_nbdkit cbd "$transport" backend=1
"$nbd_io" "$uri" write:1M:1M:3 read:1M:1M:3
[ ! -s "$log" ] || fail "the queue was not full"
rm "$tmp/full"
must_tell "${backend_pids[1]}" READY=1
must_tell "${backend_pids[1]}" "STATUS=serving $disk as backend 1, 1 blkdev attached"
stop "$nbdkit_pid"
stop_backend 1

# No socket, and one that nobody has: it is as without.
for NOTIFY_SOCKET in "$tmp/nobody" relative "" "vsock:2:1"; do
	start_backend 1 "$disk"
	stop_backend 1
done
