# Owns hosts A, B and C of a test: guests of lab.sh on one memory that run the commands
# which the test sends them (guest-commands.sh), one after the other. What they do, and the
# verdict, belong to the script that sources this file, which may have a fail of its own.
# shellcheck shell=bash

here=$(cd "$(dirname "$0")" && pwd -P)
srcdir=${abs_top_srcdir:?type build/run and the name of this script}
builddir=${abs_top_builddir:?}
PATH=$PATH:/usr/sbin:/sbin
export LC_ALL=C.UTF-8
# shellcheck source=../factor.sh
. "$here/../factor.sh"
# shellcheck source=verdict.sh
. "$here/verdict.sh"
[ -x "$builddir/run" ] || broken "$builddir: not built"

declare -A node=([A]=1 [B]=2 [C]=3) sent=([A]=0 [B]=0 [C]=0)
# shellcheck disable=SC2034 # of the scripts
dev=/dev/dax0.0

fail()
{
	echo "${0##*/}: $*" >&2
	hosts_said
	exit 1
}

say()
{
	echo "== $SECONDS s: $*"
}

# SECONDS: how long a guest may live, on an idle machine. The hosts source the files, which
# have what is called in commands. The folder is in memory: each write of the backends is
# synced.
new_run_folder() # SECONDS FILE...
{
	LAB_RUN=$(mktemp -d /dev/shm/cbd-vm.XXXXXX)
	LAB_TIMEOUT=${LAB_TIMEOUT:-$(limit "$1")}
	export LAB_RUN LAB_TIMEOUT LAB_SHOW=$srcdir$'\n'$builddir
	cp "$here/guest-lib.sh" "$LAB_RUN/"
	cat "${@:2}" >"$LAB_RUN/functions"
	printf 'RUN=%q\nSRC=%q\nCBD_TEST_FACTOR=%s\n' "$builddir/run" "$srcdir" \
		"$(factor)" >"$LAB_RUN/settings"
}

# CBD_VM_KEEP=1 keeps the run folder.
remove_run_folder()
{
	local n

	[ -n "${LAB_RUN-}" ] || return 0
	if [ -n "${CBD_VM_KEEP:-}" ]; then
		for n in 1 2 3; do
			"$here/lab.sh" kill $n 2>/dev/null || true
		done
		echo "${0##*/}: the run folder is $LAB_RUN"
	else
		"$here/lab.sh" clean
	fi
}

# The end of what the hosts have said
hosts_said()
{
	[ -z "${LAB_RUN-}" ] || tail -n 20 "$LAB_RUN"/node-*/{out,console,qemu.log} >&2 || true
}

# Boots, for the first time or again: a host keeps its identity, which is not that of the
# machine around the guests, and what its disks have.
boot() # HOST [QEMU ARGUMENT]...
{
	sent[$1]=0
	rm -f "$LAB_RUN"/{power-off,is-off}."host-${1,,}"
	LAB_EXTRA="${*:2}" "$here/lab.sh" start "${node[$1]}" 3 "$here/guest-commands.sh"
}

is_up() # HOST
{
	await_host "$1" "$LAB_RUN/node-${node[$1]}/up"
}

power_off() # HOST
{
	"$here/lab.sh" kill "${node[$1]}"
	until [ -e "$LAB_RUN/node-${node[$1]}/qemu.rc" ]; do
		sleep 0.1
	done
}

# What a host's fence asks for, see guest-power-off.sh.
power_off_if_asked()
{
	local host name

	for host in A B C; do
		name=host-${host,,}
		if [ -e "$LAB_RUN/power-off.$name" ] && [ ! -e "$LAB_RUN/is-off.$name" ]; then
			power_off $host
			: >"$LAB_RUN/is-off.$name"
		fi
	done
}

# Waits for FILE, which the host makes; it is alive meanwhile.
await_host() # HOST FILE [SECONDS]
{
	local end=$((SECONDS + $(patience "${3:-60}")))

	until [ -e "$2" ]; do
		power_off_if_asked
		[ ! -e "$LAB_RUN/node-${node[$1]}/qemu.rc" ] || fail "host $1 has ended"
		[ $SECONDS -lt $end ] || fail "host $1 does not answer"
		sleep 0.1
	done
}

# Sends COMMAND and comes back.
send() # HOST COMMAND
{
	local dir=$LAB_RUN/node-${node[$1]} n=${sent[$1]}

	sent[$1]=$((n + 1))
	printf '%s\n' "$2" >"$dir/command.tmp"
	mv "$dir/command.tmp" "$dir/command-$n"
}

# Waits for the end of the last COMMAND, leaves what it says in $LAB_RUN/said, and returns
# its status.
answer() # HOST [SECONDS]
{
	local dir=$LAB_RUN/node-${node[$1]} n=$((sent[$1] - 1))

	await_host "$1" "$dir/rc-$n" "${2:-60}"
	cp "$dir/out-$n" "$LAB_RUN/said"
	return "$(cat "$dir/rc-$n")"
}

ask() # HOST COMMAND
{
	send "$@"
	answer "$1"
}

# The same of what has to succeed.
quietly() # HOST COMMAND
{
	ask "$1" "$2" || fail "on host $1: $2: $(cat "$LAB_RUN/said")"
}

# The same of what has to fail, saying why.
refused() # HOST COMMAND REASON
{
	! ask "$1" "$2" || fail "on host $1 that should have been refused: $2"
	grep -qF -e "$3" "$LAB_RUN/said" ||
		fail "on host $1: $2: not refused because '$3' but: $(cat "$LAB_RUN/said")"
}

# In order: each host's script ends.
switch_off() # HOST...
{
	local host

	for host in "$@"; do
		: >"$LAB_RUN/node-${node[$host]}/end"
	done
	for host in "$@"; do
		"$here/lab.sh" wait "${node[$host]}" >/dev/null || fail "host $host ended badly"
	done
}
