"""shares.py - what clusters that grow and shrink must come to, whatever happened on the way.

    shares.add_items(nodes[0], 5000)
    shares.await_shared(nodes)            # each node holds and leads its share, all say the same
    shares.drain(nodes, nodes[3])         # until the process has ended with status 0
    shares.items_trouble(nodes, 5000)     # None: every node answers for every item

What is wrong comes as a text, nothing as None, so that a test and a scenario can both use it.
"""
import time

import cluster

PARTITIONS = 256
REPLICAS = 3
OVER = 1.10                 # a share may be so much above the mean
LEADERS_OVER = 1.15
BATCH = 500


def asked(node, command):
    return node.json({"type": "CLUSTER", "command": command})["data"]


def members(node):
    """NODES as this node has it, without those that have left."""
    return {one["id"]: one for one in asked(node, "NODES") if one["state"] != "LEFT"}


# ── items ─────────────────────────────────────────────────────────────────────────────────────────

def item(number, size):
    return f"{number}:".ljust(size, "v")


def add_items(node, count, size=64):
    with cluster.Connection(node, 60) as connection:
        for first in range(0, count, BATCH):
            names = range(first, min(first + BATCH, count))
            for number in names:
                connection.send("SET", f"item:{number}", item(number, size))
            for _ in names:
                answer = connection.reply()
                if answer != "OK":
                    raise RuntimeError(f"SET answered {answer}")


def items_trouble(nodes, count, size=64):
    """Every node still running has every item."""
    for node in nodes.running():
        with cluster.Connection(node, 60) as connection:
            for first in range(0, count, BATCH):
                numbers = range(first, min(first + BATCH, count))
                found = connection.command("MGET", *[f"item:{i}" for i in numbers])
                if isinstance(found, cluster.Error):
                    return f"n{node.number}: {found}"
                for number, value in zip(numbers, found):
                    if value != item(number, size):
                        return f"n{node.number}: item:{number} is {value}"
    return None


# ── shares ────────────────────────────────────────────────────────────────────────────────────────

def is_shared(nodes):
    """True, or what is still different: each node that runs holds and leads its share; all of them
    say the same; and SHARDS names as holders whom NODES counts."""
    names = {f"n{node.number}" for node in nodes.running()}
    views = []
    for node in nodes.running():
        found = members(node)
        held = {name: one["partitions_held"] for name, one in found.items()}
        led = {name: one["partitions_led"] for name, one in found.items()}
        counted = dict.fromkeys(names, 0)
        view = []
        for shard in asked(node, "SHARDS"):
            holders = sorted(one["id"] for one in shard["replicas"])
            view.append((shard["leader"], holders))
            for name in holders:
                counted[name] = counted.get(name, 0) + 1
        views.append(view)
        if set(found) != names or held != counted:
            return f"n{node.number}: NODES says {held}, SHARDS {counted}, {sorted(names)} run"
        if sum(held.values()) != REPLICAS * PARTITIONS or sum(led.values()) != PARTITIONS:
            return f"n{node.number}: held {held}, led {led}"
        if (max(held.values()) > OVER * REPLICAS * PARTITIONS / len(names)
                or max(led.values()) > LEADERS_OVER * PARTITIONS / len(names)):
            return f"n{node.number}: held {held}, led {led}"
    if any(view != views[0] for view in views):
        return "SHARDS differs between nodes"
    return True


def await_shared(nodes, within_s=90):
    cluster.await_true(f"{len(nodes.running())} nodes hold their shares",
                       lambda: is_shared(nodes), within_s)


def at_any(nodes, *arguments, timeout_s=30):
    """The first answer of a node that says what became of it."""
    deadline = time.monotonic() + timeout_s
    answer = None
    while time.monotonic() < deadline:
        for node in nodes.running():
            try:
                answer = node.command(*arguments)
            except (OSError, EOFError):
                continue
            if not str(answer).startswith(("TRYAGAIN", "NOQUORUM", "UNKNOWN")):
                return answer
        time.sleep(0.1)
    raise RuntimeError(f"{arguments}: {answer}")


def is_moving(nodes):
    """Whether some node says that partitions are on their way."""
    for node in nodes.running():
        try:
            if asked(node, "MIGRATE STATUS")["running"] > 0:
                return True
        except cluster.FAILURES:
            pass
    return False


def begin_drain(nodes, node):
    answer = at_any(nodes, "CLUSTER", "DRAIN", f"n{node.number}")
    if answer != "OK":
        raise RuntimeError(f"CLUSTER DRAIN n{node.number} answered {answer}")


def left(node):
    """Whether a drained node's process has ended; with another status than 0 this is trouble."""
    status = node.process.poll()
    if status is None:
        return False
    if status != 0 or "event=left" not in node.log():
        raise RuntimeError(f"n{node.number}, drained, ended with {status}: {node.log()[-1000:]}")
    node.process = None
    return True


def await_left(node, within_s=90):
    cluster.await_true(f"n{node.number} has left", lambda: left(node), within_s)


def drain(nodes, node, within_s=90):
    begin_drain(nodes, node)
    await_left(node, within_s)
