#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The attributes that cbdctl prints are those that cbdctl(1) documents, and have the
# values that they should.

. "$(dirname "$0")/functions.sh"
trap 'echo "$0: line $LINENO fails" >&2' ERR

requires_program nbdkit jq

manual=${abs_top_srcdir:?}/ctl/cbdctl.pod

# documented HEADING: the items of a =head2
documented()
{
	awk -v heading="=head2 $1" '/^=head[12] / { on = ($0 == heading) } on && /^=item /' "$manual" |
		grep -oE 'B<[a-z_]+>' | tr -d 'B<>' | sort
}

# same_keys HEADING FILTER: of the JSON in $tmp/json
same_keys()
{
	local printed

	printed=$(jq -r "$2 | keys[]" "$tmp/json" | sort)
	[ -n "$printed" ] || fail "$1: nothing is printed"
	diff <(echo "$printed") <(documented "$1") ||
		fail "$1: what is printed (<) and documented (>) differ"
}

# is FILTER VALUE: of the JSON in $tmp/json
is()
{
	local real

	real=$(jq -c "$1" "$tmp/json")
	[ "$real" = "$2" ] || fail "$1 is $real, not $2"
}

format_transport transport --label shelf
make_disk "$disks/disk" 16M
start_backend 2 --name disk2 --allow-host 0,3 --max-blkdevs 2 -r "$disk"
start_nbdkit -r cbd "$transport" backend=disk2 queues=3 readonly=true

cbdctl list "$transport" >"$tmp/json"
is keys '["backends","blkdevs","channels","hosts","transport"]'
same_keys transport .transport
for kind in hosts backends blkdevs channels; do
	same_keys $kind ".${kind}[0]"
done

# every object of an array has the keys of the first, but for those that may be absent
for kind in hosts backends blkdevs channels; do
	is ".$kind | map(del(.allow_hosts) | keys) | unique | length" 1
done
# as the manual says: numbers are decimal, 64 bits without a meaning are hexadecimal
is '[.transport.compat, .transport.incompat, .transport.ro_compat,
	.backends[0].disk_identity, .backends[0].verifier, .channels[0].epoch] |
	all(type == "string" and test("^0x[0-9a-f]+$"))' true
is '[.transport.uuid, .hosts[0].uuid, .hosts[0].boot_id] |
	all(test("^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"))' true
is '.transport.created | type' '"number"'
is '.transport | [.label, .size, .hosts, .backends, .channels, .depth, .damaged]' \
	'["shelf",25165824,16,4,4,32,false]'
is '.hosts | map([.host_id, .alive, .state])' '[[0,true,"live"]]'
is '.hosts[0].name' "\"$(uname -n)\""
is '.hosts[0].boot_id' "\"$(cat /proc/sys/kernel/random/boot_id)\""
is '.backends | map([.backend_id, .name, .host_id, .pid, .alive, .state, .size, .read_only])' \
	"[[2,\"disk2\",0,${backend_pids[2]},true,\"live\",16777216,true]]"
is '.backends[0] | [.path, .handlers, .max_blkdevs, .allow_hosts, .blkdevs]' \
	"[\"$disk\",1,2,[0,3],[0]]"
is '.blkdevs | map([.mapped_id, .host_id, .backend_id, .pid, .alive, .state, .queues, .read_only])' \
	"[[0,0,2,$nbdkit_pid,true,\"live\",3,true]]"
is '.channels | map([.backend_id, .blkdev_id, .queue, .state])' \
	'[[2,0,0,"granted"],[2,0,1,"granted"],[2,0,2,"granted"]]'
is '(.backends + .blkdevs) | all(.incarnation > 0)' true

# what format prints is the same object
cp "$tmp/json" "$tmp/list.json"
cp "$tmp/format.json" "$tmp/json"
same_keys transport .
diff <(jq -S . "$tmp/json") <(jq -S .transport "$tmp/list.json") || fail "format and list differ"

# kinds and --id
cbdctl list -D "$transport" >"$tmp/json"
is 'map(.mapped_id)' '[0]'
cbdctl list -B --id 2 "$transport" >"$tmp/json"
is 'map(.backend_id)' '[2]'
cbdctl list -C --id 1 "$transport" >"$tmp/json"
is 'map(.queue)' '[1]'
cbdctl list -H -D "$transport" >"$tmp/json"
is keys '["blkdevs","hosts","transport"]'
expect 1 "blkdev 1: not in use" cbdctl list -D --id 1 "$transport"
expect 1 "blkdev 16: there are only 0 to 15" cbdctl list -D --id 16 "$transport"
expect 2 "--id: needs one of" cbdctl list --id 1 "$transport"
expect 2 "--id: needs one of" cbdctl list -B -D --id 1 "$transport"

# for people
cbdctl list -u "$transport" >"$tmp/json"
is '.transport.size' '"24.00 MiB (25.17 MB)"'
is '.backends[0].size' '"16.00 MiB (16.78 MB)"'
is '.transport.created | test("^20[0-9-]{8}T[0-9:]{8}Z$")' true

# list-transports
cp "$transport" "$memory/second"
echo text >"$memory/text"
expect 0 "$memory/text: too small (5 bytes) to be a cbd transport" \
	cbdctl list-transports "$memory/second" "$memory/text" "$transport" "$memory/missing"
grep -q "$memory/missing: No such file or directory" "$tmp/expect.err"
jq 'map(select(.kind == "file"))' "$tmp/expect.out" >"$tmp/json"
is 'map([.path, .label, .size, .version, .coherence, .damaged])' \
	"[[\"$memory/second\",\"shelf\",25165824,1,\"hardware\",false],[\"$transport\",\"shelf\",25165824,1,\"hardware\",false]]"
is 'map(.uuid) | unique | length' 1
same_keys transports '.[0]'
cbdctl list-transports -u "$transport" >"$tmp/json"
is 'map(select(.kind == "file").size)' '["24.00 MiB (25.17 MB)"]'
cbdctl list-transports >"$tmp/json"
is 'map(select(.kind != "devdax"))' '[]'

# dead, and gone
kill_backend 2
wait_until 10 gone "${backend_pids[2]}"
cbdctl list -B "$transport" >"$tmp/json"
is 'map([.alive, .state])' '[[false,"dead"]]'
