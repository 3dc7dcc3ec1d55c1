#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The disk of an NBD server that dies and comes back: requests wait and nothing is lost
# that was durable; what was not flushed is reported once; the same when the backend dies,
# after whose end the server may still be writing.

. "$(dirname "$0")/nbd-server.sh"

requires_program nbdkit
requires nbdkit --dump-plugin eval
requires nbdkit --dump-plugin nbd
format_transport transport
make_disk "$disks/disk" 32M

# start_eval_server NAME FILE [ARGUMENT]...: scripts that read and write FILE
start_eval_server()
{
	local name=$1 file=$2
	shift 2

	start_server "$name" eval \
		pread="dd if='$file' skip=\$4 count=\$3 iflag=skip_bytes,count_bytes status=none" \
		can_write='exit 0' can_flush='exit 0' "$@"
}

# write_to FILE: the script that does it
write_to()
{
	echo "dd of='$1' seek=\$4 oflag=seek_bytes conv=notrunc status=none"
}

# --- A server behind the server, in the background ---------------------------

# The first write takes its time. The server in between dies and comes back, and what was
# written afterwards has to stay.
truncate -s 1M "$disks/far"
start_eval_server far "$disks/far" get_size='echo 1M' thread_model='echo parallel' \
	pwrite="if mkdir '$tmp/slow' 2>/dev/null; then
			sleep 2; $(write_to "$disks/far"); touch '$tmp/far-done'
			exit
		fi
		$(write_to "$disks/far")"
far_uri=$server_uri
start_server next nbd socket="$tmp/far.sock"
next_pid=$server_pid
start_server near nbd socket="$tmp/far.sock"
start_backend 3 "$server_uri"
start_nbdkit cbd "$transport" backend=3
far_nbdkit=$nbdkit_pid
"$nbd_io" "$uri" write:0:4K:1 write:0:4K:2 2>"$tmp/far-io.log" &
far_client=$!
cleanup_fn stop $!
wait_until 20 test -d "$tmp/slow"
kill_server
mv "$tmp/next.sock" "$tmp/near.sock"

# --- Killed under load -------------------------------------------------------

# start_file_server [one]: "one" connection is to serve all handlers
start_file_server()
{
	if [ -n "${1-}" ]; then
		start_server server --filter=multi-conn file "$disks/disk" multi-conn-mode=disable
	else
		start_server server file "$disks/disk"
	fi
}

for mode in "" one; do
	echo "server killed under load, connections: ${mode:-two}"
	start_file_server $mode
	start_backend 1 --handlers 2 --write-through "$server_uri"
	start_nbdkit cbd "$transport" backend=1 queues=4
	start_random_io
	wait_for_answers 200
	kill_server
	start_file_server $mode
	wait_for_answers 200
	stop_random_io
	stop "$nbdkit_pid"
	stop_backend 1
	stop "$server_pid"
	cmp "$disks/image" "$disks/disk"
	if grep 'error: .* bytes at' "$tmp/nbdkit.log"; then fail "requests have failed"; fi
	grep -q 'connected again' "$tmp/backend-1.log" || fail "it has not lost a connection"
	! grep 'may be lost' "$tmp/backend-1.log" || fail "a loss of what is durable"
done

# --- What was not flushed ---------------------------------------------------

pause()
{
	wait_until 20 test -e "$tmp/pause" || fail "it does not come so far"
}

# client REQUEST...: until its pause
client()
{
	rm -f "$tmp/pause"
	"$nbd_io" "$uri" "$@" 2>"$tmp/client.log" &
	client_pid=$!
	cleanup_fn stop $!
	pause
}

client_ends()
{
	local status=0

	rm "$tmp/pause"
	wait "$client_pid" || status=$?
	[ $status -eq 0 ] || fail "the client: $(cat "$tmp/client.log")"
}

start_file_server
start_backend 1 --handlers 2 "$server_uri"
# one queue: each may report a loss once (libcbd, cbd_verifier_seen())
start_nbdkit cbd "$transport" backend=1

echo "nothing to lose"
client write:0:1M:1 flush pause:"$tmp/pause" flush write:0:4K:2 flush
kill_server
start_file_server
client_ends

echo "server killed: one error"
client write:0:1M:3 pause:"$tmp/pause" fails:EIO:flush flush read:0:1M:3
kill_server
start_file_server
client_ends

