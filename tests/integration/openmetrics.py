#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""openmetrics.py check FILE | names FILE DASHBOARD

check: FILE is OpenMetrics text, by the parser of prometheus_client where that is
installed, and by the rules below, which need nothing: a family is declared once, before
its samples; counters end in _total; units are in the names; buckets only grow, and their
last is the count.

names: each name cbd_... in DASHBOARD is one of a sample in FILE.
"""

import json
import re
import sys

SAMPLE = re.compile(r'(\w+)(?:\{((?:\w+="(?:[^"\\\n]|\\[\\"n])*",?)*)\})? (-?[0-9.e+-]+)')
SUFFIXES = {
    "counter": ["_total"],
    "gauge": [""],
    "info": ["_info"],
    "histogram": ["_bucket", "_sum", "_count"],
}


def fail(message):
    sys.exit(f"openmetrics.py: {message}")


def lines_of(path):
    text = open(path, encoding="utf-8").read()
    if not text.endswith("\n"):
        fail("the last line has no end")
    return text.split("\n")[:-1]


def check_histogram(buckets, counts):
    for labels, values in buckets.items():
        values.sort()
        numbers = [n for _, n in values]
        if numbers != sorted(numbers) or values[-1][0] != float("inf"):
            fail(f"buckets of {labels}: {values}")
        if counts.get(labels) != numbers[-1]:
            fail(f"count of {labels}: {counts.get(labels)}, not {numbers[-1]}")


def check(path):
    lines = lines_of(path)
    if lines[-1] != "# EOF" or lines.count("# EOF") != 1:
        fail("# EOF is not the last line")
    family, kind, told, seen = None, None, set(), set()
    buckets, counts = {}, {}
    for line in lines[:-1]:
        if line.startswith("# TYPE "):
            family, kind = line.split()[2:]
            if family in told or kind not in SUFFIXES:
                fail(line)
            told.add(family)
            for suffix in ("_total", "_info"):
                if family.endswith(suffix):
                    fail(line)
        elif line.startswith("# UNIT "):
            if line.split()[2] != family or not family.endswith("_" + line.split()[3]):
                fail(line)
        elif line.startswith("# HELP "):
            if line.split()[2] != family or len(line.split()) < 4:
                fail(line)
        else:
            match = SAMPLE.fullmatch(line)
            if not match or match.group(1) not in [family + s for s in SUFFIXES[kind]]:
                fail(f"{line}: not of {family}")
            name, labels, value = match.group(1), match.group(2) or "", float(match.group(3))
            if (name, labels) in seen or value < 0:
                fail(line)
            seen.add((name, labels))
            if name.endswith("_bucket"):
                le = re.search(r',le="([^"]*)"', labels)
                key = family + "{" + labels.replace(le.group(0), "") + "}"
                buckets.setdefault(key, []).append((float(le.group(1)), value))
            elif kind == "histogram" and name.endswith("_count"):
                counts[family + "{" + labels + "}"] = value
    check_histogram(buckets, counts)
    if not seen:
        fail("no samples")
    try:
        from prometheus_client.openmetrics.parser import text_string_to_metric_families
    except ImportError:
        return
    families = list(text_string_to_metric_families(open(path, encoding="utf-8").read()))
    if len(families) != len(told):
        fail(f"{len(families)} families, not {len(told)}")


def names(path, dashboard):
    there = {re.match(r"\w*", line).group(0) for line in lines_of(path)}
    text = open(dashboard, encoding="utf-8").read()
    json.loads(text)
    wanted = set(re.findall(r"\bcbd_\w+", text))
    if not wanted:
        fail(f"{dashboard}: names nothing")
    missing = wanted - there
    if missing:
        fail(f"{dashboard}: no such metric: {', '.join(sorted(missing))}")


{"check": check, "names": names}[sys.argv[1]](*sys.argv[2:])
