# What hosts of hosts-power.sh and its like do when a command calls it.
# shellcheck shell=bash

# A disk of this host alone, for files that backends serve.
mount_disk() # DEVICE
{
	mkdir -p /disk
	blkid "$1" >/dev/null || mkfs.ext4 -q "$1"
	mount "$1" /disk
}

serve() # ID NAME [OPTION]... DISK
{
	cbd-backend -t /dev/dax0.0 --id "$1" --name "$2" -P "/run/$2.pid" "${@:3}"
}

attach() # NAME [PARAMETER]...
{
	rm -f "/run/$1".{sock,nbdkit}
	nbdkit -U "/run/$1.sock" -P "/run/$1.nbdkit" cbd /dev/dax0.0 backend="$1" "${@:2}" ||
		return
	wait_until "nbdkit's pid file" test -s "/run/$1.nbdkit"
}

end() # PIDFILE...
{
	local file pid

	for file in "$@"; do
		pid=$(cat "$file")
		kill "$pid"
		wait_until "the end of $file" gone "$pid"
	done
}

connect() # NAME DEVICE BYTES [OPTION]...
{
	nbd-client -unix "/run/$1.sock" "$2" "${@:4}"
	wait_until "$2 to have its size" has_size "$2" "$3"
}

disconnect() # DEVICE
{
	nbd-client -d "$1"
	wait_until "$1 to be free" is_free "$1"
}

# flush-io on a socket, until flush_stop. What is wrong comes to /lab/NAME.errors.
flush_start() # NAME
{
	rm -f "/run/$1.stop"
	/usr/bin/python3 "$SRC/tests/vm/flush-io.py" run "nbd+unix:///?socket=/run/$1.sock" \
		"/lab/$1.log" "/run/$1.stop" "/lab/$1.result" >"/lab/$1.errors" 2>&1 &
	echo $! >"/run/$1.flush"
}

flush_stop() # NAME
{
	: >"/run/$1.stop"
	wait_until "flush-io to end" gone "$(cat "/run/$1.flush")"
}

flush_verify() # NAME
{
	/usr/bin/python3 "$SRC/tests/vm/flush-io.py" verify \
		"nbd+unix:///?socket=/run/$1.sock" "/lab/$1.log"
}

# What the kernel says of devices of this host
no_error()
{
	! dmesg | grep -iE 'I/O error|nbd[0-9]+.*(error|timed out)|EXT4-fs (error|warning)|XFS.*(error|corrupt)'
}

# Both hosts begin round N of a race at once.
meet() # RACE N HOSTS
{
	local n end=$((SECONDS + $(patience 60)))

	: >"/lab/race-$1-$2-$NODE"
	for ((n = 1; n <= $3; n++)); do
		until [ -e "/lab/race-$1-$2-$n" ]; do
			[ $SECONDS -lt $end ] || die "the other host does not come"
		done
	done
}

# COMMAND on both hosts at once, for so many rounds, in daemons that leave their pid in FILE.
# The winner is asked to end; its host writes "won", the other one what it was told.
race() # NAME ROUNDS FILE COMMAND...
{
	local name=$1 rounds=$2 file=$3 i

	shift 3
	for ((i = 0; i < rounds; i++)); do
		rm -f "$file"
		meet "$name" "begin-$i" 2
		if "$@" 2>/run/race.err; then
			wait_until "its pid" test -s "$file"
			echo won
		else
			cat /run/race.err
		fi >"/lab/race-$name-result-$i-$NODE"
		meet "$name" "tried-$i" 2
		[ ! -s "$file" ] || end "$file"
		meet "$name" "ended-$i" 2
	done
}

# A disk of B as /dev/nbdN with a file system of type TYPE and thousands of files.
many_files() # NAME DEVICE TYPE FILES
{
	mkfs."$3" -q "$2"
	mkdir -p "/mnt/$1"
	mount "$2" "/mnt/$1"
	/usr/bin/python3 "$SRC/tests/vm/many-files.py" make "/mnt/$1" "/run/$1.sums" "$4"
	rm -rf "/mnt/$1/1" "/mnt/$1/3"
	grep -vE ' (1|3)/' "/run/$1.sums" >"/lab/$1.sums"
	fstrim "/mnt/$1"
	umount "/mnt/$1"
}

same_files() # NAME DEVICE
{
	case $(blkid -o value -s TYPE "$2") in
	ext4) e2fsck -fn "$2" ;;
	xfs) xfs_repair -n "$2" ;;
	*) die "$2: no file system" ;;
	esac
	mkdir -p "/mnt/$1"
	mount -o ro "$2" "/mnt/$1"
	/usr/bin/python3 "$SRC/tests/vm/many-files.py" check "/mnt/$1" "/lab/$1.sums"
	umount "/mnt/$1"
}
