#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A machine whose machine-id is no identity - before the first boot is complete, or in an
# image - is told where to write one.

. "$(dirname "$0")/functions.sh"

requires test "$(id -u)" -eq 0
requires unshare -m true

format_transport transport
make_disk "$disks/disk" 16M

# with TEXT COMMAND...: where the machine-id is TEXT, and is all that is in /etc: this
# machine may have none itself, or a host-id
mkdir "$tmp/etc"
with()
{
	printf '%s' "$1" >"$tmp/etc/machine-id"
	shift
	# shellcheck disable=SC2016 # for the inner shell
	unshare -m sh -c 'mount --bind "$1" /etc && shift && exec "$@"' sh "$tmp/etc" "$@"
}

for text in "" uninitialized 00000000000000000000000000000000; do
	expect 1 "not a uuid of 32 hex digits, not all zero; write one to /etc/cbd/host-id" \
		with "$text" cbd-backend -f -t "$transport" --id 1 "$disk"
	one_message
	grep -q "^cbd-backend: /etc/machine-id: " "$tmp/expect.err" || fail "no file is named"
done
expect 0 "" with "" cbdctl list "$transport" # a reader needs none
