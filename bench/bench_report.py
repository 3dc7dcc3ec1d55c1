# SPDX-License-Identifier: BSD-3-Clause
"""What bench/run has measured, as JSON, as a table and as plots."""

import json
import os
import platform
import shutil
import statistics
import subprocess


def machine():
    with open("/proc/cpuinfo") as f:
        model = next((line.split(":", 1)[1].strip() for line in f if "model name" in line),
                     platform.machine())
    return {"cpu": model, "cpus": os.cpu_count(), "kernel": platform.release(),
            "load": os.getloadavg()[0]}


def median(values):
    return statistics.median(values) if values else 0


def number(v):
    return f"{v:,.0f}" if v >= 1000 else f"{v:.2f}" if v < 100 else f"{v:.0f}"


def verdict(row):
    """met, or not, and by which ratio; empty without a goal."""
    goal = row.get("goal")
    ratio = row.get("ratios", {}).get(goal["than"]) if goal else None
    if not ratio:
        return ""
    met = ratio["median"] <= goal["limit"] if goal["op"] == "<=" else \
        ratio["median"] >= goal["limit"]
    return "met" if met else "**missed**"


def text(row):
    parts = [f"{name} {number(median(v))}" for name, v in row["values"].items()]
    for name, r in row.get("ratios", {}).items():
        parts.append(f"/{name} {r['median']:.2f} [{r['low']:.2f} {r['high']:.2f}]")
    return f"{row['section']}: {row['what']} ({row['unit']}): {', '.join(parts)} {verdict(row)}"


def goals_table(rows):
    lines = ["| what | unit | cbd | beside it | ratio | spread | goal | |",
             "|---|---|---|---|---|---|---|---|"]
    for row in rows:
        goal = row.get("goal")
        if not goal or goal["than"] not in row.get("ratios", {}):
            continue
        r = row["ratios"][goal["than"]]
        lines.append(f"| {row['section']}: {row['what']} | {row['unit']} | "
                     f"{number(median(row['values'][row['ours']]))} | "
                     f"{goal['than']} {number(median(row['values'][goal['than']]))} | "
                     f"{r['median']:.2f} | {r['low']:.2f}-{r['high']:.2f} | "
                     f"{goal['op']} {goal['limit']} | {verdict(row)} |")
    return lines


def peers_table(rows):
    rows = [r for r in rows if r["section"] == "NBD"]
    if not rows:
        return []
    lines = ["| server | " + " | ".join(f"{r['what']}, {r['unit']}" for r in rows) + " |",
             "|---|" + "---|" * len(rows)]
    for name in rows[0]["values"]:
        lines.append(f"| {name} | " +
                     " | ".join(number(median(r["values"][name])) for r in rows) + " |")
    return lines


def other_table(rows):
    lines = [f"- {text(r)}" for r in rows if "goal" not in r]
    return ["", *lines] if lines else []


def idle_table(idle):
    lines = ["| idle process | CPU | wake-ups a second | memory |", "|---|---|---|---|"]
    for name, p in idle["processes"].items():
        lines.append(f"| {name} | {p['cpu_percent']:.2f}% | {p['wakeups_per_s']:.1f} | "
                     f"{p['rss_kb'] / 1024:.1f} MiB |")
    lines += ["", "| pause before each request | requests | p50 us | p99 us | longest us |",
              "|---|---|---|---|---|"]
    for ms, d in idle["first_request_us"].items():
        lines.append(f"| {ms} ms | {d['samples']} | {d['p50']:.0f} | {d['p99']:.0f} | "
                     f"{d['max']:.0f} |")
    return lines


def us(ns):
    return "-" if ns is None else f"{ns / 1000:.1f} us"


def waking_table(w):
    return ["| what it costs here to wait | |", "|---|---|",
            f"| a yield, nobody else on the CPU | {us(w['yield'])} |",
            f"| a yield to another thread and back | {us(w['yield_to_another'])} |",
            f"| to wake a thread of the same CPU, and be woken by it | "
            f"{us(w['ping_pong_one_cpu'])} |",
            f"| to wake a thread of an idle CPU: the call; until it runs | "
            f"{us(w['wake_idle_cpu_call'])}; {us(w['wake_idle_cpu'])} |",
            f"| the same while that CPU runs somebody who yields | "
            f"{us(w['wake_yielding_cpu_call'])}; {us(w['wake_yielding_cpu'])} |"]


