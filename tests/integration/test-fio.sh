#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# fio with four jobs verifies what it wrote: ioengine=nbd, crc32c.

. "$(dirname "$0")/functions.sh"

has_engine()
{
	fio --enghelp | grep -w nbd >/dev/null
}

requires_program fio nbdkit
requires has_engine

format_transport transport
make_disk "$disks/disk" 256M
start_backend 1 "$disk"
start_nbdkit cbd "$transport" backend=1 queues=4

cat >"$tmp/job.fio" <<END
[global]
ioengine=nbd
uri=$uri
rw=randrw
bsrange=512-256k
blockalign=512
iodepth=16
verify=crc32c
verify_fatal=1
do_verify=1
size=60M
io_size=$(share 60)M
fsync=64
randseed=$SRANDOM

[a]
offset=0

[b]
offset=64M

[c]
offset=128M

[d]
offset=192M
END
cat "$tmp/job.fio"
# fio leaves state files in the current folder
cd "$tmp"
fio --output="$tmp/fio.log" --output-format=json "$tmp/job.fio"

# It really was written and verified.
jq -e '.jobs | length == 4 and all(.error == 0 and .write.total_ios > 50 and .read.total_ios > 50)' \
	<(sed -n '/^{/,$p' "$tmp/fio.log") >/dev/null || fail "fio has not done what it should"
