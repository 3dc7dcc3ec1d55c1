#!/bin/bash
# The units under systemd: two guests that boot with systemd as their first process, with
# what "make install" installs and nothing else of this machine. Host B offers two disks,
# host A mounts one by cbd-nbdkit@ and nbd-client, the other by cbd-ublk@, from fstab. The
# hosts type what docs/operations.md and the manuals say. (What systemd-analyze says of the
# units is tests/integration/test-systemd-units.sh.) This script owns the course of
# events and the verdict; the guests belong to lab.sh, their root file system to fetch.sh.
#
# usage: systemd.sh
#
# Exits as automake wants it: 0 passed, 1 failed, 77 skipped, 99 broken.
# abs_top_builddir is the build tree under test, abs_top_srcdir its source;
# CBD_VM_KEEP=1 keeps the run folder, with a console, a journal and what was typed of each
# boot.

set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd -P)
: "${abs_top_srcdir:=$(cd "$here/../.." && pwd -P)}"
PATH=$PATH:/usr/sbin:/sbin
# shellcheck source=../factor.sh
. "$here/../factor.sh"
# shellcheck source=verdict.sh
. "$here/verdict.sh"

declare -A node=([A]=1 [B]=2) sent=([A]=0 [B]=0) boots=([A]=0 [B]=0)
size=$((96 << 20))
grown=$((128 << 20))
: "${LAB_KERNEL:=k612}"
export LAB_KERNEL

# Units of Debian that take emulated CPUs their time, and have nothing to do with the test.
needless="systemd-random-seed.service systemd-update-utmp.service"
needless+=" systemd-update-utmp-runlevel.service systemd-user-sessions.service fstrim.timer"
needless+=" systemd-sysctl.service systemd-binfmt.service sys-kernel-debug.mount"
needless+=" sys-kernel-tracing.mount dev-hugepages.mount dev-mqueue.mount"
needless+=" modprobe@configfs.service modprobe@dm_mod.service modprobe@efi_pstore.service"
needless+=" modprobe@fuse.service modprobe@loop.service proc-sys-fs-binfmt_misc.automount"

fail()
{
	echo "systemd.sh: FAILED: $*"
	exit 1
}

say()
{
	printf '== %3d s: %s\n' $SECONDS "$*"
}

# --- What the guests boot from ------------------------------------------------

build_root()
{
	build_lab
	cache=${CBD_VM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/cbd-vm}
	[ -e "$cache/root12/image" ] || [ "$(id -u)" = 0 ] ||
		skip "the guests' root file system is made by root: sudo $here/fetch.sh root12"
	"$here/fetch.sh" root12 || skip "the guests' root file system could not be made"
}

