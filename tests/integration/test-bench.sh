#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# cbd-bench: every kind of load runs and reports as JSON what it did; --verify finds
# what somebody else has written to the disk.

. "$(dirname "$0")/functions.sh"

requires_program jq
format_transport transport --backends 2 --channels 6
make_disk "$memory/disk" 8M
start_backend 1 "$disk"

# bench OPTION...: a short load; its JSON in $tmp/bench.json
bench()
{
	cbd-bench -t "$transport" --backend 1 --ramp 0 --time 1 --json "$@" >"$tmp/bench.json" ||
		fail "cbd-bench $*: status $?"
}

# reports EXPRESSION: which is true of the JSON
reports()
{
	jq -e "$1" "$tmp/bench.json" >/dev/null || fail "not so: $1: $(cat "$tmp/bench.json")"
}

for rw in randread read; do
	bench --rw $rw
	reports '.read.ios > 0 and .write.ios == 0'
done
for rw in randwrite write; do
	bench --rw $rw --depth 40 --fua
	reports '.read.ios == 0 and .write.ios > 0'
done
for rw in randrw rw; do
	bench --rw $rw --verify --queues 2 --threads 2 --depth 4 --idle 2 --block-size 1536 --cpus 0
	reports '.read.ios > .write.ios and .write.ios > 0'
	reports '.read.latency_ns | .min <= .p50 and .p50 <= .p99 and .p99 <= ."p99.9"
		and ."p99.9" <= .max and .min > 0'
done
bench --think 20 --poll sleep
reports '.read.ios <= 50 and .sleeps > 0'
# a pause ends with the time, not after it
timeout "$(limit 30)" cbd-bench -t "$transport" --backend 1 --time 1 --think 60000 --json \
	>"$tmp/bench.json" || fail "cbd-bench --think 60000: status $?"
reports '.read.ios == 0'

# Long enough to be disturbed, and it ends by that.
: >"$tmp/verify.log"
cbd-bench -t "$transport" --backend 1 --verify --time 60 >"$tmp/verify.log" 2>&1 &
verify_pid=$!
cleanup_fn stop $verify_pid
# shellcheck disable=SC2317 # called by wait_until
disturbed()
{
	dd if=/dev/zero of="$disk" bs=4k count=100 conv=notrunc status=none
	gone "$verify_pid"
}
wait_until 30 disturbed || fail "cbd-bench does not find what was overwritten"
wait "$verify_pid" && fail "cbd-bench found nothing"
grep -q 'is not what was written last' "$tmp/verify.log" || fail "$(cat "$tmp/verify.log")"
stop_backend 1
