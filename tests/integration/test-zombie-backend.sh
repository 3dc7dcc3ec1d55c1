#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A backend stops at a statement, another host takes its place on a word that is not
# true, and it goes on: its late entries, payload, control lines and requests harm
# nobody, and it ends.

. "$(dirname "$0")/hosts.sh"

# zombie STEP:COUNT KIND
zombie()
{
	local step=$1 coherence=$2

	echo "$coherence: $step"
	format_hosts --force --force --coherence "$coherence" --data-crc
	make_disk "$disks/disk" 4M
	CBD_TEST_STEP=${step%:*}:stop:${step#*:} \
		start_on a 1 first --write-through --engine "$engine" "$disk"
	plugin_on c 1 plugin queues=2
	start_random_io
	wait_until 20 is_stopped "${pids[first]}" || fail "$step is not reached"
	# longer than its lease, as the proof of its death would take
	wait_until 20 listed '.backends[0].state == "suspect"'
	start_on b 1 second --takeover --fenced --write-through --engine "$engine" "$disk"
	wait_for_answers 50
	kill -CONT "${pids[first]}"
	ends_by_itself first
	says first "has taken it over"
	wait_for_answers 200
	stop_random_io
	cmp "$disks/image" "$disk"
	expect 0 "" cbdctl check "$transport"
	stop "${pids[plugin]}"
	stop "${pids[second]}"
}

# Not uring: what it has given to the kernel is under way in threads of the process,
# which stop with it and go on with it. No look at a lease comes before that, and so
# it takes more than a word to serve the disk from another host (rule 7.5).
engine=psync
for coherence in hardware software; do
	for step in io-fetched:30 io-deliver:30 io-ce:30 io-ce-sent:30; do
		# in hardware mode what is read comes to its place at once
		[ $coherence = software ] || [ $step != io-deliver:30 ] || continue
		zombie $step $coherence
	done
done
