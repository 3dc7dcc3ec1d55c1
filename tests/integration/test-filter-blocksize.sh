#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# nbdkit's blocksize filter: what reaches the plugin is aligned, of bounded length, and
# what clients see is the same.

. "$(dirname "$0")/functions.sh"

requires_program nbdkit python3
requires nbdkit --dump-plugin --filter=blocksize null

format_transport transport
make_disk "$disks/disk" 32M
start_backend 1 "$disk"
# the log is that of the plugin; nbdkit 1.32 closes it twice when there are two
start_nbdkit --filter=blocksize --filter=log cbd "$transport" backend=1 \
	minblock=4096 maxdata=64K maxlen=1M logfile="$tmp/requests.log"
"$random_io" -s "$((SRANDOM))" -n "$(share 1000)" -o "$disks/image" "$uri" | grep -v ' finished$'
stop "$nbdkit_pid"
stop_backend 1
cmp "$disks/image" "$disk"
python3 - "$tmp/requests.log" <<'END' || fail "the plugin saw other requests"
import re
import sys

requests = re.findall(r" (Read|Write) .*offset=(0x[0-9a-f]+) count=(0x[0-9a-f]+)", open(sys.argv[1]).read())
for kind, offset, count in requests:
    if int(offset, 16) % 4096 or int(count, 16) % 4096 or int(count, 16) > 65536:
        sys.exit(f"{kind} of {count} at {offset}")
sys.exit(0 if len(requests) > 100 else f"{len(requests)} requests")
END
