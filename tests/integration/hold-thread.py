#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""hold-thread.py TID FILE - one thread of a process stands still, the others go on.

By ptrace(2), until FILE is removed.  FILE is made when the thread stands still.
"""

import ctypes
import os
import sys
import time

SEIZE, INTERRUPT, DETACH = 0x4206, 0x4207, 17
WALL = 0x40000000
tid, path = int(sys.argv[1]), sys.argv[2]
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


def ptrace(request):
    if libc.ptrace(request, tid, None, None) < 0:
        sys.exit(f"ptrace: {os.strerror(ctypes.get_errno())}")


ptrace(SEIZE)
ptrace(INTERRUPT)
os.waitpid(tid, WALL)
with open(path, "w", encoding="utf-8"):
    pass
while os.path.exists(path):
    time.sleep(0.01)
ptrace(DETACH)
