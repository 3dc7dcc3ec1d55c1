#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# wait=: nbdkit that is started before its backend attaches when that is up. It ends in
# time, at a signal, also as the first process of a container, and at once where waiting
# does not help.

. "$(dirname "$0")/bad-transports.sh"

requires_program nbdkit python3

format_transport transport
make_disk "$disks/disk" 16M

# start_waiting PARAMETER...: nbdkit, where $under puts it
under=()
start_waiting()
{
	rm -f "$tmp/waits.sock" "$tmp/waits.pid"
	"${under[@]}" nbdkit -v -f -U "$tmp/waits.sock" -P "$tmp/waits.pid" cbd "$transport" "$@" \
		2>"$tmp/waits.log" &
}

# waiting PARAMETER...: starts nbdkit, until it waits; sets $nbdkit_pid
waiting()
{
	start_waiting "$@"
	nbdkit_pid=$!
	cleanup_fn stop $!
	until_it_waits
}

until_it_waits()
{
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

	expect 1 "$text" "${under[@]}" timeout "$(limit 20)" nbdkit -U "$tmp/no.sock" cbd "$transport" "$@"
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

# --- Transports that no backend serves ----------------------------------------------

good=$transport
format_transport sound
for how in missing zeroes "set version=2"; do
	# shellcheck disable=SC2086 # words
	spoil $how
	refused "$transport: $(bad_transports | sed -n "s/^$how|.*|//p")" backend=1 wait=86400
done
transport=$good

# --- A host without an identity: no backend that comes changes that -----------------

requires unshare -m true
mkdir "$tmp/etc"
# shellcheck disable=SC2016 # the inner shell expands it
under=(unshare -m sh -c 'mount --bind "$1" /etc && shift && exec "$@"' sh "$tmp/etc")
refused "this host has no identity" backend=1 wait=86400
mkdir "$tmp/etc/cbd"
echo "no uuid" >"$tmp/etc/cbd/host-id"
refused "/etc/cbd/host-id: 'no uuid': not a uuid" backend=1 wait=86400

# --- Told to end, as the first process of a container -------------------------------
# There a signal that is neither blocked nor handled is lost.

under=(unshare -pf --mount-proc --kill-child)
requires "${under[@]}" true

# start_first PARAMETER...: sets $nbdkit_pid, and $unshare_pid, its parent
start_first()
{
	start_waiting "$@"
	unshare_pid=$!
	wait_until 20 pgrep -P $unshare_pid >"$tmp/first.pid" || fail "nbdkit does not start"
	nbdkit_pid=$(tail -n 1 "$tmp/first.pid")
	cleanup_fn stop "$nbdkit_pid"
}

# ends_when_told TEXT: by the signal, and not by what it waits for
ends_when_told()
{
	local status=0

	wait_until 20 gone "$nbdkit_pid" || fail "SIGTERM does not end it"
	wait "$unshare_pid" || status=$?
	[ $status -eq 1 ] || fail "nbdkit ended with status $status"
	grep -q "$1$" "$tmp/waits.log" || fail "it does not say: $1"
	[ ! -e "$tmp/waits.sock" ] || fail "a socket is left"
}

is_attaching()
{
	[ "$(cbdctl list -D "$transport" 2>/dev/null | jq length)" = 1 ]
}

# keeps_signals: SIGTERM, the 15th, is blocked
keeps_signals()
{
	grep -q "^SigBlk:.*[4-7c-f]...$" "/proc/$nbdkit_pid/status"
}

start_first backend=1 wait=600
until_it_waits
kill "$nbdkit_pid"
ends_when_told "; told to end while it waited"

# A dead backend is waited for in each attempt to attach too, for two seconds.
start_backend 1 --name late "$disk"
kill_backend 1
start_first backend=1 wait=600
until_it_waits
wait_until 20 is_attaching || fail "nbdkit does not try again"
kill "$nbdkit_pid"
ends_when_told "; told to end while it waited"

# It answers after all: the attachment is given back.
format_transport transport --force --force --heartbeat 50 --dead-after 1000
start_backend 1 "$disk"
kill -STOP "${backend_pids[1]}"
start_first backend=1 wait=600
wait_until 20 keeps_signals || fail "nbdkit does not keep the signals while it attaches"
kill "$nbdkit_pid"
kill -CONT "${backend_pids[1]}"
ends_when_told "backend 1: told to end while it attached"
! is_attaching || fail "the slot is not given back"
