#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A blkdev that lies, in each of its ways, on the handler of an innocent one: that one's
# data is right and it is served on; the backend's memory and log stay within bounds; and
# when the liar is gone all its channels and slots are free.

. "$(dirname "$0")/common.sh"

channels=6
data_areas_kib=$((channels * (2048 + 512)))
# Of each mode, with the messages of all innocent ones: ten of a kind, some kinds.
most_lines=150

# of liar-client-software.sh: the kind of memory, and whether the liar is on a host of its own
kind=${LIAR_KIND:-hardware}
[ "${LIAR_HOST:-this}" = this ] || liar_host=("${other_host[@]}")
format_transport transport --size 64M --channel-size 2M --channels $channels --blkdevs 8 \
	--heartbeat 50 --data-crc --coherence "$kind"
make_disk "$memory/disk" 64M
start_backend 0 --handlers 1 --max-blkdevs 8 "$disk"
start_plugin innocent backend=0
start_client innocent

# share MODE: requests of the innocent one beside it
share_beside()
{
	local before

	start_liar "$1" 0
	before=$(requests innocent)
	sleep "$seconds"
	answers=$(($(requests innocent) - before))
	alive "$liar_pid" || fail "$1: the liar has ended: $(cat "$tmp/liar.err")"
	memory_now=$(private_kib "${backend_pids[0]}")
	end_liar
	alive "${client_pids[innocent]}" ||
		fail "$1: innocent client: $(cat "$tmp/innocent-client.log")"
}

# What it has where nobody asks the backend for anything, but the CPUs have as much to do:
# a liar keeps one busy, and the handler that serves it another. On a machine of two the
# innocent chain of nbdkit and client then waits for the scheduler at each step.
measure_fair()
{
	local pid

	while :; do :; done &
	pid=$!
	cleanup_fn kill_spinner $pid
	share_beside spin
	kill_spinner $pid
	fair=$answers
}

kill_spinner()
{
	kill -9 "$1" 2>/dev/null || return 0
	wait "$1" 2>/dev/null || true
}

# That the handler gives each channel its share is proven without a clock by
# tests/unit/test-handler.c. Here it must not starve, whatever the scheduler does: without
# fair rounds it has one request in a second or none. Beside requests of half a MiB each
# of its own waits for one of them, which takes as long as twenty of 4 KiB.
enough() # SIZE
{
	local of=20

	[ "$1" = small ] || of=200
	[ "$answers" -ge 5 ] && [ $((answers * of)) -ge "$fair" ]
}

slots_are_free()
{
	cbdctl list "$transport" | jq -e '
		(.blkdevs | map(select(.alive)) | length == 1) and
		(.channels | map(select(.state == "granted")) | length == 1)' >/dev/null
}

# That a process of another host is dead nobody can see; the administrator says so. It is
# refused while it seems to beat.
give_up_liar() # MODE
{
	local host

	[ ${#liar_host[@]} -gt 0 ] || return 0
	host=$(cbdctl list "$transport" | jq '.hosts[] | select(.uuid | startswith("b0000000")) | .host_id')
	wait_until 20 cbdctl clear host "$host" --host-gone "$host" "$transport" 2>"$tmp/clear.log" ||
		fail "$1: $(cat "$tmp/clear.log")"
}

# Everything that the liar had serves the next one.
all_is_free() # MODE
{
	give_up_liar "$1"
	wait_until 20 slots_are_free || {
		cbdctl list "$transport"
		fail "$1: its slots are not free"
	}
	advances innocent 20
}

one_mode() # MODE SIZE
{
	local log tries=1

	log=$(lines backend-0)
	share_beside "$1"
	until enough "$2"; do
		# the machine may have had other work
		[ $((tries++)) -lt 4 ] ||
			fail "$1: $answers requests in $seconds s, beside busy CPUs alone $fair"
		all_is_free "$1"
		measure_fair
		share_beside "$1"
	done
	log=$(($(lines backend-0) - log))
	all_is_free "$1"
	echo "$1: $answers requests, $((answers * 100 / (fair + 1)))%; $log lines," \
		"$memory_now KiB"
	[ $log -le $((most_lines * tries)) ] || fail "$1: $log lines"
	[ "$memory_now" -le $((memory_at_first + data_areas_kib + memory_slack_kib)) ] ||
		fail "$1: the backend has $memory_now KiB, at first $memory_at_first"
}

memory_at_first=$(private_kib "${backend_pids[0]}")
measure_fair
while read -r mode size; do
	case " ${LIAR_MODES-$mode} " in *" $mode "*) ;; *) continue ;; esac
	one_mode "$mode" "$size"
done < <("$liar" -l client)

# What the liars took is given back; then all in order.
memory_now=$(private_kib "${backend_pids[0]}")
[ "$memory_now" -le $((memory_at_first + memory_slack_kib)) ] ||
	fail "the backend keeps $memory_now KiB, at first $memory_at_first"
stop "${client_pids[innocent]}"
wait "${client_pids[innocent]}" || fail "innocent: $(cat "$tmp/innocent-client.log")"
stop "${plugin_pids[innocent]}"
stop_backend 0
# what it wrote into its own slot has no owner any more
cbdctl check --repair "$transport" >"$tmp/repair.log" 2>&1 || true
cbdctl check "$transport" >"$tmp/check.log" 2>&1 || fail "the transport stays damaged"
