#!/bin/bash
# quickstart.sh        packages, build, then the main job: a disk image through
#                      shared memory and back, verified
# quickstart.sh check  packages, then the whole test-suite
#
# For Debian 12, as root or with sudo. Asks nothing, and does nothing twice: with
# everything installed it needs no network. Builds in ./build.

set -eu -o pipefail
export LC_ALL=C.UTF-8
cd "$(dirname "$(readlink -f "$0")")"

build_packages=(
	autoconf automake e2fsprogs gcc libblkid-dev libc6-dev libdaxctl-dev libev-dev
	libisal-dev libjson-c-dev libmount-dev libnbd-bin libnbd-dev
	libncurses-dev libpmem-dev libtool
	liburing-dev check make nbdkit nbdkit-plugin-dev perl pkg-config
	qemu-utils
)
check_packages=(
	abigail-tools btrfs-progs busybox-static clang clang-format cpio cppcheck daxctl e2fsprogs fdisk fio fuse3 g++ gcovr
	git jq kmod libclang-rt-14-dev llvm nbd-client ndctl procps python3 python3-libnbd
	python3-prometheus-client tmux
	qemu-system-common qemu-system-x86 shellcheck spin systemd valgrind xfsprogs xz-utils zstd
)

usage()
{
	sed -n '2,/^$/{s/^# \{0,1\}//p}' "$0"
}

die()
{
	echo "quickstart.sh: $*" >&2
	exit 1
}

# --- Packages ---------------------------------------------------------------

# become_root WHAT: sets as_root, which goes in front of a command
become_root()
{
	as_root=()
	if [ "$(id -u)" -ne 0 ]; then
		command -v sudo >/dev/null || die "not root and no sudo. As root: $*"
		as_root=(sudo)
		[ -t 0 ] || as_root+=(-n)
	fi
}

installed()
{
	[ "$(dpkg-query -W -f '${db:Status-Abbrev}' "$1" 2>/dev/null)" = "ii " ]
}

