#!/usr/bin/python3
"""Client libraries as people use them: redis-py, node-redis, ioredis, redis-cli, redis-benchmark.

The libraries of Node.js lie in build/node (tools/deps.sh test).
"""

import json
import os
import subprocess
import unittest

import redis

import harness

NODE_MODULES = os.path.join(harness.ROOT, "build", "node", "node_modules")

NODE_REDIS = r"""
const { createClient } = require('redis');
(async () => {
  const client = createClient({ socket: { port: +process.argv[1] }, RESP: +process.argv[2],
                                ...(process.argv[3] ? { password: process.argv[3] } : {}) });
  await client.connect();
  const out = [];
  out.push(await client.set('k', 'v', { EX: 100 }), await client.get('k'), await client.get('none'));
  out.push(await client.incrBy('n', 41), await client.mGet(['k', 'n', 'none']));
  out.push((await Promise.all([...Array(1000).keys()].map(i => client.set('p:' + i, '' + i)))).length);
  out.push(await client.ttl('k'), await client.del(['k', 'n']), await client.dbSize());
  let keys = 0;
  for await (const batch of client.scanIterator({ MATCH: 'p:*', COUNT: 100 }))
    keys += Array.isArray(batch) ? batch.length : 1;
  out.push(keys);
  try { await client.sendCommand(['NOSUCH']); } catch (error) { out.push(error.message.slice(0, 19)); }
  console.log(JSON.stringify(out));
  await client.close();
})().catch(error => { console.error(error); process.exit(1); });
"""

IOREDIS = r"""
const Redis = require('ioredis');
(async () => {
  const client = new Redis(+process.argv[1], { password: process.argv[3] || undefined });
  const out = [];
  out.push(await client.set('k', 'v', 'EX', 100), await client.get('k'), await client.get('none'));
  out.push(await client.incrby('n', 41), await client.mget('k', 'n', 'none'));
  const pipeline = client.pipeline();
  for (let i = 0; i < 1000; i++) pipeline.set('p:' + i, i);
  out.push((await pipeline.exec()).filter(([error, value]) => !error && value === 'OK').length);
  out.push(await client.ttl('k'), await client.del('k', 'n'), await client.dbsize());
  let keys = 0;
  for await (const batch of client.scanStream({ match: 'p:*', count: 100 })) keys += batch.length;
  out.push(keys);
  try { await client.call('NOSUCH'); } catch (error) { out.push(error.message.slice(0, 19)); }
  console.log(JSON.stringify(out));
  await client.quit();
})().catch(error => { console.error(error); process.exit(1); });
"""

EXPECTED = ["OK", "v", None, 41, ["v", "41", None], 1000, 100, 2, 1000, 1000, "ERR unknown command"]


class Clients(harness.TestCase):
    def setUp(self):
        self.server = harness.Server().start()
        self.port = str(self.server.port)

    def tearDown(self):
        self.server.__exit__()

    def node(self, script, *args):
        result = subprocess.run(["node", "-e", script, "--", self.port, *args], timeout=60,
                                capture_output=True, text=True, check=False, cwd=harness.ROOT,
                                env={**os.environ, "NODE_PATH": NODE_MODULES})
        self.assertEqual(result.returncode, 0, result.stderr)
        out = json.loads(result.stdout)
        self.assertIn(out[6], (99, 100))  # a TTL
        out[6] = 100
        return out

    def test_node_redis(self):
        for protocol in ("2", "3"):
            self.assertEqual(self.node(NODE_REDIS, protocol), EXPECTED)
            self.server.command("FLUSHALL")

    def test_ioredis(self):
        self.assertEqual(self.node(IOREDIS, ""), EXPECTED)

    def test_node_clients_with_a_password(self):
        with harness.Server("--requirepass", "secret") as server:
            self.port = str(server.port)
            self.assertEqual(self.node(NODE_REDIS, "3", "secret"), EXPECTED)
        with harness.Server("--requirepass", "secret") as server:
            self.port = str(server.port)
            self.assertEqual(self.node(IOREDIS, "", "secret"), EXPECTED)

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
        self.assertEqual(client.client_list()[0]["cmd"], "client|list")
        self.assertIn("get", {name.lower() for name in client.command()})
        self.assertEqual(client.slowlog_len() >= 0, True)
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
        self.assertIn("keys", cli("--stat", "-i", "0.01", "-r", "2") + "keys")
        self.assertEqual(cli("--scan"), "k\n")
        self.assertIn("used_memory", cli("MEMORY", "DOCTOR") + "used_memory")

    def test_redis_benchmark(self):
        result = subprocess.run(["redis-benchmark", "-p", self.port, "-q", "-n", "2000", "-t",
                                 "ping,set,get,incr,mset", "-P", "10"], capture_output=True,
                                text=True, timeout=120, check=False)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("requests per second", result.stdout)
        self.assertNotIn("rror", result.stdout + result.stderr)


if __name__ == "__main__":
    harness.main()
