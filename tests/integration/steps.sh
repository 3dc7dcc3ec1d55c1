# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
#
# steps.sh - processes that are killed at each step that the source names (libcbd,
# cbd_step). Sourced by the tests of steps; needs a build with --enable-debug.
#
# A scenario starts what it needs, lets the victim die at the step, and says so by
# its process id in $victim. Then "cbdctl check" has to accept the transport, and
# the next start to repair it.

# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/functions.sh"

requires_program nbdkit jq
patch=${abs_top_srcdir:?}/tests/integration/patch-transport.py

# STEP:COUNT SCENARIO [KIND]: at the COUNT-th time (1) in the victim's life
step_table='
format-made          format
format-magic         format
format-copy          format
format-wiped         format
format-states        format
format-copy-written  format
format-written       format
format-magic         format_again
format-copy          format_again
format-wiped         format_again
format-states        format_again
format-copy-written  format_again
format-written       format_again
host-taken           first_start hardware
host-written         first_start software
host-named           first_start
host-checked         first_start
claim-locked         first_start
claim-raised         first_start
enter-state          first_start
publish-described    first_start
publish-adopted      first_start
claim-swept          restart
claim-raised         restart
enter-state          restart
publish-described    restart
grant-given          restart
grant-written        restart
grant-written:2      restart
reply                restart
reply-written        restart
publish-adopted      restart
claim-locked         attach
claim-raised         attach
blkdev-entered       attach
attach               attach
attach-requested     attach
attach-granted       attach
grant-given          admit
grant-written        admit
grant-written:2      admit
reply                admit
reply-written        admit
detach               detach
detach-requested     detach
blkdev-left          detach
claim-release        detach
abandon              abandon
stop-begun           let_go
channels-drained     let_go
channels-freed       let_go
drain-begun          stop_backend_in_order
drained              stop_backend_in_order
backend-settled      stop_backend_in_order
backend-left         stop_backend_in_order
claim-release        stop_backend_in_order
host-leaving         leave_host
leave                leave
leave-written        leave
grant-given:3        renew
grant-written:3      renew
takeover             takeover
takeover-requested   takeover
claim-locked         takeover
claim-raised         takeover
enter-state          takeover
publish-described    takeover
grant-written        takeover
publish-adopted      takeover
takeover-end         takeover
drain-begun          hand_over
drained              hand_over
backend-left         hand_over
claim-release        hand_over
clear-state          clear_gone
clear-lowered        clear_gone
clear-host           clear_gone
resize               resize
clear-closed         clear_stopped
clear-taken          clear_left
clear-state          clear_left
check-repair         repair
check-repair:2       repair
io-fill:20           plugin_io
io-se:20             plugin_io
io-se-sent:20        plugin_io
io-reap:20           plugin_io
io-reaped:20         plugin_io
io-fetched:20        backend_io
io-deliver:20        backend_io software
io-ce:20             backend_io
io-ce-sent:20        backend_io
'

# --- Processes ---------------------------------------------------------------

backend='' plugin='' load=''

# shellcheck disable=SC2317,SC2329 # reached through the trap
end_all()
{
	local pid

	for pid in $(jobs -p); do
		kill -9 "$pid" 2>/dev/null
	done
	wait
}
cleanup_fn end_all

