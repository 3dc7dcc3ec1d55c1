#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The backend's host is rebooted: what was written and not flushed may be gone, so the
# next flush of each connection fails once (rule 8). With --write-through, never.

. "$(dirname "$0")/hosts.sh"

# reboot_test OPTIONS-OF-BACKEND FLUSH...: what the first flush after it is to do
reboot_test()
{
	local options=$1 flush=$2

	format_hosts --coherence "$coherence" --force --force
	make_disk "$disks/disk" 16M
	# shellcheck disable=SC2086 # words
	start_on a 1 backend $options "$disk"
	plugin_on b 1 plugin queues=2
	client one write:0:64K:1 flush write:0:64K:2 pause:"$tmp/p1" "$flush" flush \
		write:0:64K:3 flush pause:"$tmp/p2" flush
	client two pause:"$tmp/p3" "$flush" flush pause:"$tmp/p4" flush
	paused one p1
	paused two p3
	kill_on backend
	# the same machine, another boot: its old claim is void at once
	# shellcheck disable=SC2086 # words
	start_on a 2 backend2 $options "$disk"
	# opened after the loss: it had nothing to lose
	if [ "$flush" != flush ]; then
		wait_until 10 says_loss || true
	fi
	"$nbd_io" "$uri" read:0:64K:2 flush
	rm "$tmp/p1" "$tmp/p3"
	paused one p2
	paused two p4
	# all was flushed: there is nothing to lose this time
	kill_on backend2
	# shellcheck disable=SC2086 # words
	start_on a 3 backend3 $options "$disk"
	rm "$tmp/p2" "$tmp/p4"
	client_ends one
	client_ends two
	expect 0 "" cbdctl check "$transport"
	stop "${pids[plugin]}"
	stop "${pids[backend3]}"
}

# shellcheck disable=SC2317,SC2329 # by its name
says_loss()
{
	says plugin "the next flush of each connection fails"
}

for coherence in hardware software; do
	reboot_test "" fails:EIO:flush
	says_loss
	reboot_test --write-through flush
	if says_loss; then fail "--write-through has lost something"; fi
done
