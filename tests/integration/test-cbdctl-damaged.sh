#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A damaged header is noticed by all programs, which go on with its copy.

. "$(dirname "$0")/functions.sh"

requires_program jq nbdkit

# damage OFFSET BYTES
damage()
{
	head -c "$2" /dev/urandom | dd of="$transport" bs=1 seek="$1" conv=notrunc status=none
}

format_transport transport
make_disk "$disks/disk" 16M
cp "$transport" "$memory/sound"

# 200 is in the middle of the header; what is there is under its CRC
damage 200 8
expect 0 "$transport: the header is damaged, its copy is used" cbdctl list "$transport"
jq -e '.transport.damaged' "$tmp/expect.out" >/dev/null || fail "list does not say so"
start_backend 1 "$disk"
start_nbdkit cbd "$transport" backend=1
"$nbd_io" "$uri" write:0:1M:1 read:0:1M:1
grep -q "the header is damaged, its copy is used" "$tmp/nbdkit.log" || fail "nbdkit does not say so"
stop "$nbdkit_pid"
stop_backend 1
grep -q "the header is damaged, its copy is used" "$tmp/backend-1.log" ||
	fail "cbd-backend does not say so"

# the magic too
damage 0 4096
expect 0 "$transport: the header is damaged, its copy is used" cbdctl list "$transport"

# both: nothing works, and it is not formatted by mistake
size=$(stat -c %s "$transport")
damage $((size - 4096)) 4096
expect 1 "$transport: " cbdctl list "$transport"
expect 1 "$transport: " cbd-backend -f -t "$transport" --id 1 "$disk"
