#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# wait=: nbdkit that is started before its backend attaches when that is up. It ends in
# time, at a signal, and at once where waiting does not help.

. "$(dirname "$0")/functions.sh"

requires_program nbdkit

format_transport transport
make_disk "$disks/disk" 16M

# waiting PARAMETER...: starts nbdkit, until it waits; sets $nbdkit_pid
waiting()
{
	rm -f "$tmp/waits.sock" "$tmp/waits.pid"
	nbdkit -v -f -U "$tmp/waits.sock" -P "$tmp/waits.pid" cbd "$transport" "$@" \
		2>"$tmp/waits.log" &
	nbdkit_pid=$!
	cleanup_fn stop $!
	wait_until 20 grep -q "; waits for it" "$tmp/waits.log" || fail "nbdkit does not wait"
	[ ! -e "$tmp/waits.pid" ] || fail "nbdkit serves nothing"
}

# serves: it has attached
serves()
{
	wait_until 20 test -s "$tmp/waits.pid" || fail "nbdkit does not come up"
	"$nbd_io" "nbd+unix:///?socket=$tmp/waits.sock" write:0:4K:1 read:0:4K:1
	stop "$nbdkit_pid"
}

# refused TEXT PARAMETER...
refused()
{
	local text=$1
	shift

	expect 1 "$text" timeout "$(limit 20)" nbdkit -U "$tmp/no.sock" cbd "$transport" "$@"
	one_message
	[ ! -e "$tmp/no.sock" ] || fail "a socket is left"
}

# --- Before the first start of the backend, by number and by name --------------

refused "$transport: backend 1: is not running; waited for 1 s" backend=1 wait=1
refused "$transport: backend 'late': no backend has this name; waited for 1 s" \
	backend=late wait=1
waiting backend=late wait=600
start_backend 1 --name late "$disk"
serves

# --- Stopped, and killed --------------------------------------------------------

stop_backend 1
refused "$transport: backend 1: has stopped; waited for 1 s" backend=1 wait=1
waiting backend=1 wait=600
start_backend 1 --name late "$disk"
serves
kill_backend 1
waiting backend=1 wait=600
start_backend 1 --name late "$disk"
serves

# --- What waiting does not help against -----------------------------------------

refused "wait=1: needs backend=" wait=1
refused "wait=86401: must be a number from 0 to 86400" backend=1 wait=86401
refused "$transport: queues: 5 is more than the 4 channels" backend=1 queues=5 wait=600
refused "$transport: backend 4: the transport has 0..3" backend=4 wait=600

# --- Told to end ----------------------------------------------------------------

stop_backend 1
waiting backend=1 wait=600
kill "$nbdkit_pid"
wait_until 10 gone "$nbdkit_pid" || fail "SIGTERM does not end it"
[ ! -e "$tmp/waits.sock" ] || fail "a socket is left"
