#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# make.sh - the transports of this folder, which tests/integration/test-images.sh opens.
#
# Run once for each format version, by its first release, in the build folder, as root:
#     ./run ../tests/images/make.sh
# The images of a version that was released are never made again: a program that cannot
# open them any more is what the test is for.
#
# VERSION-MODE.xz is a transport that two hosts had, with a backend that has stopped in
# order, one that was killed, a blkdev that was killed and one that was closed;
# VERSION-MODE.json is what cbdctl list says of it.

# shellcheck source-path=SCRIPTDIR/../integration
. "$(dirname "$0")/../integration/hosts.sh"

images=$(dirname "$(readlink -f "$0")")
version=1

for mode in hardware software; do
	format_hosts --force --force --coherence $mode --label "image of version $version" --data-crc
	make_disk "$disks/first" 4M
	make_disk "$disks/second" 4M
	start_on a 1 first --name stopped "$disks/first"
	run_on a 1 second cbd-backend -f -t "$transport" --id 1 --name killed --max-blkdevs 2 \
		"$disks/second"
	wait_until 20 says_or_gone second ready
	plugin_on b 1 plugin queues=2
	"$nbd_io" "$uri" write:0:1M:7 flush read:0:1M:7
	stop "${pids[plugin]}"
	plugin_on b 1 plugin
	"$nbd_io" "$uri" read:0:1M:7
	kill_on plugin
	kill_on second
	stop "${pids[first]}"
	xz -9e <"$transport" >"$images/$version-$mode.xz"
	cbdctl list "$transport" | jq -f "$images/lasting.jq" >"$images/$version-$mode.json"
done
