#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# O_DIRECT and many connections that change different bytes of the same few blocks, with
# one handler and with four: what the backend reads, changes and writes back must not
# undo what another request has changed meanwhile.

. "$(dirname "$0")/random.sh"

requires_program nbdkit cmp
requires dd if=/dev/zero of="$disks/probe" bs=4096 count=1 oflag=direct

format_transport transport

# blocks_round ENGINE AREA [OPTION-OF-BACKEND]...
blocks_round()
{
	local engine=$1 area=$2
	shift 2

	echo "engine $engine, area $area $*"
	make_disk "$disks/disk" 4M
	start_backend 1 --engine "$engine" --direct "$@" "$disk"
	start_nbdkit cbd "$transport" backend=1 queues=4
	"$random_io" -s "$seed" -n "$operations" -c 16 -d 4 -a "$area" -o "$disks/image" "$uri" |
		grep -v ' finished$'
	stop "$nbdkit_pid"
	stop_backend 1
	cmp "$disks/image" "$disk"
}

for engine in psync uring; do
	blocks_round $engine 65536 --handlers 4
	blocks_round $engine 8192 --handlers 4
	blocks_round $engine 65536
done
