# A host of the demonstration: runs the commands that demo.sh leaves in the folder of this
# node, one after the other, until it is told to end. Owns nothing of what they do.
# shellcheck shell=bash

# shellcheck source=guest-lib.sh
. /lab/guest-lib.sh

# Once more with the programs of the build.
if [ -z "${abs_top_builddir-}" ]; then
	need_build
	new_host_id
	names=(- host-a host-b host-c)
	hostname "${names[$NODE]}"
	exec "$RUN" bash "$0"
fi
# a command is to be the program, as it is typed
unset -f cbdctl

# A look costs no process.
mkfifo /run/never
exec 9<>/run/never
doze()
{
	read -rt 0.1 -u 9 || true
}

has_size() # DEVICE BYTES
{
	[ "$(blockdev --getsize64 "$1")" = "$2" ]
}

is_free() # DEVICE
{
	[ ! -e "/sys/block/${1##*/}/pid" ]
}

# fio, one run after the other; each ends when all that it wrote was read and compared.
verify_start()
{
	rm -f /run/stop
	until [ -e /run/stop ]; do
		fio --output-format=json --output=/run/fio.json /lab/demo.fio || {
			echo "fio ended with status $?" >&2
			break
		}
		jq -c '.jobs[0] | {error, written: .write.io_bytes, read: .read.io_bytes,
			longest_ns: .write.clat_ns.max}' /run/fio.json >>/lab/fio.runs
	done 2>>/lab/fio.errors &
	echo $! >/run/verify.pid
}

verify_stop()
{
	: >/run/stop
	wait_until "fio to end" gone "$(cat /run/verify.pid)"
}

: >"$LAB/up"
n=0
until [ -e "$LAB/end" ]; do
	if [ ! -e "$LAB/command-$n" ]; then
		doze
		continue
	fi
	set +eE
	# shellcheck source=/dev/null
	(set -eE && . "$LAB/command-$n") >"$LAB/out-$n" 2>&1
	rc=$?
	set -eE
	echo $rc >"$LAB/rc.tmp"
	mv "$LAB/rc.tmp" "$LAB/rc-$n"
	n=$((n + 1))
done
