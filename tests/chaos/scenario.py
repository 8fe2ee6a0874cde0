"""scenario.py - a three-node cluster under load, what is done to it, and the verdict.

    def story(it):
        fault = it.fault("SIGKILL of n1")
        it.nodes[0].kill()
        ...
        fault.heal()            # the node is back; what follows counts as "after"
        ...
        it.measure(fault, 1, 1)
    it = Scenario("kill the leader", seed)
    it.run(story)

Whatever goes wrong ends up in `trouble`, so that one scenario does not hide the next.
"""
import os
import random
import shutil
import time

import cluster
import harness
from load import Loads
from probe import Prober

NODES = 3
STAY = 100            # requests, then a client goes on to another node, where those come and go
SETTLE_S = 15         # so long the leaders may take to go back home before the next fault
KEPT = os.path.join(harness.ROOT, "build", "chaos")
FAILURES = (RuntimeError, OSError, EOFError, ValueError, KeyError, TypeError)


class Trouble(RuntimeError):
    """Something that must not happen."""


class Fault:
    """stopped: the node whose clients are stuck with it (SIGSTOP), or None."""

    def __init__(self, what, stopped=None):
        self.what, self.stopped = what, stopped
        self.begin, self.healed = time.monotonic(), None
        self.outage = self.after = 0.0

    def heal(self):
        self.healed = time.monotonic()


