#!/bin/sh
# One case of smoke.sh: two hosts, memory of kind hardware.
exec "${0%/*}/smoke.sh" hardware
