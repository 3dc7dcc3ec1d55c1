#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# What keeps the plugin from starting is told by nbdkit, with status 1, and nothing
# is left behind.

. "$(dirname "$0")/bad-transports.sh"

requires_program nbdkit jq python3 setpriv

format_transport transport
make_disk "$disks/disk" 16M
start_backend 1 --name twin "$disk"
make_disk "$disks/disk2" 16M
start_backend 2 --name other "$disk"
make_disk "$disks/disk3" 16M

# refused TEXT PARAMETER...: as a daemon
refused()
{
	local text=$1
	shift

	expect 1 "$text" timeout "$(limit 20)" "${as_owner[@]}" \
		nbdkit -U "$tmp/refused.sock" -P "$tmp/refused.pid" cbd "$@"
	grep -q '^nbdkit: .*error: ' "$tmp/expect.err" || fail "no message of nbdkit"
	one_message
	[ ! -e "$tmp/refused.pid" ] || fail "$*: nbdkit runs"
	rm -f "$tmp/refused.sock"
}

refused "the transport is missing" backend=1
refused "transport=$disks/disk: there is one already: $transport" \
	"$transport" transport="$disks/disk"
refused "backend=: must be the id or the name" "$transport" backend=
refused "$transport: backend 3: is not running" "$transport" backend=3
refused "$transport: backend 4: the transport has 0..3" "$transport" backend=4
refused "$transport: backend 'nothing': no backend has this name" "$transport" backend=nothing
refused "$transport: queues: 5 is more than the 4 channels" "$transport" backend=1 queues=5
refused "$transport: host id 16: the transport has 0..15" "$transport" backend=1 host-id=16
for n in 0 257 -1 x "" 1x 4294967297 99999999999999999999; do
	refused "queues=$n: must be a number from 1 to 256" "$transport" backend=1 queues="$n"
done
refused "host-id=64: must be a number from 0 to 63" "$transport" backend=1 host-id=64
refused "timeout=86401: must be a number from 0 to 86400" "$transport" backend=1 timeout=86401
refused "poll=often: must be adaptive, busy or sleep" "$transport" backend=1 poll=often
refused "readonly=perhaps: must be true or false" "$transport" backend=1 readonly=perhaps
refused "unknown parameter 'size'; known are transport, backend, queues, host-id, poll," \
	"$transport" backend=1 size=1G
refused "transport=extra: there is one already" "$transport" backend=1 extra

# --- Transports -------------------------------------------------------------

bad_transport() # CHECK-STATUS TEXT
{
	refused "$2" "$transport" backend=2
}

good=$transport
each_bad_transport bad_transport
spoil set ro_compat=2
bad_transport 0 "$transport: has features (ro_compat 0x2) that this version only reads"
transport=$good

# --- Backends ---------------------------------------------------------------

# all places taken, hosts that are not admitted, and one that is only suspect
start_backend 3 --allow-host 5 "$disks/disk3"
start_nbdkit cbd "$transport" backend=1
users="blkdev 0, process $nbdkit_pid of host 0"
refused "$transport: backend 1: has its maximum of blkdevs attached: $users" \
	"$transport" backend=1
refused "$transport: backend 3: does not admit host 0" "$transport" backend=3
grep -q "blkdev 1 of host 0 refused: the maximum of blkdevs is attached" "$tmp/backend-1.log"
grep -q "blkdev 1 of host 0 refused: its host is not admitted" "$tmp/backend-3.log"
kill -STOP "${backend_pids[2]}"
refused "$transport: backend 2: does not answer, it is suspect or dead" "$transport" backend=2
kill -CONT "${backend_pids[2]}"
stop "$nbdkit_pid"

# The same by an export name: to the client, and the log says why.
start_nbdkit cbd "$transport"
expect 1 "No such file or directory for export: 3" nbdinfo "nbd+unix:///3?socket=$socket"
grep -q "cbd.*error: $transport: backend 3: does not admit host 0" "$tmp/nbdkit.log"
expect 1 "for export: 0" nbdinfo "nbd+unix:///0?socket=$socket"
grep -q "cbd.*error: $transport: backend 0: is not running" "$tmp/nbdkit.log"
expect 1 "for export: ab" nbdinfo "nbd+unix:///ab?socket=$socket"
grep -q 'cbd.*error: export "ab": no live backend has this name' "$tmp/nbdkit.log"
expect 1 "No such file or directory" nbdinfo "$uri"
stop "$nbdkit_pid"

# a backend that was stopped in order, and one that was killed
stop_backend 2
refused "$transport: backend 2: has stopped" "$transport" backend=2
kill_backend 3
refused "$transport: backend 3: does not answer, it is suspect or dead" "$transport" backend=3

# nbdkit itself fails after the plugin has attached: it detaches
expect 1 "" timeout "$(limit 20)" nbdkit -U /none/socket cbd "$transport" backend=1
start_nbdkit cbd "$transport" backend=1
"$nbd_io" "$uri" write:0:4K:1 read:0:4K:1
