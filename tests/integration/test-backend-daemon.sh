#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Without --foreground the command ends when everything is in its place.

. "$(dirname "$0")/functions.sh"

requires_program nbdkit jq

format_transport transport
make_disk "$disks/disk" 16M

# A relative path of disk and pid file, because a daemon changes its folder.
cd "$disks"
cleanup_fn stop_pidfile "$disks/backend.pid"
cbd-backend -t "$transport" --id 1 --name d -P backend.pid disk 2>"$tmp/backend.log"
pid=$(cat backend.pid)
alive "$pid" || fail "process $pid is not there"
[ ! -s "$tmp/backend.log" ] || fail "it has said something"

cbdctl list -B "$transport" | jq -e ".[0] | .pid == $pid and .alive and .path == \"$disk\"" \
	>/dev/null || fail "not listed: $(cbdctl list -B "$transport")"
start_nbdkit cbd "$transport" backend=d
"$nbd_io" "$uri" write:1M:1M:3 read:1M:1M:3

# It has let go of everything that its starter could wait for.
for fd in 0 1 2; do
	[ "$(readlink "/proc/$pid/fd/$fd")" = /dev/null ] || fail "file $fd is not /dev/null"
done
[ "$(readlink "/proc/$pid/cwd")" = / ] || fail "its folder is not /"

stop "$nbdkit_pid"
stop "$pid"
[ ! -e backend.pid ] || fail "the pid file is still there"

# A link is not followed, whatever it names, and no other file is written to.
echo "of another program" >other
for link in other nothing; do
	ln -sf "$link" linked.pid
	expect 1 "linked.pid: is a symbolic link" \
		timeout "$(limit 30)" cbd-backend -f -t "$transport" --id 1 -P linked.pid disk
	[ -L linked.pid ] || fail "the link was removed"
done
[ ! -e nothing ] || fail "a file was made where the link points"
expect 1 "other: is not a pid file" \
	timeout "$(limit 30)" cbd-backend -f -t "$transport" --id 1 -P other disk
[ "$(cat other)" = "of another program" ] || fail "another program's file was changed"
