# SPDX-License-Identifier: BSD-3-Clause
"""What bench/run starts and asks: cbd, its peers, and the programs that measure.

Owns a folder in /dev/shm, all processes, and their end.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

# read or write, block, depth: of the comparison over NBD
WORKLOADS = (("randread", "4k", 1), ("randwrite", "4k", 1), ("randread", "4k", 32),
             ("randwrite", "4k", 32), ("read", "128k", 16), ("write", "128k", 16))

TIMEOUT = 120


class Failure(Exception):
    """A program ended as it should not."""


def run(*argv, **kwargs):
    r = subprocess.run(argv, capture_output=True, text=True, timeout=TIMEOUT, check=False,
                       stdin=subprocess.DEVNULL, **kwargs)
    if r.returncode != 0:
        raise Failure(f"{' '.join(argv)}: status {r.returncode}: {r.stderr[-500:]}")
    return r.stdout


def wait_for(what, ready, process=None, seconds=20):
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end or (process and process.poll() is not None):
            raise Failure(f"{what}: does not start")
        time.sleep(0.02)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def listens(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


class Daemon:
    """A server that can only run in the background, as if it were a child."""

    def __init__(self, pidfile):
        with open(pidfile) as f:
            self.pid = int(f.read())

    def terminate(self):
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def wait(self, timeout=10):
        end = time.monotonic() + timeout
        while os.path.exists(f"/proc/{self.pid}") and time.monotonic() < end:
            time.sleep(0.02)


class Server:
    """Processes behind one NBD or iSCSI address."""

    def __init__(self, uri, processes, spinner=False, disk=None):
        self.uri = uri
        self.disk = disk  # its own, which ends with it
        self.processes = processes
        self.pids = [p.pid for p in processes]
        self.spinner = spinner

    @contextlib.contextmanager
    def busy(self):
        """With a process beside it that spins: what a poller costs, or gives, others."""
        if not self.spinner:
            yield
            return
        p = subprocess.Popen(["sh", "-c", "while :; do :; done"])
        try:
            yield
        finally:
            p.kill()
            p.wait()

    def stop(self):
        for p in reversed(self.processes):
            p.terminate()
        for p in self.processes:
            try:
                p.wait(timeout=10)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()
        self.processes = []
        if self.disk:
            os.unlink(self.disk)
            self.disk = None


class Lab:
    def __init__(self, smoke=False):
        self.smoke = smoke
        self.megabytes = 64 if smoke else 1024
        self.builddir = os.environ["abs_top_builddir"]
        self.pinned = os.cpu_count() > 1
        self.backends = {}
        self.servers = []
        self.count = 0

    def __enter__(self):
        self.folder = tempfile.mkdtemp(prefix="cbd-bench.", dir="/dev/shm")
        self.disk = self.new_disk()
        return self

    def __exit__(self, *_):
        for server in self.servers:
            server.stop()
        self.stop_backends()
        shutil.rmtree(self.folder, ignore_errors=True)

    def name(self, what):
        self.count += 1
        return os.path.join(self.folder, f"{what}{self.count}")

    def new_disk(self, megabytes=None):
        path = self.name("disk")
        block = os.urandom(1 << 20)
        with open(path, "wb") as f:
            for _ in range(megabytes or self.megabytes):
                f.write(block)
        return path

    def start(self, *argv):
        """Signals of the terminal are for us alone; all of these end with us."""
        log = open(self.name("log"), "w")
        return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                start_new_session=True)

    def pin(self, cpu):
        return ("taskset", "-c", str(cpu)) if self.pinned else ()

    # --------------------------------------------------------------- cbd

    def start_backend(self, kind, engine, pin, size="64M", channels=8, channel_size=None,
                      crc=False, handlers=1, poll="adaptive", megabytes=None, cpu=1):
        """pin: to the CPU."""
        transport, pidfile = self.name("transport"), self.name("pid")
        disk = self.new_disk(megabytes)
        options = ["--channel-size", channel_size] if channel_size else []
        if crc:
            options.append("--data-crc")
        run("cbdctl", "format", "--size", size, "--backends", "1", "--channels", str(channels),
            "--coherence", kind, *options, transport)
        p = self.start(*(self.pin(cpu) if pin and handlers == 1 else ()), "cbd-backend", "-f", "-t",
                       transport, "--id", "0", "--engine", engine, "--poll", poll, "--handlers",
                       str(handlers), "--pidfile", pidfile, disk)
        wait_for("cbd-backend", lambda: os.path.exists(pidfile) and os.path.getsize(pidfile), p)
        return transport, p, disk

    def backend(self, kind, engine, **options):
        """One for cbd-bench, pinned to CPU 1; kept until stop_backends()."""
        key = (kind, engine, tuple(sorted(options.items())))
        if key not in self.backends:
            self.backends[key] = self.start_backend(kind, engine, True, **options)
        return self.backends[key]

    def stop_backends(self):
        for _, p, disk in self.backends.values():
            p.terminate()
            p.wait(timeout=30)
            os.unlink(disk)
        self.backends = {}

    def cbd(self, engine, one_cpu=False, two_hosts=False, kind="hardware"):
        """one_cpu: backend and nbdkit share CPU 1; two_hosts: nbdkit has CPU 0."""
        transport, p, disk = self.start_backend(kind, engine, one_cpu or two_hosts)
        cpu = self.pin(1) if one_cpu else self.pin(0) if two_hosts else ()
        return self.serve(*cpu, "nbdkit", "-f", "-U", None, "cbd",
                          transport, "backend=0", before=[p], disk=disk)

    def serve(self, *argv, before=(), spinner=False, disk=None):
        """A server on a unix socket, which stands for None in argv."""
        sock = self.name("socket")
        p = self.start(*(sock if a is None else a for a in argv))
        wait_for(argv[0], lambda: os.path.exists(sock), p)
        server = Server(f"nbd+unix:///?socket={sock}", [*before, p], spinner, disk)
        self.servers.append(server)
        return server

    def serve_tcp(self, *argv, before=(), disk=None):
        """The same on a port, which stands for None."""
        port = free_port()
        p = self.start(*(str(port) if a is None else a for a in argv))
        wait_for(argv[0], lambda: listens(port), p)
        server = Server(f"nbd://127.0.0.1:{port}", [*before, p], disk=disk)
        self.servers.append(server)
        return server

    # ------------------------------------------------------------- peers

    def peers(self, note):
        m = f"{self.megabytes}M"
        makers = {
            "nbdkit file": lambda: self.serve("nbdkit", "-f", "-U", None, "file", self.disk),
            "nbdkit file + spinner": lambda: self.serve("nbdkit", "-f", "-U", None, "file",
                                                        self.disk, spinner=True),
            "nbdkit file TCP": lambda: self.serve_tcp("nbdkit", "-f", "-p", None, "file",
                                                      self.disk),
            "nbdkit memory": lambda: self.serve("nbdkit", "-f", "-U", None, "memory", m),
            "nbd-TCP-file": self.topology,
            "qemu-nbd": lambda: self.serve("qemu-nbd", "-t", "-e", "16", "-f", "raw", "-k", None,
                                           self.disk),
            "qemu-nbd TCP": self.qemu_nbd_tcp,
            "nbd-server": self.nbd_server,
            "nbd-server TCP": lambda: self.nbd_server(tcp=True),
            "qemu-storage-daemon": self.storage_daemon,
        }
        servers = {}
        if self.smoke:
            makers = {name: makers[name] for name in ("nbdkit file", "nbd-TCP-file")}
        for name, make in makers.items():
            try:
                servers[name] = make()
            except (Failure, FileNotFoundError) as e:
                note(f"{name}: left out: {e}")
        return servers

    def qemu_nbd_tcp(self):
        disk = self.new_disk()
        return self.serve_tcp("qemu-nbd", "-t", "-e", "16", "-f", "raw", "-b", "127.0.0.1", "-p",
                              None, disk, disk=disk)

    def topology(self):
        """As cbd's: one process where the client is, one where the disk is."""
        far = self.serve_tcp("nbdkit", "-f", "-p", None, "file", self.disk)
        return self.serve("nbdkit", "-f", "-U", None, "nbd", far.uri, before=far.processes)

    def nbd_server(self, tcp=False):
        config, sock, port = self.name("conf"), self.name("socket"), free_port()
        with open(config, "w") as f:
            f.write(f"[generic]\nlistenaddr = 127.0.0.1\nport = {port}\n")
            if not tcp:
                f.write(f"unixsock = {sock}\n")
            f.write(f"[disk]\nexportname = {self.disk}\n")
        pidfile = self.name("pid")
        run("nbd-server", "-C", config, "-p", pidfile)
        wait_for("nbd-server", lambda: os.path.exists(pidfile) and os.path.getsize(pidfile))
        p = Daemon(pidfile)
        wait_for("nbd-server", lambda: listens(port) if tcp else os.path.exists(sock))
        uri = f"nbd://127.0.0.1:{port}/disk" if tcp else f"nbd+unix:///disk?socket={sock}"
        server = Server(uri, [p])
        self.servers.append(server)
        return server

    def storage_daemon(self):
        sock, disk = self.name("socket"), self.new_disk()
        p = self.start("qemu-storage-daemon",
                       "--blockdev", f"driver=file,node-name=d,filename={disk}",
                       "--nbd-server", f"addr.type=unix,addr.path={sock}",
                       "--export", "type=nbd,id=e,node-name=d,name=,writable=on")
        wait_for("qemu-storage-daemon", lambda: os.path.exists(sock), p)
        server = Server(f"nbd+unix:///?socket={sock}", [p], disk=disk)
        self.servers.append(server)
        return server

    def tgt(self, note):
        """tgt serves iSCSI; the initiator in user space is libiscsi's, in qemu-img."""
        port, control = free_port(), str(20000 + os.getpid() % 10000)
        iqn = "iqn.2026-01.example:cbd-bench"
        try:
            disk = self.new_disk()
            p = self.start("tgtd", "-f", "-C", control, "--iscsi", f"portal=127.0.0.1:{port}")
            server = Server(f"iscsi://127.0.0.1:{port}/{iqn}/1", [p], disk=disk)
            server.processes[0].terminate = lambda: p.send_signal(signal.SIGKILL)
            self.servers.append(server)
            wait_for("tgtd", lambda: listens(port), p)
            for args in (("--mode", "target", "--op", "new", "--tid", "1", "-T", iqn),
                         ("--mode", "logicalunit", "--op", "new", "--tid", "1", "--lun", "1",
                          "-b", disk),
                         ("--mode", "target", "--op", "bind", "--tid", "1", "-I", "ALL")):
                run("tgtadm", "-C", control, "--lld", "iscsi", *args)
            self.qemu_bench(server.uri, 1)
            return server
        except (Failure, FileNotFoundError) as e:
            note(f"tgt (iSCSI): left out: {e}")
            return None

    # ----------------------------------------------------------- measure

    @staticmethod
    def usage(pid):
        """CPU seconds, sleeps and memory of a process, all threads."""
        cpu = sleeps = 0
        for tid in os.listdir(f"/proc/{pid}/task"):
            # a thread may end meanwhile
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                with open(f"/proc/{pid}/task/{tid}/schedstat") as f:
                    ns = int(f.read().split()[0])
                with open(f"/proc/{pid}/task/{tid}/status") as f:
                    sleeps += next(int(line.split()[1]) for line in f
                                   if line.startswith("voluntary_ctxt"))
                cpu += ns
        with open(f"/proc/{pid}/status") as f:
            rss = next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))
        return {"cpu_s": cpu / 1e9, "sleeps": sleeps, "rss_kb": rss}

    def bench(self, backend, rw, depth=1, block="4k", queues=1, idle=0, seconds=1, think=0,
              poll="adaptive"):
        transport, p, _ = backend
        before = self.usage(p.pid)
        options = ["--cpus", "0"] if self.pinned and queues == 1 else []
        d = json.loads(run("cbd-bench", "-t", transport, "--backend", "0", "--rw", rw, "-d",
                           str(depth), "-b", block, "--queues", str(queues), "--idle", str(idle),
                           "--time", str(seconds), "--ramp", "0.1", "--think", str(think),
                           "--poll", poll, "--json", *options))
        after = self.usage(p.pid)
        side = d["read"] if d["read"]["ios"] else d["write"]
        ios = max(side["ios"], 1)
        us = {name: ns / 1000 for name, ns in side["latency_ns"].items()}
        # the backend's usage is of ramp and measurement
        share = seconds / (seconds + 0.1)
        return {"ios": side["ios"], "iops": side["iops"], **us,
                "cpu_us": 1e6 * d["cpu_seconds"] / ios,
                "backend_cpu_us": 1e6 * share * (after["cpu_s"] - before["cpu_s"]) / ios,
                "sleeps": d["sleeps"] / ios,
                "backend_sleeps": share * (after["sleeps"] - before["sleeps"]) / ios,
                "rss_kb": d["max_rss_kb"], "backend_rss_kb": after["rss_kb"]}

    def floor(self, kind, rw, seconds, block=4096, engine="psync", depth=1):
        cpus = ("0", "1") if self.pinned else ()
        d = json.loads(run(f"{self.builddir}/bench/floor", self.disk, kind, rw, str(block),
                           str(seconds), engine, str(depth), *cpus))
        return {"iops": d["iops"], "p50": d["latency_ns"]["p50"] / 1000}

    def job(self, settings, seconds):
        """A job file of fio's."""
        return ("[job]\n" + "".join(f"{k}={v}\n" for k, v in settings.items()) +
                f"size={self.megabytes}M\nrandrepeat=0\nnorandommap\n"
                f"runtime={int(seconds * 1000)}ms\ntime_based\n")

    @staticmethod
    def side(out):
        """The reads or the writes of fio's JSON."""
        d = json.loads(out[out.index("{"):])["jobs"][0]
        return d["read"] if d["read"]["total_ios"] else d["write"]

    def fio(self, settings, seconds):
        path = self.name("job")
        with open(path, "w") as f:
            f.write(self.job(settings, seconds))
        side = self.side(run("fio", "--output-format=json", path, cwd=self.folder))
        os.unlink(path)
        return {"iops": side["iops"], "p50": side["clat_ns"]["percentile"]["50.000000"] / 1000}

    def fio_file(self, engine, rw, block, seconds):
        job = {"ioengine": engine, "filename": self.disk, "rw": rw, "bs": block, "thread": 1}
        if self.pinned:
            job["cpus_allowed"] = 0
        return self.fio(job, seconds)

    def fio_nbd(self, uri, rw, block, depth, seconds, cpu=None):
        return self.fio({"ioengine": "nbd", "uri": uri, "rw": rw, "bs": block, "iodepth": depth,
                         **({} if cpu is None else {"cpus_allowed": cpu})},
                        seconds)

    @staticmethod
    def qemu_bench(uri, depth):
        count = 2000 if depth == 1 else 20000
        start = time.monotonic()
        run("qemu-img", "bench", "-f", "raw", "-t", "none", "-c", str(count), "-d", str(depth),
            "-s", "4096", uri)
        return count / (time.monotonic() - start)
