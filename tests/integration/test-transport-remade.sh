#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A transport file that is removed, or made anew, below running programs: they say so,
# once, and go on with the one that they have opened.

. "$(dirname "$0")/functions.sh"

requires_program nbdkit

# said COUNT LOG WHAT
said()
{
	[ "$(grep -cF "$transport: the path names $3 now: this process goes on" "$tmp/$2")" -eq "$1" ]
}

both_said() # WHAT
{
	wait_until 20 said 1 backend-1.log "$1" || fail "the backend does not notice: $1"
	wait_until 20 said 1 nbdkit.log "$1" || fail "nbdkit does not notice: $1"
}

format_transport transport
make_disk "$disks/disk" 16M
start_backend 1 "$disk"
start_nbdkit cbd "$transport" backend=1
rm "$transport"
both_said "no file"
format_transport transport
both_said "another file"
"$nbd_io" "$uri" write:0:64K:1 flush read:0:64K:1
for log in backend-1.log nbdkit.log; do
	said 1 $log "another file" || fail "$log: it is said again and again"
done
# what starts now does not meet them
expect 1 "backend 1: is not running" timeout "$(limit 20)" nbdkit -U "$tmp/no.sock" cbd \
	"$transport" backend=1
