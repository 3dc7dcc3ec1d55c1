#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Killed at each step of a request, and of leaving an epoch: hardware mode.

. "$(dirname "$0")/steps.sh"

steps_test hardware 'leave|renew|plugin_io|backend_io'
