#!/bin/bash
# Owns the guests: QEMU machines "node-1", "node-2", ... on one memory file,
# which each of them sees as /dev/dax0.0. Each node is a host of its own. What a
# node runs is the caller's script; what is downloaded is the task of fetch.sh.
#
# usage: lab.sh run SCRIPT1 [SCRIPT2]...
#                   fresh memory, one node for each script, all at once; prints
#                   a line for each, exits 0 only if every script did
#        lab.sh prepare          fresh memory
#        lab.sh start N OF SCRIPT
#                   boot node N of OF and come back; memory stays as it is
#        lab.sh wait N           until it ends; exits with its script's code, or
#                   with 125 if the node died before the script ended
#        lab.sh kill|pause|resume N    the host crashes, hangs, goes on
#        lab.sh alive N          exits 0 while the node runs
#        lab.sh clean            kill what runs, remove memory and run folder
#        lab.sh build            only fetch and build what guests boot from
#
# Exits 2 when it was used wrongly or broke, 77 when the machine lacks something.
#
# A script runs as root. It sees the host's root file system and may write: that
# goes to memory and is lost. /lab is the run folder. NODE and NODES are set;
# LAB is the node's folder, where out (all output), rc, dmesg, console,
# qemu.log, uptime.start and uptime.end are left.
#
# Environment:
#   LAB_RUN      run folder (run: without it a new one, removed on success);
#                labs with run folders of their own do not disturb each other
#   LAB_DEV      nvdimm (default) or cxl
#   LAB_KERNEL   k61 (default) or k612 (default for cxl)
#   LAB_QEMU     program (default: qemu-system-x86_64, or fetched for cxl)
#   LAB_SIZE     of the shared memory (default 512M; cxl: multiples of 256M)
#   LAB_MEM      of a guest (default 1G)
#   LAB_SMP      CPUs of a guest (default 1,maxcpus=2)
#   LAB_TIMEOUT  seconds that a guest may live (default 180)
#   LAB_KEEPMEM  set: run uses the memory that is there already
#   LAB_NET      set: nodes 1 and 2 are linked, their addresses are 10.9.0.N
#   LAB_SHOW     folders, one a line, to show below /run and /dev/shm as well
#   LAB_EXTRA    more QEMU arguments; LAB_APPEND: more kernel arguments
#   CBD_VM_CACHE  see fetch.sh
#
# LAB_SMP must leave room for a second CPU. TCG knows when a machine can have
# one only, and then leaves out LOCK prefixes and fences: atomics between two
# such guests are lost.

set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd -P)
PATH=$PATH:/usr/sbin:/sbin
: "${LAB_DEV:=nvdimm}" "${LAB_SIZE:=512M}" "${LAB_MEM:=1G}"
: "${LAB_SMP:=1,maxcpus=2}" "${LAB_TIMEOUT:=180}" "${LAB_NET:=}"
: "${LAB_SHOW:=}" "${LAB_EXTRA:=}" "${LAB_APPEND:=}" "${LAB_KEEPMEM:=}"
cache=${CBD_VM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/cbd-vm}

die()
{
	echo "lab.sh: $*" >&2
	exit 2
}

lack()
{
	echo "lab.sh: $*" >&2
	exit 77
}

# What guests boot from

need_machine()
{
	local program

	[ "$(uname -m)" = x86_64 ] || lack "guests are built for x86_64 only"
	for program in "$@"; do
		command -v "$program" >/dev/null || lack "$program is missing"
	done
	! ldd "$(command -v busybox)" >/dev/null 2>&1 ||
		lack "busybox is not the static one"
}

choose()
{
	case $LAB_DEV in
	nvdimm) : "${LAB_KERNEL:=k61}" "${LAB_QEMU:=qemu-system-x86_64}" ;;
	cxl) : "${LAB_KERNEL:=k612}" "${LAB_QEMU:=$cache/qemu11/qemu}" ;;
	*) die "LAB_DEV=$LAB_DEV: neither nvdimm nor cxl" ;;
	esac
	case $LAB_SMP in
	1 | *maxcpus=1) die "LAB_SMP=$LAB_SMP: a second CPU must be possible" ;;
	esac
}

fetch()
{
	local what=("$LAB_KERNEL")

	[ "$LAB_QEMU" != "$cache/qemu11/qemu" ] || what+=(qemu11)
	CBD_VM_CACHE=$cache "$here/fetch.sh" "${what[@]}" ||
		lack "the guests' kernel or QEMU could not be fetched"
}

# A text that names the content of files: what is built from other content gets
# another name, so a stale build is never used.
content() # FILE...
{
	cat "$@" | sha256sum | cut -c1-12
}

