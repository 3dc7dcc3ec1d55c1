#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A file of nbdfuse over nbdkit cbd: 100,000 random reads, writes, mapped accesses,
# holes and zeroed ranges, against a shadow copy.

. "$(dirname "$0")/functions.sh"

requires_program nbdkit nbdfuse fusermount3 cmp
requires test -c /dev/fuse

seed=${RANDOM_SEED:-$((SRANDOM))}

format_transport transport
# no multiple of a page
make_disk "$disks/disk" $((16 * 1024 * 1024 + 512))
start_backend 1 "$disk"
start_nbdkit cbd "$transport" backend=1 queues=2

mkdir "$tmp/mnt"
nbdfuse -P "$tmp/nbdfuse.pid" "$tmp/mnt" "$uri" 2>"$tmp/nbdfuse.log" &
nbdfuse_pid=$!
cleanup_fn stop "$nbdfuse_pid"
unmount()
{
	fusermount3 -u "$tmp/mnt" && wait_until 20 gone "$nbdfuse_pid"
}
# shellcheck disable=SC2317,SC2329 # reached through cleanup_fn
unmount_if_mounted()
{
	gone "$nbdfuse_pid" || fusermount3 -uz "$tmp/mnt" 2>/dev/null || true
}
cleanup_fn unmount_if_mounted
nbdfuse_started()
{
	[ -s "$tmp/nbdfuse.pid" ] || gone "$nbdfuse_pid"
}
wait_until 20 nbdfuse_started || fail "nbdfuse: not ready in time"

"$programs/file-io" -s "$seed" -n "$(share 100000)" -o "$disks/image" "$tmp/mnt/nbd"
unmount || fail "nbdfuse does not end"
stop "$nbdkit_pid"
stop_backend 1
cmp "$disks/image" "$disk"
