#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Killed at each step of a detach, a stop, a take-over, a clear: hardware mode.

. "$(dirname "$0")/steps.sh"

steps_test hardware 'detach|abandon|let_go|stop_backend_in_order|leave_host|takeover|hand_over|clear_gone|clear_stopped|clear_left|resize'
