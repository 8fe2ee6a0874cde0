#!/usr/bin/python3
"""KEYS, SCAN, DBSIZE and RANDOMKEY cover the whole cluster, whatever node is asked; on the slot
port each node shows what it leads, and all of them together show every key once.

What was written before a request began is seen by it, through any node.  A scan finds every key
that is there all the time it takes, while others come and go, nodes are killed and leaders change.
"""
import json
import os
import random
import subprocess
import threading
import time

import redis
import redis.crc
from redis.cluster import RedisCluster

import cluster
import harness

SCAN_JS = os.path.join(harness.ROOT, "tests", "e2e", "clients", "node_scan.mjs")
NODE = os.path.join(harness.ROOT, "build", "node")
SECONDS = float(os.environ.get("SECONDS", "8"))   # of each scan under faults


def scan_all(nodes, *options, rng=random):
    """Every key of a scan whose calls each go to a random node; and how many calls it took."""
    cursor, found, calls = "0", [], 0
    while calls == 0 or cursor != "0":
        cursor, keys = rng.choice(nodes).command("SCAN", cursor, *options)
        found += keys
        calls += 1
    return found, calls


class WholeCluster(harness.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = cluster.Cluster(3, has_slot_ports=True)
        cls.cluster.__enter__()
        cls.nodes = cls.cluster.nodes

    @classmethod
    def tearDownClass(cls):
        for node in cls.nodes:
            if node.process.poll() is None and node.stop() != 0:
                raise RuntimeError(node.log()[-3000:])
        cls.cluster.__exit__()

    def setUp(self):
        """Empty everywhere: how many partitions a SCAN asks depends on what a node holds."""
        self.assertEqual(self.nodes[0].command("FLUSHALL"), "OK")
        deadline = time.monotonic() + 10
        for node in self.nodes:
            while self.any(node, "DBSIZE") != 0:
                self.assertLess(time.monotonic(), deadline)

    @staticmethod
    def any(node, *words):
        return node.json({"type": "CLIENT", "args": words, "consistency": "ANY"})["data"]

    def fill(self, count, name="k"):
        names = [f"{name}:{i}" for i in range(count)]
        for at in range(0, count, 500):
            pairs = [word for key in names[at:at + 500] for word in (key, "v")]
            self.assertEqual(random.choice(self.nodes).command("MSET", *pairs), "OK")
        return set(names)

    def check_keys(self, found, names):
        """Every key, and each once."""
        self.assertEqual(len(found), len(set(found)))
        self.assertTrue(set(found) == names, sorted(set(found) ^ names)[:10])

    def test_nothing_is_there(self):
        for node in self.nodes:
            self.assertEqual(node.command("DBSIZE"), 0)
            self.assertEqual(node.command("KEYS", "*"), [])
            self.assertEqual(node.command("SCAN", 0), ["0", []])
            self.assertIsNone(node.command("RANDOMKEY"))

    def test_every_node_shows_all(self):
        names = self.fill(3000)
        for node in self.nodes:
            self.assertEqual(node.command("DBSIZE"), 3000)
            self.check_keys(node.command("KEYS", "*"), names)
            self.check_keys(node.command("KEYS", "k:1*"), {n for n in names if n[2] == "1"})
            self.check_keys(scan_all([node])[0], names)
            self.assertIn(node.command("RANDOMKEY"), names)
        for count in (1, 7, 100, 2999, 3000, 100000):
            found, calls = scan_all(self.nodes, "COUNT", count)
            self.check_keys(found, names)
            self.assertLess(calls, 2 * 3000 / count + 3, count)
        found, calls = scan_all(self.nodes, "MATCH", "k:2??", "COUNT", 100)
        self.check_keys(found, {f"k:{i}" for i in range(200, 300)})

    def test_a_small_database_takes_one_call(self):
        names = self.fill(9)
        for node in self.nodes:
            cursor, found = node.command("SCAN", 0)
            self.assertEqual(cursor, "0")
            self.check_keys(found, names)

    def test_calls_answer_about_as_many_as_asked_for(self):
        self.fill(3000)
        for count in (10, 100, 1000):
            cursor, sizes = "0", []
            while not sizes or cursor != "0":
                cursor, found = self.nodes[1].command("SCAN", cursor, "COUNT", count)
                sizes.append(len(found))
            self.assertLess(max(sizes), 2 * count + 40)
            self.assertGreater(sum(sizes) / len(sizes), count / 3)

    def test_what_was_written_before_is_seen(self):
        """Through any node, at once: no replica's view of the past."""
        for i in range(200):
            writer, reader = self.nodes[i % 3], self.nodes[(i + 1) % 3]
            self.assertEqual(writer.command("SET", f"w:{i}", i), "OK")
            self.assertEqual(reader.command("DBSIZE"), 1)
            self.assertEqual(reader.command("KEYS", "*"), [f"w:{i}"])
            self.assertEqual(reader.command("SCAN", 0), ["0", [f"w:{i}"]])
            self.assertEqual(reader.command("RANDOMKEY"), f"w:{i}")
            self.assertEqual(reader.command("DEL", f"w:{i}"), 1)
            self.assertEqual(writer.command("DBSIZE"), 0)

    def test_a_connection_sees_its_own_writes(self):
        for node in self.nodes:
            with cluster.Connection(node) as connection:
                for i in range(100):
                    connection.send("SET", f"own:{i}", i)
                    connection.send("DBSIZE")
                    connection.send("KEYS", f"own:{i}")
                for i in range(100):
                    self.assertEqual(connection.reply(), "OK")
                    self.assertEqual(connection.reply(), i + 1)
                    self.assertEqual(connection.reply(), [f"own:{i}"])
                self.assertEqual(connection.command("FLUSHALL"), "OK")

    def test_wrong_arguments(self):
        for node in self.nodes:
            self.assertEqual(node.command("SCAN", "x"), "ERR invalid cursor")
            self.assertEqual(node.command("SCAN", 0, "COUNT", 0), "ERR syntax error")
            self.assertEqual(node.command("SCAN", 1 << 60), ["0", []])

    def test_json(self):
        names = self.fill(20)
        for node in self.nodes:
            def ask(*words):
                return node.json({"type": "CLIENT", "args": words})["data"]
            self.assertEqual(ask("DBSIZE"), 20)
            self.check_keys(ask("KEYS", "*"), names)
            self.check_keys(ask("SCAN", "0", "COUNT", "1000")[1], names)
            self.assertIn(ask("RANDOMKEY"), names)

    def test_any(self):
        """The node's own replicas, which follow soon."""
        names = self.fill(20)
        deadline = time.monotonic() + 10
        for node in self.nodes:
            while self.any(node, "DBSIZE") != 20:
                self.assertLess(time.monotonic(), deadline)
            self.check_keys(self.any(node, "KEYS", "*"), names)
            self.check_keys(self.any(node, "SCAN", "0", "COUNT", "1000")[1], names)
            self.assertIn(self.any(node, "RANDOMKEY"), names)

    def test_random_keys_are_fair(self):
        names = self.fill(40)
        with cluster.Connection(self.nodes[2]) as connection:
            seen = [connection.command("RANDOMKEY") for _ in range(2000)]
        self.assertEqual(set(seen), names)

    def test_each_call_is_counted_once(self):
        node = self.nodes[0]
        def calls(name):
            lines = node.command("INFO", "commandstats").split("\r\n")
            counts = [line for line in lines if line.startswith(f"cmdstat_{name}:")]
            return int(counts[0].split("=")[1].split(",")[0]) if counts else 0
        before = [calls(name) for name in ("dbsize", "keys", "scan", "randomkey")]
        for words in (("DBSIZE",), ("KEYS", "*"), ("SCAN", 0), ("RANDOMKEY",)):
            for _ in range(3):
                node.command(*words)
        after = [calls(name) for name in ("dbsize", "keys", "scan", "randomkey")]
        self.assertEqual([b - a for a, b in zip(before, after)], [3, 3, 3, 3])

    # ── clients nobody here wrote ────────────────────────────────────────────────────────────────

    def scan_js(self, kind, mode, ports, count=100):
        result = subprocess.run(["node", SCAN_JS, NODE, kind, mode, "k:*", str(count),
                                 *[str(port) for port in ports]],
                                capture_output=True, text=True, timeout=120, check=False)
        self.assertEqual(result.returncode, 0, result.stderr)
        return json.loads(result.stdout)

    def test_iterators_of_clients(self):
        names = self.fill(2500)
        self.fill(100, "other")
        for node in self.nodes:
            client = redis.Redis(port=node.port, decode_responses=True)
            self.check_keys(list(client.scan_iter("k:*", count=50)), names)
            self.assertEqual(client.dbsize(), 2600)
            client.close()
            for kind in ("ioredis", "redis"):
                self.check_keys(self.scan_js(kind, "plain", [node.port]), names)

    def test_iterators_of_cluster_clients(self):
        names = self.fill(2500)
        self.cluster.wait_steady()
        ports = [node.slot_port for node in self.nodes]
        client = RedisCluster(host="127.0.0.1", port=ports[0], decode_responses=True)
        self.check_keys(list(client.scan_iter("k:*", count=50)), names)
        self.check_keys(client.keys("k:*", target_nodes=RedisCluster.PRIMARIES), names)
        self.assertEqual(client.dbsize(target_nodes=RedisCluster.PRIMARIES), 2500)
        client.close()
        for kind in ("ioredis", "redis"):
            self.check_keys(self.scan_js(kind, "cluster", ports), names)

    def test_slot_port_shows_what_is_led(self):
        names = self.fill(2500)
        self.cluster.wait_steady()
        shown = []
        for node in self.nodes:
            with cluster.Connection(node, port=node.slot_port) as connection:
                led = connection.command("KEYS", "*")
                self.assertTrue(0 < len(led) < 2500)
                self.assertEqual(connection.command("DBSIZE"), len(led))
                self.assertIn(connection.command("RANDOMKEY"), led)
                cursor, found = "0", []
                while not found or cursor != "0":
                    cursor, keys = connection.command("SCAN", cursor, "COUNT", 13)
                    found += keys
                self.check_keys(found, set(led))
                for key in led[:50]:
                    self.assertEqual(connection.command("GET", key), "v")
                shown += led
        self.check_keys(shown, names)

    def test_keys_of_slots(self):
        names = self.fill(500)
        self.cluster.wait_steady()
        slots = {}
        for name in names:
            slots.setdefault(redis.crc.key_slot(name.encode()), []).append(name)
        for slot, keys in slots.items():
            answers = 0
            for node in self.nodes:
                with cluster.Connection(node, port=node.slot_port) as connection:
                    count = connection.command("CLUSTER", "COUNTKEYSINSLOT", slot)
                    found = connection.command("CLUSTER", "GETKEYSINSLOT", slot, 10)
                if isinstance(count, cluster.Error):
                    self.assertRegex(count, rf"^MOVED {slot} 127\.0\.0\.1:\d+$")
                    self.assertEqual(count, found)
                else:
                    answers += 1
                    self.assertEqual(count, len(keys))
                    self.check_keys(found, set(keys))
            self.assertEqual(answers, 1, slot)
            if slot % 7 == 0:
                client = RedisCluster(host="127.0.0.1", port=self.nodes[0].slot_port)
                self.assertEqual(client.cluster_countkeysinslot(slot), len(keys))
                client.close()


class Faults(harness.TestCase):
    """Scans while keys come and go, nodes are killed and leadership is handed over."""

    STABLE = 3000

    def setUp(self):
        self.cluster = cluster.Cluster(3)
        self.cluster.__enter__()
        self.nodes = self.cluster.nodes
        self.stable = {f"stable:{i}" for i in range(self.STABLE)}
        for key in self.stable:
            self.assertEqual(self.nodes[0].command("SET", key, "v"), "OK")

    def tearDown(self):
        self.cluster.__exit__()

    def churn(self, stopped, rng):
        """Writes and deletes others, so that partitions grow and shrink."""
        while not stopped.is_set():
            try:
                node = rng.choice(self.nodes)
                node.command(rng.choice(("SET", "DEL")), f"churn:{rng.randrange(5000)}", "v"
                             ) if rng.random() < 0.9 else node.command("INCR", "churn:n")
            except (OSError, EOFError):
                time.sleep(0.01)

    def scan(self, stopped, rng, results):
        """One scan after another; a call that fails is asked again, of another node."""
        while not stopped.is_set():
            cursor, found, errors, calls = "0", [], 0, 0
            count = rng.choice((5, 50, 500))
            while calls == 0 or cursor != "0":
                try:
                    answer = rng.choice(self.nodes).command("SCAN", cursor, "COUNT", count)
                except (OSError, EOFError):
                    answer = cluster.Error("lost")
                if isinstance(answer, cluster.Error):
                    errors += 1
                    time.sleep(0.01)
                    continue
                cursor, keys = answer
                found += keys
                calls += 1
            results.append((set(found), calls, errors))

    def whole(self, stopped, rng, results):
        while not stopped.is_set():
            try:
                answer = rng.choice(self.nodes).command("KEYS", "stable:*")
            except (OSError, EOFError):
                continue
            if not isinstance(answer, cluster.Error):
                results.append((set(answer), 1, 0))

    def check(self, faults):
        stopped, results = threading.Event(), []
        threads = [threading.Thread(target=self.churn, args=(stopped, random.Random(i)))
                   for i in range(2)]
        threads += [threading.Thread(target=self.scan, args=(stopped, random.Random(i), results))
                    for i in range(3)]
        threads += [threading.Thread(target=self.whole, args=(stopped, random.Random(9), results))]
        for thread in threads:
            thread.start()
        try:
            faults()
        finally:
            stopped.set()
            for thread in threads:
                thread.join(120)
        self.assertGreater(len(results), 5)
        for found, calls, errors in results:
            missing = self.stable - found
            self.assertFalse(missing, f"{len(missing)} missing: {calls} calls, {errors} errors")
            strange = {key for key in found if not key.startswith(("stable:", "churn:"))}
            self.assertFalse(strange)

    def test_kills(self):
        def kills():
            until = time.monotonic() + SECONDS
            rng = random.Random(1)
            while time.monotonic() < until:
                node = rng.choice(self.nodes)
                node.kill()
                time.sleep(1)
                node.start()
                self.cluster.wait_settled()
        self.check(kills)

    def test_failovers(self):
        def failovers():
            until = time.monotonic() + SECONDS
            while time.monotonic() < until:
                for node in self.nodes:
                    node.command("FAILOVER")
                    time.sleep(0.3)
        self.check(failovers)

    def test_no_majority(self):
        self.nodes[1].kill()
        self.nodes[2].kill()
        node = self.nodes[0]
        for words in (("DBSIZE",), ("KEYS", "*"), ("SCAN", 0), ("RANDOMKEY",)):
            answer = node.command(*words, timeout_s=30)
            self.assertIsInstance(answer, cluster.Error)
            self.assertTrue(answer.startswith("NOQUORUM"), answer)
        answer = node.json({"type": "CLIENT", "command": "DBSIZE", "consistency": "ANY"})
        self.assertEqual(answer["data"], self.STABLE)


if __name__ == "__main__":
    harness.main()
