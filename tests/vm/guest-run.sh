#!/bin/bash
# Runs as process 1 of a guest once its root file system stands: settles what
# lab.sh wrote to the node's env file, runs the node's script, leaves the
# outcome in the node's folder and makes QEMU exit.

exec 2>&1
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export HOME=/root TERM=dumb LANG=C.UTF-8
ulimit -c 0

# The guest's own mounts on /run and /dev hide what the host has there.
show() # FOLDER
{
	[ -e "$1" ] || { mkdir -p "$1" && mount --bind "/host$1" "$1"; }
}

network()
{
	ip link set lo up
	[ -e /sys/class/net/eth0 ] || return 0
	ip addr add "10.9.0.$NODE/24" dev eth0
	ip link set eth0 up
}

uptime()
{
	cut -d' ' -f1 /proc/uptime
}

# A write to the port of isa-debug-exit ends QEMU at once.
leave()
{
	printf '\0' | dd of=/dev/port bs=1 count=1 seek=$((0xf4)) status=none
	echo o >/proc/sysrq-trigger
	sleep 10
}

number=$(sed 's/.*node=\([0-9]*\).*/\1/' /proc/cmdline)
export LAB=/lab/node-$number
# shellcheck source=/dev/null
. "$LAB/env"

hostname "node-$NODE"
mkdir -p /root /lib/modules
mount --bind "/host$LAB_MODULES" /lib/modules
network
for dir in "${LAB_SHOW[@]}"; do
	show "$dir"
done
[ "$LAB_DEV" != cxl ] || bash /lab/guest-cxl.sh >"$LAB/cxl.log" 2>&1

uptime >"$LAB/uptime.start"
cd /tmp || leave
setsid bash "$LAB/script" </dev/null >"$LAB/out" 2>&1
rc=$?
uptime >"$LAB/uptime.end"
dmesg >"$LAB/dmesg"
echo "$rc" >"$LAB/rc"
leave
