# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
#
# common.sh - an innocent pair beside a liar, and what is watched of it: data, share,
# memory, log. Sourced by the tests of this folder.
#
# Environment: LIAR_SECONDS (of each mode), LIAR_SEED (to repeat a run), LIAR_MODES.

# shellcheck source-path=SCRIPTDIR/../integration
. "$(dirname "${BASH_SOURCE[0]}")/../integration/functions.sh"

requires_program nbdkit jq

liar=${abs_top_builddir:?}/tests/fuzz/liar
innocent=$abs_top_builddir/tests/fuzz/innocent
seconds=${LIAR_SECONDS:-0.6}
seed=${LIAR_SEED:-$SRANDOM}
echo "again: LIAR_SEED=$seed"

# An allocator that keeps what was freed, to find its later use, needs room.
memory_slack_kib=32768
! sanitized || memory_slack_kib=524288
export memory_slack_kib

# --- An innocent client -------------------------------------------------------

declare -A client_pids plugin_pids

# start_plugin NAME [ARGUMENT]...: an nbdkit of its own
start_plugin()
{
	local name=$1
	shift

	rm -f "$tmp/$name.sock" "$tmp/$name.pid"
	: >"$tmp/$name.log"
	nbdkit -f -U "$tmp/$name.sock" -P "$tmp/$name.pid" cbd "$transport" "$@" \
		2>>"$tmp/$name.log" &
	plugin_pids[$name]=$!
	cleanup_fn stop $!
	wait_until 20 plugin_started "$name" || fail "$name: not ready in time"
	[ -s "$tmp/$name.pid" ] || fail "$name: has not started"
}

plugin_started()
{
	[ -s "$tmp/$1.pid" ] || gone "${plugin_pids[$1]}"
}

# start_client NAME [-v]: on the plugin of that name, until it has had 20 answers
start_client()
{
	local name=$1
	shift

	rm -f "$tmp/$name.count"
	"$innocent" "$@" "$tmp/$name.count" "nbd+unix:///?socket=$tmp/$name.sock" \
		2>"$tmp/$name-client.log" &
	client_pids[$name]=$!
	cleanup_fn stop $!
	advances "$name" 20
}

# requests NAME: how many it has had
requests()
{
	local n

	{ read -r n _ <"$tmp/$1.count"; } 2>/dev/null || n=0
	echo $((10#${n:-0}))
}

has_had()
{
	gone "${client_pids[$1]}" || [ "$(requests "$1")" -ge "$2" ]
}

# advances NAME N: N more answers come
advances()
{
	local until=$(($(requests "$1") + $2))

	wait_until 20 has_had "$1" "$until" || fail "$1 hangs"
	alive "${client_pids[$1]}" || fail "client of $1: $(cat "$tmp/$1-client.log")"
}

# --- A liar --------------------------------------------------------------------

# Empty, or other_host: by the hooks of --enable-debug a host with a boot of its own, whose
# locks nobody on this one sees.
liar_host=()
# shellcheck disable=SC2034 # liar-client.sh
other_host=(env CBD_TEST_HOST_UUID=b0000000000000000000000000000000
	CBD_TEST_BOOT_ID=b0000000000000000000000000000001)

# start_liar MODE BACKEND [OPTION]...: in the background, until it has begun
start_liar()
{
	local mode=$1 id=$2
	shift 2

	"${liar_host[@]}" "$liar" -s "$seed" "$@" "$mode" "$transport" "$id" >"$tmp/liar.out" \
		2>"$tmp/liar.err" &
	liar_pid=$!
	cleanup_fn stop $!
	wait_until 20 liar_began || fail "$mode: the liar does not begin"
	[ -s "$tmp/liar.out" ] || fail "$mode: $(cat "$tmp/liar.err")"
}

liar_began()
{
	[ -s "$tmp/liar.out" ] || gone "$liar_pid"
}

end_liar()
{
	kill -9 "$liar_pid"
	wait "$liar_pid" 2>/dev/null || true
}

# --- What is watched -------------------------------------------------------------

# private_kib PID: memory that is its own
private_kib()
{
	awk '/^RssAnon:/ { print $2 }' "/proc/$1/status"
}

lines()
{
	wc -l <"$tmp/$1.log"
}
