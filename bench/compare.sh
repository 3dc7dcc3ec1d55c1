#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# compare.sh - cbd beside nbdkit-file-plugin on the same disk file, over NBD on
# a unix socket, in one run: A B A B, medians and the ratio.
#
# Owns its transport, disk and processes, all under names of its own. Prints
# figures and judges nothing: they depend on the machine, and an absolute one
# means little.
#
#   bench/compare.sh [ROUNDS [SECONDS]]      from a build directory
#
# Environment: COHERENCE=hardware|software, ENGINE=psync|uring|auto,
# POLL=adaptive|busy|sleep, DIR (where the disk file lies, /dev/shm).

set -euo pipefail

rounds=${1:-5}
seconds=${2:-3}
coherence=${COHERENCE:-hardware}
engine=${ENGINE:-psync}
poll=${POLL:-adaptive}
run=${abs_top_builddir:-$PWD}/run

[ -x "$run" ] || {
	echo "compare.sh: $run: not there; start it from the build directory" >&2
	exit 1
}
for program in fio jq nbdkit; do
	command -v "$program" >/dev/null || {
		echo "compare.sh: $program: not installed" >&2
		exit 1
	}
done

work=$(mktemp -d "${DIR:-/dev/shm}/cbd-bench.XXXXXX")
transport=$(mktemp -u /dev/shm/cbd-bench-transport.XXXXXX)
backend=

finish() {
	if [ -n "$backend" ]; then
		kill "$backend" 2>/dev/null || true
		wait "$backend" 2>/dev/null || true
	fi
	rm -rf "$work" "$transport"
}
trap finish EXIT

start() {
	"$run" cbdctl format --size 64M --coherence "$coherence" "$transport" >/dev/null
	dd if=/dev/urandom of="$work/disk" bs=1M count=1024 status=none
	"$run" cbd-backend -t "$transport" --id 1 --engine "$engine" --poll "$poll" \
		--pidfile "$work/pid" -f "$work/disk" 2>"$work/log" &
	backend=$!
	for _ in $(seq 200); do
		[ -s "$work/pid" ] && return
		kill -0 "$backend" 2>/dev/null || break
		read -rt 0.05 <> <(:) || true
	done
	cat "$work/log" >&2
	exit 1
}

# job DEPTH BLOCK RW: a fio job file
job() {
	cat >"$work/job" <<-JOB
		[job]
		ioengine=nbd
		uri=\${uri}
		rw=$3
		bs=$2
		iodepth=$1
		size=1G
		time_based
		runtime=$seconds
	JOB
}

# measure NAME DEPTH BLOCK RW: append "IOPS P50us" to $work/NAME
measure() {
	local name=$1 fio="export uri; fio --output-format=json --output=$work/json $work/job"

	job "$2" "$3" "$4"
	case $name in
	cbd) "$run" nbdkit -U - cbd transport="$transport" backend=1 poll="$poll" --run "$fio" ;;
	file) nbdkit -U - file "$work/disk" --run "$fio" ;;
	esac
	jq -r '.jobs[0] | (if .read.iops > 0 then .read else .write end) |
		"\(.iops) \(.clat_ns.percentile["50.000000"] / 1000)"' \
		"$work/json" >>"$work/$name"
}

# median NAME COLUMN
median() {
	cut -d' ' -f"$2" "$work/$1" | sort -g |
		awk '{ v[NR] = $1 } END { print (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2 }'
}

row() {
	rm -f "$work/cbd" "$work/file"
	for _ in $(seq "$rounds"); do
		measure cbd "$1" "$2" "$3"
		measure file "$1" "$2" "$3"
	done
	awk -v what="$3 $2 QD$1" -v a="$(median cbd 1)" -v b="$(median file 1)" \
		-v la="$(median cbd 2)" -v lb="$(median file 2)" 'BEGIN {
		printf "%-22s %9.0f %9.0f %6.2f   %8.1f %8.1f %6.2f\n",
			what, a, b, a / b, la, lb, la / lb }'
}

start
echo "# $coherence kind, engine $engine, poll $poll, $rounds rounds of $seconds s, medians"
echo "#                         IOPS      IOPS             p50 us   p50 us"
echo "#                          cbd      file  ratio       cbd     file  ratio"
for rw in randread randwrite; do
	row 1 4k $rw
	row 32 4k $rw
done
for rw in read write; do
	row 16 128k $rw
done
