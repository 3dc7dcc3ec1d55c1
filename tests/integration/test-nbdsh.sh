#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# nbdsh: the disk from Python.

. "$(dirname "$0")/functions.sh"

requires_program nbdkit nbdsh
# the system's Python has the module, another one that comes first has not
nbdsh() { PATH=/usr/bin:$PATH command nbdsh "$@"; }
requires nbdsh -c 'print(nbd.NBD)'

format_transport transport
make_disk "$disks/disk" 8M
start_backend 1 "$disk"
start_nbdkit cbd "$transport" backend=1
nbdsh -u "$uri" -c - <<'END'
assert h.get_size() == 8 << 20
assert h.can_flush() and h.can_fua() and h.can_trim() and h.can_zero()
assert h.can_multi_conn() and not h.is_read_only()
data = bytes(range(256)) * 16
h.pwrite(data, 12345, nbd.CMD_FLAG_FUA)
assert h.pread(len(data), 12345) == data
h.zero(4096, 12345)
h.trim(1 << 20, 4 << 20)
assert h.pread(4096, 12345) == bytes(4096)
# many at once, completed in any order
bufs = [nbd.Buffer.from_bytearray(bytearray([i]) * 65536) for i in range(64)]
for i, buf in enumerate(bufs):
    h.aio_pwrite(buf, i * 65536)
while h.aio_in_flight() > 0:
    h.poll(-1)
h.flush()
for i in range(64):
    assert h.pread(65536, i * 65536) == bytes([i]) * 65536
try:
    h.set_strict_mode(0)
    h.pread(1, 8 << 20)
    raise SystemExit("a read beyond the end succeeds")
except nbd.Error as e:
    assert e.errno == "EINVAL", e.errno
END
