#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# What keeps cbd-backend from starting is told where it was started, as a daemon
# and in the foreground, with status 1; mistakes on the command line with status 2.

. "$(dirname "$0")/bad-transports.sh"

requires_program nbdkit python3 setpriv

format_transport transport
make_disk "$disks/used" 16M
start_backend 1 "$disk"
ln -s used "$disks/alias"
ln "$disks/used" "$disks/hardlink"
make_disk "$disks/free" 16M
make_disk "$disks/odd" 1000
make_disk "$disks/empty" 0
mkfifo "$disks/fifo"
make_disk "$disks/unreadable" 16M
chmod 000 "$disks/unreadable"
make_disk "$disks/unwritable" 16M
chmod 400 "$disks/unwritable"

# refused TEXT ARGUMENT...: in both ways
refused()
{
	local text=$1
	shift

	expect 1 "cbd-backend: $text" "${as_owner[@]}" cbd-backend -P "$tmp/refused.pid" "$@"
	one_message
	expect 1 "cbd-backend: $text" "${as_owner[@]}" cbd-backend -f -P "$tmp/refused.pid" "$@"
	one_message
	[ ! -e "$tmp/refused.pid" ] || fail "$*: has left a pid file"
}

t=(-t "$transport")
refused "$disks/none: No such file or directory" "${t[@]}" --id 2 "$disks/none"
refused "$disks: is a directory" "${t[@]}" --id 2 "$disks"
refused "/dev/null: is a character device" "${t[@]}" --id 2 /dev/null
refused "$disks/fifo: is neither a regular file nor a block device" "${t[@]}" --id 2 "$disks/fifo"
refused "$disks/unreadable: Permission denied (--read-only may do)" \
	"${t[@]}" --id 2 "$disks/unreadable"
refused "$disks/unreadable: Permission denied" "${t[@]}" --id 2 -r "$disks/unreadable"
refused "$disks/unwritable: Permission denied (--read-only may do)" \
	"${t[@]}" --id 2 "$disks/unwritable"
refused "$disks/odd: size 1000 is not a multiple of 512" "${t[@]}" --id 2 "$disks/odd"
refused "$disks/free: engine mmap: a mapping cannot go around the page cache (--direct)" \
	"${t[@]}" --id 2 --engine mmap --direct "$disks/free"
refused "$disks/empty: is empty" "${t[@]}" --id 2 "$disks/empty"
refused "$transport: is the transport itself" "${t[@]}" --id 2 "$transport"
refused "$transport: backend 1: is in use by process ${backend_pids[1]} of this host" \
	"${t[@]}" --id 1 "$disks/free"
refused "$transport: backend 4: the transport has 0..3" "${t[@]}" --id 4 "$disks/free"
refused "$transport: host id 16: the transport has 0..15" \
	"${t[@]}" --id 2 --host-id 16 "$disks/free"
refused "$transport: max_blkdevs: 17 is more than the 16 of the transport" \
	"${t[@]}" --id 2 --max-blkdevs 17 "$disks/free"
refused "user nobody-of-that-name: there is no such user" \
	"${t[@]}" --id 2 -u nobody-of-that-name "$disks/free"

# The same disk again. This takes two seconds each, in which the lock could become
# free: once in each way is enough.
expect 1 "cbd-backend: $disks/used: is in use by another process" \
	cbd-backend "${t[@]}" --id 2 "$disks/used"
expect 1 "cbd-backend: $disks/alias: is in use by another process" \
	cbd-backend -f "${t[@]}" --id 2 "$disks/alias"
expect 1 "cbd-backend: $disks/hardlink: is in use by another process" \
	cbd-backend "${t[@]}" --id 2 --read-only "$disks/hardlink"

if unshare -m true 2>/dev/null; then
	touch "$disks/bound"
	# shellcheck disable=SC2016 # for the inner shell
	expect 1 "cbd-backend: $disks/bound: is in use by another process" \
		unshare -m sh -c 'mount --bind "$1" "$2" && shift 2 && exec "$@"' sh \
		"$disks/used" "$disks/bound" cbd-backend -f "${t[@]}" --id 2 "$disks/bound"
fi
# shellcheck disable=SC2094 # it is only opened
expect 1 "cbd-backend: /proc/self/fd/0: is in use by another process" \
	cbd-backend -f "${t[@]}" --id 2 /proc/self/fd/0 <"$disks/used"

