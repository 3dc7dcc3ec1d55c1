# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
#
# functions.sh - what the tests of this folder share: preconditions, cleaning up,
# starting the programs, bounded waiting. Sourced by each test.
#
# A test has three places of its own, with names that no other test has:
# $tmp for sockets and logs, $disks on a file system with blocks, and $memory, on
# tmpfs, for transports. All are removed at its end, after the processes that it
# has started.

set -eu -o pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/../factor.sh"
export LC_ALL=C.UTF-8
unset CDPATH

# What a test mounts is seen by this test alone. A mount that other tests saw would be
# copied by their `unshare -m`, and its device be in use until they end, long after this
# test has unmounted it.
if [ -z "${CBD_TEST_MOUNTS-}" ] && unshare --mount true 2>/dev/null; then
	CBD_TEST_MOUNTS=own exec unshare --mount "$BASH" "$0" "$@"
fi
unset CBD_TEST_MOUNTS

# Tests run under make: an answer on stdin would be somebody else's.
exec </dev/null

# --- Preconditions ----------------------------------------------------------

# skip REASON
skip()
{
	echo "$0: $*"
	exit 77
}

# fail REASON
fail()
{
	echo "$0: $*" >&2
	exit 1
}

# requires COMMAND...: the test makes no sense where this fails
requires()
{
	"$@" >/dev/null 2>&1 || skip "'$*' fails"
}

# requires_program NAME...
requires_program()
{
	local name

	for name in "$@"; do
		command -v "$name" >/dev/null || skip "$name is not installed"
	done
}

# --- Cleaning up ------------------------------------------------------------

cleanup_commands=()

