#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Another disk by mistake is refused while clients are attached, and so is one that has
# shrunk or is read-only; with --replace it is served, and the clients wait for the
# right one. With fewer handlers or another engine they go on.

. "$(dirname "$0")/crash.sh"

requires_program nbdkit

format_transport transport
make_disk "$disks/other" 16M
make_disk "$disks/disk" 16M
start_backend 1 --handlers 4 --engine psync --name right "$disk"
start_nbdkit cbd "$transport" backend=1 queues=4
"$nbd_io" "$uri" write:0:1M:1 flush

# refused TEXT [OPTION]... DISK: and what serves goes on
refused()
{
	local text=$1
	shift

	expect 1 "$text" timeout "$(limit 30)" cbd-backend -f -t "$transport" --id 1 "$@"
	[ "$(grep -c '' "$tmp/expect.err")" = 1 ] || fail "more than one line: $(cat "$tmp/expect.err")"
}

# A restart with the wrong path, and an upgrade with it.
other="is attached to another disk, '$disks/disk'; '$disks/other' is not that one"
refused "$other" --takeover "$disks/other"
"$nbd_io" "$uri" read:0:1M:1
kill_backend 1
refused "blkdev 0 of host 0" "$disks/other"
refused "$other" --takeover "$disks/other"
truncate -s 12M "$disk"
refused "'$disk' has shrunk from 16777216 to 12582912 bytes, and blkdev 0 of host 0" "$disk"
truncate -s 16M "$disk"
refused "blkdev 0 of host 0" --read-only "$disk"
grep -q "its writes would fail on a read-only disk" "$tmp/expect.err"
# no blkdev of the slot
start_backend 2 "$disks/other"
refused "$disks/other: is in use by another process: backend 2 serves it, process ${backend_pids[2]}" \
	--replace "$disks/other"
stop_backend 2

# Meant: nothing of what waits is ever executed there.
"$nbd_io" "$uri" write:0:1M:2 read:0:1M:2 flush 2>"$tmp/client.log" &
client=$!
cleanup_fn stop $client
start_backend 1 --replace "$disks/other"
wait_until 10 grep -q "serves another disk; I/O waits for the right one" "$tmp/nbdkit.log"
alive $client || fail "the client does not wait"
# another client may use it
timeout "$(limit 20)" nbdkit -U - cbd "$transport" backend=1 --run "'$nbd_io' \"\$uri\" write:1M:1M:9" ||
	fail "the other disk is not served"
stop_backend 1
cmp "$disks/other" <(head -c 1M /dev/zero; head -c 1M /dev/zero | tr '\0' '\11'; \
	head -c 14M /dev/zero)
start_backend 1 "$disk"
wait_until 20 gone $client || fail "the client hangs"
wait $client || fail "$(cat "$tmp/client.log")"

# Fewer handlers, another engine, while requests are in flight.
start_random_io
for options in "--handlers 1 --engine psync" "--handlers 4 --engine uring" \
	"--handlers 2 --engine psync --direct"; do
	wait_for_answers 100
	kill_backend 1
	# shellcheck disable=SC2086 # words
	start_backend 1 $options "$disk"
done
wait_for_answers 100
stop_random_io
stop "$nbdkit_pid"

# Nobody is attached: any disk will do.
kill_backend 1
start_backend 1 --read-only "$disks/other"
stop_backend 1

# A name is one backend's.
start_backend 1 --name right "$disk"
expect 1 "name 'right': backend 1 has it, process ${backend_pids[1]} on host 0" \
	timeout "$(limit 20)" cbd-backend -f -t "$transport" --id 2 --name right "$disks/other"
stop_backend 1
