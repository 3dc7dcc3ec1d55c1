# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
#
# image.sh - a file system with this project in it, to be copied in and out.
# Sourced by the tests test-image-*.sh.

# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/functions.sh"

requires_program mke2fs e2fsck cmp tar nbdkit

# The sources, without what a build or git has put beside them.
copy_sources()
{
	mkdir "$disks/tree"
	tar -C "${abs_top_srcdir:?}" -cf - --exclude='./build*' --exclude=./.git \
		--exclude='*.o' --exclude='*.lo' --exclude=.libs . | tar -C "$disks/tree" -xf -
}

# sets $image
make_image()
{
	image=$disks/image
	copy_sources
	# what does not compress and is not sparse
	head -c 32M /dev/urandom >"$disks/tree/random"
	mke2fs -q -F -t ext4 -d "$disks/tree" "$image" 256M
}

# start_image_server: sets $disk and $uri
start_image_server()
{
	format_transport transport "$@"
	make_disk "$disks/disk" 256M
	start_backend 1 "$disk"
	start_nbdkit cbd "$transport" backend=1 queues=4
}

# check_image COPY: the same bytes, and a clean file system with the same files
check_image()
{
	cmp "$image" "$1"
	e2fsck -fn "$1" >"$tmp/e2fsck.log" 2>&1 || fail "e2fsck: $1 is not clean"
	debugfs -R "cat /configure.ac" "$1" 2>/dev/null | cmp - "$disks/tree/configure.ac"
}
