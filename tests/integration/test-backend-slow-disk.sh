#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A disk that takes two seconds for each read: with the engine uring the handler sleeps
# until the disk has answered or a client asks for more, and does not look at both at
# intervals. A read that comes while another one is in the disk reaches the disk too.

. "$(dirname "$0")/functions.sh"

requires_program nbdkit nbdfuse fusermount3 nbdsh
# the system's Python has the module, another one that comes first has not
nbdsh() { PATH=/usr/bin:$PATH command nbdsh "$@"; }
requires nbdsh -c 'print(nbd.NBD)'
requires test -c /dev/fuse

# by a file of nbdfuse: the kernel waits for it as for a slow disk
nbdkit -f -t 8 -U "$tmp/slow.sock" -P "$tmp/slow.pid" --filter=log --filter=delay \
	memory 16M delay-read=2 logfile="$tmp/reads" 2>"$tmp/slow.log" &
cleanup_fn stop $!
wait_until 20 test -s "$tmp/slow.pid"
mkdir "$tmp/mnt"
nbdfuse -P "$tmp/nbdfuse.pid" "$tmp/mnt" "nbd+unix:///?socket=$tmp/slow.sock" \
	2>"$tmp/nbdfuse.log" &
cleanup_fn fusermount3 -u "$tmp/mnt"
wait_until 20 test -s "$tmp/nbdfuse.pid"

format_transport transport
start_backend 1 --engine uring --direct "$tmp/mnt/nbd"
start_nbdkit cbd "$transport" backend=1 queues=1

# how often the threads of the daemon have slept but the main one, which beats
sleeps()
{
	awk '/^Pid/ { thread = $2 } /^voluntary/ && thread != main { n += $2 } END { print n }' \
		main="${backend_pids[1]}" "/proc/${backend_pids[1]}/task"/*/status
}

nbdsh -u "$uri" -c 'h.pwrite(bytearray(4096), 0)'
before=$(sleeps)
nbdsh -u "$uri" -c - <<'END'
import time
first = h.aio_pread(nbd.Buffer(4096), 0)
sent = time.monotonic()
while time.monotonic() < sent + 0.2:
    h.poll(50)
second = h.aio_pread(nbd.Buffer(4096), 65536)
while h.aio_in_flight() > 0:
    h.poll(-1)
END
slept=$(($(sleeps) - before))
# at intervals of a millisecond it would be two thousand times
[ "$slept" -le 200 ] || fail "the handlers slept $slept times in two seconds of waiting"
most=$(awk '/ Read / { n++ } / \.\.\.Read / { n-- } n > most { most = n } END { print most }' \
	"$tmp/reads")
[ "$most" -eq 2 ] || fail "the disk had $most reads at a time, not 2"
