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
	# these without a look whether it beats, which takes time
	refused_on b 1 "host 0 is not fenced" --takeover --fence-alive --fence "kill -9 \$\$" "$disk"
	refused_on b 1 "the shell found no such command, or it ended so (exit status 127)" \
		--takeover --fence-alive --fence "$disks/none" "$disk"
	refused_on b 1 "could not be run: it may not be executed" \
		--takeover --fence-alive --fence "$disk" "$disk"
	listed '.backends[0].host_id == 0 and .backends[0].state == "suspect"' ||
		fail "a refused one has changed something"
	start_on b 1 second "$@" "$disk"
	rm "$tmp/p1"
	client_ends one
	expect 0 "" cbdctl check "$transport"
	listed '.backends[0].host_id == 2 and .backends[0].state == "live"'
	stop "${pids[plugin]}"
}

move --takeover --fence "echo \$CBD_HOST_ID \$CBD_HOST_UUID \$CBD_HOST_NAME >'$tmp/fenced'"
[ "$(cat "$tmp/fenced")" = "0 a0000000-0000-0000-0000-000000000000 $(hostname)" ] ||
	fail "the fencing command was told: $(cat "$tmp/fenced")"
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

# --- This machine under another identity ------------------------------------

# A container that has another machine-id after its backend was killed.
format_hosts --force --force
make_disk "$disks/disk" 16M
start_on a 1 first "$disk"
kill_on first
as_container=(env CBD_TEST_HOST_UUID=c0000000000000000000000000000000
	CBD_TEST_BOOT_ID=a0000000000000000000000000000001 timeout "$(limit 30)"
	cbd-backend -f -t "$transport" --id 0 --takeover)
expect 1 "another identity of this boot" "${as_container[@]}" --fence "touch '$tmp/own'" "$disk"
[ ! -e "$tmp/own" ] || fail "this machine would have been cut off"
run_on a 1 container "${as_container[@]}" --fenced "$disk"
wait_until 20 says_or_gone container ": ready, "
says container ": ready, " || fail "not started with --fenced: $(cat "$tmp/container.log")"
stop "${pids[container]}"

# --- A word that is not true ------------------------------------------------

# An owner that beats is not taken over, whoever says that it is fenced; and a mistake in
# anything else fences nobody.
format_hosts --hosts 8 --force --force
make_disk "$disks/none-of-it" 8M
make_disk "$disks/disk" 16M
start_on a 1 first "$disk"
plugin_on c 1 plugin
"$nbd_io" "$uri" write:0:64K:1 flush
alive_text="backend 0: is alive: a process on host 0"
fence="touch '$tmp/wrongly'"
refused_on b 1 "No such file" --takeover --fence "$fence" "$disks/none"
refused_on b 1 "handlers: 99" --takeover --fence "$fence" --handlers 99 "$disk"
refused_on b 1 "is attached to another disk" --takeover --fence "$fence" "$disks/none-of-it"
refused_on b 1 "/none/pid" --takeover --fence "$fence" -P /none/pid "$disk"
[ ! -e "$tmp/wrongly" ] || fail "a host was fenced for a mistake"
refused_on b 1 "$alive_text" --takeover --fence "$fence" "$disk"
[ ! -e "$tmp/wrongly" ] || fail "a host was fenced while its backend beats"
# by those who mean it; and the command has to be as good as its word
refused_on b 1 "$alive_text" --takeover --fence-alive --fence "touch '$tmp/meant'" "$disk"
[ -e "$tmp/meant" ] || fail "--fence-alive: the command was not run"
refused_on b 1 "$alive_text" --takeover --fenced "$disk"
expect 1 "$alive_text" on b 1 cbdctl clear backend 0 "$transport"
"$nbd_io" "$uri" read:0:64K:1 write:0:64K:2 flush

# --- Several standby hosts --------------------------------------------------

# All of them fence the first one; one gets the slot, and the client goes on there.
client one write:0:64K:3 pause:"$tmp/p2" fails:EIO:flush flush read:0:64K:3 write:0:64K:4 flush
paused one p2
kill_on first
for host in b d e; do
	run_on $host 1 standby-$host cbd-backend -f -t "$transport" --id 0 --takeover \
		--fence "echo \$CBD_HOST_ID >>'$tmp/standby'" "$disk"
done
winners()
{
	local host

	for host in b d e; do
		if says standby-$host ": ready, "; then echo $host; fi
	done
}
all_decided()
{
	local host

	for host in b d e; do
		says_or_gone standby-$host ": ready, " || return 1
	done
}
wait_until 30 all_decided || fail "not decided in time"
[ "$(winners | wc -l)" -eq 1 ] || fail "these have won: $(winners)"
for host in b d e; do
	if [ $host = "$(winners)" ]; then continue; fi
	ends_by_itself standby-$host
	says standby-$host "is owned by host" || says standby-$host "is alive" ||
		fail "the loser says: $(cat "$tmp/standby-$host.log")"
done
rm "$tmp/p2"
client_ends one
# a standby host that comes late does not fence the one that was faster
refused_on f 1 "is alive: a process on host" --takeover --fence "echo \$CBD_HOST_ID >>'$tmp/standby'" "$disk"
[ "$(sort -u "$tmp/standby")" = 0 ] || fail "another host was fenced: $(cat "$tmp/standby")"
listed '[.backends[] | select(.state == "live")] | length == 1'
