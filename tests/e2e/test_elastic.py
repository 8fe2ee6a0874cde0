#!/usr/bin/python3
"""Three nodes become five and three again, under load, and nobody notices: no error reply, no
request without an answer but at the nodes that ended, every history linearizable, everything there.

`make chaos` does the same with more data and with kills (tests/chaos/elastic.py).
"""
import time

import cluster
import harness
import shares

ITEMS = 5000
CLIENTS = 8


class Elastic(harness.TestCase):
    def test_three_five_three(self):
        with cluster.Cluster(3, spare=2) as nodes:
            shares.add_items(nodes[0], ITEMS)
            load = cluster.Load(nodes, clients=CLIENTS, counters=2, stay=100)
            load.start()
            try:
                time.sleep(1)
                for at in (3, 4):
                    nodes[at].start(wait=False)
                for at in (3, 4):
                    nodes[at].wait_serving()
                shares.await_shared(nodes)
                leaving = [nodes[1], nodes[4]]
                for node in leaving:
                    shares.drain(nodes, node)
                shares.await_shared(nodes)
            finally:
                load.stopped.set()
                load.join()
            load.check(self)
            wrong = shares.items_trouble(nodes, ITEMS)
            self.assertIsNone(wrong, wrong)
            self.assertGreater(load.operations(), 1000)
            # A node that ends ends its connections: once for each client that talks to it.
            self.assertLessEqual(set(load.errors), {"LOST"}, load.errors)
            self.assertLessEqual(set(load.lost), {node.number for node in leaving}, load.lost)
            self.assertLessEqual(max(load.lost.values(), default=0), CLIENTS)
            self.assertEqual(len(nodes.running()), 3)


if __name__ == "__main__":
    harness.main()
