#!/usr/bin/env python3
# Unpacks the ELF image that a compressed x86 kernel carries. QEMU enters such
# an image directly, and the guest does not spend seconds of emulated CPU on
# decompression.
#
# usage: extract-vmlinux.py VMLINUZ OUTPUT

import subprocess
import sys

FORMATS = (
    (b"\xfd7zXZ\0", ["xz", "-dc", "--single-stream"]),
    (b"\x28\xb5\x2f\xfd", ["zstd", "-dc"]),
    (b"\x1f\x8b\x08", ["gzip", "-dc"]),
)


def candidates(image):
    """Everything in the file that looks like the start of compressed data."""
    for magic, command in FORMATS:
        at = image.find(magic)
        while at >= 0:
            yield image[at:], command
            at = image.find(magic, at + 1)


def unpack(data, command):
    """What follows the stream makes the tool fail: only its output counts."""
    try:
        return subprocess.run(command, input=data, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL).stdout
    except FileNotFoundError:
        return b""


def main():
    source, target = sys.argv[1:]
    with open(source, "rb") as f:
        image = f.read()
    for data, command in candidates(image):
        elf = unpack(data, command)
        if elf.startswith(b"\x7fELF"):
            with open(target, "wb") as f:
                f.write(elf)
            return 0
    print(f"{source}: no kernel image found in it", file=sys.stderr)
    return 1


sys.exit(main())
