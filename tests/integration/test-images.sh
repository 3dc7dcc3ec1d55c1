#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Transports that the first release of each format version has made (tests/images): this
# version lists them, finds nothing wrong, frees what died there, and serves a disk.

. "$(dirname "$0")/functions.sh"

requires_program nbdkit jq xz

images=${abs_top_srcdir:?}/tests/images
transport=$memory/transport
found=0

for image in "$images"/*.xz; do
	echo "${image##*/}"
	found=$((found + 1))
	xz -dc "$image" >"$transport"
	cbdctl list "$transport" >"$tmp/list.json"
	jq -f "$images/lasting.jq" "$tmp/list.json" >"$tmp/lasting.json"
	diff "${image%.xz}.json" "$tmp/lasting.json" || fail "the lists differ"
	expect 0 "" cbdctl check "$transport"

	# a slot that nobody had, beside what the dead have left
	make_disk "$disks/disk" 4M
	start_backend 2 "$disk"
	start_nbdkit cbd "$transport" backend=2
	"$nbd_io" "$uri" write:0:1M:3 flush read:0:1M:3
	stop "$nbdkit_pid"
	stop_backend 2

	# the slots of machines that are gone
	for host in 0 1; do
		cbdctl clear host $host --host-gone $host "$transport"
	done
	start_backend 1 "$disk"
	start_nbdkit cbd "$transport" backend=1
	"$nbd_io" "$uri" read:0:1M:3 write:1M:1M:4 flush read:1M:1M:4
	stop "$nbdkit_pid"
	stop_backend 1
	expect 0 "" cbdctl check "$transport"
done
[ $found -ge 2 ] || fail "no images in $images"
