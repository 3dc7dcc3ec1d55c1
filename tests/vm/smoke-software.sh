#!/bin/sh
# One case of smoke.sh: two hosts, memory of kind software.
exec "${0%/*}/smoke.sh" software
