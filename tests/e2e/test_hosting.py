#!/usr/bin/python3
"""More nodes than replicas: each node holds its share, and any node still answers for everything.

A fourth node joins three under load: partitions move to it, and those that gave them up have
nothing left of them, neither in memory nor on disk.  Every history is judged.
"""
import os
import re
import unittest

import cluster
import harness

KEYS = 3000
WITHIN_S = 90


def members(node):
    """What a node says of all: id -> (partitions held, partitions led)."""
    answer = node.json({"type": "CLUSTER", "command": "NODES"})["data"]
    return {one["id"]: one for one in answer}


def shards(node):
    return node.json({"type": "CLUSTER", "command": "SHARDS"})["data"]


def groups_with_files(node):
    """Partitions of which the data directory holds a snapshot."""
    found = (re.match(r"snap-(\d+)-", name) for name in os.listdir(node.directory))
    return {int(match.group(1)) for match in found if match}


class Shares(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.nodes = cluster.Cluster(4)
        cls.nodes.extra = cls.nodes.nodes.pop()
        try:
            cls.nodes.start()
            with cluster.Connection(cls.nodes[0]) as connection:
                for i in range(KEYS):
                    connection.send("SET", f"item:{i}", f"value:{i}")
                for _ in range(KEYS):
                    assert connection.reply() == "OK"
            for node in cls.nodes:
                node.command("BGSAVE")
            load = cluster.Load(cls.nodes, seconds=6)
            load.start()
            cls.nodes.nodes.append(cls.nodes.extra)
            cls.nodes.extra.start()
            load.join()
            cls.load = load
            cls.wait_shared()
        except BaseException:
            cls.nodes.__exit__()
            raise

    @classmethod
    def tearDownClass(cls):
        cls.nodes.__exit__()

    @classmethod
    def wait_shared(cls):
        """Until each node says that all nodes hold their share, and nothing but that."""
        def is_shared():
            for node in cls.nodes:
                found = members(node)
                held = {name: one["partitions_held"] for name, one in found.items()}
                led = {name: one["partitions_led"] for name, one in found.items()}
                if sum(held.values()) != 3 * 256 or sum(led.values()) != 256 or len(held) != 4:
                    return f"{node.number}: {held} {led}"
                if max(held.values()) > 256 * 3 / 4 * 1.06 or max(led.values()) > 66:
                    return f"{node.number}: {held} {led}"
            return True
        cluster.await_true("four nodes hold three quarters each", is_shared, WITHIN_S)

    def test_1_load_while_a_node_joined(self):
        self.load.check(self)

    def test_2_every_node_answers_for_every_key(self):
        for node in self.nodes:
            for level in "STRONG", "ANY":
                with cluster.Connection(node) as connection:
                    connection.command("CONSISTENCY", level)
                    for i in range(KEYS):
                        connection.send("GET", f"item:{i}")
                    for i in range(KEYS):
                        self.assertEqual(connection.reply(), f"value:{i}")

    def test_3_all_nodes_say_the_same_of_every_partition(self):
        for node in self.nodes:
            self.assertNotIn("", {one["version"] for one in members(node).values()})
        def agree():
            views = []
            for node in self.nodes:
                views.append([(one["partition"], one["leader"],
                               sorted(replica["id"] for replica in one["replicas"]))
                              for one in shards(node)])
            different = [view for view in views if view != views[0]]
            return not different or f"{views[0][:3]} {different[0][:3]}"
        cluster.await_true("SHARDS is the same on all nodes", agree)
        for _, leader, replicas in [(one["partition"], one["leader"], one["replicas"])
                                    for one in shards(self.nodes[3])]:
            self.assertEqual(len(replicas), 3)
            self.assertIn(leader, [replica["id"] for replica in replicas])

    def test_4_nothing_is_left_of_what_is_not_held(self):
        held = {node.number: set() for node in self.nodes}
        for one in shards(self.nodes[0]):
            for replica in one["replicas"]:
                held[int(replica["id"][1:])].add(one["partition"])
        for node in self.nodes:
            cluster.await_true(f"n{node.number} has no file of what it gave up",
                               lambda node=node: not groups_with_files(node) - held[node.number]
                               or groups_with_files(node) - held[node.number])
            self.assertLess(node.command("DBSIZE"), KEYS + 100)

    def test_5_restarts(self):
        before = {one["partition"]: sorted(r["id"] for r in one["replicas"])
                  for one in shards(self.nodes[0])}
        for node in self.nodes[0], self.nodes[3]:
            node.kill()
            node.start()
        self.wait_shared()
        after = {one["partition"]: sorted(r["id"] for r in one["replicas"])
                 for one in shards(self.nodes[3])}
        self.assertEqual(before, after)
        self.test_2_every_node_answers_for_every_key()

    def test_6_the_fourth_goes_again(self):
        """Its share goes back to those who had dropped it."""
        position_gone = self.nodes[3]
        cluster.await_true("the meta group's leader lets n4 go", lambda: any(
            node.command("CLUSTER", "DRAIN", "n4") == "OK" for node in self.nodes.nodes[:3]))
        time_is_up = lambda: all(
            {name: one["partitions_held"] for name, one in members(node).items()}
            == {"n1": 256, "n2": 256, "n3": 256} for node in self.nodes.nodes[:3]) or \
            [{name: one["partitions_held"] for name, one in members(node).items()}
             for node in self.nodes.nodes[:3]]
        cluster.await_true("three nodes hold everything again", time_is_up, WITHIN_S)
        position_gone.kill()
        for node in self.nodes.nodes[:3]:
            with cluster.Connection(node) as connection:
                for i in range(KEYS):
                    connection.send("GET", f"item:{i}")
                for i in range(KEYS):
                    self.assertEqual(connection.reply(), f"value:{i}")


if __name__ == "__main__":
    harness.main()
