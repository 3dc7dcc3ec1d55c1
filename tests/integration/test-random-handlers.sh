#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Random I/O against a shadow copy: several handlers, polling of all kinds on both
# sides, few slots in the rings.

. "$(dirname "$0")/random.sh"

operations=$((operations / 2))
format_transport transport --depth 2 --force
random_round 4 "$memory" uring --handlers 4 --poll sleep
format_transport transport --depth 4096 --channel-size 2M --size 48M --force
random_round 4 "$memory" psync --handlers 3 --write-through