install_packages()
{
	local package missing=()

	if ! command -v dpkg-query >/dev/null; then
		echo "packages   not a Debian system: configure will name what is missing"
		return
	fi
	for package in "$@"; do
		installed "$package" || missing+=("$package")
	done
	if [ ${#missing[@]} -eq 0 ]; then
		echo "packages   all installed"
		return
	fi

	echo "packages   installing ${#missing[@]}: ${missing[*]}"
	become_root "apt-get install ${missing[*]}"
	local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive
		apt-get -qq -o DPkg::Lock::Timeout=600)
	# Without network the lists that are there may still do.
	"${apt[@]}" update </dev/null || echo "packages   apt-get update failed, going on"
	"${apt[@]}" install -y --no-install-recommends "${missing[@]}" </dev/null >/dev/null
}

# A container often has no identity, and cbd tells hosts apart by theirs.
ensure_identity()
{
	if [ -s /etc/cbd/host-id ] || grep -qxE '[0-9a-f]{32}' /etc/machine-id 2>/dev/null; then
		return
	fi
	echo "identity   this machine has no /etc/machine-id: writing /etc/cbd/host-id"
	become_root "write a UUID to /etc/cbd/host-id"
	# shellcheck disable=SC2016 # for the inner shell
	"${as_root[@]}" sh -c 'mkdir -p /etc/cbd &&
		cat /proc/sys/kernel/random/uuid >/etc/cbd/host-id'
}

# --- The main job -----------------------------------------------------------

work=     # everything this script makes, but for the transport
transport=
pids=()   # what this script started, in that order

# shellcheck disable=SC2317 # reached through the trap
cleanup()
{
	local i pid

	for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
		pid=${pids[i]}
		kill "$pid" 2>/dev/null || continue
		# A program that does not end by itself must not outlive us.
		for ((n = 0; n < 100; n++)); do
			kill -0 "$pid" 2>/dev/null || break
			sleep 0.1
		done
		kill -9 "$pid" 2>/dev/null || true
	done
	if [ -n "$transport" ]; then rm -f "$transport"; fi
	if [ -n "$work" ]; then rm -rf "$work"; fi
}

# step NAME TEXT COMMAND...: one line with the time it took, the output on failure
step()
{
	local name=$1 text=$2 start=$EPOCHREALTIME end
	shift 2

	printf '%-10s %s' "$name" "$text"
	if ! "$@" >"$work/log" 2>&1; then
		printf '  FAILED: %s\n' "$*"
		tail -n 30 "$work/log"
		exit 1
	fi
	end=$EPOCHREALTIME
	printf '  (%d.%02d s)\n' $(((${end/./} - ${start/./}) / 1000000)) \
		$(((${end/./} - ${start/./}) / 10000 % 100))
}

# set -e does not reach into a function that "if" calls, so each && is needed.
build()
{
	{ [ -x configure ] || ./autogen.sh; } &&
		mkdir -p build &&
		cd build &&
		{ [ -x config.status ] || ../configure; } &&
		make -j"$(nproc)" &&
		cd ..
}

# start PIDFILE COMMAND...: until the program has written its pid file
start()
{
	local pidfile=$1
	shift

	"$@" </dev/null >"$pidfile.log" 2>&1 &
	pids+=($!)
	for ((n = 0; n < 200; n++)); do
		if [ -s "$pidfile" ]; then return 0; fi
		if ! kill -0 $! 2>/dev/null; then break; fi
		sleep 0.05
	done
	cat "$pidfile.log"
	return 1
}

# A file system with this project and 64 MiB that do not compress.
make_image()
{
	mkdir "$work/tree" &&
		tar -cf - --exclude=./build --exclude=./.git . | tar -xf - -C "$work/tree" &&
		head -c 64M /dev/urandom >"$work/tree/random" &&
		mke2fs -q -F -t ext4 -d "$work/tree" "$work/image" 256M &&
		rm -rf "$work/tree"
}

main_job()
{
	local run=$PWD/build/run socket uri

	# unix sockets have short names
	work=$(mktemp -d "${TMPDIR:-/tmp}/cbd.XXXXXX")
	trap cleanup EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
	PATH=$PATH:/usr/sbin:/sbin

	step build "out of tree, in ./build" build

	transport=$(mktemp /dev/shm/cbd.XXXXXX)
	socket=$work/nbd.sock
	uri="nbd+unix:///?socket=$socket"

	step format "$transport, the memory that both sides share" \
		"$run" cbdctl format --size 48M "$transport"
	truncate -s 256M "$work/disk"
	step backend "cbd-backend serves a disk file" \
		start "$work/backend.pid" \
		"$run" cbd-backend -f -P "$work/backend.pid" -t "$transport" --id 1 "$work/disk"
	step nbdkit "nbdkit cbd on a unix socket" \
		start "$work/nbdkit.pid" \
		"$run" nbdkit -f -P "$work/nbdkit.pid" -U "$socket" cbd "$transport" backend=1
	step image "mke2fs: 256 MiB ext4 with this project's files" make_image
	step "copy in" "nbdcopy: image to NBD, through shared memory, to the disk" \
		nbdcopy --flush "$work/image" "$uri"
	step "copy out" "nbdcopy: and back" nbdcopy "$uri" "$work/copy"
	step compare "cmp: image, copy and disk file are identical" compare
	step fsck "e2fsck: the copy is clean" e2fsck -fn "$work/copy"
	step qemu "qemu-img info reads the disk" qemu-img info "nbd:unix:$socket"
	what_next
}

compare()
{
	cmp "$work/image" "$work/copy" && cmp "$work/image" "$work/disk"
}

what_next()
{
	cat <<END

It works. The same by hand, in $PWD:

  truncate -s 1G /tmp/disk.img
  build/run cbdctl format --size 48M /dev/shm/cbd
  build/run cbd-backend -t /dev/shm/cbd --id 1 -P /tmp/cbd-backend.pid /tmp/disk.img
  build/run nbdkit -U /tmp/cbd.sock -P /tmp/cbd-nbdkit.pid cbd /dev/shm/cbd backend=1
  build/run cbdctl list --backends /dev/shm/cbd
  nbdinfo 'nbd+unix:///?socket=/tmp/cbd.sock'
  kill \$(cat /tmp/cbd-nbdkit.pid); kill \$(cat /tmp/cbd-backend.pid)
  rm -f /tmp/cbd.sock /tmp/cbd-nbdkit.pid /tmp/disk.img /dev/shm/cbd

Two hosts with a common /dev/dax0.0: see README.md. All tests: ./quickstart.sh check
END
}

case $#:${1-} in
0:)
	install_packages "${build_packages[@]}"
	ensure_identity
	main_job
	;;
1:check)
	install_packages "${build_packages[@]}" "${check_packages[@]}"
	ensure_identity
	exec .ci/check
	;;
1:-h | 1:--help)
	usage
	;;
*)
	usage >&2
	exit 2
	;;
esac
