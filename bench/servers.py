"""servers.py - what every benchmark needs: servers pinned to a core, load on another one, CPU time
from /proc, and the table of results.

The server under load has core 0 (all processes of a cluster share it), the load has core 1, so that
they do not take time from each other; what is compared is what the servers used.
"""
import atexit
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MINIDB = os.path.join(ROOT, os.environ.get("MINIDB", "build/minidb"))
KEYS = 1_000_000
VALUE_BYTES = 64
KEY_BYTES = 16
SERVER_CORE, LOAD_CORE = "0", "1"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Process:
    """Any server that is_up says is up."""

    def __init__(self, name, argv, port, wait=True):
        self.name, self.port = name, port
        self.argv = ["taskset", "-c", SERVER_CORE] + argv
        self.start(wait)

    def start(self, wait=True):
        begun = time.monotonic()
        self.process = subprocess.Popen(self.argv, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        atexit.register(self.process.kill)    # whatever goes wrong
        if wait:
            self.wait_up(begun)

    def wait_up(self, begun):
        for _ in range(6000):
            try:
                if self.is_up():
                    self.start_s = time.monotonic() - begun
                    return
            except OSError:
                pass
            if self.process.poll() is not None:
                sys.exit(f"{self.name} did not start: {' '.join(self.argv)}")
            time.sleep(0.005)
        sys.exit(f"{self.name} did not answer within 30 s")

    def cpu_s(self):
        total = 0
        for task in os.listdir(f"/proc/{self.process.pid}/task"):
            with open(f"/proc/{self.process.pid}/task/{task}/schedstat") as f:
                total += int(f.read().split()[0])
        return total / 1e9

    def rss(self):
        with open(f"/proc/{self.process.pid}/status") as f:
            return int(re.search(r"VmRSS:\s+(\d+) kB", f.read()).group(1)) * 1024

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Server(Process):
    """Speaks RESP."""

    def is_up(self):
        return self.command("PING") == b"+PONG"

    def connect(self, timeout=120):
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout)

    def command(self, *args):
        with self.connect() as s:
            s.sendall(encode(args))
            f = s.makefile("rb")
            line = f.readline().rstrip(b"\r\n")
            if line.startswith(b"-LOADING"):
                raise OSError("loading")
            if line[:1] == b"$":
                return f.read(int(line[1:]))
            return line


def encode(args):
    out = b"*%d\r\n" % len(args)
    for a in args:
        a = a if isinstance(a, bytes) else str(a).encode()
        out += b"$%d\r\n%s\r\n" % (len(a), a)
    return out


def minidb(directory, *extra):
    port = free_port()
    return Server("minidb", [MINIDB, "--port", str(port), "--data-dir", directory,
                             "--log-level", "warn", *extra], port)


def redis(*extra, directory="/tmp"):
    port = free_port()
    return Server("redis", ["redis-server", "--port", str(port), "--dir", directory, *(
        extra or ("--save", "", "--appendonly", "no"))], port)


def load(server, test, requests, pipeline, keys=KEYS, clients=50, measured=None, is_aware=False):
    """One slice of load; returns (operations per second, CPU microseconds per operation of all
    servers in `measured`, else of this one).  test: a name that redis-benchmark knows, or a command
    as a list of words.  is_aware: the client learns who leads what and goes there (slot port)."""
    measured = measured or [server]
    what = ["-t", test] if isinstance(test, str) else []
    command = [] if isinstance(test, str) else test
    where = ["--cluster", "-p", str(server.slot_port)] if is_aware else ["-p", str(server.port)]
    before, begun = cpu_of(measured), time.monotonic()
    subprocess.run(["taskset", "-c", LOAD_CORE, "redis-benchmark", *where, *what,
                    "-n", str(requests), "-P", str(pipeline), "-c", str(clients), "-r", str(keys),
                    "-d", str(VALUE_BYTES), "-q", *command], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
    wall = time.monotonic() - begun
    return requests / wall, (cpu_of(measured) - before) * 1e6 / requests


def cpu_of(servers):
    return sum(server.cpu_s() for server in servers)


def fill(server, keys, ttl=False, batch=1000):
    """Exactly `keys` keys of 16 bytes with 64-byte values."""
    with server.connect() as s:
        f = s.makefile("rb")
        for first in range(0, keys, batch):
            out = []
            for i in range(first, min(first + batch, keys)):
                key = b"key:%012d" % i
                value = b"%064d" % i
                out.append(encode((b"SET", key, value, b"EX", b"100000") if ttl
                                  else (b"SET", key, value)))
            s.sendall(b"".join(out))
            for _ in range(len(out)):
                line = f.readline()
                assert line == b"+OK\r\n", line
            if first % 500000 == 0:
                progress(f"filling {server.name}: {first:,} of {keys:,}")


def progress(text):
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{text}")
        sys.stderr.flush()


class Table:
    def __init__(self):
        self.rows = []

    def add(self, figure, must, aim, ratios, ours, theirs, unit):
        ratios = sorted(ratios)
        self.rows.append((figure, f"{ratios[0]:.2f}", f"{statistics.median(ratios):.2f}",
                          f"{ratios[-1]:.2f}", must, aim, f"{ours:.2f}", f"{theirs:.2f}", unit))
        progress("")
        self.print_row(self.rows[-1])

    HEAD = ("figure", "min", "median", "max", "must", "aim", "minidb", "other", "unit")
    WIDTH = (50, 6, 6, 6, 5, 5, 10, 10, 12)

    def print_row(self, row):
        print("  ".join(c.ljust(w) if i in (0, 8) else c.rjust(w)
                        for i, (c, w) in enumerate(zip(row, self.WIDTH))), flush=True)


