#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# What cbdctl says of transports and numbers that are wrong: one row each, status
# and message, and that nothing is lost.

. "$(dirname "$0")/functions.sh"
trap 'echo "$0: line $LINENO fails" >&2' ERR

requires_program jq python3 setpriv

patch=$(dirname "$0")/patch-transport.py

# A fresh transport, ready to be spoilt.
fresh()
{
	format_transport transport --force --force
}

# refused TEXT: by all commands that open a transport, with status 1
refused()
{
	local text=$1 command

	for command in "list" "check" "clear backend 0"; do
		# shellcheck disable=SC2086 # words
		expect 1 "$text" cbdctl $command "$transport"
	done
	expect 1 "$text" backend
}

# A backend, which has to refuse.
backend()
{
	timeout 10 cbd-backend -f -t "$transport" --id 0 "$disk"
}

make_disk "$disks/disk" 1M

# --- Paths ------------------------------------------------------------------

transport=$memory/missing
refused "$transport: No such file or directory"
expect 1 "$transport: No such file or directory; give a size to create it" \
	cbdctl format "$transport"
[ ! -e "$transport" ]

transport=$memory
refused "$transport: Is a directory"
expect 1 "$transport: Is a directory" cbdctl format --size 24M "$transport"

transport=$tmp/fifo
mkfifo "$transport"
refused "$transport: neither a file nor a devdax device"
transport=/dev/null
refused "$transport: a character device, but not a devdax one"
expect 1 "$transport: a character device, but not a devdax one" cbdctl format "$transport"

transport=$memory/small
echo text >"$transport"
refused "$transport: too small (5 bytes) to be a cbd transport"
expect 1 "too small: 8192 bytes; 32 channels of 1048576 bytes need" \
	cbdctl format --size 8K "$transport"
[ "$(cat "$transport")" = text ]

transport=$memory/empty
: >"$transport"
refused "$transport: too small (0 bytes) to be a cbd transport"
expect 1 "$transport: is empty; give its size" cbdctl format "$transport"

transport=$memory/zeroes
truncate -s 24M "$transport"
refused "$transport: not a cbd transport (no magic); see cbdctl format"

if [ "$(id -u)" -eq 0 ]; then
	fresh
	chmod 000 "$transport"
	chmod 755 "$memory"
	nobody=(setpriv --reuid 65534 --regid 65534 --clear-groups)
	for command in list check "format --force" "clear blkdev 0"; do
		# shellcheck disable=SC2086 # words
		expect 1 "$transport: Permission denied" "${nobody[@]}" env \
			"PATH=$PATH" "LD_LIBRARY_PATH=${LD_LIBRARY_PATH-}" cbdctl $command "$transport"
	done
	chmod 600 "$transport"
	cbdctl check "$transport"
fi

# --- Headers ----------------------------------------------------------------

fresh
uuid=$(jq -r .uuid "$tmp/format.json")
truncate -s 20M "$transport"
expect 1 "is 20971520 bytes, its header says 25165824" cbdctl list "$transport"
expect 3 "is 20971520 bytes, its header says 25165824; header and copy are both beyond repair" \
	cbdctl check "$transport"
expect 1 "is 20971520 bytes, its header says 25165824" backend

# another magic: the copy serves
fresh
uuid=$(jq -r .uuid "$tmp/format.json")
damage="$transport: the header is damaged, its copy is used; 'cbdctl check --repair' restores it"
printf 'NOTcbd!!' | dd of="$transport" conv=notrunc status=none
expect 0 "$damage" cbdctl list "$transport"
[ "$(jq -r '.transport | "\(.uuid) \(.damaged)"' "$tmp/expect.out")" = "$uuid true" ]
expect 1 "$damage" cbdctl clear backend 0 "$transport"
expect 0 "$damage" cbdctl list-transports "$transport"
expect 3 "$transport: header is damaged" cbdctl check "$transport"
expect 0 "$transport: header is damaged; repaired" cbdctl check --repair "$transport"
expect 0 "" cbdctl check "$transport"
[ "$(cbdctl list "$transport" | jq -r '.transport | "\(.uuid) \(.damaged)"')" = "$uuid false" ]

