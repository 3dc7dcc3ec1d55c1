#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# cbdctl status, top and metrics: a known number of requests is counted on both sides,
# shown of what lives, was stopped and was killed, and understood by others.

. "$(dirname "$0")/functions.sh"

requires_program jq nbdkit python3

openmetrics="${abs_top_srcdir:?}/tests/integration/openmetrics.py"
dashboard=$abs_top_srcdir/ctl/grafana-dashboard.json

# metrics: into $tmp/metrics, checked
metrics()
{
	cbdctl metrics "$transport" >"$tmp/metrics" || fail "metrics: $(cat "$tmp/metrics")"
	python3 "$openmetrics" check "$tmp/metrics" || fail "not OpenMetrics: $(cat "$tmp/metrics")"
}

# counted NUMBER SAMPLE
counted()
{
	grep -qxF -e "$2 $1" "$tmp/metrics" || fail "not $1: $(grep -F -e "$2" "$tmp/metrics")"
}

# of_backend NAME [LABELS]
of_backend()
{
	echo "cbd_backend_$1{transport=\"$transport\",backend=\"1\"${2-}}"
}

# of_blkdev NAME [LABELS]
of_blkdev()
{
	echo "cbd_blkdev_$1{transport=\"$transport\",blkdev=\"0\",backend=\"1\"${2-}}"
}

# shows PATTERN: a line of the table
shows()
{
	cbdctl status "$transport" >"$tmp/status" || fail "status: $(cat "$tmp/status")"
	grep -qE -e "$1" "$tmp/status" || fail "status: no '$1': $(cat "$tmp/status")"
}

# all_counted READS: the counters are as old as a beat
all_counted()
{
	cbdctl metrics "$transport" >"$tmp/metrics" &&
		grep -qF "$(of_blkdev requests_total ',op="read"') $1" "$tmp/metrics" &&
		grep -qF "$(of_backend requests_total ',op="read"') $1" "$tmp/metrics"
}

# a path with all that a label has to escape
format_transport 'a "quoted\one"' --heartbeat 10
shows '^no backend and no blkdev$'
metrics
grep -qF 'transport="'"$memory"'/a \"quoted\\one\""' "$tmp/metrics" || fail "a path is not escaped"

format_transport transport --heartbeat 50
make_disk "$disks/one" 16M
start_backend 1 --name scratch "$disk"
start_nbdkit cbd "$transport" backend=1

# 5 reads of 4 KiB, 3 writes of 8 KiB, 2 flushes, one trim
requests=()
for n in 1 2 3; do requests+=(write:$((n * 65536)):8K:"$n"); done
for n in 1 2 3 1 2; do requests+=(read:$((n * 65536)):4K:"$n"); done
"$nbd_io" "$uri" "${requests[@]}" flush flush trim:1M:64K || fail "requests"
wait_until 20 all_counted 5 || fail "reads are not counted: $(cat "$tmp/metrics")"
metrics
for of in of_blkdev of_backend; do
	counted 3 "$($of requests_total ',op="write"')"
	counted 20480 "$($of io_bytes_total ',op="read"')"
	counted 24576 "$($of io_bytes_total ',op="write"')"
	counted 2 "$($of requests_total ',op="flush"')"
	counted 1 "$($of requests_total ',op="discard"')"
	counted 0 "$($of errors_total ',op="read"')"
	counted 0 "$($of in_flight)"
	counted 1 "$($of up)"
	counted 0 "$($of held)"
done
# so few are timed one and all
counted 5 "$(of_blkdev latency_seconds_count ',op="read"')"
counted 5 "$(of_backend service_seconds_count ',op="read"')"
counted 3 "$(of_blkdev latency_seconds_bucket ',op="write",le="+Inf"')"
counted 5 "cbd_channel_requests_total{transport=\"$transport\",backend=\"1\",channel=\"0\",blkdev=\"0\",queue=\"0\",op=\"read\"}"
python3 "$openmetrics" names "$tmp/metrics" "$dashboard" || fail "the dashboard"

# in the older format each counter is declared under its own name; promtool looks at more
cbdctl metrics --prometheus "$transport" >"$tmp/prom" || fail "metrics --prometheus"
grep -qx '# TYPE cbd_blkdev_requests_total counter' "$tmp/prom" || fail "--prometheus: a type"
! grep -q -e '# EOF' -e '# UNIT' "$tmp/prom" || fail "--prometheus: lines of OpenMetrics"
if command -v promtool >/dev/null; then
	promtool check metrics <"$tmp/prom" || fail "promtool"
fi

