#!/usr/bin/python3
# Thousands of files of random sizes and content: made with their sums, and compared.
#
# usage: many-files.py make FOLDER SUMS COUNT
#        many-files.py check FOLDER SUMS

import hashlib
import os
import random
import sys


def make(folder, sums, count):
    with open(sums, "w", encoding="ascii") as out:
        for n in range(count):
            place = f"{n // 100}/{n}"
            os.makedirs(os.path.dirname(f"{folder}/{place}"), exist_ok=True)
            data = random.randbytes(random.choice((0, 1, 4095, random.randrange(16384))))
            with open(f"{folder}/{place}", "wb") as file:
                file.write(data)
            out.write(f"{hashlib.sha256(data).hexdigest()} {place}\n")


def check(folder, sums):
    with open(sums, encoding="ascii") as lines:
        for line in lines:
            digest, place = line.split()
            with open(f"{folder}/{place}", "rb") as file:
                if hashlib.sha256(file.read()).hexdigest() != digest:
                    sys.exit(f"{place} is not as it was made")


if sys.argv[1] == "make":
    make(sys.argv[2], sys.argv[3], int(sys.argv[4]))
else:
    check(*sys.argv[2:])
