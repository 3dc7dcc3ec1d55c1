#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# nbdcopy and qemu-img pass holes by: copies of a sparse disk are right, sparse, and made
# without reading the holes.

. "$(dirname "$0")/functions.sh"

requires_program nbdkit nbdcopy nbdinfo qemu-img jq

# 2 GiB with 12 MiB in it
make_sparse()
{
	local at

	make_disk "$1" 2G
	for at in 0 77 500 1000 1999 2044; do
		dd if=/dev/urandom of="$disk" bs=1M count=2 seek=$at conv=notrunc status=none
	done
}

# sparse FILE: takes less than 32 MiB
sparse()
{
	[ "$(stat -c %b "$1")" -lt $((32 * 2048)) ] || fail "$1 takes $(stat -c %b "$1") blocks"
}

# read_bytes: by nbdkit's log, of reads since the last call
read_bytes()
{
	python3 -c 'import re, sys
print(sum(int(n, 16) for n in re.findall(r" Read .*?count=(0x[0-9a-f]+)", sys.stdin.read())))' \
		<"$tmp/requests"
	: >"$tmp/requests"
}

# few_reads WHAT
few_reads()
{
	local bytes

	bytes=$(read_bytes)
	[ "$bytes" -lt $((64 << 20)) ] || fail "$1 has read $bytes bytes"
	echo "$1: $bytes bytes read"
}

format_transport transport
make_sparse "$memory/disk"
start_backend 1 "$disk"
start_nbdkit --filter=log cbd "$transport" backend=1 queues=4 logfile="$tmp/requests"
nbd=nbd:unix:$socket

nbdcopy "$uri" "$memory/copy"
cmp "$disk" "$memory/copy"
sparse "$memory/copy"
few_reads nbdcopy
rm "$memory/copy"

qemu-img map --output=json -f raw "$nbd" >"$tmp/map.json"
jq -e '(map(.length) | add) == 2147483648 and ([.[] | select(.data)] | length) == 6 and
	all(.[]; .data != .zero) and
	([.[] | select(.data)] | map([.start, .length]) | .[1]) == [80740352, 2097152]' \
	"$tmp/map.json" >/dev/null || fail "qemu-img map: $(cat "$tmp/map.json")"

qemu-img convert -f raw -O raw "$nbd" "$memory/copy"
cmp "$disk" "$memory/copy"
sparse "$memory/copy"
few_reads "qemu-img convert"
rm "$memory/copy"
qemu-img convert -f raw -O qcow2 "$nbd" "$memory/copy"
qemu-img compare -f qcow2 -F raw "$memory/copy" "$nbd"
sparse "$memory/copy"

# and in again: the disk stays sparse
stop "$nbdkit_pid"
stop_backend 1
make_disk "$memory/in" 2G
start_backend 1 "$disk"
start_nbdkit cbd "$transport" backend=1 queues=4
nbdcopy --flush "$memory/disk" "$uri"
cmp "$memory/disk" "$disk"
sparse "$disk"
