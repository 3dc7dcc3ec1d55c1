#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The disk of an NBD server, engine nbd: random I/O against a shadow copy, with a
# connection for each handler, with one for all, and with blocks of 4 KiB; what the server
# is asked; a qcow2 behind qemu-nbd; who is refused; a disk that grows; a server that does
# not answer.

. "$(dirname "$0")/nbd-server.sh"

requires_program nbdkit qemu-img qemu-nbd nbdcopy nbdinfo jq
for filter in log delay multi-conn blocksize-policy; do
	requires nbdkit --dump-plugin --filter=$filter memory
done

format_transport transport

# --- A server that does not answer, in the background ------------------------

start_server silent --filter=log --filter=delay memory 16M wdelay=300 logfile="$tmp/silent"
silent_pid=$server_pid
start_backend 3 "$server_uri"
start_nbdkit cbd "$transport" backend=3
silent_nbdkit=$nbdkit_pid
mv "$tmp/nbdkit.log" "$tmp/silent-nbdkit.log"
"$nbd_io" "$uri" write:0:4K:1 2>"$tmp/silent-io.log" &
cleanup_fn stop $!
wait_until 20 grep -q ' Write id=' "$tmp/silent"
kill "${backend_pids[3]}"
silent_since=$SECONDS

# Another one takes connections and answers nothing at all.
start_server mute --filter=delay memory 16M rdelay=300
mute_pid=$server_pid
start_backend 0 "$server_uri"

# --- Random I/O -------------------------------------------------------------

# nbd_random QUEUES HANDLERS ARGUMENT-OF-NBDKIT...
nbd_random()
{
	local queues=$1 handlers=$2
	shift 2

	echo "queues $queues, handlers $handlers: $*"
	start_server server "$@"
	start_backend 1 --handlers "$handlers" "$server_uri"
	start_nbdkit cbd "$transport" backend=1 queues="$queues"
	"$random_io" -s "${RANDOM_SEED:-$SRANDOM}" -n "$(share 2000)" -o "$disks/shadow" "$uri" |
		grep -v ' finished$'
	nbdinfo --map "$uri" >"$tmp/map"
	nbdinfo --map "$server_uri" | cmp - "$tmp/map" || fail "other holes: $(cat "$tmp/map")"
	stop "$nbdkit_pid"
	nbdcopy --request-size=131072 "$server_uri" - | cmp - "$disks/shadow"
	stop_backend 1
	stop "$server_pid"
	# on a busy machine a request may be inside for half a second when nbdkit is stopped
	! grep 'error:' "$tmp/nbdkit.log" | grep -v 'aborting sleep because of server shut down$' ||
		fail "nbdkit reports errors"
	! grep -e error -e lost -e damaged "$tmp/backend-1.log" || fail "cbd-backend reports errors"
}

# connections: how many there are to the server
connections()
{
	grep -c ' Connect ' "$tmp/requests" || true
}

nbd_random 4 2 --filter=log memory 48M logfile="$tmp/requests"
[ "$(connections)" -ge 2 ] || fail "one connection for two handlers"
nbd_random 4 2 --filter=multi-conn --filter=log memory 48M multi-conn-mode=disable \
	logfile="$tmp/requests"
nbd_random 1 1 --filter=blocksize-policy memory 48M blocksize-minimum=4096 \
	blocksize-preferred=65536 blocksize-maximum=128K blocksize-error-policy=error

# --- What the server is asked -----------------------------------------------

# seen PATTERN...: by the server
seen()
{
	local pattern

	for pattern; do
		grep -qE "$pattern" "$tmp/requests" ||
			fail "not seen: $pattern: $(cat "$tmp/requests")"
	done
}

: >"$tmp/requests"
start_server server --filter=log memory 16M logfile="$tmp/requests"
start_backend 1 "$server_uri"
cbdctl list -B --id 1 "$transport" |
	jq -e '.[0] | .size == 16777216 and .discard and (.write_through | not)' >/dev/null ||
	fail "$(cbdctl list -B --id 1 "$transport")"
