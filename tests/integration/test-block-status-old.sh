#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A peer of the release before, which does not know block status: with it all is data, in
# whatever order versions follow one another; and a backend that is killed with such a
# request in hand.

. "$(dirname "$0")/functions.sh"

requires_program nbdkit nbdinfo jq

map_is() # TEXT
{
	local map

	map=$(nbdinfo --map --json "$uri" | jq -r '.[] | "\(.offset) \(.length) \(.type)"')
	[ "$map" = "$1" ] || fail "the map is not '$1' but '$map'"
}

all_data="0 8388608 0"
with_holes="0 4194304 3
4194304 1048576 0
5242880 3145728 3"

# start_old_backend: as start_backend
start_old_backend()
{
	local path=$PATH

	# a program of that name comes first
	mkdir -p "$tmp/old"
	printf '#!/bin/sh\nPATH=%q exec env CBD_TEST_FEATURES=1 cbd-backend "$@"\n' "$PATH" \
		>"$tmp/old/cbd-backend"
	chmod +x "$tmp/old/cbd-backend"
	PATH=$tmp/old:$PATH
	start_backend "$@"
	PATH=$path
}

start_old_nbdkit()
{
	export CBD_TEST_FEATURES=1
	start_nbdkit "$@"
	unset CBD_TEST_FEATURES
}

for options in "--coherence hardware" "--coherence software"; do
	rm -f "$memory/transport"
	# shellcheck disable=SC2086 # words
	format_transport transport $options
	make_disk "$memory/disk" 8M

	echo "$options: old blkdev, new backend"
	start_backend 1 --engine psync "$disk"
	start_old_nbdkit cbd "$transport" backend=1
	"$nbd_io" "$uri" write:4M:1M:7 read:4M:1M:7
	map_is "$all_data"
	kill_backend 1
	start_backend 1 --engine psync "$disk"
	map_is "$all_data"
	stop "$nbdkit_pid"

	echo "$options: new blkdev; old, new and old backend"
	kill_backend 1
	start_old_backend 1 --engine psync "$disk"
	cbdctl list -B --id 1 "$transport" | jq -e '.[0].block_status | not' >/dev/null ||
		fail "the old backend is said to tell holes"
	start_nbdkit cbd "$transport" backend=1
	"$nbd_io" "$uri" read:4M:1M:7 read:0:4M:0
	map_is "$all_data"
	kill_backend 1
	start_backend 1 --engine psync "$disk"
	"$nbd_io" "$uri" read:4M:1M:7
	map_is "$with_holes"
	kill_backend 1
	start_old_backend 1 --engine psync "$disk"
	"$nbd_io" "$uri" read:4M:1M:7
	map_is "$all_data"

	echo "$options: killed with the request in hand, followed by a new and by an old one"
	for next in start_backend start_old_backend; do
		kill_backend 1
		export CBD_TEST_STEP=io-fetched:kill:2
		start_backend 1 --engine psync "$disk"
		unset CBD_TEST_STEP
		# the first request: the blkdev has followed this backend
		"$nbd_io" "$uri" read:4M:4K:7
		nbdinfo --map --json "$uri" >"$tmp/map.json" &
		asker=$!
		cleanup_fn stop $asker
		wait_until 20 gone "${backend_pids[1]}" || fail "the backend is not killed"
		alive $asker || fail "the map is there without a backend: $(cat "$tmp/map.json")"
		$next 1 --engine psync "$disk"
		wait_until 20 gone $asker || fail "the map is waited for"
		wait $asker || fail "the map has failed"
		map=$(jq -r '.[] | "\(.offset) \(.length) \(.type)"' "$tmp/map.json")
		[ "$next$map" = "start_backend$with_holes" ] ||
			[ "$next$map" = "start_old_backend$all_data" ] ||
			fail "$next: the map is '$map'"
	done
	stop "$nbdkit_pid"
	stop_backend 1
done
