#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# What keeps the plugin from starting is told by nbdkit, with status 1, and nothing
# is left behind.

. "$(dirname "$0")/functions.sh"

requires_program nbdkit

format_transport transport
make_disk "$disks/disk" 16M
start_backend 1 --name twin "$disk"
make_disk "$disks/disk2" 16M
start_backend 2 --name twin "$disk"
head -c 1M /dev/zero >"$memory/zeroes"

# refused TEXT PARAMETER...: as a daemon
refused()
{
	local text=$1
	shift

	expect 1 "$text" timeout 20 nbdkit -U "$tmp/refused.sock" -P "$tmp/refused.pid" cbd "$@"
	grep -q '^nbdkit: .*error: ' "$tmp/expect.err" || fail "no message of nbdkit"
	[ ! -e "$tmp/refused.pid" ] || fail "$*: nbdkit runs"
	rm -f "$tmp/refused.sock"
}

refused "the transport is missing" backend=1
refused "$memory/none" "$memory/none" backend=1
refused "$memory: Is a directory" "$memory" backend=1
refused "$memory/zeroes: not a cbd transport" "$memory/zeroes" backend=1
refused "transport=$memory/zeroes: there is one already: $transport" \
	"$transport" transport="$memory/zeroes"
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
refused "unknown parameter 'size'" "$transport" backend=1 size=1G

# a backend that was stopped in order
stop_backend 2
refused "$transport: backend 2: " "$transport" backend=2

# nbdkit itself fails after the plugin has attached: it detaches
expect 1 "" timeout 20 nbdkit -U /none/socket cbd "$transport" backend=1
start_nbdkit cbd "$transport" backend=1
"$nbd_io" "$uri" write:0:4K:1 read:0:4K:1
