# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
#
# fuzz.sh - run a harness on its corpus, and where the compiler has libFuzzer for
# FUZZ_SECONDS longer on what comes of that. Sourced by the tests of this folder.
#
# An input that fails is in the build folder, found-*; as a line of corpus/NAME it stays
# a test. With FUZZ_FOLDER=DIR what a long run has found to be new is kept there.

# shellcheck source-path=SCRIPTDIR/../integration
. "$(dirname "${BASH_SOURCE[0]}")/../integration/functions.sh"

fuzz() # NAME
{
	local name=$1 n=0 line here=${abs_top_builddir:?}/tests/fuzz
	local seconds=${FUZZ_SECONDS:-10} folder=${FUZZ_FOLDER:-$tmp/new}

	mkdir -p "$tmp/corpus" "$folder"
	while IFS= read -r line || [ -n "$line" ]; do
		[[ $line != '#'* ]] || continue
		base64 -d <<<"$line" >"$tmp/corpus/$n"
		n=$((n + 1))
	done <"$(dirname "$0")/corpus/$name"
	[ $n -gt 0 ] || fail "the corpus is empty"
	# A reproduction of a hang takes no longer than its virtual time: seconds.
	# In this process group, which is what make's bound ends, beyond this one.
	timeout --foreground $((seconds + $(limit 120))) "$here/fuzz-$name" \
		-max_total_time="$seconds" -len_control=0 -max_len=1024 -timeout="$(limit 10)" -rss_limit_mb=4096 \
		-print_final_stats=1 -artifact_prefix="$here/found-" "$folder" "$tmp/corpus" \
		>"$tmp/fuzz.log" 2>&1 || {
		grep -vE '^#|NEW_FUNC' "$tmp/fuzz.log"
		fail "an input fails; see docs/testing.md"
	}
	echo "$n inputs; $(sed -n 's/^stat::number_of_executed_units: */executed: /p' \
		"$tmp/fuzz.log")"
}
