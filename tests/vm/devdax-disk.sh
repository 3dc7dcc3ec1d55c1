#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154 # what functions.sh sets
#
# A devdax device as the disk, in a guest that has one; the transport is a file there.
# By hand: build/run tests/vm/devdax-disk.sh (a minute of CPU time; on a busy machine with
# LAB_TIMEOUT=600). LAB_KERNEL and LAB_DEV as of lab.sh.

set -eu -o pipefail
here=$(cd "$(dirname "$0")" && pwd -P)

if [ "${1-}" != guest ]; then
	work=$(mktemp -d /var/tmp/cbd-devdax.XXXXXX)
	trap 'rm -rf "$work"' EXIT
	cat >"$work/guest.sh" <<-END
		#!/bin/sh
		exec '${abs_top_builddir:?run it with "run", of the build folder}/run' \
			bash '$here/devdax-disk.sh' guest
	END
	chmod +x "$work/guest.sh"
	export LAB_RUN=$work/lab
	status=0
	"$here/lab.sh" run "$work/guest.sh" || status=$?
	cat "$work/lab/node-1/out" || true
	exit $status
fi

export CBD_TEST_MOUNTS=own CBD_TEST_FACTOR=6
# shellcheck disable=SC2154 # of functions.sh
# shellcheck source-path=SCRIPTDIR source=../integration/crash.sh
. "$here/../integration/crash.sh"

disk=/dev/dax0.0
size=$(cat /sys/bus/dax/devices/dax0.0/size)
format_transport transport
start_backend 1 --handlers 2 "$disk"
! grep 'not known to be persistent' "$tmp/backend-1.log" ||
	[ "${LAB_DEV:-nvdimm}" != nvdimm ] || fail "an NVDIMM is taken for volatile"
cbdctl list -B --id 1 "$transport" |
	jq -e ".[0] | .size == $size and (.discard | not)" >/dev/null || fail "geometry"
expect 1 "is in use by another process: backend 1 serves it" \
	cbd-backend -f -t "$transport" --id 2 "$disk"
start_nbdkit cbd "$transport" backend=1 queues=2
"$nbd_io" "$uri" write:0:64K:1:fua zero:4K:4K zero:12K:1000 fails:EINVAL:trim:16K:4K flush \
	read:0:4K:1 read:4K:4K:0 read:12K:1000:0 read:16K:4K:1 write:509M:4K:9
# killed while somebody writes, who sees nothing of it
writes()
{
	local i

	for ((i = 1; i <= 20; i++)); do
		"$nbd_io" "$uri" "write:200M:1M:$i" "read:200M:1M:$i"
		echo "$i" >"$tmp/written"
	done
}
writes &
writer=$!
cleanup_fn stop $!
wait_until 20 test -s "$tmp/written"
kill_backend 1
start_backend 1 --handlers 2 "$disk"
wait "$writer" || fail "a write has failed"
[ "$(cat "$tmp/written")" -eq 20 ] || fail "not all was written"
"$nbd_io" "$uri" write:100M:64K:7
stop "$nbdkit_pid"
stop_backend 1
start_backend 1 "$disk"
start_nbdkit cbd "$transport" backend=1
"$nbd_io" "$uri" read:100M:64K:7
stop "$nbdkit_pid"
stop_backend 1

for engine in psync uring; do
	expect 1 "a devdax device is served by the engine mmap" \
		cbd-backend -f -t "$transport" --id 1 --engine $engine "$disk"
done
expect 1 "there is no page cache to go around" \
	cbd-backend -f -t "$transport" --id 1 --direct "$disk"
expect 1 "is a character device, and no devdax one" \
	cbd-backend -f -t "$transport" --id 1 /dev/null
cbdctl format --force --heartbeat 100 "$disk" >"$tmp/format.json"
expect 1 "is a cbd transport (cbdctl list), not a disk" \
	cbd-backend -f -t "$transport" --id 1 "$disk"
echo "a devdax device is a disk"
