#!/usr/bin/python3
"""The slot port: clients that know Redis Cluster go straight to the leaders, and recover when a
leader is killed and comes back.

Every worker owns a key and writes ascending numbers into it: what anybody reads lies between the
last number acknowledged and the last one sent.
"""

import json
import logging
import os
import re
import subprocess
import threading
import time

import redis
import redis.crc
from redis.cluster import ClusterNode, RedisCluster

import cluster
import harness

SESSIONS = os.path.join(harness.ROOT, "tests", "e2e", "clients")
NODE = os.path.join(harness.ROOT, "build", "node")
CROSSSLOT = "CROSSSLOT Keys in request don't hash to the same slot"


def slots_connection(node):
    return cluster.Connection(node, port=node.slot_port)


def key_of_slot(slot):
    """Some key for each slot, found once."""
    if not KEYS:
        number = 0
        while len(KEYS) < 16384:
            KEYS.setdefault(redis.crc.key_slot(b"k%d" % number), "k%d" % number)
            number += 1
    return KEYS[slot]


KEYS = {}


def run(*words, stdin="", timeout_s=120):
    return subprocess.run([str(word) for word in words], input=stdin, capture_output=True,
                          text=True, timeout=timeout_s, check=False)


class LoneNode(harness.TestCase):
    """A node by itself serves all slots."""

    def setUp(self):
        self.port = harness.free_port()
        self.server = harness.Server("--slot-port", str(self.port)).start()

    def tearDown(self):
        self.server.__exit__()

    def test_clients(self):
        client = RedisCluster(host="127.0.0.1", port=self.port)
        for i in range(100):
            self.assertTrue(client.set(f"k{i}", i))
            self.assertEqual(client.get(f"k{i}"), b"%d" % i)
        self.assertEqual(len(client.get_nodes()), 1)
        client.close()
        answer = run("redis-cli", "-c", "-p", self.port, "MGET", "{k}1", "{k}2")
        self.assertEqual(answer.stdout, "\n\n")
        answer = run("redis-cli", "-c", "-p", self.port, "MGET", "a", "b")
        self.assertIn(CROSSSLOT, answer.stdout)
        answer = run("redis-cli", "--cluster", "check", f"127.0.0.1:{self.port}")
        self.assertIn("[OK] All 16384 slots covered.", answer.stdout)

    def test_keys_in_slot(self):
        with redis.Redis(port=self.port) as client:
            names = {"{tag}%d" % i for i in range(3000)}
            for name in names:
                client.set(name, "v")
            client.set("other", "v")
            client.set("{tag}gone", "v", px=1)
            slot = redis.crc.key_slot(b"{tag}")
            time.sleep(0.01)
            self.assertEqual(client.execute_command("CLUSTER KEYSLOT", "{tag}"), slot)
            self.assertEqual(client.execute_command("CLUSTER COUNTKEYSINSLOT", slot), 3000)
            found = client.execute_command("CLUSTER GETKEYSINSLOT", slot, 9999)
            self.assertTrue(len(found) == 3000 and set(found) == names, found[:10])
            found = client.execute_command("CLUSTER GETKEYSINSLOT", slot, 7)
            self.assertTrue(len(found) == 7 and set(found) < names, found)
            self.assertEqual(client.execute_command("CLUSTER COUNTKEYSINSLOT", slot + 1), 0)
            for wrong in (("COUNTKEYSINSLOT", 16384), ("COUNTKEYSINSLOT", -1),
                          ("GETKEYSINSLOT", 0, -1), ("COUNTKEYSINSLOT", "x")):
                with self.assertRaises(redis.ResponseError):
                    client.execute_command("CLUSTER " + wrong[0], *wrong[1:])

    def test_plain_port_is_as_before(self):
        self.assertIn("cluster support disabled", run("redis-cli", "-p", self.server.port,
                                                      "CLUSTER", "SLOTS").stdout)
        info = run("redis-cli", "-p", self.server.port, "INFO").stdout
        self.assertIn("cluster_enabled:0", info)
        self.assertIn("redis_mode:standalone", info)
        info = run("redis-cli", "-p", self.port, "INFO").stdout
        self.assertIn("cluster_enabled:1", info)
        self.assertIn("redis_mode:cluster", info)
        self.assertIn("mode cluster", run("redis-cli", "-p", self.port, "HELLO").stdout
                      .replace("\n", " "))


