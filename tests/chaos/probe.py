"""probe.py - how long a client's writes stand still while something goes wrong.

A probe is a client that writes one key, over and over, one request at a time with a short pause.
Its connection stays with one node; when that breaks, or an answer takes longer than TIMEOUT_S, the
probe goes to the next node at once, as a good client library does.  Now and then it reads, so that
its history can be judged.

All probes run in one process of their own with one thread, so that what they measure is the
server's waiting and not Python's.  What they see arrives here in batches.
"""
import bisect
import multiprocessing
import selectors
import socket
import threading
import time

import cluster as cluster_module
from history import INFINITY

PAUSE_S = 0.01       # between an answer and the next request: the resolution of an outage
TIMEOUT_S = 1.0      # a client's patience
BATCH_S = 0.2
READ_EVERY = 10


class Seen:
    """One request and what became of it."""
    __slots__ = ("probe", "node", "begin", "end", "is_write", "value", "answer")

    def __init__(self, *values):
        for name, value in zip(self.__slots__, values):
            setattr(self, name, value)

    def __reduce__(self):
        return Seen, tuple(getattr(self, name) for name in self.__slots__)


class Probe:
    """The client's state machine, driven by run_probes."""

    def __init__(self, number, key, ports, node, selector, seen):
        self.number, self.key, self.ports, self.node = number, key, ports, node
        self.selector, self.seen = selector, seen
        self.socket, self.buffer = None, b""
        self.begin = None            # when the request under way was sent; None: none is
        self.next_at = time.monotonic()
        self.count = 0

    def deadline(self):
        return self.next_at if self.begin is None else self.begin + TIMEOUT_S

    def step(self, now):
        if self.begin is not None and now >= self.begin + TIMEOUT_S:
            self.fail("UNKNOWN the client's patience is over")
        elif self.begin is None and now >= self.next_at:
            self.send(now)

    def send(self, now):
        try:
            if self.socket is None:
                address = ("127.0.0.1", self.ports[self.node])
                self.socket = socket.create_connection(address, TIMEOUT_S)
                self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.socket.setblocking(False)
                self.selector.register(self.socket, selectors.EVENT_READ, self)
        except OSError:
            self.node = (self.node + 1) % len(self.ports)
            self.next_at = now + PAUSE_S
            return
        self.count += 1
        self.is_write = self.count % READ_EVERY != 0
        self.value = f"p{self.number}-{self.count}"
        words = ("SET", self.key, self.value) if self.is_write else ("GET", self.key)
        self.begin = time.monotonic()
        try:
            self.socket.sendall(b"*%d\r\n" % len(words) + b"".join(
                b"$%d\r\n%s\r\n" % (len(w), w.encode()) for w in words))
        except OSError:
            self.fail(cluster_module.LOST)

    def on_readable(self):
        try:
            data = self.socket.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.fail(cluster_module.LOST)
            return
        self.buffer += data
        line, ends, rest = self.buffer.partition(b"\r\n")
        if not ends:
            return
        if line[:1] == b"$" and line != b"$-1":
            size = int(line[1:])
            if len(rest) >= size + 2:
                self.answered(rest[:size].decode())
        elif line == b"$-1":
            self.answered(None)
        else:
            text = line[1:].decode()
            self.answered(cluster_module.Error(text) if line[:1] == b"-" else text)

    def answered(self, answer):
        self.buffer = b""
        self.note(answer)

    def note(self, answer):
        now = time.monotonic()
        if self.begin is not None:
            self.seen.append(Seen(self.number, self.node, self.begin, now, self.is_write,
                                  self.value, answer))
        self.begin, self.next_at = None, now + PAUSE_S

    def fail(self, text):
        self.note(cluster_module.Error(text))
        self.selector.unregister(self.socket)
        self.socket.close()
        self.socket, self.buffer = None, b""
        self.node = (self.node + 1) % len(self.ports)
        self.next_at = time.monotonic()


def run_probes(keys, ports, stopped, queue):
    """The probes' process.  keys: of each probe its key and the node it begins with."""
    selector, seen = selectors.DefaultSelector(), []
    probes = [Probe(i, key, ports, node, selector, seen) for i, (key, node) in enumerate(keys)]
    sent_at = time.monotonic()
    while not stopped.is_set():
        now = time.monotonic()
        for probe in probes:
            probe.step(now)
        until = min(min(p.deadline() for p in probes), now + 0.05)
        for key, _ in selector.select(max(0.0, until - time.monotonic())):
            key.data.on_readable()
        if now - sent_at > BATCH_S:
            queue.put((now, list(seen)))
            seen.clear()
            sent_at = now
    for probe in probes:
        if probe.begin is not None:
            probe.note(cluster_module.Error("UNKNOWN the probe stopped"))
    queue.put((INFINITY, list(seen)))


class Prober:
    """The probes, from outside."""

    def __init__(self, keys, ports):
        context = multiprocessing.get_context("fork")
        self.keys = keys
        self.stopped, self.queue = context.Event(), context.Queue()
        self.process = context.Process(target=run_probes, daemon=True,
                                       args=(keys, ports, self.stopped, self.queue))
        self.seen = [[] for _ in keys]   # of each probe, in order
        self.seen_until = 0.0            # all that happened before has arrived
        self.process.start()
        self.taker = threading.Thread(target=self._take, daemon=True)
        self.taker.start()

    def _take(self):
        while self.seen_until < INFINITY:
            until, batch = self.queue.get()
            for seen in batch:
                self.seen[seen.probe].append(seen)
            self.seen_until = until

    def stop(self):
        self.stopped.set()
        self.taker.join(60)
        self.process.join(30)
        if self.seen_until < INFINITY:
            raise RuntimeError("the probes hang")

    def longest_wait(self, since, until, without_node=None):
        """The longest time that some probe waited for an acknowledged write, of the waits that
        began between these moments; without the probes that used a node at the beginning."""
        deadline = time.monotonic() + 30
        while self.seen_until < until and time.monotonic() < deadline:
            time.sleep(0.01)
        return max((self._wait_of(seen, since, until) for seen in self.seen
                    if self._node_at(seen, since) != without_node), default=0.0)

    @staticmethod
    def _node_at(seen, moment):
        at = bisect.bisect_right(seen, moment, key=lambda s: s.end)
        return seen[at - 1].node if at > 0 else -1

    @staticmethod
    def _wait_of(seen, since, until):
        worst, last = 0.0, since
        for at in range(bisect.bisect_right(seen, since, key=lambda s: s.end), len(seen)):
            s = seen[at]
            if not s.is_write or s.answer != "OK":
                continue
            worst, last = max(worst, s.end - last), s.end
            if last >= until:
                return worst
        return max(worst, until - last)

    def errors(self):
        """Error replies by their first word."""
        words = {}
        for seen in self.seen:
            for one in seen:
                if isinstance(one.answer, cluster_module.Error):
                    word = cluster_module.first_word(one.answer)
                    words[word] = words.get(word, 0) + 1
        return words

    def lost(self):
        """At which nodes connections broke: number -> how often."""
        counts = {}
        for seen in self.seen:
            for one in seen:
                if one.answer == cluster_module.LOST:
                    counts[one.node + 1] = counts.get(one.node + 1, 0) + 1
        return counts

    def histories(self):
        """For the judge: key -> operations."""
        found = {}
        for (key, _), seen in zip(self.keys, self.seen):
            operations = (cluster_module.observed(s.begin, s.end, s.is_write, s.value, s.answer)
                          for s in seen)
            found.setdefault(key, []).extend(op for op in operations if op)
        return found
