#!/bin/sh
# One case of smoke.sh: real block devices as the disk of a backend.
exec "${0%/*}/smoke.sh" block
