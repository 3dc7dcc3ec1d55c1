#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Engine mmap: what a truncation cuts off the disk ends with EIO and the backend
# lives; it is what auto chooses for a file in memory; --direct is refused.

. "$(dirname "$0")/functions.sh"

requires_program nbdkit qemu-io
format_transport transport
make_disk "$memory/disk" 8M
start_backend 1 "$disk"
grep 'engine mmap$' "$tmp/backend-1.log" || fail "auto is another engine"
start_nbdkit cbd "$transport" backend=1
io()
{
	timeout "$(limit 20)" qemu-io -f raw "$uri" "$@" >"$tmp/io.log" 2>&1
}

io -c 'write -P 7 4M 64k' -c 'read -P 7 4M 64k' || fail "$(cat "$tmp/io.log")"
truncate -s 4M "$disk"
if io -c 'read 4M 64k'; then fail "a read of what was cut off succeeds"; fi
grep 'Input/output error' "$tmp/io.log" || fail "$(cat "$tmp/io.log")"
io -c 'read -P 0 3M 1M' || fail "$(cat "$tmp/io.log")"
# A write makes the file longer again, as with system calls.
io -c 'write -P 9 6M 64k' -c 'read -P 9 6M 64k' -c 'read -P 0 4M 64k' ||
	fail "$(cat "$tmp/io.log")"
alive "${backend_pids[1]}" || fail "the backend has died"
stop "$nbdkit_pid"
stop_backend 1

make_disk "$disks/disk" 8M
if timeout "$(limit 20)" cbd-backend -t "$transport" --id 2 -f --engine mmap --direct "$disk" 2>"$tmp/direct.log"; then
	fail "--direct is accepted"
fi
grep 'engine mmap: a mapping cannot go around the page cache' "$tmp/direct.log" ||
	fail "$(cat "$tmp/direct.log")"
