#!/usr/bin/python3
"""Clients nobody here wrote, as people use them: redis-py, hiredis, node-redis, ioredis, redis-cli,
redis-benchmark.

The sessions in clients/ check themselves and end with status 0.  The libraries of Node.js lie in
build/node (tools/deps.sh test).
"""

import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import tempfile
import termios
import unittest

import redis

import harness
import wire

SESSIONS = os.path.join(harness.ROOT, "tests", "e2e", "clients")
NODE = os.path.join(harness.ROOT, "build", "node")


class ClientsCase(harness.TestCase):
    def setUp(self):
        self.server = harness.Server().start()
        self.port = str(self.server.port)

    def tearDown(self):
        self.server.__exit__()


class Clients(ClientsCase):
    def session(self, *command):
        result = subprocess.run(command, timeout=120, capture_output=True, text=True, check=False)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)

    def test_node_redis(self):
        self.session("node", os.path.join(SESSIONS, "node_redis.mjs"), NODE, self.port)

    def test_ioredis(self):
        self.session("node", os.path.join(SESSIONS, "node_ioredis.mjs"), NODE, self.port)

    def test_hiredis(self):
        with tempfile.TemporaryDirectory() as directory:
            program = os.path.join(directory, "hiredis_session")
            self.session("gcc", "-O1", "-o", program,
                         os.path.join(SESSIONS, "hiredis_session.c"), "-lhiredis")
            self.session(program, self.port)

    def test_redis_py(self):
        client = redis.Redis(port=self.server.port)
        self.assertTrue(client.ping())
        self.assertTrue(client.set("k", b"\x00\xff\r\n", ex=100))
        self.assertEqual(client.get("k"), b"\x00\xff\r\n")
        self.assertIsNone(client.set("k", "x", nx=True))
        self.assertEqual(client.incr("n", 5), 5)
        self.assertEqual(client.incrbyfloat("f", 0.5), 0.5)
        self.assertTrue(client.mset({f"m:{i}": i for i in range(100)}))
        self.assertEqual(client.mget("m:1", "m:99", "none"), [b"1", b"99", None])
        with client.pipeline(transaction=False) as pipeline:
            for i in range(1000):
                pipeline.set(f"p:{i}", i).get(f"p:{i}")
            self.assertEqual(pipeline.execute()[1::2], [b"%d" % i for i in range(1000)])
        self.assertEqual(sorted(client.scan_iter("p:*", count=50)),
                         sorted(b"p:%d" % i for i in range(1000)))
        self.assertEqual(client.dump("n") and client.restore("copy", 0, client.dump("n")), b"OK")
        self.assertEqual(client.get("copy"), b"5")
        self.assertTrue(client.config_set("maxclients", 500))
        self.assertEqual(client.config_get("maxclients"), {"maxclients": "500"})
        self.assertEqual(client.info("server")["redis_mode"], "standalone")
        self.assertEqual(len(client.client_list()), 1)
        self.assertIn("get", {name.lower() for name in client.command()})
        self.assertGreaterEqual(client.slowlog_len(), 0)
        with self.assertRaises(redis.ResponseError):
            client.execute_command("NOSUCH")
        self.assertTrue(client.flushall())
        self.assertEqual(client.dbsize(), 0)

    def test_redis_benchmark(self):
        """Every test of its -t list that needs only strings, its ways to run, commands of one's
        own.  An error reply ends it with status 1."""
        own = ["SETRANGE", "key:__rand_int__", "3", "__rand_int__"]
        for words in (["-t", "ping_inline,ping_mbulk,set,get,incr,mset", "-P", "10"],
                      ["-t", "set,get", "-P", "16", "-c", "100", "--threads", "2", "-r", "1000"],
                      ["-t", "set,get,incr,mset", "-3", "-d", "5000", "-c", "20"],
                      ["-t", "set", "-k", "0", "-c", "10"],
                      ["-r", "100", *own], ["-3", "-P", "5", "MGET", "a", "key:000000000042"]):
            result = subprocess.run(["redis-benchmark", "-p", self.port, "--csv", "-n", "2000",
                                     *words], capture_output=True, text=True, timeout=120,
                                    check=False)
            self.assertEqual(result.returncode, 0, (words, result.stdout, result.stderr))
            self.assertNotIn("rror", result.stdout + result.stderr, words)
            names = words[1].split(",") if words[0] == "-t" else [""]
            rows = result.stdout.strip().split("\n")[1:]
            self.assertEqual(len(rows), len(names), result.stdout)
            for name, row in zip(names, rows):
                self.assertRegex(row.upper(), f'^"{name.upper()}.*,"[0-9.]+"$')


