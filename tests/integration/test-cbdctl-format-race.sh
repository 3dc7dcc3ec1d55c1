#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# cbdctl format of one new file by several at once: one makes it, the others say why
# they do not, and what it has made stays. Nobody else's file, and none behind a
# link to nothing, becomes a transport.

. "$(dirname "$0")/functions.sh"

requires_program jq

file=$memory/transport

# together COMMAND-LINE...: at once; their statuses in $tmp/status.N, what they print in
# $tmp/out.N and $tmp/err.N
together()
{
	local i pids=()

	for ((i = 1; i <= $#; i++)); do
		# shellcheck disable=SC2086 # words
		cbdctl format --backends 1 --channels 2 ${!i} "$file" >"$tmp/out.$i" 2>"$tmp/err.$i" &
		pids+=($!)
	done
	for ((i = 1; i <= $#; i++)); do
		statuses[i]=0
		wait "${pids[i - 1]}" || statuses[i]=$?
	done
}

statuses=()
rounds=$(share 20)
for ((round = 0; round < rounds; round++)); do
	rm -f "$file"
	together "--size 8M" "--size 8M" "--size 8M" "--size 8M"
	winner=
	for i in 1 2 3 4; do
		if [ "${statuses[i]}" -eq 0 ]; then
			[ -z "$winner" ] || fail "round $round: $winner and $i have made it"
			winner=$i
		else
			grep -q 'is in use by a process\|is a cbd transport already' "$tmp/err.$i" ||
				fail "round $round: $(cat "$tmp/err.$i")"
		fi
	done
	[ -n "$winner" ] || fail "round $round: nobody has made it"
	[ "$(cbdctl list "$file" | jq -r .transport.uuid)" = "$(jq -r .uuid "$tmp/out.$winner")" ] ||
		fail "round $round: it is not that of the winner"
done

# Those who fail take nothing away that another one has made.
for ((round = 0; round < rounds; round++)); do
	rm -f "$file"
	together "--size 1K" "--size 8M" "--size 1K" "--size 1K"
	if [ "${statuses[2]}" -eq 0 ]; then
		[ "$(cbdctl list "$file" | jq -r .transport.uuid)" = "$(jq -r .uuid "$tmp/out.2")" ] ||
			fail "round $round: what was made is gone"
	else
		grep -q 'is in use by a process' "$tmp/err.2" || fail "round $round: $(cat "$tmp/err.2")"
	fi
done

# A link to nothing.
rm -f "$file"
ln -s "$memory/victim" "$file"
expect 1 "is a symbolic link to what does not exist" cbdctl format --backends 1 --channels 2 --size 8M "$file"
[ ! -e "$memory/victim" ] || fail "a file was made behind the link"
rm "$file"

# A file of somebody else, where everybody may make files.
if [ "$(id -u)" -eq 0 ]; then
	mkdir -m 1777 "$memory/shared"
	install -o nobody -m 666 /dev/null "$memory/shared/trap"
	expect 1 "belongs to user $(id -u nobody), in a folder where everybody may make files" \
		cbdctl format --backends 1 --channels 2 --size 8M --force --force "$memory/shared/trap"
	[ ! -s "$memory/shared/trap" ] || fail "it was formatted"
	# what is the folder owner's, or one's own, is no trap
	install -m 600 /dev/null "$memory/shared/own"
	cbdctl format --backends 1 --channels 2 --size 8M "$memory/shared/own" >"$tmp/out"
	chown nobody "$memory/shared"
	cbdctl format --backends 1 --channels 2 --size 8M "$memory/shared/trap" >"$tmp/out"
fi
