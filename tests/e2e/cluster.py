"""cluster.py - real three-node clusters for the end-to-end tests, and a mixed load through every
node whose histories are judged (history.py).

    with cluster.Cluster(3) as nodes:
        load = cluster.Load(nodes, seconds=5)
        load.start()
        nodes[0].kill()
        nodes[0].start()
        load.join()
        load.check(self)          # linearizable, counters exact

The load records, for every operation, when it was sent and when its answer came.  An answer that
says NOQUORUM is definite: the write must never show.  UNKNOWN, or a connection that broke, leaves
the write open: it may take effect at any later time, or never.
"""
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

import harness
from history import INFINITY, Operation, judge

START_S = 60
# How an answer of a node that starts or dies may fail.
FAILURES = (OSError, EOFError, ValueError, KeyError, TypeError)
LOST = "UNKNOWN connection lost"     # instead of a reply


def await_true(what, condition, within_s=harness.WAIT_S):
    """harness.await_true, of nodes that start and die meanwhile; what all say of all is long."""
    harness.await_true(what, condition, within_s, despite=FAILURES, pause_s=0.1)


class Node:
    host = "127.0.0.1"

    def __init__(self, cluster, number):
        self.cluster, self.number = cluster, number
        self.port, self.cluster_port = harness.free_port(), harness.free_port()
        self.slot_port = harness.free_port() if cluster.has_slot_ports else 0
        self.directory = os.path.join(cluster.directory, f"n{number}")
        self.options = []       # of this node alone
        self.process = None

    def command_line(self):
        line = [harness.MINIDB, "--node-id", f"n{self.number}", "--port", str(self.port),
                "--cluster-port", str(self.cluster_port), "--data-dir", self.directory,
                *self.cluster.options, *self.options]
        if self.slot_port:
            line += ["--slot-port", str(self.slot_port)]
        if self.number > 1:
            line += ["--seed", f"{self.cluster.nodes[0].host}:{self.cluster.nodes[0].cluster_port}"]
        return line

    def start(self, wait=True):
        self.log_path = os.path.join(self.cluster.directory, f"n{self.number}.log")
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.command_line(), stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log)
        if wait:
            self.wait_serving()

    def wait_serving(self):
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"n{self.number} ended: {self.log()[-2000:]}")
            try:
                if self.command("PING") == "PONG":
                    return
            except (OSError, EOFError):
                time.sleep(0.02)
        raise RuntimeError(f"n{self.number} does not serve: {self.log()[-2000:]}")

    def log(self):
        with open(self.log_path, "rb") as log:
            return log.read().decode("utf-8", "replace")

    def signal(self, what):
        self.process.send_signal(what)

    def kill(self):
        self.process.kill()
        self.process.wait(30)

    def stop(self):
        self.process.terminate()
        return self.process.wait(60)

    def command(self, *arguments, timeout_s=10):
        with Connection(self, timeout_s) as connection:
            return connection.command(*arguments)

    def json(self, request, timeout_s=10):
        with socket.create_connection((self.host, self.port), timeout_s) as connection:
            connection.sendall(json.dumps(request).encode() + b"\n")
            return json.loads(connection.makefile("rb").readline())


class Error(str):
    """An error reply."""


