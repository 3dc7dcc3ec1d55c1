# A block device of the kernel by cbd-ublk and one by nbd-client on nbdkit cbd, on the same
# backend, in one guest: ublk-bench.py measures them in turn. Of
# smoke.sh's environment: BENCH_ROUNDS and BENCH_SECONDS, how often and for how long, and
# BENCH_COHERENCE, the mode of the transport.
# shellcheck shell=bash

# shellcheck source=ublk-lib.sh
. /lab/ublk-lib.sh

cbdctl format --force --coherence "${BENCH_COHERENCE:-hardware}" "$transport" >/dev/null
make_disk "$memory/disk" 64M
dd if=/dev/urandom of="$disk" bs=1M count=64 conv=notrunc status=none
start_backend 0 --name data --max-blkdevs 4 --engine psync "$disk"
cbd-ublk add -t "$transport" --backend data --name data
ublk=$(cbd-ublk list data | jq '.[0].pid')
cleanup_fn cbd-ublk del data
start_nbdkit cbd transport="$transport" backend=data
nbd-client -unix "$socket" /dev/nbd0 -b 512 >"$tmp/nbd-client.log"
cleanup_fn nbd-client -d /dev/nbd0

python3 "$SRC/tests/vm/ublk-bench.py" --rounds "${BENCH_ROUNDS:-5}" --seconds "${BENCH_SECONDS:-2}" \
	--backend "${backend_pids[0]}" cbd-ublk=/dev/ublkb0="$ublk" nbd-client=/dev/nbd0="$nbdkit_pid"
