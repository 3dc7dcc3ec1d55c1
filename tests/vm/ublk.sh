#!/bin/sh
# One case of smoke.sh: cbd-ublk on the kernel's driver.
exec "${0%/*}/smoke.sh" ublk
