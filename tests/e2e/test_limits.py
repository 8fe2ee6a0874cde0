#!/usr/bin/python3
"""What clients cannot do to the server: thousands of connections, unread replies, hostile bytes.

Also what it refuses: strangers without the password, and starts that cannot work.
"""

import os
import resource
import socket
import subprocess
import tempfile
import threading
import time
import unittest

import harness
import wire

WAIT_S = 60
IS_RELEASE = not any(name in os.environ.get("MINIDB", "") for name in ("asan", "tsan", "debug"))


def rss_bytes(server):
    with open(f"/proc/{server.process.pid}/status", encoding="ascii") as status:
        for line in status:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


def descriptors_raise():
    """As many descriptors for this process and its servers as the system allows."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    for wanted in (max(hard, 25000), hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(hard, wanted)))
            return wanted
        except (ValueError, OSError):
            pass
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def close_all(sockets):
    for one in sockets:
        one.close()


class LimitCase(harness.TestCase):
    options = ()

    def setUp(self):
        self.server = harness.Server(*self.options)
        self.addCleanup(self.server.__exit__)

    def start(self):
        self.server.start()
        return self.server

    def assert_serves(self, text="still serves"):
        self.assertIsNone(self.server.process.poll(), self.server.log()[-2000:])
        self.assertEqual(self.server.command("ECHO", text), text.encode())

    def answering(self, clients):
        """Those of the clients whose PING is answered; the others read an error or the end."""
        good = []
        for client in clients:
            try:
                if client.call("PING") == b"PONG":
                    good.append(client)
            except OSError:
                pass
        return good


class Connections(LimitCase):
    def test_idle_connections(self):
        count = min(10000, descriptors_raise() - 500)
        self.server.options += ["--maxclients", "12000"]
        server = self.start()
        before = rss_bytes(server)
        sockets = []
        self.addCleanup(close_all, sockets)
        for _ in range(count):
            sockets.append(socket.create_connection(("127.0.0.1", server.port), WAIT_S))
        sockets[-1].sendall(wire.encode("PING"))         # the last one has been accepted
        self.assertEqual(sockets[-1].recv(100), b"+PONG\r\n")
        grown = rss_bytes(server) - before
        if IS_RELEASE:
            self.assertLess(grown / count, 4096)
        with wire.Client(server.port) as client:
            replies = client.pipeline([("SET", f"k{i}", i) for i in range(1000)])
            self.assertEqual(set(replies), {b"OK"})
        for one in sockets[::100]:
            one.sendall(wire.encode("GET", "k7"))
        for one in sockets[::100]:
            self.assertEqual(one.recv(100), b"$1\r\n7\r\n")
        # Used once, idle again: the buffers have gone back.
        for one in sockets:
            one.sendall(wire.encode("GET", "k7"))
        for one in sockets:
            self.assertEqual(one.recv(100), b"$1\r\n7\r\n")
        if IS_RELEASE:
            self.assertLess((rss_bytes(server) - before) / count, 4096)

    def test_descriptor_limit(self):
        plain = self.server.command_line()
        self.server.command_line = lambda: ["bash", "-c", 'ulimit -n 256; exec "$@"', "-", *plain]
        server = self.start()
        first = [wire.Client(server.port) for _ in range(50)]
        self.assertEqual(len(self.answering(first)), 50)
        more = [wire.Client(server.port, 20) for _ in range(350)]
        served = self.answering(more)
        self.assertGreater(len(served), 50)
        self.assertLess(len(served), 256)
        self.assertEqual(len(self.answering(first)), 50)      # those that were there go on
        with first[0] as client:
            self.assertEqual(client.call("SET", "k", "v"), b"OK")
            self.assertEqual(client.call("SAVE"), b"OK")      # there are descriptors for files
        close_all(first[1:] + more)
        self.eventually_serves(100)

    def eventually_serves(self, count):
        deadline = time.monotonic() + WAIT_S
        while True:
            clients = [wire.Client(self.server.port, 20) for _ in range(count)]
            served = len(self.answering(clients))
            close_all(clients)
            if served == count:
                return
            self.assertLess(time.monotonic(), deadline, f"{served} of {count} are served")
            time.sleep(0.1)

    def test_maxclients(self):
        self.server.options += ["--maxclients", "10"]
        server = self.start()
        time.sleep(0.2)                                       # the harness's probe has left
        clients = [wire.Client(server.port) for _ in range(10)]
        self.assertEqual(len(self.answering(clients)), 10)
        with wire.Client(server.port) as late:
            self.assertEqual(late.rest(), b"-ERR max number of clients reached\r\n")
        self.assertEqual(clients[0].call("CONFIG", "SET", "maxclients", "11"), b"OK")
        self.assertEqual(server.command("PING"), b"PONG")
        close_all(clients)
        self.eventually_serves(10)

    def test_storm(self):
        server = self.start()
        before = rss_bytes(server)
        for i in range(2000):
            one = socket.create_connection(("127.0.0.1", server.port), WAIT_S)
            if i % 3 == 1:
                one.sendall(b"*2\r\n$3\r\nGET\r\n$100\r\nha")  # gone in the middle of a request
            elif i % 3 == 2:
                one.sendall(wire.encode("SET", f"k{i}", "v") * 3)  # gone before the replies
            one.close()
        self.assert_serves()
        self.eventually_one_client()
        if IS_RELEASE:
            self.assertLess(rss_bytes(server) - before, 32 << 20)

    def eventually_one_client(self):
        deadline = time.monotonic() + WAIT_S
        with wire.Client(self.server.port) as client:
            while b"connected_clients:1\r\n" not in client.call("INFO", "clients"):
                self.assertLess(time.monotonic(), deadline, client.call("INFO", "clients"))
                time.sleep(0.05)


class SlowReaders(LimitCase):
    def test_a_million_unread_replies(self):
        """The server stops reading a client that does not read; later every reply comes."""
        rounds = 1000 if IS_RELEASE else 100
        value = b"v" * 1000
        server = self.start()
        self.assertEqual(server.command("SET", "k", value), b"OK")
        client = socket.create_connection(("127.0.0.1", server.port), WAIT_S)
        self.addCleanup(client.close)
        before = rss_bytes(server)
        gets = wire.encode("GET", "k") * 999

        def send():
            for i in range(rounds):
                client.sendall(gets + wire.encode("ECHO", f"{i:06}"))

        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        for _ in range(10):
            time.sleep(0.1)
            with wire.Client(server.port) as other:
                self.assertEqual(other.call("PING"), b"PONG")
                self.assertEqual(other.call("SET", "other", "v"), b"OK")
        if IS_RELEASE:
            self.assertLess(rss_bytes(server) - before, 64 << 20)
        replies = b"$1000\r\n" + value + b"\r\n"
        buffer = bytearray(999 * len(replies) + 12)
        for i in range(rounds):
            self.receive(client, buffer)
            if buffer != replies * 999 + b"$6\r\n%06d\r\n" % i:
                self.fail(f"wrong bytes in round {i}")
        sender.join(WAIT_S)
        self.assertFalse(sender.is_alive())
        if IS_RELEASE:
            self.assertLess(rss_bytes(server) - before, 64 << 20)

    def receive(self, client, buffer):
        view, at = memoryview(buffer), 0
        while at < len(buffer):
            count = client.recv_into(view[at:])
            self.assertGreater(count, 0, "closed")
            at += count

    def test_output_limit(self):
        """A reply that does not fit under the limit ends its connection, and no other."""
        self.server.options += ["--client-output-buffer-limit", "normal 1mb 0 0"]
        server = self.start()
        with wire.Client(server.port) as client, wire.Client(server.port) as other:
            self.assertEqual(client.call("SET", "k", "v" * (4 << 20)), b"OK")
            try:
                client.send(wire.encode("GET", "k") * 20)
            except OSError:
                pass
            time.sleep(0.5)
            self.assertLess(len(client.rest()), 80 << 20)
            self.assertEqual(other.call("PING"), b"PONG")
        self.assert_serves()


class HostileBytes(LimitCase):
    def setUp(self):
        super().setUp()
        self.start()

    def talk(self, *pieces):
        """Everything the server answers until it closes; it has to close."""
        with wire.Client(self.server.port, 20) as client:
            try:
                for piece in pieces:
                    client.send(piece)
            except OSError:
                pass                                          # closed already: fine
            return client.rest()

    def test_lengths(self):
        for text in (b"*1000000000\r\n", b"*99999999999999999999\r\n",
                     b"*1\r\n$-5\r\n", b"*1\r\n$18446744073709551615\r\n", b"*1\r\n$x\r\n",
                     b"*1\r\n$536870912\r\n", b"*1\r\n:5\r\n", b"*2\r\n$3\r\nGET\r\n$9999999\r\n",
                     b"*1\r\n$" + b"1" * 70000, b"*" + b"1" * 70000):
            with self.subTest(text=text[:40]):
                self.assertRegex(self.talk(text), rb"^-ERR Protocol error: .*\r\n$")
                self.assert_serves()

    def test_inline(self):
        self.assertRegex(self.talk(b"GET " + b"x" * (70 << 10)),
                         rb"^-ERR Protocol error: too big inline request\r\n$")
        self.assertRegex(self.talk(b'GET "open\r\n'), rb"^-ERR Protocol error: unbalanced quotes")
        with wire.Client(self.server.port, 20) as client:
            client.send(b"\r\n\n \r\nGET \x00\x01\xff\r\n\x00\x00\r\nPING\r\n")
            self.assertIsNone(client.reply())
            self.assertRegex(str(client.reply()), "^-ERR unknown command")
            self.assertEqual(client.reply(), b"PONG")
        self.assert_serves()

    def test_json(self):
        with wire.Client(self.server.port, 20) as client:
            for text in (b"{" + b'"a":{' * (64 << 10), b'{"args":' + b"[" * (64 << 10),
                         b'{"args":["GET","\xff\xfe"]}', b'{"args":["GET","\\ud800"]}', b"{",
                         b'{"args":[]}', b'{"args":[1e999]}', b"{}", b'{"command":"GET \\"x"}',
                         b'{"type":"NOSUCH","args":["PING"]}', b'{"args":["GET",{"base64":"*"}]}'):
                client.send(text + b"\n")
                line = client.file.readline()
                self.assertIn(b"rror", line, text[:60])
                self.assertTrue(line.endswith(b"\n"), text[:60])
            client.send(b'{"type":"CLIENT","args":["PING"]}\n')
            self.assertIn(b"PONG", client.file.readline())
        self.assertIn(b"rror", self.talk(b'{"args":["SET","k","', b"x" * (9 << 20), b'"]}\n'))
        self.assert_serves()

    def test_value_over_the_limit(self):
        value = b"x" * (9 << 20)
        self.assertRegex(self.talk(wire.encode("SET", "k", value)), rb"^-ERR .*\r\n$")
        self.assertIsNone(self.server.command("GET", "k"))
        value = b"x" * ((8 << 20) - 100)
        self.assertEqual(self.server.command("SET", "k", value), b"OK")
        self.assertEqual(self.server.command("GET", "k"), value)
        self.assertRegex(self.server.command("APPEND", "k", b"y" * 1000), rb"^-ERR ")
        self.assertEqual(self.server.command("STRLEN", "k"), len(value))
        self.assertRegex(self.server.command("SET", b"k" * (65 << 10), "v"), rb"^-ERR ")
        self.assert_serves()

    def test_byte_by_byte(self):
        with wire.Client(self.server.port, 20) as client:
            client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for i, byte in enumerate(wire.encode("SET", "slow", "v" * 100)):
                client.send(bytes([byte]))
                if i % 10 == 0:
                    self.assert_serves()
            self.assertEqual(client.reply(), b"OK")
            for byte in b'{"type":"CLIENT","args":["GET","slow"]}\n':
                client.send(bytes([byte]))
        with wire.Client(self.server.port, 20) as client:
            for byte in b'{"type":"CLIENT","args":["GET","slow"]}\n':
                client.send(bytes([byte]))
            self.assertIn(b"v" * 100, client.file.readline())

    def test_many_unfinished_requests(self):
        """Announced sizes cost nothing; only bytes that came do."""
        before = rss_bytes(self.server)
        clients = [wire.Client(self.server.port) for _ in range(500)]
        for client in clients:
            client.send(b"*1000000\r\n$8000000\r\nabc")
        self.assert_serves()
        if IS_RELEASE:
            self.assertLess(rss_bytes(self.server) - before, 32 << 20)
        close_all(clients)
        self.assert_serves()


class Password(LimitCase):
    options = ("--requirepass", "secret")

    def setUp(self):
        super().setUp()
        self.start()

    def test_only_auth_before_auth(self):
        allowed = {b"auth", b"hello", b"quit", b"reset"}
        with wire.Client(self.server.port) as client, wire.Client(self.server.port) as stranger:
            self.assertEqual(client.call("AUTH", "secret"), b"OK")
            infos = client.call("COMMAND")
            self.assertGreater(len(infos), 50)
            for name, arity in ((info[0], info[1]) for info in infos):
                if name in allowed:
                    continue
                reply = stranger.call(name, *["1"] * (abs(arity) - 1))
                self.assertEqual(str(reply), "-NOAUTH Authentication required.", name)
            self.assertRegex(str(stranger.call("HELLO", "3")), "^-NOAUTH")
            self.assertRegex(str(stranger.call("AUTH", "wrong")), "^-WRONGPASS")
            self.assertRegex(str(stranger.call("DBSIZE")), "^-NOAUTH")
            self.assertEqual(stranger.call("AUTH", "default", "secret"), b"OK")
            self.assertEqual(stranger.call("DBSIZE"), 0)
            self.assertEqual(stranger.call("QUIT"), b"OK")
        self.assertIsInstance(self.server.command("SET", "k", "v"), bytes)
        with wire.Client(self.server.port) as client:
            self.assertEqual(client.call("QUIT"), b"OK")

    def test_little_is_held_for_strangers(self):
        for text in (b"*1\r\n$536870912\r\n", b"*11\r\n", b"*2\r\n$3\r\nSET\r\n$20000\r\n"):
            with wire.Client(self.server.port, 20) as client:
                client.send(text)
                self.assertRegex(client.rest(),
                                 rb"^-ERR Protocol error: (unauthenticated|invalid bulk) ", text)
        with wire.Client(self.server.port, 20) as client:
            client.send(b'{"type":"CLIENT","args":["GET","k"]}\n')
            self.assertIn(b"NOAUTH", client.file.readline())
        with wire.Client(self.server.port, 20) as client:
            client.call("AUTH", "secret")
            self.assertEqual(client.call("SET", "k", "v" * 100000), b"OK")


class Starts(harness.TestCase):
    """A start that cannot work says why in one line, and what to do instead."""

    def setUp(self):
        self.home = tempfile.TemporaryDirectory(prefix="minidb-starts-")
        self.addCleanup(self.home.cleanup)

    def refused(self, status, *words, run_as=()):
        result = subprocess.run([*run_as, harness.MINIDB, *words], capture_output=True, text=True,
                                timeout=WAIT_S, stdin=subprocess.DEVNULL, check=False,
                                cwd=self.home.name)
        self.assertEqual(result.returncode, status, (words, result.stderr))
        lines = [line for line in result.stderr.splitlines() if not line.startswith("time=")]
        self.assertEqual(len(lines), 1, (words, result.stderr))
        self.assertRegex(lines[0], "^minidb: ")
        self.assertEqual(result.stdout, "")
        return lines[0]

    def test_port_in_use(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            line = self.refused(1, "--port", port, "--data-dir", "data")
            self.assertIn(port, line)
            self.assertIn("Address already in use", line)

    def test_usage(self):
        line = self.refused(2, "--portt", "7001")
        self.assertIn("--portt", line)
        self.assertIn("did you mean", line)
        self.assertIn("--port", line)
        self.assertIn("--port", self.refused(2, "--port", "x"))
        self.assertIn("--port", self.refused(2, "--port", "70000"))
        self.assertIn("--port", self.refused(2, "--port"))
        self.assertIn("appendfsync", self.refused(2, "--appendfsync", "sometimes"))
        self.assertIn("partitions", self.refused(2, "--partitions", "100"))

    def test_file(self):
        path = os.path.join(self.home.name, "minidb.conf")
        with open(path, "w", encoding="utf-8") as file:
            file.write("port 7001\nappendfsyn always\n")
        self.assertRegex(self.refused(1, path), r"minidb\.conf:2: .*did you mean.*appendfsync")
        self.assertIn("No such file", self.refused(1, "missing.conf"))

    def test_data_directory(self):
        path = os.path.join(self.home.name, "file")
        with open(path, "w", encoding="utf-8") as file:
            file.write("in the way")
        port = str(harness.free_port())
        self.assertIn("file", self.refused(1, "--port", port, "--data-dir", path))
        self.assertIn("file", self.refused(1, "--port", port, "--data-dir", path + "/data"))
        self.assertIn("/proc/nosuch", self.refused(1, "--port", port, "--data-dir",
                                                   "/proc/nosuch/data"))

    def test_open_to_the_world(self):
        port = str(harness.free_port())
        line = self.refused(1, "--port", port, "--host", "0.0.0.0", "--data-dir", "data")
        self.assertIn("requirepass", line)
        server = harness.Server("--host", "0.0.0.0", "--requirepass", "secret")
        with server:
            self.assertRegex(server.command("GET", "k"), b"^-NOAUTH")


if __name__ == "__main__":
    harness.main()
