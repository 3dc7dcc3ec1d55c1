# A host of systemd.sh, as lab.service of a guest that has booted with systemd: runs the
# commands that systemd.sh leaves in the folder of this node, one after the other, until the
# guest goes down. Owns the load and the waiting, nothing of what the commands do.
# shellcheck shell=bash

node=$(sed 's/.*node=\([0-9]*\).*/\1/' /proc/cmdline)
LAB=/lab/node-$node
# shellcheck source=/dev/null
. /lab/settings # CBD_TEST_FACTOR
export HOME=/root LC_ALL=C.UTF-8 SYSTEMD_PAGER=cat CBD_TEST_FACTOR
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
# shellcheck source=../factor.sh
. /lab/factor.sh

# A look costs no process: they are what costs most in a guest.
mkfifo -m 600 /run/never
exec 9<>/run/never
doze() # SECONDS
{
	read -rt "$1" -u 9 || true
}

die()
{
	echo "$*" >&2
	exit 1
}

# Polls for an event; the bound is for a broken program, not for a slow one.
wait_until() # WHAT COMMAND...
{
	local what=$1 end=$((SECONDS + $(patience 30)))

	shift
	until "$@" 2>/dev/null; do
		[ $SECONDS -lt $end ] || die "waited in vain for $what"
		doze 0.5
	done
}

is_active() # UNIT
{
	[ "$(systemctl is-active "$1")" = active ]
}

is_inactive() # UNIT
{
	[ "$(systemctl is-active "$1")" = inactive ]
}

has_no_jobs()
{
	[ -z "$(systemctl list-jobs --no-legend)" ]
}

# property UNIT NAME
property()
{
	systemctl show --value -p "$2" "$1"
}

has_restarts() # UNIT N
{
	[ "$(property "$1" NRestarts)" -ge "$2" ]
}

# is_fed UNIT: within the last of its periods, and not only at the start
is_fed()
{
	[ "$(property "$1" WatchdogTimestampMonotonic)" -gt \
		"$(property "$1" ActiveEnterTimestampMonotonic)" ]
}

backend_has_size() # ID BYTES
{
	[ "$(cbdctl list -B --id "$1" /dev/dax0.0 | jq ".[0].size")" = "$2" ]
}

has_size() # DEVICE BYTES
{
	[ "$(blockdev --getsize64 "$1")" = "$2" ]
}

# Blocks that are written, flushed, read from the device and compared, until told to stop.
# /run/load/FOLDER counts the rounds; /run/load/errors is empty while all is well.
load() # FOLDER
{
	local i=0 count=/run/load/${1##*/} block=/run/load/block-${1##*/}

	until [ -e /run/load/stop ]; do
		head -c 100003 /dev/urandom >"$block"
		if ! dd if="$block" of="$1/load" bs=64k conv=fsync status=none ||
			! dd if="$1/load" bs=1M iflag=direct status=none | cmp - "$block"; then
			echo "the load on $1 has failed in round $i"
			break
		fi
		i=$((i + 1))
		echo $i >"$count.tmp"
		mv "$count.tmp" "$count"
		doze 0.3
	done
	: >"$count.ended"
}

load_start() # FOLDER...
{
	local folder

	rm -rf /run/load
	mkdir /run/load
	for folder in "$@"; do
		load "$folder" </dev/null >>/run/load/errors 2>&1 &
	done
	load_moves "$@"
}

# went_on FOLDER ROUNDS: by two, as one may have been answered before
went_on()
{
	[ -s /run/load/errors ] ||
		[ "$(cat "/run/load/${1##*/}" 2>/dev/null || echo 0)" -ge $(($2 + 2)) ]
}

load_moves() # FOLDER...: requests that are sent from now on are answered
{
	local folder rounds

	for folder in "$@"; do
		rounds=$(cat "/run/load/${folder##*/}" 2>/dev/null || echo 0)
		wait_until "requests on $folder to be answered" went_on "$folder" "$rounds"
	done
	[ ! -s /run/load/errors ] || die "$(cat /run/load/errors)"
}

load_stop() # FOLDER...
{
	local folder

	: >/run/load/stop
	for folder in "$@"; do
		wait_until "the load to end" test -e "/run/load/${folder##*/}.ended"
	done
	[ ! -s /run/load/errors ] || die "$(cat /run/load/errors)"
}

: >"$LAB/up"
n=0
until [ -e "$LAB/end" ]; do
	if [ ! -e "$LAB/command-$n" ]; then
		doze 0.3
		continue
	fi
	# shellcheck source=/dev/null
	(set -e && . "$LAB/command-$n") >"$LAB/out-$n" 2>&1
	echo $? >"$LAB/rc.tmp"
	mv "$LAB/rc.tmp" "$LAB/rc-$n"
	n=$((n + 1))
done
