#!/bin/bash
# Checks rows of the table `rows` exhaustively: spin makes a program of the
# model, which looks at every state that it can reach.
#
# usage: run.sh           all rows, one line each
#        run.sh ROW...    these; NAME or NAME.model
#        run.sh -l        the names of the rows that are to be run
#
# MODEL_FULL=1: the big bounds too. MODEL_KEEP=1 keeps the folder of a row that
# failed, with the trail that leads to the error.
#
# For one row it exits as automake wants it: 0 passed, 1 failed, 77 skipped, 99
# broken; for several with the worst.

set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd -P)
# shellcheck source-path=SCRIPTDIR
. "$here/../factor.sh"
memory_mb=1900
seconds=60 # of CPU, which others on the machine do not take
depth=1000000
if [ "${MODEL_FULL-}" = 1 ]; then
	memory_mb=12000
	seconds=1200
	depth=4000000
fi
scratch=
failed=

cleanup()
{
	if [ -z "$scratch" ]; then
		return
	fi
	if [ -n "$failed" ] && [ "${MODEL_KEEP-}" = 1 ]; then
		echo "kept: $scratch"
	else
		rm -rf "$scratch"
	fi
}
trap cleanup EXIT

# Without comments; the fields of a row are separated by white space.
table()
{
	grep -Ev '^[[:space:]]*(#|$)' "$here/rows"
}

names()
{
	table | while read -r name _; do
		if [ "${MODEL_FULL-}" = 1 ] || [ "${name#full-}" = "$name" ]; then
			echo "$name"
		fi
	done
}

# What the program found: holds, asserts, hangs; or that it did not get there.
verdict()
{
	local out=$1

	if grep -q '^pan:.*assertion violated' "$out"; then
		echo asserts
	elif grep -q '^pan:.*invalid end state' "$out"; then
		echo hangs
	elif grep -q 'max search depth too small' "$out"; then
		echo "a search that was not deep enough"
	elif grep -q 'errors: 0$' "$out" && ! grep -q 'Search not completed' "$out"; then
		echo holds
	else
		echo "no result"
	fi
}

show_trail()
{
	local row=$1
	shift

	if [ -f model.pml.trail ]; then
		spin "$@" -t -p -g -l model.pml >trail.txt 2>&1 || true
		echo "$row: the last steps:"
		tail -n 60 trail.txt
	fi
}

# One row; prints its result.
check_row()
{
	local row=$1 name model expected switches found states status=0 start
	local -a define=()

	read -r name model expected switches < <(table | awk -v row="$row" '$1 == row') || true
	if [ -z "${name-}" ]; then
		echo "BROKEN $row: there is no such row"
		return 99
	fi
	for switch in $switches; do
		define+=("-D$switch")
	done

	start=$SECONDS
	failed=
	scratch=$(mktemp -d)
	cp "$here/$model.pml" "$scratch/model.pml"
	cd "$scratch"
	if ! spin "${define[@]}" -a model.pml >spin.txt 2>&1 ||
		! gcc -O1 -w -DSAFETY -DCOLLAPSE -DVECTORSZ=2048 -DMEMLIM=$memory_mb \
			-o pan pan.c >gcc.txt 2>&1; then
		cat spin.txt gcc.txt 2>/dev/null || true
		echo "BROKEN $row: the model does not compile"
		cd "$here"
		cleanup
		return 99
	fi
	(
		ulimit -St "$seconds"
		exec timeout "$(limit "$seconds")" ./pan -m$depth -w20
	) >out.txt 2>&1 || status=$?
	found=$(verdict out.txt)
	if [ "$status" = 124 ] || [ "$status" = $((128 + $(kill -l XCPU))) ]; then
		found="no result after $seconds s of CPU"
	fi
	states=$(awk '/states, stored/ { print $1; exit }' out.txt)
	if [ "$found" = "$expected" ]; then
		echo "PASS $row: $found, ${states:-few} states, $((SECONDS - start)) s"
		status=0
	else
		failed=1
		grep -vE '^$|^\(Spin|^Full|^Warning' out.txt | head -n 20
		show_trail "$row" "${define[@]}"
		echo "FAIL $row: $found, expected: $expected"
		status=1
	fi
	cd "$here"
	cleanup
	scratch=
	return $status
}

if [ "${1-}" = -l ]; then
	names
	exit
fi
for tool in spin gcc; do
	if ! command -v "$tool" >/dev/null; then
		echo "SKIP: $tool is missing (Debian package: $tool)"
		exit 77
	fi
done

if [ $# -eq 0 ]; then
	mapfile -t list < <(names)
else
	list=("$@")
fi
worst=0
for row in "${list[@]}"; do
	row=$(basename "$row" .model)
	result=0
	check_row "$row" || result=$?
	if [ "$result" -gt "$worst" ]; then
		worst=$result
	fi
done
exit "$worst"
