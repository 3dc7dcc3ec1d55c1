#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""progress.py COLUMNS COMMAND... - run COMMAND with stderr on a terminal of so many columns.

Its stdout goes to stdout. What it wrote on the terminal is shown by lines "wrote TEXT", one
for each time that the line was written anew; the last line is "left TEXT", what the terminal
shows at the end. Exits as the command does. The file PROGRESS_FILE of the environment is made
when something has been written.
"""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios


def screen(data):
    """The rows that a terminal shows: of control characters it knows CR and LF."""
    rows, column = [[]], 0
    for c in data:
        if c == "\r":
            column = 0
        elif c == "\n":
            rows.append([])
            column = 0
        else:
            rows[-1][column:column + 1] = c
            column += 1
    return ["".join(row).rstrip() for row in rows]


def in_front(terminal):
    """The command's own session, whose terminal this is, as a shell's would be."""
    os.setsid()
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)


def main():
    columns, command = int(sys.argv[1]), sys.argv[2:]
    master, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {"TERM": "vt100", **os.environ}
    if environment["TERM"] == "dumb" and "KEEP_TERM" not in environment:
        environment["TERM"] = "vt100"
    child = subprocess.Popen(command, stderr=terminal, env=environment,
                             preexec_fn=lambda: in_front(terminal))
    os.close(terminal)
    data = b""
    while True:
        try:
            piece = os.read(master, 4096)
        except OSError:  # the last one has closed it
            break
        if not piece:
            break
        data += piece
        if "PROGRESS_FILE" in os.environ:
            open(os.environ["PROGRESS_FILE"], "w").close()
    text = data.decode()
    for line in text.replace("\n", "\r").split("\r"):
        if line.strip():
            print("wrote", line.rstrip(), file=sys.stderr)
            if len(line) >= columns:
                print("too long", len(line), file=sys.stderr)
    print("left", "/".join(row for row in screen(text) if row), file=sys.stderr)
    sys.exit(child.wait())


main()
