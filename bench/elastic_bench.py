"""elastic_bench.py - what it costs when nodes come, leave and die.

  join      a fourth node joins three that hold a million keys: seconds until every node holds its
            share, and the p99 of requests under a steady load during that, against just before
  drain     requests that fail while that node is drained and leaves
  dead      seconds from SIGKILL until all other nodes say DEAD

All nodes share one core, the load has the other one.  The load is 16 connections, each to one node
and each with one request at a time and a short pause, half reads and half writes: about a sixth of
what the nodes could do, so that the figure is about waiting and not about saturation.  There is
nothing to compare with, so the column "other" has the figure before, or nothing.
"""
import multiprocessing
import os
import random
import selectors
import shutil
import signal
import socket
import statistics
import sys
import time

import cluster_bench
from servers import (KEYS, LOAD_CORE, MINIDB, VALUE_BYTES, Server, encode, fill, free_port,
                     progress)

CONNECTIONS = 16
PAUSE_S = 0.01
BEFORE_S = 8.0
REPLICAS, PARTITIONS = 3, 256
OVER = 1.10           # balanced: nobody holds or leads more than that times the mean
KILLS = 5


def bench_elastic(table, options, directory):
    keys = 100_000 if options.quick else KEYS
    joins, ratios, before_ms, during_ms, failed, deads = [], [], [], [], [], []
    for number in range(1 if options.quick else 3):
        path = os.path.join(directory, f"elastic{number}")
        nodes = cluster_bench.minidb_cluster(path)
        progress(f"round {number + 1}: filling")
        fill(nodes[0], keys)
        seconds, before, during, bad = one_join_and_drain(nodes, path)
        joins.append(seconds)
        before_ms.append(before * 1e3)
        during_ms.append(during * 1e3)
        ratios.append(during / before)
        failed.append(float(bad))
        if number == 0:
            deads = [seconds_until_dead(nodes) for _ in range(KILLS)]
        for node in nodes:
            node.stop()
        shutil.rmtree(path, ignore_errors=True)
    what = f"a fourth node joins, {keys / 1e6:g}M keys"
    table.add(f"{what}: until balanced", "60", "15", joins, statistics.median(joins), 0.0, "s")
    table.add("p99 of requests during that / before", "3.0", "1.5", ratios,
              statistics.median(during_ms), statistics.median(before_ms), "ms (both minidb)")
    table.add("failed requests during a planned drain", "0", "0", failed,
              statistics.median(failed), 0.0, "requests")
    table.add("a killed node is DEAD on all others", "5.0", "2.0", deads,
              statistics.median(deads), 0.0, "s")


def one_join_and_drain(nodes, path):
    """(seconds until balanced, p99 before, p99 meanwhile, requests that failed during the drain)"""
    fourth_port = free_port()
    load = Steady([node.port for node in nodes])
    time.sleep(BEFORE_S)
    progress("a fourth node joins")
    begun = time.monotonic()
    fourth = Server("n4", node_line(nodes, path, fourth_port), fourth_port)
    await_true(lambda: is_balanced(nodes + [fourth]), "the fourth node has its share")
    balanced = time.monotonic()
    load.stop()
    before = load.p99(begun - BEFORE_S + 1.0, begun)
    during = load.p99(begun, balanced)
    load = Steady([node.port for node in nodes + [fourth]])
    time.sleep(1.0)
    progress("it is drained")
    drain(nodes, fourth)
    time.sleep(1.0)
    load.stop()
    return balanced - begun, before, during, load.failed(ended=fourth.port)


def node_line(nodes, path, port):
    seed_line = nodes[0].argv
    seed = seed_line[seed_line.index("--cluster-port") + 1]
    return [MINIDB, "--node-id", "n4", "--port", str(port), "--cluster-port", str(free_port()),
            "--data-dir", os.path.join(path, "n4"), "--log-level", "warn", "--seed",
            f"127.0.0.1:{seed}"]


def await_true(condition, what, timeout_s=180):
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        try:
            if condition():
                return
        except (OSError, ValueError, KeyError):
            pass
        time.sleep(0.05)
    sys.exit(f"not within {timeout_s} s: {what}")


def is_balanced(nodes):
    """As the newcomer and the first node see it."""
    for asked in nodes[0], nodes[-1]:
        members = cluster_bench.ask(asked, "NODES")
        held = [one["partitions_held"] for one in members]
        led = [one["partitions_led"] for one in members]
        if (len(members) != len(nodes) or sum(held) != REPLICAS * PARTITIONS
                or max(held) > OVER * REPLICAS * PARTITIONS / len(nodes)
                or max(led) > OVER * PARTITIONS / len(nodes)):
            return False
    return True


