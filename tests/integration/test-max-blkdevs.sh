#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A backend takes as many clients as --max-blkdevs says. The reason for a refusal
# reaches the user of nbdkit.

. "$(dirname "$0")/functions.sh"

requires_program nbdkit jq

# second_nbdkit ARGUMENT...: does I/O and ends
second_nbdkit()
{
	timeout "$(limit 20)" nbdkit -U - cbd "$transport" "$@" --run "'$nbd_io' \"\$uri\" read:0:1M:1"
}

format_transport transport
make_disk "$disks/disk" 16M
start_backend 1 "$disk"
start_nbdkit cbd "$transport" backend=1
"$nbd_io" "$uri" write:0:1M:1
expect 1 "backend 1: has its maximum of blkdevs attached" second_nbdkit backend=1
# the first one has not noticed
"$nbd_io" "$uri" read:0:1M:1
stop "$nbdkit_pid"
second_nbdkit backend=1
stop_backend 1

start_backend 1 --max-blkdevs 2 "$disk"
start_nbdkit cbd "$transport" backend=1 queues=2
second_nbdkit backend=1 queues=2
cbdctl list "$transport" | jq -e '(.blkdevs | length == 1) and (.channels | length == 2)' \
	>/dev/null || fail "the second has left something"
expect 1 "backend 1: 3 queues asked, 2 channels are free" second_nbdkit backend=1 queues=3
expect 1 "queues: 5 is more than the 4 channels of a backend" second_nbdkit backend=1 queues=5
# both at the same time
timeout "$(limit 20)" nbdkit -U - cbd "$transport" backend=1 \
	--run "'$nbd_io' \"\$uri\" write:1M:1M:2; '$nbd_io' '$uri' read:1M:1M:2"
stop "$nbdkit_pid"
stop_backend 1

# hosts that are not admitted
start_backend 1 --allow-host 3,5 "$disk"
expect 1 "backend 1: does not admit host 0" second_nbdkit backend=1
stop_backend 1
start_backend 1 --allow-host 3,0 "$disk"
second_nbdkit backend=1
