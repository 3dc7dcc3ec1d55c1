#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Without backend= the live backends are the exports: by name, or by number when
# they have none.

. "$(dirname "$0")/functions.sh"

requires_program nbdkit nbdinfo jq

# names: of the exports, sorted, in one line
names()
{
	nbdinfo --list --json "$uri" | jq -r '[.exports[]."export-name"] | sort | join(" ")'
}

# export_uri NAME
export_uri()
{
	echo "nbd+unix:///$1?socket=$socket"
}

format_transport transport
make_disk "$disks/one" 10M
start_backend 1 --name scratch "$disk"
start_nbdkit cbd "$transport"
[ "$(names)" = scratch ] || fail "one backend: '$(names)'"
# the only one is the default
[ "$(nbdinfo --size "$uri")" = 10485760 ] || fail "the default export is not scratch"

make_disk "$disks/two" 20M
start_backend 2 "$disk"
[ "$(names)" = "2 scratch" ] || fail "two backends: '$(names)'"
nbdinfo --list --json "$uri" | jq -e '.exports | map({(."export-name"): .}) | add |
	(.scratch."export-size" == 10485760) and (."2"."export-size" == 20971520) and
	(."2".description == "'"$disks"'/two, 20.00 MiB")' >/dev/null || fail "sizes or descriptions"

# by name, by number, and both at once
[ "$(nbdinfo --size "$(export_uri scratch)")" = 10485760 ] || fail "export scratch"
[ "$(nbdinfo --size "$(export_uri 1)")" = 10485760 ] || fail "export 1"
[ "$(nbdinfo --size "$(export_uri 2)")" = 20971520 ] || fail "export 2"
"$nbd_io" "$(export_uri scratch)" write:0:1M:1 &
"$nbd_io" "$(export_uri 2)" write:0:1M:2
wait $!
"$nbd_io" "$(export_uri 1)" read:0:1M:1
"$nbd_io" "$(export_uri 2)" read:0:1M:2

# No default now, and no others: the reason is nbdkit's to tell.
for name in "" 3 99 nothing scratch2 "../disk"; do
	if nbdinfo --size "$(export_uri "$name")" >/dev/null 2>&1; then
		fail "there is an export '$name'"
	fi
	grep -q "error: export \"$name\": \|error: .*: backend $name: is not running" \
		"$tmp/nbdkit.log" || fail "no message for export '$name'"
done

# one that has stopped is no export
stop_backend 2
[ "$(names)" = scratch ] || fail "after a stop: '$(names)'"

# Started again, and in another slot: found at once, though nobody has asked for a
# list since.
start_backend 2 --name late "$disks/two"
[ "$(nbdinfo --size "$(export_uri late)")" = 20971520 ] || fail "export late"

# One that hangs is no export, until it goes on.
listed_as()
{
	[ "$(names)" = "$1" ]
}
answers()
{
	timeout "$(limit 10)" nbdinfo --size "$(export_uri late)" >/dev/null 2>&1
}
kill -STOP "${backend_pids[2]}"
wait_until 20 listed_as scratch || fail "a backend that hangs is listed"
kill -CONT "${backend_pids[2]}"
wait_until 5 answers || fail "a backend that goes on is not found"
