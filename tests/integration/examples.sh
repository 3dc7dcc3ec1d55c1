# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
#
# examples.sh - runs the examples of a manual as they are printed, but for the names of
# places: devices and system folders become files below those of the test. Sourced by
# the tests test-examples-*.sh.

# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/functions.sh"

requires_program nbdkit jq python3

scratch=$disks/scratch
shared=$memory/dax0.0

# examples POD: finds them; each later "example NAME" runs one
examples()
{
	mkdir -p "$tmp/examples" "$scratch" "$tmp/run" "$disks/srv" "$disks/vg0" "$disks/images"
	"$(dirname "${BASH_SOURCE[0]}")/pod-examples.py" "${abs_top_srcdir:?}/$1" \
		"$tmp/examples" >"$tmp/names"
	sed -i -e "s,/dev/shm/,$memory/,g" -e "s,/dev/dax0\.0,$shared,g" \
		-e "s,/run/,$tmp/run/,g" -e "s,/etc/cbd,$tmp/etc/cbd,g" \
		-e "s,/dev/vg0/,$disks/vg0/,g" -e "s,/srv/,$disks/srv/,g" \
		-e "s,/var/lib/disks/,$disks/images/,g" "$tmp/examples"/*
}

# format_shared: what stands for the device, as a manual assumes it
format_shared()
{
	rm -f "$shared"
	cbdctl format --size 64M --heartbeat 100 "$shared" >"$tmp/format.log"
	transport=$shared
}

# example NAME: in $scratch; its output is in $tmp/NAME.log
example()
{
	grep -qx "$1" "$tmp/names" || fail "the manual has no example '$1'"
	sed -i "/^$1\$/d" "$tmp/names"
	(cd "$scratch" && timeout "$(limit 120)" bash -eu -o pipefail "$tmp/examples/$1") \
		>"$tmp/$1.log" 2>&1 || fail "the example '$1' ends with status $?"
}

# all_run: no example was forgotten
all_run()
{
	[ ! -s "$tmp/names" ] || fail "not run: $(cat "$tmp/names")"
}

# stop_daemons: those that an example has left, clients first. They are known by the
# places of this test in their command lines.
stop_daemons()
{
	local program dir status=0

	for program in nbdkit cbd-backend; do
		for dir in /proc/[0-9]*; do
			grep -qsF -e "$tmp/" -e "$memory/" "$dir/cmdline" || continue
			[ "$(cat "$dir/comm" 2>/dev/null)" != $program ] ||
				stop "${dir#/proc/}" || status=1
		done
	done
	return $status
}
cleanup_fn stop_daemons
