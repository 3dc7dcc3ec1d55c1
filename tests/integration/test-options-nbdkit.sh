#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# nbdkit cbd --help and nbdkit-cbd-plugin(1) have the same parameters, the message
# about an unknown one too, and the plugin knows them.

. "$(dirname "$0")/options.sh"

requires_program nbdkit

manual=${abs_top_srcdir:?}/nbdkit-plugin/nbdkit-cbd-plugin.pod
help=$(nbdkit cbd --help | sed -nE 's/^\[?([a-z-]+)=.*/\1/p' | grep -vx path | sort)
same "nbdkit cbd --help" "$help" "$manual" \
	"$(manual_section "$manual" PARAMETERS | sed -nE 's/^=item \[?B<([a-z-]+)=.*/\1/p' | sort -u)"
same "nbdkit cbd --help" "$help" "the synopsis" \
	"$(manual_section "$manual" SYNOPSIS | grep -oE '[a-z-]+=' | tr -d = | sort -u)"

expect 1 "unknown parameter 'nonsense'; known are " nbdkit cbd nonsense=1
same "nbdkit cbd --help" "$help" "the error message" \
	"$(sed -nE 's/.*known are (.*)/\1/p' "$tmp/expect.err" | tr -d ' ' | tr ',' '\n' | sort)"
