# Functions of the scripts that run in the guests: waiting, flags between the
# two hosts, host identities, daemons. smoke.sh puts this file and the settings
# into the run folder.
# shellcheck shell=bash

set -eEuo pipefail
trap 'echo "host $NODE: line $LINENO: $BASH_COMMAND: failed" >&2' ERR

# shellcheck source=/dev/null
. /lab/settings		# RUN, SRC, CASES, CBD_TEST_FACTOR
export CBD_TEST_FACTOR
# shellcheck source=../factor.sh
. "$SRC/tests/factor.sh"

dev=/dev/dax0.0
disk_size=$((128 << 20))
watched=

say()
{
	echo "== host $NODE, $(cut -d' ' -f1 /proc/uptime) s: $*"
}

die()
{
	echo "host $NODE: $*" >&2
	exit 1
}

cbdctl()
{
	"$RUN" cbdctl "$@"
}

# Waiting is pointless once the other host has failed or a daemon has ended.
check_others()
{
	local rc

	for rc in /lab/node-*/rc; do
		[ ! -e "$rc" ] || [ "$(cat "$rc")" = 0 ] ||
			die "the other host has failed"
	done
	[ -z "$watched" ] || [ -d "/proc/$watched" ] ||
		die "the daemon with pid $watched has ended"
}

# Polls for an event; the bound is for a broken program, not for a slow one.
wait_until() # WHAT COMMAND...
{
	local what=$1 end=$((SECONDS + $(patience 30)))

	shift
	until "$@"; do
		check_others
		[ $SECONDS -lt $end ] || die "waited in vain for $what"
		sleep 0.2
	done
}

raise_flag() # NAME
{
	say "raises $1"
	: >"/lab/flag-$CASE-$1"
}

wait_flag() # NAME
{
	wait_until "flag $1" test -e "/lab/flag-$CASE-$1"
	say "saw $1"
}

# Both guests see the machine-id of the machine that they run on.
new_host_id()
{
	mkdir -p /etc/cbd
	tr -d - </proc/sys/kernel/random/uuid >/etc/cbd/host-id
}

clone_machine()
{
	rm -f /etc/cbd/host-id
	echo 0123456789abcdef0123456789abcdef >/etc/machine-id
}

# A build folder may lie where guests cannot see it.
need_build()
{
	[ -x "$RUN" ] || die "$RUN is not visible in the guest"
}

new_disk() # FILE
{
	rm -f "$1"
	truncate -s "$disk_size" "$1"
}

# How many objects of a listing are alive, of those with the id if it is given.
# What is nested in them, as a backend's blkdevs, does not count.
alive() # OPTION [ID]
{
	cbdctl list "$1" ${2:+--id "$2"} "$dev" |
		jq 'if type == "array" then . else [.] end |
			map(select(.alive == true)) | length'
}

has_alive() # N OPTION [ID]
{
	[ "$(alive "${@:2}")" = "$1" ]
}

# Sets watched to the daemon's pid.
start_backend() # ID DISK [OPTION...]
{
	"$RUN" cbd-backend -t "$dev" --id "$1" "${@:3}" -f "$2" &
	watched=$!
	wait_until "backend $1 to be alive" has_alive 1 -B "$1"
}

stop_backend()
{
	local pid=$watched rc=0

	watched=
	kill -TERM "$pid"
	wait "$pid" || rc=$?
	[ "$rc" = 0 ] || die "cbd-backend ended with $rc"
	say "cbd-backend has ended"
}

# A zombie is gone as well: it holds nothing any more.
gone() # PID
{
	! grep -qs '^State:[[:space:]]*[^Z[:space:]]' "/proc/$1/status"
}
