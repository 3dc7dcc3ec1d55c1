#!/bin/bash
# guest-power-off.sh HOST: a fence of guests, asks for HOST to be switched off, and
# comes back when it is. What a management processor does of a real machine, remote.sh does,
# on the machine around the guests.

set -eu

: >"/lab/power-off.$1"
until [ -e "/lab/is-off.$1" ]; do
	sleep 0.2
done
