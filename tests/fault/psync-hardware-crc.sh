#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Random faults: engine psync, hardware mode with payload CRC.

. "$(dirname "$0")/common.sh"

fault_test --engine psync --data-crc "$@"
