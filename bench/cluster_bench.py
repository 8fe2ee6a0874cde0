"""cluster_bench.py - three minidb nodes beside one redis-server and beside three etcd nodes.

All servers run on this machine: three processes share core 0, the load has core 1.  50 connections,
keys of 16 bytes, values of 64, one slice after the other.  CPU is the sum over the three servers'
threads, from /proc; what the load uses is not in it.

SETs come from two kinds of clients: all 50 connections to one node, to each of the three in turn,
which has to pass two of three writes on; and cluster-aware ones, which know who leads what and go
there (slot port; their keys carry a tag and have 22 bytes).

Both sides hold the same million keys before the first SET, so that both overwrite and neither is
measured while it grows; cluster-aware clients, who choose keys of their own, most of a million.

The unit of the CPU rows is what one standalone redis-server without persistence uses for the same
command at the same pipeline depth, so minidb's figure holds three copies, two of them sent over
sockets, and (with `always`) the sync of three logs.

etcd gets its puts over gRPC from etcd_put.py.  That is Python, so the output says how much of its
core it used: below 1 it was not what limited etcd.
"""
import json
import os
import statistics
import subprocess
import sys
import time
import urllib.request

from servers import (KEYS, LOAD_CORE, MINIDB, VALUE_BYTES, Process, Server, cpu_of, encode, fill,
                     free_port, load, progress, redis)

NODES = 3
CLIENTS = 50
LEASE_KEYS = 10_000
KEYS_A_SLOT = KEYS // 16384  # a cluster-aware client chooses among so many of each slot
IDLE_S = 10


def bench_cluster(table, options, directory):
    slices = 3 if options.quick else 9
    print("three nodes on core 0, load on core 1, the load to each node in turn")
    theirs = redis()
    fill(theirs, KEYS)
    for sync, must in (("always", (("3.0", "1.8"), ("4.0", "2.2"))),
                       ("everysec", (("3.0", "1.8"), ("4.0", "2.2")))):
        nodes = minidb_cluster(os.path.join(directory, sync), "--appendfsync", sync)
        if sync == "always":
            bench_idle(table, nodes)
            bench_etcd(table, nodes, slices, directory)
        fill(nodes[0], KEYS)
        bench_set(table, nodes, theirs, sync, must, slices, is_aware=False)
        fill_aware(nodes)
        bench_set(table, nodes, theirs, sync, must, slices, is_aware=True)
        if sync == "always":
            bench_lease(table, nodes, theirs, slices)
        for node in nodes:
            node.stop()
    theirs.stop()


# ── the rows ──────────────────────────────────────────────────────────────────────────────────────

def bench_set(table, nodes, theirs, sync, must, slices, is_aware):
    clients = "cluster-aware clients" if is_aware else "clients of one node"
    for (pipeline, ours_requests, theirs_requests), (must_be, aim) in zip(
            ((1, 30_000, 100_000), (16, 150_000, 500_000)), must):
        pairs = []
        for i in range(slices):
            progress(f"SET {sync} pipeline {pipeline}, {clients}: slice {i + 1} of {slices}")
            pairs.append((load(nodes[i % NODES], "set", ours_requests, pipeline, measured=nodes,
                               is_aware=is_aware, keys=KEYS_A_SLOT if is_aware else KEYS)[1],
                          load(theirs, "set", theirs_requests, pipeline)[1]))
        table.add(f"CPU of 3 nodes per SET {sync} / redis SET, pipeline {pipeline}, {clients}",
                  must_be, aim, [a / b for a, b in pairs], median(pairs, 0), median(pairs, 1),
                  "us/op")


def fill_aware(nodes):
    progress("filling the keys of cluster-aware clients")
    load(nodes[0], "set", 2 * KEYS, 64, measured=nodes, is_aware=True, keys=KEYS_A_SLOT)


def bench_lease(table, nodes, theirs, slices):
    """STRONG GETs by lease: of keys that the node asked leads."""
    tags = [tag_led_by(nodes, node) for node in nodes]
    for tag, node in zip(tags, nodes):
        for server in (node, theirs):
            fill_tag(server, tag)
    for pipeline, requests, must, aim in ((1, 100_000, "1.05", "0.80"),
                                          (16, 500_000, "0.75", "0.50")):
        pairs = []
        for i in range(slices):
            progress(f"GET by lease, pipeline {pipeline}: slice {i + 1} of {slices}")
            command = ["GET", "{%s}:__rand_int__" % tags[i % NODES]]
            asked = nodes[i % NODES]
            pairs.append(tuple(load(server, command, requests, pipeline, keys=LEASE_KEYS)[1]
                               for server in (asked, theirs)))
        table.add(f"CPU of the leader per STRONG GET / redis GET, pipeline {pipeline}", must, aim,
                  [a / b for a, b in pairs], median(pairs, 0), median(pairs, 1), "us/op")


