#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Random I/O against a shadow copy: coherence software, engine mmap.

. "$(dirname "$0")/random.sh"

random_test mmap --coherence software
