#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Each step that the source names is in a table of the tests, and is run: its
# scenario belongs to one of them.

. "$(dirname "$0")/steps.sh"

sed -n 's/.*cbd_step("\([a-z-]*\)").*/\1/p' "$abs_top_srcdir"/libcbd/*/*.c | sort -u >"$tmp/source"
[ "$(wc -l <"$tmp/source")" -ge 40 ] || fail "the source has too few steps: is it read?"
awk 'NF { sub(":.*", "", $1); print $1 }' <<<"$step_table" | sort -u >"$tmp/table"
diff "$tmp/source" "$tmp/table" >"$tmp/diff" ||
	fail "steps of the source (<) and of the table (>) differ: $(grep '^[<>]' "$tmp/diff")"

awk 'NF { print $2 }' <<<"$step_table" | sort -u >"$tmp/scenarios"
for kind in hardware software; do
	sed -n "s/^steps_test $kind '\(.*\)'$/\1/p" \
		"$abs_top_srcdir"/tests/integration/test-killed-steps-*-$kind.sh |
		tr '|' '\n' | sort >"$tmp/run"
	diff "$tmp/scenarios" "$tmp/run" >"$tmp/diff" ||
		fail "$kind: scenarios and tests differ: $(grep '^[<>]' "$tmp/diff")"
done
