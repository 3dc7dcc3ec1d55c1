#!/bin/bash
# mutants.sh [NAME...]: libcbd with one write-back, invalidate, fence or check taken out
# is linked with the simulator, which has to find it. Without a name all of the file
# "mutants". Prints a line for each: killed (by what) or SURVIVED. Killed is what the
# simulator has said FAIL of, or what died by a signal; a program that does not start, does
# not end, or fails without a word is an error. The status is 0 when those that survived are
# the ones that README.md explains, and nothing was an error.
set -u
here=$(dirname "$(readlink -f "$0")")
top=$here/../..
build=${abs_top_builddir:-$top/build}
sim=$build/tests/sim
steps=${SIM_STEPS:-12000000}
expected=${SIM_SURVIVORS-$(sed -n 's/^| \([a-z-]*\) | survives: .*/\1/p' "$here/README.md" | xargs)}

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

# Of a source that alone; of a header all, because any may include it. Two folders have
# files of one name.
compile() # FILE... of libcbd
{
	local sources=() file

	rm -f "$work"/*.o
	for file; do
		case $file in
		*.h)
			sources=("$work"/libcbd/*/*.c)
			break
			;;
		*) sources+=("$work/libcbd/$file") ;;
		esac
	done
	# shellcheck disable=SC2016 # sh expands it
	printf '%s\n' "${sources[@]}" | sort -u |
		xargs -P 2 -I{} sh -c 'gcc "$@" -c {} -o "$work/$(echo {} | tr / -).o"' - "${flags[@]}"
}

# A world that does not end is killed by its limit of CPU seconds (SIGXCPU); TIME is that
# of the clock, which a busy machine uses up without a fault of the mutant.
run() # PROGRAM TIME: what has failed; 0: nothing, 1: killed, 2: an error
{
	local rc=0 how objects=("$sim/$1.o")

	[ "$1" != systematic ] || objects+=("$sim/victims.o")
	# what was compiled here stands before the same of the library
	gcc -pthread -rdynamic -o "$work/$1" "${objects[@]}" "$work"/*.o "$sim/.libs/libcbd-sim.a" \
		"${wraps[@]}" "${libs[@]}" >"$work/out" 2>&1 || {
		echo "does not link: $(head -n 1 "$work/out")"
		return 2
	}
	(ulimit -t 60 && SIM_FIRST=1 SIM_STEPS=$steps exec timeout "$2" "$work/$1") >"$work/out" 2>&1 || rc=$?
	[ $rc -ne 0 ] || return 0
	how=$(sed -n 's/^FAIL seed \([0-9]*\), .* ms, [^:]*: /seed \1: /p' "$work/out" | head -n 1)
	[ -n "$how" ] || how=$(sed -n 's/^seed [0-9]*: died by signal.*/&/p' "$work/out" | head -n 1)
	echo "${how:-$1 ends with status $rc: $(tail -n 1 "$work/out")}"
	[ -n "$how" ] && return 1
	return 2
}

files=() # of libcbd, that the mutant changes
change() # FILE<tab>SCRIPT...; false: a script changes nothing
{
	local fields=() i file

	IFS=$'\t' read -r -a fields <<<"$1"
	files=()
	for ((i = 0; i + 1 < ${#fields[@]}; i += 2)); do
		file=$work/libcbd/${fields[i]}
		cp "$file" "$work/before"
		files+=("${fields[i]}")
		sed -i "${fields[i + 1]}" "$file"
		! cmp -s "$file" "$work/before" || return 1
	done
}

restore()
{
	local file

	for file in "${files[@]}"; do
		cp "$top/libcbd/$file" "$work/libcbd/$file"
	done
}

unexpected=0
while IFS=$'\t' read -r name changes; do
	case $name in '#'*) continue ;; esac
	if [ $# -gt 0 ] && [[ " $* " != *" $name "* ]]; then
		continue
	fi
	if ! change "$changes"; then
		restore
		echo "$name: a script changes nothing"
		unexpected=$((unexpected + 1))
		continue
	fi
	how=''
	rc=2
	if compile "${files[@]}"; then
		how=$(run interleaved 600) && how=$(run random 600) &&
			how=$(SIM_ONLY=calm steps=$((2 * steps)) run random 600) &&
			how=$(run systematic 900)
		rc=$?
	fi
	restore
	case $rc in
	0)
		echo "$name: SURVIVED"
		[[ " $expected " == *" $name "* ]] || unexpected=$((unexpected + 1))
		;;
	1)
		echo "$name: killed; $how"
		;;
	*)
		echo "$name: ERROR: ${how:-does not compile}"
		unexpected=$((unexpected + 1))
		;;
	esac
done <"$here/mutants"
exit $unexpected
