#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# cbdctl check finds every kind of damaged and of senseless line, repairs those that
# nobody owns, and disturbs nobody.

. "$(dirname "$0")/functions.sh"
trap 'echo "$0: line $LINENO fails" >&2' ERR

requires_program jq nbdinfo nbdkit python3

patch=$(dirname "$0")/patch-transport.py

flip() # LINE [BYTE]
{
	"$patch" "$transport" flip "$1" "${2:-5}"
}

# damaged OBJECT-AND-TEXT: found, and nothing was written; repaired, and gone
damaged()
{
	local before

	before=$(sha256sum <"$transport")
	expect 3 "cbdctl: $transport: $1" cbdctl check "$transport"
	[ "$(sha256sum <"$transport")" = "$before" ] || fail "check has written"
	expect 0 "$1; repaired" cbdctl check --repair "$transport"
	expect 0 "" cbdctl check "$transport"
	[ "$(cat "$tmp/expect.out")" = "$transport: sound" ] || fail "$(cat "$tmp/expect.out")"
}

format_transport transport --heartbeat 20
expect 0 "" cbdctl check "$transport"

# --- A transport that nobody uses -------------------------------------------

while IFS='|' read -r line text; do
	flip "$line"
	damaged "$text is damaged (CRC)"
done <<'EOF'
host-state:15|host 15: state line
host-beat:1|host 1: heartbeat line
host-name:2|host 2: name line
host-request:3:2|host 3: request line for backend 2
backend-claim:0:15|backend 0: claim line of host 15
backend-state:3|backend 3: state line
backend-beat:1|backend 1: heartbeat line
backend-geometry:1|backend 1: geometry line
backend-identity:1|backend 1: identity line
backend-access:2|backend 2: access line
backend-name:2|backend 2: name line
backend-path:2:3|backend 2: path line 3
backend-reply:3:15|backend 3: reply line for blkdev 15
channel-grant:3:3|backend 3: channel 3: grant line
channel-leave:0:2|backend 0: channel 2: leave line
blkdev-claim:15:0|blkdev 15: claim line of host 0
blkdev-state:4|blkdev 4: state line
blkdev-beat:5|blkdev 5: heartbeat line
blkdev-request:6|blkdev 6: request line
blkdev-doorbell:7|blkdev 7: doorbell line
EOF

# Good CRCs, and no sense. GRANT is what is right of a grant, but what follows.
grant="0:8=1 8:4=1 16:2=32 18:2=32 20:2=1 24:4=4 28:4=200"
while IFS='|' read -r line numbers text; do
	# shellcheck disable=SC2086 # words
	"$patch" "$transport" line "$line" ${numbers/GRANT/$grant}
	damaged "$text"
done <<'EOF'
host-state:1|36:4=3|host 1: state line has an impossible state
host-request:1:0|8:4=9|host 1: request line for backend 0 has an impossible request
backend-claim:1:2|56:4=4|backend 1: claim line of host 2 has an impossible state
backend-claim:1:2|56:4=1|backend 1: claim line of host 2 is raised, and there is no such host
blkdev-claim:1:2|0:8=7 56:4=1|blkdev 1: claim line of host 2 is raised, and there is no such host
backend-state:0|4:2=7|backend 0: state line has an impossible state
blkdev-state:0|4:2=2 6:2=16|blkdev 0: state line names a host beyond the table
blkdev-request:0|8:2=4|blkdev 0: request line has an impossible state
blkdev-request:0|8:2=1 10:2=4|blkdev 0: request line names a backend beyond the table
blkdev-request:0|8:2=1 12:2=16|blkdev 0: request line names a host beyond the table
blkdev-request:0|8:2=1 14:2=5|blkdev 0: request line asks for more queues than a backend has channels
blkdev-request:0|8:2=1 16:2=33|blkdev 0: request line asks for more depth than a ring has slots
backend-reply:0:0|12:2=4|backend 0: reply line for blkdev 0 has an impossible state or reason
backend-reply:0:0|12:2=1 20:2=1 24:1=16|backend 0: reply line for blkdev 0 names channels beyond the pool
backend-reply:0:0|12:2=1 20:2=1 24:1=3|backend 0: reply line for blkdev 0 number and map of channels do not agree
backend-reply:0:0|12:2=1 20:2=1 22:2=33 24:1=1|backend 0: reply line for blkdev 0 grants more depth than a ring has slots
channel-grant:0:0|GRANT 20:2=5|backend 0: channel 0: grant line has an impossible state
channel-grant:0:0|GRANT 0:8=0|backend 0: channel 0: grant line is granted under epoch 0
channel-grant:0:0|GRANT 12:2=16|backend 0: channel 0: grant line names a blkdev beyond the table
channel-grant:0:0|GRANT 14:2=4|backend 0: channel 0: grant line names a queue beyond the channels of a backend
channel-grant:0:0|GRANT 16:2=64|backend 0: channel 0: grant line does not fit the rings
channel-grant:0:0|GRANT 18:2=33|backend 0: channel 0: grant line does not fit the rings
channel-grant:0:0|GRANT 24:4=1|backend 0: channel 0: grant line has its data area outside the channel
channel-grant:0:0|GRANT 28:4=253|backend 0: channel 0: grant line has its data area outside the channel
channel-grant:0:0|GRANT 24:4=257 28:4=4294967295|backend 0: channel 0: grant line has its data area outside the channel
channel-leave:0:0|12:4=6|backend 0: channel 0: leave line has an impossible reason
EOF
# shellcheck disable=SC2086 # words
"$patch" "$transport" line channel-grant:0:0 $grant
expect 0 "" cbdctl check "$transport"

