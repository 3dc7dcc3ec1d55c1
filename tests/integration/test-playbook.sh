#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The playbook of docs/operations.md: each message is produced here, by the programs, and is
# there word by word; and there is none that was not produced. What differs from machine to
# machine (paths, numbers of processes, names of hosts) is made what the playbook has.

. "$(dirname "$0")/functions.sh"

requires_program nbdkit python3 setpriv unshare
requires test "$(id -u)" -eq 0
requires unshare --mount true
here=$(dirname "$0")
patch=$here/patch-transport.py
"$here/playbook.py" "${abs_top_srcdir:?}/docs/operations.md" >"$tmp/playbook"
: >"$tmp/seen"

other=$disks/other
truncate -s 16M "$other"
make_disk "$disks/data" 16M

# As the playbook has them.
normal()
{
	sed -e "s,$disks/full/shm,/dev/shm/cbd,g" -e "s,$memory/[a-z0-9]*,/dev/dax0.0,g" \
		-e "s,$tmp/dax0\.0,/dev/dax0.0,g" -e "s,/dev/dax77\.0,/dev/dax0.0,g" \
		-e "s,$disks/full/data,/dev/vg0/data,g" -e "s,$disks/,/dev/vg0/,g" \
		-e "s,$tmp/,/run/,g" -e "s/($(uname -n))/(node)/g" \
		-e 's/connection lost: [^;]*;/connection lost: unknown error;/' \
		-e 's/again after [0-9]* ms/again after 70 ms/' -e 's/all 1 host slots/all 16 host slots/' -e 's/after [0-9]* s without/after 7 s without/' \
		-e 's/process [0-9]\{1,\}/process 4711/g' -e 's/^nbdkit: .*error: /nbdkit: error: /'
}

# entry LOG TEXT: the first line of LOG with TEXT is in the playbook
entry()
{
	local line

	line=$(grep -F -m 1 -e "$2" "$1" | normal) || fail "no line of $1 has '$2': $(cat "$1")"
	grep -qxF -e "$line" "$tmp/playbook" || fail "the playbook does not have: $line"
	echo "$line" >>"$tmp/seen"
}

# says TEXT STATUS COMMAND...
says()
{
	local text=$1 status=$2
	shift 2

	expect "$status" "$text" timeout "$(limit 30)" "$@"
	entry "$tmp/expect.err" "$text"
}

logs() # LOG TEXT: in time
{
	wait_until 20 grep -qF -e "$2" "$tmp/$1" || fail "$1: no '$2'"
	entry "$tmp/$1" "$2"
}

# A suspicion takes 17 * 20 ms.
fresh() # NAME [OPTION]...
{
	local name=$1
	shift

	rm -f "$memory/$name"
	format_transport "$name" --heartbeat 20 --dead-after 16 "$@"
}

# host HOST BOOT: sets $host, a command in front of others: on another machine, as far as
# cbd can see. HOST and BOOT are a hex digit each.
host()
{
	mkdir -p "$tmp/etc-$1"
	echo "${1}0000000000000000000000000000000" >"$tmp/etc-$1/machine-id"
	echo "${1}0000000-0000-0000-0000-00000000000$2" >"$tmp/boot-$1$2"
	# shellcheck disable=SC2016 # for the inner shell
	host=(unshare --mount sh -c 'mount --bind "$1" /etc &&
		mount --bind "$2" /proc/sys/kernel/random/boot_id && shift 2 && exec "$@"' sh
		"$tmp/etc-$1" "$tmp/boot-$1$2")
}

on() # HOST BOOT LOG OPTION... DISK: backend 1 there, in the background; sets $pid
{
	local log=$tmp/$3

	: >"$log"
	host "$1" "$2"
	"${host[@]}" cbd-backend -f -t "$transport" --id 1 "${@:4}" 2>"$log" &
	pid=$!
	cleanup_fn stop $pid
	wait_until 20 grep -q ": ready, " "$log" || fail "$3: not ready: $(cat "$log")"
}

attach=(nbdkit -U "$tmp/no.sock" cbd)
refused=(cbd-backend -f --id 1 -t)

# --- The memory -------------------------------------------------------------

transport=$memory/zeroes
truncate -s 24M "$transport"
says "not a cbd transport" 1 cbdctl list "$transport"

