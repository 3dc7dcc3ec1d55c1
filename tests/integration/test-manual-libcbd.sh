#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The functions of cbd.h are those of libcbd.syms, of the library and of libcbd(3), which
# tells of every member, enumerator and macro too.

. "$(dirname "$0")/options.sh"

requires_program python3 nm

"$(dirname "$0")/manuals.py" api "${abs_top_srcdir:?}"
same "libcbd.so" "$(nm -D --defined-only "${abs_top_builddir:?}/libcbd/.libs/libcbd.so" |
	awk '$2 ~ /[TDBR]/ { sub(/@.*/, "", $3); print $3 }' | grep ^cbd_ | sort)" \
	libcbd.syms "$(sed -nE 's/^\t\t(cbd_[a-z_]+);/\1/p' "$abs_top_srcdir/libcbd/libcbd.syms" | sort)"
