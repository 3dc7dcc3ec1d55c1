#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Random faults, between two hosts that boot, and a third that takes over: engine psync,
# software mode. Needs the hooks of --enable-debug.

. "$(dirname "$0")/common.sh"

fault_test --engine psync --hosts --queues 2 --software "$@"
