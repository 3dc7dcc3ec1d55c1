#!/bin/bash
# mutants.sh [NAME...]: libcbd with one check of what a peer wrote taken out is linked with
# the unit tests that have to find it. Without a name all of the file "mutants". Prints a
# line for each: killed (by which test) or SURVIVED. Killed is what a unit test says FAIL
# of, or what dies by a signal in it; a mutant that does not compile or link, and a test
# that does not end or fails without a word, is an error. The status is 0 when those that
# survived are the ones of which docs/testing.md says why, and nothing was an error.
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
files=$(mktemp -d /dev/shm/cbd-mutants.XXXXXX 2>/dev/null) || files=$(mktemp -d)
program=
# shellcheck disable=SC2317,SC2329 # reached through the trap
cleanup()
{
	[ -z "$program" ] || kill "$program" 2>/dev/null && wait "$program" 2>/dev/null
	rm -rf "$work" "$files"
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP
cp -r "$top/libcbd" "$top/include" "$work"

flags=(-std=gnu11 -O1 -g -w -pthread -include "$build/config.h" -D_GNU_SOURCE
	-I"$build" -I"$work/include" -I"$work/libcbd")
libs=(-lcheck -lblkid -ldaxctl -lisal -lpmem -luuid -lsubunit -lm -lrt)

objects() # TEST: what it is linked of, beside libcbd
{
	sed -n "s/^test_$1_SOURCES = *//p" "$here/../unit/Makefile.am" | tr ' ' '\n' |
		sed -n "s,^\(.*\)\.c\$,$units/\1.o,p"
}

# How a test has found the mutant: check(3) appends a line to its log for each that ended.
finding() # TEST
{
	sed -n -e 's/.*:F:[^:]*:\([a-z_0-9]*\):.*/\1/p' \
		-e 's/.*:E:[^:]*:\([a-z_0-9]*\):.*Received \(signal [0-9]*\).*/\1: \2/p' \
		"$work/log" | head -n 1 | sed "s/^/test-$1: /"
}

# execute TEST: until it ends, or has found the mutant; sets $how to what it has found.
# A test that does not end is killed by its limit of CPU seconds (SIGXCPU). The limit of
# the clock is for one that sleeps: a busy machine may use it up without a fault of the
# mutant.
execute()
{
	local rc=0

	: >"$work/log"
	(ulimit -S -t 30 && CK_LOG_FILE_NAME=$work/log CBD_TEST_FOLDER=$files \
		exec timeout -k 10 "$(limit 120)" "$work/test") >"$work/out" 2>&1 &
	program=$!
	how=
	while [ -z "$how" ] && kill -0 $program 2>/dev/null; do
		sleep 0.1
		how=$(finding "$1")
	done
	[ -z "$how" ] || kill $program 2>/dev/null
	wait $program 2>/dev/null || rc=$?
	program=
	[ -n "$how" ] || how=$(finding "$1")
	return $rc
}

run() # TEST...: sets $how to what has failed; 0: nothing, 1: killed, 2: an error
{
	local test rc
	local -a with

	for test; do
		mapfile -t with < <(objects "$test")
		# the library's objects may have bytecode, with which gcc would optimise all of
		# them again for each mutant
		gcc -pthread -fno-lto -o "$work/test" "${with[@]}" "$work/mutant.o" \
			"$build/libcbd/.libs/libcbd-internal.a" "${libs[@]}" >"$work/out" 2>&1 || {
			how="test-$test does not link: $(head -n 1 "$work/out")"
			return 2
		}
		rc=0
		execute "$test" || rc=$?
		[ -z "$how" ] || return 1
		[ $rc -eq 0 ] || {
			how="test-$test ends with status $rc: $(tail -n 1 "$work/out")"
			return 2
		}
	done
}

unexpected=0
killed=0
while IFS=$'\t' read -r name file script tests; do
	case $name in '#'*) continue ;; esac
	if [ $# -gt 0 ] && [[ " $* " != *" $name "* ]]; then
		continue
	fi
	sed "$script" "$work/libcbd/$file" >"$work/libcbd/${file%/*}/mutant.c"
	if cmp -s "$work/libcbd/$file" "$work/libcbd/${file%/*}/mutant.c"; then
		echo "$name: ERROR: the script changes nothing"
		unexpected=$((unexpected + 1))
		continue
	fi
	how=
	rc=2
	if gcc "${flags[@]}" -c "$work/libcbd/${file%/*}/mutant.c" -o "$work/mutant.o"; then
		# shellcheck disable=SC2086 # several words
		run $tests
		rc=$?
	fi
	rm "$work/libcbd/${file%/*}/mutant.c"
	case $rc in
	0)
		echo "$name: SURVIVED"
		[[ " $expected " == *" $name "* ]] || unexpected=$((unexpected + 1))
		;;
	1)
		echo "$name: killed; $how"
		killed=$((killed + 1))
		;;
	*)
		echo "$name: ERROR: ${how:-does not compile}"
		unexpected=$((unexpected + 1))
		;;
	esac
done <"$here/mutants"
echo "$killed killed, $unexpected errors or not expected to survive"
[ $unexpected -eq 0 ]
