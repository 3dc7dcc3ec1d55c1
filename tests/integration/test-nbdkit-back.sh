#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# When the backend goes and comes back nbdkit logs both, and for how long it was away.

. "$(dirname "$0")/functions.sh"

requires_program nbdkit

format_transport transport
make_disk "$disks/disk" 16M

# shellcheck disable=SC2317,SC2329 # by its name
says()
{
	grep -q "$1" "$tmp/nbdkit.log"
}

start_backend 1 "$disk"
start_nbdkit cbd "$transport" backend=1
grep -q "attached, 1 queue$" "$tmp/backend-1.log" || fail "the backend does not say '1 queue'"
"$nbd_io" "$uri" write:0:4K:1 read:0:4K:1
started=$SECONDS
kill_backend 1
wait_until 60 says "backend 1: does not beat" || fail "the end of the backend is not logged"
start_backend 1 "$disk"
wait_until 60 says "backend 1: is back, after " || fail "its return is not logged"
# it was away since the test began, at most, and a second for rounding
away=$(sed -n 's/.*backend 1: is back, after \([0-9]*\) s without a beat$/\1/p' "$tmp/nbdkit.log" | tail -n 1)
[ "${away:-999999}" -le $((SECONDS - started + 1)) ] ||
	fail "it is said to have been away for '$away' s, of $((SECONDS - started))"
"$nbd_io" "$uri" read:0:4K:1
stop "$nbdkit_pid"
stop_backend 1
