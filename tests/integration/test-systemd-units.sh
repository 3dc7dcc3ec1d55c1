#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The units of systemd: systemd-analyze takes them, they are as closed as is said, disabling
# one leaves the others alone, the groups and the folder are such as systemd can make, the
# rule of udev gets a name, and the commands of the units do what the units count on, with
# the settings that are installed as examples.

. "$(dirname "$0")/functions.sh"

requires_program systemd-analyze systemd-sysusers systemd-tmpfiles nbdkit jq
source=${abs_top_srcdir:?}
units=$tmp/units

# --- Units ------------------------------------------------------------------

mkdir "$units"
cp "$source"/systemd/*.target "$abs_top_builddir"/systemd/*.service "$units"
# Nothing is installed.
sed -i "s,^ExecStart=/[^ ]*/cbd-backend,ExecStart=$(command -v cbd-backend)," "$units"/*.service

# verified UNIT...: started together
verified()
{
	SYSTEMD_UNIT_PATH=$units: timeout "$(limit 60)" systemd-analyze verify --man=no \
		"${@/#/$units/}" >"$tmp/verify.log" 2>&1 || fail "$*: $(cat "$tmp/verify.log")"
	# also what it only warns of
	if grep "^$units\|cbd" "$tmp/verify.log"; then fail "$*: systemd-analyze warns"; fi
}
for unit in cbd-backend@ cbd-backend-next@ cbd-nbdkit@; do
	cp "$units/$unit.service" "$units/${unit}x.service"
	verified "${unit}x.service" cbd.target
done

# exposed UNIT TENTHS: not more than so many tenths, of 100
exposed()
{
	timeout "$(limit 60)" systemd-analyze security --no-pager --offline=true --threshold="$2" \
		"$units/$1" >"$tmp/security.log" 2>&1 ||
		fail "$1 is more open than $2: $(tail -n 2 "$tmp/security.log")"
}
exposed cbd-backend@x.service 25
exposed cbd-backend-next@x.service 25
exposed cbd-nbdkit@x.service 11
if [ -e "$units/cbd-ublk@.service" ]; then
	sed -i "s,^ExecStart=/[^ ]*/cbd-ublk,ExecStart=$(command -v cbd-ublk)," \
		"$units/cbd-ublk@.service"
	cp "$units/cbd-ublk@.service" "$units/cbd-ublk@x.service"
	verified cbd-ublk@x.service cbd.target
	exposed cbd-ublk@x.service 25
fi

