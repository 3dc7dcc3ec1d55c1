#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# --write-through: the disk is opened so that each write is durable, the backend and
# cbdctl say so, and no client has to fear a loss; without it none of this.

. "$(dirname "$0")/functions.sh"

requires_program nbdkit jq

# The flags of all descriptors of the disk together, as /proc shows them: in octal.
disk_flags()
{
	local fd flags=0

	for fd in "/proc/${backend_pids[1]}/fd"/*; do
		[ "$(readlink "$fd")" = "$disk" ] || continue
		flags=$((flags | $(awk '/^flags:/ { print $2 }' \
			"/proc/${backend_pids[1]}/fdinfo/${fd##*/}")))
	done
	echo $flags
}

listed()
{
	cbdctl list -B --id 1 "$transport" | jq -r ".[0].$1"
}

o_dsync=$((010000))
make_disk "$disks/disk" 16M
for engine in psync uring; do
	for option in "" --write-through; do
		# a backend that stopped in order leaves its verifier to the next one
		format_transport transport --force
		# shellcheck disable=SC2086 # none or one
		start_backend 1 --engine $engine $option "$disk"
		flags=$(disk_flags)
		durable=$([ $((flags & o_dsync)) -ne 0 ] && echo true || echo false)
		expected=$([ -n "$option" ] && echo true || echo false)
		[ "$durable" = "$expected" ] || fail "$engine $option: opened with flags $flags"
		[ "$(listed write_through)" = "$expected" ] || fail "list says $(listed write_through)"
		# the verifier is constant: a crash of the host loses nothing
		[ -z "$option" ] || [ "$(listed verifier)" = 0x10000 ] || fail "$(listed verifier)"
		[ -n "$option" ] || [ "$(listed verifier)" != 0x10000 ] || fail "$(listed verifier)"
		start_nbdkit cbd "$transport" backend=1
		"$nbd_io" "$uri" write:0:1M:1 write:1M:1M:2:fua zero:0:4K trim:4K:4K flush \
			read:8K:1000K:1 read:1M:1M:2 read:0:4K:0
		stop "$nbdkit_pid"
		stop_backend 1
	done
done

# Nothing is written to what is read-only, whatever is asked for.
start_backend 1 --write-through --read-only "$disk"
[ $(($(disk_flags) & 3)) -eq 0 ] || fail "a read-only disk is opened for writing"
