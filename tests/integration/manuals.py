#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""manuals.py api|offsets|format TOP - headers against manuals.

api: cbd.h, libcbd.syms and libcbd.pod have the same functions, and libcbd.pod tells of
every structure, member, enumerator, callback and macro of cbd.h.

offsets: prints a C program that prints "struct offset size member" for each structure of
cbd-format.h, as the compiler sees it.

format: what that program printed (on stdin) is what the tables of cbd-format.pod say,
and every number of an enumeration or flag is there with its name.
"""

import re
import sys
from pathlib import Path


def without_comments(text):
    return re.sub(r"/\*.*?\*/", " ", text, flags=re.S)


def structures(text):
    """{structure: [member...]}; members may be pointers, arrays and lists of them."""
    found = {}
    for name, body in re.findall(r"struct (cbd_\w+) \{(.*?)\n\};", text, flags=re.S):
        members = []
        for line in body.split(";"):
            for part in line.split(","):
                last = re.search(r"(\w+)\s*(?:\[\w+\]\s*)*(?:\[[^\]]*\]\s*)*$", part.strip())
                if last:
                    members.append(last.group(1))
        found[name] = members
    return found


def enumerations(text):
    """{enumeration or '': [(enumerator, number or None)...]}"""
    found = {}
    for name, body in re.findall(r"enum (\w*)\s*\{(.*?)\}", text, flags=re.S):
        for part in filter(None, (p.strip() for p in body.split(","))):
            constant, _, number = (x.strip() for x in part.partition("="))
            found.setdefault(name, []).append((constant, int(number) if number else None))
    return found


def report(problems):
    for problem in problems:
        print(problem)
    sys.exit(1 if problems else 0)


# --- libcbd(3) ---------------------------------------------------------------


def check_errors(top, header, pod):
    """Each function that returns an int, and each errno that libcbd gives a message."""
    meanings = pod[pod.index("=head2 What each value means") :]
    functions = meanings[meanings.index("=head2 What each function gives") :]
    meanings = meanings[: -len(functions)]
    functions = functions[: functions.index("=head1 ")]
    items = " ".join(re.findall(r"^=item (.*)", functions, re.M))
    for name in re.findall(r"^int (cbd_\w+)\(", header, re.M):
        if name + "()" not in items:
            yield f"ERRORS in libcbd.pod does not tell what {name}() gives"
    given = set()
    for source in (top / "libcbd").rglob("*.c"):
        given |= set(re.findall(r"\bcbd_error\(\s*(E\w+)", source.read_text()))
    for errno in sorted(given):
        if f"=item -{errno}\n" not in meanings:
            yield f"ERRORS in libcbd.pod does not tell what -{errno} means"
        if f"-{errno}>" not in functions:
            yield f"ERRORS in libcbd.pod does not tell which function gives -{errno}"


def check_api(top):
    header = without_comments((top / "include/cbd.h").read_text())
    pod = (top / "libcbd/libcbd.pod").read_text()
    listed = set(re.findall(r"^\t\t(cbd_\w+);", (top / "libcbd/libcbd.syms").read_text(), re.M))
    declared = set(re.findall(r"^[\w ]+?[ *](cbd_\w+)\(", header, re.M))
    types = {t for t in re.findall(r"^typedef .*?\b(cbd_\w+)\(", header, re.M)}
    declared -= types
    problems = [f"cbd.h declares {f}, libcbd.syms does not have it" for f in declared - listed]
    problems += [f"libcbd.syms has {f}, cbd.h does not declare it" for f in listed - declared]
    problems += [f"libcbd.pod does not tell of {f}()" for f in declared if f + "(" not in pod]
    problems += [
        f"libcbd.pod tells of {f}(), which cbd.h does not declare"
        for f in set(re.findall(r"\b(cbd_\w+)\(", pod)) - declared
    ]
    problems += check_errors(top, header, pod)
    section = pod[pod.index("=head1 STRUCTURES") :]
    section = section[: section.index("=head1 ", 7)]
    heads = dict(re.findall(r"^=head2 (\w+ cbd_\w+|\w+)\n(.*?)(?=^=head|\Z)", section, re.M | re.S))
    for name, members in structures(header).items():
        text = heads.get("struct " + name)
        if text is None:
            problems.append(f"STRUCTURES in libcbd.pod does not have struct {name}")
            continue
        items = re.findall(r"^=item (.*)", text, re.M)
        known = {w for item in items for w in re.findall(r"\w+", re.sub(r"[BC]<|>", " ", item))}
        members = [m for m in members if not re.fullmatch(r"reserved\d*", m)]
        problems += [f"libcbd.pod: struct {name}: no member {m}" for m in members if m not in known]
        problems += [
            f"libcbd.pod: struct {name}: no such member: {m}" for m in known - set(members)
        ]
    constants = [c for values in enumerations(header).values() for c, _ in values]
    macros = set(re.findall(r"^#define (CBD_\w+)\b", header, re.M))
    have = {m for m in macros if m.startswith("CBD_HAVE_")}
    expected = {"CBD_HAVE_" + f[len("cbd_") :].upper() for f in declared}
    problems += [f"cbd.h does not define {m}" for m in expected - have]
    problems += [f"cbd.h defines {m}, which is no function" for m in have - expected]
    constants += macros - have - {"CBD_H"}
    for word in constants + sorted(types):
        if not re.search(rf"\b{word}\b", pod):
            problems.append(f"libcbd.pod does not tell of {word}")
    report(sorted(problems))


# --- cbd-format(5) -----------------------------------------------------------


def print_offsets(top):
    header = without_comments((top / "include/cbd-format.h").read_text())
    print("#include <cbd-format.h>\n#include <stddef.h>\n#include <stdio.h>\nint main(void)\n{")
    for name, members in structures(header).items():
        print(f'\tprintf("{name} - %zu -\\n", sizeof(struct {name}));')
        for m in members:
            print(
                f'\tprintf("{name} %zu %zu {m}\\n", offsetof(struct {name}, {m}),'
                f" sizeof(((struct {name} *)0)->{m}));"
            )
    print("\treturn 0;\n}")


def plain(text):
    return re.sub(r"[^0-9a-z]", "", text.lower())


# Numbers with a meaning, and the heading in cbd-format(5) where they are told.
NUMBERS = {
    "CBD_MEMORY_": "struct cbd_header",
    "CBD_HEADER_": "struct cbd_header",
    "CBD_CLAIM_": "struct cbd_claim_line",
    "CBD_HOST_REQUEST_": "struct cbd_host_request_line",
    "CBD_HOST_": "struct cbd_host_line",
    "CBD_SLOT_": "struct cbd_state_line",
    "CBD_GEOMETRY_": "struct cbd_geometry_line",
    "CBD_IDENTITY_": "struct cbd_identity_line",
    "CBD_FEATURE_": "struct cbd_access_line",
    "CBD_REQUEST_": "struct cbd_request_line",
    "CBD_REPLY_": "struct cbd_reply_line",
    "CBD_REFUSED_": "struct cbd_reply_line",
    "CBD_GRANT_": "struct cbd_grant_line",
    "CBD_LEAVE_": "struct cbd_leave_line",
    "CBD_SE_": "struct cbd_se",
    "CBD_SE_OP_": "struct cbd_se",
    "CBD_RUN_": "struct cbd_run",
    "CBD_RESULT_": "struct cbd_ce",
}


def check_numbers(header, sections):
    numbers = [
        (c, n)
        for values in enumerations(header).values()
        for c, n in values
        if n is not None and not c.endswith("_NOT")
    ]
    numbers += [(c, int(n)) for c, n in re.findall(r"^#define (CBD_\w+) (\d+)u\s*$", header, re.M)]
    for constant, number in numbers:
        if constant.endswith("_KNOWN"):
            continue
        prefix = max((p for p in NUMBERS if constant.startswith(p)), key=len, default=None)
        if prefix is None:
            yield f"{constant}: manuals.py does not know where cbd-format.pod tells of it"
            continue
        word = "reserved" if constant == "CBD_REFUSED_READ_ONLY" else constant[len(prefix) :]
        word = {"CBD_HEADER_DATA_CRC": "payload", "CBD_FEATURE_DATA_CRC": "payload"}.get(
            constant, word
        )
        if f"{number}{plain(word)}" not in plain(sections.get(NUMBERS[prefix], "")):
            yield f"cbd-format.pod: {NUMBERS[prefix]}: no '{number} {word.lower()}' ({constant})"


def check_format(top):
    header = without_comments((top / "include/cbd-format.h").read_text())
    pod = (top / "docs/cbd-format.pod").read_text()
    sections = {}
    told = set()
    for head, size, body in re.findall(
        r"^=head2 (struct cbd_\w+) \((\d+) bytes\)\n(.*?)(?=^=head|\Z)", pod, re.M | re.S
    ):
        name = head.split()[1]
        sections[head] = body
        told.add((name, "-", size, "-"))
        for offset, length, member in re.findall(r"^ *(\d+) +(\d+)  ?(\w+)", body, re.M):
            told.add((name, offset, length, member))
    real = {tuple(line.split()) for line in sys.stdin}
    # any line, for code that only checks or seals it
    real = {row for row in real if row[0] != "cbd_line"}
    problems = [f"not in cbd-format.pod: {' '.join(row)}" for row in sorted(real - told)]
    problems += [f"not in cbd-format.h: {' '.join(row)}" for row in sorted(told - real)]
    problems += check_numbers(header, sections)
    if not real:
        problems.append("no structures")
    report(problems)


def main():
    actions = {"api": check_api, "offsets": print_offsets, "format": check_format}
    actions[sys.argv[1]](Path(sys.argv[2]))


main()
