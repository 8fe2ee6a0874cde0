"""harness.py - starts servers for the end-to-end tests, and ends a suite with its summary line.

    import harness
    class Basics(harness.TestCase):
        def test_ping(self):
            with harness.Server() as server:
                self.assertEqual(server.command("PING"), b"PONG")
    harness.main()

The server under test is $MINIDB (default build/minidb), the client $MINIDB_CLI.  Servers listen on
127.0.0.1 on a port the kernel chose, keep their data in a temporary directory, and are ended by
their process id.
"""

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MINIDB = os.path.join(ROOT, os.environ.get("MINIDB", "build/minidb"))
MINIDB_CLI = os.path.join(ROOT, os.environ.get("MINIDB_CLI", "build/minidb-cli"))
START_S = 30
WAIT_S = 60
# Below the ports that the kernel gives to outgoing connections, which could take one meanwhile.
# Suites that run side by side, each in a lane (run.py), find theirs in different quarters: a port
# that was free when a suite asked may stay unused until its node starts, or starts again.
LANE_PORTS = 5000
FIRST_PORT = 12000 + LANE_PORTS * int(os.environ.get("TEST_LANE", "0"))


GIVEN = set()


def free_port():
    """Each only once: nobody listens on it before its node starts, nor while that is down."""
    if len(GIVEN) > LANE_PORTS // 2:
        GIVEN.clear()
    while True:
        port = random.randrange(FIRST_PORT, FIRST_PORT + LANE_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in GIVEN:
            GIVEN.add(port)
            return port


def await_true(what, condition, within_s=WAIT_S, despite=(), pause_s=0.01):
    """condition: True, or what is still missing.  Raising one of `despite` counts as not yet; all
    else that it raises is trouble."""
    deadline = time.monotonic() + within_s
    seen = None
    while time.monotonic() < deadline:
        try:
            seen = condition()
            if seen is True:
                return
        except despite as failure:
            seen = repr(failure)
        time.sleep(pause_s)
    raise RuntimeError(f"not within {within_s} s: {what}: {seen}")


class Server:
    """One server process.  kind "minidb" or "redis" (Debian's redis-server, to compare with)."""

    def __init__(self, *options, kind="minidb", directory=None, env=None):
        self.kind = kind
        self.options = list(options)
        self.port = free_port()
        self.owns_directory = directory is None
        self.directory = directory or tempfile.mkdtemp(prefix="minidb-e2e-")
        self.env = {**os.environ, **(env or {})}
        self.process = None

    def command_line(self):
        if self.kind == "redis":
            return ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
                    "--dir", self.directory, *self.options]
        return [MINIDB, "--port", str(self.port), "--data-dir",
                os.path.join(self.directory, "data"), *self.options]

    def start(self):
        self.log_path = os.path.join(self.directory, "log")
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.command_line(), stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, env=self.env,
                                            cwd=self.directory)
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"server ended at start: {self.log()}")
            try:
                with socket.create_connection(("127.0.0.1", self.port), START_S) as connection:
                    connection.sendall(b"PING\r\n")  # serving, not only listening
                    if connection.recv(1):
                        return self
            except OSError:
                pass
            time.sleep(0.02)
        raise RuntimeError(f"server did not start: {self.log()}")

    def log(self):
        with open(self.log_path, "rb") as log:
            return log.read().decode("utf-8", "replace")

    def stop(self, how=signal.SIGTERM, timeout_s=30):
        """Ends the process; returns its exit status (negative: the signal that ended it)."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            status = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            self.process = None
        return status

    def kill(self):
        return self.stop(signal.SIGKILL)

    def command(self, *words):
        """One command over a connection of its own: status, bulk, integer and error replies."""
        with socket.create_connection(("127.0.0.1", self.port), 30) as connection:
            request = b"*%d\r\n" % len(words)
            for word in words:
                word = word if isinstance(word, bytes) else str(word).encode()
                request += b"$%d\r\n%s\r\n" % (len(word), word)
            connection.sendall(request)
            file = connection.makefile("rb")
            line = file.readline().rstrip(b"\r\n")
            kind, rest = line[:1], line[1:]
            if kind == b"$":
                return None if rest == b"-1" else file.read(int(rest) + 2)[:-2]
            return int(rest) if kind == b":" else rest if kind == b"+" else line

    def __enter__(self):
        return self.start()

    def __exit__(self, kind=None, *_):
        """A server that still runs must stop cleanly: sanitizers speak through the exit status."""
        try:
            status = self.stop()
            if status not in (None, 0) and kind is None:
                raise RuntimeError(f"the server ended with {status}: {self.log()[-4000:]}")
        finally:
            if self.owns_directory:
                shutil.rmtree(self.directory, ignore_errors=True)


class TestCase(unittest.TestCase):
    maxDiff = None
    longMessage = True


def main():
    """Runs the tests of the calling module; the last line is "N passed, N failed"."""
    verbosity = int(os.environ.get("VERBOSE", "1"))
    program = unittest.main(module="__main__", exit=False, verbosity=verbosity)
    result = program.result
    bad = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
    sys.stderr.flush()
    print(f"{result.testsRun - bad - len(result.skipped)} passed, {bad} failed", flush=True)
    sys.exit(1 if bad or result.testsRun == 0 else 0)
