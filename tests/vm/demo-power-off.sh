#!/bin/bash
# demo-power-off.sh HOST: in a guest of demo.sh, asks for HOST to be switched off, and
# comes back when it is. What a management processor does of a real machine, demo.sh does,
# on the machine around the guests.

set -eu

: >"/lab/power-off.$1"
until [ -e "/lab/is-off.$1" ]; do
	sleep 0.2
done
