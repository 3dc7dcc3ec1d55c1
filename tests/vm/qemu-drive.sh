#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# A virtual machine's disk is a cbd disk: QEMU -drive file=nbd:unix:SOCKET, without
# the kernel's nbd in between. The backend is killed and restarted while the
# guest writes, and the guest must not notice.
#
# Here transport, backend and nbdkit are on this machine, and one guest of lab.sh
# is the user of the disk. Exits as automake wants it.

# shellcheck source-path=SCRIPTDIR/../integration
. "$(dirname "$0")/../integration/functions.sh"

lab=${abs_top_srcdir:?}/tests/vm/lab.sh
requires_program nbdkit e2fsck debugfs sha256sum

# The guest has no more of the test than this script.
guest_script()
{
	cat <<'END'
set -eu
[ "$(blockdev --getsize64 /dev/vda)" = 134217728 ]
mkfs.ext4 -q /dev/vda
mount /dev/vda /mnt
: >/lab/writing
for i in $(seq 40); do
	head -c 1000003 /dev/urandom >/mnt/file-$i
	[ $((i % 10)) != 0 ] || sync
done
cd /mnt
sha256sum file-* >/lab/sums
cd /
umount /mnt
e2fsck -fn /dev/vda
mount -o discard /dev/vda /mnt
rm /mnt/file-1 /mnt/file-2
echo 3 >/proc/sys/vm/drop_caches
cd /mnt
grep -v -e ' file-1$' -e ' file-2$' /lab/sums | sha256sum -c --quiet
cd /
umount /mnt
END
}

run_guest()
{
	LAB_EXTRA="-drive file=nbd:unix:$socket,format=raw,if=virtio" \
		LAB_TIMEOUT=250 "$lab" run "$tmp/script" >"$tmp/lab.log" 2>&1
}

status=0
"$lab" build >"$tmp/build.log" 2>&1 || status=$?
case $status in
0) ;;
77) skip "this machine cannot run the guest: $(tail -n 1 "$tmp/build.log")" ;;
*) fail "what the guest boots from could not be built: $(tail -n 1 "$tmp/build.log")" ;;
esac

export LAB_RUN=$tmp/lab
mkdir "$LAB_RUN"
guest_script >"$tmp/script"
format_transport transport
make_disk "$disks/disk" 128M
start_backend 1 "$disk"
start_nbdkit cbd transport="$transport" backend=1

run_guest &
guest=$!
cleanup_fn "$lab" clean
guest_writes()
{
	[ -e "$LAB_RUN/writing" ] || gone $guest
}
wait_until 120 guest_writes || fail "the guest does not write"
kill_backend 1
start_backend 1 "$disk"
wait $guest || status=$?
cat "$tmp/lab.log" "$LAB_RUN/node-1/out"
[ $status -eq 0 ] || fail "the guest has failed"
stop "$nbdkit_pid"
stop_backend 1
e2fsck -fn "$disk"
for file in file-3 file-40; do
	debugfs -R "cat /$file" "$disk" 2>/dev/null | sha256sum | cut -d' ' -f1 |
		grep -xf - <(sed -n "s/  $file\$//p" "$LAB_RUN/sums") >/dev/null ||
		fail "$file is not on the disk as the guest wrote it"
done