# The modules that the initrd does not load: udev and the units do.
pack_modules()
{
	local tree=$cache/$LAB_KERNEL version module path

	version=$(basename "$tree"/lib/modules/*)
	for module in nbd ublk_drv; do
		modprobe -C /dev/null -d "$tree" -S "$version" --show-depends $module
	done 2>/dev/null | sed -n 's/^insmod \([^ ]*\).*/\1/p' | sort -u >"$LAB_RUN/modules"
	while read -r path; do
		install -D -m 644 "$path" "$LAB_RUN/install/usr/${path#"$tree"/}"
	done <"$LAB_RUN/modules"
	install -m 644 "$tree/lib/modules/$version"/modules.{builtin,builtin.modinfo,order} \
		"$LAB_RUN/install/usr/lib/modules/$version"
	depmod -b "$LAB_RUN/install/usr" "$version"
}

pack_install()
{
	make -s -C "$abs_top_builddir" install DESTDIR="$LAB_RUN/install" >"$LAB_RUN/install.log" 2>&1 ||
		broken "make install: $(tail "$LAB_RUN/install.log")"
	# left out by configure where pkg-config does not know udev
	[ -n "$(find "$LAB_RUN/install" -name 60-cbd.rules)" ] ||
		install -D -m 644 -t "$LAB_RUN/install/usr/lib/udev/rules.d" \
			"$abs_top_builddir"/systemd/60-cbd*.rules
	# as /lib is a link there
	cp -r "$LAB_RUN/install/lib" "$LAB_RUN/install/usr/"
	rm -r "$LAB_RUN/install/lib"
	pack_modules
	tar -C "$LAB_RUN/install" --owner=0 --group=0 -cf "$LAB_RUN/install.tar" .
}

# What guests have beside their own units. At boot udev looks at the devices of the test
# alone: the others, most of them consoles, take it most of a minute under emulation.
write_units()
{
	local units=$LAB_RUN/units trigger

	trigger="udevadm trigger --type=devices --action=add"
	trigger+=" --subsystem-match=block --subsystem-match=dax --subsystem-match=misc"
	mkdir -p "$units"/{multi-user.target.wants,systemd-udev-trigger.service.d}
	cat >"$units/lab.service" <<-END
		[Unit]
		Description=Commands of the test
		RequiresMountsFor=/lab
		[Service]
		ExecStart=bash /lab/systemd-guest.sh
		TimeoutStopSec=5
	END
	ln -s ../lab.service "$units/multi-user.target.wants/"
	cat >"$units/systemd-udev-trigger.service.d/lab.conf" <<-END
		[Service]
		ExecStart=
		ExecStart=-$trigger
	END
}

new_run_folder()
{
	LAB_RUN=$(mktemp -d "${TMPDIR:-/tmp}/cbd-vm.XXXXXX")
	LAB_TIMEOUT=${LAB_TIMEOUT:-$(limit 300)}
	export LAB_RUN LAB_TIMEOUT
	trap clean_up EXIT
	trap 'exit 99' INT TERM HUP
	cp "$here/systemd-guest.sh" "$here/../factor.sh" "$LAB_RUN/"
	echo "CBD_TEST_FACTOR=$(factor)" >"$LAB_RUN/settings"
	write_units
	truncate -s $size "$LAB_RUN/disk"
	pack_install
	cp --sparse=always "$cache/root12/image" "$LAB_RUN/root-A"
	cp --sparse=always "$cache/root12/image" "$LAB_RUN/root-B"
}

clean_up()
{
	local host

	for host in A B; do
		keep_console $host
	done
	if [ -n "${CBD_VM_KEEP:-}" ]; then
		"$here/lab.sh" kill 1 2>/dev/null || true
		"$here/lab.sh" kill 2 2>/dev/null || true
		echo "systemd.sh: the run folder is $LAB_RUN"
	else
		"$here/lab.sh" clean
	fi
}

# --- The hosts ------------------------------------------------------------------

keep_console() # HOST
{
	cp "$LAB_RUN/node-${node[$1]}/console" "$LAB_RUN/console-$1-${boots[$1]}" 2>/dev/null || true
}

# What a guest has written is in the file when it is told so: a kill is a power failure.
boot() # HOST
{
	local n=${node[$1]} unit

	keep_console "$1"
	boots[$1]=$((boots[$1] + 1))
	sent[$1]=0
	LAB_APPEND="lab.root=/dev/vda systemd.hostname=host-${1,} selinux=0"
	for unit in $needless; do
		LAB_APPEND+=" systemd.mask=$unit"
	done
	LAB_EXTRA="-vga none -drive if=none,id=root,format=raw,cache=unsafe,file=$LAB_RUN/root-$1"
	LAB_EXTRA+=" -device virtio-blk-pci,bus=pcie.0,drive=root"
	if [ "$1" = B ]; then
		rm -f "$LAB_RUN/monitor".{in,out}
		mkfifo "$LAB_RUN/monitor".{in,out}
		LAB_EXTRA+=" -chardev pipe,id=monitor,path=monitor -mon chardev=monitor"
		LAB_EXTRA+=" -drive if=none,id=data,format=raw,cache=unsafe,file=$LAB_RUN/disk"
		LAB_EXTRA+=" -device virtio-blk-pci,bus=pcie.0,drive=data,serial=data"
	fi
	LAB_APPEND=$LAB_APPEND LAB_EXTRA=$LAB_EXTRA \
		"$here/lab.sh" start "$n" 2 "$here/systemd-guest.sh"
}

# Waits for FILE, which the host makes; it is alive meanwhile.
await_host() # HOST FILE
{
	local end=$((SECONDS + $(patience 90)))

	until [ -e "$2" ]; do
		[ ! -e "$LAB_RUN/node-${node[$1]}/qemu.rc" ] || fail "host $1 has ended"
		[ $SECONDS -lt $end ] || fail "host $1 does not answer"
		sleep 0.2
	done
}

# booted HOST: what is typed next is typed after this
booted()
{
	await_host "$1" "$LAB_RUN/node-${node[$1]}/up"
}

# goes_down HOST COMMAND: in order. QEMU ends at a reboot too.
goes_down()
{
	local end=$((SECONDS + $(patience 60)))

	send "$1" "$2"
	until [ -e "$LAB_RUN/node-${node[$1]}/qemu.rc" ]; do
		[ $SECONDS -lt $end ] || fail "host $1 does not go down"
		sleep 0.2
	done
	[ "$(cat "$LAB_RUN/node-${node[$1]}/qemu.rc")" = 0 ] || fail "host $1 has ended badly"
}

power_off() # HOST
{
	"$here/lab.sh" kill "${node[$1]}"
	until [ -e "$LAB_RUN/node-${node[$1]}/qemu.rc" ]; do
		sleep 0.1
	done
}

send() # HOST COMMAND
{
	local dir=$LAB_RUN/node-${node[$1]}

	printf '%s\n' "$2" >"$dir/command.tmp"
	mv "$dir/command.tmp" "$dir/command-${sent[$1]}"
	sent[$1]=$((sent[$1] + 1))
}

# Runs COMMAND, leaves what it says in said, and returns its status.
ask() # HOST COMMAND
{
	local dir=$LAB_RUN/node-${node[$1]} n=${sent[$1]}

	send "$1" "$2"
	await_host "$1" "$dir/rc-$n"
	cp "$dir/out-$n" "$LAB_RUN/said"
	{ printf '%s# %s\n' "$1" "$2" && cat "$LAB_RUN/said"; } >>"$LAB_RUN/typed"
	return "$(cat "$dir/rc-$n")"
}

# The same, which has to succeed.
on() # HOST COMMAND
{
	ask "$1" "$2" || fail "on host $1: $2: $(cat "$LAB_RUN/said")"
}

# The same, and what it says is LINES.
says() # HOST COMMAND LINES
{
	on "$1" "$2"
	[ "$(cat "$LAB_RUN/said")" = "$3" ] ||
		fail "on host $1: $2: '$(cat "$LAB_RUN/said")' is not '$3'"
}

shows() # HOST COMMAND PATTERN
{
	on "$1" "$2"
	grep -qE -- "$3" "$LAB_RUN/said" ||
		fail "on host $1: $2: '$3' is not in '$(cat "$LAB_RUN/said")'"
}

# write_file HOST PATH: with what comes on stdin, which is no pipe: ask counts in this shell
write_file()
{
	local text

	text=$(cat)
	on "$1" "mkdir -p '$(dirname "$2")' && cat >'$2' <<'END_OF_FILE'
$text
END_OF_FILE"
}

# example of the manuals, with other settings than printed there
example() # NAME SED-SCRIPT
{
	sed -e '/^#/d' -e "$2" "$abs_top_srcdir/examples/$1"
}

# clean_journal HOST BOOT [EXPECTED]: no error and no warning but the expected ones, and no
# unit had to be killed. BOOT is 0 for this one, -1 for the one before.
clean_journal()
{
	local boot=$2 usual="device units cannot be delayed${3:+|$3}" journal=$LAB_RUN/journal-$1-$((boots[$1] + $2))

	on "$1" "journalctl --no-hostname -o short-monotonic -b $boot"
	cp "$LAB_RUN/said" "$journal"
	if grep -iE "$troubles" "$journal" | grep -vE "$usual"; then
		fail "the journal of host $1, see above"
	fi
	on "$1" "journalctl --no-hostname -q -b $boot -p warning -u 'cbd*' -u 'nbd@*' -u 'srv-*'"
	cp "$LAB_RUN/said" "$journal-warnings"
	if grep -vE "$usual" "$journal-warnings"; then
		fail "warnings in the journal of host $1, see above"
	fi
}
troubles='timed out|ordering cycle|I/O error|EXT4-fs (error|warning)|dumped core|Unknown group'
troubles+='|Failed to (start|stop|mount|unmount)|Dependency failed|cbd.*Failed with result'

# in_order FILE PATTERN...: lines of this kind come one after the other
in_order()
{
	local file=$1 from=0 line pattern

	for pattern in "${@:2}"; do
		line=$(awk -v from="$from" -v p="$pattern" 'NR > from && $0 ~ p { print NR; exit }' "$file")
		[ -n "$line" ] || fail "$file: no '$pattern' after line $from"
		from=$line
	done
}

# --- The course -----------------------------------------------------------------

installed()
{
	say "both hosts boot, and get what make install installs"
	local host

	"$here/lab.sh" prepare
	for host in A B; do
		boot $host
	done
	for host in A B; do
		booted $host
		on $host "tar -C / -xf /lab/install.tar --no-overwrite-dir"
		on $host "ldconfig"
		on $host "systemd-sysusers && systemd-tmpfiles --create && systemctl daemon-reload"
		on $host "udevadm control --reload && udevadm trigger --subsystem-match=dax"
		on $host "udevadm settle"
		says $host "stat -c '%G %a %F' /dev/dax0.0" "cbd 660 character special file"
		says $host "stat -c '%U %G %a' /run/cbd" "cbd cbd-clients 750"
		says $host "hostname" "host-${host,}"
	done
}

offered()
{
	say "host B formats the memory, and offers two disks"
	on B "cbdctl format --label rack7 /dev/dax0.0"
	on B "udevadm trigger --subsystem-match=dax && udevadm settle"
	says B "readlink -f /dev/cbd-transport/rack7" /dev/dax0.0
	on B "truncate -s 64M /srv/fast"
	write_file B /etc/cbd/backend.d/data.conf < <(example backend.conf \
		's,=/dev/vg0/data,=/dev/disk/by-id/virtio-data,; s/^OPTIONS=.*/& --write-through/')
	write_file B /etc/cbd/backend.d/fast.conf <<-'END'
		TRANSPORT=/dev/cbd-transport/rack7
		DISK=/srv/fast
		OPTIONS=--id 2 --name fast --write-through
	END
	on B "systemctl enable --now cbd-backend@data cbd-backend@fast"
	shows B "systemctl status cbd-backend@data" "Status: \"serving"
}

mounted()
{
	say "host A mounts both"
	on A "udevadm trigger --subsystem-match=dax && udevadm settle"
	says A "readlink -f /dev/cbd-transport/rack7" /dev/dax0.0
	write_file A /etc/cbd/nbdkit.d/data.conf < <(example nbdkit.conf '')
	write_file A /etc/modules-load.d/nbd.conf <<<"nbd"
	write_file A /etc/modprobe.d/nbd.conf <<<"options nbd nbds_max=1"
	write_file A /etc/nbdtab <<<"nbd0 /run/cbd/data.sock data unix,timeout=86400"
	write_file A /etc/systemd/system/nbd@nbd0.service.d/override.conf <<-'END'
		[Unit]
		Requires=cbd-nbdkit@data.service
		After=cbd-nbdkit@data.service
		Before=systemd-fsck@dev-nbd0.service
	END
	write_file A /etc/cbd/ublk.d/fast.conf <<-'END'
		TRANSPORT=/dev/cbd-transport/rack7
		BACKEND=fast
		OPTIONS=
	END
	write_file A /etc/fstab <<-'END'
		/dev/nbd0 /srv/data ext4 _netdev,nofail,x-systemd.device-timeout=0,x-systemd.requires=nbd@nbd0.service 0 2
		/dev/cbd/fast /srv/fast ext4 _netdev,nofail,x-systemd.device-timeout=0 0 2
	END
	on A "mkdir -p /srv/data /srv/fast && systemctl daemon-reload"
	on A "systemctl restart systemd-modules-load"
	on A "systemctl enable --now cbd-nbdkit@data cbd-ublk@fast"
	says A "stat -c '%U %G %a' /run/cbd/data.sock" "cbd cbd-clients 660"
	on A "systemctl start nbd@nbd0"
	on A "mkfs.ext4 -q /dev/nbd0 && mkfs.ext4 -q /dev/cbd/fast"
	on A "mount /srv/data && mount /srv/fast"
	on A "for f in data fast; do head -c 5000003 /dev/urandom >/srv/\$f/kept; done"
	on A "sha256sum /srv/*/kept >/root/sums && sync"
	shows A "systemctl status cbd-ublk@fast" "Status: \""
}

# What A has after a boot, without a hand.
mounts_again()
{
	booted A
	on A "wait_until 'the mount by nbd' mountpoint -q /srv/data"
	on A "wait_until 'the mount by ublk' mountpoint -q /srv/fast"
	on A "sha256sum --quiet -c /root/sums"
	says A "stat -c '%U %G %a' /run/cbd /run/cbd/data.sock /dev/dax0.0 | paste -sd ' '" \
		"cbd cbd-clients 750 cbd cbd-clients 660 root cbd 660"
	on A "wait_until 'the end of the boot' has_no_jobs"
	says A "systemctl --failed --no-legend" ""
}

# The file systems, then the device of nbd-client, then the front ends; of the boot before.
went_down_in_order()
{
	local journal

	journal=$LAB_RUN/journal-A-$((boots[A] - 1))
	in_order "$journal" "Unmounted .*srv/data" "Stopped .*nbd0" "Stopped cbd-nbdkit@data"
	in_order "$journal" "Unmounted .*srv/fast" "Stopped cbd-ublk@fast"
}

a_reboots()
{
	say "host A reboots"
	goes_down A "systemctl reboot"
	boot A
	mounts_again
	clean_journal A -1
	went_down_in_order
	clean_journal A 0
}

# moves WHAT: what A does on both file systems goes on, without an error
moves()
{
	on A "load_moves /srv/data /srv/fast"
	say "$1: A goes on"
}

b_stays_up()
{
	say "the units of host B, while A writes and reads"
	on A "load_start /srv/data /srv/fast"
	on B "systemctl restart cbd-backend@data cbd-backend@fast"
	moves "restart"
	echo "block_resize data ${grown}B" 1<>"$LAB_RUN/monitor.in"
	on B "wait_until 'the larger disk' has_size /dev/disk/by-id/virtio-data $grown"
	on B "truncate -s 96M /srv/fast"
	on B "systemctl reload cbd-backend@data cbd-backend@fast"
	on B "wait_until 'the new size' backend_has_size 1 $grown"
	on B "wait_until 'the new size' backend_has_size 2 $((96 << 20))"
	moves "reload"
	on B "systemctl start cbd-backend-next@data && systemctl start cbd-backend@data"
	says B "systemctl is-active cbd-backend@data cbd-backend-next@data || true" $'active\ninactive'
	moves "an upgrade in place"
	watchdogs
	clean_journal B 0 "$expected"
}

# Both at once, as an interval is half a minute or more. They are fed before, and a process
# that stands still is not.
watchdogs()
{
	on B "wait_until 'the watchdog to be fed' is_fed cbd-backend@data"
	on A "wait_until 'the watchdog to be fed' is_fed cbd-ublk@fast"
	on A "systemctl kill --kill-who=main -s STOP cbd-ublk@fast"
	on B "systemctl kill --kill-who=main -s STOP cbd-backend@data"
	on B "wait_until 'the end of a process that stands still' has_restarts cbd-backend@data 1"
	on A "wait_until 'the end of a process that stands still' has_restarts cbd-ublk@fast 1"
	on B "wait_until 'the next one' is_active cbd-backend@data"
	on A "wait_until 'the next one' is_active cbd-ublk@fast"
	moves "watchdogs"
}
expected="atchdog|dumped core|does not beat|is back|Killing process|status=6/ABRT"

b_reboots()
{
	say "host B reboots"
	goes_down B "systemctl reboot"
	boot B
	booted B
	moves "reboot of B"
	clean_journal B -1 "$expected"
	in_order "$LAB_RUN/journal-B-$((boots[B] - 1))" "Stopping cbd-backend@data" \
		"Stopped cbd-backend@data" "Stopped target local-fs.target"
	clean_journal B 0
}

b_loses_power()
{
	say "host B loses its power"
	power_off B
	sleep 1
	boot B
	booted B
	moves "power failure of B"
	on B "wait_until 'backend data' is_active cbd-backend@data"
	on B "wait_until 'backend fast' is_active cbd-backend@fast"
	clean_journal B 0
}

both_reboot()
{
	say "both hosts are switched off, and on"
	on A "load_stop /srv/data /srv/fast"
	on A "sha256sum --quiet -c /root/sums"
	clean_journal A 0 "$expected"
	goes_down A "systemctl poweroff"
	goes_down B "systemctl poweroff"
	boot A
	boot B
	booted B
	mounts_again
	clean_journal A -1 "$expected"
	went_down_in_order
	clean_journal A 0
	clean_journal B 0
	on A "umount /srv/data /srv/fast && fsck.ext4 -fn /dev/nbd0 && fsck.ext4 -fn /dev/cbd/fast"
	on A "cbdctl check /dev/dax0.0"
}

# is_state HOST STATE UNIT...: each of them
is_state()
{
	local host=$1 state=$2 unit lines=

	shift 2
	for unit in "$@"; do
		lines+=${lines:+$'\n'}$state
	done
	says "$host" "systemctl is-active $* || true" "$lines"
}

# By the target of all, and by patterns, which wait for the end.
by_hand()
{
	say "all units are stopped, and started"
	on A "systemctl stop 'cbd-nbdkit@*' 'cbd-ublk@*' 'cbd-backend@*'"
	is_state A inactive cbd-nbdkit@data cbd-ublk@fast nbd@nbd0
	on B "systemctl stop cbd.target"
	on B "wait_until 'the end of data' is_inactive cbd-backend@data"
	on B "wait_until 'the end of fast' is_inactive cbd-backend@fast"
	on B "systemctl start cbd.target"
	is_state B active cbd-backend@data cbd-backend@fast cbd-backends.target
	on A "systemctl start cbd.target"
	is_state A active cbd-nbdkit@data cbd-ublk@fast
}

requires modprobe depmod mkfifo tar make jq
: "${abs_top_builddir:=$(find_build)}"
[ -x "$abs_top_builddir/run" ] || broken "$abs_top_builddir: not built"
build_root
new_run_folder
installed
offered
mounted
a_reboots
b_stays_up
b_reboots
b_loses_power
both_reboot
by_hand
say "passed"
