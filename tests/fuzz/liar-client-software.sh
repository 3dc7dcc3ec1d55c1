#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# What liar-client.sh does, in software mode; in a build with hooks the liar is on another
# host.

LIAR_KIND=software
LIAR_SECONDS=${LIAR_SECONDS:-0.3}
LIAR_HOST=this
! grep -q '^#define CBD_TEST_HOOKS 1' "${abs_top_builddir:?}/config.h" || LIAR_HOST=other
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/liar-client.sh"