modules()
{
	echo virtio_pci 9p 9pnet_virtio overlay crc32c-intel crc32c_generic
	echo nbd loop ext4 virtio_blk virtio_net virtio_blk
	[ "$LAB_KERNEL" != k612 ] || echo ublk_drv
	if [ "$LAB_DEV" = cxl ]; then
		echo cxl_acpi cxl_pci cxl_mem device_dax dax_cxl
	else
		echo libnvdimm nfit nd_btt nd_pmem device_dax dax_pmem
	fi
}

add_module() # PATH FOLDER
{
	local name

	name=$(basename "$1" .xz)
	[ ! -e "$2/$name" ] || return 0
	case $1 in
	*.xz) xz -dc "$1" >"$2/$name" ;;
	*) cp "$1" "$2/$name" ;;
	esac
	case $name in
	nbd.ko) echo "$name nbds_max=4 max_part=0" ;;
	*) echo "$name" ;;
	esac >>"$2/order"
}

add_modules() # FOLDER
{
	local tree=$cache/$LAB_KERNEL module action path

	for module in $(modules); do
		modprobe -C /dev/null -d "$tree" -S "$version" \
			--show-depends "$module" |
			while read -r action path _; do
				[ "$action" = insmod ] || continue
				add_module "$path" "$1"
			done
	done
}

build_initrd()
{
	local tmp

	tmp=$(mktemp -d "$cache/.initrd.XXXXXX")
	mkdir -p "$tmp"/{bin,dev,proc,sys,lib/modules}
	install -m 755 "$(command -v busybox)" "$tmp/bin/busybox"
	install -m 755 "$here/guest-init.sh" "$tmp/init"
	add_modules "$tmp/lib/modules"
	(cd "$tmp" && find . | cpio -o -H newc --quiet | gzip -1) >"$tmp.gz"
	mv "$tmp.gz" "$initrd"
	rm -rf "$tmp"
}

# The kernel file comes last: it says that all of this is done.
build_kernel()
{
	local tree=$cache/$LAB_KERNEL

	depmod -b "$tree" "$version"
	"$here/extract-vmlinux.py" "$tree/boot/vmlinuz-$version" "$kernel.tmp"
	mv "$kernel.tmp" "$kernel"
}

