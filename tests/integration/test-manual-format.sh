#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Every structure, offset, size and number of cbd-format.h is what cbd-format(5) says.

. "$(dirname "$0")/functions.sh"

requires_program python3 cc

manuals=$(dirname "$0")/manuals.py
"$manuals" offsets "${abs_top_srcdir:?}" >"$tmp/offsets.c"
cc -I"$abs_top_srcdir/include" -o "$tmp/offsets" "$tmp/offsets.c"
"$tmp/offsets" | "$manuals" format "$abs_top_srcdir"
