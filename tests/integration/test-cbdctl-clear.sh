#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# cbdctl clear: never what is alive, the suspect only on the operator's word, the dead
# at once; and incarnations go on.
#
# A second host is made of the first: its lines are given another boot, so that what
# was proven here by a lock is only silent there.

. "$(dirname "$0")/functions.sh"
trap 'echo "$0: line $LINENO fails" >&2' ERR

requires_program jq nbdkit python3

patch=$(dirname "$0")/patch-transport.py

listed() # KIND: how many
{
	cbdctl list "--$1" "$transport" | jq length
}

incarnation() # LINE
{
	"$patch" "$transport" show "$1" 0:4
}

# No process of this boot has these any more: as if another machine had them.
elsewhere()
{
	"$patch" "$transport" line host-claim:0 0:8=0x1111111111111111 8:8=0x1111111111111111
	"$patch" "$transport" line host-state:0 0:8=0x1111111111111111 16:8=1
	"$patch" "$transport" line backend-claim:0:0 24:8=1
	"$patch" "$transport" line blkdev-claim:0:0 24:8=1
}

make_disk "$disks/disk" 16M

# started [OPTION]...: a backend and its blkdev
started()
{
	format_transport transport --force --force --heartbeat 50 "$@"
	start_backend 0 "$disk"
	start_nbdkit cbd "$transport" backend=0
}

killed()
{
	kill_backend 0
	kill -9 "$nbdkit_pid"
	wait_until 10 gone "$nbdkit_pid"
}

# --- The living -------------------------------------------------------------

started
for force in "" --force; do
	expect 1 "$transport: backend 0: is alive: process ${backend_pids[0]} on host 0 (" \
		cbdctl clear backend 0 $force "$transport"
	expect 1 "$transport: blkdev 0: is alive: process $nbdkit_pid on host 0 (" \
		cbdctl clear blkdev 0 $force "$transport"
	expect 1 "$transport: host 0 (" cbdctl clear host 0 $force "$transport"
	grep -q ") is alive: it beats" "$tmp/expect.err"
done

# A stopped process of this host is silent, but its lock is held.
kill -STOP "${backend_pids[0]}"
expect 1 "$transport: backend 0: is alive: process ${backend_pids[0]} on host 0 (" \
	cbdctl clear backend 0 --force --host-gone 0 "$transport"
kill -CONT "${backend_pids[0]}"

# --- The dead of this host --------------------------------------------------

was=$(incarnation backend-state:0)
kill_backend 0
expect 0 "" cbdctl clear backend 0 "$transport"
[ "$(listed backends)" -eq 0 ] || fail "a cleared backend is listed"
[ "$(incarnation backend-state:0)" -eq "$was" ] || fail "the incarnation has changed"
expect 1 "$transport: backend 0: is not in use" cbdctl clear backend 0 "$transport"
expect 0 "" cbdctl check "$transport"

# Its blkdev goes on with the next one.
start_backend 0 "$disk"
[ "$(incarnation backend-state:0)" -eq $((was + 1)) ] || fail "the incarnation is not the next"
"$nbd_io" "$uri" write:0:1M:7 read:0:1M:7

# A dead blkdev: the backend frees its channel.
was=$(incarnation blkdev-state:0)
kill -9 "$nbdkit_pid"
wait_until 10 gone "$nbdkit_pid"
cbdctl clear blkdev 0 "$transport" 2>"$tmp/clear.err" || grep -q "is not in use" "$tmp/clear.err"
no_channels()
{
	[ "$(listed channels)" -eq 0 ]
}
wait_until 10 no_channels || fail "the channel of the cleared blkdev is kept"
[ "$(incarnation blkdev-state:0)" -eq "$was" ] || fail "the incarnation has changed"

