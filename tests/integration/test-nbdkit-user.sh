#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# nbdkit that changes its user (-u, -g) to one who may not open the transport fails at
# its start, with a message and without a socket; to one who may, it serves.

. "$(dirname "$0")/functions.sh"

requires_program nbdkit
requires test "$(id -u)" -eq 0
requires id nobody

format_transport transport
make_disk "$disks/disk" 16M
start_backend 1 "$disk"

# refused WHO OPTION...: with and without a backend
refused()
{
	local who=$1 backend
	shift

	for backend in backend=1 ""; do
		expect 1 "$transport: $who may not open it for reading and writing: Permission" \
			timeout "$(limit 20)" nbdkit -U "$tmp/refused.sock" \
			-P "$tmp/refused.pid" "$@" cbd "$transport" ${backend:+"$backend"}
		one_message
		grep -q "its owner is 0:0 and its mode 0600" "$tmp/expect.err" ||
			fail "it does not say whose the transport is"
		[ ! -e "$tmp/refused.sock" ] || fail "$*: a socket is left"
		[ ! -e "$tmp/refused.pid" ] || fail "$*: nbdkit runs"
	done
}

# serves OPTION...
serves()
{
	start_nbdkit "$@" cbd "$transport" backend=1
	"$nbd_io" "$uri" write:0:4K:1 read:0:4K:1
	stop "$nbdkit_pid"
}

chmod 777 "$tmp" # for the pid file
refused "user nobody" -u nobody
refused "user nobody" --user=nobody
refused "user 65534" --user 65534
refused "user nobody, group nogroup" -g nogroup -u nobody

# what looks like the option and is an argument of another
serves --export-name -unobody
serves -e -u

chmod 660 "$transport" # nbdkit keeps its groups without -g
serves -u nobody
chgrp nogroup "$transport"
serves -u nobody -g nogroup