# The incarnation of a lost state line goes on from a random one (rule 3).
flip backend-state:0
cbdctl check --repair "$transport" >/dev/null 2>&1
[ "$("$patch" "$transport" show backend-state:0 0:4)" != 0 ] || fail "the incarnation is 0"

# Two of a kind in one run, and what is left is told.
flip backend-reply:0:1
flip blkdev-request:1
expect 3 "backend 0: reply line for blkdev 1 is damaged (CRC)" cbdctl check "$transport"
grep -q "damaged, 2 problems" "$tmp/expect.out"
expect 0 "blkdev 1: request line is damaged (CRC); repaired" cbdctl check --repair "$transport"

# --- A live one -------------------------------------------------------------

format_transport transport --force --force
make_disk "$disks/disk" 16M
start_backend 0 "$disk"
start_nbdkit cbd "$transport" backend=0 queues=2
for _ in 1 2 3; do
	expect 0 "" cbdctl check "$transport"
done

# Without --repair nothing is written, with it the line that is repaired: but for the
# heartbeats and the counters of those who live, no byte changes.
beating()
{
	local line block

	for line in host-beat:0 backend-beat:0 blkdev-beat:0; do
		"$patch" "$transport" where $line
	done
	for line in backend-counters:0 blkdev-counters:0 channel-counters:0:0 channel-counters:0:1 \
		channel-counted:0:0 channel-counted:0:1; do
		block=$("$patch" "$transport" where $line)
		seq "$block" 64 $((block + 47 * 64))
	done
}

changed()
{
	cmp -l "$tmp/before" "$transport" | awk '{ print int(($1 - 1) / 64) * 64 }' | sort -nu |
		grep -vxFf <(beating) || true
}

flip backend-state:3
flip copy 100
cp "$transport" "$tmp/before"
expect 3 "backend 3: state line is damaged (CRC)" cbdctl check "$transport"
grep -q "copy of the header is damaged" "$tmp/expect.err"
[ -z "$(changed)" ] || fail "check has changed the lines at $(changed)"
expect 0 "" cbdctl list "$transport"
[ -z "$(changed)" ] || fail "list has changed the lines at $(changed)"
expect 0 "backend 3: state line is damaged (CRC); repaired" cbdctl check --repair "$transport"
copy=$(($(stat -c %s "$transport") - 2 * 4096))
expected=$(printf '%d\n%d' "$("$patch" "$transport" where backend-state:3)" $((copy + 64)))
[ "$(changed)" = "$expected" ] || fail "repair has changed the lines at $(changed)"

# Lines that their owners store again at each beat are no damage.
for line in backend-claim:0:0 backend-state:0 backend-reply:0:0 channel-grant:0:0 \
	backend-path:0:0 channel-leave:0:0 blkdev-claim:0:0 blkdev-state:0 \
	blkdev-request:0 host-claim:0 host-state:0 host-request:0:1; do
	flip $line
done
expect 0 "" cbdctl check "$transport"

# Those of an owner that does not beat, and may come back, are left to it.
kill -STOP "${backend_pids[0]}"
flip backend-path:0:0
expect 3 "backend 0: path line 0 is damaged (CRC)" cbdctl check "$transport"
expect 3 "backend 0: path line 0 is damaged (CRC); not repaired: it may be in use" \
	cbdctl check --repair "$transport"
kill -CONT "${backend_pids[0]}"
expect 0 "" cbdctl check "$transport"

# The I/O goes on.
[ "$(nbdinfo --size "$uri")" -eq $((16 * 1024 * 1024)) ]
stop "$nbdkit_pid"
stop_backend 0

# --- Agreement --------------------------------------------------------------

format_transport transport --force --force
start_backend 0 "$disk"
start_nbdkit cbd "$transport" backend=0 queues=2

# A stopped backend stores nothing again; its claim is held by its lock, so it is
# suspect or alive, and neither damaged.
kill -STOP "${backend_pids[0]}"
"$patch" "$transport" line channel-grant:0:1 14:2=0
expect 3 "backend 0: channel 1: grant line grants a queue that has another channel" \
	cbdctl check "$transport"
kill -CONT "${backend_pids[0]}"
expect 0 "" cbdctl check "$transport"

# Host 1 claims what host 0 has.
"$patch" "$transport" line host-claim:1 0:8=1 8:8=1
"$patch" "$transport" line backend-claim:0:1 0:8=1 56:4=1
expect 3 "backend 0: state line is of a slot that two hosts own" cbdctl check "$transport"
"$patch" "$transport" empty backend-claim:0:1
"$patch" "$transport" empty host-claim:1

# --- The dead ---------------------------------------------------------------

kill_backend 0
kill -9 "$nbdkit_pid"
wait_until 10 gone "$nbdkit_pid"
expect 0 "" cbdctl check "$transport"
grep -q "backend 0: state line is of an owner that is dead" "$tmp/expect.out"
grep -q "blkdev 0: state line is of an owner that is dead" "$tmp/expect.out"
# Their lines are repaired, whether their claims are sound or not.
flip backend-state:0
expect 3 "backend 0: state line is damaged (CRC)" cbdctl check "$transport"
expect 0 "backend 0: state line is damaged (CRC); repaired" cbdctl check --repair "$transport"
for line in blkdev-state:0 backend-claim:0:0 blkdev-claim:0:0 channel-leave:0:0; do
	flip $line
done
expect 3 "backend 0: claim line of host 0 is damaged (CRC)" cbdctl check "$transport"
expect 0 "blkdev 0: state line is damaged (CRC); repaired" cbdctl check --repair "$transport"
expect 0 "" cbdctl check "$transport"
expect 0 "" cbdctl list "$transport"
[ "$(jq '(.backends + .blkdevs) | length' "$tmp/expect.out")" -eq 0 ]
start_backend 0 "$disk"
