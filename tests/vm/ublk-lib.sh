# What the scripts of cbd-ublk in a guest share: both sides are on this host, over
# /dev/dax0.0.
# shellcheck shell=bash

# shellcheck source=/dev/null
. /lab/settings # RUN, SRC, CBD_TEST_FACTOR

# Once more with the programs of the build.
if [ -z "${abs_top_builddir-}" ]; then
	[ -x "$RUN" ] || exit 1
	mkdir -p /etc/cbd
	cat /proc/sys/kernel/random/uuid >/etc/cbd/host-id
	exec "$RUN" bash "$0"
fi

export CBD_TEST_FACTOR
# shellcheck source=../integration/functions.sh
. "$SRC/tests/integration/functions.sh"

transport=/dev/dax0.0
export CBD_UBLK_RUN=$tmp/run
cbdctl format --force --heartbeat 200 --dead-after 50 "$transport" >/dev/null

say()
{
	echo "== $(cut -d' ' -f1 /proc/uptime) s: $*"
}

# For the end: what a test has unmounted by itself is no failure.
unmount()
{
	! mountpoint -q "$1" || umount "$1"
}

# of NAME MEMBER: what the list says
of()
{
	cbd-ublk list "$1" | jq -r ".[0].$2"
}

# serve LOG COMMAND...: cbd-ublk in the foreground; sets $server
serve()
{
	: >"$tmp/$1.log"
	cbd-ublk "${@:2}" -f 2>>"$tmp/$1.log" &
	server=$!
	cleanup_fn stop $!
	wait_until 30 is_ready "$1" || fail "cbd-ublk does not start"
	grep -q ": ready, " "$tmp/$1.log" || fail "cbd-ublk has ended"
}

is_ready() # LOG
{
	grep -q ": ready, " "$tmp/$1.log" || gone "$server"
}

killed()
{
	kill -9 "$server"
	wait "$server" 2>/dev/null || true
}

# ends STATUS: in order
ends()
{
	local status=0

	wait_until 20 gone "$server" || fail "cbd-ublk does not end"
	wait "$server" || status=$?
	[ $status -eq "$1" ] || fail "cbd-ublk ended with status $status"
}
