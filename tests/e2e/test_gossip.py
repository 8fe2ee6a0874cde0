"""test_gossip.py - who is there, as real nodes see it: deaths, returns, farewells, strangers.

Only bounds are asserted, generous ones: how fast a death is found is measured in simulation
(tests/unit/cluster/membership_test.c) and shown in docs/decisions/0008-gossip.md.
"""
import os
import signal
import socket
import time

import cluster
import harness

DEAD_WITHIN_S = 5


def states(node):
    members = node.json({"type": "CLUSTER", "command": "NODES"})["data"]
    return {m["id"]: m["state"] for m in members}


def info(node):
    lines = node.command("INFO", "gossip").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


class Gossip(harness.TestCase):
    def await_state(self, nodes, of, state, within_s):
        begin = time.monotonic()
        while True:
            seen = [states(node)[of] for node in nodes]
            if set(seen) == {state}:
                return time.monotonic() - begin
            if time.monotonic() > begin + within_s:
                self.fail(f"{of} is {seen} after {within_s} s: {nodes[0].log()[-2000:]}")
            time.sleep(0.02)

    def test_a_killed_node_is_dead_everywhere_and_comes_back(self):
        with cluster.Cluster(3) as nodes:
            others = [nodes[0], nodes[1]]
            self.await_state(nodes.nodes, "n3", "ALIVE", 30)
            nodes[2].kill()
            took = self.await_state(others, "n3", "DEAD", DEAD_WITHIN_S)
            print(f"dead everywhere after {took:.2f} s")
            harness.await_true("a line that n3 is dead",  # the log is written by another thread
                               lambda: "event=node_dead node=n3" in nodes[0].log())
            nodes[2].start()
            self.await_state(nodes.nodes, "n3", "ALIVE", 30)
            self.assertEqual(set(states(nodes[2]).values()), {"ALIVE"})
            facts = info(nodes[0])
            self.assertEqual(facts["gossip_members_alive"], "3")
            self.assertGreater(int(facts["gossip_probes"]), 0)
            self.assertGreater(int(facts["gossip_packets_in"]), 0)
            self.assertEqual(facts["gossip_dropped_key"], "0")

    def test_a_clean_stop_is_a_farewell(self):
        with cluster.Cluster(3) as nodes:
            self.await_state(nodes.nodes, "n2", "ALIVE", 30)
            self.assertEqual(nodes[1].stop(), 0)
            others = [nodes[0], nodes[2]]
            self.await_state(others, "n2", "LEFT", DEAD_WITHIN_S)
            time.sleep(3)  # and does not become DEAD: there is nothing to poll for
            self.assertEqual({states(node)["n2"] for node in others}, {"LEFT"})
            self.assertNotIn("event=node_dead", nodes[0].log())
            nodes[1].start()
            self.await_state(nodes.nodes, "n2", "ALIVE", 30)

    def test_who_is_stopped_for_a_moment_does_not_die(self):
        with cluster.Cluster(3) as nodes:
            self.await_state(nodes.nodes, "n3", "ALIVE", 30)
            for _ in range(5):
                nodes[2].signal(signal.SIGSTOP)
                time.sleep(0.4)
                nodes[2].signal(signal.SIGCONT)
                time.sleep(0.6)
            for node in nodes.nodes:
                self.assertNotIn("event=node_dead", node.log())
            self.await_state(nodes.nodes, "n3", "ALIVE", 10)

    def test_packets_that_are_not_ours_change_nothing(self):
        with cluster.Cluster(3, "--cluster-secret", "only for us") as nodes:
            self.await_state(nodes.nodes, "n3", "ALIVE", 30)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
                for size in (0, 1, 15, 16, 96, 112, 300, 1200, 1201, 9000):
                    packet = b"MGO1" + os.urandom(max(0, size - 4))
                    stranger.sendto(packet[:size], ("127.0.0.1", nodes[0].cluster_port))
            deadline = time.monotonic() + 10
            while int(info(nodes[0])["gossip_dropped_key"]) < 10 and time.monotonic() < deadline:
                time.sleep(0.05)
            self.assertEqual(info(nodes[0])["gossip_dropped_key"], "10")
            self.assertEqual(set(states(nodes[0]).values()), {"ALIVE"})
            self.assertEqual(info(nodes[0])["gossip_health"], "0")
            harness.await_true("a line about them",
                               lambda: "event=gossip_dropped" in nodes[0].log())
            self.assertEqual(nodes[0].log().count("event=gossip_dropped"), 1)  # not a line for each


if __name__ == "__main__":
    harness.main()