class Slots(harness.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.nodes = cluster.Cluster(3, has_slot_ports=True)
        cls.nodes.start()

    @classmethod
    def tearDownClass(cls):
        cls.nodes.__exit__()

    def setUp(self):
        self.nodes.wait_steady()
        self.ports = [node.slot_port for node in self.nodes.nodes]

    def slots_of(self, node):
        """slot -> port of its master, as CLUSTER SLOTS has it."""
        with slots_connection(node) as connection:
            ranges = connection.command("CLUSTER", "SLOTS")
        masters = {}
        for first, last, master in ranges:
            self.assertEqual((master[0], len(master[2]), master[3]), ("127.0.0.1", 40, []))
            for slot in range(first, last + 1):
                self.assertNotIn(slot, masters)
                masters[slot] = master[1]
        self.assertEqual(len(masters), 16384)
        return masters

    def test_all_views_agree(self):
        slots = self.slots_of(self.nodes[0])
        names = set()
        for node in self.nodes.nodes:
            with slots_connection(node) as connection:
                self.assertEqual(self.slots_of(node), slots)
                found = {}
                for line in connection.command("CLUSTER", "NODES").splitlines():
                    words = line.split()
                    port = int(re.fullmatch(r"127\.0\.0\.1:(\d+)@\d+", words[1])[1])
                    self.assertEqual(words[2], "myself,master" if port == node.slot_port
                                     else "master")
                    names.add((words[0], port))
                    if port == node.slot_port:
                        self.assertEqual(connection.command("CLUSTER", "MYID"), words[0])
                        self.assertEqual(connection.command("CLUSTER", "REPLICAS", words[0]), [])
                    for text in words[8:]:
                        first, _, last = text.partition("-")
                        found.update((slot, port) for slot in range(int(first),
                                                                    int(last or first) + 1))
                self.assertEqual(found, slots)
                found = {}
                for shard in connection.command("CLUSTER", "SHARDS"):
                    shard = dict(zip(shard[::2], shard[1::2]))
                    master = dict(zip(shard["nodes"][0][::2], shard["nodes"][0][1::2]))
                    self.assertEqual((master["role"], master["health"]), ("master", "online"))
                    for first, last in zip(shard["slots"][::2], shard["slots"][1::2]):
                        found.update((slot, master["port"]) for slot in range(first, last + 1))
                self.assertEqual(found, slots)
                self.assertIn("cluster_state:ok", connection.command("CLUSTER", "INFO"))
                self.assertEqual(len(connection.command("CLUSTER", "LINKS")), 2)
        self.assertEqual(len(names), 3)

    def test_moved_says_where(self):
        slots = self.slots_of(self.nodes[0])
        for node in self.nodes.nodes:
            with slots_connection(node) as connection:
                for slot in range(0, 16384, 61):
                    for command in (("SET", key_of_slot(slot), slot), ("GET", key_of_slot(slot)),
                                    ("DEL", key_of_slot(slot))):
                        answer = connection.command(*command)
                        if slots[slot] == node.slot_port:
                            self.assertNotIsInstance(answer, cluster.Error, answer)
                        else:
                            self.assertEqual(answer, f"MOVED {slot} 127.0.0.1:{slots[slot]}")
                self.assertEqual(connection.command("MSET", "a", 1, "b", 2), CROSSSLOT)
                self.assertEqual(connection.command("ASKING"), "OK")
            with cluster.Connection(node) as plain:
                self.assertEqual(plain.command("MSET", "a", 1, "b", 2), "OK")
                self.assertEqual(plain.command("GET", "b"), "2")

    def test_readonly_reads_the_replica(self):
        slots = self.slots_of(self.nodes[0])
        for node in self.nodes.nodes:
            slot = next(slot for slot, port in slots.items() if port != node.slot_port)
            key = key_of_slot(slot)
            self.assertEqual(cluster.ask_until(self.nodes, "SET", key, "here"), "OK")
            with slots_connection(node) as connection:
                moved = f"MOVED {slot} 127.0.0.1:{slots[slot]}"
                self.assertEqual(connection.command("GET", key), moved)
                self.assertEqual(connection.command("READONLY"), "OK")
                deadline = time.monotonic() + 10
                while connection.command("GET", key) != "here":
                    self.assertLess(time.monotonic(), deadline)
                self.assertEqual(connection.command("SET", key, "there"), moved)
                self.assertEqual(connection.command("READWRITE"), "OK")
                self.assertEqual(connection.command("GET", key), moved)

    def test_redis_cli(self):
        for node in self.nodes.nodes:
            for i in range(20):
                answer = run("redis-cli", "-c", "-p", node.slot_port,
                             stdin=f"SET cli:{i} {i}\nGET cli:{i}\nMGET {{cli:{i}}} cli:{i}\n")
                lines = [line for line in answer.stdout.split("\n") if "Redirected" not in line]
                self.assertEqual(lines, ["OK", f"{i}", "", f"{i}", ""], answer.stdout)
        answer = run("redis-cli", "--cluster", "check", f"127.0.0.1:{self.ports[0]}")
        self.assertIn("[OK] All 16384 slots covered.", answer.stdout, answer)
        self.assertIn("[OK] All nodes agree about slots configuration.", answer.stdout, answer)

    def test_redis_benchmark(self):
        answer = run("redis-benchmark", "--cluster", "-p", self.ports[0], "-n", 20000, "-c", 20,
                     "-P", 4, "-r", 100000, "-t", "set,get,incr", "--csv")
        self.assertEqual(answer.returncode, 0, answer)
        self.assertNotRegex(answer.stdout + answer.stderr, "rror|MOVED")
        self.assertIn('"SET"', answer.stdout)

    def test_planned_moves_of_leadership_show_no_error(self):
        """MOVED is all that a client is told."""
        slot, key, answers = redis.crc.key_slot(b"moving"), "moving", []
        deadline, moved, at = time.monotonic() + 60, 0, 0
        connections = {node.slot_port: slots_connection(node) for node in self.nodes.nodes}
        while moved < 8 and time.monotonic() < deadline:
            moved += self.nodes[at].command("FAILOVER", slot >> 6) == "OK"
            at = (at + 1) % 3
            port = self.ports[at]
            for i in range(100):
                answer = connections[port].command("SET", key, i)
                if str(answer).startswith(f"MOVED {slot} 127.0.0.1:"):
                    port = int(answer.rpartition(":")[2])
                elif answer != "OK":
                    answers.append(answer)
        for connection in connections.values():
            connection.close()
        self.assertEqual((moved, answers), (8, []))

    def test_redis_py(self):
        logging.disable()
        client = RedisCluster(host="127.0.0.1", port=self.ports[0])
        self.assertEqual(len(client.get_primaries()), 3)
        for i in range(300):
            self.assertTrue(client.set(f"py:{i}", i))
        self.assertEqual([client.get(f"py:{i}") for i in range(300)],
                         [b"%d" % i for i in range(300)])
        self.assertTrue(client.mset_nonatomic({f"py:{i}": -i for i in range(300)}))
        self.assertEqual(client.mget_nonatomic(*[f"py:{i}" for i in range(300)]),
                         [b"%d" % -i for i in range(300)])
        with client.pipeline() as pipeline:
            for i in range(300):
                pipeline.incr(f"py:{i}", 2 * i)
            self.assertEqual(pipeline.execute(), list(range(300)))
        self.assertEqual(client.get("py:299"), b"299")
        # Each node shows what it leads: together every key once.
        with cluster.Connection(self.nodes[0]) as plain:
            names = plain.command("KEYS", "*")
        names = sorted(name.encode() for name in names)
        everywhere = {"target_nodes": RedisCluster.PRIMARIES}
        self.assertEqual(client.dbsize(**everywhere), len(names))
        self.assertTrue(sorted(client.keys(**everywhere)) == names)
        self.assertTrue(sorted(client.scan_iter(count=500, **everywhere)) == names)
        for node in client.get_primaries():
            led = client.keys(target_nodes=node)
            self.assertTrue(0 < len(led) < len(names))
            self.assertIn(client.randomkey(target_nodes=node), led)
        client.close()


class Failover(harness.TestCase):
    """A node is killed and comes back; every client gets through again, and none was lied to."""

    SECONDS = 16

    def setUp(self):
        self.nodes = cluster.Cluster(3, has_slot_ports=True)
        self.nodes.start()
        self.ports = [str(node.slot_port) for node in self.nodes.nodes]

    def tearDown(self):
        self.nodes.__exit__()

    def trouble_of_a_leader(self):
        """Some partitions' leader dies, is away for a while, and returns."""
        time.sleep(2)
        self.nodes[1].kill()
        time.sleep(4)
        self.nodes[1].start()

    def check_rows(self, rows):
        """What is there now lies between what was acknowledged and what was sent."""
        for key, acknowledged, sent, total in rows:
            self.assertGreater(total, 10, key)
            found = int(cluster.ask_until(self.nodes, "GET", key))
            self.assertTrue(acknowledged <= found <= sent, (key, acknowledged, found, sent))

    def node_js(self, kind):
        with subprocess.Popen(["node", os.path.join(SESSIONS, "node_cluster.mjs"), NODE, kind,
                               str(self.SECONDS), *self.ports], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True) as process:
            self.trouble_of_a_leader()
            out, errors = process.communicate(timeout=120)
        self.assertEqual(process.returncode, 0, out + errors)
        self.check_rows(json.loads(out)["rows"])

    def test_ioredis(self):
        self.node_js("ioredis")

    def test_node_redis(self):
        self.node_js("redis")

    def test_redis_py(self):
        logging.disable()       # it prints every MOVED
        workers = [PyWorker(self.ports, i, self.SECONDS) for i in range(8)]
        for worker in workers:
            worker.start()
        self.trouble_of_a_leader()
        for worker in workers:
            worker.join(120)
            self.assertIsNone(worker.wrong)
            self.assertGreater(worker.last_s, self.SECONDS - 2, worker.errors)
        self.check_rows([(w.key, w.acknowledged, w.sent, w.total) for w in workers])


class PyWorker(threading.Thread):
    def __init__(self, ports, number, seconds):
        super().__init__(daemon=True)
        self.ports, self.seconds, self.key = ports, seconds, f"py:{number}"
        self.sent = self.acknowledged = self.total = 0
        self.last_s, self.wrong, self.errors = 0, None, {}

    def run(self):
        begin = time.monotonic()
        client = RedisCluster(startup_nodes=[ClusterNode("127.0.0.1", port)
                                             for port in self.ports], socket_timeout=5)
        while time.monotonic() - begin < self.seconds and not self.wrong:
            try:
                self.sent += 1
                client.set(self.key, self.sent)
                self.acknowledged = self.sent
                found = int(client.get(self.key))
                if found != self.sent:
                    self.wrong = f"{self.key}: {found} is not {self.sent}"
                self.total += 1
                self.last_s = time.monotonic() - begin
            except (redis.RedisError, OSError) as error:
                word = f"{type(error).__name__} {error}"[:60]
                self.errors[word] = self.errors.get(word, 0) + 1
                time.sleep(0.02)
            time.sleep(0.001)


if __name__ == "__main__":
    harness.main()