class Connection:
    """RESP2, one request at a time."""

    def __init__(self, node, timeout_s=10, port=None):
        self.socket = socket.create_connection((node.host, port or node.port), timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.file.close()
        self.socket.close()

    def send(self, *arguments):
        parts = [str(a).encode() for a in arguments]
        self.socket.sendall(b"*%d\r\n" % len(parts) +
                            b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts))

    def command(self, *arguments):
        self.send(*arguments)
        return self.reply()

    def reply(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise EOFError
        kind, rest = line[:1], line[1:-2].decode()
        if kind == b"+":
            return rest
        if kind == b"-":
            return Error(rest)
        if kind == b":":
            return int(rest)
        if kind == b"$":
            size = int(rest)
            if size < 0:
                return None
            data = self.file.read(size + 2)
            if len(data) != size + 2:
                raise EOFError
            return data[:-2].decode()
        if kind == b"*":
            return [self.reply() for _ in range(int(rest))]
        raise ValueError(line)


class Cluster:
    """spare: nodes more than that, which clients know and which somebody else starts, or never."""

    def __init__(self, count, *options, has_slot_ports=False, spare=0):
        self.directory = tempfile.mkdtemp(prefix="minidb-cluster-")
        self.options = list(options)
        self.has_slot_ports = has_slot_ports
        self.nodes = []
        for number in range(1, count + spare + 1):
            self.nodes.append(self.make_node(number))
        self.spare = spare

    def make_node(self, number):
        return Node(self, number)

    def running(self):
        """Those that have been started and have not left."""
        return [node for node in self.nodes if node.process is not None]

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for node in self.nodes:
            if node.process is not None and node.process.poll() is None:
                node.signal(signal.SIGCONT)
                node.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __getitem__(self, at):
        return self.nodes[at]

    def start(self):
        for node in self.nodes[:len(self.nodes) - self.spare]:
            node.start()
        self.wait_settled()

    def wait_settled(self, timeout_s=60):
        """Until every partition has a leader, all its voters and no learner, and all nodes lead
        some; returns how many each leads."""
        copies = 3
        if "--replication-factor" in self.options:
            copies = int(self.options[self.options.index("--replication-factor") + 1])
        copies = min(copies, len(self.running()))
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            try:
                shards = self.nodes[0].json({"type": "CLUSTER", "command": "SHARDS"})["data"]
                leaders = [shard["leader"] for shard in shards]
                roles = [[one["role"] for one in shard["replicas"]] for shard in shards]
                spread = {leader: leaders.count(leader) for leader in set(leaders)}
                if (None not in spread and len(spread) == len(self.running())
                        and all(len(role) == copies and "learner" not in role for role in roles)):
                    return spread
            except (OSError, ValueError, KeyError, TypeError):
                pass
            time.sleep(0.1)
        raise RuntimeError("the cluster did not settle:\n" + self.nodes[0].log()[-3000:])

    def wait_steady(self, timeout_s=60):
        """Until nothing is to be moved any more: leaders stay where they are unless one is lost."""
        def is_even():
            spread = self.wait_settled(timeout_s)
            even = sum(spread.values()) / len(spread)
            return max(spread.values()) <= even * 1.06 + 1 or f"leaders: {spread}"
        await_true("leadership is spread", is_even, timeout_s)

    def leader_of(self, key, asked=None):
        """The node that leads a key's partition."""
        for node in [asked] if asked else self.nodes:
            try:
                found = node.json({"type": "CLUSTER", "command": f"LEADER {key}"})["data"]
                if found.get("leader"):
                    return self.nodes[int(found["leader"][1:]) - 1]
            except (OSError, ValueError, KeyError):
                pass
        return None


# ── load ──────────────────────────────────────────────────────────────────────────────────────────

class JsonConnection:
    """JSON lines, one request at a time; the shape of Connection."""

    def __init__(self, node, timeout_s=10):
        self.socket = socket.create_connection((node.host, node.port), timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")

    def close(self):
        self.file.close()
        self.socket.close()

    def ask(self, request):
        self.socket.sendall(json.dumps(request).encode() + b"\n")
        line = self.file.readline()
        if not line.endswith(b"\n"):
            raise EOFError
        return json.loads(line)

    def command(self, *arguments):
        answer = self.ask({"type": "CLIENT", "args": list(arguments)})
        return answer["data"] if answer["success"] else Error(answer["error"])


class Load:
    """Clients that read and write a few keys, each over a node of its own (and another one when
    that is gone), every other one in JSON; and clients that count, exactly once, over JSON.

    Runs for so many seconds, or until `stopped` (an Event of threading or multiprocessing) is set.
    `name` tells the values of one load from those of another with the same keys.  After `stay`
    requests a client goes on to another node.

    `errors` counts error replies by their first word; LOST: the connection broke or no answer came
    in time, once for each request under way, at the node that `lost` names."""

    def __init__(self, cluster, seconds=None, clients=8, keys=12, counters=3, pause_s=0.002,
                 seed=1, name="", stopped=None, timeout_s=10, stay=INFINITY):
        self.cluster, self.seconds, self.pause_s, self.stay = cluster, seconds, pause_s, stay
        self.name, self.timeout_s = name, timeout_s
        self.stopped = stopped or threading.Event()
        self.keys = [f"key:{i}" for i in range(keys)]
        self.histories = {key: [] for key in self.keys}
        self.counted = {}
        self.errors = {}
        self.lost = {}       # number of a node -> how often
        self.gaps = []       # seconds without any acknowledged write, of each client
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self._guard, args=(self._registers, i, seed))
                        for i in range(clients)]
        self.threads += [threading.Thread(target=self._guard, args=(self._counter, i, seed))
                         for i in range(counters)]
        self.failure = None

    def start(self):
        self.until = time.monotonic() + self.seconds if self.seconds else INFINITY
        for thread in self.threads:
            thread.start()

    def join(self):
        if not self.seconds:
            self.stopped.wait()
        for thread in self.threads:
            thread.join((self.seconds or 0) + 120)
            if thread.is_alive():
                raise RuntimeError("a client hangs")
        if self.failure:
            raise self.failure

    def _runs(self):
        return time.monotonic() < self.until and not self.stopped.is_set()

    def _guard(self, run, number, seed):
        try:
            run(number, random.Random(seed * 1000 + number))
        except BaseException as failure:  # pylint: disable=broad-except
            self.failure = failure

    def _connect(self, at, kind):
        """A connection to the at-th node, or to the next that takes one; and that node."""
        while self._runs():
            for i in range(len(self.cluster.nodes)):
                node = self.cluster.nodes[(at + i) % len(self.cluster.nodes)]
                try:
                    return kind(node, self.timeout_s), node
                except OSError:
                    pass
            time.sleep(0.01)
        return None, None

    def _note_error(self, text):
        with self.lock:
            word = first_word(text)
            self.errors[word] = self.errors.get(word, 0) + 1

    def _note_lost(self, node):
        with self.lock:
            self.lost[node.number] = self.lost.get(node.number, 0) + 1

    def _registers(self, number, rng):
        connection, node, at, count = None, None, number, 0
        kind = Connection if number % 2 == 0 else JsonConnection
        last_ok = time.monotonic()
        worst = 0.0
        while self._runs():
            if connection is not None and count % self.stay == self.stay - 1:
                connection.close()
                connection, at = None, at + 1
            if connection is None:
                connection, node = self._connect(at, kind)
            if connection is None:
                break
            key = rng.choice(self.keys)
            is_write = rng.random() < 0.5
            count += 1
            value = f"{self.name}{number}-{count}"
            begin = time.monotonic()
            try:
                answer = (connection.command("SET", key, value) if is_write
                          else connection.command("GET", key))
            except (OSError, EOFError):
                connection.close()
                connection, at = None, at + 1
                answer = Error(LOST)
                self._note_lost(node)
            end = time.monotonic()
            if isinstance(answer, Error):
                self._note_error(answer)
            if is_write and answer == "OK":
                worst, last_ok = max(worst, end - last_ok), end
            operation = observed(begin, end, is_write, value, answer)
            if operation:
                with self.lock:
                    self.histories[key].append(operation)
            time.sleep(self.pause_s)
        with self.lock:
            self.gaps.append(worst)
        if connection is not None:
            connection.close()

    def _counter(self, number, rng):
        """Increments over JSON with client and seq, repeated at any node until it is answered."""
        name, seq = f"counter:{self.name}{number}", 0
        while self._runs():
            seq += 1
            request = {"type": "CLIENT", "command": f"INCR {name}",
                       "client": f"c{self.name}{number}", "seq": seq}
            deadline = time.monotonic() + 60
            while True:
                if time.monotonic() > deadline:
                    raise RuntimeError(f"INCR {name} seq {seq} was not answered in 60 s")
                try:
                    answer = rng.choice(self.cluster.nodes).json(request, timeout_s=3)
                    if answer.get("success"):
                        if answer["data"] != seq:
                            raise RuntimeError(f"INCR {name} seq {seq} answered {answer}")
                        break
                    self._note_error(answer.get("error", "?"))
                except (OSError, ValueError):
                    pass
                time.sleep(0.01)
            time.sleep(self.pause_s)
        with self.lock:
            self.counted[name] = seq

    def trouble(self):
        """What is wrong with what the clients saw; None: nothing."""
        for key, history in self.histories.items():
            wrong = judge(history)
            if wrong:
                return f"{key}: {wrong} ({len(history)} operations)"
        for name, seq in self.counted.items():
            answer = ask_until(self.cluster, "GET", name)
            if int(answer) != seq:
                return f"{name} is {answer}, {seq} increments were answered"
        return None

    def check(self, test):
        """Fails the test when a history is not linearizable or a counter is not exact."""
        trouble = self.trouble()
        test.assertIsNone(trouble, trouble)

    def operations(self):
        return sum(len(history) for history in self.histories.values())


def first_word(text):
    """Of an error reply; LOST when there was none."""
    return "LOST" if text == LOST else text.split()[0]


def observed(begin, end, is_write, value, answer):
    """What an answer says about a SET of `value` or about a GET; None: nothing."""
    if not isinstance(answer, Error):
        return Operation(begin, end, "SET" if is_write else "GET", value if is_write else answer)
    if not is_write:
        return None
    is_definite = not answer.startswith("UNKNOWN")
    return Operation(begin, end if is_definite else INFINITY, "NOT" if is_definite else "SET",
                     value)


def ask_until(cluster, *arguments, timeout_s=30):
    """The first answer of any node that is no error."""
    return _ask_until(cluster.nodes, arguments, timeout_s)


def ask_until_node(node, *arguments, timeout_s=30):
    return _ask_until([node], arguments, timeout_s)


def _ask_until(nodes, arguments, timeout_s):
    deadline = time.monotonic() + timeout_s
    answer = None
    while time.monotonic() < deadline:
        for node in nodes:
            try:
                answer = node.command(*arguments)
                if not isinstance(answer, Error):
                    return answer
            except (OSError, EOFError):
                pass
        time.sleep(0.05)
    raise RuntimeError(f"{arguments}: {answer}")
