#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Requests of more than 64 MiB: all of the range, and nothing else. The fallback of
# nbdkit 1.32 zeroes the first 64 MiB alone.

. "$(dirname "$0")/functions.sh"

requires_program nbdkit

fill=(write:0:64M:7 write:64M:64M:7 write:128M:64M:7 write:192M:64M:7)

format_transport transport
# ext4 and the like have FALLOC_FL_ZERO_RANGE, tmpfs has not
for folder in "$disks" "$memory"; do
	make_disk "$folder/disk" 256M
	start_backend 1 "$disk"
	start_nbdkit cbd "$transport" backend=1 queues=2
	for flags in :no-hole ""; do
		"$nbd_io" "$uri" "${fill[@]}" read:0:256M:7 \
			"zero:10000:192M$flags" \
			read:0:10000:7 read:10000:192M:0 read:201336592:67098864:7
	done
	stop "$nbdkit_pid"
	stop_backend 1
	cmp -n 10000 "$disk" <(tr '\0' '\7' </dev/zero)
	cmp -n 201326592 -i 10000:0 "$disk" /dev/zero
	cmp -n 67098864 -i 201336592:0 "$disk" <(tr '\0' '\7' </dev/zero)
	rm "$disk"
done
