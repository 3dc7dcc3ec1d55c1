#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""pod-examples.py POD FOLDER - the examples of a manual that can be run.

A line "=for test NAME" says that the verbatim text after it belongs to FOLDER/NAME;
several of one NAME are put together. A NAME with a suffix is a file as it is. Any
other becomes a shell script: of lines with a prompt ("$ ", "# ", "A# ") and their
continuations the command stays, everything else is left out.
"""

import re
import sys
from pathlib import Path

PROMPT = re.compile(r"^(?:[A-Za-z]*[#$]) ")


def blocks(text):
    """Yields (name, lines) for each marked block."""
    lines = text.split("\n")
    i = 0
    while i < len(lines):
        mark = re.fullmatch(r"=for test (\S+)", lines[i])
        i += 1
        if not mark:
            continue
        block = []
        while i < len(lines) and (not lines[i] or lines[i][0] in " \t"):
            block.append(lines[i][1:])
            i += 1
        while block and not block[0]:
            block.pop(0)
        while block and not block[-1]:
            block.pop()
        if not block:
            sys.exit(f"pod-examples.py: {mark.group(1)}: nothing follows the mark")
        yield mark.group(1), block


def commands(block):
    """The commands of a block, without prompts."""
    more = False
    for line in block:
        prompt = PROMPT.match(line)
        if prompt or more:
            command = line[prompt.end() :] if prompt else line.strip()
            yield command
            more = command.endswith("\\")


def main():
    pod, folder = Path(sys.argv[1]), Path(sys.argv[2])
    found = {}
    for name, block in blocks(pod.read_text(encoding="utf-8")):
        lines = block if "." in name else list(commands(block))
        if not lines:
            sys.exit(f"pod-examples.py: {pod}: {name}: no line has a prompt")
        found.setdefault(name, []).extend(lines)
    if not found:
        sys.exit(f"pod-examples.py: {pod}: no example is marked")
    for name, lines in found.items():
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
        print(name)


main()
