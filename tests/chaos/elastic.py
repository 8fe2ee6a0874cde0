"""elastic.py - three nodes become five and three again, with data on the way: one story without
faults in which no request may fail, and one with a SIGKILL in each phase.

  join    two nodes are started at once
  move    partitions are on their way to them
  drain   two random nodes are told to leave

A request fails when it is answered with an error, or when its connection breaks anywhere but at a
node that was drained: those end, and so do their clients' connections, once for each client.
"""
import time

import shares
from load import CLIENTS, PROCESSES
from scenario import Trouble, progress

ITEMS, ITEM_BYTES = 60000, 500
OPTIONS = ("--migrate-rate", "2")   # MiB/s of each node: moves take seconds, not moments
SPARE = 2
MEMBERS_MIN = 3
DOWN_S = 2.0
WITHIN_S = 180


def planned(it, _):
    begin(it)
    grow(it)
    shares.await_shared(it.nodes, WITHIN_S)
    leaving = choose(it)
    fault = it.fault("drain of " + " and ".join(f"n{node.number}" for node in leaving))
    for node in leaving:
        shares.begin_drain(it.nodes, node)
    await_all_left(it, leaving)
    shares.await_shared(it.nodes, WITHIN_S)
    fault.heal()
    it.measure(fault, 1, 1)
    it.checks.append(lambda: failed_requests(it, leaving))


def with_kills(it, _):
    begin(it)
    grow(it)
    kill(it, "joining", 1)
    if not it.wait(lambda: shares.is_moving(it.nodes), 10):
        it.note("nothing was moving any more when a node should be killed then")
    kill(it, "moving", 2)
    shares.await_shared(it.nodes, WITHIN_S)
    leaving = choose(it)
    for node in leaving:
        shares.begin_drain(it.nodes, node)
    kill(it, "draining", 3)
    await_all_left(it, leaving)
    shares.await_shared(it.nodes, WITHIN_S)


def begin(it):
    shares.add_items(it.nodes[0], ITEMS, ITEM_BYTES)
    it.checks.append(lambda: shares.items_trouble(it.nodes, ITEMS, ITEM_BYTES))


def grow(it):
    for node in it.nodes.nodes:
        if node.process is None:
            node.start(wait=False)


def choose(it):
    """Who leaves."""
    return it.rng.sample(it.nodes.running(), len(it.nodes.running()) - MEMBERS_MIN)


def await_all_left(it, leaving):
    for node in leaving:
        if node.process is not None:
            shares.await_left(node, WITHIN_S)
        progress(f"  n{node.number} has left")


def kill(it, phase, number):
    """SIGKILL of a random node a moment after now, and its return."""
    time.sleep(it.rng.random())
    victim = it.rng.choice(it.nodes.running())
    if victim.process.poll() is not None:
        shares.left(victim)
        it.note(f"n{victim.number} had left before it could be killed while {phase}")
        return
    fault = it.fault(f"SIGKILL of n{victim.number} while {phase}")
    victim.kill()
    time.sleep(DOWN_S)
    fault.heal()
    victim.start(wait=False)
    deadline = time.monotonic() + WITHIN_S
    while not is_back(victim):
        if time.monotonic() > deadline:
            raise Trouble(f"n{victim.number} did not come back: {victim.log()[-1000:]}")
        time.sleep(0.1)
    it.measure(fault, number, 3)


def is_back(node):
    """It serves; or it has left meanwhile, having been drained."""
    try:
        return node.process.poll() is not None or node.command("PING") == "PONG"
    except (OSError, EOFError):
        return False


def failed_requests(it, leaving):
    """What a planned change must not cost."""
    errors = {word: count for word, count in it.errors.items() if word != "LOST"}
    if errors:
        return f"requests failed: {errors}"
    clients = PROCESSES * CLIENTS + len(it.probe_keys)
    allowed = {node.number: clients for node in leaving}
    lost = {f"n{number}": count for number, count in it.lost.items()
            if count > allowed.get(number, 0)}
    return f"connections lost: {lost}" if lost else None