expect 1 "is in use by another process: backend 1 serves it" \
	cbd-backend -f -t "$transport" --id 2 "$server_uri"
start_nbdkit cbd "$transport" backend=1
"$nbd_io" "$uri" write:0:1M:1 write:1M:64K:2:fua flush zero:0:4K zero:8K:4K:no-hole \
	trim:1M:64K read:0:4K:0 read:4K:4K:1 read:8K:4K:0
seen ' Write id=.* offset=0x100000 count=0x10000 fua=1' ' Write .*fua=0' ' Flush ' \
	' Zero .*offset=0x0 .*trim=1' ' Zero .*offset=0x2000 .*trim=0' \
	' Trim id=.* offset=0x100000 count=0x10000'
stop "$nbdkit_pid"
stop_backend 1
: >"$tmp/requests"
start_backend 1 --write-through "$server_uri"
start_nbdkit cbd "$transport" backend=1
"$nbd_io" "$uri" write:0:64K:3 zero:64K:4K read:0:64K:3 flush
seen ' Write .*fua=1' ' Zero .*fua=1'
! grep ' Write .*fua=0' "$tmp/requests" || fail "a write that is not durable"
stop "$nbdkit_pid"
stop_backend 1

# Where connections do not show what others write, a successor takes none that it had
# before its predecessor's last flush.
stop "$server_pid"
: >"$tmp/requests"
start_server server --filter=multi-conn --filter=log memory 16M multi-conn-mode=disable \
	logfile="$tmp/requests"
start_backend 1 "$server_uri"
start_nbdkit cbd "$transport" backend=1
"$nbd_io" "$uri" write:0:4K:1
old=${backend_pids[1]}
start_backend 1 --takeover "$server_uri"
wait_until 20 gone "$old" || fail "the old process stays"
"$nbd_io" "$uri" write:0:4K:2 read:0:4K:2
awk '{ split($3, c, "=") } $4 == "Connect" { made[c[2]] = NR }
	$4 == "Flush" && c[2] == 1 { flush = NR }
	$4 == "Write" { last = c[2] }
	END { exit !(flush > 0 && made[last] > flush) }' "$tmp/requests" ||
	fail "an old connection is used: $(cat "$tmp/requests")"
stop "$nbdkit_pid"
stop_backend 1
stop "$server_pid"
start_server server --filter=log memory 16M logfile="$tmp/requests"

# --- Who is refused ---------------------------------------------------------

refused() # TEXT ARGUMENT...
{
	local text=$1
	shift

	expect 1 "$text" timeout 60 cbd-backend -f -t "$transport" --id 2 "$@"
	one_message
}

refused "engine psync: $server_uri: an NBD URI is served by the engine nbd" \
	--engine psync "$server_uri"
refused "there is no page cache to go around (--direct)" --direct "$server_uri"
make_disk "$disks/disk" 16M
refused "engine nbd: is no NBD URI" --engine nbd "$disks/disk"
refused "names no socket" nbd+unix:///
refused "the path of the socket must be absolute" 'nbd+unix:///?socket=x'
stop "$server_pid"
refused "$server_uri: connect: " "$server_uri"
start_server server -r memory 16M
refused "is read-only at the server (--read-only may do)" "$server_uri"
start_backend 1 --read-only "$server_uri"
start_nbdkit cbd "$transport" backend=1
"$nbd_io" "$uri" read:0:1M:0 fails:EPERM:write:0:4K:1
stop "$nbdkit_pid"
stop_backend 1
stop "$server_pid"

# --- Which disk a URI is, and its lock ---------------------------------------

# identity URI: what it is identified by
identity()
{
	{ timeout 60 cbd-backend -v -f -t "$transport" --id 2 "$1" 2>&1 || true; } |
		sed -n 's/.* is identified by //p'
}

same() # URI URI
{
	[ "$(identity "$1")" = "$(identity "$2")" ] || fail "two disks: $1, $2"
}

differ() # URI URI
{
	[ "$(identity "$1")" != "$(identity "$2")" ] || fail "one disk: $1, $2"
}

