# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
#
# nbd-server.sh - NBD servers whose disk a backend serves. Sourced by the tests of the
# engine nbd.

# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/crash.sh"


# The server is not what is tested, and runs without the sanitizers of nbdkit-cbd-plugin: a
# dd that it runs would end by them.
other_nbdkit=$(PATH=${PATH#"${abs_top_builddir:?}/nbdkit-plugin/uninstalled:"} command -v nbdkit)

# start_server NAME ARGUMENT...: nbdkit on a socket of its own, until it serves; sets
# $server_pid and $server_uri
start_server()
{
	local name=$1 server_socket=$tmp/$1.sock
	shift

	# shellcheck disable=SC2034 # the tests use it
	server_uri="nbd+unix:///?socket=$server_socket"
	rm -f "$tmp/$name.pid" "$server_socket"
	"$other_nbdkit" -f -U "$server_socket" -P "$tmp/$name.pid" "$@" 2>>"$tmp/$name.log" &
	server_pid=$!
	cleanup_fn end_server $! "$(start_time $!)"
	wait_until 20 server_started "$name" || fail "$name: not ready in time"
	[ -s "$tmp/$name.pid" ] || fail "$name: has not started"
}

# end_server PID STARTED: one that has clients waits for them when it is told to end
end_server()
{
	[ "$(start_time "$1")" != "$2" ] || kill -9 "$1"
}

server_started()
{
	[ -s "$tmp/$1.pid" ] || gone "$server_pid"
}

# kill_server: as a crash does
kill_server()
{
	kill -9 "$server_pid"
	wait "$server_pid" 2>/dev/null || true
}

