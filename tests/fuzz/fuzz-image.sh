#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Changed transports under everything that reads one: fuzz-image.c.

. "$(dirname "$0")/fuzz.sh"

fuzz image
