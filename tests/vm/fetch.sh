#!/bin/bash
# Owns the download half of the cache folder of the virtual machine tests:
# guest kernels, for CXL memory a newer QEMU, and for guests that boot with
# systemd a root file system, taken from the Debian archive. Nothing is installed,
# so no root is needed but for that file system. What the guests are built from
# these files belongs to lab.sh.
#
# usage: fetch.sh [k61|k612|qemu11|root12]...	(default: k61)
#
#   k61     kernel 6.1, enough for memory that is an NVDIMM
#   k612    kernel 6.12, needed for CXL memory
#   qemu11  a QEMU whose CXL memory runs at RAM speed, with its own libraries
#   root12  Debian 12 with systemd and what cbd needs, in root12/image (ext4);
#           needs root, mmdebstrap and mke2fs
#
# What is there already is kept; delete its folder to get it again. Two runs at
# once are safe. CBD_VM_CACHE is the folder
# (default ${XDG_CACHE_HOME:-$HOME/.cache}/cbd-vm).

set -euo pipefail

cache=${CBD_VM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/cbd-vm}
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
# of root12: an init, what cbd's programs are linked with, and what they are used with
root_packages="systemd-sysv udev kmod nbd-client nbdkit e2fsprogs daxctl jq mount"
root_packages+=" libblkid1 libdaxctl1 libev4 libisal2 libjson-c5 libmount1 libnbd0"
root_packages+=" libncursesw6 libpmem1 liburing2"
root_bytes=1G

die()
{
	echo "fetch.sh: $*" >&2
	exit 1
}

# The mirror that this machine is configured for serves the other suites too.
archive()
{
	# shellcheck disable=SC2016 # apt expands it
	apt-get indextargets --format '$(REPO_URI)' \
		'Origin: Debian' 'Label: Debian' | sort -u | sed -n 1p
}

# A private apt: own sources, own lists and an empty list of installed packages,
# so that the age and the suite of the machine's own lists do not matter.
private_apt() # SUITE FOLDER
{
	local uri

	uri=$(archive)
	[ -n "$uri" ] || die "apt knows no Debian archive, see sources.list(5)"
	mkdir -p "$2/lists/partial" "$2/archives/partial" "$2/empty"
	: >"$2/status"
	cat >"$2/lab.sources" <<-END
		Types: deb
		URIs: $uri
		Suites: $1
		Components: main
		Signed-By: $keyring
	END
	cat >"$2/apt.conf" <<-END
		Dir::Etc::sourcelist "$2/lab.sources";
		Dir::Etc::sourceparts "$2/empty";
		Dir::State::status "$2/status";
		Dir::State::lists "$2/lists";
		Dir::Cache "$2";
		Dir::Cache::archives "$2/archives";
		APT::Sandbox::User "$(id -un)";
		APT::Install-Recommends "false";
		Acquire::Languages "none";
		Debug::NoLocking "true";
	END
	export APT_CONFIG=$2/apt.conf
	apt-get -qq update
}

unpack_kernel() # APT-FOLDER TO
{
	local package

	package=$(apt-cache depends linux-image-amd64 |
		awk '/Depends: linux-image-[0-9]/ && !n++ { print $2 }')
	[ -n "$package" ] || die "the archive has no linux-image-amd64"
	(cd "$1/archives" && apt-get -qq download "$package")
	dpkg-deb -x "$1/archives/$package"_*.deb "$2"
}

# With nothing installed, the dependencies are everything that QEMU needs, down
# to the C library and its loader: the result runs on an older system.
unpack_qemu() # APT-FOLDER TO
{
	local deb

	apt-get -qq -y --download-only install qemu-system-x86 >/dev/null
	for deb in "$1"/archives/*.deb; do
		dpkg-deb -x "$deb" "$2"
	done
	install -m 755 /dev/stdin "$2/qemu" <<-'END'
		#!/bin/sh
		root=$(dirname "$(readlink -f "$0")")
		lib=$root/usr/lib/x86_64-linux-gnu
		QEMU_MODULE_DIR=$lib/qemu; export QEMU_MODULE_DIR
		exec "$lib/ld-linux-x86-64.so.2" --library-path "$lib" \
			"$root/usr/bin/qemu-system-x86_64" \
			-L "$root/usr/share/qemu" -L "$root/usr/share/seabios" "$@"
	END
	"$2/qemu" --version | sed -n 1p
}

# No password is needed: such a guest has no network. Each one gets an identity at its
# first boot, and nothing but what a test enables starts beside systemd's own services.
unpack_root() # APT-FOLDER TO
{
	local tree=$1/tree

	mmdebstrap --quiet --mode=root --variant=minbase --include="${root_packages// /,}" \
		bookworm "$tree" "$1/lab.sources"
	: >"$tree/etc/machine-id"
	: >"$tree/etc/fstab"
	mkdir -p "$tree/var/log/journal"
	rm -rf "$tree"/var/cache/apt/* "$tree"/var/lib/apt/lists/* "$tree"/usr/share/{doc,man,locale}
	systemctl --quiet --root="$tree" mask apt-daily.timer apt-daily-upgrade.timer \
		dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service getty.target \
		systemd-timesyncd.service
	truncate -s "$root_bytes" "$2/image"
	mke2fs -q -t ext4 -d "$tree" "$2/image"
	echo "$root_packages" >"$2/packages"
}

# The folder appears under its name only when it is complete.
fetch() # NAME SUITE HOW
{
	local tmp=$cache/.$1.tmp

	[ ! -d "$cache/$1" ] || return 0
	rm -rf "$tmp"
	mkdir -p "$tmp/apt" "$tmp/tree"
	(
		private_apt "$2" "$tmp/apt"
		"$3" "$tmp/apt" "$tmp/tree"
	)
	chmod 755 "$tmp/tree"
	mv "$tmp/tree" "$cache/$1"
	rm -rf "$tmp"
}

for program in apt-get dpkg-deb flock; do
	command -v "$program" >/dev/null || die "$program is needed"
done
mkdir -p "$cache"
cache=$(cd "$cache" && pwd -P)
exec 9>"$cache/fetch.lock"
flock 9
for what in "${@:-k61}"; do
	case $what in
	k61) fetch k61 bookworm unpack_kernel ;;
	k612) fetch k612 bookworm-backports unpack_kernel ;;
	qemu11) fetch qemu11 sid unpack_qemu ;;
	root12)
		# it was made of other packages
		[ "$(cat "$cache/root12/packages" 2>/dev/null)" = "$root_packages" ] ||
			rm -rf "$cache/root12"
		fetch root12 bookworm unpack_root
		;;
	*) die "$what: unknown, see the head of this script" ;;
	esac
done
