#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The programs in examples/ do what they say.

. "$(dirname "$0")/functions.sh"

requires_program cmp seq awk od
examples=${abs_top_builddir:?}/examples
[ -x "$examples/polling" ] || fail "the examples are not built"

format_transport transport
make_disk "$disks/disk" 4M
start_backend 0 "$disk"

# example NAME: its output is $tmp/NAME.log
example()
{
	timeout "$(limit 60)" "$examples/$1" "$transport" 0 >"$tmp/$1.log" 2>&1 ||
		fail "the example '$1' has failed: $(cat "$tmp/$1.log")"
}

example synchronous
grep -qx '4194304 bytes' "$tmp/synchronous.log" || fail "synchronous: a disk of another size"

# as many lines as need several rounds
seq -f 'line %g' 1000 | example event-loop
grep -qx '1000 lines' "$tmp/event-loop.log" || fail "event-loop: not all lines were written"
seq -f 'line %g' 1000 | cmp - <(head -c 512000 "$disk" | tr -d '\0') ||
	fail "event-loop: other lines are on the disk"

example polling
sum=$(od -An -v -tu1 "$disk" | awk '{ for (i = 1; i <= NF; i++) sum += $i } END { print sum }')
grep -qx "sum $sum" "$tmp/polling.log" || fail "polling: the sum is $sum, it says $(cat "$tmp/polling.log")"
stop_backend 0
