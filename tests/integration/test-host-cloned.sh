#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Clones of one machine, and one host id for two machines: the second is refused, with
# a message that says what to do, and the first is unharmed.

. "$(dirname "$0")/hosts.sh"

format_hosts --hosts 5
make_disk "$disks/other" 4M
make_disk "$disks/disk" 4M
start_on a 1 first --max-blkdevs 4 "$disk"
plugin_on b 1 plugin
listed '[.hosts[].host_id] == [0, 1]' || fail "there are not two hosts"

# refused_everywhere TEXT HOST BOOT HOST-ID: cbd-backend and the plugin
refused_everywhere()
{
	expect 1 "$1" on "$2" "$3" timeout "$(limit 60)" cbd-backend -f -t "$transport" --id 1 \
		${4:+--host-id "$4"} "$disks/other"
	expect 1 "$1" on "$2" "$3" timeout "$(limit 60)" nbdkit -U - cbd "$transport" backend=0 \
		${4:+host-id="$4"} --run true
}

# Clones have another boot. As long as the first one beats the other is refused.
for host in a b; do
	id=$([ $host = a ] && echo 0 || echo 1)
	refused_everywhere "host id $id is in use by another machine with the same identity" \
		$host 2 ""
	refused_everywhere "write a uuid of its own to" $host 2 "$id"
done

# The same host id for another machine, and for this one the id of another.
refused_everywhere "host id 1 belongs to another machine, host 1" c 1 1
refused_everywhere "host id 0 belongs to another machine, host 0" b 1 0

# Neither has taken a slot, and those who were there go on.
listed '[.hosts[].host_id] == [0, 1] and all(.hosts[]; .alive)' ||
	fail "the hosts: $(cbdctl list -H "$transport")"
"$nbd_io" "$uri" write:0:4K:1 read:0:4K:1

# With an identity of its own the clone is welcome; and when the first has ended,
# what has its identity is its next boot.
plugin_on c 2 own
"$nbd_io" "$uri" read:0:4K:1
listed '[.hosts[].host_id] == [0, 1, 2]' || fail "the clone has no slot of its own"
stop "${pids[plugin]}"
wait_until 20 listed '.hosts[1].alive | not' || fail "host 1 beats without a process"
plugin_on b 2 next
"$nbd_io" "$uri" read:0:4K:1
listed '[.hosts[].host_id] == [0, 1, 2]' || fail "the next boot has another slot"
expect 0 "" cbdctl check "$transport"