# at STEP COMMAND...: the command, to die at the step; its standard error in
# $tmp/victim.log
at()
{
	local step=$1 name count
	shift

	name=${step%:*}
	count=${step#"$name"}
	exec env CBD_TEST_STEP="$name:kill$count" "$@" 2>"$tmp/victim.log"
}

# is_killed PID WHAT: by its step, and not otherwise
is_killed()
{
	local status=0

	wait_until 20 gone "$1" || fail "$2 does not reach the step"
	wait "$1" 2>/dev/null || status=$?
	[ $status -eq 137 ] || fail "$2 ended with status $status: $(tail -n 3 "$tmp/victim.log")"
}

# end SIGNAL PID
end()
{
	kill "-$1" "$2" 2>/dev/null || return 0
	wait_until 20 gone "$2" || fail "process $2 does not end"
	wait "$2" 2>/dev/null || true
}

backend_command()
{
	echo cbd-backend -f -t "$transport" --id 0 --handlers 2 --engine psync "$disk"
}

plugin_command()
{
	echo nbdkit -f -U "$tmp/nbd.sock" -P "$tmp/nbd.pid" cbd "$transport" backend=0 queues=2
}

# The logs go on from case to case; they are told apart by the line that starts.
run_backend() # [OPTION]...
{
	: >"$tmp/backend.log"
	# shellcheck disable=SC2046 # words
	$(backend_command) "$@" 2>"$tmp/backend.log" &
	backend=$!
}

backend_runs()
{
	grep -q ': ready, ' "$tmp/backend.log" || gone "$backend"
}

begin_backend()
{
	run_backend
	wait_until 20 backend_runs || fail "the backend is not ready in time"
	alive "$backend" || fail "the backend has not started"
}

run_plugin()
{
	rm -f "$tmp/nbd.sock" "$tmp/nbd.pid"
	# shellcheck disable=SC2046,SC2091 # words
	$(plugin_command) 2>"$tmp/nbdkit.log" &
	plugin=$!
}

plugin_runs()
{
	[ -s "$tmp/nbd.pid" ] || gone "$plugin"
}

begin_plugin()
{
	run_plugin
	wait_until 20 plugin_runs || fail "the plugin is not ready in time"
	alive "$plugin" || fail "the plugin has not started"
}

uri()
{
	echo "nbd+unix:///?socket=$tmp/nbd.sock"
}

# Random I/O that compares what it reads; it ends when it is told, or with its
# server.
begin_load()
{
	: >"$tmp/load.log"
	"$random_io" -n 0 -s "$SRANDOM" "$(uri)" >"$tmp/load.log" 2>&1 &
	load=$!
	# from its first word on it ends in order when it is told
	wait_until 20 load_began || fail "the load does not begin"
}

load_began()
{
	[ -s "$tmp/load.log" ] || gone "$load"
}

load_says()
{
	gone "$load" || grep -q '^[0-9]* finished$' "$tmp/load.log"
}

end_load()
{
	local status=0

	kill "$load"
	wait_until 60 gone "$load" || fail "the load does not end"
	wait "$load" || status=$?
	load=
	[ $status -eq 0 ] || fail "the load: status $status: $(tail -n 3 "$tmp/load.log")"
}

# Its server is gone.
invalidate_load()
{
	wait_until 20 gone "$load" || fail "the load goes on without a server"
	wait "$load" 2>/dev/null || true
	load=
}

# --- Scenarios ----------------------------------------------------------------

victim=''

# shellcheck disable=SC2046 # words
victim_backend() # STEP [OPTION]...
{
	local step=$1
	shift

	at "$step" $(backend_command) "$@" &
	victim=$!
}

# shellcheck disable=SC2046 # words
victim_plugin() # STEP
{
	rm -f "$tmp/nbd.sock" "$tmp/nbd.pid"
	at "$1" $(plugin_command) &
	victim=$!
}

victim_ctl() # STEP COMMAND...
{
	local step=$1
	shift

	at "$step" cbdctl "$@" >"$tmp/victim.out" &
	victim=$!
}

format_options=(--size 8M --channel-size 1M --depth 32 --backends 2 --channels 3 --hosts 4
	--blkdevs 4 --heartbeat 50 --dead-after 20)

victim_format() # STEP [OPTION]...
{
	local step=$1
	shift

	victim_ctl "$step" format "${format_options[@]}" --coherence "$kind" "$@" "$transport"
}

# What is left is no transport, or one; or one whose header or copy can be
# restored from the other. To be formatted again is its next start.
is_formatted_again()
{
	local status=0

	is_killed "$victim" format
	cbdctl check "$transport" >/dev/null 2>"$tmp/check.log" || status=$?
	case $status in
	0 | 1) ;;
	3)
		expect 0 "" cbdctl check --repair "$transport"
		expect 0 "" cbdctl check "$transport"
		;;
	*) fail "check after format: status $status: $(cat "$tmp/check.log")" ;;
	esac
	cbdctl format "${format_options[@]}" --coherence "$kind" --force "$transport" >/dev/null
	victim=
}

format()
{
	rm "$transport"
	victim_format "$1"
	is_formatted_again
}

format_again()
{
	victim_format "$1" --force
	is_formatted_again
}

first_start()
{
	victim_backend "$1"
}

restart()
{
	begin_backend
	begin_plugin
	begin_load
	end 9 "$backend"
	victim_backend "$1"
}

