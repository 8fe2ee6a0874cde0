"""wire.py - a small client that shows the bytes: RESP2 requests and replies, and load for crashes.

    with wire.Client(server.port) as client:
        client.call("SET", "k", "v")       # b"OK"; errors are wire.Error

Load is what the durability tests kill servers under: writers that know, for every key, the newest
value a reply has confirmed and the newest they have sent.  A restarted server must show one of the
values between the two.
"""

import json
import re
import socket
import threading

WAIT_S = 60
KEYS = 50                # of one writer
SPREAD = 8               # keys of its MSET, in as many partitions as chance gives
BATCH = 64               # commands in flight


class Error(Exception):
    """An error reply, as a value: its text with the leading minus."""

    def __eq__(self, other):
        return isinstance(other, Error) and self.args == other.args

    __hash__ = Exception.__hash__


def encode(*words):
    words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)


class Client:
    def __init__(self, port, timeout_s=WAIT_S):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout_s)
        self.file = self.socket.makefile("rb")

    def send(self, data):
        self.socket.sendall(data)

    def reply(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("the server closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return None if rest == b"-1" else [self.reply() for _ in range(int(rest))]
        if kind == b"-":
            return Error("-" + rest.decode("utf-8", "replace"))
        if kind not in b"+:":
            raise ValueError(f"not a reply: {line!r}")
        return int(rest) if kind == b":" else rest

    def call(self, *words):
        self.send(encode(*words))
        return self.reply()

    def pipeline(self, commands):
        """Replies to many commands: few enough that neither side has to wait for the other."""
        replies = []
        for at in range(0, len(commands), 500):
            part = commands[at:at + 500]
            self.send(b"".join(encode(*words) for words in part))
            replies += [self.reply() for _ in part]
        return replies

    def rest(self):
        """Everything until the server closes the connection, even when what it had not read made
        the close a reset."""
        pieces = []
        try:
            while piece := self.file.read1(1 << 20):
                pieces.append(piece)
        except ConnectionError:
            pass
        return b"".join(pieces)

    def close(self):
        self.file.close()
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


# -- load --------------------------------------------------------------------------------------


def payload(number):
    """The value of write `number`: unique, of many sizes."""
    return b"%d:" % number + b"v" * (number * 7919 % 300)


class Writer:
    """One connection's writes, numbered across restarts; every key is written by it alone."""

    def __init__(self, name, is_json):
        self.name = name
        self.is_json = is_json
        self.number = 0
        self.sent = {}           # key -> newest number sent
        self.acked = {}          # key -> newest number known to be stored
        self.refused = 0
        self.error = None

    def keys(self, number):
        """Every tenth write is an MSET of all spread keys, the others set one key."""
        if number % 10 == 9:
            return [f"{self.name}:spread:{i}" for i in range(SPREAD)]
        return [f"{self.name}:{number % KEYS}"]

    def request(self, number):
        keys, value = self.keys(number), payload(number)
        words = ["MSET" if len(keys) > 1 else "SET"]
        for key in keys:
            words += [key, value]
        if not self.is_json:
            return encode(*words)
        words = [word.decode() if isinstance(word, bytes) else word for word in words]
        return json.dumps({"type": "CLIENT", "args": words}).encode() + b"\n"

    def is_ok(self, line):
        if self.is_json:
            return b'"OK"' in line
        return line == b"+OK\r\n"

    def run(self, port, stop):
        """Writes until told to stop or the server is gone."""
        try:
            with Client(port) as client:
                while not stop.is_set():
                    self.write_batch(client)
        except OSError:
            pass
        except Exception as error:  # for the test to report
            self.error = error

    def write_batch(self, client):
        numbers = range(self.number, self.number + BATCH)
        self.number += BATCH
        for number in numbers:
            for key in self.keys(number):
                self.sent[key] = number
        client.send(b"".join(map(self.request, numbers)))
        for number in numbers:
            line = client.file.readline()
            if not line.endswith(b"\n"):
                raise ConnectionError("gone")
            if not self.is_ok(line):
                raise AssertionError(f"unexpected reply {line!r}")
            for key in self.keys(number):
                self.acked[key] = number

    def check(self, client):
        """What must be there is there; what is there counts as stored from now on."""
        keys = sorted(self.sent)
        for key, value in zip(keys, client.call("MGET", *keys) if keys else []):
            found = -1
            if value is not None:
                match = re.match(rb"(\d+):", value)
                assert match and payload(int(match[1])) == value, f"{key}: never sent: {value!r}"
                found = int(match[1])
                assert key in self.keys(found), f"{key}: value of another key: {found}"
            acked = self.acked.get(key, -1)
            assert acked <= found <= self.sent[key], \
                f"{key}: found {found}, acknowledged {acked}, sent {self.sent[key]}"
            if found >= 0:
                self.acked[key] = found
        spread = client.call("MGET", *self.keys(9))
        assert len(set(spread)) == 1, f"half an MSET: {spread}"


class Load:
    def __init__(self, resp=3, json_lines=1):
        self.writers = [Writer(f"r{i}", False) for i in range(resp)]
        self.writers += [Writer(f"j{i}", True) for i in range(json_lines)]

    def start(self, port):
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=writer.run, args=(port, self.stop), daemon=True)
                        for writer in self.writers]
        for thread in self.threads:
            thread.start()

    def join(self):
        self.stop.set()
        for thread in self.threads:
            thread.join(WAIT_S)
            assert not thread.is_alive(), "a writer hangs"
        for writer in self.writers:
            if writer.error is not None:
                raise writer.error

    def acknowledged(self):
        return sum(len(writer.acked) for writer in self.writers)

    def check(self, port):
        with Client(port) as client:
            for writer in self.writers:
                writer.check(client)
