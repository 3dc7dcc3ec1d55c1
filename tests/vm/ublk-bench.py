#!/usr/bin/python3
"""Measures block devices in turn with fio, and what they cost the CPUs.

usage: ublk-bench.py [--rounds N] [--seconds S] --backend PID NAME=DEVICE=PID...

PID is the process that serves DEVICE.  Prints a table in Markdown: medians, and the lowest
and highest ratio of the first device to the second in one round.  The CPU time of a request is what
all tasks of this machine used, but for fio and the backend: of the process that serves the
device, and of the kernel's threads that work for it.
"""

import argparse
import json
import os
import statistics
import subprocess

LOADS = [
    ("4 KiB randread, depth 1", "randread", 1),
    ("4 KiB randwrite, depth 1", "randwrite", 1),
    ("4 KiB randread, depth 32", "randread", 32),
    ("4 KiB randwrite, depth 32", "randwrite", 32),
]


def all_tasks_ns():
    """CPU time of all tasks since the boot."""
    with open("/proc/schedstat", encoding="ascii") as f:
        return sum(int(line.split()[7]) for line in f if line.startswith("cpu"))


def process_ns(pid):
    """CPU time of the threads that a process has now."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as f:
            total += int(f.read().split()[0])
    return total


def fio(device, rw, depth, seconds):
    """One run; what fio tells, and the CPU time that it took."""
    command = [
        "fio", "--name=bench", f"--filename={device}", f"--rw={rw}", "--bs=4k", "--direct=1",
        "--ioengine=libaio", f"--iodepth={depth}", "--time_based", f"--runtime={seconds}",
        "--thread", "--norandommap", "--output-format=json",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        text = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = status
    if status != 0:
        raise SystemExit(f"fio on {device} has failed: {status}")
    job = json.loads(text)["jobs"][0]["read" if rw == "randread" else "write"]
    return job, int((usage.ru_utime + usage.ru_stime) * 1e9)


def measure(device, pid, backend, load, seconds):
    """One figure of each kind, for one run."""
    _, rw, depth = load
    before = all_tasks_ns(), process_ns(backend), process_ns(pid)
    job, fio_ns = fio(device, rw, depth, seconds)
    after = all_tasks_ns(), process_ns(backend), process_ns(pid)
    everything, behind, server = (b - a for a, b in zip(before, after))
    requests = job["total_ios"]
    return {
        "p50 us": job["clat_ns"]["percentile"]["50.000000"] / 1000,
        "IOPS": job["iops"],
        "CPU us/request": (everything - behind - fio_ns) / requests / 1000,
        "of its process": server / requests / 1000,
        "fio": fio_ns / requests / 1000,
        "backend": behind / requests / 1000,
    }


def row(what, unit, figures):
    """FIGURES: a list for each of two devices, by round."""
    ratios = [a / b for a, b in zip(*figures) if b]
    first, second = (statistics.median(f) for f in figures)
    print(f"| {what} | {unit} | {first:,.1f} | {second:,.1f} | {first / second:.2f} | "
          f"{min(ratios):.2f}-{max(ratios):.2f} |", flush=True)


def main():
    """The table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--backend", type=int, required=True)
    parser.add_argument("device", nargs=2)
    options = parser.parse_args()
    devices = [d.split("=") for d in options.device]
    print(f"| what | unit | {devices[0][0]} | {devices[1][0]} | ratio | spread |")
    print("|---|---|---|---|---|---|")
    for load in LOADS:
        runs = [[], []]
        for _ in range(options.rounds):
            for of, (_, node, pid) in zip(runs, devices):
                of.append(measure(node, int(pid), options.backend, load, options.seconds))
        for unit in runs[0][0]:
            row(load[0], unit, [[run[unit] for run in of] for of in runs])


main()