# A small Debian has neither procps nor another package with kill.
if grep -n '^Exec[A-Za-z]*=[-+!@:]*kill ' "$units"/*.service; then
	fail "kill is no program everywhere"
fi

# With the drop-ins that are installed as examples, on a host with both units: the backend
# waits for the mount, nbdkit for the backend, and nothing for itself.
mkdir "$units/cbd-backend@x.service.d"
cp "$source"/examples/backend-*.conf "$units/cbd-backend@x.service.d"
cat >"$units/srv-disks.mount" <<'END'
[Mount]
What=/dev/vg0/disks
Where=/srv/disks
Type=ext4
Options=nofail
END
verified cbd-backend@x.service cbd-nbdkit@x.service srv-disks.mount

# --- Enabled at boot ---------------------------------------------------------

# wanted UNIT...: these, and no others, are wanted by each of the two targets
wanted()
{
	local target

	for target in multi-user cbd; do
		ls "$tmp/boot/etc/systemd/system/$target.target.wants" >"$tmp/wanted"
		[ "$(paste -sd ' ' "$tmp/wanted")" = "$*" ] ||
			fail "$target.target wants $(paste -sd ' ' "$tmp/wanted"), not $*"
	done
}

# systemd is not asked: this makes and removes links
boot_units()
{
	timeout "$(limit 60)" systemctl --root="$tmp/boot" "$@" >"$tmp/systemctl.log" 2>&1 ||
		fail "systemctl $*: $(cat "$tmp/systemctl.log")"
}

mkdir -p "$tmp/boot/usr/lib/systemd/system"
cp "$source"/systemd/*.target "$abs_top_builddir"/systemd/*.service "$tmp/boot/usr/lib/systemd/system"
boot_units enable cbd-backend@a cbd-backend@b cbd-nbdkit@a
wanted cbd-backend@a.service cbd-backend@b.service cbd-nbdkit@a.service
boot_units disable cbd-backend@a
wanted cbd-backend@b.service cbd-nbdkit@a.service
boot_units disable cbd-nbdkit@a
wanted cbd-backend@b.service

# --- Groups and folder ------------------------------------------------------

mkdir -p "$tmp/root/etc"
systemd-sysusers --root="$tmp/root" "$source/systemd/sysusers.d/cbd.conf" >"$tmp/sysusers.log" 2>&1 ||
	fail "sysusers: $(cat "$tmp/sysusers.log")"
for group in cbd cbd-clients; do
	grep -q "^$group:" "$tmp/root/etc/group" || fail "there is no group $group"
done
grep -q '^cbd:' "$tmp/root/etc/passwd" || fail "there is no user cbd"
if [ "$(id -u)" -eq 0 ]; then
	systemd-tmpfiles --root="$tmp/root" --create "$source/systemd/tmpfiles.d/cbd.conf" \
		>"$tmp/tmpfiles.log" 2>&1 || fail "tmpfiles: $(cat "$tmp/tmpfiles.log")"
	[ "$(stat -c %a "$tmp/root/run/cbd")" = 750 ] || fail "/run/cbd has the wrong mode"
fi

# --- A name for udev --------------------------------------------------------

# named LABEL NAME: a transport with this label is called so in the file system
named()
{
	format_transport named --force --label "$1"
	cbdctl list-transports --udev "$transport" >"$tmp/udev"
	[ "$(sed -n 's/^CBD_TRANSPORT_NAME=//p' "$tmp/udev")" = "$2" ] ||
		fail "'$1': $(cat "$tmp/udev")"
	[ "$(wc -l <"$tmp/udev")" -eq 2 ] || fail "not two lines: $(cat "$tmp/udev")"
}
named rack-7.b+1_X rack-7.b+1_X
named ../../sda _._.._sda
named 'a b"%k' a_b__k
named $'a\nDEVLINKS=x' a_DEVLINKS_x
format_transport named --force --label ""
uuid=$(cbdctl list-transports "$transport" | jq -r '.[0].uuid')
[ "$(cbdctl list-transports --udev "$transport" | cut -d = -f 2 | uniq)" = "$uuid" ] ||
	fail "without a label the name is not the uuid"
no_word_for() # PATH
{
	expect 1 "" cbdctl list-transports --udev "$1"
	if [ -s "$tmp/expect.err" ] || [ -s "$tmp/expect.out" ]; then
		fail "it has a word for $1: $(cat "$tmp/expect.err")"
	fi
}
truncate -s 1M "$memory/empty"
no_word_for "$memory/empty"
# A node without a driver, as a device has it when it is added.
if mknod "$disks/node" c 240 77 2>/dev/null && ! cat "$disks/node" 2>"$tmp/node" &&
	grep -q "No such device or address" "$tmp/node"; then
	no_word_for "$disks/node"
fi
expect 2 "" cbdctl list-transports --udev
! grep -q '@' "$abs_top_builddir/systemd/60-cbd.rules" ||
	fail "the rule names no program"
# udev looks a plain name up when it reads the rules, and may do so before the group is made.
if grep -nE '(GROUP|OWNER)="[^"$]+"' "$source"/systemd/*.rules.in; then
	fail "a group is looked up when udev reads the rules"
fi

# --- Commands ---------------------------------------------------------------

# command_of UNIT DIRECTIVE: with the places of this test
command_of()
{
	sed -n "s/^$2=//p" "$units/$1" |
		sed -e "s,/run/cbd,$tmp/run,g" -e 's/%i/data/g'
}

# run_unit UNIT CONF DIRECTIVE [N]: as systemd would with these settings the first or N-th of
# these commands: ${X} is one word, $X are several. The command takes the place of the shell: in the background $! is its
# number, in the foreground run_unit needs a shell of its own.
run_unit()
{
	local command

	command=$(command_of "$1" "$3" | sed -n "${4:-1}p" | sed 's/\${\([A-Z]*\)}/"$\1"/g')
	# shellcheck disable=SC1090,SC2034 # made by this test; the commands use it
	set -a && WAIT=1 && . "$2" && set +a && eval "exec $command"
}

mkdir "$tmp/run"

sleeps_or_is_gone() # PID
{
	gone "$1" || pgrep -P "$1" sleep >/dev/null
}

# comes_late UNIT: it waits for a memory that is not there yet, as at boot
comes_late()
{
	local late=$tmp/late-$1 pid

	echo "TRANSPORT=$late" >"$late.conf"
	run_unit "$1" "$late.conf" ExecStartPre &
	pid=$!
	cleanup_fn stop $pid
	wait_until 20 sleeps_or_is_gone $pid
	! gone $pid || fail "$1 does not wait"
	: >"$late"
	wait_until 20 gone $pid || fail "$1 waits for ever"
	wait $pid || fail "$1: the wait ended with status $?"
}
comes_late cbd-backend@.service
comes_late cbd-nbdkit@.service
[ ! -e "$units/cbd-ublk@.service" ] || comes_late cbd-ublk@.service

format_transport transport
make_disk "$disks/a disk" 16M
for conf in backend nbdkit; do
	sed -e "s,/dev/dax0\.0,$transport,; s,=/dev/vg0/data,=\"$disks/a disk\"," \
		-e 's/^OPTIONS=\(.*\)/OPTIONS="\1"/' "$source/examples/$conf.conf" >"$tmp/$conf.conf"
done

: >"$tmp/backend.log"
run_unit cbd-backend@.service "$tmp/backend.conf" ExecStart 2>"$tmp/backend.log" &
cleanup_fn stop $!
first=$!
wait_until 20 grep -q ": ready, " "$tmp/backend.log" || fail "the backend does not start"
(run_unit cbd-nbdkit@.service "$tmp/nbdkit.conf" ExecStartPre 1)
(run_unit cbd-nbdkit@.service "$tmp/nbdkit.conf" ExecStartPre 2)
(run_unit cbd-nbdkit@.service "$tmp/nbdkit.conf" ExecStart)
cleanup_fn stop_pidfile "$tmp/run/data.pid"
wait_until 20 test -s "$tmp/run/data.pid" || fail "nbdkit does not start"
(run_unit cbd-nbdkit@.service "$tmp/nbdkit.conf" ExecStartPost)
[ "$(stat -c %a "$tmp/run/data.sock")" = 660 ] || fail "not the mode of the socket"
uri="nbd+unix:///?socket=$tmp/run/data.sock"
"$nbd_io" "$uri" write:1M:1M:3 read:1M:1M:3

# The upgrade: each process takes over from the one before, which ends with 0.
: >"$tmp/next.log"
run_unit cbd-backend-next@.service "$tmp/backend.conf" ExecStart 2>"$tmp/next.log" &
cleanup_fn stop $!
second=$!
wait_until 20 gone $first || fail "the first process does not end"
wait $first || fail "the first process ended with status $?"
"$nbd_io" "$uri" read:1M:1M:3 write:2M:1M:4
run_unit cbd-backend@.service "$tmp/backend.conf" ExecStart 2>"$tmp/backend.log" &
cleanup_fn stop $!
third=$!
wait_until 20 gone $second || fail "the second process does not end"
wait $second || fail "the second process ended with status $?"
"$nbd_io" "$uri" read:1M:1M:3 read:2M:1M:4

stop_pidfile "$tmp/run/data.pid"
(run_unit cbd-nbdkit@.service "$tmp/nbdkit.conf" ExecStopPost)
[ -z "$(ls "$tmp/run")" ] || fail "left: $(ls "$tmp/run")"
stop $third
wait $third || fail "the third process ended with status $?"
