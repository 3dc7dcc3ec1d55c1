#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Two clients at once on a read-only backend for two: both read everything, neither can
# write, a third one is refused.

. "$(dirname "$0")/functions.sh"

requires_program nbdkit nbdcopy jq cmp

format_transport transport
make_disk "$disks/disk" 32M
head -c 32M /dev/urandom >"$disk"
start_backend 1 --read-only --max-blkdevs 2 "$disk"
start_nbdkit cbd "$transport" backend=1
mv "$tmp/nbdkit.log" "$tmp/nbdkit-1.log"
mv "$tmp/nbdkit.sock" "$tmp/nbdkit-1.sock"
first="nbd+unix:///?socket=$tmp/nbdkit-1.sock"
start_nbdkit cbd "$transport" backend=1
cbdctl list "$transport" | jq -e '(.blkdevs | length == 2 and all(.alive)) and
	.backends[0].read_only and (.backends[0].blkdevs | length == 2)' >/dev/null ||
	fail "not two blkdevs on a read-only backend"
expect 1 "backend 1: has its maximum of blkdevs attached" \
	nbdkit -U - cbd "$transport" backend=1 --run true

nbdcopy "$first" "$disks/copy-1" &
copy=$!
nbdcopy "$uri" "$disks/copy-2"
wait $copy || fail "the first client's copy has failed"
cmp "$disk" "$disks/copy-1"
cmp "$disk" "$disks/copy-2"
for u in "$first" "$uri"; do
	if "$nbd_io" "$u" write:0:512:1 2>"$tmp/write.log"; then
		fail "a write to a read-only disk succeeds"
	fi
done
cmp "$disk" "$disks/copy-1"
