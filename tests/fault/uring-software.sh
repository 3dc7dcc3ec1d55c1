#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Random faults: engine uring, software mode.

. "$(dirname "$0")/common.sh"

fault_test --engine uring --software "$@"
