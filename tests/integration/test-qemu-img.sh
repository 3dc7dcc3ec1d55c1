#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# qemu-img map and bench.

. "$(dirname "$0")/functions.sh"

requires_program nbdkit qemu-img jq

format_transport transport
make_disk "$disks/disk" 64M
start_backend 1 "$disk"
start_nbdkit cbd "$transport" backend=1
nbd=nbd:unix:$socket

# nothing was written yet
qemu-img map --output=json -f raw "$nbd" | jq -e '(map(.length) | add) == 67108864 and
	all(.[]; .zero and (.data | not))' >/dev/null || fail "qemu-img map is wrong"
qemu-img bench -f raw -t none -w -c 500 -d 16 -s 64k --pattern=90 "$nbd" >"$tmp/bench.log"
qemu-img bench -f raw -t none -c 500 -d 16 -s 64k "$nbd" >>"$tmp/bench.log"
qemu-img bench -f raw -t none -w -c 500 -d 16 -s 4k -S 8k --pattern=165 \
	--flush-interval=50 "$nbd" >>"$tmp/bench.log"
[ "$(grep -c '^Run completed in' "$tmp/bench.log")" -eq 3 ] || fail "qemu-img bench has failed"
"$nbd_io" "$uri" read:0:4K:165 read:4K:4K:90 read:8K:4K:165 read:4M:27M:90 read:40M:24M:0
