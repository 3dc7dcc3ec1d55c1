#!/usr/bin/python3
# Writes blocks of a disk over one NBD connection, flushes now and then, and knows what each
# block may hold: what the last flush made durable, or what was written since. A flush that
# fails with EIO is a report of loss: then a block may hold any of these, and what is lost
# without a report is an error, as is every other error of the server.
#
# usage: flush-io.py run URI LOG STOP RESULT    until there is a file STOP
#        flush-io.py verify URI LOG             what LOG tells to be there is there
#
# LOG outlives the machine that this runs on: each line is written before the request is
# sent (w BLOCK NUMBER), or after it was answered (f: a flush; l: one that has told of a loss,
# and r BLOCK NUMBER: read after it). RESULT is written at the end: writes, flushes, losses.

import errno
import json
import os
import random
import struct
import sys
import time

import nbd

SIZE = 4096
BLOCKS = 512


class Disk:
    def __init__(self, uri):
        self.nbd = nbd.NBD()
        self.nbd.connect_uri(uri)

    def write(self, block, number):
        self.nbd.pwrite(struct.pack("<QQ", block, number) * (SIZE // 16), block * SIZE)

    def read(self, block):
        data = bytes(self.nbd.pread(SIZE, block * SIZE))
        if data == bytes(SIZE):
            return 0
        of, number = struct.unpack("<QQ", data[:16])
        if of != block or data != data[:16] * (SIZE // 16):
            sys.exit(f"block {block} is torn, or another one")
        return number

    def flush(self):
        try:
            self.nbd.flush()
            return True
        except nbd.Error as e:
            if e.errnum != errno.EIO:
                raise
            return False


# What each block may hold, the last one being what was written last.
class Shadow:
    def __init__(self):
        self.may = {}

    def of(self, block):
        return self.may.setdefault(block, [0])

    def write(self, block, number):
        self.of(block).append(number)

    def flushed(self):
        for block, numbers in self.may.items():
            self.may[block] = numbers[-1:]

    # The others are not forgotten: what was read is not durable yet.
    def resolved(self, block, number):
        numbers = self.of(block)
        self.may[block] = [n for n in numbers if n != number] + [number]


def check(shadow, block, number):
    if number not in shadow.of(block):
        sys.exit(f"block {block} has {number}, not one of {shadow.of(block)}")


# What an earlier run has left; returns its highest number.
def begin(disk, shadow, log):
    if not disk.flush():
        disk.flush()
    for block in range(BLOCKS):
        shadow.write(block, disk.read(block))
        log.write(f"w {block} {shadow.of(block)[-1]}\n")
    shadow.flushed()
    log.write("f\n")
    return max(numbers[-1] for numbers in shadow.may.values())


def run(uri, path, stop, result):
    disk, shadow = Disk(uri), Shadow()
    count = {"writes": 0, "flushes": 0, "losses": 0}
    lost = None  # a block that was seen to have lost its last write
    with open(path, "w", buffering=1, encoding="ascii") as log:
        number = begin(disk, shadow, log)
        while not os.path.exists(stop):
            for block in random.sample(range(BLOCKS), random.randint(1, 12)):
                number += 1
                log.write(f"w {block} {number}\n")
                shadow.write(block, number)
                disk.write(block, number)
                count["writes"] += 1
            block = random.randrange(BLOCKS)
            seen = disk.read(block)
            check(shadow, block, seen)
            if seen != shadow.of(block)[-1]:
                lost = block
            if random.randrange(3) == 0:
                if disk.flush():
                    if lost is not None:
                        sys.exit(f"block {lost} was lost, and no flush has told")
                    shadow.flushed()
                    log.write("f\n")
                    count["flushes"] += 1
                else:
                    count["losses"] += 1
                    log.write("l\n")
                    lost = None
                    for block in [b for b, n in shadow.may.items() if len(n) > 1]:
                        seen = disk.read(block)
                        check(shadow, block, seen)
                        shadow.resolved(block, seen)
                        log.write(f"r {block} {seen}\n")
            time.sleep(0.02)
    with open(result, "w", encoding="ascii") as file:
        json.dump(count, file)


def verify(uri, path):
    shadow = Shadow()
    with open(path, encoding="ascii") as log:
        for line in log:
            words = line.split()
            if not line.endswith("\n"):
                break
            if words[0] == "w":
                shadow.write(int(words[1]), int(words[2]))
            elif words[0] == "r":
                shadow.resolved(int(words[1]), int(words[2]))
            elif words[0] == "f":
                shadow.flushed()
    disk = Disk(uri)
    for block in range(BLOCKS):
        check(shadow, block, disk.read(block))


if sys.argv[1] == "run":
    run(*sys.argv[2:])
else:
    verify(*sys.argv[2:])
