#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""shape.py [FILE] - draws the shape of cbd, shape.svg: on stdout, or into FILE.

Two hosts, the memory between them, and what a request and its answer pass.
"""

import sys
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 820, 330
INK, DIM, LINE = "#1b2733", "#5b6b7a", "#7d8b99"
HOST, MEMORY, PROCESS = "#f4f6f8", "#e3edf7", "#ffffff"


def box(x, y, w, h, fill, dash=False):
    """A rectangle."""
    return (f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="6" fill="{fill}" stroke="{LINE}"'
            + (' stroke-dasharray="5 4"' if dash else "") + "/>")


def text(x, y, words, size=14, colour=INK, anchor="middle", weight="normal"):
    """One line of words."""
    return (f'<text x="{x}" y="{y}" font-size="{size}" fill="{colour}" text-anchor="{anchor}"'
            f' font-weight="{weight}">{escape(words)}</text>')


def arrow(x1, y1, x2, y2):
    """From the first point to the second."""
    return (f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{INK}" stroke-width="1.5"'
            ' marker-end="url(#head)"/>')


def process(x, y, w, h, name, what):
    """A program, and what it is there for."""
    return [box(x, y, w, h, PROCESS), text(x + w / 2, y + 22, name, weight="bold"),
            text(x + w / 2, y + 41, what, 12, DIM)]


def host(x, name, what):
    """The outline of a host."""
    return [box(x, 20, 230, 290, HOST, dash=True),
            text(x + 115, 44, name, 15, weight="bold"), text(x + 115, 62, what, 12, DIM)]


def host_a():
    """The host that uses the disk."""
    return [*host(20, "host A", "uses the disk"),
            *process(45, 80, 180, 52, "NBD client", "kernel, QEMU, fio, nbdcopy"),
            arrow(135, 132, 135, 172), text(145, 157, "NBD", 12, DIM, "start"),
            *process(45, 176, 180, 112, "nbdkit + cbd plugin", "blkdev: queues"),
            box(60, 236, 150, 36, MEMORY), text(135, 259, "libcbd", 13)]


def memory():
    """What lies between them."""
    rows = [(118, "submission ring: requests"), (168, "data area: payload"),
            (218, "completion ring: answers")]
    parts = [box(300, 60, 220, 228, MEMORY), text(410, 48, "shared memory", 15, weight="bold"),
             text(410, 82, "/dev/dax0.0: CXL, NVDIMM", 12, DIM),
             text(410, 99, "one channel for each queue", 12, DIM)]
    for y, words in rows:
        parts += [box(318, y, 184, 38, PROCESS), text(410, y + 24, words, 13)]
    return parts + [text(410, 276, "each 64-byte line: one writer, one CRC", 11, DIM)]


def request():
    """There, and the answer back."""
    return [arrow(225, 205, 314, 138), arrow(502, 138, 591, 205),
            arrow(595, 262, 506, 240), arrow(318, 240, 229, 262)]


def host_b():
    """The host that has the disk."""
    return [*host(570, "host B", "has the disk"),
            *process(595, 176, 180, 112, "cbd-backend", "handlers"),
            box(610, 236, 150, 36, MEMORY), text(685, 259, "libcbd", 13),
            arrow(685, 172, 685, 136), text(695, 157, "disk engine", 12, DIM, "start"),
            *process(595, 80, 180, 52, "disk", "file or block device")]


def picture():
    """The whole of it."""
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}"'
        f' height="{HEIGHT}" font-family="sans-serif">',
        "<title>cbd: a block device through memory that two hosts share</title>",
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7"'
        f' markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z" fill="{INK}"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        *host_a(), *memory(), *host_b(), *request(), "</svg>\n"])


def main():
    if len(sys.argv) > 1:
        with open(sys.argv[1], "w", encoding="utf-8") as f:
            f.write(picture())
    else:
        sys.stdout.write(picture())


main()