# a table
shows '^backend 1 scratch  live  .* 5 +20KiB +3 +24KiB +3 +0 .* 0$'
shows '^blkdev 0 of 1      live  .* 5 +20KiB +3 +24KiB +3 +0 .* 0$'

cbdctl status -C "$transport" | grep -E '^channel 1/0 d0 q0 +granted .* 5 +20KiB +3 +24KiB ' >/dev/null ||
	fail "status --channels"

# the same as JSON; each object has the keys of top, but for those of rates
cbdctl status --json "$transport" >"$tmp/status" || fail "status --json"
jq -e --arg path "$transport" '.path == $path and .transport.path == $path and
	.hosts_alive == 1 and .hosts_used == 1 and .backends[0].name == "scratch" and
	([.backends[0], .blkdevs[0], .channels[0]] | all(.backend_id == 1 and .alive and
		.counted and .held == null and .in_flight == 0 and .uptime_ms > 0 and
		(now - .stored_s | fabs) < 3600 and
		.read.requests == 5 and .read.bytes == 20480 and .read.errors == 0 and
		.read.p50_ns > 0 and .read.p99_ns >= .read.p50_ns and
		.write.requests == 3 and .write.bytes == 24576 and .other.requests == 3 and
		.bad_payloads + .resends + .time_outs + .losses + .epochs_left == 0 and
		.silent_ms == 0))' "$tmp/status" >/dev/null || fail "status --json: $(cat "$tmp/status")"
cbdctl top --once --json "$transport" >"$tmp/top" || fail "top --json"
# keys_of FILE: of all kinds of objects, with what differs made the same
keys_of()
{
	jq -S '[.backends[0], .blkdevs[0], .channels[0]] |
		map(del(.interval_ms, .uptime_ms, .stored_s, .bad_payloads, .resends, .time_outs,
			.losses, .epochs_left, .silent_ms) | [paths] |
			map(map(tostring) | join(".") | sub("_per_s$"; "")) | sort)' "$1"
}
diff <(keys_of "$tmp/status") <(keys_of "$tmp/top") || fail "status --json: other keys than top"

# rates, while something is done
cat >"$tmp/load.sh" <<'END'
while [ ! -e "$3" ]; do "$1" "$2" read:0:4K:0 read:64K:4K:1 || exit 1; done
END
bash "$tmp/load.sh" "$nbd_io" "$uri" "$tmp/enough" &
load=$!
cleanup_fn touch "$tmp/enough"
# busy: requests are seen by all, with times
busy()
{
	cbdctl top --once --json "$transport" >"$tmp/top" || return 1
	jq -e '[.backends[0], .blkdevs[0], .channels[0]] | all(.alive and .counted and .held == null and
		.read.requests_per_s > 0 and .read.bytes_per_s > 0 and .read.p50_ns > 0 and
		.read.p99_ns >= .read.p50_ns and .write.requests_per_s == 0 and
		.interval_ms > 0)' "$tmp/top" >/dev/null
}
wait_until 20 busy || fail "top --json: $(cat "$tmp/top")"
cbdctl top --once --sort iops --interval 1 "$transport" >"$tmp/top" || fail "top --once"
grep -qE '^backend 1 scratch +live ' "$tmp/top" || fail "top: no backend: $(cat "$tmp/top")"
grep -qE '^channel 1/0 d0 q0 +granted ' "$tmp/top" || fail "top: no channel: $(cat "$tmp/top")"

tmux_pid=
# on_terminal COMMAND: in a server of its own, of 130 columns and 24 lines
on_terminal()
{
	tmux -S "$tmp/tmux" -f /dev/null new-session -d -s top -x 130 -y 24 "$1" || fail "tmux"
	tmux_pid=$(tmux -S "$tmp/tmux" display-message -p '#{pid}') || fail "tmux has no pid"
}
# end_tmux: also when it has ended already. A server that is just ending would take the
# next session and lose it, so its end is waited for.
end_tmux()
{
	tmux -S "$tmp/tmux" kill-server 2>/dev/null || true
	[ -z "$tmux_pid" ] || wait_until 20 gone "$tmux_pid" || echo "tmux does not end"
}

