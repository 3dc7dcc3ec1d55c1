# Block devices as the disk of a backend, on a kernel that has all kinds of them: virtio
# disks with sectors of 512 and 4096 bytes, /dev/nbd0, and loop devices where the machine
# that all this runs on has none. Both sides are on this host, over /dev/dax0.0. And
# nbd-outage.sh beside it.
# shellcheck shell=bash

# shellcheck source=/dev/null
. /lab/settings # RUN, SRC, LOOPS, CBD_TEST_FACTOR

# Once more with the programs of the build.
if [ -z "${abs_top_builddir-}" ]; then
	[ -x "$RUN" ] || exit 1
	mkdir -p /etc/cbd
	cat /proc/sys/kernel/random/uuid >/etc/cbd/host-id
	exec "$RUN" bash "$0"
fi

export RANDOM_OPERATIONS=150 CBD_TEST_FACTOR
# shellcheck source=../integration/block.sh
. "$SRC/tests/integration/block.sh"

# What nbdkit says when a disk answers nothing for 5 s: those here are files of a machine whose
# own disk may be busy. Elsewhere this line is an error, as a lost answer says the same.
# shellcheck disable=SC2034 # of block.sh
slow_disk=' asking for a new epoch: nothing is answered$'

transport=/dev/dax0.0
cbdctl format --backends 8 --heartbeat 200 --dead-after 50 "$transport" >/dev/null

echo "== an unprivileged user is told what could not be read"
for command in list-transports "list $transport"; do
	# shellcheck disable=SC2086 # words
	said=$(setpriv --reuid=65534 --clear-groups cbdctl $command 2>&1 >/dev/null) || true
	[ "$said" = "cbdctl: $transport: Permission denied" ] ||
		fail "$command says: $said"
done

bash "$SRC/tests/vm/nbd-outage.sh" "$transport" >/lab/node-1/outage 2>&1 &
outage=$!
cleanup_fn stop $outage

# virtio DEVICE SECTOR
virtio()
{
	echo "== $1: virtio, sectors of $2 bytes"
	block_geometry "$1" "$2"
	block_random "$1" --engine uring
	block_random "$1" --engine psync --direct --handlers 2
	block_punches "$1" "/lab/disk-$2" "trim zero fast" --engine uring
	block_punches "$1" "/lab/disk-$2" trim --engine psync --direct
	block_exclusive "$1"
}

virtio /dev/vda 512
virtio /dev/vdb 4096

echo "== /dev/nbd0"
truncate -s 96M "$disks/nbd.img"
nbdkit -U "$tmp/nbd.sock" -P "$tmp/nbd.pid" file "$disks/nbd.img"
cleanup_fn stop_pidfile "$tmp/nbd.pid"
nbd-client -unix "$tmp/nbd.sock" /dev/nbd0 -b 512
cleanup_fn nbd-client -d /dev/nbd0
nbd_has_size()
{
	[ "$(blockdev --getsize64 /dev/nbd0)" -eq $((96 << 20)) ]
}
wait_until 20 nbd_has_size
block_random /dev/nbd0 --engine uring
block_random /dev/nbd0 --engine psync --direct
# it has no fast zero: only a trim frees
block_punches /dev/nbd0 "$disks/nbd.img" trim --engine uring

if [ -n "$LOOPS" ]; then
	echo "== loop devices"
	bash "$SRC/tests/integration/test-disk-block.sh"
fi

echo "== /dev/nbd1 and /dev/nbd2, over an outage"
status=0
wait $outage || status=$?
cat /lab/node-1/outage
[ $status -eq 0 ] || fail "nbd-outage.sh ended with status $status"
