#!/usr/bin/python3
"""The server as a program: options, exit statuses, signals, what survives which end."""

import json
import os
import signal
import socket
import stat
import subprocess
import tempfile
import threading
import time
import unittest

import harness


def run(*args, env=None):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MINIDB_")}
    return subprocess.run([harness.MINIDB, *args], capture_output=True, text=True, timeout=60,
                          env={**clean, **(env or {})}, check=False)


class Options(harness.TestCase):
    def test_help_and_version(self):
        self.assertIn("--appendfsync always|everysec|no", run("--help").stdout)
        self.assertRegex(run("--version").stdout, r"^minidb \d+\.\d+\.\d+ ")
        for words in (["--help"], ["--version"], ["--check-config"]):
            self.assertEqual(run(*words).returncode, 0)

    def check(self, status, text, *args, env=None):
        result = run(*args, env=env)
        self.assertEqual(result.returncode, status, result)
        self.assertIn(text, result.stderr)
        self.assertEqual(result.stderr.count("\n"), 1, result.stderr)

    def test_mistakes(self):
        self.check(2, "unknown option --prot; did you mean --port?", "--prot", "1")
        self.check(2, "--port: argument must be between 0 and 65535", "--port", "70000")
        self.check(2, "--seed: argument must be numeric addresses with the cluster's port",
                   "--seed", "h:1")
        self.check(1, "environment variable MINIDB_PORT:", env={"MINIDB_PORT": "x"})
        self.check(1, "there is no password", "--host", "0.0.0.0")
        self.check(1, "cannot read the configuration file", "/nonexistent.conf")

    def test_file(self):
        with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
            file.write("# mine\nport 1\nbogus 2\n")
            file.flush()
            self.check(1, f"{file.name}:3: unknown option bogus", file.name)

    def test_the_documentation_has_the_options(self):
        table = run("--help=markdown").stdout
        with open(os.path.join(harness.ROOT, "docs", "OPERATIONS.md"), encoding="utf-8") as file:
            self.assertIn(table.strip(), file.read())

    def test_port_in_use(self):
        with harness.Server() as server:
            with tempfile.TemporaryDirectory() as directory:
                result = run("--port", str(server.port), "--data-dir", directory)
        self.assertEqual(result.returncode, 1)
        self.assertIn("cannot listen on 127.0.0.1", result.stderr)

    def test_foreign_data_directory(self):
        with harness.Server() as server:
            server.stop()
            data = os.path.join(server.directory, "data")
            port = str(harness.free_port())
            result = run("--port", port, "--data-dir", data, "--node-id", "other")
            self.assertEqual(result.returncode, 1)
            self.assertIn("belongs to node 'node1'", result.stderr)
            result = run("--port", port, "--data-dir", data, "--partitions", "16")
            self.assertIn("was made with 256 partitions", result.stderr)

    def test_data_directory_in_use(self):
        with harness.Server() as server:
            result = run("--port", str(harness.free_port()), "--data-dir",
                         os.path.join(server.directory, "data"))
            self.assertEqual(result.returncode, 1)
            self.assertIn("another process uses", result.stderr)

    def test_config_rewrite(self):
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "minidb.conf")
            with open(path, "w", encoding="utf-8") as file:
                file.write("# mine\nhz 5\nmaxclients 100\n")
            os.chmod(path, 0o640)
            with harness.Server("--config", path, "--requirepass", "") as server:
                self.assertEqual(server.command("CONFIG", "SET", "hz", "7", "timeout", "9"), b"OK")
                self.assertEqual(server.command("CONFIG", "REWRITE"), b"OK")
                self.assertTrue(server.command("CONFIG", "SET", "port", "1").startswith(b"-ERR"))
            with open(path, encoding="utf-8") as file:
                self.assertEqual(file.read(), "# mine\nhz 7\nmaxclients 100\n\n# Set at run time "
                                 "by CONFIG SET\ntimeout 9\n")
            self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o640)