# on a terminal: live, sorted by another key, ended by one
on_screen()
{
	tmux -S "$tmp/tmux" capture-pane -p -t top >"$tmp/screen" 2>/dev/null &&
		grep -qE -e "$1" "$tmp/screen"
}
if command -v tmux >/dev/null; then
	cleanup_fn end_tmux
	on_terminal "cbdctl top $(printf %q "$transport"); echo ended \$?; sleep 1000"
	wait_until 20 on_screen '^backend 1 scratch +live .*[1-9]' || fail "top: $(cat "$tmp/screen")"
	wait_until 20 on_screen '^channel 1/0 d0 q0 +granted' || fail "top: no channel"
	on_screen 'by id$' || fail "top: not by id"
	tmux -S "$tmp/tmux" send-keys -t top s c
	wait_until 20 on_screen 'by iops$' || fail "top: not by IOPS"
	! on_screen '^channel ' || fail "top: c does not hide channels"
	tmux -S "$tmp/tmux" send-keys -t top q
	wait_until 20 on_screen '^ended 0$' || fail "top: q does not end it"
	end_tmux
	# a terminal whose cursor cannot be moved
	on_terminal "TERM=dumb cbdctl top $(printf %q "$transport"); echo ended \$?; sleep 1000"
	wait_until 20 on_screen '^ended 1$' || fail "top: dumb: $(cat "$tmp/screen")"
	on_screen '^cbdctl: top: this terminal \(TERM=dumb\) cannot be used' || fail "top: dumb"
	end_tmux
	# a terminal that goes away, and a shell that has it ignore SIGHUP
	on_terminal "trap '' HUP; echo \$\$ >$tmp/top.pid; exec cbdctl top $(printf %q "$transport")"
	wait_until 20 on_screen '^backend 1 scratch +live ' || fail "top: $(cat "$tmp/screen")"
	end_tmux
	wait_until 20 gone "$(cat "$tmp/top.pid")" || fail "top goes on without a terminal"
fi
touch "$tmp/enough"
wait "$load" || fail "the load has failed"
expect 1 "cbdctl: top: not on a terminal; --once and --json need none" cbdctl top "$transport"

# killed: what was counted stays, and what frees the slot is named; its client waits
kill_backend 1
# is_dead: and so shown
is_dead()
{
	cbdctl status "$transport" >"$tmp/status" && grep -qE '^backend 1 scratch  dead ' "$tmp/status"
}
wait_until 30 is_dead || fail "killed: $(cat "$tmp/status")"
grep -qE '^backend 1 scratch: its process is dead.*cbdctl clear backend 1 ' "$tmp/status" ||
	fail "killed: not held: $(cat "$tmp/status")"
grep -qE '^backend 1 .* 3 +24KiB ' "$tmp/status" || fail "killed: no counters: $(cat "$tmp/status")"
cbdctl status --json "$transport" | jq -e '(.backends[0] | .alive == false and .state == "dead" and
	.counted and .write.requests == 3 and (.held | startswith("cbdctl clear backend 1 ")))' >/dev/null || fail "killed: status --json"
cbdctl top --once --json "$transport" | jq -e '.backends[0] | .alive == false and .state == "dead" and
	.counted == false and (.held | startswith("cbdctl clear backend 1 "))' >/dev/null ||
	fail "killed: top"

# another process counts from zero; stopped in order it is shown too, and so is its client
start_backend 1 --name scratch "$disks/one"
"$nbd_io" "$uri" read:0:4K:0 || fail "the backend is back"
stop "$nbdkit_pid"
stop_backend 1
shows '^backend 1 scratch  gone  .* 1 +4\.0KiB +0 +0B '
shows '^blkdev 0 of 1      stopped  .* 3 +24KiB '

# of a blkdev that has stopped only status shows counters: damaged ones are nothing to others
python3 "$abs_top_srcdir/tests/integration/patch-transport.py" "$transport" flip blkdev-counters:0:9 20
expect 1 "cbdctl: $transport: blkdev 0: its counters are damaged" cbdctl status "$transport"
cbdctl metrics "$transport" >"$tmp/metrics" || fail "metrics: a stopped blkdev"
cbdctl top --once "$transport" >"$tmp/top" || fail "top: a stopped blkdev"
python3 "$abs_top_srcdir/tests/integration/patch-transport.py" "$transport" flip blkdev-counters:0:9 20

# counters that are damaged are told, and none of them is shown
python3 "$abs_top_srcdir/tests/integration/patch-transport.py" "$transport" flip backend-counters:1:9 20
expect 1 "cbdctl: $transport: backend 1: its counters are damaged" cbdctl status "$transport"
one_message
grep -qE '^backend 1 scratch  gone  .* - +- +- ' "$tmp/expect.out" || fail "damaged: $(cat "$tmp/expect.out")"
expect 1 "cbdctl: $transport: backend 1: its counters are damaged" cbdctl status --json "$transport"
expect 1 "cbdctl: $transport: backend 1: its counters are damaged" cbdctl metrics "$transport"
! grep -q '^cbd_backend_requests_total' "$tmp/expect.out" || fail "damaged counters are shown"
grep -q '^cbd_backend_up' "$tmp/expect.out" || fail "damaged counters hide the rest"
