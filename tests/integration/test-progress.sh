#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# What takes long tells on a terminal how far it is, in one line that is gone at the end;
# elsewhere nothing is told, and the output is the same.

. "$(dirname "$0")/functions.sh"

requires_program python3 jq

# on_terminal COLUMNS COMMAND...: stdout in $tmp/out, the terminal in $tmp/terminal
on_terminal()
{
	status=0
	"$(dirname "$0")/progress.py" "$@" >"$tmp/out" 2>"$tmp/terminal" || status=$?
}

wrote()
{
	grep -qE "^wrote $1\$" "$tmp/terminal" || fail "not written: $1: $(cat "$tmp/terminal")"
}

left()
{
	[ "$(tail -n 1 "$tmp/terminal")" = "left ${1-}" ] ||
		fail "left on the terminal: $(tail -n 1 "$tmp/terminal")"
	if grep "too long" "$tmp/terminal"; then fail "a line wraps"; fi
}

# --- check: a silent owner is watched for as long as a suspicion -------------

format_transport transport --heartbeat 60 --dead-after 15
make_disk "$disks/disk" 4M
start_backend 1 "$disk"
kill -STOP "${backend_pids[1]}"
on_terminal 200 cbdctl check "$transport"
[ $status -eq 0 ] || fail "check ends with $status"
wrote "cbdctl: $transport: checking, [0-9] s"
left
grep -qx "$transport: sound" "$tmp/out" || fail "check says $(cat "$tmp/out")"
# as wide as the terminal at most
on_terminal 20 cbdctl check "$transport"
wrote "cbdctl: /.{10}"
left
# not a terminal, and one that cannot go back
cbdctl check "$transport" >"$tmp/out" 2>"$tmp/err"
[ ! -s "$tmp/err" ] || fail "not on a terminal: $(cat "$tmp/err")"
KEEP_TERM=1 TERM=dumb on_terminal 200 cbdctl check "$transport"
if grep '^wrote' "$tmp/terminal"; then fail "written on a dumb terminal"; fi
# the line is gone before a problem is told
"$(dirname "$0")/patch-transport.py" "$transport" flip backend-geometry:1
on_terminal 200 cbdctl check "$transport"
[ $status -eq 3 ] || fail "check of a damaged one ends with $status"
wrote "cbdctl: $transport: checking, [0-9] s"
left "cbdctl: $transport: backend 1: geometry line is damaged (CRC)/cbdctl: $transport: 'cbdctl check --repair' restores what nobody uses"
kill -CONT "${backend_pids[1]}"

# --- format: however fast this machine is -----------------------------------

on_terminal 200 cbdctl format --size 256M "$memory/large"
[ $status -eq 0 ] || fail "format ends with $status"
left
if grep '^wrote' "$tmp/terminal" |
	grep -vE "^wrote cbdctl: $memory/large: (formatting|reserving, [0-9]+ of 256 MiB)\$"; then
	fail "format: another line"
fi
jq -e '.size == 268435456' "$tmp/out" >/dev/null
rm "$memory/large"

# --- cbd-bench --------------------------------------------------------------

format_transport transport2 --heartbeat 50 --dead-after 10
make_disk "$disks/disk2" 4M
start_backend 2 "$disk"
on_terminal 200 cbd-bench -t "$transport" --backend 2 --time 1 --ramp 0 --json
[ $status -eq 0 ] || fail "cbd-bench ends with $status"
wrote "cbd-bench: measuring, [01] of 1 s"
left
jq -e '.read.ios > 0' "$tmp/out" >/dev/null || fail "cbd-bench prints $(cat "$tmp/out")"
cbd-bench -t "$transport" --backend 2 --time 0.2 --ramp 0 >"$tmp/out" 2>"$tmp/err" ||
	fail "cbd-bench: $(cat "$tmp/err")"
[ ! -s "$tmp/err" ] || fail "not on a terminal: $(cat "$tmp/err")"
# the line is gone before an error is told
clear_it()
{
	wait_until 20 test -e "$tmp/written"
	kill -9 "${backend_pids[2]}"
	cbdctl clear backend 2 "$transport" 2>/dev/null
}
clear_it &
cleanup_fn wait $!
PROGRESS_FILE=$tmp/written on_terminal 200 cbd-bench -t "$transport" --backend 2 --time 30 --ramp 0
[ $status -eq 1 ] || fail "cbd-bench of a backend that was cleared ends with $status"
wrote "cbd-bench: measuring, [0-9]+ of 30 s"
[[ $(tail -n 1 "$tmp/terminal") = "left cbd-bench: "*"Cannot send after transport endpoint shutdown"* ]] ||
	fail "left: $(tail -n 1 "$tmp/terminal")"
