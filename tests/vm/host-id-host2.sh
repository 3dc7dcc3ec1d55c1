# The clone: no program of it may attach while the original beats, until the
# clone has an id of its own.
# shellcheck shell=bash

# shellcheck source=guest-lib.sh
. /lab/guest-lib.sh

refused() # COMMAND...
{
	local rc=0

	timeout "$(limit 60)" "$RUN" "$@" 2>/run/refusal || rc=$?
	cat /run/refusal
	[ "$rc" = 1 ] || die "$1 ended with $rc, it was not refused"
	grep -qi 'host.id' /run/refusal ||
		die "$1 does not name the host id as the reason"
}

need_build
clone_machine
new_disk /run/disk.img
wait_flag original-runs
refused cbd-backend -t "$dev" --id 2 -f /run/disk.img
refused nbdkit -f -U /run/cbd.sock cbd transport="$dev" backend=1
raise_flag clone-refused

wait_flag original-unharmed
new_host_id
start_backend 2 /run/disk.img
raise_flag clone-admitted
wait_flag both-seen
stop_backend
