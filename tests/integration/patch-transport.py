#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Change a transport as no program would, with good CRCs where asked for.

patch-transport.py FILE header|copy|both [FIELD=NUMBER]...
	set fields of the header, of its copy or of both, and seal them
patch-transport.py FILE flip OFFSET|LINE|copy [BYTE]
	flip one bit, at that byte (0) of the place; a LINE is such as backend-reply:1:3
patch-transport.py FILE flip-ring se|ce:BACKEND:CHANNEL
	flip one bit in each line of a ring
patch-transport.py FILE line LINE [POSITION:BYTES=NUMBER]...
	set numbers in a line, and seal it
patch-transport.py FILE beat LINE
	count in a line of beats, until killed
patch-transport.py FILE empty LINE
	make it all zero
patch-transport.py FILE show LINE POSITION:BYTES
	print a number of a line
patch-transport.py FILE where LINE
	print its offset
"""

import struct
import sys
import time

PAGE = 4096
LINE = 64

# Offset and bytes, as in cbd-format.h.
FIELDS = {
    "version": (8, 4), "header_size": (12, 4), "compat": (16, 8), "incompat": (24, 8),
    "ro_compat": (32, 8), "uuid": (40, 8), "size": (56, 8), "coherence": (64, 4),
    "hosts": (72, 4), "backends": (76, 4), "blkdevs": (80, 4), "channels": (84, 4),
    "ring_slots": (88, 4), "heartbeat_ms": (92, 4), "dead_after": (96, 4),
    "host_offset": (120, 8), "host_length": (128, 8),
    "backend_offset": (136, 8), "backend_length": (144, 8),
    "blkdev_offset": (152, 8), "blkdev_length": (160, 8),
    "channel_offset": (168, 8), "channel_length": (176, 8),
    "copy_offset": (184, 8), "copy_length": (192, 8),
    "table_entries": (216, 4), "table_crc": (220, 4), "label": (224, 8),
}
CRC = 4092


def crc32c(data, crc=0):
    crc ^= 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


class Transport:
    def __init__(self, path):
        self.file = open(path, "r+b")
        self.header = self.read(0, PAGE)

    def read(self, offset, length):
        self.file.seek(offset)
        return bytearray(self.file.read(length))

    def write(self, offset, data):
        self.file.seek(offset)
        self.file.write(data)
        self.file.flush()

    def field(self, name):
        offset, length = FIELDS[name]
        return int.from_bytes(self.header[offset:offset + length], "little")

    def patch_header(self, at, settings):
        header = self.read(at, PAGE)
        for name, value in settings:
            offset, length = FIELDS[name]
            header[offset:offset + length] = value.to_bytes(length, "little")
        header[CRC:] = crc32c(header[:CRC]).to_bytes(4, "little")
        self.write(at, header)

    def channel(self, backend, channel):
        table = self.read(PAGE + (backend * self.field("channels") + channel) * 16, 8)
        return struct.unpack("<Q", table)[0]

    def flip_ring(self, name):
        ring, backend, channel = name.split(":")
        slots = self.field("ring_slots")
        start = self.channel(int(backend), int(channel)) + 2 * PAGE
        if ring == "ce":
            start += self.pages(slots) * PAGE
        for slot in range(slots):
            self.flip(start + slot * LINE + 33)

    def pages(self, lines):
        return (lines * LINE + PAGE - 1) // PAGE

    def where(self, name):
        kind, slot, index = (name.split(":") + ["0", "0"])[:3]
        slot, index = int(slot), int(index)
        obj, line = kind.split("-")
        if obj == "channel":
            return self.channel(slot, index) + {"grant": 0, "counters": 16 * LINE, "leave": PAGE,
                                                "counted": PAGE + 16 * LINE}[line]
        pages, lines = {
            "host": (2 + self.pages(self.field("backends")),
                     {"claim": 0, "state": PAGE, "beat": PAGE + LINE, "name": PAGE + 2 * LINE,
                      "request": 2 * PAGE + index * LINE}),
            "backend": (3 + self.pages(self.field("blkdevs")),
                        {"claim": index * LINE, "state": PAGE, "beat": PAGE + LINE,
                         "geometry": PAGE + 2 * LINE, "identity": PAGE + 3 * LINE,
                         "access": PAGE + 4 * LINE, "name": PAGE + 5 * LINE,
                         "path": PAGE + 6 * LINE + index * LINE,
                         "counters": 2 * PAGE + index * LINE,
                         "reply": 3 * PAGE + index * LINE}),
            "blkdev": (3, {"claim": index * LINE, "state": PAGE, "beat": PAGE + LINE,
                           "request": PAGE + 2 * LINE, "doorbell": PAGE + 3 * LINE,
                           "counters": 2 * PAGE + index * LINE}),
        }[obj]
        return self.field(obj + "_offset") + slot * pages * PAGE + lines[line]

    def patch_line(self, name, settings):
        offset = self.where(name)
        line = self.read(offset, LINE)
        for place, value in settings:
            position, length = (int(n) for n in place.split(":"))
            line[position:position + length] = value.to_bytes(length, "little")
        seed = crc32c(self.header[40:56])
        seed = crc32c(struct.pack("<Q", offset), seed)
        line[60:] = crc32c(line[:60], seed).to_bytes(4, "little")
        self.write(offset, line)

    def beat(self, name):
        count = 0
        while True:
            count += 1
            self.patch_line(name, [("0:8", count)])
            time.sleep(0.05)

    def show(self, name, place):
        position, length = (int(n) for n in place.split(":"))
        line = self.read(self.where(name), LINE)
        return int.from_bytes(line[position:position + length], "little")

    def flip(self, offset):
        byte = self.read(offset, 1)
        byte[0] ^= 1
        self.write(offset, byte)


def settings_of(arguments):
    pairs = (argument.split("=") for argument in arguments)
    return [(name, int(value, 0)) for name, value in pairs]


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    transport = Transport(sys.argv[1])
    command, rest = sys.argv[2], sys.argv[3:]
    copy = transport.field("copy_offset")
    if command in ("header", "copy", "both"):
        for at in {"header": [0], "copy": [copy], "both": [copy, 0]}[command]:
            transport.patch_header(at, settings_of(rest))
    elif command == "flip":
        place = rest[0]
        at = int(place) if place.isdigit() else copy if place == "copy" else transport.where(place)
        transport.flip(at + int(rest[1] if rest[1:] else "0"))
    elif command == "flip-ring":
        transport.flip_ring(rest[0])
    elif command == "line":
        transport.patch_line(rest[0], settings_of(rest[1:]))
    elif command == "beat":
        transport.beat(rest[0])
    elif command == "empty":
        transport.write(transport.where(rest[0]), bytes(LINE))
    elif command == "show":
        print(transport.show(rest[0], rest[1]))
    elif command == "where":
        print(transport.where(rest[0]))
    else:
        sys.exit(__doc__)


main()
