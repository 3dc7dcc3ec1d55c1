#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# cbd-backend --help and cbd-backend(8) have the same options, and cbd-backend
# understands them.

. "$(dirname "$0")/options.sh"

manual=${abs_top_srcdir:?}/backend/cbd-backend.pod
help=$(help_options cbd-backend)
same "cbd-backend --help" "$help" "$manual" \
	"$(manual_section "$manual" OPTIONS | item_options)"
for option in $help; do
	understood "$option" cbd-backend
done
expect 0 "" cbd-backend --version
grep -qE '^cbd-backend [0-9]+\.[0-9]+\.[0-9]+ \(libcbd [0-9.]+\)$' "$tmp/expect.out" ||
	fail "--version: $(cat "$tmp/expect.out")"
