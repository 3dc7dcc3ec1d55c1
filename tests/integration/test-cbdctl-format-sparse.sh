#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# cbdctl format --sparse: data areas take memory when they are used. On a file system that is
# full, requests that would need more end with EIO, and nothing else: processes, channels and
# other requests go on, and so does that client when there is room.

. "$(dirname "$0")/functions.sh"

requires_program nbdkit jq
full=$memory/full
mkdir "$full"
requires mount -t tmpfs -o size=20M,huge=never none "$full"
cleanup_fn umount "$full"
sparse=(--sparse --size 256M --backends 2 --channels 4 --depth 32 --heartbeat 100)
transport=$full/transport

used() # in KiB
{
	du -k "$transport" | cut -f 1
}

# Too large for the file system, and small when nothing runs.
expect 1 "cannot reserve 268435456 bytes: No space left on device" \
	cbdctl format --size 256M "$transport"
[ ! -e "$transport" ] || fail "format has left a file"
cbdctl format "${sparse[@]}" "$transport" >"$tmp/format.json"
jq -e '.size == 268435456' "$tmp/format.json" >/dev/null
[ "$(used)" -lt 4096 ] || fail "$(used) KiB are used by an empty one"
expect 0 "" cbdctl check "$transport"

# What is no payload is reserved: a file system without room for that is an error now.
head -c 20M /dev/zero >"$full/filler" 2>/dev/null || true
expect 1 "cannot reserve 268435456 bytes: No space left on device" \
	cbdctl format "${sparse[@]}" "$full/second"
[ ! -e "$full/second" ] || fail "format has left a second file"
rm "$full/filler"

# It is no matter for a device, which a character device stands for here.
expect 1 "a character device, but not a devdax one" cbdctl format --sparse /dev/null

for coherence in hardware software; do
	cbdctl format "${sparse[@]}" --coherence $coherence --force "$transport" >"$tmp/format.json"
	make_disk "$disks/disk" 64M
	start_backend 1 "$disk"
	start_nbdkit cbd "$transport" backend=1
	"$nbd_io" "$uri" write:0:64K:1 flush read:0:64K:1
	head -c 20M /dev/zero >"$full/filler" 2>/dev/null || true
	# more payload in flight than extents were used for before
	"$nbd_io" "$uri" fails:EIO:write:1M:16M:2
	grep -q "backend 1: write [0-9]* bytes at 1048576: Input/output error" "$tmp/nbdkit.log" ||
		fail "nbdkit does not say so: $(cat "$tmp/nbdkit.log")"
	# what finds memory goes on: the first extent that is free, in software mode any
	if [ $coherence = hardware ]; then
		wait_until 10 "$nbd_io" "$uri" read:0:4K:1 2>/dev/null || fail "nothing can be read"
		wait_until 10 "$nbd_io" "$uri" write:0:4K:3 flush 2>/dev/null || fail "nothing can be written"
	fi
	alive "$nbdkit_pid" || fail "nbdkit has died"
	alive "${backend_pids[1]}" || fail "the backend has died"
	expect 0 "" cbdctl check "$transport"
	rm "$full/filler"
	"$nbd_io" "$uri" write:1M:8M:4 flush read:1M:8M:4
	stop "$nbdkit_pid"
	stop_backend 1
	! grep -q "may be lost" "$tmp/nbdkit.log" || fail "a loss is reported"
	rm -f "$transport"
done
