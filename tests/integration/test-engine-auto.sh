#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# --engine auto maps a disk that is memory; where the address space is too short for that,
# it says so and serves the disk by another engine. --engine mmap is an error then.

. "$(dirname "$0")/functions.sh"

requires_program nbdkit prlimit

# $memory is no tmpfs where /dev/shm is small; of this disk 64 KiB are used
shm=$(mktemp -d /dev/shm/cbd-test.XXXXXX)
cleanup_fn rm -rf "$shm"

format_transport transport
make_disk "$shm/disk" 64G
start_backend 1 "$disk"
grep -q "engine mmap" "$tmp/backend-1.log" || fail "a disk in $shm is not mapped"
stop_backend 1
# that was all that can be looked at where AddressSanitizer needs the address space
! sanitized || exit 0

expect 1 "engine mmap: Cannot allocate memory" prlimit --as=8589934592 \
	cbd-backend -f -t "$transport" --id 1 --engine mmap "$disk"
one_message
prlimit --pid $$ --as=8589934592
start_backend 1 "$disk"
grep -q "engine mmap: $disk cannot be mapped: Cannot allocate memory; engine " \
	"$tmp/backend-1.log" || fail "it does not say why"
grep -qE "ready, .*, engine (uring|psync)" "$tmp/backend-1.log" || fail "another engine"
start_nbdkit cbd "$transport" backend=1
"$nbd_io" "$uri" write:0:64K:1 flush read:0:64K:1
