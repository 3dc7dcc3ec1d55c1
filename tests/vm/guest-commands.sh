# A host of a test that has its hosts from remote.sh: runs the commands that are left in the
# folder of this node, one after the other, until it is told to end. Owns nothing of what
# they do; what they call is in the file "functions" of the run folder.
# shellcheck shell=bash

# shellcheck source=guest-lib.sh
. /lab/guest-lib.sh

# A host that boots again has the identity that it had.
keep_host_id()
{
	[ -e "/lab/host-id-$NODE" ] || cat /proc/sys/kernel/random/uuid >"/lab/host-id-$NODE"
	mkdir -p /etc/cbd
	cp "/lab/host-id-$NODE" /etc/cbd/host-id
}

# Once more with the programs of the build.
if [ -z "${abs_top_builddir-}" ]; then
	need_build
	keep_host_id
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

# what daemons say
busybox syslogd -O "$LAB/syslog"
# shellcheck source=/dev/null
. /lab/functions
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
