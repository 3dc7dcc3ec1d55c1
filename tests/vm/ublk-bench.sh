#!/bin/sh
# By hand: cbd-ublk beside nbd-client on nbdkit cbd, in one guest, measured.
exec "${0%/*}/smoke.sh" ublk-bench
