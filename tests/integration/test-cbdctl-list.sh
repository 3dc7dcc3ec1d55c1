#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# cbdctl list: JSON with the attributes of the manual and their values, by kind and
# by id.

. "$(dirname "$0")/functions.sh"

requires_program jq nbdkit

manual=${abs_top_srcdir:?}/ctl/cbdctl.pod

# shows FILTER OPTION...
shows()
{
	local filter=$1
	shift

	cbdctl list "$@" "$transport" >"$tmp/list.json" || fail "list $*"
	jq -e "$filter" "$tmp/list.json" >/dev/null || fail "list $*: not $filter: $(cat "$tmp/list.json")"
}

# documented KIND: attributes of the manual's section
documented()
{
	awk -v heading="=head2 $1" '/^=head/ { on = ($0 == heading) } on && /^=item /' "$manual" |
		grep -oE 'B<[a-z_]+>' | tr -d 'B<>' | sort
}

format_transport transport --label "röck"
make_disk "$disks/one" 16M
start_backend 1 --name scratch --handlers 2 --max-blkdevs 3 --allow-host 0,5 "$disk"
make_disk "$disks/two" 32M
start_backend 2 --read-only "$disk"
start_nbdkit cbd "$transport" backend=1 queues=2 readonly=true

# attributes, each documented and each there
shows . # for the kinds below
for kind in transport hosts backends blkdevs channels; do
	attributes=$(jq -r "[.$kind] | flatten | map(keys) | add | unique | .[]" "$tmp/list.json" | sort)
	diff <(documented $kind) <(echo "$attributes") || fail "$kind: the manual (<) and list (>) differ"
done

shows 'keys == ["backends", "blkdevs", "channels", "hosts", "transport"]'
shows '.transport | .label == "röck" and .channels == 4 and .depth == 32 and .size == 25165824'
shows '.hosts | length == 1 and (.[0] | .host_id == 0 and .alive and .state == "live")'
shows ".hosts[0] | .boot_id == \"$(cat /proc/sys/kernel/random/boot_id)\" and .name == \"$(uname -n)\""
shows '[.backends[] | .backend_id] == [1, 2]'
shows ".backends[0] | .name == \"scratch\" and .path == \"$disks/one\" and .size == 16777216 and
	.pid == ${backend_pids[1]} and .alive and .state == \"live\" and .handlers == 2 and
	.max_blkdevs == 3 and .allow_hosts == [0, 5] and .blkdevs == [0] and
	.read_only == false and .write_through == false and .discard and .logical_block_size == 512"
shows '.backends[1] | .name == "" and .read_only and .discard == false and .blkdevs == [] and
	(has("allow_hosts") | not)'
shows ".blkdevs | length == 1 and (.[0] | .mapped_id == 0 and .backend_id == 1 and .queues == 2 and
	.read_only and .alive and .state == \"live\" and .pid == $nbdkit_pid)"
shows '.channels | length == 2 and all(.backend_id == 1 and .blkdev_id == 0 and
	.state == "granted" and .depth == 32 and .length == 1048576 and .data_size < .length) and
	([.[].queue] == [0, 1])'

# one kind is an array, several are an object
shows '(type == "array") and .[0].host_id == 0' -H
shows '(type == "array") and length == 2' --backends
shows '(type == "array") and .[0].mapped_id == 0' -D
shows '(type == "array") and length == 2' --channels
shows 'keys == ["backends", "hosts", "transport"]' -HB
shows 'length == 1 and .[0].backend_id == 2' --backends --id 2
shows 'length == 1 and .[0].channel_id == 1' -C --id 1
shows '.[0].size == "16.00 MiB (16.78 MB)"' -B -u --id 1
shows '.transport | .size == "24.00 MiB (25.17 MB)" and (.created | test("^20..-..-..T..:..:..Z$"))' \
	--human

# what is not there, mistakes
expect 1 "cbdctl: $transport: backend 3: not in use" cbdctl list -B --id 3 "$transport"
expect 1 "cbdctl: $transport: backend 4: there are only 0 to 3" cbdctl list -B --id 4 "$transport"
expect 2 "cbdctl: --id: needs one of --hosts, --backends, --blkdevs, --channels" \
	cbdctl list --id 1 "$transport"
expect 2 "cbdctl: --id: needs one of" cbdctl list -BD --id 1 "$transport"
expect 2 "cbdctl: --id: 'x': must be a number" cbdctl list -B --id x "$transport"
expect 2 "cbdctl: the transport is missing" cbdctl list
expect 2 "cbdctl: b: one transport is enough" cbdctl list a b
expect 1 "cbdctl: $memory/none: No such file or directory" cbdctl list "$memory/none"
expect 1 "cbdctl: $memory: Is a directory" cbdctl list "$memory"
head -c 1M /dev/zero >"$memory/zeroes"
expect 1 "cbdctl: $memory/zeroes: not a cbd transport" cbdctl list "$memory/zeroes"
head -c 20M "$transport" >"$memory/cut"
expect 1 "cbdctl: $memory/cut: is 20971520 bytes, its header says 25165824" cbdctl list "$memory/cut"

# a full disk, a closed pipe: not a success
status=0
cbdctl list -H "$transport" >/dev/full 2>"$tmp/full.err" || status=$?
[ $status -eq 1 ] || fail "list to a full disk: status $status"
grep -q 'cbdctl: stdout: No space left' "$tmp/full.err" || fail "list to a full disk: no message"

# shellcheck disable=SC2317,SC2329 # by its name
idle()
{
	cbdctl list -H "$transport" | jq -e '.[0] | .state == "idle" and .held == null' >/dev/null
}

# after the end of all
stop "$nbdkit_pid"
stop_backend 1
stop_backend 2
shows '[.backends[] | [.backend_id, .state, .alive, .held]] ==
	[[1, "gone", false, null], [2, "gone", false, null]] and
	.blkdevs == [] and .channels == []'
wait_until 20 idle || fail "a host whose processes have stopped is not idle"
cbdctl clear backend 1 "$transport"
shows '[.backends[].backend_id] == [2]'