def costs_table(costs):
    lines = ["| 4 KiB randread | depth | IOPS | CPU a request, us | sleeps a request | memory, MiB |",
             "|---|---|---|---|---|---|"]
    for what, depths in costs.items():
        for depth, d in depths.items():
            processes = d["processes"]
            cpu = ", ".join(f"{n} {p['cpu_us']:.2f}" for n, p in processes.items())
            sleeps = ", ".join(f"{n} {p['sleeps']:.2f}" for n, p in processes.items())
            memory = ", ".join(f"{n} {p['rss_kb'] / 1024:.0f}" for n, p in processes.items())
            total = sum(p["cpu_us"] for p in processes.values())
            lines.append(f"| {what} | {depth} | {number(d['iops'])} | {total:.1f}: {cpu} | "
                         f"{sleeps} | {memory} |")
    return lines


def curve_table(name, curve):
    xs = [p["x"] for p in next(iter(curve.values()))]
    lines = [f"| {name} | " + " | ".join(str(x) for x in xs) + " |",
             "|---|" + "---|" * len(xs)]
    for label, points in curve.items():
        lines.append(f"| {label}, IOPS | " + " | ".join(number(p["iops"]) for p in points) + " |")
        lines.append(f"| {label}, p50 us | " + " | ".join(number(p["p50"]) for p in points) + " |")
    return lines


def table(result):
    m = result["machine"]
    lines = [f"Machine: {m['cpus']} CPUs, {m['cpu']}, Linux {m['kernel']}; load at the start "
             f"{m['load']:.2f}; {result['minutes']} minutes.", "", "### Goals", ""]
    lines += goals_table(result["rows"])
    lines += ["", "### Servers over NBD", "", *peers_table(result["rows"])]
    lines += other_table(result["rows"])
    if "costs" in result:
        lines += ["", "### Costs", "", *costs_table(result["costs"]), "",
                  *waking_table(result["waking"])]
    if "idle" in result:
        lines += ["", "### Idle", "", *idle_table(result["idle"])]
    lines += ["", "### Curves", ""]
    for name, curve in result["curves"].items():
        lines += [*curve_table(name, curve), ""]
    lines += [f"Note: {n}" for n in result["notes"]]
    return "\n".join(lines) + "\n"


def plot(name, curve, folder):
    """IOPS over the curve's variable, as SVG."""
    base = os.path.join(folder, name.replace(" ", "-"))
    labels = list(curve)
    with open(base + ".dat", "w") as f:
        for i, p in enumerate(curve[labels[0]]):
            f.write(f"{p['x']} " + " ".join(str(curve[k][i]["iops"]) for k in labels) + "\n")
    lines = ", ".join(f"'{base}.dat' using 0:{i + 2}:xtic(1) with linespoints title '{k}'"
                      for i, k in enumerate(labels))
    script = (f"set terminal svg size 640,400; set output '{base}.svg'; set key outside bottom; "
              f"set xlabel '{name}'; set ylabel 'IOPS'; set yrange [0:]; set grid; plot {lines}")
    subprocess.run(["gnuplot", "-e", script], check=True, timeout=60)


def write(result, folder):
    with open(os.path.join(folder, "results.json"), "w") as f:
        json.dump(result, f, indent=1)
    with open(os.path.join(folder, "table.md"), "w") as f:
        f.write(table(result))
    if not shutil.which("gnuplot"):
        print("gnuplot is not installed: no plots")
        return
    for name, curve in result["curves"].items():
        plot(name, curve, folder)


def insert(result, path):
    """Replace what is between the marks of a document."""
    with open(path) as f:
        before, _, rest = f.read().partition("<!-- RESULTS -->\n")
        _, mark, after = rest.partition("<!-- END -->\n")
    if not mark:
        raise ValueError(f"{path}: no marks")
    with open(path, "w") as f:
        f.write(before + "<!-- RESULTS -->\n" + table(result) + mark + after)


def check(result):
    """Of a smoke run: everything was measured.  A tenth of a second may see nothing."""
    for row in result["rows"]:
        assert all(row["values"].values()), f"{row['what']}: not measured"
        assert any(v > 0 for values in row["values"].values() for v in values), row["what"]
    for name, curve in result["curves"].items():
        for label, points in curve.items():
            assert any(p["iops"] > 0 for p in points), f"{name}: {label}"
    assert result["idle"]["processes"] and result["idle"]["first_request_us"] and result["rows"]
    for ms, d in result["idle"]["first_request_us"].items():
        assert d["p50"] > 0, f"first request after {ms} ms"
    assert result["waking"]["yield"] > 0
    for what, depths in result["costs"].items():
        assert any(d["iops"] > 0 for d in depths.values()), what
