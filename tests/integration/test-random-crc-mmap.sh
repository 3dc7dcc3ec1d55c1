#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Random I/O against a shadow copy: coherence hardware with CRCs of the payload,
# engine mmap.

. "$(dirname "$0")/random.sh"

random_test mmap --coherence hardware --data-crc
