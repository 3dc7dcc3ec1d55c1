#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# "cbdctl list" says why a slot is held and which command frees it; the command does.

. "$(dirname "$0")/hosts.sh"

patch=$(dirname "$0")/patch-transport.py

# held KIND: of the only one that is held
held()
{
	cbdctl list "$transport" | jq -r ".$1 | map(select(.held)) | .[0].held.$2"
}

# frees KIND TEXT: the reason is TEXT, and what list says frees it
frees()
{
	local reason command

	wait_until 20 listed ".$1 | any(.held)" || fail "$1: nothing is held"
	reason=$(held "$1" reason)
	command=$(held "$1" free)
	[[ $reason == *"$2"* ]] || fail "$1: '$reason' does not say '$2'"
	echo "$1: $reason: $command"
	$command >/dev/null
	wait_until 20 listed ".$1 | all(.held == null)" ||
		fail "$1: '$command' has freed nothing: $(cbdctl list "$transport")"
}

format_hosts --force
make_disk "$disks/disk" 16M
start_on b 1 backend "$disk"
plugin_on a 1 plugin
listed '[.hosts, .backends, .blkdevs, .channels] | all(all(.held == null))' ||
	fail "something is held while all live"

# of another host, which does not beat: only the operator knows
kill -STOP "${pids[plugin]}"
wait_until 20 listed '.channels[0].held != null' || fail "the channel is not held"
[[ $(held channels free) == "$(held blkdevs free)" ]] || fail "the channel names another command"
frees blkdevs "does not prove that it is dead"
wait_until 20 listed '.channels | length == 0' || fail "the channel was not given back"
kill -KILL "${pids[plugin]}"
listed '.hosts | all(.held == null)' || fail "a host that owns nothing is held"

kill_on backend
wait_until 20 listed '.hosts[] | select(.held != null)' || fail "the host is not held"
frees backends "does not prove that it is dead"
start_on b 1 backend "$disk"
kill_on backend
frees hosts "no process of it beats"

# of this host
start_backend 0 "$disk"
kill -STOP "${backend_pids[0]}"
wait_until 20 listed '.backends[0].held != null' || fail "a stopped backend is not held"
[[ $(held backends reason) == *"holds its lock still"* ]]
[ "$(held backends free)" = "kill -9 ${backend_pids[0]}" ]

# What the slot says is a peer's word: the number of another process is no advice.
for pid in 0 1 $$ 4294967295; do
	"$patch" "$transport" line backend-state:0 "40:4=$pid"
	[[ $(held backends free) != *kill* ]] || fail "advises to kill $pid: $(held backends free)"
done
kill_backend 0
frees backends "its process is dead; when it is started again its clients go on"
