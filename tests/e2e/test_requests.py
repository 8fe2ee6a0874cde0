#!/usr/bin/python3
"""A request's way through the server: what is kept and run later, and what is recorded of it."""

import time
import unittest

import harness
import wire

HELD_MAX = 4096              # requests the server keeps before it stops reading (PIPELINE_HELD_MAX)


def info(client, section):
    lines = client.call("INFO", section).decode().splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def command_stats(client, name):
    """calls, rejected_calls and failed_calls of one command."""
    line = info(client, "commandstats").get(f"cmdstat_{name}", "")
    fields = dict(field.split("=") for field in line.split(",") if field)
    return tuple(int(fields.get(key, 0)) for key in ("calls", "rejected_calls", "failed_calls"))


class Later(harness.TestCase):
    """Requests that cannot run at once run as soon as they may, in their order."""

    def test_a_barrier_ends_without_other_traffic(self):
        """A conditional write over two partitions waits for the writes before it, and nothing but
        the log's own progress wakes it up: the housekeeping of hz 1 would take a second each."""
        rounds = 40
        for policy in (("--appendonly", "no"), ("--appendfsync", "no"),
                       ("--appendfsync", "always")):
            with harness.Server("--hz", "1", *policy) as server, wire.Client(server.port) as client:
                begin = time.monotonic()
                for i in range(rounds):
                    words = [("SET", f"a{i}", i), ("SET", f"x{i}", "y"),
                             ("RENAME", f"a{i}", f"b{i}"), ("SET", f"z{i}", "y"),
                             ("COPY", f"b{i}", f"c{i}"), ("GET", f"c{i}")]
                    client.send(b"".join(wire.encode(*command) for command in words))
                    self.assertEqual([client.reply() for _ in words],
                                     [b"OK", b"OK", b"OK", b"OK", 1, b"%d" % i])
                self.assertLess(time.monotonic() - begin, rounds / 2, policy)

    def test_more_kept_than_are_kept_at_most(self):
        """Behind CLIENT PAUSE WRITE one connection has sent far more writes than are kept."""
        count = HELD_MAX * 2 + 100
        with harness.Server() as server:
            with wire.Client(server.port) as admin, wire.Client(server.port) as client, \
                    wire.Client(server.port) as other:
                self.assertEqual(admin.call("CLIENT", "PAUSE", 2000, "WRITE"), b"OK")
                client.send(wire.encode("INCR", "n") * count + wire.encode("GET", "n"))
                other.send(wire.encode("APPEND", "s", "x") * 100)
                self.assertEqual([client.reply() for _ in range(count)],
                                 list(range(1, count + 1)))
                self.assertEqual(client.reply(), b"%d" % count)
                self.assertEqual([other.reply() for _ in range(100)], list(range(1, 101)))
                self.assertEqual(admin.call("PING"), b"PONG")

    def test_unpause_releases(self):
        count = HELD_MAX - 10
        with harness.Server() as server:
            with wire.Client(server.port) as admin, wire.Client(server.port) as client:
                self.assertEqual(admin.call("CLIENT", "PAUSE", 600000, "WRITE"), b"OK")
                client.send(wire.encode("INCR", "n") * count)
                self.assertIsNone(admin.call("GET", "n"))
                self.assertEqual(admin.call("CLIENT", "UNPAUSE"), b"OK")
                self.assertEqual([client.reply() for _ in range(count)],
                                 list(range(1, count + 1)))


class Records(harness.TestCase):
    def test_the_slow_log_shows_what_was_typed(self):
        typed = [["sEt", "k", "v"], ["Set", "k", "v", "ex", "100"], ["SETEX", "k", "100", "v"],
                 ["mSet", *(f"k{i}" for i in range(20))], ["gEt", "k"], ["del", "k", "k0", "k2"],
                 ["Rename", "k4", "k7"], ["exPire", "k6", "100"],
                 ["mset", *(str(i) for i in range(40))]]
        with harness.Server("--slowlog-log-slower-than", "0") as server:
            with wire.Client(server.port) as client:
                for words in typed:
                    self.assertNotIsInstance(client.call(*words), wire.Error)
                client.send(b"".join(wire.encode(*words) for words in typed))
                for _ in typed:
                    client.reply()
                shown = [entry[3] for entry in reversed(client.call("SLOWLOG", "GET", 100))]
        typed[-1] = typed[-1][:31] + ["... (10 more arguments)"]
        typed *= 2
        wanted = [[word.encode() for word in words] for words in typed]
        ours = [words for words in shown if words[0].lower() not in (b"slowlog", b"ping")]
        self.assertEqual(ours, wanted)

    def test_a_command_counts_once(self):
        with harness.Server() as server, wire.Client(server.port) as client:
            keys = [f"k{i}" for i in range(50)]
            client.call("MSET", *(word for key in keys for word in (key, "v")))
            client.call("DEL", *keys[:30])
            client.call("RENAME", keys[40], keys[41])
            client.send(wire.encode("SET", "a", 1) + wire.encode("GET", "a"))
            client.reply(), client.reply()
            for name in ("mset", "del", "rename", "set", "get"):
                self.assertEqual(command_stats(client, name), (1, 0, 0), name)

    def test_rejected_and_failed(self):
        """Rejected: it did not run (arity, password).  Failed: it ran and answered an error."""
        with harness.Server("--requirepass", "x") as server, wire.Client(server.port) as client:
            self.assertRegex(str(client.call("GET", "k")), "^-NOAUTH")
            self.assertRegex(str(client.call("SET", "k", "v")), "^-NOAUTH")
            self.assertEqual(client.call("AUTH", "x"), b"OK")
            self.assertEqual(command_stats(client, "get"), (0, 1, 0))
            self.assertEqual(command_stats(client, "set"), (0, 1, 0))
            self.assertRegex(str(client.call("GET")), "^-ERR wrong number")
            self.assertEqual(command_stats(client, "get"), (0, 2, 0))
            self.assertRegex(str(client.call("SET", "k", "v", "bogus")), "^-ERR syntax")
            self.assertEqual(command_stats(client, "set"), (1, 1, 1))
            self.assertEqual(client.call("SET", "k", "v"), b"OK")
            self.assertRegex(str(client.call("INCR", "k")), "^-ERR value is not an integer")
            self.assertEqual(command_stats(client, "incr"), (1, 0, 1))
            self.assertRegex(str(client.call("BOGUS")), "^-ERR unknown command")
            errors = info(client, "errorstats")
            self.assertEqual(errors["errorstat_NOAUTH"], "count=3")  # one was the harness
            self.assertEqual(errors["errorstat_ERR"], "count=4")

    def test_client_list_names_subcommands(self):
        with harness.Server() as server:
            with wire.Client(server.port) as client, wire.Client(server.port) as other:
                other.call("config", "get", "port")
                listed = client.call("CLIENT", "LIST").decode().splitlines()
                self.assertEqual([line.split(" cmd=")[1].split()[0] for line in listed],
                                 ["client|list", "config|get"])
                other.call("get", "k")
                other.call("client", "bogus")
                self.assertIn(" cmd=client ", client.call("CLIENT", "LIST").decode())


if __name__ == "__main__":
    harness.main()