# A device that no driver has, or another one.
mknod "$tmp/dax0.0" c 4000 1
with_driver()
{
	# shellcheck disable=SC2016 # for the inner shell
	unshare --mount sh -c 'mount -t tmpfs none /sys/dev/char && cd /sys/dev/char &&
		mkdir -p 4000:1 /sys/dev/char/dax && ln -s ../dax 4000:1/subsystem &&
		{ [ -z "$1" ] || ln -s "../$1" 4000:1/driver; } && shift && exec "$@"' sh "$@"
}
expect 1 "system-ram mode" with_driver kmem cbdctl list "$tmp/dax0.0"
entry "$tmp/expect.err" "system-ram mode"
expect 1 "it is disabled" with_driver "" cbdctl list "$tmp/dax0.0"
entry "$tmp/expect.err" "it is disabled"
says "there is no such device" 1 cbdctl format --size 24M /dev/dax77.0

fresh transport
chmod 000 "$transport"
says "Permission denied" 1 "${as_owner[@]}" cbdctl list "$transport"
chmod 600 "$transport"
for what in version=2 ro_compat=2; do
	"$patch" "$transport" both $what
	case $what in
	version=2) says "format version 2" 1 cbdctl list "$transport" ;;
	*) says "that this version only reads" 1 nbdkit -U "$tmp/no.sock" cbd "$transport" backend=1 ;;
	esac
	fresh transport
done
"$patch" "$transport" flip 100
start_backend 1 "$disk"
entry "$tmp/backend-1.log" "the header is damaged, its copy is used"
"$patch" "$transport" flip copy 100
says "both beyond repair" 3 cbdctl check "$transport"
kill_backend 1

fresh transport
start_backend 1 "$disk"
kill -STOP "${backend_pids[1]}"
"$patch" "$transport" flip backend-geometry:1
says "geometry line is damaged" 3 cbdctl check --repair "$transport"
kill -CONT "${backend_pids[1]}"
rm "$transport"
fresh transport
logs backend-1.log "the path names another file now"
kill_backend 1

# --- Formatting -------------------------------------------------------------

mkdir "$disks/full"
mount -t tmpfs -o size=4M none "$disks/full"
cleanup_fn umount "$disks/full"
expect 1 "cannot reserve" cbdctl format --size 8M --backends 1 --channels 2 --channel-size 1M \
	"$disks/full/shm"
entry "$tmp/expect.err" "cannot reserve"
says "is a cbd transport already" 1 cbdctl format "$transport"
start_backend 1 "$disk"
says "is in use by a process on this host" 1 cbdctl format "$transport"

# --- Starting a backend, attaching ------------------------------------------

says "is in use by process" 1 "${refused[@]}" "$transport" "$other"
says "is in use by another process" 1 cbd-backend -f -t "$transport" --id 2 "$disk"
says "no backend has this name" 1 "${attach[@]}" "$transport" backend=data
start_nbdkit cbd "$transport" backend=1
says "has its maximum of blkdevs attached" 1 "${attach[@]}" "$transport" backend=1
stop "$nbdkit_pid"
mv "$socket" "$tmp/cbd.sock"
says "Address already in use" 1 nbdkit -U "$tmp/cbd.sock" cbd "$transport" backend=1
stop_backend 1
says "has stopped" 1 "${attach[@]}" "$transport" backend=1
start_backend 1 --name data --allow-host 3 "$disk"
says "does not admit host 0" 1 "${attach[@]}" "$transport" backend=1
stop_backend 1
says "slot 1 had this name" 1 "${attach[@]}" "$transport" backend=data
start_backend 1 --max-blkdevs 2 "$disk"
start_nbdkit cbd "$transport" backend=1 queues=2
says "3 queues asked" 1 "${attach[@]}" "$transport" backend=1 queues=3
stop "$nbdkit_pid"
kill_backend 1
says "does not answer, it is suspect or dead" 1 "${attach[@]}" "$transport" backend=1
fresh transport
says "is not running" 1 "${attach[@]}" "$transport" backend=1

# --- While it runs ----------------------------------------------------------

