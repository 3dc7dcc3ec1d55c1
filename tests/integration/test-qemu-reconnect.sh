#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# nbdkit is killed and started again below QEMU: with reconnect-delay its requests wait,
# and none fails.

. "$(dirname "$0")/functions.sh"

requires_program nbdkit qemu-io

# done_ops COUNT: so many requests are answered
done_ops()
{
	[ "$(grep -c "bytes at offset" "$tmp/qemu.log")" -ge "$1" ]
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
wait_until 20 done_ops 1 || fail "the first write is not answered"

kill -9 "$nbdkit_pid"
wait "$nbdkit_pid" 2>/dev/null || true
printf '%s\n' "write -P 2 0 64k" "read -P 2 0 64k" "flush" >&9
# it takes back what the dead one held
start_nbdkit cbd "$transport" backend=1
wait_until 60 done_ops 3 || fail "the requests do not go on"
echo quit >&9
exec 9>&-
wait_until 20 gone $qemu_pid || fail "qemu-io does not end"
wait $qemu_pid || fail "qemu-io has failed"
if grep -qiE "error|failed" "$tmp/qemu.log"; then fail "a request has failed"; fi
