#!/bin/bash
# mutants.sh [NAME...]: libcbd with one write-back, invalidate, fence or check taken out
# is linked with the simulator, which has to find it. Without a name all of the file
# "mutants". Prints a line for each: killed (by what) or SURVIVED. The status is 0 when
# those that survived are the ones that README.md explains.
set -u
here=$(dirname "$(readlink -f "$0")")
top=$here/../..
build=${abs_top_builddir:-$top/build}
sim=$build/tests/sim
steps=${SIM_STEPS:-12000000}
expected=${SIM_SURVIVORS-claim-tie-lower-index sweep-no-write-back}

export work
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r "$top/libcbd" "$top/include" "$work"

wraps=()
while IFS= read -r option; do
	wraps+=("$option")
done < <(sed -n 's/^\t\(-Wl,--wrap=[a-z0-9_]*\).*/\1/p' "$here/Makefile.am")
flags=(-std=gnu11 -O1 -g -w -pthread -D_GNU_SOURCE -DCBD_TEST_HOOKS
	-DCBD_CPU_IMPL='"cpu-sim.h"' -I"$build" -I"$work/include" -I"$work/libcbd" -I"$here")
libs=(-lblkid -ldaxctl -lisal -lpmem -luuid)

# Of a source that alone; of a header all, because any may include it.
compile() # FILE of libcbd
{
	local sources=("$work/libcbd/$1")

	rm -f "$work"/*.o
	case $1 in
	*.h) sources=("$work"/libcbd/*/*.c) ;;
	esac
	# shellcheck disable=SC2016 # sh expands it
	printf '%s\n' "${sources[@]}" |
		xargs -P 2 -I{} sh -c 'gcc "$@" -c {} -o "$work/$(basename {} .c).o"' - "${flags[@]}"
}

run() # PROGRAM TIME: what has failed
{
	local rc=0

	# what was compiled here stands before the same of the library
	gcc -pthread -rdynamic -o "$work/$1" "$sim/$1.o" "$work"/*.o "$sim/.libs/libcbd-sim.a" \
		"${wraps[@]}" "${libs[@]}" || return 9
	SIM_STEPS=$steps timeout "$2" "$work/$1" >"$work/out" 2>&1 || rc=$?
	sed -n 's/^FAIL seed \([0-9]*\), .* ms, [^:]*: /seed \1: /p' "$work/out" | head -n 1
	return $rc
}

unexpected=0
while IFS=$'\t' read -r name file script; do
	case $name in '#'*) continue ;; esac
	if [ $# -gt 0 ] && [[ " $* " != *" $name "* ]]; then
		continue
	fi
	original=$work/libcbd/$file
	cp "$original" "$work/original"
	sed -i "$script" "$original"
	if cmp -s "$original" "$work/original"; then
		echo "$name: the script changes nothing"
		unexpected=$((unexpected + 1))
		continue
	fi
	compile "$file"
	how=$(run random 120) && how=$(run systematic 300)
	rc=$?
	cp "$work/original" "$original"
	if [ $rc -eq 9 ]; then
		echo "$name: does not link"
		unexpected=$((unexpected + 1))
		continue
	fi
	if [ $rc -ne 0 ]; then
		echo "$name: killed; ${how:-status $rc}"
		continue
	fi
	echo "$name: SURVIVED"
	[[ " $expected " == *" $name "* ]] || unexpected=$((unexpected + 1))
done <"$here/mutants"
exit $unexpected