start_backend 1 --max-blkdevs 2 "$disk"
start_nbdkit cbd "$transport" backend=1 timeout=1
"$nbd_io" "$uri" write:0:64K:1 flush
kill_backend 1
says "is attached to another disk" 1 "${refused[@]}" "$transport" "$other"
truncate -s 8M "$disk"
says "has shrunk from 16777216" 1 "${refused[@]}" "$transport" "$disk"
truncate -s 16M "$disk"
says "on a read-only disk" 1 "${refused[@]}" "$transport" --read-only "$disk"
logs nbdkit.log "does not beat: its requests wait"
"$nbd_io" "$uri" fails:EIO:read:0:4K:1
entry "$tmp/nbdkit.log" "read 4096 bytes at 0"
start_backend 1 --replace "$other"
logs nbdkit.log "serves another disk"
stop_backend 1
start_backend 1 "$disk"
logs nbdkit.log "is back, after"
truncate -s 32M "$disk"
kill -HUP "${backend_pids[1]}"
logs backend-1.log "has 33554432 bytes now"
truncate -s 16M "$disk"
kill -HUP "${backend_pids[1]}"
logs backend-1.log "has shrunk from 33554432"
stop_backend 1
expect 0 "" cbdctl clear backend 1 "$transport"
logs nbdkit.log "and was cleared"
stop "$nbdkit_pid"

# A file system that is full.
make_disk "$disks/full/data" 16M
start_backend 1 "$disk"
start_nbdkit cbd "$transport" backend=1
head -c 4M /dev/zero >"$disks/full/filler" 2>/dev/null || true
"$nbd_io" "$uri" fails:ENOSPC:write:8M:4K:1
logs nbdkit.log "write 4096 bytes at 8388608"
stop "$nbdkit_pid"
stop_backend 1
rm "$disks/full/data" "$disks/full/filler"
disk=$disks/data

# A disk that an NBD server has.
server()
{
	rm -f "$tmp/disk.sock" "$tmp/server.pid"
	nbdkit -f -U "$tmp/disk.sock" -P "$tmp/server.pid" file "$other" 2>>"$tmp/server.log" &
	server_pid=$!
	cleanup_fn stop $server_pid
	wait_until 20 test -s "$tmp/server.pid" || fail "the NBD server has not started"
}
server
start_backend 1 "nbd+unix:///?socket=$tmp/disk.sock"
start_nbdkit cbd "$transport" backend=1
"$nbd_io" "$uri" write:0:4K:1 flush
kill -9 $server_pid
wait $server_pid 2>/dev/null || true
"$nbd_io" "$uri" write:0:4K:2 &
client=$!
cleanup_fn stop $client
logs backend-1.log "connection lost"
server
logs backend-1.log "connected again after"
wait $client || fail "a write does not survive the server's restart"
stop "$nbdkit_pid"
stop_backend 1

# --- Hosts, and a disk that moves between them ------------------------------

mkdir "$tmp/etc-none"
: >"$tmp/etc-none/machine-id"
# shellcheck disable=SC2016 # for the inner shell
says "write one to /etc/cbd/host-id" 1 unshare --mount sh -c \
	'mount --bind "$1" /etc && shift && exec "$@"' sh "$tmp/etc-none" \
	"${refused[@]}" "$transport" "$disk"

fresh transport --hosts 1
start_backend 1 "$disk"
host d 1
says "host slots are taken" 1 "${host[@]}" cbd-backend -f -t "$transport" --id 2 "$other"
stop_backend 1

fresh transport
on a 1 first.log --max-blkdevs 2 "$disk"
host a 2
says "in use by another machine with the same identity" 1 "${host[@]}" \
	cbd-backend -f -t "$transport" --id 2 "$other"
host b 1
says "is alive: a process on" 1 "${host[@]}" cbdctl clear backend 1 "$transport"
start_nbdkit cbd "$transport" backend=1 # on this host
"$nbd_io" "$uri" write:0:64K:1
kill -9 "$pid"
wait "$pid" 2>/dev/null || true
host b 1
says "backend 1: is owned by host 0" 1 "${host[@]}" "${refused[@]}" "$transport" "$disk"
host b 1
says "is not fenced" 1 "${host[@]}" "${refused[@]}" "$transport" --takeover --fence "exit 3" "$disk"
host b 1
says "is suspect, not proven dead" 1 "${host[@]}" cbdctl clear backend 1 "$transport"
# the next boot of that host: what was not flushed may be lost
on a 2 second.log "$disk"
logs nbdkit.log "may be lost"
stop "$nbdkit_pid"

# --- Nothing is left --------------------------------------------------------

missing=$(sort "$tmp/playbook" | comm -23 - <(sort -u "$tmp/seen"))
[ -z "$missing" ] || fail "in the playbook, and not produced: $missing"
