#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Requests of a client that cannot be executed: each row with its error, what the log
# of nbdkit says, and that the disk is not changed; and the largest that can.

. "$(dirname "$0")/functions.sh"

requires_program nbdkit

# 5 TiB: offsets above 32 and above 41 bits
format_transport transport
make_disk "$disks/disk" 5T
start_backend 1 "$disk"
start_nbdkit cbd "$transport" backend=1
size=$((5 << 40))
last=$((size - 1))
"$nbd_io" "$uri" write:0:4K:1 write:$((size - 4096)):4K:2

# refused TEXT ERROR REQUEST: by the server, which says TEXT in its log
refused()
{
	: >"$tmp/nbdkit.log"
	"$nbd_io" "$uri" "fails:$2:$3"
	grep -q "^nbdkit: cbd.*error: $1" "$tmp/nbdkit.log" ||
		fail "$3: nbdkit does not say '$1' but $(cat "$tmp/nbdkit.log")"
	cp "$tmp/nbdkit.log" "$tmp/expect.err"
	[ -z "${CBD_TEST_TABLE-}" ] || note_case "$2" "$3" >>"$CBD_TEST_TABLE"
}

while read -r error request name; do
	refused "invalid request: NBD_CMD_$name: offset and count are out of range" \
		"$error" "$request"
done <<END
EINVAL read:$size:1:0 READ
EINVAL read:$last:2:0 READ
EINVAL read:0x7fffffffffffffff:1:0 READ
EINVAL read:0xffffffffffffffff:1:0 READ
EINVAL read:0xffffffffffffff00:64M:0 READ
ENOSPC write:$size:1:7 WRITE
ENOSPC write:$last:2:7 WRITE
ENOSPC write:$last:64M:7 WRITE
ENOSPC write:0xffffffffffffffff:1:7 WRITE
ENOSPC zero:$last:2 WRITE_ZEROES
ENOSPC zero:$size:1 WRITE_ZEROES
ENOSPC zero:0xfffffffffffffff0:0xffffffff WRITE_ZEROES
EINVAL trim:$size:1 TRIM
EINVAL trim:$last:2 TRIM
EINVAL trim:$((size - 1024)):0xffffffff TRIM
EINVAL read:0:0:0 READ
EINVAL read:$size:0:0 READ
ENOSPC write:0:0:7 WRITE
ENOSPC zero:0:0 WRITE_ZEROES
EINVAL trim:0:0 TRIM
END
"$nbd_io" "$uri" read:0:4K:1 read:$((size - 4096)):4K:2

# What is large, odd, and can be executed: exactly its bytes.
max=$(((1 << 32) - 1))
"$nbd_io" "$uri" write:0:64M:3 read:0:64M:3 \
	write:$((1 << 32)):64M:4 read:$((1 << 32)):64M:4 \
	trim:1:$max read:0:1:3 read:1:64M:0 read:$((1 << 32)):1M:4 \
	write:0:1M:3 zero:1:$max read:0:1:3 read:1:1M:0 read:$((1 << 32)):1M:4 \
	trim:$((size - max)):$max read:$((size - 4096)):4K:0 \
	write:$last:1:5:fua read:$last:1:5 read:$((last - 511)):511:0 \
	zero:$last:1 read:$last:1:0
"$nbd_io" "$uri" write:$(((1 << 41) - 1)):3:6 read:$(((1 << 41) - 2)):1:0 \
	read:$(((1 << 41) - 1)):3:6 read:$(((1 << 41) + 2)):1:0 \
	write:$(((1 << 41) + 511)):64M:7 read:$(((1 << 41) + 511)):64M:7 \
	trim:$(((1 << 41) + 512)):64M read:$(((1 << 41) + 511)):1:7 \
	read:$(((1 << 41) + 512)):1M:0 flush
# The last byte of the trimmed range is where it says.
"$nbd_io" "$uri" read:$(((1 << 41) + 512)):$(((64 << 20) - 1)):0

# Writes to what may only be read: the client's option and the backend's.
stop "$nbdkit_pid"
start_nbdkit cbd "$transport" backend=1 readonly=true
readonly_rows()
{
	local request

	for request in write:0:4K:9 zero:0:4K trim:0:4K write:$last:1:9:fua; do
		refused "invalid request: NBD_CMD_.*: write request on readonly connection" EPERM "$request"
	done
	"$nbd_io" "$uri" read:0:1:3 flush
	stop "$nbdkit_pid"
}
readonly_rows
stop_backend 1
start_backend 1 -r "$disk"
start_nbdkit cbd "$transport" backend=1
readonly_rows
