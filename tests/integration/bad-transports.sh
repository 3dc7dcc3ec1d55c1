# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
#
# bad-transports.sh - every kind of transport that cannot be used, and what each
# program has to say of it. Sourced by the tables of the programs.

# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/functions.sh"

patch=$(dirname "${BASH_SOURCE[0]}")/patch-transport.py

# spoil HOW [ARGUMENT]...: makes $transport so. The sound one is $memory/sound.
spoil()
{
	local how=$1
	shift

	rm -rf "$memory/bad"
	transport=$memory/bad
	case $how in
	missing) ;;
	folder) mkdir "$transport" ;;
	fifo) mkfifo "$transport" ;;
	device) transport=$1 ;;
	text) echo text >"$transport" ;;
	empty) : >"$transport" ;;
	zeroes) truncate -s 24M "$transport" ;;
	*) cp "$memory/sound" "$transport" ;;
	esac
	case $how in
	both-magics)
		printf NOTcbd!! | dd of="$transport" conv=notrunc status=none
		printf NOTcbd!! | dd of="$transport" conv=notrunc status=none bs=1 \
			seek=$((24 * 1024 * 1024 - 8192))
		;;
	both-bits)
		"$patch" "$transport" flip "$1"
		"$patch" "$transport" flip copy "$1"
		;;
	shorter) truncate -s 20M "$transport" ;;
	unreadable) chmod 000 "$transport" ;;
	set) "$patch" "$transport" both "$@" ;;
	esac
}

# How each is made, the status of "cbdctl check", what is said after its path.
bad_transports()
{
	cat <<-'END'
		missing|1|No such file or directory
		folder|1|Is a directory
		fifo|1|neither a file nor a devdax device
		device /dev/null|1|a character device, but not a devdax one
		unreadable|1|Permission denied
		empty|1|too small (0 bytes) to be a cbd transport
		text|1|too small (5 bytes) to be a cbd transport
		zeroes|1|not a cbd transport (no magic)
		both-magics|1|not a cbd transport (no magic)
		both-bits 100|3|the header is damaged (CRC)
		both-bits 4100|3|the channel table is damaged (CRC)
		shorter|3|is 20971520 bytes, its header says 25165824
		set version=0|1|format version 0, this program knows 1
		set version=2|1|format version 2, this program knows 1
		set version=4294967295|1|format version 4294967295, this program knows 1
		set incompat=4|1|has features (incompat 0x4) that this version does not know
		set incompat=0x8000000000000000|1|has features (incompat 0x8000000000000000) that this
		set hosts=0|3|hosts: 0 is not in 1..64
		set hosts=4294967295|3|hosts: 4294967295 is not in 1..64
		set backends=65|3|backends: 65 is not in 1..64
		set blkdevs=257|3|blkdevs: 257 is not in 1..256
		set channels=1000|3|channels: 1000 is not in 1..256
		set ring_slots=48|3|depth: 48 is not a power of two
		set heartbeat_ms=0|3|heartbeat: 0 is not in 1..60000
		set dead_after=1|3|dead-after: 1 is not in 2..1000
		set heartbeat_ms=60000|3|dead-after: 20 heartbeats of 60000 ms are more than 60000 ms
		set coherence=3|3|coherence: 3 is not in 1..2
		set size=0|3|header: impossible size 0
		set size=4096|3|header: impossible size 4096
		set size=25165823|3|header: impossible size 25165823
		set size=18446744073709551615|3|is 25165824 bytes, its header says 18446744073709551615
		set header_size=8192|3|header: impossible page size
		set table_entries=15|3|header: impossible channel table
		set table_entries=4294967295|3|header: impossible channel table
		set host_offset=4096|3|header: the area of the hosts is impossible
		set host_length=18446744073709547520|3|header: the area of the hosts is impossible
		set backend_offset=8192|3|header: the area of the backends is impossible
		set blkdev_length=4096|3|header: the area of the blkdevs is impossible
		set channel_length=18446744073705357312|3|header: the area of the channels is impossible
		set channel_offset=0|3|header: the area of the channels is impossible
		set copy_offset=0|3|header: the area of the header copy is impossible
		set table_crc=1|3|the channel table is damaged (CRC)
	END
}

digest()
{
	[ ! -f "$transport" ] || sha256sum <"$transport"
}

# each_bad_transport FUNCTION: calls it with the status of "cbdctl check" and the
# message, for each $transport; it must not change that
each_bad_transport()
{
	local how status text before

	format_transport sound
	while IFS='|' read -r how status text; do
		# shellcheck disable=SC2086 # words
		spoil $how
		before=$(digest)
		"$1" "$status" "$transport: $text"
		[ "$(digest)" = "$before" ] || fail "$how: the transport was changed"
		[ "$how" = missing ] || [ -e "$transport" ] || fail "$how: the transport is gone"
	done < <(bad_transports)
}