echo "backend stopped in order: no error"
client write:0:1M:5 pause:"$tmp/pause" flush read:0:1M:5
stop_backend 1
start_backend 1 --handlers 2 "$server_uri"
client_ends
! grep 'may be under way' "$tmp/backend-1.log" || fail "it waits after a stop in order"

echo "backend replaced: no error"
client write:0:1M:6 pause:"$tmp/pause" flush read:0:1M:6
old=${backend_pids[1]}
start_backend 1 --takeover --handlers 2 "$server_uri"
wait_until 20 gone "$old" || fail "the old process stays"
client_ends
! grep 'may be under way' "$tmp/backend-1.log" || fail "it waits after a take-over"

# The server executes a write of the killed backend late: what came after it stays.  Its
# first write takes 3 s, and the others nothing.
start_late_server()
{
	start_server late eval thread_model='echo parallel' get_size='echo 1M' \
		can_write='exit 0' can_multi_conn='exit 0' \
		pread="dd if='$disks/late' iflag=skip_bytes,count_bytes skip=\$4 count=\$3 \
			status=none" \
		pwrite="first=
			if mkdir '$tmp/first' 2>/dev/null; then first=yes; sleep 3; fi
			dd of='$disks/late' oflag=seek_bytes conv=notrunc seek=\$4 status=none
			[ -z \"\$first\" ] || touch '$tmp/first/done'"
}

echo "an old write"
truncate -s 1M "$disks/late"
normal=("$server_pid" "$server_uri" "$nbdkit_pid")
mv "$socket" "$tmp/normal.sock"
start_late_server
start_backend 2 --write-through "$server_uri"
start_nbdkit cbd "$transport" backend=2
"$nbd_io" "$uri" write:0:4K:1 write:0:4K:2 pause:"$tmp/late" read:0:4K:2 \
	2>"$tmp/late-client.log" &
late_client=$!
cleanup_fn stop $!
wait_until 20 test -d "$tmp/first"
kill_backend 2
start_backend 2 --write-through "$server_uri"
late=("$server_pid" "$nbdkit_pid")

echo "backend killed: one error"
server_pid=${normal[0]} server_uri=${normal[1]} nbdkit_pid=${normal[2]}
uri="nbd+unix:///?socket=$tmp/normal.sock"
client write:0:1M:7 pause:"$tmp/pause" fails:EIO:flush flush read:0:1M:7
kill_backend 1
start_backend 1 --handlers 2 "$server_uri"
client_ends
grep -q 'may be under way' "$tmp/backend-1.log" || fail "it does not wait for the old writes"

wait_until 20 test -e "$tmp/late" || fail "the client does not come so far"
wait_until 20 test -e "$tmp/first/done" || fail "the old write is not executed"
rm "$tmp/late"
wait "$late_client" || fail "an old write after a newer one: $(cat "$tmp/late-client.log")"
stop "${late[1]}"
stop_backend 2
stop "${late[0]}"

echo "server gone, then the backend told to end"
client write:0:1M:8 flush pause:"$tmp/pause"
kill_server
client_ends
stop_backend 1
stop "$nbdkit_pid"

# --- A flush that nobody asked for -------------------------------------------

# To take a new size the backend flushes. The server tells of a failure only once, so the
# client has to hear of it.
echo "flush for a new size fails: one error"
echo 8M >"$tmp/size"
start_eval_server failing "$disks/disk" get_size="cat '$tmp/size'" \
	pwrite="$(write_to "$disks/disk")" \
	flush="[ ! -e '$tmp/fail' ] || { rm '$tmp/fail'; echo EIO >&2; exit 1; }"
start_backend 1 "$server_uri"
start_nbdkit cbd "$transport" backend=1
client write:0:4K:1 pause:"$tmp/pause" fails:EIO:flush flush read:0:4K:1
touch "$tmp/fail"
echo 12M >"$tmp/size"
kill -HUP "${backend_pids[1]}"
wait_until 20 grep -q 'has 12582912 bytes now' "$tmp/backend-1.log" ||
	fail "the new size is not followed"
[ ! -e "$tmp/fail" ] || fail "no flush has failed"
client_ends
stop "$nbdkit_pid"

# --- The server behind the server --------------------------------------------

wait_until 20 gone "$far_client" || fail "the client behind two servers does not end"
wait "$far_client" || fail "the client behind two servers: $(cat "$tmp/far-io.log")"
wait_until 20 test -e "$tmp/far-done"
"$nbd_io" "$far_uri" read:0:4K:2 || fail "an old write came after a newer one"
stop "$far_nbdkit"
stop_backend 3
stop "$next_pid"