# When process PID was started, in ticks since the boot: its number may be another's
# by the time that a test ends.
start_time()
{
	local stat

	stat=$(cat "/proc/$1/stat" 2>/dev/null) || { echo gone && return; }
	stat=${stat##*) }
	cut -d ' ' -f 20 <<<"$stat"
}

# cleanup_fn COMMAND...: at the end of the test, the last one first
cleanup_fn()
{
	if [ "$1" = stop ]; then
		set -- "$1" "$2" "$(start_time "$2")"
	fi
	cleanup_commands+=("$(printf '%q ' "$@")")
}

# shellcheck disable=SC2317,SC2329 # reached through the trap
cleanup()
{
	local status=$? i

	trap - EXIT
	trap '' INT TERM HUP
	set +e
	if [ $status -ne 0 ] && [ $status -ne 77 ]; then
		show_logs
	fi
	for ((i = ${#cleanup_commands[@]} - 1; i >= 0; i--)); do
		# a process that does not end is a failure too
		eval "${cleanup_commands[i]}" || [ $status -ne 0 ] || status=1
	done
	exit $status
}

# shellcheck disable=SC2317,SC2329 # reached through the trap
show_logs()
{
	local log

	for log in "$tmp"/*.log; do
		[ -s "$log" ] || continue
		echo "--- ${log##*/}"
		tail -n 40 "$log"
	done
}

trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

# --- Waiting ----------------------------------------------------------------

# late START SECONDS: whether it is SECONDS after START, on an idle machine
late()
{
	[ $((SECONDS - $1)) -gt "$2" ] && [ $((SECONDS - $1)) -gt "$(patience "$2")" ]
}

# wait_until SECONDS COMMAND...: for a condition, not for a time; as long as an idle
# machine needs
wait_until()
{
	local seconds=$1 start=$SECONDS
	shift

	until "$@"; do
		if late "$start" "$seconds"; then
			echo "$0: waited for $((SECONDS - start)) s in vain for: $*" >&2
			return 1
		fi
		sleep 0.02
	done
}

# Whether it runs: a zombie does not.
alive()
{
	local stat

	{ IFS= read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
	stat=${stat##*) }
	[ "${stat%% *}" != Z ]
}

gone()
{
	! alive "$1"
}

# is_stopped PID: by SIGSTOP
is_stopped()
{
	local stat

	{ IFS= read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
	stat=${stat##*) }
	[ "${stat%% *}" = T ]
}

# stop PID [STARTED]: by SIGTERM, and by SIGKILL if it does not obey
stop()
{
	[ -z "${2-}" ] || [ "$(start_time "$1")" = "$2" ] || return 0
	kill "$1" 2>/dev/null || return 0
	# A stopped one does not see it.  To one that runs SIGCONT is not sent: it takes away
	# the SIGSTOP by which LeakSanitizer looks at a process that ends, and both wait for
	# ever.
	if is_stopped "$1"; then
		kill -CONT "$1" 2>/dev/null || true
	fi
	if ! wait_until 10 gone "$1"; then
		echo "process $1 does not end"
		kill -9 "$1"
		return 1
	fi
}

# stop_pidfile FILE: what a daemon has written there, if it has come so far
stop_pidfile()
{
	[ ! -s "$1" ] || stop "$(cat "$1")"
}

# --- Places -----------------------------------------------------------------

# has_space FOLDER MEGABYTES
has_space()
{
	[ "$(df -Pm "$1" 2>/dev/null | awk 'NR == 2 { print $4 }')" -ge "$2" ] 2>/dev/null
}

# A socket has a short path.
tmp=$(mktemp -d /tmp/cbd-test.XXXXXX)
cleanup_fn rm -rf "$tmp"
disks=$(mktemp -d /var/tmp/cbd-test.XXXXXX)
cleanup_fn rm -rf "$disks"
# In containers /dev/shm may be tiny.
memory=/dev/shm
has_space $memory 512 || memory=/var/tmp
memory=$(mktemp -d $memory/cbd-test.XXXXXX)
cleanup_fn rm -rf "$memory"

# --- The programs -----------------------------------------------------------

# sanitized: the programs are built with AddressSanitizer, which needs terabytes of
# address space, and memory; "run" tells
sanitized()
{
	[[ ${ASAN_OPTIONS-} = *exitcode=99* ]]
}

# share N: of operations, less of them where each is slow
share()
{
	local percent=${CBD_TEST_PERCENT:-100}

	! sanitized || percent=${CBD_TEST_PERCENT:-30}
	echo $(($1 * percent / 100))
}

# format_transport NAME [OPTION]...: sets $transport. The small default makes the
# rings wrap often, and requests wait for space.
format_transport()
{
	transport=$memory/$1
	shift
	cbdctl format --size 24M --channel-size 1M --depth 32 --backends 4 --channels 4 \
		--heartbeat 100 --dead-after 20 "$@" "$transport" >"$tmp/format.json"
}

# disk FILE SIZE: an empty one; sets $disk
make_disk()
{
	disk=$1
	rm -f "$disk"
	truncate -s "$2" "$disk"
}

declare -A backend_pids # by id

# start_backend ID [OPTION]... DISK: on $transport, until it is ready
start_backend()
{
	local id=$1 log=$tmp/backend-$1.log
	shift

	: >"$log"
	cbd-backend -f -t "$transport" --id "$id" "$@" 2>"$log" &
	backend_pids[$id]=$!
	cleanup_fn stop $!
	wait_until 20 backend_started "$id" || fail "backend $id: not ready in time"
	backend_ready "$id" || fail "backend $id: has not started"
}

backend_ready()
{
	grep -q "^cbd-backend: backend $1: ready, " "$tmp/backend-$1.log"
}

# It is ready or never will be.
backend_started()
{
	backend_ready "$1" || gone "${backend_pids[$1]}"
}

# stop_backend ID: in order
stop_backend()
{
	local status=0

	kill "${backend_pids[$1]}"
	wait_until 10 gone "${backend_pids[$1]}" || fail "backend $1: does not stop"
	wait "${backend_pids[$1]}" || status=$?
	[ $status -eq 0 ] || fail "backend $1: ended with status $status"
}

# kill_backend ID: as a crash does
kill_backend()
{
	kill -9 "${backend_pids[$1]}"
	wait "${backend_pids[$1]}" 2>/dev/null || true
}

# start_nbdkit [ARGUMENT]...: in the background, until it serves; sets $nbdkit_pid,
# $socket and $uri
start_nbdkit()
{
	socket=$tmp/nbdkit.sock
	# shellcheck disable=SC2034 # the tests use it
	uri="nbd+unix:///?socket=$socket"
	rm -f "$tmp/nbdkit.pid" "$socket"
	: >"$tmp/nbdkit.log" # appended to, so that a test may empty it
	nbdkit -f -U "$socket" -P "$tmp/nbdkit.pid" "$@" 2>>"$tmp/nbdkit.log" &
	nbdkit_pid=$!
	cleanup_fn stop $!
	wait_until 20 nbdkit_started || fail "nbdkit: not ready in time"
	[ -s "$tmp/nbdkit.pid" ] || fail "nbdkit: has not started"
}

nbdkit_started()
{
	[ -s "$tmp/nbdkit.pid" ] || gone "$nbdkit_pid"
}

programs=${abs_top_builddir:?run it with "run", of the build folder}/tests/integration
# shellcheck disable=SC2034 # the tests use it
random_io=$programs/random-io
# shellcheck disable=SC2034 # the tests use it
nbd_io=$programs/nbd-io

# --- Checking ---------------------------------------------------------------

# As root, whom modes do not keep out: a command goes on without that privilege, as
# the owner of its files.
as_owner=()
if [ "$(id -u)" -eq 0 ]; then
	# shellcheck disable=SC2034,SC2054 # the tests use it; the commas are of an option
	as_owner=(setpriv --inh-caps=-all --bounding-set=-dac_override,-dac_read_search)
fi

# expect STATUS TEXT COMMAND...: ends with STATUS, and says TEXT on stderr
expect()
{
	local status=$1 text=$2 real=0
	shift 2

	"$@" >"$tmp/expect.out" 2>"$tmp/expect.err" || real=$?
	[ $real -eq "$status" ] ||
		fail "$* ended with status $real, not $status: $(cat "$tmp/expect.err")"
	[ -z "$text" ] || grep -qF -e "$text" "$tmp/expect.err" ||
		fail "$* does not say '$text' but: $(cat "$tmp/expect.err")"
	[ -z "${CBD_TEST_TABLE-}" ] || note_case "$status" "$@" >>"$CBD_TEST_TABLE"
}

# one_message: the command that expect() has run said one thing, and nothing beside it
one_message()
{
	[ "$(wc -l <"$tmp/expect.err")" -eq 1 ] ||
		fail "not one message: $(cat "$tmp/expect.err")"
}

# note_case STATUS COMMAND...: a row of the table of bad input, for documents
note_case()
{
	local status=$1
	shift

	printf '%s|%s|%s\n' "$*" "$(paste -sd '/' "$tmp/expect.err")" "$status" |
		sed -e "s,$memory/,,g" -e "s,$memory,/dev/shm,g" -e "s,$disks/,,g" \
			-e "s,$disks,/var/tmp,g" -e "s,$tmp/,,g" -e 's/^timeout [0-9]* //' \
			-e 's/^setpriv [^ ]* [^ ]* /(no rights) /'
}
