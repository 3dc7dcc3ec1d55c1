#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""playbook.py FILE - the messages of the playbook in FILE, docs/operations.md, one a line.

They are the lines of the blocks that begin with ```text below the heading "Playbook".
"""

import re
import sys
from pathlib import Path


def main():
    text = Path(sys.argv[1]).read_text(encoding="utf-8")
    playbook = re.search(r"^## Playbook\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    if not playbook:
        sys.exit(f"playbook.py: {sys.argv[1]}: there is no heading 'Playbook'")
    for block in re.findall(r"^```text\n(.*?)^```$", playbook.group(1), re.M | re.S):
        sys.stdout.write(block)


main()
