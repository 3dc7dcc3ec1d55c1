#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A disk moves to another host: only with a proof that the first one is cut off
# (rule 7.5): its next boot, a fencing command that succeeds, or the operator's word.

. "$(dirname "$0")/hosts.sh"

move() # OPTION...: from host a, which is killed, to host b
{
	format_hosts --force --force
	make_disk "$disks/disk" 16M
	start_on a 1 first "$disk"
	plugin_on c 1 plugin
	client one write:0:64K:1 flush write:0:64K:2 pause:"$tmp/p1" fails:EIO:flush flush \
		read:0:64K:2 write:0:64K:3 flush
	paused one p1
	kill_on first
	refused_on b 1 "backend 0: is owned by host 0" "$disk"
	refused_on b 1 "backend 0: is owned by host 0" --takeover "$disk"
	refused_on b 1 "host 0 is not fenced" --takeover --fence "exit 3" "$disk"
	refused_on b 1 "host 0 is not fenced" --takeover --fence "kill -9 \$\$" "$disk"
	listed '.backends[0].host_id == 0 and .backends[0].state == "suspect"' ||
		fail "a refused one has changed something"
	start_on b 1 second "$@" "$disk"
	rm "$tmp/p1"
	client_ends one
	expect 0 "" cbdctl check "$transport"
	listed '.backends[0].host_id == 2 and .backends[0].state == "live"'
	stop "${pids[plugin]}"
}

move --takeover --fence "[ \$CBD_HOST_ID = 0 ] && touch '$tmp/fenced'"
[ -e "$tmp/fenced" ] || fail "the fencing command was not run"
# a disk that stopped in order moves without any
stop "${pids[second]}"
start_on a 1 back --takeover --fence "touch '$tmp/again'" "$disk"
[ ! -e "$tmp/again" ] || fail "a host that stopped in order was fenced"
stop "${pids[back]}"

move --takeover --fenced
stop "${pids[second]}"

# --- Page cache of a host that lives ----------------------------------------

# The backend has died, its host has not: another process of it says so, but the
# page cache may still be written back.
left_by_death() # [OPTION]... DISK
{
	format_hosts --force --force
	make_disk "$disks/disk" 16M
	make_disk "$disks/other" 1M
	run_on a 1 neighbour cbd-backend -f -t "$transport" --id 1 "$disks/other"
	wait_until 20 says_or_gone neighbour ": ready, "
	disk=$disks/disk
	start_on a 1 first "$@" "$disk"
	kill_on first
	wait_until 20 says neighbour "backend 0: its process on this host is dead; released" ||
		fail "the neighbour does not sweep"
}

left_by_death
refused_on b 1 "did not stop in order and may still write back old data" "$disk"
# nor does a clear change that
cbdctl clear backend 0 "$transport" 2>/dev/null || true
refused_on b 1 "did not stop in order" "$disk"
start_on b 1 second --takeover --fence true "$disk"
stop "${pids[second]}"
stop "${pids[neighbour]}"

# Its next boot is a proof.
left_by_death
kill_on neighbour
expect 0 "" on a 2 cbd-backend --help
run_on a 2 neighbour2 cbd-backend -f -t "$transport" --id 1 "$disks/other"
wait_until 20 says_or_gone neighbour2 ": ready, "
start_on b 1 second "$disk"
stop "${pids[second]}"
stop "${pids[neighbour2]}"

# What went through the cache is on the disk.
left_by_death --write-through
start_on b 1 second --write-through "$disk"
stop "${pids[second]}"
stop "${pids[neighbour]}"
