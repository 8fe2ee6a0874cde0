#!/usr/bin/python3
"""Members come and go: draining, forgetting, replacing the dead, what all nodes agree on; and who
is not let in: removed nodes, wiped ones, strangers.
"""
import os
import random
import shutil
import time

import cluster
import harness
from cluster import await_true


def members(node):
    """NODES as this node sees it, by id."""
    return {m["id"]: m for m in node.json({"type": "CLUSTER", "command": "NODES"})["data"]}


def at_any(nodes, *arguments):
    """What a node of those that run answers: it is the cluster's answer."""
    running = [n for n in nodes.nodes if n.process is not None and n.process.poll() is None]
    return random.choice(running).command(*arguments)


def replicas(node):
    """For each partition, who holds it."""
    shards = node.json({"type": "CLUSTER", "command": "SHARDS"})["data"]
    return [{r["id"] for r in shard["replicas"]} for shard in shards]


def voters(node):
    """For each partition, who votes."""
    shards = node.json({"type": "CLUSTER", "command": "SHARDS"})["data"]
    return [{r["id"] for r in shard["replicas"] if r["role"] != "learner"} for shard in shards]


def leads(node, name):
    return members(node)[name]["partitions_led"]


class TellingLoad(cluster.Load):
    """Keeps what was wrong word for word."""

    def __init__(self, *args, **options):
        self.texts = []
        super().__init__(*args, **options)

    def _note_error(self, text):
        self.texts.append(text)
        super()._note_error(text)