class Life(harness.TestCase):
    def test_stops_cleanly(self):
        for how in (signal.SIGTERM, signal.SIGINT):
            with harness.Server() as server:
                server.command("SET", "k", "v")
                self.assertEqual(server.stop(how), 0)
                server.start()
                self.assertEqual(server.command("GET", "k"), b"v")
                self.assertIn("clean_stop=true", server.log())

    def test_shutdown_command(self):
        with harness.Server() as server:
            server.command("SET", "k", "v")
            with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
                connection.sendall(b"SHUTDOWN\r\n")
                self.assertEqual(connection.recv(100), b"")
            self.assertEqual(server.process.wait(30), 0)
            server.process = None
            server.start()
            self.assertEqual(server.command("GET", "k"), b"v")

    def test_stop_while_it_starts(self):
        for how in (signal.SIGTERM, signal.SIGINT) * 3:
            with tempfile.TemporaryDirectory() as directory:
                process = subprocess.Popen(
                    [harness.MINIDB, "--port", "0", "--data-dir", os.path.join(directory, "data")],
                    stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
                self.assertIn("event=starting", process.stderr.readline())
                process.send_signal(how)
                _, rest = process.communicate(timeout=30)
                self.assertEqual(process.returncode, 0, rest)
                self.assertIn("event=stopped clean=true", rest.splitlines()[-1])

    def test_sighup_and_sigpipe_do_no_harm(self):
        with harness.Server() as server:
            server.process.send_signal(signal.SIGHUP)
            server.process.send_signal(signal.SIGPIPE)
            self.assertEqual(server.command("PING"), b"PONG")

    def test_acknowledged_writes_survive_kill(self):
        for policy in ("always", "everysec", "no"):
            with harness.Server("--appendfsync", policy) as server:
                acknowledged = self.write_until_killed(server)
                server.start()
                for client, count in enumerate(acknowledged):
                    self.assertGreater(count, 0)
                    for i in range(count):
                        self.assertEqual(server.command("GET", f"k:{client}:{i}"), b"%d" % i)

    def write_until_killed(self, server):
        counts = [0] * 3

        def write(client):
            try:
                with socket.create_connection(("127.0.0.1", server.port), 30) as connection:
                    while True:
                        i = counts[client]
                        connection.sendall(b"SET k:%d:%d %d\r\n" % (client, i, i))
                        if connection.recv(5) != b"+OK\r\n":
                            return
                        counts[client] += 1
            except OSError:
                pass

        threads = [threading.Thread(target=write, args=(client,)) for client in range(3)]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 30
        while min(counts) < 100 and time.monotonic() < deadline:
            time.sleep(0.005)
        server.kill()
        for thread in threads:
            thread.join(30)
        return counts

    def test_in_memory(self):
        with harness.Server("--appendonly", "no") as server:
            server.command("SET", "k", "v")
            self.assertEqual(server.command("GET", "k"), b"v")
            self.assertEqual(server.stop(), 0)
            server.start()
            self.assertIsNone(server.command("GET", "k"))


class Logs(harness.TestCase):
    def test_json_lines(self):
        with harness.Server("--log-format", "json") as server:
            server.stop()
            events = [json.loads(line)["event"] for line in server.log().splitlines()]
        self.assertIn("listening", events)
        self.assertEqual(events[-1], "stopped")

    def test_file(self):
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "log")
            with harness.Server("--log-file", path) as server:
                self.assertEqual(server.command("PING"), b"PONG")
                self.assertEqual(server.stop(), 0)
            with open(path, encoding="utf-8") as file:
                self.assertIn("event=listening", file.read())

    def test_sighup_opens_the_file_anew(self):
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "log")
            with harness.Server("--log-file", path) as server:
                os.rename(path, path + ".1")
                server.process.send_signal(signal.SIGHUP)
                deadline = time.monotonic() + 30
                while not os.path.exists(path) and time.monotonic() < deadline:
                    time.sleep(0.01)
                self.assertEqual(server.command("PING"), b"PONG")
                self.assertEqual(server.stop(), 0)
            with open(path, encoding="utf-8") as file:
                lines = file.read().splitlines()
            self.assertIn("event=log_reopened", lines[0])
            self.assertIn("event=stopped", lines[-1])
            with open(path + ".1", encoding="utf-8") as file:
                self.assertNotIn("event=stopped", file.read())

    def test_password_is_never_logged(self):
        with harness.Server("--requirepass", "sesame", "--log-level", "debug") as server:
            with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
                connection.sendall(b"AUTH sesame\r\nCONFIG SET requirepass sesame2\r\n")
                self.assertIn(b"+OK", connection.recv(100))
            server.stop()
            self.assertNotIn("sesame", server.log())

    def test_a_reader_that_stands_still(self):
        """Standard error is a pipe that nobody reads: serving goes on, and so does stopping."""
        with tempfile.TemporaryDirectory() as directory:
            port = harness.free_port()
            process = subprocess.Popen(
                [harness.MINIDB, "--port", str(port), "--data-dir", os.path.join(directory, "data"),
                 "--log-level", "debug"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE)
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline:
                try:
                    connection = socket.create_connection(("127.0.0.1", port), 30)
                    break
                except OSError:
                    time.sleep(0.02)
            with connection:
                request = b"CONFIG SET hz 10\r\n" * 50
                for _ in range(100):  # each logs a line: many times what a pipe holds
                    connection.sendall(request)
                    received = b""
                    while len(received) < 5 * 50:
                        received += connection.recv(65536)
                    self.assertEqual(received, b"+OK\r\n" * 50)
            process.send_signal(signal.SIGTERM)
            self.assertEqual(process.wait(30), 0)
            process.stderr.close()


if __name__ == "__main__":
    harness.main()