def bench_etcd(table, nodes, slices, directory):
    theirs = etcd_cluster(os.path.join(directory, "etcd"))
    pairs, cpu, shares = [], [], []
    for i in range(slices):
        progress(f"etcd: slice {i + 1} of {slices}")
        ours = load(nodes[i % NODES], "set", 30_000, 1, measured=nodes)
        puts, put_cpu, share = etcd_load(theirs[i % NODES], 6_000, theirs)
        pairs.append((ours[0], puts))
        cpu.append((ours[1], put_cpu))
        shares.append(share)
    for server in theirs:
        server.stop()
    table.add("SET always / etcd put, throughput (more is better)", ">4", ">8",
              [a / b for a, b in pairs], median(pairs, 0), median(pairs, 1), "op/s")
    table.add("CPU of 3 nodes per SET always / etcd put", "-", "-", [a / b for a, b in cpu],
              median(cpu, 0), median(cpu, 1), "us/op")
    print(f"  (etcd_put.py: gRPC, {CLIENTS} connections; it used at most {max(shares):.0%} "
          "of its own core)")


def bench_idle(table, nodes):
    """256 groups and nothing to do."""
    time.sleep(3)
    progress(f"idle for {IDLE_S} s")
    before, begun = [node.cpu_s() for node in nodes], time.monotonic()
    time.sleep(IDLE_S)
    wall = time.monotonic() - begun
    shares = [(node.cpu_s() - b) * 100 / wall for node, b in zip(nodes, before)]
    table.add("idle node of 256 groups, % of a core", "2.00", "-", shares,
              statistics.median(shares), 0.0, "%")


def median(pairs, at):
    return statistics.median(pair[at] for pair in pairs)


# ── minidb ────────────────────────────────────────────────────────────────────────────────────────

def minidb_cluster(directory, *extra):
    seed_port, nodes = free_port(), []
    for number in range(1, NODES + 1):
        port, slot_port = free_port(), free_port()
        cluster_port = seed_port if number == 1 else free_port()
        seed = [] if number == 1 else ["--seed", f"127.0.0.1:{seed_port}"]
        nodes.append(Server(f"n{number}", [
            MINIDB, "--node-id", f"n{number}", "--port", str(port), "--cluster-port",
            str(cluster_port), "--slot-port", str(slot_port),
            "--data-dir", os.path.join(directory, f"n{number}"),
            "--log-level", "warn", *seed, *extra], port))
        nodes[-1].slot_port = slot_port
    wait_still(nodes[0])
    return nodes


def ask(server, command):
    """JSON: the answer's data."""
    with server.connect() as s:
        s.sendall(json.dumps({"type": "CLUSTER", "command": command}).encode() + b"\n")
        return json.loads(s.makefile("rb").readline())["data"]


def wait_still(node, still_s=3.0, timeout_s=90):
    """Until every partition has a leader, all nodes lead, and nothing changed for a while."""
    before, since, end = None, time.monotonic(), time.monotonic() + timeout_s
    while time.monotonic() < end:
        leaders = [shard["leader"] for shard in ask(node, "SHARDS")]
        if leaders != before or None in leaders or len(set(leaders)) != NODES:
            before, since = leaders, time.monotonic()
        if time.monotonic() - since > still_s:
            return
        time.sleep(0.2)
    sys.exit("the cluster's leaders did not come to rest")


def tag_led_by(nodes, node):
    """One letter: keys with it in braces are led by that node."""
    for tag in "abcdefghijklmnopqrstuvwxyz":
        if ask(nodes[0], f"LEADER {{{tag}}}")["leader"] == node.name:
            return tag
    sys.exit(f"{node.name} leads no tag of one letter")


def fill_tag(server, tag, batch=1000):
    with server.connect() as s:
        f = s.makefile("rb")
        for first in range(0, LEASE_KEYS, batch):
            s.sendall(b"".join(encode(("SET", "{%s}:%012d" % (tag, i), "%064d" % i))
                               for i in range(first, first + batch)))
            for _ in range(batch):
                line = f.readline()
                assert line == b"+OK\r\n", line


# ── etcd ──────────────────────────────────────────────────────────────────────────────────────────

class Etcd(Process):
    def is_up(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=1) as answer:
            return json.load(answer)["health"] == "true"


def etcd_cluster(directory):
    ports = [(free_port(), free_port()) for _ in range(NODES)]
    members = ",".join(f"e{i}=http://127.0.0.1:{peer}" for i, (_, peer) in enumerate(ports))
    servers = [Etcd(f"e{i}", [
        "etcd", "--name", f"e{i}", "--data-dir", os.path.join(directory, f"e{i}"),
        "--listen-client-urls", f"http://127.0.0.1:{port}",
        "--advertise-client-urls", f"http://127.0.0.1:{port}",
        "--listen-peer-urls", f"http://127.0.0.1:{peer}",
        "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}",
        "--initial-cluster", members, "--initial-cluster-state", "new", "--log-level", "error",
    ], port, wait=False) for i, (port, peer) in enumerate(ports)]
    for server in servers:   # each of them waits for the others
        server.wait_up(time.monotonic())
    return servers


def etcd_load(server, requests, measured):
    """(puts a second, CPU microseconds of all three a put, share of its core the load used)."""
    before = cpu_of(measured)
    program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "etcd_put.py")
    out = subprocess.run(["taskset", "-c", LOAD_CORE, sys.executable, program, str(server.port),
                          str(requests), "--clients", str(CLIENTS), "--value-bytes",
                          str(VALUE_BYTES)], check=True, capture_output=True, text=True).stdout
    used = (cpu_of(measured) - before) * 1e6 / requests
    said = json.loads(out.splitlines()[-1])
    return said["puts"] / said["seconds"], used, said["cpu_s"] / said["seconds"]