# Sets kernel, initrd and version, and makes the files; one lab at a time.
build()
{
	choose
	need_machine busybox cpio depmod flock modprobe ndctl python3 xz
	fetch
	need_machine "$LAB_QEMU"
	cache=$(cd "$cache" && pwd -P)
	version=$(basename "$cache/$LAB_KERNEL"/lib/modules/*)
	kernel=$cache/$LAB_KERNEL/boot/vmlinux
	initrd=$cache/initrd-$LAB_KERNEL-$LAB_DEV-$(content "$0" "$here/guest-init.sh")
	(
		flock 9
		[ -e "$kernel" ] || build_kernel
		[ -e "$initrd" ] || build_initrd
	) 9>"$cache/build.lock"
}

# Shared memory: $LAB_RUN/memory, as a rule a link into /dev/shm

has_room() # FOLDER BYTES
{
	local free

	free=$(df --output=avail -B1 "$1" 2>/dev/null | tail -1)
	[ -w "$1" ] && [ "${free:-0}" -gt "$2" ]
}

fresh_memory()
{
	local bytes file

	bytes=$(numfmt --from=iec "$LAB_SIZE")
	remove_memory
	if has_room /dev/shm $((bytes * 2)); then
		file=$(mktemp /dev/shm/cbd-vm.XXXXXX)
		ln -s "$file" "$LAB_RUN/memory"
	fi
	truncate -s "$bytes" "$LAB_RUN/memory"
}

remove_memory()
{
	[ ! -L "$LAB_RUN/memory" ] || rm -f "$(readlink "$LAB_RUN/memory")"
	rm -f "$LAB_RUN/memory"
}

# A namespace of mode devdax is announced by its first 2 MiB. One boot in the
# life of the cache makes them for each size. Runs in a subshell of its own.
make_header() # FILE
{
	LAB_RUN=$(mktemp -d "$cache/.header.XXXXXX")
	trap 'exit 130' INT TERM HUP
	trap clean EXIT
	echo 'ndctl create-namespace -f -e namespace0.0 -m devdax --map=mem &&
		test -c /dev/dax0.0' >"$LAB_RUN/script"
	fresh_memory
	start 1 1 "$LAB_RUN/script"
	if ! wait_node 1 >&2; then
		cat "$LAB_RUN"/node-1/{qemu.log,console,out} >&2 || true
		return 1
	fi
	head -c 2M "$LAB_RUN/memory" >"$1.tmp"
	mv "$1.tmp" "$1"
}

prepare()
{
	local header=$cache/devdax-$LAB_KERNEL-$LAB_SIZE

	fresh_memory
	[ "$LAB_DEV" = nvdimm ] || return 0
	(
		flock 9
		[ -e "$header" ] || make_header "$header"
	) 9>"$cache/header.lock" || die "no devdax namespace could be made"
	dd if="$header" of="$LAB_RUN/memory" conv=notrunc bs=2M status=none
}

# Nodes

# A pid alone may belong to another process by now.
running() # N
{
	local dir=$LAB_RUN/node-$1

	[ -s "$dir/pid" ] &&
		grep -qsF "$dir/" "/proc/$(cat "$dir/pid")/cmdline"
}

# TCG's cmpxchg16b leaves more than flags in the flags. Linux uses it when it allocates
# memory, and an interrupt right behind it may return into virtual 8086 mode: a panic.
machine_args() # N
{
	local cpu=max,-cx16

	if [ "$LAB_DEV" = cxl ]; then
		# As a hypervisor's guest Linux does not flush CPU caches, and
		# without that it does not commit a region.
		args+=(-cpu "$cpu,-hypervisor"
			-machine "q35,cxl=on,cxl-fmw.0.targets.0=cxl.0,cxl-fmw.0.size=4G"
			-device "pxb-cxl,id=cxl.0,bus=pcie.0,bus_nr=52"
			-device "cxl-rp,id=rp0,bus=cxl.0,chassis=0,port=0,slot=2"
			-device "cxl-type3,bus=rp0,volatile-memdev=shared,sn=0x$1")
	else
		args+=(-cpu "$cpu" -machine "q35,nvdimm=on"
			-device "nvdimm,memdev=shared")
	fi
}

# The paths of sockets are relative: a long run folder would not fit.
network_args() # N
{
	local mac=52:54:00:09:00:0$1 near far

	if [ -z "$LAB_NET" ]; then
		args+=(-nic none)
		return
	fi
	rm -f "$LAB_RUN/net$1"
	near="local.type=unix,local.path=net$1"
	far="remote.type=unix,remote.path=net$((3 - $1))"
	args+=(-netdev "dgram,id=net,$near,$far"
		-device "virtio-net-pci,bus=pcie.0,netdev=net,mac=$mac,romfile=")
}

folder_args() # ID PATH TAG OPTIONS
{
	args+=(-fsdev "local,id=$1,path=$2,security_model=none$4"
		-device "virtio-9p-pci,bus=pcie.0,fsdev=$1,mount_tag=$3")
}

boot_args() # N
{
	local append="console=ttyS0 panic=-1 quiet loglevel=4 mitigations=off"

	append+=" nokaslr audit=0 apparmor=0 cryptomgr.notests"
	append+=" rcupdate.rcu_expedited=1 8250.nr_uarts=1 no_timer_check"
	append+=" tsc=reliable node=$1 $LAB_APPEND"
	args+=(-kernel "$kernel" -initrd "$initrd" -append "$append")
}

node_args() # N
{
	args=(-accel "tcg,thread=multi" -smp "$LAB_SMP"
		-m "$LAB_MEM,slots=2,maxmem=8G"
		-object "memory-backend-file,id=shared,share=on,mem-path=$LAB_RUN/memory,size=$LAB_SIZE"
		-display none -monitor none -no-reboot
		-serial "file:$LAB_RUN/node-$1/console"
		-pidfile "$LAB_RUN/node-$1/pid"
		-device "isa-debug-exit,iobase=0xf4,iosize=0x04")
	machine_args "$1"
	network_args "$1"
	folder_args root / hostroot ",readonly=on,multidevs=remap"
	folder_args lab "$LAB_RUN" lab ""
	boot_args "$1"
	# shellcheck disable=SC2206 # several arguments
	args+=($LAB_EXTRA)
}

node_env() # N OF
{
	local show

	mapfile -t show < <(sort -u <<<"$LAB_SHOW" | grep .)
	printf 'export NODE=%s NODES=%s\n' "$1" "$2"
	printf 'LAB_DEV=%s\n' "$LAB_DEV"
	printf 'LAB_MODULES=%q\n' "$cache/$LAB_KERNEL/lib/modules"
	printf 'LAB_SHOW=('
	[ ${#show[@]} = 0 ] || printf '%q ' "${show[@]}"
	printf ')\n'
}

start() # N OF SCRIPT
{
	local dir=$LAB_RUN/node-$1 args

	! running "$1" || die "node-$1 of $LAB_RUN is running"
	rm -rf "$dir"
	mkdir -p "$dir"
	cp "$3" "$dir/script"
	cp "$here/guest-run.sh" "$here/guest-cxl.sh" "$LAB_RUN/"
	node_env "$1" "$2" >"$dir/env"
	node_args "$1"
	(
		cd "$LAB_RUN"
		rc=0
		timeout -k 2 "$LAB_TIMEOUT" "$LAB_QEMU" "${args[@]}" || rc=$?
		echo "$rc" >"$dir/qemu.rc.tmp"
		mv "$dir/qemu.rc.tmp" "$dir/qemu.rc"
	) </dev/null >"$dir/qemu.log" 2>&1 9>&- &
}

field() # FILE
{
	cat "$1" 2>/dev/null || echo none
}

# qemu.rc comes at the latest when the node's time is over.
wait_node() # N
{
	local dir=$LAB_RUN/node-$1 rc end=$((SECONDS + LAB_TIMEOUT + 20))

	[ -d "$dir" ] || die "there is no node-$1"
	while [ ! -e "$dir/qemu.rc" ] && [ $SECONDS -lt $end ]; do
		sleep 0.1
	done
	rc=$(field "$dir/rc")
	echo "node-$1 rc=$rc qemu=$(field "$dir/qemu.rc")" \
		"start=$(field "$dir/uptime.start") end=$(field "$dir/uptime.end")"
	[ "$rc" != none ] || rc=125
	return "$rc"
}

# QEMU writes its pid a moment after the start.
signal() # SIGNAL N
{
	local dir=$LAB_RUN/node-$2 tries=100

	until [ -s "$dir/pid" ] || [ -e "$dir/qemu.rc" ] ||
		[ $((tries -= 1)) -lt 0 ]; do
		sleep 0.1
	done
	running "$2" || die "node-$2 does not run"
	kill "-$1" "$(cat "$dir/pid")"
}

kill_node() # N
{
	local tries=100

	(signal KILL "$1") 2>/dev/null || return 0
	until [ -e "$LAB_RUN/node-$1/qemu.rc" ] || [ $((tries -= 1)) -lt 0 ]; do
		sleep 0.1
	done
}

kill_all()
{
	local dir

	for dir in "$LAB_RUN"/node-*; do
		[ ! -d "$dir" ] || [ -e "$dir/qemu.rc" ] || kill_node "${dir##*-}"
	done
}

clean()
{
	kill_all
	remove_memory
	rm -rf "$LAB_RUN"
}

leave_run()
{
	kill_all
	[ -n "$LAB_KEEPMEM" ] || remove_memory
}

run() # SCRIPT...
{
	local n bad=0

	trap 'exit 130' INT TERM HUP
	trap leave_run EXIT
	if [ -z "$LAB_KEEPMEM" ] || [ ! -e "$LAB_RUN/memory" ]; then
		prepare
	fi
	for ((n = 1; n <= $#; n++)); do
		start "$n" $# "${!n}"
	done
	for ((n = 1; n <= $#; n++)); do
		wait_node "$n" || bad=1
	done
	return "$bad"
}

run_in_new_folder() # SCRIPT...
{
	LAB_RUN=$(mktemp -d "${TMPDIR:-/tmp}/cbd-vm.XXXXXX")
	echo "lab.sh: run folder $LAB_RUN" >&2
	run "$@"
	clean
}

need_run_folder()
{
	[ -n "${LAB_RUN:-}" ] || die "LAB_RUN must be set"
	mkdir -p "$LAB_RUN"
	LAB_RUN=$(cd "$LAB_RUN" && pwd -P)
}

usage()
{
	sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
	exit 2
}

command=${1:-}
[ $# = 0 ] || shift
case $command in
build)
	build
	echo "$initrd"
	;;
run)
	[ $# -gt 0 ] || usage
	build
	if [ -z "${LAB_RUN:-}" ]; then
		run_in_new_folder "$@"
	else
		need_run_folder
		run "$@"
	fi
	;;
prepare)
	need_run_folder
	build
	prepare
	;;
start)
	[ $# = 3 ] || usage
	need_run_folder
	build
	[ -e "$LAB_RUN/memory" ] || prepare
	start "$@"
	;;
wait | kill | pause | resume | alive)
	[ $# = 1 ] || usage
	need_run_folder
	case $command in
	wait) wait_node "$1" ;;
	kill) signal KILL "$1" ;;
	pause) signal STOP "$1" ;;
	resume) signal CONT "$1" ;;
	alive) running "$1" ;;
	esac
	;;
clean)
	need_run_folder
	clean
	;;
*) usage ;;
esac
