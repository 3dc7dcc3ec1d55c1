#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# nbdkit's stats filter counts what went through the plugin.

. "$(dirname "$0")/functions.sh"

requires_program nbdkit
requires nbdkit --dump-plugin --filter=stats null

format_transport transport
make_disk "$disks/disk" 8M
start_backend 1 "$disk"
start_nbdkit --filter=stats cbd "$transport" backend=1 statsfile="$tmp/stats"
"$nbd_io" "$uri" write:0:1M:1 write:1M:1M:2 read:0:1M:1 read:1M:1M:2 zero:0:1M trim:1M:1M flush
stop "$nbdkit_pid"
for line in 'write: 2 ops' 'read: 2 ops' 'zero: 1 ops' 'trim: 1 ops' 'flush: 1 ops'; do
	grep -qF "$line" "$tmp/stats" || fail "no '$line' in: $(cat "$tmp/stats")"
done
