#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# cbd-backend is killed while nothing is under way, and everybody can see that it
# is dead; then requests come, and wait for the next one.

. "$(dirname "$0")/functions.sh"

requires_program nbdkit jq

seen_dead()
{
	cbdctl list -B "$transport" | jq -e '.[0].state == "suspect" or .[0].state == "dead"'
}

format_transport transport --dead-after 5
make_disk "$disks/disk" 16M
start_backend 1 "$disk"
start_nbdkit --filter=log cbd "$transport" backend=1 logfile="$tmp/requests"
"$nbd_io" "$uri" write:0:1M:1 flush
kill_backend 1
wait_until 10 seen_dead >/dev/null || fail "nobody notices that the backend is dead"

"$nbd_io" "$uri" read:0:1M:1 write:1M:1M:2 flush read:1M:1M:2 &
reader=$!
cleanup_fn stop $reader
start_backend 1 "$disk"
wait_until 20 gone $reader || fail "the request waits for ever"
wait $reader || fail "the request has failed"

# another disk in the same slot is not written to
kill_backend 1
make_disk "$disks/other" 16M
: >"$tmp/requests"
"$nbd_io" "$uri" write:0:1M:3 read:0:1M:3 &
writer=$!
cleanup_fn stop $writer
start_backend 1 --replace "$disk"
wait_until 10 grep -q 'Write id=' "$tmp/requests"
wait_until 10 grep -q 'serves another disk' "$tmp/nbdkit.log"
alive $writer || fail "the request does not wait for its disk"
stop_backend 1
cmp -n 16777216 "$disk" /dev/zero
start_backend 1 "$disks/disk"
wait_until 20 gone $writer || fail "the request waits for ever"
wait $writer || fail "the request has failed"
