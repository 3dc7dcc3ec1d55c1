#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Holes of the disk as NBD clients see them: where they are, in many pieces, at any
# alignment, after writes and trims; of a disk that shrinks, of one that cannot tell; and
# while backends are killed and taken over.

. "$(dirname "$0")/functions.sh"

requires_program nbdkit nbdinfo nbdsh jq python3
# the system's Python has the module, another one that comes first has not
nbdsh() { PATH=/usr/bin:$PATH command nbdsh "$@"; }
requires nbdsh -c 'print(nbd.NBD)'

# make_holes FILE N: data in every second page, N times, and a hole of 1 MiB at the end;
# sets $disk
make_holes()
{
	disk=$1
	python3 - "$disk" "$2" <<'END'
import sys
with open(sys.argv[1], "wb") as f:
    for i in range(int(sys.argv[2])):
        f.seek(i * 8192 + 4096)
        f.write(b"\7" * 4096)
    f.truncate(int(sys.argv[2]) * 8192 + (1 << 20))
END
}

# map: "offset length type" of each extent
map()
{
	nbdinfo --map --json "$uri" | jq -r '.[] | "\(.offset) \(.length) \(.type)"'
}

# map_of_holes N: what map prints of such a disk
map_of_holes()
{
	local i

	for ((i = 0; i < $1; i++)); do
		echo "$((i * 8192)) 4096 3"
		echo "$((i * 8192 + 4096)) 4096 0"
	done
	echo "$(($1 * 8192)) 1048576 3"
}

map_is() # TEXT
{
	map >"$tmp/map"
	[ "$(cat "$tmp/map")" = "$1" ] || fail "the map is not '$1' but '$(head -20 "$tmp/map")'"
}

# many HOLES ENGINE FOLDER [OPTION-OF-FORMAT]...
many()
{
	local holes=$1 engine=$2 folder=$3
	shift 3

	echo "$holes holes, $engine, $folder: $*"
	rm -f "$memory/transport"
	format_transport transport "$@"
	make_holes "$folder/holes" "$holes"
	map_of_holes "$holes" >"$tmp/wanted"
	start_backend 1 --engine "$engine" --handlers 2 "$disk"
	start_nbdkit cbd "$transport" backend=1 queues=2
	map | cmp - "$tmp/wanted" || fail "$engine: the map is wrong"
	stop "$nbdkit_pid"
	stop_backend 1
	rm "$disk"
}

many 10000 psync "$memory" --coherence hardware
many 1000 mmap "$memory" --coherence software
# not all file systems tell holes
make_disk "$disks/probe" 1M
if python3 -c 'import os, sys
f = os.open(sys.argv[1], os.O_RDONLY)
try: sys.exit(os.lseek(f, 0, os.SEEK_DATA) == 0)
except OSError: pass' "$disk"; then
	many 1000 uring "$disks" --coherence software
fi
cbdctl list -B --id 1 "$transport" | jq -e '.[0].block_status' >/dev/null ||
	fail "the list does not tell of block status"

echo "unaligned, one at a time, after changes"
make_disk "$memory/disk" 8M
start_backend 1 "$disk"
start_nbdkit cbd "$transport" backend=1
map_is "0 8388608 3"
nbdsh -c 'h.add_meta_context("base:allocation")' -u "$uri" -c - <<'END'
def status(count, offset, flags=0):
    runs = []
    def note(context, at, entries, error):
        assert at == offset
        runs.extend(zip(entries[::2], entries[1::2]))
    h.block_status(count, offset, note, flags)
    return runs

h.pwrite(b"\1" * 4096, 8192)
assert status(8 << 20, 0) == [(8192, 3), (4096, 0), ((8 << 20) - 12288, 3)]
assert status(4096, 8191) == [(1, 3), (4095, 0)]
assert status(1, 12287) == [(1, 0)]
assert status(1, (8 << 20) - 1) == [(1, 3)]
assert status(8 << 20, 0, nbd.CMD_FLAG_REQ_ONE) == [(8192, 3)]
# a byte makes a page data; what is trimmed is a hole again
h.pwrite(b"\1", 1 << 20)
assert status(4096, 1 << 20) == [(4096, 0)]
h.trim(1 << 20, 1 << 20)
h.zero(4096, 8192)
assert status(8 << 20, 0) == [(8 << 20, 3)]
h.pwrite(b"\0" * 65536, 0, nbd.CMD_FLAG_FUA)
assert status(131072, 0) == [(65536, 0), (65536, 3)]
h.set_strict_mode(0)
for count, offset in ((1, 8 << 20), ((8 << 20) + 1, 0), (0, 0)):
    try:
        h.block_status(count, offset, lambda *_: 0)
        raise SystemExit("%d at %d: no error" % (count, offset))
    except nbd.Error:
        pass
END

echo "a disk that shrinks"
truncate -s 4M "$disk"
map_is "0 65536 0
65536 4128768 3
4194304 4194304 0"
kill -HUP "${backend_pids[1]}"
wait_until 10 grep -q 'has shrunk' "$tmp/backend-1.log"
map_is "0 65536 0
65536 4128768 3
4194304 4194304 0"
"$nbd_io" "$uri" read:2M:1M:0 fails:EIO:read:4M:1M:0
stop "$nbdkit_pid"
kill_backend 1

# A block device cannot tell.
if loop=$(losetup -f --show "$memory/disk" 2>/dev/null); then
	cleanup_fn losetup -d "$loop"
	echo "a block device"
	start_backend 2 "$loop"
	cbdctl list -B --id 2 "$transport" | jq -e '.[0].block_status | not' >/dev/null ||
		fail "a block device is said to tell holes"
	start_nbdkit cbd "$transport" backend=2
	map_is "0 4194304 0"
	stop "$nbdkit_pid"
	stop_backend 2
fi

echo "while backends die and are taken over"
make_holes "$memory/holes" 1000
map_of_holes 1000 >"$tmp/wanted"
start_backend 1 --engine psync "$disk"
start_nbdkit cbd "$transport" backend=1 queues=2
: >"$tmp/maps"
(
	while [ ! -e "$tmp/over" ]; do
		map | cmp - "$tmp/wanted" || exit 1
		echo >>"$tmp/maps"
	done
) &
mapper=$!
cleanup_fn stop $mapper

# more_maps: two more are right, so one at least was asked for after the call
more_maps()
{
	local before

	before=$(wc -l <"$tmp/maps")
	wait_until 30 has_mapped $((before + 2)) || fail "the maps have come to a halt"
	alive $mapper || fail "a map is wrong"
}

has_mapped()
{
	gone $mapper || [ "$(wc -l <"$tmp/maps")" -ge "$1" ]
}

more_maps
for engine in uring psync; do
	kill_backend 1
	start_backend 1 --engine $engine "$disk"
	more_maps
	old=${backend_pids[1]}
	start_backend 1 --engine mmap --takeover "$disk"
	wait_until 20 gone "$old" || fail "the process that hands over does not end"
	more_maps
done
touch "$tmp/over"
wait_until 30 gone $mapper || fail "the last map does not end"
wait $mapper || fail "the last map is wrong"
