# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
#
# hosts.sh - several hosts on one machine, by the hooks of --enable-debug: each has
# an identity and a boot of its own, and does not see the locks of the others.
# Sourced by the tests of hosts that die, hang and come back.

# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/crash.sh"

requires_program nbdkit jq

# on HOST BOOT COMMAND...: HOST and BOOT are one hex digit each
on()
{
	local host=$1 boot=$2
	shift 2

	env CBD_TEST_HOST_UUID="${host}0000000000000000000000000000000" \
		CBD_TEST_BOOT_ID="${host}000000000000000000000000000000$boot" "$@"
}

# A suspicion takes 21 * 50 ms.
format_hosts() # [OPTION]...
{
	format_transport transport --heartbeat 50 --dead-after 20 --hosts 4 "$@"
}

declare -A pids # by name: backend and plugin processes

# run_on HOST BOOT NAME COMMAND...: in the background, with a log of its name
run_on()
{
	local host=$1 boot=$2 name=$3
	shift 3

	env CBD_TEST_HOST_UUID="${host}0000000000000000000000000000000" \
		CBD_TEST_BOOT_ID="${host}000000000000000000000000000000$boot" \
		"$@" 2>"$tmp/$name.log" &
	pids[$name]=$!
	cleanup_fn stop $!
}

says() # NAME TEXT
{
	grep -qF -e "$2" "$tmp/$1.log"
}

says_or_gone()
{
	says "$1" "$2" || gone "${pids[$1]}"
}

# start_on HOST BOOT NAME [OPTION]... DISK: a backend in slot 0, until it is ready
start_on()
{
	local host=$1 boot=$2 name=$3
	shift 3

	run_on "$host" "$boot" "$name" cbd-backend -f -t "$transport" --id 0 "$@"
	wait_until 20 says_or_gone "$name" ": ready, " || fail "$name: not ready in time"
	says "$name" ": ready, " || fail "$name: has not started"
}

# refused_on HOST BOOT TEXT [OPTION]... DISK: a backend that does not start
refused_on()
{
	local host=$1 boot=$2 text=$3
	shift 3

	expect 1 "$text" on "$host" "$boot" timeout "$(limit 30)" \
		cbd-backend -f -t "$transport" --id 0 "$@"
}

# plugin_on HOST BOOT NAME [ARGUMENT]...: until it serves on $tmp/NAME.sock; sets $uri
plugin_on()
{
	local host=$1 boot=$2 name=$3
	shift 3

	uri="nbd+unix:///?socket=$tmp/$name.sock"
	rm -f "$tmp/$name.sock" "$tmp/$name.pid"
	run_on "$host" "$boot" "$name" nbdkit -f -U "$tmp/$name.sock" -P "$tmp/$name.pid" \
		cbd "$transport" backend=0 "$@"
	wait_until 20 plugin_started "$name" || fail "$name: not ready in time"
	[ -s "$tmp/$name.pid" ] || fail "$name: has not started"
}

plugin_started()
{
	[ -s "$tmp/$1.pid" ] || gone "${pids[$1]}"
}

# kill_on NAME: as the death of its host does
kill_on()
{
	kill -9 "${pids[$1]}"
	wait "${pids[$1]}" 2>/dev/null || true
}

# ends_by_itself NAME: with an error
ends_by_itself()
{
	local status=0

	wait_until 20 gone "${pids[$1]}" || fail "$1 goes on"
	wait "${pids[$1]}" || status=$?
	[ $status -eq 1 ] || fail "$1 ended with status $status"
}

# listed KIND FILTER: of "cbdctl list", by jq
listed()
{
	cbdctl list "$transport" 2>/dev/null | jq -e "$1" >/dev/null
}

# --- Clients that wait between two requests ---------------------------------

# client NAME REQUEST...: in the background; pause:$tmp/FILE stops it
client()
{
	local name=$1
	shift

	"$nbd_io" "$uri" "$@" 2>"$tmp/$name.log" &
	pids[$name]=$!
	cleanup_fn stop $!
}

paused() # NAME FILE
{
	wait_until 20 test -e "$tmp/$2" || fail "$1: $(cat "$tmp/$1.log")"
}

client_ends() # NAME
{
	local status=0

	wait_until 20 gone "${pids[$1]}" || fail "client $1 hangs"
	wait "${pids[$1]}" || status=$?
	[ $status -eq 0 ] || fail "client $1: $(cat "$tmp/$1.log")"
}
