#!/usr/bin/python3
"""What the leader of the cluster decides, asked of nodes that are not the leader: CLUSTER DRAIN,
CLUSTER FORGET and CONFIG SET CLUSTER work anywhere, also while leaders are killed.
"""
import os
import random
import threading
import time

import cluster
import harness
from cluster import await_true

ROUNDS = int(os.environ.get("ROUNDS", "4"))  # killed leaders


def members(node):
    """NODES as this node sees it, by id."""
    return {m["id"]: m for m in node.json({"type": "CLUSTER", "command": "NODES"})["data"]}


def leader_and_others(nodes):
    """Of those that run; all of them say so."""
    running = [node for node in nodes.nodes if node.process and node.process.poll() is None]
    named = set()

    def agree():
        named.clear()
        for node in running:
            named.add(node.json({"type": "CLUSTER", "command": "LEADER"})["data"]["leader"])
        return len(named) == 1 and None not in named

    await_true("all name one leader", agree)
    leader = nodes[int(named.pop()[1:]) - 1]
    return leader, [node for node in running if node is not leader]


def settings(node):
    """replication-factor and down-replace-after, as this node knows them."""
    found = node.command("CONFIG", "GET", "CLUSTER", "*")
    return int(found[1]), int(found[3])


class Writer(threading.Thread):
    """Sets both settings to values that belong together, again and again, at any node but the one
    that led the cluster when it began; keeps what the answers said."""

    def __init__(self, nodes, first):
        super().__init__(daemon=True)
        self.nodes, self.next, self.is_over = nodes, first, False
        self.done, self.unknown, self.refused = [], [], []

    def run(self):
        while not self.is_over:
            value, self.next = self.next, self.next + 1
            try:
                answer = random.choice(self.nodes).command(
                    "CONFIG", "SET", "CLUSTER", "down-replace-after", value,
                    "replication-factor", factor_of(value))
            except (OSError, EOFError):
                self.unknown.append(value)
                continue
            if answer == "OK":
                self.done.append(value)
            elif answer.startswith("UNKNOWN"):
                self.unknown.append(value)
            else:
                self.refused.append((value, answer))


def factor_of(value):
    return 3 if value % 2 == 0 else 5


class Watcher(threading.Thread):
    """Looks at the settings of all nodes, and keeps in which order each showed what."""

    def __init__(self, nodes):
        super().__init__(daemon=True)
        self.nodes, self.is_over = nodes, False
        self.seen = {node.number: [] for node in nodes.nodes}

    def run(self):
        while not self.is_over:
            for node in self.nodes.nodes:
                try:
                    self.seen[node.number].append(settings(node))
                except cluster.FAILURES:
                    pass
            time.sleep(0.005)


