#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# nbdkit's retry filter: a backend that was cleared, and so ends requests with ESHUTDOWN,
# is there again before the filter gives up.

. "$(dirname "$0")/functions.sh"

requires_program nbdkit
requires nbdkit --dump-plugin --filter=retry null

format_transport transport
make_disk "$disks/disk" 8M
start_backend 1 "$disk"
start_nbdkit --filter=retry cbd "$transport" backend=1 retries=100 retry-delay=1 \
	retry-exponential=no
"$nbd_io" "$uri" write:0:1M:0x44
stop_backend 1
cbdctl clear backend 1 "$transport"

timeout "$(limit 60)" "$nbd_io" "$uri" read:0:1M:0x44 write:1M:1M:0x55 &
client=$!
refused()
{
	grep -q 'read 1048576 bytes at 0: Cannot send' "$tmp/nbdkit.log" || gone $client
}
wait_until 20 refused || fail "the filter does not retry"
alive $client || fail "the request did not wait for the backend"
start_backend 1 "$disk"
wait $client || fail "the request failed"
"$nbd_io" "$uri" read:1M:1M:0x55