# --handlers beyond the channels of a backend: one message, whatever its words
refused "" "${t[@]}" --id 2 --handlers 5 "$disks/free"
grep -q handlers "$tmp/expect.err" || fail "--handlers 5: $(cat "$tmp/expect.err")"

mknod "$tmp/null" c 1 3 2>/dev/null || ln -s /dev/null "$tmp/null" # only root can
expect 1 "$tmp/null: is no regular file" cbd-backend -P "$tmp/null" "${t[@]}" --id 2 "$disks/free"
[ -c "$tmp/null" ] || fail "-P has removed a device"
expect 1 "$disks/fifo: " timeout "$(limit 10)" cbd-backend -P "$disks/fifo" "${t[@]}" --id 2 "$disks/free"
expect 1 "/none/pid: No such file" cbd-backend -P /none/pid "${t[@]}" --id 2 "$disks/free"

# usage TEXT ARGUMENT...
usage()
{
	local text=$1
	shift

	expect 2 "cbd-backend: $text" cbd-backend -f "$@"
	expect 2 "Try 'cbd-backend --help'." cbd-backend -f "$@"
}

usage "--transport: is required" --id 1 "$disks/free"
usage "--transport: is required" -t "" --id 1 "$disks/free"
usage "--id: is required" "${t[@]}" "$disks/free"
usage "DISK: is required" "${t[@]}" --id 1
usage "DISK: is required" "${t[@]}" --id 1 ""
usage "'b': one DISK only" "${t[@]}" --id 1 a b
usage "unrecognized option '--nonsense'" --nonsense
usage "invalid option -- 'x'" -x
usage "option '--id' requires an argument" --id
for id in -1 +1 64 1x "" " 1" 0x1 99999999999999999999; do
	usage "--id: '$id': must be a number from 0 to 63" "${t[@]}" --id "$id" "$disks/free"
done
usage "--handlers: '0': must be a number from 1 to 256" "${t[@]}" --id 1 --handlers 0 x
usage "--handlers: '257': must be a number from 1 to 256" "${t[@]}" --id 1 --handlers 257 x
usage "--max-blkdevs: '0': must be a number from 1 to 256" "${t[@]}" --id 1 --max-blkdevs 0 x
usage "--host-id: '64': must be a number from 0 to 63" "${t[@]}" --id 1 --host-id 64 x
usage "--allow-host: '': must be a number from 0 to 63" "${t[@]}" --id 1 --allow-host "" x
usage "--allow-host: '': must be a number from 0 to 63" "${t[@]}" --id 1 --allow-host 1, x
usage "--allow-host: '64': must be a number from 0 to 63" "${t[@]}" --id 1 --allow-host 1,64 x
usage "--engine: 'fast': must be auto, psync, uring, mmap or nbd" "${t[@]}" --id 1 --engine fast x
usage "--poll: 'never': must be adaptive, busy or sleep" "${t[@]}" --id 1 --poll never x
usage "--name: '12': must not be a number" "${t[@]}" --id 1 --name 12 x
usage "--name: '': must have 1 to 56 bytes" "${t[@]}" --id 1 --name "" x
usage "--name: must not have control characters" "${t[@]}" --id 1 --name $'a\nb' x
usage "--pidfile: must not be empty" "${t[@]}" --id 1 -P "" x

# --- Transports -------------------------------------------------------------

bad_transport() # CHECK-STATUS TEXT
{
	expect 1 "cbd-backend: $2" "${as_owner[@]}" \
		cbd-backend -f -t "$transport" --id 2 "$disks/free"
}

good=$transport
each_bad_transport bad_transport
spoil set ro_compat=2
bad_transport 0 "$transport: has features (ro_compat 0x2) that this version only reads"

# What serves nevertheless: the copy of a damaged header, and unknown compat bits.
spoil both-bits 5000 # of no meaning
"$patch" "$transport" flip 100
start_backend 3 "$disks/free"
grep -q "cbd-backend: $transport: the header is damaged, its copy is used" "$tmp/backend-3.log"
stop_backend 3
spoil set compat=8
start_backend 3 "$disks/free"
stop_backend 3
transport=$good

# After all that the living one still serves, and the free disk can be used.
start_backend 2 "$disks/free"
start_nbdkit cbd "$transport" backend=1
"$nbd_io" "$uri" write:0:4K:1 read:0:4K:1
