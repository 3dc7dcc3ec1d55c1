#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# A virtual machine's disks are cbd disks, without the kernel's nbd in between:
# QEMU -drive file=nbd:unix:SOCKET, and -blockdev with reconnect-delay. The backends
# are killed and restarted while the guest writes, and behind the second disk nbdkit
# too; the guest must not notice.
#
# Here transport, backends and nbdkit are on this machine, and one guest of lab.sh
# is the user of the disks. OUTAGE says for how many seconds nobody serves them.
# Exits as automake wants it.

# shellcheck source-path=SCRIPTDIR/../integration
. "$(dirname "$0")/../integration/functions.sh"

lab=${abs_top_srcdir:?}/tests/vm/lab.sh
requires_program nbdkit e2fsck debugfs sha256sum

# The guest has no more of the test than this script.
guest_script()
{
	cat <<'END'
set -eu

# Begins with data under way, which is what an outage meets.
begin() # DISK
{
	[ "$(blockdev --getsize64 /dev/$1)" = 134217728 ]
	mkfs.ext4 -q /dev/$1
	mkdir /mnt/$1
	mount /dev/$1 /mnt/$1
}

write() # DISK
{
	for i in $(seq 20); do
		head -c 1000003 /dev/urandom >/mnt/$1/file-$i
		sync -f /mnt/$1/file-$i
		[ $i != 4 ] || : >/lab/writing-$1
	done
	cd /mnt/$1
	sha256sum file-* >/lab/sums-$1
	cd /
}

check() # DISK
{
	umount /mnt/$1
	e2fsck -fn /dev/$1
	mount -o discard /dev/$1 /mnt/$1
	rm /mnt/$1/file-1 /mnt/$1/file-2
	echo 3 >/proc/sys/vm/drop_caches
	cd /mnt/$1
	grep -v -e ' file-1$' -e ' file-2$' /lab/sums-$1 | sha256sum -c --quiet
	cd /
	umount /mnt/$1
}

begin vda
begin vdb
write vda &
first=$!
write vdb
wait $first
check vda
check vdb
! dmesg | grep 'I/O error'
END
}

# serve ID: nbdkit with a socket of its own
serve()
{
	start_nbdkit cbd transport="$transport" backend="$1"
	mv "$socket" "$tmp/$1.sock"
	nbdkit_pids[$1]=$nbdkit_pid
}

run_guest()
{
	local node=node-name=reconnects,driver=nbd,server.type=unix,server.path=$tmp/2.sock

	# devices in the order of their names in the guest
	LAB_EXTRA="-drive file=nbd:unix:$tmp/1.sock,format=raw,if=none,id=waits"
	LAB_EXTRA+=" -device virtio-blk-pci,drive=waits"
	LAB_EXTRA+=" -blockdev $node,reconnect-delay=86400"
	LAB_EXTRA+=" -device virtio-blk-pci,drive=reconnects"
	export LAB_EXTRA
	LAB_TIMEOUT=$(limit 120) "$lab" run "$tmp/script" >"$tmp/lab.log" 2>&1
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
declare -A nbdkit_pids # by backend
format_transport transport
for id in 1 2; do
	make_disk "$disks/$id" 128M
	start_backend $id "$disk"
	serve $id
done

run_guest &
guest=$!
cleanup_fn "$lab" clean
guest_writes()
{
	gone $guest || { [ -e "$LAB_RUN/writing-vda" ] && [ -e "$LAB_RUN/writing-vdb" ]; }
}
wait_until 120 guest_writes || fail "the guest does not write"
stop_backend 1
kill_backend 2
kill -9 "${nbdkit_pids[2]}"
sleep "${OUTAGE:-3}"
for id in 1 2; do
	start_backend $id "$disks/$id"
done
for name in vda vdb; do
	[ ! -e "$LAB_RUN/sums-$name" ] || fail "the guest did not wait for $name"
done
serve 2
wait $guest || status=$?
cat "$tmp/lab.log" "$LAB_RUN/node-1/out"
[ $status -eq 0 ] || fail "the guest has failed"
for id in 1 2; do
	stop "${nbdkit_pids[$id]}"
	stop_backend $id
	e2fsck -fn "$disks/$id"
done
for file in file-3 file-20; do
	debugfs -R "cat /$file" "$disks/1" 2>/dev/null | sha256sum | cut -d' ' -f1 |
		grep -xf - <(sed -n "s/  $file\$//p" "$LAB_RUN/sums-vda") >/dev/null ||
		fail "$file is not on the disk as the guest wrote it"
done
