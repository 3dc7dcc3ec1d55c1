#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# cbd-backend is killed again and again while a client does I/O, and started by the
# same command: requests wait, and none fails. Coherence hardware, engine mmap.

. "$(dirname "$0")/crash.sh"

backend_killed_test mmap --coherence hardware
