#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""notify-listen.py SOCKET LOG [FULL] - a service manager that listens only.

Each datagram becomes a line of LOG: when it came (milliseconds of the monotonic clock),
the process that has sent it, and its text with "|" between the lines.

With FULL it makes that file when its queue has no room for another message, and listens
when the file is removed.
"""

import os
import socket
import struct
import sys
import time


def fill(path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        try:
            while True:
                sender.sendto(b"of nobody", path)
        except BlockingIOError:
            pass


def main():
    path, log, full = sys.argv[1:] + [None] * (4 - len(sys.argv))
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    listener.bind(path)
    if full:
        fill(path)
        with open(full, "w", encoding="utf-8"):
            pass
        while os.path.exists(full):
            time.sleep(0.01)
    with open(log, "a", encoding="utf-8") as out:
        while True:
            data, ancillary, _, _ = listener.recvmsg(4096, socket.CMSG_SPACE(12))
            pid = struct.unpack("3i", ancillary[0][2])[0]
            text = data.decode("utf-8").strip().replace("\n", "|")
            if pid != os.getpid():
                print(time.monotonic_ns() // 1000000, pid, text, file=out, flush=True)


main()