same "nbd+unix:///x?socket=$tmp/none" "nbds+unix:///%78?a=b&socket=$tmp/././/none"
same 'nbd://LOCALHOST:1' 'nbd://localhost:01/'
differ "nbd+unix:///a:b?socket=$tmp/none" "nbd+unix:///b?socket=$tmp/none:a"
# libnbd connects to the last one
same "nbd+unix:///?socket=$tmp/none" "nbd+unix:///?socket=$tmp/other&socket=$tmp/none"

if [ "$(id -u)" -eq 0 ] && [ -d /run/user ]; then
	# whether the user has a session or not: two locks in two folders exclude nobody
	chmod 755 "$tmp" "$memory"
	chmod 666 "$transport"
	# shellcheck disable=SC2016 # for the inner shell
	{ timeout 60 unshare --mount bash -c 'mount -t tmpfs tmpfs /run/user &&
			install -d -o 65534 -m 700 /run/user/65534 &&
			exec setpriv --reuid 65534 --regid 65534 --clear-groups "$@"' bash \
		cbd-backend -v -f -t "$transport" --id 2 "nbd+unix:///?socket=$tmp/none" 2>&1 ||
		true; } >"$tmp/user.log"
	lock=$(sed -n 's/.*: its lock is //p' "$tmp/user.log")
	[[ $lock = /dev/shm/cbd-backend-65534/nbd-* ]] || fail "its lock is elsewhere: $lock"
	rm "$lock"
	rmdir --ignore-fail-on-non-empty "${lock%/*}"
fi

# --- A qcow2, which grows ---------------------------------------------------

qemu-img create -q -f qcow2 "$disks/qcow2" 16M
server_uri="nbd+unix:///disk?socket=$tmp/qemu.sock"
qemu-nbd -t -e 4 -x disk -f qcow2 --discard=unmap -k "$tmp/qemu.sock" "$disks/qcow2" \
	2>"$tmp/qemu.log" &
cleanup_fn stop $!
wait_until 20 test -S "$tmp/qemu.sock"
start_backend 1 --handlers 2 "$server_uri"
start_nbdkit cbd "$transport" backend=1 queues=2
# qemu-nbd 7.2 zeroes the whole clusters of a qcow2 before it refuses the rest
"$random_io" -P -s "${RANDOM_SEED:-$SRANDOM}" -n "$(share 1000)" -o "$disks/shadow" "$uri" |
	grep -v ' finished$'
nbdcopy "$server_uri" - | cmp - "$disks/shadow"
stop "$nbdkit_pid"
stop_backend 1

make_disk "$disks/growing" 8M
start_server server file "$disks/growing"
start_backend 1 "$server_uri"
start_nbdkit cbd "$transport" backend=1 queues=2
size_is() # BYTES
{
	[ "$(nbdinfo --size "$uri" 2>/dev/null)" = "$1" ]
}
start_random_io
wait_for_answers 50
truncate -s 12M "$disks/growing"
kill -HUP "${backend_pids[1]}"
wait_until 20 size_is $((12 << 20)) || fail "the new size is not followed"
"$nbd_io" "$uri" write:11M:1M:7 flush read:11M:1M:7
wait_for_answers 50
stop_random_io
cmp -n $((8 << 20)) "$disks/image" "$disks/growing"
stop "$nbdkit_pid"
stop_backend 1

# --- The servers that do not answer ------------------------------------------

wait_until 20 grep -q ': no answer in 10 s; requests wait' "$tmp/backend-0.log" ||
	fail "that the server answers nothing is not told"
kill_backend 0
kill -9 "$mute_pid"

wait_until 20 gone "${backend_pids[3]}" || fail "told to end, it waits for the server for ever"
echo "ended after $((SECONDS - silent_since)) s"
grep -q "has not answered for 10 s: ended as a crash does" "$tmp/backend-3.log" ||
	fail "it does not tell why it has ended"
kill -9 "$silent_pid" "$silent_nbdkit"
wait "$silent_pid" "$silent_nbdkit" 2>/dev/null || true
