#!/usr/bin/python3
"""Clients nobody here wrote, as people use them: redis-py, hiredis, node-redis, ioredis, redis-cli,
redis-benchmark.

The sessions in clients/ check themselves and end with status 0.  The libraries of Node.js lie in
build/node (tools/deps.sh test).
"""

import os
import subprocess
import tempfile
import unittest

import redis

import harness

SESSIONS = os.path.join(harness.ROOT, "tests", "e2e", "clients")
NODE = os.path.join(harness.ROOT, "build", "node")


class Clients(harness.TestCase):
    def setUp(self):
        self.server = harness.Server().start()
        self.port = str(self.server.port)

    def tearDown(self):
        self.server.__exit__()

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

    def test_redis_cli(self):
        def cli(*words):
            return subprocess.run(["redis-cli", "-p", self.port, *words], capture_output=True,
                                  text=True, timeout=60, check=False).stdout
        for protocol in ([], ["-3"]):
            self.assertEqual(cli(*protocol, "SET", "k", "a b"), "OK\n")
            self.assertEqual(cli(*protocol, "GET", "k"), "a b\n")
            self.assertIn("redis_version", cli(*protocol, "INFO"))
        self.assertEqual(cli("--scan"), "k\n")
        self.assertEqual(cli("--pipe-timeout", "5", "DBSIZE"), "1\n")

    def test_redis_benchmark(self):
        result = subprocess.run(["redis-benchmark", "-p", self.port, "-q", "-n", "2000", "-t",
                                 "ping,set,get,incr,mset", "-P", "10"], capture_output=True,
                                text=True, timeout=120, check=False)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("requests per second", result.stdout)
        self.assertNotIn("rror", result.stdout + result.stderr)


if __name__ == "__main__":
    harness.main()
