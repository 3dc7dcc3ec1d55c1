#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Blkdev and backend that are both lied to, in virtual time: fuzz-pair.c.

. "$(dirname "$0")/fuzz.sh"

fuzz pair
