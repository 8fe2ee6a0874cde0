"""load.py - the mixed load of tests/e2e/cluster.py in processes of its own, and one verdict.

Its clients (RESP and JSON, through every node) read and write the same few keys from several
processes; their clocks are one (CLOCK_MONOTONIC), so their histories can be put together.
"""
import multiprocessing
import time

import cluster as cluster_module
from history import Operation, judge

PROCESSES = 2
CLIENTS = 6
COUNTERS = 2
KEYS = 12
PAUSE_S = 0.01


def run_load(nodes, number, stopped, pipe, stay):
    load = cluster_module.Load(nodes, clients=CLIENTS, counters=COUNTERS, keys=KEYS,
                               name=f"{number}.", pause_s=PAUSE_S, seed=number + 1,
                               stopped=stopped, timeout_s=8, stay=stay)
    load.start()
    trouble = None
    try:
        load.join()
    except RuntimeError as failure:
        trouble = str(failure)
    pipe.send((load.histories, load.counted, load.errors, load.lost, trouble))
    pipe.close()


class Loads:
    def __init__(self, nodes, stay):
        context = multiprocessing.get_context("fork")
        self.nodes, self.stopped = nodes, context.Event()
        self.histories, self.counted, self.errors, self.failure = {}, {}, {}, None
        self.lost = {}
        self.processes = []
        for number in range(PROCESSES):
            here, there = context.Pipe(duplex=False)
            process = context.Process(target=run_load, daemon=True,
                                      args=(nodes, number, self.stopped, there, stay))
            process.start()
            there.close()
            self.processes.append((process, here))

    def stop(self):
        self.stopped.set()
        for process, pipe in self.processes:
            if not pipe.poll(150):
                raise RuntimeError("the load hangs")
            histories, counted, errors, lost, failure = pipe.recv()
            process.join(30)
            for key, history in histories.items():
                self.histories.setdefault(key, []).extend(history)
            self.counted.update(counted)
            for word, count in errors.items():
                self.errors[word] = self.errors.get(word, 0) + count
            for node, count in lost.items():
                self.lost[node] = self.lost.get(node, 0) + count
            self.failure = self.failure or failure

    def operations(self):
        return sum(len(history) for history in self.histories.values())

    def read_all_once_more(self):
        """What every node says at the end belongs to the histories."""
        for key, history in self.histories.items():
            for node in self.nodes.running():
                begin = time.monotonic()
                answer = cluster_module.ask_until_node(node, "GET", key)
                history.append(Operation(begin, time.monotonic(), "GET", answer))

    def trouble(self):
        """What is wrong with what the clients saw; None: nothing."""
        if self.failure:
            return self.failure
        for key, history in self.histories.items():
            wrong = judge(history)
            if wrong:
                return f"{key}: {wrong} ({len(history)} operations)"
        for name, seq in self.counted.items():
            answer = cluster_module.ask_until(self.nodes, "GET", name)
            if int(answer or 0) != seq:
                return f"{name} is {answer}, but {seq} increments were answered"
        return self._diverging()

    def _diverging(self, timeout_s=20):
        """A key that some node keeps having another value of; every node is asked for its own."""
        deadline = time.monotonic() + timeout_s
        for key in self.histories:
            while True:
                own = [node.json({"type": "CLIENT", "command": f"GET {key}", "consistency": "ANY"})
                       .get("data") for node in self.nodes.running()]
                if len(set(own)) == 1:
                    break
                if time.monotonic() > deadline:
                    return f"{key} differs between the nodes: {own}"
                time.sleep(0.1)
        return None
