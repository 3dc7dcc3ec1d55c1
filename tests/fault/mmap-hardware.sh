#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Random faults: engine mmap, hardware mode, three queues.

. "$(dirname "$0")/common.sh"

fault_test --engine mmap --queues 3 "$@"
