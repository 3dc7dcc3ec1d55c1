#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# nbdkit's cache filter, in each of its modes: what clients wrote and flushed is on the
# disk.

. "$(dirname "$0")/functions.sh"

requires_program nbdkit cmp
requires nbdkit --dump-plugin --filter=cache null

format_transport transport
make_disk "$disks/disk" 16M
start_backend 1 "$disk"
for mode in writeback writethrough; do
	# the filter passes the question for holes on to the plugin, also where its cache holds
	# data that it has not written yet: with nbdkit's own file plugin, 3 of 15 runs were
	# told of zeroes there
	filters=(--filter=cache)
	[ $mode = writethrough ] || filters=(--filter=noextents --filter=cache)
	start_nbdkit "${filters[@]}" cbd "$transport" backend=1 cache=$mode cache-on-read=true
	# the filter keeps what it has of a trimmed range
	"$random_io" -T -s "$((SRANDOM))" -n "$(share 1000)" -o "$disks/image" "$uri" |
		grep -v ' finished$'
	"$nbd_io" "$uri" flush
	cmp "$disks/image" "$disk" || fail "$mode: not on the disk after a flush"
	stop "$nbdkit_pid"
	cmp "$disks/image" "$disk"
done