attach()
{
	begin_backend
	victim_plugin "$1"
}

# The backend dies while it admits; who is attaching may wait for the next one.
admit()
{
	victim_backend "$1"
	wait_until 20 is_listed live || fail "the backend is not ready in time"
	run_plugin
}

is_listed()
{
	[ "$(cbdctl list -B "$transport" 2>/dev/null | jq -r '.[0].state')" = "$1" ]
}

victim_plugin_runs()
{
	victim_plugin "$1"
	plugin=$victim
	wait_until 20 plugin_runs || fail "the plugin is not ready in time"
	plugin=
}

detach()
{
	begin_backend
	victim_plugin_runs "$1"
	kill "$victim"
}

abandon()
{
	begin_backend
	victim_plugin_runs "$1"
	kill -STOP "$backend"
	kill "$victim"
	wait_until 20 gone "$victim" || fail "the plugin waits for a stopped backend"
	kill -CONT "$backend"
}

let_go()
{
	victim_backend "$1"
	wait_until 20 is_listed live || fail "the backend is not ready in time"
	begin_plugin
	kill "$plugin"
	wait_until 20 gone "$victim" || fail "the backend does not reach the step"
	end TERM "$plugin"
}

stop_backend_in_order()
{
	victim_backend "$1"
	wait_until 20 is_listed live || fail "the backend is not ready in time"
	begin_plugin
	kill "$victim"
}

# The last process of the host.
leave_host()
{
	victim_backend "$1"
	wait_until 20 is_listed live || fail "the backend is not ready in time"
	kill "$victim"
}

# Completions are damaged while the plugin cannot read them.
damage_until_gone() # PID
{
	local start=$SECONDS i

	until late $start 50; do
		kill -STOP "$plugin" 2>/dev/null || return 0
		sleep 0.02
		"$patch" "$transport" flip-ring ce:0:0
		"$patch" "$transport" flip-ring ce:0:1
		kill -CONT "$plugin"
		# once more when it read them before they were damaged
		for ((i = 0; i < 50; i++)); do
			! gone "$1" || return 0
			sleep 0.02
		done
	done
	fail "nobody leaves an epoch"
}

leave()
{
	begin_backend
	victim_plugin_runs "$1"
	plugin=$victim
	begin_load
	wait_until 20 load_says
	damage_until_gone "$victim"
	invalidate_load
	plugin=
}

renew()
{
	victim_backend "$1"
	wait_until 20 is_listed live || fail "the backend is not ready in time"
	begin_plugin
	begin_load
	wait_until 20 load_says
	damage_until_gone "$victim"
}

takeover()
{
	begin_backend
	begin_plugin
	begin_load
	victim_backend "$1" --takeover
}

# The old one dies while it hands over; the new one finds it dead.
hand_over()
{
	victim_backend "$1"
	wait_until 20 is_listed live || fail "the backend is not ready in time"
	begin_plugin
	begin_load
	run_backend --takeover
	is_killed "$victim" "the old backend"
	wait_until 20 backend_runs || fail "the new backend is not ready in time"
}

other_host() # COMMAND...
{
	exec env CBD_TEST_HOST_UUID=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa \
		CBD_TEST_BOOT_ID=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab "$@"
}

# Backend and plugin of another host have died with it.
clear_gone()
{
	begin_backend
	end TERM "$backend"
	: >"$tmp/backend.log"
	# shellcheck disable=SC2046 # words
	other_host $(backend_command) 2>"$tmp/backend.log" &
	backend=$!
	wait_until 20 backend_runs || fail "the other backend is not ready in time"
	end 9 "$backend"
	victim_ctl "$1" clear host 1 --host-gone 1 "$transport"
	is_killed "$victim" "cbdctl clear"
	victim=
	expect 0 "" cbdctl check "$transport"
	cbdctl clear host 1 --host-gone 1 "$transport" >/dev/null
	[ "$(cbdctl list -H "$transport" | jq '[.[] | select(.host_id == 1)] | length')" = 0 ] ||
		fail "the host has its slot still"
}

clear_left()
{
	begin_backend
	end 9 "$backend"
	victim_ctl "$1" clear backend 0 "$transport"
	is_killed "$victim" "cbdctl clear"
	victim=
	expect 0 "" cbdctl check "$transport"
	# what a clear that died has left may be free already
	cbdctl clear backend 0 "$transport" >/dev/null 2>&1 || true
	[ "$(cbdctl list -B "$transport" | jq length)" = 0 ] || fail "the backend has its slot still"
}

