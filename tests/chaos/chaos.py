#!/usr/bin/python3
"""chaos.py - kills and stops nodes of real clusters under load, and judges what clients saw.  (Two
scenarios in which nodes come and go: elastic.py.)

In every scenario three processes make load: two of many clients (load.py: RESP and JSON through
every node, registers and counters) and one that measures for how long writes stand still (probe.py:
nine clients, one for each pair of a leading node and a node to talk to).  At the end every history
must be linearizable, every counter exact, all nodes must have the same values and must stop
cleanly.  No node may end by itself.

  outage     the longest wait of any probe for an acknowledged write, of the waits that began
             between a fault and its end (restart, SIGCONT)
  after      the same from there to the next fault: what the return of the node costs
  errors     that clients got, by their first word; LOST: the connection broke

A client that talks to a stopped (not killed) node waits for its own timeout; those probes do not
count for the outage.

usage: chaos.py [--kills N] [--quick] [--only WORD ...] [--seed N]
       WORD: leader follower all stop loop elastic elastic-kills
Logs of a failed scenario are kept in build/chaos.  The exit status is 1 when something was wrong;
a missed figure is only marked.
"""
import argparse
import os
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
import elastic  # noqa: E402  pylint: disable=wrong-import-position
from scenario import Scenario, Trouble  # noqa: E402  pylint: disable=wrong-import-position

DOWN_S = 2.0          # a killed node stays away so long
MUST_S, AIM_S = (0.6, 1.2, 2.0), (0.4, 0.8, 1.5)


def kill_leader(it, options):
    """SIGKILL of a node that leads a third of everything (and now and then the meta group)."""
    for number in range(1, options.kills + 1):
        it.wait_home()
        kill_and_restart(it, it.leading_node(), number, options.kills)


def kill_follower(it, options):
    """SIGKILL of a node that leads nothing: nobody may notice."""
    times = max(2, options.kills // 4)
    for number in range(1, times + 1):
        victim = it.nodes[number % 3]
        victim.command("FAILOVER")
        if not it.wait(lambda v=victim: leads_nothing(v), 20):
            raise Trouble(f"n{victim.number} still leads 20 s after FAILOVER")
        time.sleep(1.0)
        kill_and_restart(it, victim, number, times)


def leads_nothing(node):
    nodes = node.json({"type": "CLUSTER", "command": "NODES"})["data"]
    return all(n["partitions_led"] == 0 for n in nodes if n["self"])


def kill_and_restart(it, victim, number, of):
    fault = it.fault(f"SIGKILL of n{victim.number}")
    victim.kill()
    time.sleep(DOWN_S)
    fault.heal()
    victim.start()
    time.sleep(2.0)
    it.measure(fault, number, of)


def kill_all(it, options):
    """SIGKILL of all three at the same moment, and a supervisor that starts them again."""
    times = max(2, options.kills // 10)
    for number in range(1, times + 1):
        it.wait_home()
        fault = it.fault("SIGKILL of all")
        for node in it.nodes.nodes:
            node.signal(signal.SIGKILL)
        for node in it.nodes.nodes:
            node.process.wait(30)
            node.start(wait=False)
        for node in it.nodes.nodes:
            node.wait_serving()
        time.sleep(2.0)
        fault.heal()
        time.sleep(2.0)
        it.measure(fault, number, times)


def stop_leader(it, options):
    """SIGSTOP and SIGCONT of a node that leads: it must come back harmless."""
    plan = [0.2] * max(2, options.kills // 10) + [2.0] * max(2, options.kills // 20)
    plan += [5.0] if options.quick else [30.0]
    for number, seconds in enumerate(plan, 1):
        it.wait_home()
        victim = it.leading_node()
        fault = it.fault(f"SIGSTOP of n{victim.number} for {seconds:g} s", victim)
        victim.signal(signal.SIGSTOP)
        time.sleep(seconds)
        victim.signal(signal.SIGCONT)
        fault.heal()
        time.sleep(2.0)
        it.measure(fault, number, len(plan))


def kill_loop(it, options):
    """SIGKILL of a random node every 0 to 3 s, restarted at once, without waiting for anything."""
    for number in range(1, options.kills + 1):
        victim = it.rng.choice(it.nodes.nodes)
        it.check_alive()
        fault = it.fault(f"SIGKILL of n{victim.number}")
        victim.kill()
        victim.start(wait=False)
        time.sleep(it.rng.random() * 3.0)
        fault.heal()
        it.measure(fault, number, options.kills)
    for node in it.nodes.nodes:
        node.wait_serving()
    it.wait_home()


# word -> name, story, and for clusters that grow how many nodes more, and options
STORIES = {
    "leader": ("kill the leader", kill_leader),
    "follower": ("kill a follower", kill_follower),
    "all": ("kill all at once", kill_all),
    "stop": ("stop the leader", stop_leader),
    "loop": ("kill loop", kill_loop),
    "elastic": ("3 to 5 to 3", elastic.planned, elastic.SPARE, elastic.OPTIONS),
    "elastic-kills": ("3 to 5 to 3, kills", elastic.with_kills, elastic.SPARE, elastic.OPTIONS),
}


# ── the table ─────────────────────────────────────────────────────────────────────────────────────

HEAD = ("scenario", "faults", "operations", "p50 s", "p99 s", "max s", "after", "verdict", "errors")
WIDTH = (18, 6, 10, 6, 6, 6, 6, 22, 0)


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def print_row(row):
    print("  ".join(str(cell).ljust(width) if at in (0, 7, 8) else str(cell).rjust(width)
                    for at, (cell, width) in enumerate(zip(row, WIDTH))).rstrip(), flush=True)


def verdict(it, figures):
    if it.trouble:
        return "FAILED"
    if it.name != "kill the leader":
        return "linearizable"
    if any(a > b for a, b in zip(figures, MUST_S)):
        return "linearizable, too slow"
    return "linearizable, aim" if all(a <= b for a, b in zip(figures, AIM_S)) else "linearizable"


def print_table(scenarios):
    print(f"\nwrite outage after killing a leader: must {MUST_S}, aim {AIM_S} (p50, p99, max in s)")
    print_row(HEAD)
    for it in scenarios:
        outages = [fault.outage for fault in it.faults] or [0.0]
        figures = (percentile(outages, 0.5), percentile(outages, 0.99), max(outages))
        after = max((fault.after for fault in it.faults), default=0.0)
        errors = " ".join(f"{word}:{count}" for word, count in sorted(it.errors.items()))
        print_row((it.name, len(it.faults), it.operations, *(f"{f:.2f}" for f in figures),
                   f"{after:.2f}", verdict(it, figures), errors))
        for text in it.notes + ([it.trouble] if it.trouble else []):
            print(f"    {text}")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=int(os.environ.get("KILLS", "3")))
    parser.add_argument("--quick", action="store_true", help="no stop of 30 s")
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    scenarios = []
    for word, (name, story, *more) in STORIES.items():
        if not options.only or word in options.only:
            scenarios.append(Scenario(name, options.seed, *more))
            scenarios[-1].run(lambda it, tell=story: tell(it, options))
    print_table(scenarios)
    failed = sum(it.trouble is not None for it in scenarios)
    print(f"{len(scenarios) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
