#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Read-only in all ways: the backend, the plugin, nbdkit. A write ends with EPERM,
# and nothing is written.

. "$(dirname "$0")/functions.sh"

requires_program nbdkit nbdinfo

# refuses_writes OPTIONS-OF-NBDKIT: and reads
refuses_writes()
{
	start_nbdkit "$@"
	"$nbd_io" "$uri" read:0:1M:1 fails:EPERM:write:0:1M:2 fails:EPERM:zero:0:1M \
		fails:EPERM:trim:0:1M read:0:1M:1
	nbdinfo --is read-only "$uri" || fail "$*: is not read-only"
	stop "$nbdkit_pid"
}

format_transport transport
make_disk "$disks/disk" 16M
start_backend 1 "$disk"
start_nbdkit cbd "$transport" backend=1
"$nbd_io" "$uri" write:0:1M:1
stop "$nbdkit_pid"
refuses_writes cbd "$transport" backend=1 readonly=true
refuses_writes -r cbd "$transport" backend=1
stop_backend 1

# A disk that cannot be written says what may help.
start_backend 1 --read-only "$disk"
refuses_writes cbd "$transport" backend=1
stop_backend 1
chmod a-w "$disk"
if [ "$(id -u)" -ne 0 ]; then
	expect 1 "$disk: Permission denied (--read-only may do)" \
		cbd-backend -f -t "$transport" --id 1 "$disk"
fi
start_backend 1 -r "$disk"
refuses_writes cbd "$transport" backend=1
cmp -n 1048576 "$disk" <(tr '\0' '\1' </dev/zero)
