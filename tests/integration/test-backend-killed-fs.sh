#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A mounted file system, over nbdfuse, while the backend is killed more than once a
# second: no error reaches it, and fsck finds it clean.

. "$(dirname "$0")/crash.sh"

requires_program nbdkit nbdfuse fusermount3 losetup mkfs.ext4 e2fsck
requires test -w /dev/fuse

rounds=$(share 10)
format_transport transport
make_disk "$disks/disk" 128M
start_backend 1 "$disk"
start_nbdkit cbd "$transport" backend=1 queues=2

# --- nbdfuse, a loop device, a file system ----------------------------------

mkdir "$tmp/fuse" "$tmp/mnt"
nbdfuse -P "$tmp/nbdfuse.pid" "$tmp/fuse/disk" "$uri" 2>"$tmp/nbdfuse.log" &
nbdfuse_pid=$!
cleanup_fn stop $nbdfuse_pid
wait_until 10 test -s "$tmp/nbdfuse.pid" || skip "no file system of nbdfuse can be mounted"
cleanup_fn unmounted_fuse
# shellcheck disable=SC2317,SC2329 # reached through the trap
unmounted_fuse()
{
	fusermount3 -u -q "$tmp/fuse" || true
}

loop=$(losetup -f --show "$tmp/fuse/disk" 2>/dev/null) || skip "no loop device"
cleanup_fn detached
# shellcheck disable=SC2317,SC2329 # reached through the trap
detached()
{
	[ -z "$(losetup -n -O BACK-FILE "$loop" 2>/dev/null)" ] || losetup -d "$loop"
}
mkfs.ext4 -q "$loop"
mount "$loop" "$tmp/mnt" || skip "no ext4 can be mounted"
cleanup_fn unmounted
# shellcheck disable=SC2317,SC2329 # reached through the trap
unmounted()
{
	! mountpoint -q "$tmp/mnt" || umount "$tmp/mnt"
}

# --- Load -------------------------------------------------------------------

# Files that say themselves what is in them, made, synced, renamed, removed.
write_files()
{
	local i=0

	while [ ! -e "$tmp/enough" ]; do
		seq $((i * 7)) $((i * 7 + 20000)) >"$tmp/mnt/new" || return 1
		sync "$tmp/mnt/new" || return 1
		mv "$tmp/mnt/new" "$tmp/mnt/file$((i % 40))" || return 1
		echo $((i * 7)) >"$tmp/last$((i % 40))"
		[ $((i % 5)) -ne 0 ] || rm -f "$tmp/mnt/file$(((i + 20) % 40))" \
			"$tmp/last$(((i + 20) % 40))"
		i=$((i + 1))
		echo $i >"$tmp/written"
	done
}

written()
{
	local n

	n=$(cat "$tmp/written" 2>/dev/null)
	[ "${n:-0}" -ge "$1" ] || gone $writer
}

write_files &
writer=$!
for ((round = 1; round <= rounds; round++)); do
	wait_until 30 written $((round * 10)) || fail "nothing is written any more"
	kill_backend 1
	start_backend 1 "$disk"
done
touch "$tmp/enough"
wait $writer || fail "a file could not be written"
echo "$(cat "$tmp/written") files, $rounds times killed"

# --- Is it all there? -------------------------------------------------------

umount "$tmp/mnt"
e2fsck -fn "$loop" >"$tmp/fsck.log" 2>&1 || fail "fsck: $(cat "$tmp/fsck.log")"
mount -o ro "$loop" "$tmp/mnt"
for last in "$tmp"/last*; do
	n=${last#"$tmp"/last}
	seq "$(cat "$last")" $(($(cat "$last") + 20000)) | cmp - "$tmp/mnt/file$n"
done
umount "$tmp/mnt"
losetup -d "$loop"
fusermount3 -u "$tmp/fuse"
wait_until 10 gone $nbdfuse_pid || fail "nbdfuse does not end"
stop "$nbdkit_pid"
stop_backend 1
# the same by the disk itself, without anything of cbd
e2fsck -fn "$disk" >"$tmp/fsck.log" 2>&1 || fail "fsck of the disk: $(cat "$tmp/fsck.log")"
if grep 'error: .* bytes at' "$tmp/nbdkit.log"; then fail "requests have failed"; fi
