#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Patterns of qemu-io: aligned and not, zeroes, discard, FUA, flush.

. "$(dirname "$0")/functions.sh"

requires_program qemu-io nbdkit

# io COMMAND...: qemu-io tells a wrong pattern by its status
io()
{
	local commands=() c

	for c in "$@"; do
		commands+=(-c "$c")
	done
	qemu-io -f raw -t none "${commands[@]}" "nbd:unix:$socket" >>"$tmp/qemu-io.log" 2>&1 ||
		fail "qemu-io $*"
}

format_transport transport
make_disk "$disks/disk" 64M
start_backend 1 "$disk"
start_nbdkit cbd "$transport" backend=1

io "read -P 0 0 64M"
io "write -P 1 0 4k" "write -P 2 4k 4k" "read -P 1 0 4k" "read -P 2 4k 4k"
io "write -P 3 1000 1" "read -P 1 0 1000" "read -P 3 1000 1" "read -P 1 1001 3095"
io "write -P 4 4095 2" "read -P 1 4094 1" "read -P 4 4095 2" "read -P 2 4097 4095"
io "write -P 5 1M 3M" "write -P 6 1048575 2097154" \
	"read -P 6 1048575 2097154" "read -P 5 3145729 1048575" "read -P 0 4M 1M"
io "write -z 2M 64k" "read -P 6 1M 1M" "read -P 0 2M 64k" "read -P 6 2162688 512"
io "write -z 1500001 7777" "read -P 6 1500000 1" "read -P 0 1500001 7777" "read -P 6 1507778 99"
io "write -z -u 1M 128k" "read -P 0 1M 128k" "read -P 6 1179648 4k"
io "write -P 7 8M 4M" "discard 9M 1M" "read -P 7 8M 1M" "read -P 7 10M 2M"
io "write -f -P 8 16M 1M" "flush" "read -P 8 16M 1M"
io "write -z -f 16M 512" "read -P 0 16M 512" "read -P 8 16777728 1048064"
# several under way at once
io "aio_write -P 9 20M 1M" "aio_write -P 10 21M 1M" "aio_write -P 11 22M 100001" "aio_flush" \
	"read -P 9 20M 1M" "read -P 10 21M 1M" "read -P 11 22M 100001" "read -P 0 23169057 99"
# up to the end
io "write -P 12 67108863 1" "read -P 12 67108863 1" "read -P 0 63M 1048575"

# another process, another connection; and the disk itself
io "read -P 1 0 1000" "read -P 3 1000 1" "read -P 9 20M 1M"
stop "$nbdkit_pid"
stop_backend 1
qemu-io -f raw -c "read -P 1 0 1000" -c "read -P 9 20M 1M" -c "read -P 12 67108863 1" \
	"$disk" >/dev/null || fail "the disk has something else"

# a wrong pattern is found
if qemu-io -f raw -c "read -P 2 0 1000" "$disk" >/dev/null; then
	fail "qemu-io does not see a wrong pattern"
fi
