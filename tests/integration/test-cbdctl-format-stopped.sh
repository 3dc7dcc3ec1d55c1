#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Of two that format one new file the one that made it comes last to its lock: what the
# other one has formatted meanwhile stays.

. "$(dirname "$0")/hosts.sh"

file=$memory/new
CBD_TEST_STEP=format-made:stop cbdctl format --backends 1 --channels 2 --size 8M "$file" 2>"$tmp/slow.log" &
slow=$!
cleanup_fn stop $slow
wait_until 20 is_stopped $slow || fail "the step is not reached"
cbdctl format --backends 1 --channels 2 --size 8M "$file" >"$tmp/format.json"
kill -CONT $slow
status=0
wait $slow || status=$?
[ $status -eq 1 ] || fail "the slow one ended with status $status"
says slow "$file: is a cbd transport already"
[ "$(cbdctl list "$file" | jq -r .transport.uuid)" = "$(jq -r .uuid "$tmp/format.json")" ] ||
	fail "it is not that of the other one"
