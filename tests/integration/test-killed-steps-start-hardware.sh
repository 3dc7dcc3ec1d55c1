#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Killed at each step of a format, a start, an attach: hardware mode.

. "$(dirname "$0")/steps.sh"

steps_test hardware 'format|format_again|first_start|restart|attach|admit|repair'
