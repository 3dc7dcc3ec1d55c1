#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The walk-through of cbd(7): both of its hosts are this one.

. "$(dirname "$0")/examples.sh"

requires_program qemu-img nbdinfo

examples docs/cbd.pod
truncate -s 64M "$shared"
truncate -s 32M "$disks/vg0/data"
qemu-img create -q -f qcow2 "$scratch/debian.qcow2" 16M
example two-hosts
grep -q '32.00 MiB' "$tmp/two-hosts.log" || fail "cbdctl list does not show the disk"
wait_until 10 test ! -e "$tmp/run/cbd-backend-1.pid" || fail "cbd-backend has not stopped"
example one-host
all_run