# bits of the header, of its table, of the copy and the copy's table
for row in "0 100" "0 4099" "copy 100" "copy 4096"; do
	object=header
	[ "${row% *}" = 0 ] || object="copy of the header"
	# shellcheck disable=SC2086 # words
	"$patch" "$transport" flip $row
	expect 3 "$transport: $object is damaged" cbdctl check "$transport"
	expect 3 "'cbdctl check --repair' restores what nobody uses" cbdctl check "$transport"
	expect 0 "$transport: $object is damaged; repaired" cbdctl check --repair "$transport"
	expect 0 "" cbdctl check "$transport"
done

# both
"$patch" "$transport" flip 100
"$patch" "$transport" flip copy 100
expect 1 "$transport: the header is damaged (CRC)" cbdctl list "$transport"
expect 3 "'cbdctl format --force' makes it usable again, empty" cbdctl check "$transport"
expect 3 "the header is damaged (CRC); header and copy are both beyond repair" \
	cbdctl check --repair "$transport"
expect 1 "$transport: is a cbd transport already; --force formats it again" \
	cbdctl format "$transport"
cbdctl format --channels 4 --force "$transport" >/dev/null
cbdctl check "$transport"

# sound, and not the same
fresh
"$patch" "$transport" copy label=0x41
expect 3 "copy of the header is not equal to the header" cbdctl check "$transport"
expect 0 "copy of the header is not equal to the header; repaired" \
	cbdctl check --repair "$transport"
expect 0 "" cbdctl check "$transport"

# smaller than its file, and the copy of an older, larger one is not taken for it
fresh
cbdctl format --force --size 20M --channels 2 "$transport" >"$tmp/format.json"
uuid=$(jq -r .uuid "$tmp/format.json")
"$patch" "$transport" flip 0
expect 0 "$damage" cbdctl list "$transport"
[ "$(jq -r .transport.uuid "$tmp/expect.out")" = "$uuid" ]
dd if=/dev/zero of="$transport" bs=4096 count=1 conv=notrunc status=none
expect 1 "not a cbd transport (no magic)" cbdctl list "$transport"

fresh
"$patch" "$transport" both version=1
refused "$transport: format version 1, this program knows 0"
fresh
"$patch" "$transport" both incompat=4
refused "$transport: has features (incompat 0x4) that this version does not know"

fresh
"$patch" "$transport" both ro_compat=2
message="$transport: has features (ro_compat 0x2) that this version only reads"
expect 0 "" cbdctl list "$transport"
[ "$(jq -r .transport.ro_compat "$tmp/expect.out")" = 0x2 ]
expect 0 "" cbdctl check "$transport"
expect 1 "$message" cbdctl check --repair "$transport"
expect 1 "$message" cbdctl clear backend 0 "$transport"
expect 1 "$message" backend

fresh
"$patch" "$transport" both compat=8
expect 0 "" cbdctl list "$transport"
start_backend 0 "$disk"
expect 0 "" cbdctl check "$transport"
stop_backend 0

