#!/usr/bin/python3
"""Has more memory than it may: swapped.py CGROUP MEGABYTES SWAPPED AGAIN

Enters CGROUP, fills memory with what can be told again, makes the file SWAPPED, waits for
the file AGAIN, and compares. Exits 0 when all is as it was.
"""

import hashlib
import os
import sys
import time

PAGE = 4096


def content(number):
    """What a page has: no two are alike."""
    return hashlib.sha256(number.to_bytes(8, "little")).digest() * (PAGE // 32)


def main(cgroup, megabytes, swapped, again):
    """See above."""
    with open(os.path.join(cgroup, "cgroup.procs"), "w", encoding="ascii") as f:
        f.write(str(os.getpid()))
    pages = megabytes * (1 << 20) // PAGE
    memory = bytearray(pages * PAGE)
    for n in range(pages):
        memory[n * PAGE:(n + 1) * PAGE] = content(n)
    with open(swapped, "w", encoding="ascii"):
        pass
    while not os.path.exists(again):
        time.sleep(0.1)
    wrong = sum(memory[n * PAGE:(n + 1) * PAGE] != content(n) for n in range(pages))
    if wrong:
        sys.exit(f"{wrong} of {pages} pages are not what they were")


main(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4])
