#!/usr/bin/python3
"""Programs that know Redis Cluster, none of them ours, while nodes join and are drained: redis-py,
ioredis, node-redis, redis-cli -c and redis-benchmark --cluster over the slot ports.

Every worker owns a key and writes ascending numbers into it: what anybody reads lies between the
last number acknowledged and the last one sent, and at the end every worker still gets through.
The nodes that clients are given first stay; the ones that join and leave they find out about.
"""
import json
import logging
import os
import subprocess
import threading
import time

import cluster
import harness
import shares
from test_slot_port import NODE, SESSIONS, PyWorker, run

SECONDS = 20          # of the workers: longer than the changes take
ITEMS = 2000


class Clients(harness.TestCase):
    def setUp(self):
        self.nodes = cluster.Cluster(3, has_slot_ports=True, spare=2)
        self.nodes.__enter__()
        self.ports = [str(self.nodes[at].slot_port) for at in (0, 2)]
        shares.add_items(self.nodes[0], ITEMS)

    def tearDown(self):
        self.nodes.__exit__()

    def change(self):
        """Three, five, three: n2 and n5 leave."""
        time.sleep(1)
        for at in (3, 4):
            self.nodes[at].start()
        shares.await_shared(self.nodes)
        for at in (1, 4):
            shares.drain(self.nodes, self.nodes[at])
        shares.await_shared(self.nodes)

    def check_rows(self, rows):
        for key, acknowledged, sent, total in rows:
            self.assertGreater(total, 10, key)
            found = int(cluster.ask_until(self.nodes, "GET", key))
            self.assertTrue(acknowledged <= found <= sent, (key, acknowledged, found, sent))
        wrong = shares.items_trouble(self.nodes, ITEMS)
        self.assertIsNone(wrong, wrong)

    def node_js(self, kind):
        with subprocess.Popen(["node", os.path.join(SESSIONS, "node_cluster.mjs"), NODE, kind,
                               str(SECONDS), *self.ports], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True) as process:
            self.change()
            out, errors = process.communicate(timeout=120)
        self.assertEqual(process.returncode, 0, out + errors)
        found = json.loads(out)
        print(f"{kind}: errors {found['errors']}", flush=True)
        self.check_rows(found["rows"])

    def test_ioredis(self):
        self.node_js("ioredis")

    def test_node_redis(self):
        self.node_js("redis")

    def test_redis_py(self):
        logging.disable()       # it prints every MOVED
        workers = [PyWorker(self.ports, i, SECONDS) for i in range(8)]
        for worker in workers:
            worker.start()
        self.change()
        for worker in workers:
            worker.join(120)
            self.assertIsNone(worker.wrong)
            self.assertGreater(worker.last_s, SECONDS - 2, worker.errors)
        print(f"redis-py: errors {[worker.errors for worker in workers if worker.errors]}",
              flush=True)
        self.check_rows([(w.key, w.acknowledged, w.sent, w.total) for w in workers])

    def test_redis_cli(self):
        """It follows MOVED to nodes it was never told of; a new one for every few commands."""
        stopped, answers = threading.Event(), []

        def ask():
            number = 0
            while not stopped.is_set():
                number += 1
                keys = [f"cli:{number}:{i}" for i in range(20)]
                answer = run("redis-cli", "-c", "-p", self.ports[number % 2], stdin="".join(
                    f"SET {key} {number}\nGET {key}\n" for key in keys))
                lines = [line for line in answer.stdout.split("\n") if "Redirected" not in line]
                answers.append(lines == ["OK", f"{number}"] * 20 + [""] or answer.stdout)
        asking = threading.Thread(target=ask)
        asking.start()
        try:
            self.change()
        finally:
            stopped.set()
            asking.join(120)
        self.assertGreater(len(answers), 20)
        self.assertEqual([answer for answer in answers if answer is not True], [])

    def test_redis_benchmark(self):
        """It ends by itself when slots go to a node that it was not told of at its start ("could
        not find node with ID"), and when a node ends; so what counts is that one begun anew runs.
        """
        stopped, troubles, runs = threading.Event(), [], []

        def load():
            while not stopped.is_set():
                answer = run("redis-benchmark", "--cluster", "-p", self.ports[0], "-n", 20000,
                             "-c", 10, "-r", 100000, "-t", "set,get", "--csv")
                runs.append(answer.returncode)
                if answer.returncode != 0:
                    troubles.append((answer.stdout + answer.stderr)[-300:])
        loading = threading.Thread(target=load)
        loading.start()
        try:
            self.change()
        finally:
            stopped.set()
            loading.join(120)
        self.assertGreater(len(runs), 0)
        for text in troubles:
            self.assertRegex(text, "could not find node with ID|closed the connection|reset by peer"
                             "|refused")
        answer = run("redis-benchmark", "--cluster", "-p", self.ports[0], "-n", 10000, "-c", 10,
                     "-r", 100000, "-t", "set,get", "--csv")
        self.assertEqual(answer.returncode, 0, answer)
        self.assertNotRegex(answer.stdout + answer.stderr, "rror|MOVED")


if __name__ == "__main__":
    harness.main()
