#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A backend that lies, in each of its ways, to an nbdkit whose client was served honestly
# before: a neighbour with another backend has right data and is served on; memory and log
# of the nbdkit that is lied to stay within bounds; an honest backend that follows is
# used; and SIGTERM ends it while it is lied to.

. "$(dirname "$0")/common.sh"

data_areas_kib=$((2 * 2048))
# ten of each kind (common/log-limit.h): six operations with five errors each, and some
most_lines=400

format_transport transport --size 64M --channel-size 2M --channels 4 --heartbeat 50 \
	--dead-after 10 --data-crc --backends 2 --blkdevs 4
make_disk "$memory/honest" 64M
start_backend 0 "$disk"
start_plugin innocent backend=0
start_client innocent
make_disk "$memory/lies" 64M

start_honest()
{
	# what a liar said of the size does not count
	start_backend 1 --max-blkdevs 4 --replace "$disk"
}

start_victim()
{
	start_plugin victim backend=1 queues=2
	start_client victim -v
}

share_of_innocent()
{
	local before

	before=$(requests innocent)
	sleep "$seconds"
	answers=$(($(requests innocent) - before))
	alive "${client_pids[innocent]}" ||
		fail "innocent client: $(cat "$tmp/innocent-client.log")"
}

# Whether it takes requests and answers them within a bound. One that was told lies may
# have ended its requests with EIO for ever; but it may not keep them.
victim_answers()
{
	local before

	alive "${client_pids[victim]}" || return 1
	before=$(requests victim)
	wait_until 45 victim_moved "$before" ||
		fail "$1: its requests hang, although the backend is honest"
}

victim_moved()
{
	gone "${client_pids[victim]}" || [ "$(requests victim)" != "$1" ]
}

end_victim() # MODE
{
	kill "${plugin_pids[victim]}"
	wait_until 30 gone "${plugin_pids[victim]}" || fail "$1: SIGTERM does not end nbdkit"
	wait "${plugin_pids[victim]}" || true
	# its client ends with it
	stop "${client_pids[victim]}"
}

check_victim() # MODE
{
	alive "$liar_pid" || fail "$1: the liar has ended: $(cat "$tmp/liar.err")"
	alive "${plugin_pids[victim]}" || fail "$1: nbdkit has ended"
	memory_now=$(private_kib "${plugin_pids[victim]}")
	log=$(($(lines victim) - log))
	echo "$1: $answers requests of the innocent one; $log lines, $memory_now KiB"
	# few on a busy machine; while it is starved none come
	[ "$answers" -ge 20 ] || advances innocent 50
	[ $log -le $most_lines ] || fail "$1: $log lines"
	[ "$memory_now" -le $((memory_at_first + data_areas_kib + memory_slack_kib)) ] ||
		fail "$1: nbdkit has $memory_now KiB, at first $memory_at_first"
}

one_mode() # MODE
{
	start_honest
	start_victim
	log=$(lines victim)
	memory_at_first=$(private_kib "${plugin_pids[victim]}")
	kill_backend 1
	start_liar "$1" 1 -d "$disk"
	share_of_innocent
	check_victim "$1"
	end_liar
	start_honest
	victim_answers "$1"
	# and once more, to be ended while it is lied to
	kill_backend 1
	start_liar "$1" 1 -d "$disk"
	end_victim "$1"
	end_liar
}

while read -r mode _; do
	case " ${LIAR_MODES-$mode} " in *" $mode "*) ;; *) continue ;; esac
	one_mode "$mode"
done < <("$liar" -l backend)

# An honest one serves a new client at once.
start_honest
start_victim
advances innocent 20
stop "${client_pids[innocent]}"
wait "${client_pids[innocent]}" || fail "innocent: $(cat "$tmp/innocent-client.log")"
