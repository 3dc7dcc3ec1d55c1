#!/bin/bash
# mutants.sh [NAME...]: libcbd with one check of what a peer wrote taken out is linked with
# the unit tests that have to find it. Without a name all of the file "mutants". Prints a
# line for each: killed (by which test) or SURVIVED. The status is 0 when those that
# survived are the ones of which docs/testing.md says why.
#
# The unit tests are built in the build folder: make -C tests/unit check TESTS=
set -u
here=$(dirname "$(readlink -f "$0")")
top=$here/../..
build=${abs_top_builddir:-$top/build}
units=$build/tests/unit
expected=${FUZZ_SURVIVORS-leave-epoch}
# shellcheck source-path=SCRIPTDIR
. "$top/tests/factor.sh"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r "$top/libcbd" "$top/include" "$work"

flags=(-std=gnu11 -O1 -g -w -pthread -include "$build/config.h" -D_GNU_SOURCE
	-I"$build" -I"$work/include" -I"$work/libcbd")
libs=(-lcheck -lblkid -ldaxctl -lisal -lpmem -luuid -lsubunit -lm -lrt)

objects() # TEST: what it is linked of, beside libcbd
{
	sed -n "s/^test_$1_SOURCES = *//p" "$here/../unit/Makefile.am" | tr ' ' '\n' |
		sed -n "s,^\(.*\)\.c\$,$units/\1.o,p"
}

# What the tests say that has failed; status 9: it cannot be linked.
run() # TEST...
{
	local test rc
	local -a with

	for test; do
		mapfile -t with < <(objects "$test")
		gcc -pthread -o "$work/test" "${with[@]}" "$work/mutant.o" \
			"$build/libcbd/.libs/libcbd-internal.a" "${libs[@]}" || return 9
		rc=0
		timeout "$(patience 5)" "$work/test" >"$work/out" 2>&1 || rc=$?
		[ $rc -ne 0 ] || continue
		[ $rc -ne 124 ] || { echo "test-$test: hangs" && return 1; }
		echo "test-$test: $(sed -n 's/.*:[EF]:[^:]*:\([a-z_0-9]*\):.*/\1/p' "$work/out" |
			head -n 1)"
		return 1
	done
}

survived=0
killed=0
while IFS=$'\t' read -r name file script tests; do
	case $name in '#'*) continue ;; esac
	if [ $# -gt 0 ] && [[ " $* " != *" $name "* ]]; then
		continue
	fi
	sed "$script" "$work/libcbd/$file" >"$work/libcbd/${file%/*}/mutant.c"
	rc=0
	how=
	if cmp -s "$work/libcbd/$file" "$work/libcbd/${file%/*}/mutant.c"; then
		echo "$name: the script changes nothing"
		survived=$((survived + 1))
		continue
	fi
	gcc "${flags[@]}" -c "$work/libcbd/${file%/*}/mutant.c" -o "$work/mutant.o" || rc=9
	rm "$work/libcbd/${file%/*}/mutant.c"
	# shellcheck disable=SC2086 # several words
	[ $rc -ne 0 ] || how=$(run $tests) || rc=$?
	case $rc in
	0)
		echo "$name: SURVIVED"
		[[ " $expected " == *" $name "* ]] || survived=$((survived + 1))
		;;
	9)
		echo "$name: does not compile or link"
		survived=$((survived + 1))
		;;
	*)
		echo "$name: killed; $how"
		killed=$((killed + 1))
		;;
	esac
done <"$here/mutants"
echo "$killed killed, $survived not expected to survive"
[ $survived -eq 0 ]
