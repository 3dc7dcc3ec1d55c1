#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# cbd-bench --help and cbd-bench(1) have the same options, in the synopsis too, and
# cbd-bench understands them.

. "$(dirname "$0")/options.sh"

manual=${abs_top_srcdir:?}/bench/cbd-bench.pod
help=$(help_options cbd-bench)
same "cbd-bench --help" "$help" "$manual" \
	"$(manual_section "$manual" OPTIONS | item_options)"
same "cbd-bench --help" "$(grep -vx -e --transport <<<"$help")" "the synopsis" \
	"$(manual_section "$manual" SYNOPSIS | synopsis_options)"
for option in $help; do
	understood "$option" cbd-bench
done
expect 0 "" cbd-bench --version
grep -qE '^cbd-bench [0-9]+\.[0-9]+\.[0-9]+ \(libcbd [0-9.]+\)$' "$tmp/expect.out" ||
	fail "--version: $(cat "$tmp/expect.out")"
expect 2 "the transport is missing" cbd-bench --backend 1
expect 2 "no kind of load 'all'" cbd-bench --rw all
expect 2 "must be a whole number" cbd-bench --block-size 4q