class AnyNode(harness.TestCase):
    def test_each_command_at_another_node_than_the_leader(self):
        with cluster.Cluster(4) as nodes:
            leader, others = leader_and_others(nodes)
            asked, leaving, dying = others
            name = f"n{leaving.number}"
            self.assertEqual(asked.command("CONFIG", "SET", "CLUSTER", "down-replace-after", 900,
                                           "replication-factor", 1), "OK")
            for node in nodes.nodes:
                await_true("all know", lambda n=node: settings(n) == (1, 900))
            # What is wrong, the leader says; what is said of "myself" is the asked node's.
            self.assertEqual(asked.command("CONFIG", "SET", "CLUSTER", "apples", 8),
                             "ERR Unknown option of the cluster - 'apples'")
            self.assertIn("must be between 1 and 7", asked.command(
                "CONFIG", "SET", "CLUSTER", "down-replace-after", 1, "replication-factor", 8))
            self.assertIn("duplicate parameter", asked.command(
                "CONFIG", "SET", "CLUSTER", "down-replace-after", 1, "down-replace-after", 2))
            self.assertEqual(asked.command("CLUSTER", "DRAIN", "n9"), "ERR Unknown node n9")
            self.assertEqual(asked.command("CLUSTER", "FORGET", "n9"), "ERR Unknown node n9")
            self.assertEqual(asked.command("CLUSTER", "DRAIN", name, "CANCEL"),
                             "ERR that node is not being drained")
            self.assertIn("can't forget myself", asked.command(
                "CLUSTER", "FORGET", f"n{asked.number}"))
            self.assertIn("is alive", asked.command("CLUSTER", "FORGET", f"n{leader.number}"))
            self.assertEqual(settings(leader), (1, 900))
            # The same over JSON.
            answer = asked.json({"type": "CLUSTER", "id": 7,
                                 "command": "CONFIG SET CLUSTER down-replace-after 901"})
            self.assertEqual(answer, {"id": 7, "success": True, "data": "OK"})
            # And in a pipeline each sees the one before.
            with cluster.Connection(asked) as connection:
                for value in (902, 903):
                    connection.send("CONFIG", "SET", "CLUSTER", "down-replace-after", value)
                self.assertEqual([connection.reply(), connection.reply()], ["OK", "OK"])
            await_true("all know", lambda: all(
                settings(node) == (1, 903) for node in nodes.nodes))
            # A node is drained through itself, and a dead one forgotten through another.
            self.assertEqual(leaving.command("CLUSTER", "DRAIN", name), "OK")
            self.assertEqual(leaving.process.wait(60), 0)
            self.assertIn("event=left", leaving.log())
            dying.kill()
            gone = f"n{dying.number}"
            await_true("it is dead everywhere", lambda: all(
                members(node)[gone]["state"] == "DEAD" for node in (leader, asked)))
            answer = asked.command("CLUSTER", "FORGET", gone)
            self.assertTrue(answer == "OK" or "no majority" in answer, answer)

    def test_changes_at_once_through_all_nodes(self):
        """Each is decided after the one before, and of four nodes one can go."""
        with cluster.Cluster(4) as nodes:
            leader, others = leader_and_others(nodes)
            connections = [cluster.Connection(node, 30) for node in nodes.nodes]
            for connection, node in zip(connections, nodes.nodes[1:] + nodes.nodes[:1]):
                connection.send("CLUSTER", "DRAIN", f"n{node.number}")
            answers = [connection.reply() for connection in connections]
            for connection in connections:
                connection.close()
            self.assertEqual(answers.count("OK"), 1, answers)
            self.assertEqual(len([a for a in answers if "with two nodes left" in a]), 3, answers)

    def test_while_leaders_are_killed(self):
        with cluster.Cluster(3) as nodes:
            watcher = Watcher(nodes)
            watcher.start()
            first, kept, done, refused = 1000, None, [], {}
            for _ in range(ROUNDS):
                leader, others = leader_and_others(nodes)
                writer = Writer(others, first)
                writer.start()
                await_true("some are set", lambda w=writer: len(w.done) >= 5)
                leader.kill()
                before = len(writer.done)
                await_true("and again", lambda w=writer: len(w.done) >= before + 5)
                leader.start()
                writer.is_over = True
                writer.join(60)
                self.assertFalse(writer.is_alive())
                first = writer.next
                done += writer.done
                refused.update(writer.refused)
                await_true("all agree", lambda: len({settings(n) for n in nodes.nodes}) == 1)
                kept = settings(nodes[0])
                self.assertIn(kept[1], [writer.done[-1]] +
                              [value for value in writer.unknown if value > writer.done[-1]])
            watcher.is_over = True
            watcher.join(60)
            # NOQUORUM and TRYAGAIN are definite; others have no place here.
            for value, answer in refused.items():
                self.assertTrue(answer.startswith(("NOQUORUM", "TRYAGAIN")), (value, answer))
            for number, seen in watcher.seen.items():
                values = [value for _, value in seen if value >= 1000]
                self.assertEqual(values, sorted(values), f"n{number} went back")
                self.assertEqual([v for v in values if v in refused], [], f"n{number}")
                torn = [pair for pair in seen if pair[1] >= 1000 and pair[0] != factor_of(pair[1])]
                self.assertEqual(torn, [], f"n{number}: half of a change")


if __name__ == "__main__":
    harness.main()
