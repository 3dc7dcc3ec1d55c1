#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# nbdkit is killed and started again below QEMU: with reconnect-delay its requests wait,
# and none fails.

. "$(dirname "$0")/functions.sh"

requires_program nbdkit qemu-io

# is_idle COUNT: so many commands are done; it asks for the next one
is_idle()
{
	[ "$(grep -so "qemu-io>" "$tmp/qemu.log" | wc -l)" -gt "$1" ]
}

format_transport transport
make_disk "$disks/disk" 16M
start_backend 1 "$disk"
start_nbdkit cbd "$transport" backend=1
mkfifo "$tmp/commands"
qemu-io --image-opts "driver=nbd,server.type=unix,server.path=$socket,reconnect-delay=600" \
	<"$tmp/commands" >"$tmp/qemu.log" 2>&1 &
qemu_pid=$!
cleanup_fn stop $qemu_pid
exec 9>"$tmp/commands"
echo "write -P 1 0 64k" >&9
wait_until 20 is_idle 1 || fail "the first write is not answered"

kill -9 "$nbdkit_pid"
wait "$nbdkit_pid" 2>/dev/null || true
echo "write -P 2 0 64k" >&9
# it takes back what the dead one held
start_nbdkit cbd "$transport" backend=1
# line by line: qemu-io waits for its standard input to become readable, and does not see
# what it has read of it already
wait_until 60 is_idle 2 || fail "the write does not go on"
echo "read -P 2 0 64k" >&9
wait_until 20 is_idle 3 || fail "the read is not answered"
echo flush >&9
wait_until 20 is_idle 4 || fail "the flush is not answered"
echo quit >&9
exec 9>&-
wait_until 20 gone $qemu_pid || fail "qemu-io does not end"
wait $qemu_pid || fail "qemu-io has failed"
if grep -qiE "error|failed" "$tmp/qemu.log"; then fail "a request has failed"; fi
