#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A plugin stops at a statement, its slot is cleared on a word that is not true, another
# one gets its channels, and it goes on: its late entries, payload and control lines
# harm nobody.

. "$(dirname "$0")/hosts.sh"

# Channels are no more than one plugin needs, so the next one has the same.
begin() # KIND
{
	local engine=auto

	# Where a system call reads the disk into the extent, in hardware mode, a late store
	# before the CRC is taken is not found (rule 10).
	[ "$1" = software ] || engine=mmap
	format_hosts --force --force --coherence "$1" --data-crc --channels 2
	make_disk "$disks/disk" 4M
	start_on b 1 backend --engine "$engine" "$disk"
}

# zombie STEP:COUNT KIND
zombie()
{
	local step=$1

	echo "$2: $step"
	begin "$2"
	CBD_TEST_STEP=${step%:*}:stop:${step#*:} plugin_on a 1 first queues=2
	start_random_io
	first_io=$random_pid
	wait_until 20 is_stopped "${pids[first]}" || fail "$step is not reached"
	wait_until 20 listed '.blkdevs[0].state == "suspect"'
	# suspect is not dead: nobody gets its channels
	expect 1 "maximum of blkdevs" on c 1 timeout "$(limit 20)" \
		nbdkit -f -U "$tmp/no.sock" cbd "$transport" backend=0 queues=2
	host=$(cbdctl list -D "$transport" | jq '.[0].host_id')
	cbdctl clear host "$host" --host-gone "$host" "$transport"
	plugin_on c 1 second queues=2
	listed '[.channels[] | select(.state == "granted")] | length == 2'
	# what the zombie's client wrote is somewhere; the next one starts afresh
	"$nbd_io" "$uri" zero:0:4M flush
	start_random_io
	wait_for_answers 50
	kill -CONT "${pids[first]}"
	wait_for_answers 200
	# its own client hears of it
	wait_until 20 gone "$first_io" || fail "the client of the zombie hangs"
	wait_until 20 grep -q "was cleared\|has taken it over" "$tmp/first.log" ||
		fail "the zombie has not noticed"
	stop_random_io
	stop "${pids[first]}"
	expect 0 "" cbdctl check "$transport"
	listed '(.blkdevs | length == 1) and .blkdevs[0].state == "live"' ||
		fail "the zombie has touched the slot: $(cbdctl list "$transport")"
	stop "${pids[second]}"
	stop "${pids[backend]}"
	cmp "$disks/image" "$disk"
}

for coherence in hardware software; do
	for step in io-fill:30 io-se:30 io-se-sent:30 io-reap:30 io-reaped:30; do
		zombie $step $coherence
	done
done

# Without a word, one that comes back finds all as it was.
begin hardware
CBD_TEST_STEP=io-fill:stop:30 plugin_on a 1 first queues=2
start_random_io
wait_until 20 is_stopped "${pids[first]}" || fail "the step is not reached"
wait_until 20 listed '.blkdevs[0].state == "suspect"'
kill -CONT "${pids[first]}"
wait_for_answers 200
stop_random_io
