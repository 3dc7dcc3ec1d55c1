#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A host stops in the middle of a beat, its slot is cleared on a word that is not true
# and taken by another host, and it goes on: it stores nothing there, and ends.

. "$(dirname "$0")/hosts.sh"

for coherence in hardware software; do
	echo "$coherence"
	format_hosts --force --force --coherence "$coherence" --hosts 1 --data-crc
	make_disk "$disks/disk" 4M
	CBD_TEST_STEP=host-checked:stop:10 start_on a 1 first --write-through "$disk"
	wait_until 20 is_stopped "${pids[first]}" || fail "the step is not reached"
	wait_until 20 listed '.hosts[0].state == "suspect"'
	on b 1 cbdctl clear host 0 --host-gone 0 "$transport"
	# one host slot only: it has to be that of the first; and another disk, for the
	# first one holds the lock of its own
	make_disk "$disks/other" 4M
	start_on b 1 second --write-through "$disks/other"
	boot=$(cbdctl list -H "$transport" | jq -r '.[0].boot_id')
	kill -CONT "${pids[first]}"
	ends_by_itself first
	plugin_on b 1 plugin queues=2
	start_random_io
	wait_for_answers 200
	stop_random_io
	[ "$(cbdctl list -H "$transport" | jq -r '.[0].boot_id')" = "$boot" ] ||
		fail "the first host is in the slot again"
	expect 0 "" cbdctl check "$transport"
	stop "${pids[plugin]}"
	stop "${pids[second]}"
done
