#!/bin/sh
# By hand: what the kernel puts on a block device, on devices of cbd-ublk.
exec "${0%/*}/smoke.sh" ublk-fs