class Scenario:
    def __init__(self, name, seed, spare=0, options=()):
        self.name, self.rng = name, random.Random(seed)
        self.faults, self.notes, self.trouble = [], [], None
        self.operations, self.errors, self.lost, self.seconds = 0, {}, {}, 0.0
        self.checks = []              # of the story, when the load has ended: text or None
        self.stay = STAY if spare else cluster.INFINITY
        self.nodes = cluster.Cluster(NODES, *options, spare=spare)
        self.loads = self.prober = None
        self.processes = []           # of the load

    def run(self, story):
        progress(f"{self.name}:")
        try:
            self._begin()
            story(self)
        except FAILURES as failure:
            self.trouble = f"{type(failure).__name__}: {failure}"
        try:
            self._finish()
        except FAILURES as failure:
            self.trouble = self.trouble or f"{type(failure).__name__}: {failure}"
        finally:
            if self.trouble:
                self._keep()
            self._end_processes()

    def _begin(self):
        self.nodes.start()
        self._wait_still()
        self.probe_keys = self._choose_keys()
        self.loads = Loads(self.nodes, self.stay)
        self.prober = Prober([(key, via) for key, _, via in self.probe_keys],
                             [node.port for node in self.nodes.nodes])
        self.processes = [self.prober.process, *(process for process, _ in self.loads.processes)]
        self.begun = time.monotonic()
        time.sleep(1.0)

    def _wait_still(self):
        """Until no partition has had another leader for two seconds: all are where they belong."""
        before, since = None, time.monotonic()

        def is_still():
            nonlocal before, since
            shards = self.nodes[0].json({"type": "CLUSTER", "command": "SHARDS"})["data"]
            now = [shard["leader"] for shard in shards]
            if now != before:
                before, since = now, time.monotonic()
            return time.monotonic() - since > 2.0
        if not self.wait(is_still, 60):
            self.note("leadership never came to rest")

    def _choose_keys(self):
        """For each pair of nodes a key that the first one leads, to be asked for at the second."""
        wanted = {leader: list(range(NODES)) for leader in range(NODES)}
        chosen, partitions = [], set()
        for number in range(10000):
            key = f"probe:{number}"
            found = self.nodes[0].json({"type": "CLUSTER", "command": f"LEADER {key}"})["data"]
            leader = int(found["leader"][1:]) - 1
            if wanted[leader] and found["partition"] not in partitions:
                partitions.add(found["partition"])
                chosen.append((key, leader, wanted[leader].pop()))
            if not any(wanted.values()):
                return chosen
        raise Trouble("some node leads nothing")

    # ── what faults need ──────────────────────────────────────────────────────────────────────

    def fault(self, what, stopped=None):
        self.faults.append(Fault(what, stopped))
        return self.faults[-1]

    def measure(self, fault, number, of):
        """Both waits, once what follows the fault has been seen; and a line about it."""
        stopped = fault.stopped.number - 1 if fault.stopped else None
        fault.outage = self.prober.longest_wait(fault.begin, fault.healed, stopped)
        fault.after = self.prober.longest_wait(fault.healed, time.monotonic())
        progress(f"  {number} of {of}: {fault.what}: outage {fault.outage:.2f} s, "
                 f"after {fault.after:.2f} s")

    def leaders(self):
        """Who leads the probes' keys, as any node knows; None where nobody does."""
        found = [self.nodes.leader_of(key) for key, _, _ in self.probe_keys]
        return [node.number - 1 if node else None for node in found]

    def leading_node(self):
        """A random node of those that lead a probe's key."""
        leading = {at for at in self.leaders() if at is not None}
        return self.nodes[self.rng.choice(sorted(leading))] if leading else self.nodes[0]

    def wait_home(self):
        """Until every key is led by its first leader again."""
        home = [leader for _, leader, _ in self.probe_keys]
        if not self.wait(lambda: self.leaders() == home, SETTLE_S):
            self.note(f"leaders were not back home after {SETTLE_S} s")

    def wait(self, condition, timeout_s):
        """True when the condition became true."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            self.check_alive()
            if condition():
                return True
            time.sleep(0.2)
        return False

    def check_alive(self):
        for node in self.nodes.running():
            if node.process.poll() is not None:
                raise Trouble(f"n{node.number} ended by itself with {node.process.returncode}")

    def note(self, text):
        if text not in self.notes:
            self.notes.append(text)

    # ── the end ───────────────────────────────────────────────────────────────────────────────

    def _finish(self):
        if self.prober is None:
            return
        self.loads.stop()
        self.prober.stop()
        self.seconds = time.monotonic() - self.begun
        self.loads.histories.update(self.prober.histories())
        self.operations, self.errors = self.loads.operations(), dict(self.loads.errors)
        for word, count in self.prober.errors().items():
            self.errors[word] = self.errors.get(word, 0) + count
        self.lost = dict(self.loads.lost)
        for number, count in self.prober.lost().items():
            self.lost[number] = self.lost.get(number, 0) + count
        if self.trouble is None:
            self.check_alive()
            progress(f"  judging {self.operations} operations")
            self.loads.read_all_once_more()
            self.trouble = self.loads.trouble()
        for check in self.checks:
            self.trouble = self.trouble or check()
        for node in self.nodes.running():
            status = node.stop() if node.process.poll() is None else node.process.returncode
            if status != 0 and self.trouble is None:
                self.trouble = f"n{node.number} ended with {status} when asked to stop"

    def _keep(self):
        """Logs, and what clients saw, for whoever looks for the reason."""
        path = os.path.join(KEPT, f"{self.name.replace(' ', '-')}-{int(time.time())}")
        os.makedirs(path, exist_ok=True)
        for node in self.nodes.nodes:
            if hasattr(node, "log_path"):
                shutil.copy(node.log_path, path)
        with open(os.path.join(path, "faults"), "w", encoding="utf-8") as file:
            file.write(f"{self.trouble}\n")
            for fault in self.faults:
                file.write(f"{fault.begin:.4f}..{fault.healed or 0:.4f} {fault.what}\n")
        with open(os.path.join(path, "histories"), "w", encoding="utf-8") as file:
            for key, history in self.loads.histories.items() if self.loads else ():
                for operation in sorted(history, key=lambda op: op.begin):
                    file.write(f"{key} {operation}\n")
        progress(f"  FAILED: {self.trouble}\n  kept in {path}")

    def _end_processes(self):
        for process in self.processes:
            if process.is_alive():
                process.kill()
        self.nodes.__exit__()


def progress(text):
    print(text, flush=True)