# The disk grows while the plugin uses it.
resize()
{
	victim_backend "$1"
	wait_until 20 is_listed live || fail "the backend is not ready in time"
	begin_plugin
	begin_load
	truncate -s 8M "$disk"
	kill -HUP "$victim"
}

# It stopped in order, with a plugin that waits for it.
clear_stopped()
{
	begin_backend
	begin_plugin
	end TERM "$backend"
	victim_ctl "$1" clear backend 0 "$transport"
	is_killed "$victim" "cbdctl clear"
	victim=
	expect 0 "" cbdctl check "$transport"
	expect 0 "" cbdctl clear backend 0 "$transport"
	wait_until 20 "$nbd_io" "$(uri)" fails:ESHUTDOWN:flush 2>/dev/null ||
		fail "the plugin waits for a backend that is gone for good"
}

repair()
{
	begin_backend
	end TERM "$backend"
	"$patch" "$transport" flip backend-path:1
	"$patch" "$transport" flip blkdev-request:2
	victim_ctl "$1" check --repair "$transport"
	is_killed "$victim" "cbdctl check"
	victim=
	expect 0 "" cbdctl check --repair "$transport"
}

plugin_io()
{
	begin_backend
	victim_plugin_runs "$1"
	begin_load
	is_killed "$victim" "the plugin"
	invalidate_load
}

backend_io()
{
	victim_backend "$1"
	wait_until 20 is_listed live || fail "the backend is not ready in time"
	begin_plugin
	begin_load
}

# --- A case -------------------------------------------------------------------

runs()
{
	[ -n "$1" ] && alive "$1"
}

# Nothing is held by anybody who is not there.
is_tidy()
{
	cbdctl list "$transport" | jq -e --argjson backend "$backend" --argjson plugin "$plugin" '
		(.backends | length == 1) and .backends[0].pid == $backend and
		.backends[0].state == "live" and
		(.blkdevs | length == 1) and .blkdevs[0].pid == $plugin and
		.blkdevs[0].state == "live" and
		([.channels[] | select(.backend_id == 0 and .state == "granted")] | length == 2)' \
		>/dev/null
}

# Of a backend that stopped in order the slot is listed until it is cleared.
is_empty()
{
	cbdctl list "$transport" |
		jq -e '(.backends | all(.state == "gone")) and (.blkdevs | length == 0)' >/dev/null
}

run_case() # STEP SCENARIO
{
	transport=$memory/transport
	rm -f "$transport"
	make_disk "$disks/disk" 4M
	backend='' plugin='' load='' victim=''
	cbdctl format "${format_options[@]}" --coherence "$kind" "$transport" >/dev/null
	"$2" "$1"
	[ -z "$victim" ] || is_killed "$victim" "the victim of $2"

	expect 0 "" cbdctl check "$transport"
	runs "$backend" || begin_backend
	[ -z "$plugin" ] || wait_until 20 plugin_runs || fail "the plugin is not ready in time"
	runs "$plugin" || begin_plugin
	[ -z "$load" ] || end_load
	# after a backend that was cleared the plugin says so until it sees the next
	wait_until 10 "$nbd_io" "$(uri)" flush 2>/dev/null || fail "no flush passes"
	"$nbd_io" "$(uri)" write:0:256K:7 flush read:0:256K:7
	wait_until 10 is_tidy || fail "somebody holds what is not his: $(cbdctl list "$transport")"
	expect 0 "" cbdctl check "$transport"
	end TERM "$plugin"
	end TERM "$backend"
	expect 0 "" cbdctl check "$transport"
	wait_until 10 is_empty || fail "something is left: $(cbdctl list "$transport")"
}

# steps_test KIND [SCENARIO-PATTERN]
steps_test()
{
	local step scenario only
	kind=$1

	while read -r step scenario only; do
		if [ -z "$step" ] || [ "${only:-$kind}" != "$kind" ]; then continue; fi
		[[ $scenario =~ ^(${2-.*})$ ]] || continue
		echo "$kind: $scenario: $step"
		run_case "$step" "$scenario" </dev/null
	done <<<"$step_table"
}