# Geometry that overflows or overlaps, with good CRCs in both places.
while read -r fields text; do
	fresh
	# shellcheck disable=SC2086 # words
	"$patch" "$transport" both ${fields//,/ }
	expect 1 "$transport: $text" cbdctl list "$transport"
	expect 3 "$transport: $text" cbdctl check "$transport"
	expect 1 "$transport: $text" backend
done <<'EOF'
hosts=0 hosts: 0 is not in 1..64
hosts=4294967295 hosts: 4294967295 is not in 1..64
backends=65 backends: 65 is not in 1..64
blkdevs=257 blkdevs: 257 is not in 1..256
channels=1000 channels: 1000 is not in 1..256
ring_slots=48 depth: 48 is not a power of two
heartbeat_ms=0 heartbeat: 0 is not in 1..60000
dead_after=1 dead-after: 1 is not in 2..1000
coherence=3 coherence: 3 is not in 1..2
size=4096 header: impossible size 4096
size=25165823 header: impossible size 25165823
header_size=8192 header: impossible page size
table_entries=15 header: impossible channel table
host_offset=4096 header: the area of the hosts is impossible
host_length=18446744073709547520 header: the area of the hosts is impossible
backend_offset=8192 header: the area of the backends is impossible
blkdev_length=4096 header: the area of the blkdevs is impossible
channel_length=18446744073705357312 header: the area of the channels is impossible
copy_offset=0 header: the area of the header copy is impossible
table_crc=1 the channel table is damaged (CRC)
EOF

# --- Formatting again -------------------------------------------------------

fresh
expect 1 "$transport: is a cbd transport already; --force formats it again" \
	cbdctl format "$transport"

start_backend 0 "$disk"
expect 1 "$transport: is in use by a process on this host" cbdctl format "$transport"
expect 1 "$transport: is in use by a process on this host" cbdctl format --force "$transport"
alive "${backend_pids[0]}" || fail "the backend did not survive that"
kill_backend 0
cbdctl format --channels 4 --force "$transport" >/dev/null
expect 0 "" cbdctl list -B "$transport"
[ "$(jq length "$tmp/expect.out")" -eq 0 ]

# An owner on another host that is silent: its boot is not this one.
fresh
start_backend 0 "$disk"
kill_backend 0
"$patch" "$transport" line host-state:0 16:8=1
"$patch" "$transport" line backend-claim:0:0 24:8=1
expect 1 "$transport: backend 0 of host 0 is suspect, not dead" cbdctl format --force "$transport"
expect 1 "--force formats it again" cbdctl format "$transport"
cbdctl format --channels 4 --force --force "$transport" >/dev/null
expect 0 "" cbdctl check "$transport"

# --- The command line -------------------------------------------------------

transport=$memory/new
while read -r size text; do
	expect 2 "--size: '$size': $text" cbdctl format --size "$size" "$transport"
	[ ! -e "$transport" ] || fail "--size $size has left a file"
done <<'EOF'
0 must be a whole number above 0
-1 must be a whole number above 0
1.5G must be a whole number above 0
1GB must be a whole number above 0
99999999999999999999 must be a whole number above 0
99999T is more than 64T
EOF
expect 2 "--size: '': must be a whole number above 0" cbdctl format --size '' "$transport"
expect 1 "$transport: cannot grow to 70368744177664 bytes" cbdctl format --size 64T "$transport"
[ ! -e "$transport" ] || fail "--size 64T has left a file"

while read -r options text; do
	# shellcheck disable=SC2086 # words
	expect 2 "$text" cbdctl ${options//,/ } "$transport"
done <<'EOF'
frmat frmat: unknown command
format,--hosts,0 --hosts: '0': must be a number from 1 to 64
format,--backends,65 --backends: '65': must be a number from 1 to 64
format,--depth,33 --depth: '33': must be a power of two
format,--channel-size,1000K --channel-size: '1000K': must be a multiple of 4K from 1M to 16M
format,--coherence,soft --coherence: 'soft': must be hardware or software
list,--id,0 --id: needs one of --hosts
list,-B,--id,x --id: 'x': must be a number
list,-B,extra : one transport is enough
check,extra : one transport is enough
clear what to clear is missing
clear,host host: '/
clear,channel,0 'channel': must be host, backend or blkdev
clear,host,x host: 'x': must be a number
clear,host,1,--host-gone,64 --host-gone: '64': must be a number from 0 to 63
clear,host,1,extra : one transport is enough
EOF
for command in list check "clear host 0" format; do
	# shellcheck disable=SC2086 # words
	expect 2 "the transport is missing" cbdctl $command
done
expect 2 "the command is missing" cbdctl

fresh
expect 1 "$transport: backend 4: there are only 0 to 3" cbdctl list -B --id 4 "$transport"
expect 1 "$transport: backend 3: not in use" cbdctl list -B --id 3 "$transport"
for object in host:16:15 backend:4:3 blkdev:16:15; do
	IFS=: read -r kind id last <<<"$object"
	expect 1 "$transport: $kind $id: the transport has 0..$last" \
		cbdctl clear "$kind" "$id" "$transport"
	expect 1 "$transport: $kind 0: is not in use" cbdctl clear "$kind" 0 "$transport"
done
expect 1 "--host-gone 16: the transport has hosts 0..15" \
	cbdctl clear host 0 --host-gone 16 "$transport"
