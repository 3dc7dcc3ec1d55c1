#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# cbdctl format: what it makes of its options, and what it refuses.

. "$(dirname "$0")/functions.sh"

requires_program jq

file=$memory/transport

# makes FILTER OPTION...: a new transport, for which it holds
makes()
{
	local filter=$1
	shift

	rm -f "$file"
	cbdctl format "$@" "$file" >"$tmp/format.json" || fail "format $*"
	jq -e "$filter" "$tmp/format.json" >/dev/null ||
		fail "format $*: not $filter: $(cat "$tmp/format.json")"
	# list shows the same
	cbdctl list "$file" | jq -S .transport | diff - <(jq -S . "$tmp/format.json") ||
		fail "list shows another transport"
}

makes '.size == 67108864 and .hosts == 16 and .backends == 4 and .blkdevs == 16 and
	.channels == 8 and .depth == 128 and .heartbeat_ms == 500 and .dead_after == 10 and
	.label == "" and .data_crc == false and .damaged == false' --size 64M
makes '.coherence == "hardware"' --size 64M
makes '.coherence == "software"' --size 64M --coherence software
makes '.data_crc' --size 64M --data-crc
for size in 64m 64MiB 65536k 65536KiB 67108864; do
	makes '.size == 67108864' --size $size
done
makes '.hosts == 1 and .backends == 1 and .blkdevs == 1 and .channels == 1 and .depth == 1' \
	--size 4M --hosts 1 --backends 1 --blkdevs 1 --channels 1 --depth 1
makes '.hosts == 64 and .backends == 64 and .blkdevs == 256' \
	--size 96M --hosts=64 --backends=64 --blkdevs=256 --channels 1
makes '.channel_size == 2097152 and .depth == 4096' --size 96M --channel-size 2M --depth 4096
makes '.channel_size == 16777216' --size 64M --backends 1 --channels 2
makes '.heartbeat_ms == 20 and .dead_after == 1000' --size 64M --heartbeat 20 --dead-after 1000
makes '.label == "7 \u00e9\"\\/"' --size 64M --label '7 é"\/'
makes '(.uuid | test("^[0-9a-f-]{36}$")) and (.created > 1700000000) and .version == 1' --size 64M

# Two formats are two transports.
uuid=$(jq -r .uuid "$tmp/format.json")
[ "$(cbdctl format --force "$file" | jq -r .uuid)" != "$uuid" ] || fail "the same uuid again"

# usage TEXT ARGUMENT...: a mistake on the command line, nothing is touched
usage()
{
	local text=$1
	shift

	expect 2 "cbdctl: $text" cbdctl "$@"
	expect 2 "Try 'cbdctl" cbdctl "$@"
	[ ! -s "$tmp/expect.out" ] || fail "cbdctl $*: prints to stdout"
}

cp "$file" "$tmp/before"
usage "the command is missing"
usage "nonsense: unknown command" nonsense
usage "unrecognized option '--nonsense'" --nonsense
usage "unrecognized option '--nonsense'" format --nonsense "$file"
usage "the transport is missing" format
usage "b: one transport is enough" format --force a b
usage "option '--size' requires an argument" format --size
for size in 0 -1 1.5G x "" 1KB 1kB 1kiB 1mib 1Ki 1MM " 1M" "1 M" 0x10; do
	usage "--size: '$size': must be a whole number above 0" format --force --size "$size" "$file"
done
usage "--size: '18446744073709551616': is more than 64T" \
	format --force --size 18446744073709551616 "$file"
usage "--size: '99999T': is more than 64T" format --force --size 99999T "$file"
usage "--size: '9223372036854775807K'" format --force --size 9223372036854775807K "$file"
for n in 0 65 -1 x "" 4294967297; do
	usage "--hosts: '$n': must be a number from 1 to 64" format --force --hosts "$n" "$file"
	usage "--backends: '$n': must be a number from 1 to 64" format --force --backends "$n" "$file"
done
usage "--blkdevs: '257': must be a number from 1 to 256" format --force --blkdevs 257 "$file"
usage "--channels: '257': must be a number from 1 to 256" format --force --channels 257 "$file"
usage "--channel-size: '1023K': must be a multiple of 4K" format --force --channel-size 1023K "$file"
usage "--channel-size: '17M': must be a multiple of 4K" format --force --channel-size 17M "$file"
usage "--channel-size: '1048577': must be" format --force --channel-size 1048577 "$file"
usage "--depth: '100': must be a power of two" format --force --depth 100 "$file"
usage "--depth: '8192': must be a number from 1 to 4096" format --force --depth 8192 "$file"
usage "--heartbeat: '0': must be a number from 1 to 60000" format --force --heartbeat 0 "$file"
usage "--dead-after: '1': must be a number from 2 to 1000" format --force --dead-after 1 "$file"
usage "--coherence: 'none': must be hardware or software" format --force --coherence none "$file"
usage "--label: '" format --force --label "$(printf '%064d' 0)" "$file"

# refused TEXT ARGUMENT...
refused()
{
	local text=$1
	shift

	expect 1 "cbdctl: $text" cbdctl format "$@"
	[ ! -s "$tmp/expect.out" ] || fail "cbdctl format $*: prints to stdout"
}

refused "$file: is a cbd transport already; --force formats it" "$file"
refused "$file: is a cbd transport already; --force formats it" --size 1G "$file"
refused "$file: " --force --size 1M "$file"
refused "$memory/none: No such file or directory; give a size to create it" "$memory/none"
refused "$memory/none/none: No such file or directory" --size 64M "$memory/none/none"
[ ! -e "$memory/none" ] || fail "a refused format has made a file"
refused "$memory: Is a directory" --size 64M "$memory"
refused "/dev/null: a character device, but not a devdax one" --size 64M /dev/null
: >"$memory/empty"
refused "$memory/empty: is empty; give its size" "$memory/empty"
head -c 1M /dev/zero >"$memory/small"
refused "$memory/small: " "$memory/small"
refused "$memory/new: " --size 1K "$memory/new"
cmp "$file" "$tmp/before"

# in use: twice --force would help; after a stop once is enough
make_disk "$disks/disk" 16M
transport=$file
cbdctl format --force --heartbeat 20 "$file" >"$tmp/format.json"
start_backend 1 "$disk"
refused "$file: is in use" "$file"
refused "$file: is in use" --force "$file"
cbdctl list -B "$file" | jq -e '.[0].alive' >/dev/null || fail "the backend has suffered"
stop_backend 1
cbdctl format --force "$file" >"$tmp/format.json"
