# SPDX-License-Identifier: BSD-3-Clause
"""What a request costs each process that takes part: CPU, sleeps, memory."""

import json
import os
import subprocess
import threading
import time

from bench_servers import Failure, TIMEOUT, run

# until fio has begun, and before it ends
SETTLE = 0.6


def waking(lab, smoke):
    """What it costs here to yield, to switch and to wake: bench/wakeup.c."""
    return json.loads(run(f"{lab.builddir}/bench/wakeup", "50" if smoke else "2000"))


def per_request(before, after, requests):
    """CPU and sleeps of a process whose threads lived all the time between."""
    return {"cpu_us": 1e6 * (after["cpu_s"] - before["cpu_s"]) / requests,
            "sleeps": (after["sleeps"] - before["sleeps"]) / requests,
            "rss_kb": after["rss_kb"]}


def nbd(lab, server, names, rw, depth, seconds, cpu=None):
    """Of fio (on a CPU) and the processes of a server while fio keeps it busy.

    Looks at all of them twice while it runs: nbdkit's threads end with a connection and
    take their figures along.
    """
    path = lab.name("job")
    settings = {"ioengine": "nbd", "uri": server.uri, "rw": rw, "bs": "4k", "iodepth": depth,
                "thread": 1, **({} if cpu is None else {"cpus_allowed": cpu})}
    with open(path, "w") as f:
        f.write(lab.job(settings, seconds + 2 * SETTLE))
    pids = dict(zip(names, server.pids))
    with subprocess.Popen(["fio", "--output-format=json", path], cwd=lab.folder, text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL) as p:
        pids["fio"] = p.pid
        time.sleep(SETTLE)
        start, before = time.monotonic(), {n: lab.usage(pid) for n, pid in pids.items()}
        time.sleep(seconds)
        took, after = time.monotonic() - start, {n: lab.usage(pid) for n, pid in pids.items()}
        out = p.communicate(timeout=TIMEOUT)[0]
    os.unlink(path)
    iops = lab.side(out)["iops"]
    requests = max(iops * took, 1)
    return {"iops": iops, "processes": {n: per_request(before[n], after[n], requests)
                                        for n in pids}}


def native(lab, backend, rw, depth, seconds):
    d = lab.bench(backend, rw, depth=depth, seconds=seconds)
    return {"iops": d["iops"], "processes": {
        "cbd-bench": {"cpu_us": d["cpu_us"], "sleeps": d["sleeps"], "rss_kb": d["rss_kb"]},
        "cbd-backend": {"cpu_us": d["backend_cpu_us"], "sleeps": d["backend_sleeps"],
                        "rss_kb": d["backend_rss_kb"]}}}


def all_costs(lab, smoke, note):
    """what -> depth -> costs."""
    seconds = 0.2 if smoke else 1
    costs = {}
    for engine in ("psync", "mmap"):
        b = lab.backend("hardware", engine)
        costs[f"native, {engine}"] = {d: native(lab, b, "randread", d, seconds) for d in (1, 32)}
    lab.stop_backends()
    makers = {
        "NBD, cbd": (lambda: lab.cbd("psync"), ("cbd-backend", "nbdkit"), None),
        "NBD, cbd on one CPU, fio on the other": (
            lambda: lab.cbd("psync", one_cpu=True), ("cbd-backend", "nbdkit"), 0),
        "NBD, nbdkit file": (lambda: lab.serve("nbdkit", "-f", "-U", None, "file", lab.disk),
                             ("nbdkit",), None),
        "NBD, nbd-TCP-file": (lab.topology, ("nbdkit file", "nbdkit nbd"), None)}
    for what, (make, names, cpu) in makers.items():
        if cpu is not None and not lab.pinned:
            continue
        try:
            server = make()
        except (Failure, FileNotFoundError) as e:
            note(f"{what}: left out: {e}")
            continue
        costs[what] = {d: nbd(lab, server, names, "randread", d, seconds, cpu) for d in (1, 32)}
        server.stop()
    return costs


def wait_and_ask(lab, transport, delay, ms, times, samples):
    """One client after the other, of one request each after a pause."""
    time.sleep(delay)
    for _ in range(times):
        d = json.loads(run("cbd-bench", "-t", transport, "--backend", "0", "--rw", "randread",
                           "--ramp", "0", "--time", str(ms * 1.5 / 1000), "--think", str(ms),
                           "--json"))
        if d["read"]["ios"] == 1:
            samples.append(d["read"]["latency_ns"]["max"] / 1000)


def first_requests(lab, smoke):
    """What a request takes that finds client and backend asleep.

    Pairs of them, as each takes so long for a sample; one asks after the other.  All of
    them beat, so the CPUs are not as fast asleep as those of a machine with one pair.
    """
    result = {}
    for ms, pairs, times in ((20, 2, 2),) if smoke else ((250, 1, 40), (10000, 25, 4)):
        backends = [lab.start_backend("hardware", "psync", False, megabytes=1, size="16M",
                                      channels=1) for _ in range(pairs)]
        samples = []
        threads = [threading.Thread(target=wait_and_ask, args=(
            lab, b[0], i * ms / 1000 / pairs, ms, times, samples))
                   for i, b in enumerate(backends)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        for _, p, disk in backends:
            p.terminate()
            p.wait(timeout=30)
            os.unlink(disk)
        samples.sort()
        if samples:
            at = [samples[min(int(len(samples) * q), len(samples) - 1)] for q in (0.5, 0.99)]
            result[ms] = {"samples": len(samples), "p50": at[0], "p99": at[1],
                          "max": samples[-1]}
    return result