class RedisCli(ClientsCase):
    def cli(self, *words, stdin=""):
        result = subprocess.run(["redis-cli", "-p", self.port, *words], input=stdin, timeout=60,
                                capture_output=True, text=True, check=False)
        self.assertEqual((result.returncode, result.stderr), (0, ""), result)
        return result.stdout

    def test_one_command(self):
        for protocol in ([], ["-3"]):
            self.assertEqual(self.cli(*protocol, "SET", "k", "a b"), "OK\n")
            self.assertEqual(self.cli(*protocol, "GET", "k"), "a b\n")
            self.assertEqual(self.cli(*protocol, "--no-raw", "MGET", "k", "missing"),
                             '1) "a b"\n2) (nil)\n')
            self.assertEqual(self.cli(*protocol, "--csv", "MGET", "k", "missing"), '"a b",NULL\n')
            self.assertIn("redis_version", self.cli(*protocol, "INFO"))
            self.assertIn("unknown command", self.cli(*protocol, "NOSUCH"))
        self.assertEqual(json.loads(self.cli("--json", "CONFIG", "GET", "maxmemory")),
                         {"maxmemory": "0"})
        self.assertEqual(self.cli("-x", "SET", "k", stdin="from a pipe"), "OK\n")
        self.assertEqual(self.cli("-r", "3", "INCR", "n"), "1\n2\n3\n")
        self.assertEqual(self.cli(stdin="GET k\nINCR n\nGET missing\n"), "from a pipe\n4\n\n")

    def test_password(self):
        self.cli("CONFIG", "SET", "requirepass", "secret")
        self.assertIn("NOAUTH", self.cli("GET", "k"))
        for protocol in ([], ["-3"]):
            self.assertEqual(self.cli(*protocol, "-a", "secret", "--no-auth-warning", "PING"),
                             "PONG\n")
        self.assertEqual(self.cli("-u", f"redis://default:secret@127.0.0.1:{self.port}/0",
                                  "--no-auth-warning", "PING"), "PONG\n")

    def test_mass_insertion(self):
        count = 20000
        load = b"".join(wire.encode("SET", f"key:{i}", f"value\r\n{i}") for i in range(count))
        result = subprocess.run(["redis-cli", "-p", self.port, "--pipe"], input=load, timeout=60,
                                capture_output=True, check=False)
        self.assertIn(b"errors: 0, replies: %d\n" % count, result.stdout, result)
        self.assertEqual(result.returncode, 0)
        self.assertEqual(self.cli("DBSIZE"), f"{count}\n")
        names = self.cli("--scan", "--pattern", "key:1*").split()
        self.assertEqual(sorted(names), sorted(f"key:{i}" for i in range(count)
                                               if str(i).startswith("1")))

    def test_key_reports(self):
        self.cli("MSET", "short", "v", "long", "v" * 5000, "middle", "v" * 100)
        text = self.cli("--bigkeys")
        self.assertRegex(text, 'Biggest string found .*"long"')
        self.assertIn("Sampled 3 keys in the keyspace!", text)
        self.assertRegex(self.cli("--memkeys"), 'Biggest string found .*"long"')

    def test_shell(self):
        """On a terminal it parses all of COMMAND DOCS before the first prompt, for hints and help.
        """
        pid, terminal = pty.fork()
        if pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
            os.environ.update(TERM="xterm", HOME=self.server.directory)
            os.execvp("redis-cli", ["redis-cli", "-p", self.port])
        try:
            self.read_until(terminal, r"> ")
            for line, answer in (("set k 'a b'", "OK"), ("get k", '"a b"'),
                                 ("help getrange", "GETRANGE key start end.*group: string")):
                os.write(terminal, line.encode() + b"\r")
                self.read_until(terminal, rf"(?s){answer}\r.*> ")
            os.write(terminal, b"quit\r")
            self.read_until(terminal, None)
        finally:
            os.close(terminal)
            status = os.waitpid(pid, 0)[1]
        self.assertEqual(os.waitstatus_to_exitcode(status), 0)

    def read_until(self, terminal, pattern):
        """Reads until the pattern has come; None: until the other side has ended."""
        text = ""
        while pattern is None or not re.search(pattern, text):
            ready = select.select([terminal], [], [], 20)[0]
            try:
                piece = os.read(terminal, 65536) if ready else b""
            except OSError:
                piece = b""
            if not piece:
                self.assertTrue(ready and pattern is None, f"no {pattern} in {text!r}")
                return
            text = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text + piece.decode("utf-8", "replace"))


if __name__ == "__main__":
    harness.main()