def drain(nodes, leaving):
    def is_told():
        return any(node.command("CLUSTER", "DRAIN", leaving.name) == b"+OK" for node in nodes)
    await_true(is_told, "somebody takes the order to drain")
    await_true(lambda: leaving.process.poll() is not None, "the drained node has left")
    if leaving.process.returncode != 0:
        sys.exit(f"the drained node ended with {leaving.process.returncode}")


def seconds_until_dead(nodes):
    """Of one of three, killed and started again."""
    victim, others = nodes[-1], nodes[:-1]
    await_true(lambda: all(state_of(node, victim) == "ALIVE" for node in nodes), "all are alive")
    time.sleep(random.random())
    victim.process.send_signal(signal.SIGKILL)
    begun = time.monotonic()
    victim.process.wait()
    await_true(lambda: all(state_of(node, victim) == "DEAD" for node in others), "it is dead")
    took = time.monotonic() - begun
    victim.start()
    cluster_bench.wait_still(nodes[0], still_s=1.0)
    return took


def state_of(asked, node):
    return {one["id"]: one["state"] for one in cluster_bench.ask(asked, "NODES")}[node.name]


# ── load ──────────────────────────────────────────────────────────────────────────────────────────

class Steady:
    """The load, in a process of its own.  What it saw: (end, seconds, whether it failed, port)."""

    def __init__(self, ports):
        context = multiprocessing.get_context("fork")
        self.stopped = context.Event()
        self.pipe, there = context.Pipe(duplex=False)
        self.process = context.Process(target=run_steady, daemon=True,
                                       args=(ports, self.stopped, there))
        self.process.start()
        there.close()
        self.seen = []

    def stop(self):
        self.stopped.set()
        self.seen = self.pipe.recv()
        self.process.join(30)

    def p99(self, since, until):
        times = sorted(took for end, took, bad, _ in self.seen if since <= end < until and not bad)
        return times[int(len(times) * 0.99)]

    def failed(self, ended):
        """Error replies, and connections lost at nodes that did not end."""
        return sum(bad == "error" or (bad == "lost" and port != ended)
                   for _, _, bad, port in self.seen)


class Client:
    def __init__(self, ports, at, selector):
        self.ports, self.at, self.selector = ports, at, selector
        self.socket, self.begin, self.next_at, self.buffer = None, None, 0.0, b""

    def send(self, rng, now):
        while self.socket is None:
            try:
                self.socket = socket.create_connection(("127.0.0.1", self.port()), 5)
            except OSError:
                self.at += 1
        self.selector.register(self.socket, selectors.EVENT_READ, self)
        key = b"key:%012d" % rng.randrange(KEYS)
        words = ("GET", key) if rng.random() < 0.5 else ("SET", key, b"%064d" % 1)
        self.begin = now
        self.socket.sendall(encode(words))

    def port(self):
        return self.ports[self.at % len(self.ports)]

    def receive(self, seen):
        try:
            data = self.socket.recv(4096)
        except OSError:
            data = b""
        self.buffer += data
        if data and not self.is_whole():
            return
        now, bad = time.monotonic(), None if data else "lost"
        if self.buffer[:1] == b"-":
            bad = "error"
        seen.append((now, now - self.begin, bad, self.port()))
        self.selector.unregister(self.socket)
        if not data:
            self.socket.close()
            self.socket = None
        self.begin, self.next_at, self.buffer = None, now + PAUSE_S, b""

    def is_whole(self):
        line, ends, rest = self.buffer.partition(b"\r\n")
        return bool(ends) and (line[:1] != b"$" or line == b"$-1" or len(rest) >= VALUE_BYTES + 2)


def run_steady(ports, stopped, pipe):
    os.sched_setaffinity(0, {int(LOAD_CORE)})
    selector, seen, rng = selectors.DefaultSelector(), [], random.Random(1)
    clients = [Client(ports, at, selector) for at in range(CONNECTIONS)]
    while not stopped.is_set():
        now = time.monotonic()
        for client in clients:
            if client.begin is None and now >= client.next_at:
                client.send(rng, now)
        for key, _ in selector.select(0.001):
            key.data.receive(seen)
    pipe.send(seen)
    pipe.close()