class Membership(harness.TestCase):
    def test_a_drained_node_leaves_without_a_failed_request(self):
        with cluster.Cluster(4) as nodes:
            load = TellingLoad(nodes, seconds=8, clients=6, counters=2)
            load.start()
            time.sleep(1)
            leaving = nodes[3]
            self.assertEqual(at_any(nodes, "CLUSTER", "DRAIN", "n4"), "OK")
            self.assertEqual(leaving.process.wait(60), 0)
            self.assertIn("event=left", leaving.log())
            others = [nodes[i] for i in range(3)]
            for node in others:
                await_true("n4 has left", lambda n=node: members(n)["n4"]["state"] == "LEFT")
                self.assertEqual(members(node)["n4"]["partitions_led"], 0)
                self.assertTrue(all("n4" not in held for held in replicas(node)))
            load.join()
            nodes.nodes = others
            load.check(self)
            # Its clients' connections end when it does; no request is answered with an error.
            self.assertEqual([text for text in load.texts if "connection lost" not in text], [])
            # It knows, and says so.
            leaving.start(wait=False)
            self.assertEqual(leaving.process.wait(30), 1)
            self.assertIn("this node has left its cluster", leaving.log())

    def test_a_drain_can_be_cancelled_and_refused(self):
        with cluster.Cluster(3) as nodes:
            answer = at_any(nodes, "CLUSTER", "DRAIN", "n2")
            self.assertIn("with two nodes left", answer)
            self.assertIn("n2 is alive", nodes[0].command("CLUSTER", "FORGET", "n2"))
            nodes.nodes.append(cluster.Node(nodes, 4))
            nodes[3].start()
            await_true("n4 leads", lambda: leads(nodes[0], "n4") > 0)
            self.assertEqual(at_any(nodes, "CLUSTER", "DRAIN", "n2", "CANCEL"),
                             "ERR that node is not being drained")
            self.assertEqual(at_any(nodes, "CLUSTER", "DRAIN", "n4"), "OK")
            answer = nodes[0].command("CLUSTER", "DRAIN", "n4", "CANCEL")
            if answer == "OK":  # else it was gone already
                await_true("n4 is back",
                           lambda: members(nodes[0])["n4"]["membership"] == "ACTIVE")
                await_true("n4 leads again", lambda: leads(nodes[0], "n4") > 0)

    def test_the_dead_are_replaced_and_come_back(self):
        with cluster.Cluster(4) as nodes:
            answer = at_any(nodes, "CONFIG", "SET", "CLUSTER", "down-replace-after", "2")
            self.assertEqual(answer, "OK")
            for node in nodes.nodes:
                await_true("all know", lambda n=node: n.command(
                    "CONFIG", "GET", "CLUSTER", "down-*")[1] == "2")
            nodes[0].command("SET", "k", "v")
            nodes[3].kill()
            await_true("n4 is down", lambda: members(nodes[0])["n4"]["membership"] == "DOWN")
            await_true("others hold all", lambda: all("n4" not in h for h in replicas(nodes[0])))
            nodes[3].start()
            await_true("n4 is active", lambda: members(nodes[0])["n4"]["membership"] == "ACTIVE")
            await_true("n4 leads again", lambda: leads(nodes[0], "n4") > 0)
            self.assertEqual(nodes[3].command("GET", "k"), "v")

    def test_forgetting_the_dead(self):
        with cluster.Cluster(4) as nodes:
            nodes[3].kill()
            await_true("n4 is dead", lambda: members(nodes[0])["n4"]["state"] != "ALIVE")
            self.assertEqual(at_any(nodes, "CLUSTER", "FORGET", "n4"), "OK")
            for node in nodes.nodes[:3]:
                await_true("n4 is gone", lambda n=node: "n4" not in members(n))
            await_true("three vote", lambda: all(
                voting == {"n1", "n2", "n3"} for voting in voters(nodes[0])))
            nodes[2].kill()
            await_true("n3 is dead", lambda: members(nodes[0])["n3"]["state"] != "ALIVE")
            self.assertIn("with two nodes left", at_any(nodes, "CLUSTER", "FORGET", "n3"))

    def test_a_forgotten_node_is_told_and_ends(self):
        with cluster.Cluster(4) as nodes:
            nodes[3].kill()
            await_true("n4 is dead", lambda: members(nodes[0])["n4"]["state"] != "ALIVE")
            self.assertEqual(at_any(nodes, "CLUSTER", "FORGET", "n4"), "OK")
            for node in nodes.nodes[:3]:
                await_true("n4 is gone", lambda n=node: "n4" not in members(n))
            nodes[3].start(wait=False)
            self.assertEqual(nodes[3].process.wait(30), 0)
            self.assertIn("this node was removed from its cluster", nodes[3].log())
            self.assertNotIn("n4", members(nodes[0]))
            # With an empty directory it is another node, and welcome.
            shutil.rmtree(nodes[3].directory)
            nodes[3].start()
            await_true("n4 leads", lambda: leads(nodes[0], "n4") > 0)

    def test_a_wiped_node_is_refused(self):
        with cluster.Cluster(3) as nodes:
            nodes[1].kill()
            shutil.rmtree(nodes[1].directory)
            nodes[1].start(wait=False)
            await_true("it is told", lambda: "belongs to another data directory" in nodes[1].log())
            self.assertNotIn("event=joined", nodes[1].log().split("event=starting")[-1])
            self.assertEqual(nodes[0].command("SET", "k", "v"), "OK")
            nodes[1].kill()

    def test_swapped_directories_are_refused(self):
        with cluster.Cluster(3) as nodes:
            nodes[1].kill()
            nodes[2].kill()
            one, two = nodes[1].directory, nodes[2].directory
            os.rename(one, one + ".moved")
            os.rename(two, one)
            os.rename(one + ".moved", two)
            for number in (1, 2):
                nodes[number].start(wait=False)
                self.assertEqual(nodes[number].process.wait(30), 1)
            self.assertIn("belongs to node 'n3', not to 'n2'", nodes[1].log())
            self.assertIn("belongs to node 'n2', not to 'n3'", nodes[2].log())

    def test_two_clusters_never_merge(self):
        with cluster.Cluster(3) as nodes, cluster.Cluster(3) as others:
            others[2].kill()
            others[2].directory, kept = nodes[2].directory, others[2].directory
            nodes[2].kill()
            # A member of the one, where the other one's members look for theirs.
            nodes[2].directory = kept
            nodes[2].start(wait=False)
            await_true("it is told", lambda: "belongs to another cluster" in nodes[2].log())
            self.assertEqual(nodes[0].command("SET", "mine", "1"), "OK")
            self.assertEqual(others[0].command("SET", "theirs", "1"), "OK")
            self.assertEqual(nodes[1].command("EXISTS", "theirs"), 0)
            self.assertEqual(others[1].command("EXISTS", "mine"), 0)
            await_true("n3 is missed", lambda: members(nodes[0])["n3"]["state"] != "ALIVE")

    def test_a_lone_node_meets_a_cluster(self):
        with cluster.Cluster(3) as nodes:
            lone = cluster.Node(nodes, 4)
            nodes.nodes.append(lone)
            with_seed = lone.command_line
            lone.command_line = lambda: with_seed()[:-2]
            lone.start()
            there = ("127.0.0.1", nodes[0].port, nodes[0].cluster_port)
            self.assertEqual(lone.command("SET", "k", "v"), "OK")
            self.assertIn("has data of its own", lone.command("CLUSTER", "MEET", *there))
            self.assertEqual(lone.command("DEL", "k"), 1)
            self.assertIn("is a member of a cluster already",
                          nodes[1].command("CLUSTER", "MEET", *there))
            self.assertEqual(lone.command("CLUSTER", "MEET", *there), "OK")
            await_true("n4 leads", lambda: leads(nodes[0], "n4") > 0)
            self.assertEqual(nodes[0].command("SET", "k", "w"), "OK")
            await_true("n4 serves", lambda: lone.command("GET", "k") == "w")
            lone.kill()  # and it stays a member, without any seed
            lone.start()
            await_true("n4 serves", lambda: lone.command("GET", "k") == "w")

    def test_settings_are_the_clusters(self):
        with cluster.Cluster(3, "--replication-factor", "1") as nodes:
            self.assertEqual(nodes[2].command("CONFIG", "GET", "CLUSTER", "*"),
                             ["replication-factor", "1", "down-replace-after", "600"])
            await_true("one votes", lambda: all(len(v) == 1 for v in voters(nodes[0])))
            answer = at_any(nodes, "CONFIG", "SET", "CLUSTER", "replication-factor", "8")
            self.assertIn("must be between 1 and 7", answer)
            answer = at_any(nodes, "CONFIG", "SET", "CLUSTER", "apples", "8")
            self.assertEqual(answer, "ERR Unknown option of the cluster - 'apples'")
            answer = at_any(nodes, "CONFIG", "SET", "CLUSTER", "replication-factor", "3",
                               "down-replace-after", "0")
            self.assertEqual(answer, "OK")
            for node in nodes.nodes:
                await_true("all know", lambda n=node: n.command("CONFIG", "GET", "CLUSTER", "*")
                           == ["replication-factor", "3", "down-replace-after", "0"])
            await_true("three vote", lambda: all(len(v) == 3 for v in voters(nodes[0])))

    def test_a_heavier_node_takes_more(self):
        nodes = cluster.Cluster(3, "--replication-factor", "1")
        nodes[2].options = ["--weight", "2"]
        with nodes:
            await_true("n3 leads half", lambda: 118 <= leads(nodes[0], "n3") <= 138)
            self.assertEqual(members(nodes[0])["n3"]["weight"], 2)


if __name__ == "__main__":
    harness.main()