# An idle host has nothing to lose.
kill_backend 0
expect 0 "" cbdctl clear backend 0 "$transport"
wait_until 10 cbdctl clear host 0 "$transport" 2>"$tmp/clear.err"
[ "$(listed hosts)" -eq 0 ] || fail "a cleared host is listed"
expect 0 "" cbdctl check "$transport"
start_backend 0 "$disk"
stop_backend 0

# --- Suspects of another host -----------------------------------------------

started --dead-after 10
killed
elsewhere
for object in "backend 0" "blkdev 0"; do
	# shellcheck disable=SC2086 # words
	expect 1 "is suspect, not proven dead; end it there, or declare that host gone if it is off (--host-gone 0)" \
		cbdctl clear $object "$transport"
	# shellcheck disable=SC2086 # words
	expect 1 ": the owner is on host 0 (" \
		cbdctl clear $object --host-gone 1 "$transport"
done
expect 1 " owns backend 0 and may come back; declare it gone if it is off (--host-gone 0)" \
	cbdctl clear host 0 "$transport"
expect 1 ": the owner is on host 0 (" cbdctl clear host 0 --host-gone 1 "$transport"
was=$(incarnation backend-state:0)
expect 0 "" cbdctl clear backend 0 --host-gone 0 "$transport"
expect 0 "" cbdctl clear blkdev 0 --force "$transport"
[ "$(listed backends) $(listed blkdevs) $(listed hosts)" = "0 0 1" ]
[ "$(incarnation backend-state:0)" -eq "$was" ] || fail "the incarnation has changed"
[ "$("$patch" "$transport" show backend-claim:0:0 56:4)" -eq 3 ] || fail "its claim is not lowered"
expect 0 "" cbdctl check "$transport"

# The host with all that it has.
started --dead-after 10
killed
elsewhere
expect 0 "" cbdctl clear host 0 --host-gone 0 "$transport"
expect 0 "" cbdctl list "$transport"
[ "$(jq '(.hosts + .backends + .blkdevs) | length' "$tmp/expect.out")" -eq 0 ]
expect 0 "" cbdctl check "$transport"
start_backend 0 "$disk"
stop_backend 0

# --- A host that was rebooted -----------------------------------------------

started --dead-after 10
killed
elsewhere
"$patch" "$transport" line host-state:0 0:8=0x1111111111111111 16:8=2
expect 0 "" cbdctl clear backend 0 "$transport"
expect 0 "" cbdctl clear blkdev 0 "$transport"
[ "$(listed backends) $(listed blkdevs)" = "0 0" ]
expect 0 "" cbdctl check "$transport"

# --- The word against what is seen ------------------------------------------

# The host beats, so it is not gone; but a claim that was made through another device
# node, where there is no lock to prove anything, is silent.
started
boot=$("$patch" "$transport" show host-state:0 16:8)
"$patch" "$transport" line blkdev-claim:3:0 0:8=1 24:8="$boot" \
	32:8="$("$patch" "$transport" show host-state:0 24:8)" 56:4=1
expect 1 "blkdev 3: its owner, a process on host 0 (" cbdctl clear blkdev 3 "$transport"
expect 1 "is not gone, it beats" cbdctl clear blkdev 3 --host-gone 0 "$transport"
expect 0 "" cbdctl clear blkdev 3 --force "$transport"
expect 0 "" cbdctl check "$transport"

# Another host that lives.
"$patch" "$transport" line host-claim:5 0:8=1 8:8=1
"$patch" "$transport" line host-state:5 0:8=1 16:8=1 36:4=1
"$patch" "$transport" beat host-beat:5 &
beating=$!
cleanup_fn stop $beating
expect 1 "$transport: host 5 is alive: it beats" \
	cbdctl clear host 5 --host-gone 5 --force "$transport"
stop $beating
wait $beating 2>/dev/null || true
host_cleared()
{
	cbdctl clear host 5 "$transport" 2>"$tmp/clear.err"
}
wait_until 10 host_cleared || fail "host 5: $(cat "$tmp/clear.err")"
