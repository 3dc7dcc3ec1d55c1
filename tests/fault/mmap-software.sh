#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Random faults: engine mmap, software mode, two queues.

. "$(dirname "$0")/common.sh"

fault_test --engine mmap --software --queues 2 "$@"
