#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Several backends can share a disk that all of them only read; a writer keeps the
# others out, and they keep a writer out.

. "$(dirname "$0")/functions.sh"

requires_program nbdkit

format_transport transport
make_disk "$disks/disk" 16M
start_backend 1 --read-only "$disk"
start_backend 2 --read-only "$disk"
expect 1 "$disk: is in use by another process" cbd-backend -t "$transport" --id 3 "$disk"
