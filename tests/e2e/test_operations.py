#!/usr/bin/python3
"""What operators and their tools ask of a running server: figures, slow moments, clients, limits.

Every answer is taken apart as the tools do it that people point at a Redis (monitors, exporters,
job queues), or as a program that speaks JSON would.
"""

import binascii
import json
import os
import re
import select
import threading
import time

import ask
import harness
import wire

NUMBER = r"\d+"


def clients_of(client, *words):
    """CLIENT LIST: a dictionary a line."""
    text = client.call("CLIENT", "LIST", *words).decode()
    assert text == "" or text.endswith("\n"), text
    return [dict(field.split("=", 1) for field in line.split(" ")) for line in text.splitlines()]


class OperationsCase(harness.TestCase):
    options = ()

    def setUp(self):
        self.server = harness.Server(*self.options)
        self.addCleanup(self.server.__exit__)
        self.server.start()

    def connect(self, kind=wire.Client):
        client = kind(self.server.port)
        self.addCleanup(client.close)
        return client

    def assert_ok(self, reply):
        self.assertEqual(reply, b"OK")

    def assert_silent(self, client):
        """No byte comes for a moment: what has been sent is being held."""
        self.assertEqual(select.select([client.socket], [], [], 0.2)[0], [])


# -- INFO --------------------------------------------------------------------------------------


class Info(OperationsCase):
    # What real software reads, with what it must look like to be understood.
    fields = {
        # every client library and monitor
        "redis_version": r"7\.[2-9]\.\d+", "redis_mode": "standalone", "os": "Linux .+",
        "arch_bits": "64", "process_id": NUMBER, "run_id": "[0-9a-f]{40}", "tcp_port": NUMBER,
        "uptime_in_seconds": NUMBER, "uptime_in_days": NUMBER, "hz": NUMBER,
        "config_file": ".*", "executable": ".+",
        # ready checks (ioredis), sentinels, failover scripts
        "loading": "0", "role": "master", "connected_slaves": "0", "master_replid": "[0-9a-f]{40}",
        "master_repl_offset": NUMBER, "cluster_enabled": "0",
        # Sidekiq and BullMQ warn about anything else
        "maxmemory_policy": "noeviction", "maxmemory": NUMBER,
        # exporters and dashboards
        "connected_clients": NUMBER, "blocked_clients": NUMBER, "maxclients": NUMBER,
        "used_memory": NUMBER, "used_memory_human": r"0B|\d+\.\d\d[KMGT]",
        "used_memory_rss": NUMBER,
        "used_memory_peak": NUMBER, "used_memory_dataset": NUMBER, "used_memory_overhead": NUMBER,
        "used_memory_lua": NUMBER, "total_system_memory": NUMBER,
        "mem_fragmentation_ratio": r"\d+\.\d\d", "mem_allocator": ".+",
        "rdb_changes_since_last_save": NUMBER, "rdb_bgsave_in_progress": "[01]",
        "rdb_last_save_time": NUMBER, "rdb_last_bgsave_status": "ok",
        "rdb_last_bgsave_time_sec": "-?" + NUMBER, "rdb_current_bgsave_time_sec": "-?" + NUMBER,
        "aof_enabled": "1", "aof_rewrite_in_progress": "[01]", "aof_last_write_status": "ok",
        "aof_last_bgrewrite_status": "ok", "aof_current_size": NUMBER,
        "total_connections_received": NUMBER, "total_commands_processed": NUMBER,
        "instantaneous_ops_per_sec": NUMBER, "total_net_input_bytes": NUMBER,
        "total_net_output_bytes": NUMBER, "instantaneous_input_kbps": r"\d+\.\d\d",
        "instantaneous_output_kbps": r"\d+\.\d\d", "rejected_connections": NUMBER,
        "expired_keys": NUMBER, "evicted_keys": NUMBER, "keyspace_hits": NUMBER,
        "keyspace_misses": NUMBER, "pubsub_channels": NUMBER, "pubsub_patterns": NUMBER,
        "latest_fork_usec": NUMBER, "total_error_replies": NUMBER,
        "used_cpu_sys": r"\d+\.\d{6}", "used_cpu_user": r"\d+\.\d{6}",
        "db0": r"keys=\d+,expires=\d+,avg_ttl=\d+",
    }

    def test_fields(self):
        client = self.connect()
        client.call("SET", "k", "v")
        fields = ask.info(client)
        for name, pattern in self.fields.items():
            with self.subTest(name=name):
                self.assertRegex(fields.get(name, "missing"), f"^{pattern}$")
        self.assertEqual(fields["tcp_port"], str(self.server.port))
        self.assertEqual(fields["process_id"], str(self.server.process.pid))

    def test_sections(self):
        client = self.connect()
        self.assertEqual(client.call("INFO", "nosuch"), b"")
        one = client.call("INFO", "replication")
        self.assertRegex(one, rb"^# Replication\r\nrole:master\r\n")
        titles = re.findall(rb"# (\w+)\r\n", client.call("INFO", "server", "KEYSPACE"))
        self.assertEqual(titles, [b"Server", b"Keyspace"])
        default, everything = ask.info(client), ask.info(client, "everything")
        self.assertLessEqual(set(default) - {"db0"}, set(everything))
        self.assertIn("cmdstat_info", everything)
        self.assertNotIn("cmdstat_info", default)

    def test_figures_follow_what_happens(self):
        client = self.connect()
        before = ask.info(client, "everything")
        client.pipeline([("SET", f"k{i}", "v" * 100) for i in range(100)])
        client.pipeline([("GET", f"k{i}") for i in range(150)])
        client.call("SET", "volatile", "v", "EX", 1000)
        self.assertIsInstance(client.call("INCR", "k1"), wire.Error)
        self.assertIsInstance(client.call("NOSUCH"), wire.Error)
        after = ask.info(client, "everything")

        def grown(name):
            return int(after[name]) - int(before[name])

        self.assertEqual(after["db0"].split(",")[:2], ["keys=101", "expires=1"])
        self.assertEqual((grown("keyspace_hits"), grown("keyspace_misses")), (100, 50))
        self.assertEqual(grown("total_error_replies"), 2)
        self.assertGreaterEqual(grown("total_commands_processed"), 252)
        self.assertGreater(grown("total_net_input_bytes"), 10000)
        self.assertGreater(grown("total_net_output_bytes"), 10000)
        self.assertGreaterEqual(grown("rdb_changes_since_last_save"), 101)
        self.assertEqual(after["connected_clients"], "1")
        self.assertRegex(after["cmdstat_set"], r"^calls=101,usec=\d+,usec_per_call=\d+\.\d\d,"
                                               r"rejected_calls=0,failed_calls=0$")
        self.assertRegex(after["cmdstat_incr"], r"^calls=1,.*,failed_calls=1$")
        self.assertRegex(after["latency_percentiles_usec_set"],
                         r"^p50=\d+\.\d{3},p99=\d+\.\d{3},p99\.9=\d+\.\d{3}$")
        self.assertEqual(after["errorstat_ERR"], "count=2")
        self.assert_ok(client.call("CONFIG", "RESETSTAT"))
        reset = ask.info(client, "everything")
        self.assertEqual(reset["keyspace_hits"], "0")
        self.assertNotIn("cmdstat_set", reset)
        self.assertNotIn("errorstat_ERR", reset)

    def test_without_a_log(self):
        with harness.Server("--appendonly", "no") as server, wire.Client(server.port) as client:
            self.assertEqual(ask.info(client)["aof_enabled"], "0")


# -- slow moments ------------------------------------------------------------------------------


class SlowLog(OperationsCase):
    def entries(self, client, count=-1):
        """SLOWLOG GET with the shape of every entry checked."""
        entries = client.call("SLOWLOG", "GET", count)
        for number, at, usec, words, address, name in entries:
            self.assertGreaterEqual(number, 0)
            self.assertAlmostEqual(at, time.time(), delta=3600)
            self.assertGreaterEqual(usec, 0)
            self.assertGreater(len(words), 0)
            self.assertRegex(address, rb"^127\.0\.0\.1:\d+$")
            self.assertIsInstance(name, bytes)
        numbers = [entry[0] for entry in entries]
        self.assertEqual(numbers, sorted(numbers, reverse=True))
        return entries

    def log_everything(self, client):
        self.assert_ok(client.call("CONFIG", "SET", "slowlog-log-slower-than", 0))
        self.assert_ok(client.call("SLOWLOG", "RESET"))

    def test_who_did_what(self):
        client, other = self.connect(), self.connect()
        self.log_everything(client)
        self.assert_ok(other.call("CLIENT", "SETNAME", "worker"))
        other.call("SET", "k", b"\x00\xff")
        other.call("GET", "k")
        get, put = self.entries(client)[:2]
        self.assertEqual([word.lower() for word in get[3]], [b"get", b"k"])
        self.assertEqual([word.lower() for word in put[3]], [b"set", b"k", b"\x00\xff"])
        self.assertEqual((get[5], put[5]), (b"worker", b"worker"))
        address = b"%s:%d" % (other.socket.getsockname()[0].encode(),
                              other.socket.getsockname()[1])
        self.assertEqual((get[4], put[4]), (address, address))

    def test_threshold(self):
        client = self.connect()
        self.assert_ok(client.call("CONFIG", "SET", "slowlog-log-slower-than", 5000))
        self.assert_ok(client.call("SLOWLOG", "RESET"))
        self.assert_ok(client.call("DEBUG", "SLEEP", "0.02"))
        slow = [entry for entry in self.entries(client) if entry[3][0] == b"DEBUG"]
        self.assertEqual(len(slow), 1)
        self.assertGreaterEqual(slow[0][2], 20000)
        self.assert_ok(client.call("CONFIG", "SET", "slowlog-log-slower-than", -1))
        self.assert_ok(client.call("SLOWLOG", "RESET"))
        self.assert_ok(client.call("DEBUG", "SLEEP", "0.02"))
        self.assertEqual(client.call("SLOWLOG", "LEN"), 0)
        self.assertEqual(self.entries(client), [])

    def test_length(self):
        client = self.connect()
        self.assert_ok(client.call("CONFIG", "SET", "slowlog-max-len", 5))
        self.log_everything(client)
        client.pipeline([("GET", f"k{i}") for i in range(50)])
        self.assertEqual(client.call("SLOWLOG", "LEN"), 5)
        entries = self.entries(client)
        self.assertLessEqual(len(entries), 5)
        self.assertIn(b"k49", [entry[3][-1] for entry in entries])
        self.assertEqual(len(self.entries(client, 2)), 2)
        self.assert_ok(client.call("CONFIG", "SET", "slowlog-log-slower-than", -1))
        self.assert_ok(client.call("SLOWLOG", "RESET"))
        self.assertEqual(client.call("SLOWLOG", "LEN"), 0)

    def test_long_commands_are_cut(self):
        client = self.connect()
        self.log_everything(client)
        client.call("MGET", *(f"k{i}" for i in range(100)))
        client.call("GET", "x" * 1000)
        get, mget = (entry[3] for entry in self.entries(client)[:2])
        self.assertEqual((len(mget), mget[-1]), (32, b"... (70 more arguments)"))
        self.assertEqual(get[1], b"x" * 128 + b"... (872 more bytes)")

    def test_no_passwords(self):
        client = self.connect()
        self.log_everything(client)
        client.call("AUTH", "sesame-1")
        client.call("HELLO", "2", "AUTH", "default", "sesame-2")
        client.call("CONFIG", "SET", "requirepass", "sesame-3")
        client.call("CONFIG", "SET", "requirepass", "")
        words = b" ".join(word for entry in self.entries(client) for word in entry[3])
        self.assertIn(b"requirepass", words)
        self.assertNotIn(b"sesame", words)


class Latency(OperationsCase):
    def test_events(self):
        client = self.connect()
        self.assert_ok(client.call("DEBUG", "SLEEP", "0.01"))
        self.assertEqual(client.call("LATENCY", "LATEST"), [])      # off by default
        self.assert_ok(client.call("CONFIG", "SET", "latency-monitor-threshold", 5))
        self.assert_ok(client.call("DEBUG", "SLEEP", "0.05"))
        self.assert_ok(client.call("DEBUG", "SLEEP", "0.01"))
        events = {event[0]: event for event in client.call("LATENCY", "LATEST")}
        name, at, last_ms, max_ms = events[b"command"]
        self.assertAlmostEqual(at, time.time(), delta=3600)
        self.assertGreaterEqual(max_ms, 50)
        self.assertGreaterEqual(last_ms, 10)
        history = client.call("LATENCY", "HISTORY", name)
        self.assertEqual(max(ms for _, ms in history), max_ms)
        self.assertEqual(history[-1][0], at)
        self.assertIn(b"command - high", client.call("LATENCY", "GRAPH", "command"))
        self.assertIn(b"command", client.call("LATENCY", "DOCTOR"))
        self.assertEqual(client.call("LATENCY", "RESET", "nosuch"), 0)
        self.assertEqual(client.call("LATENCY", "RESET", "command"), 1)
        self.assertEqual(client.call("LATENCY", "HISTORY", "command"), [])
        self.assertNotIn(b"command", [event[0] for event in client.call("LATENCY", "LATEST")])

    def test_histogram(self):
        client = self.connect()
        client.pipeline([("SET", f"k{i}", "v") for i in range(300)])
        reply = client.call("LATENCY", "HISTOGRAM", "set", "nosuch")
        self.assertEqual(len(reply), 2)                             # RESP2: a map is flat
        self.assertEqual(reply[0], b"set")
        fields = dict(zip(reply[1][::2], reply[1][1::2]))
        self.assertEqual(fields[b"calls"], 300)
        bounds, counts = fields[b"histogram_usec"][::2], fields[b"histogram_usec"][1::2]
        self.assertEqual(bounds, sorted(set(bounds)))
        self.assertEqual(counts, sorted(counts))
        self.assertEqual(counts[-1], 300)


# -- connections -------------------------------------------------------------------------------


class Clients(OperationsCase):
    def test_list(self):
        client, other = self.connect(), self.connect()
        self.assert_ok(other.call("CLIENT", "SETNAME", "worker"))
        self.assert_ok(other.call("CLIENT", "SETINFO", "LIB-NAME", "mine"))
        self.assert_ok(other.call("CLIENT", "SETINFO", "LIB-VER", "1.2"))
        other.call("GET", "k")
        rows = {int(row["id"]): row for row in clients_of(client)}
        self.assertEqual(set(rows), {client.call("CLIENT", "ID"), other.call("CLIENT", "ID")})
        row = rows[other.call("CLIENT", "ID")]
        for name in ("addr", "laddr", "fd", "name", "age", "idle", "flags", "db", "sub", "psub",
                     "multi", "qbuf", "qbuf-free", "argv-mem", "multi-mem", "obl", "oll", "omem",
                     "tot-mem", "events", "cmd", "user", "redir", "resp", "lib-name", "lib-ver"):
            self.assertIn(name, row)
        self.assertEqual((row["name"], row["cmd"], row["lib-name"], row["lib-ver"], row["resp"]),
                         ("worker", "get", "mine", "1.2", "2"))
        self.assertEqual(row["addr"], "%s:%d" % other.socket.getsockname())
        self.assertEqual(row["laddr"], f"127.0.0.1:{self.server.port}")
        self.assertEqual(clients_of(client, "ID", row["id"])[0]["name"], "worker")
        self.assertEqual(len(clients_of(client, "TYPE", "normal")), 2)
        self.assertEqual(clients_of(client, "TYPE", "replica"), [])
        self.assertEqual(int(ask.info(client)["connected_clients"]), 2)

    def test_flags(self):
        client = self.connect()
        own = client.call("CLIENT", "ID")

        def flags():
            return clients_of(client, "ID", own)[0]["flags"]

        self.assertEqual(flags(), "N")
        for word, flag in (("NO-EVICT", "e"), ("NO-TOUCH", "T")):
            self.assert_ok(client.call("CLIENT", word, "ON"))
            self.assertIn(flag, flags())
            self.assert_ok(client.call("CLIENT", word, "OFF"))
            self.assertEqual(flags(), "N")

    def test_kill(self):
        client = self.connect()
        victims = [self.connect() for _ in range(4)]
        ids = [victim.call("CLIENT", "ID") for victim in victims]
        self.assertEqual(client.call("CLIENT", "KILL", "ID", ids[0]), 1)
        self.assert_ok(client.call("CLIENT", "KILL", "%s:%d" % victims[1].socket.getsockname()))
        self.assertEqual(client.call("CLIENT", "KILL", "MAXAGE", 100000), 0)
        self.assertEqual([victim.rest() for victim in victims[:2]], [b"", b""])
        self.assertEqual([victim.call("PING") for victim in victims[2:]], [b"PONG"] * 2)
        self.assertEqual(client.call("CLIENT", "KILL", "TYPE", "normal", "LADDR",
                                     f"127.0.0.1:{self.server.port}"), 2)
        self.assertEqual([victim.rest() for victim in victims[2:]], [b"", b""])
        self.assertEqual(len(clients_of(client)), 1)
        client.send(wire.encode("SET", "k", "v") + wire.encode(
            "CLIENT", "KILL", "USER", "default", "SKIPME", "no") + wire.encode("SET", "k", "w"))
        self.assertEqual(client.rest(), b"+OK\r\n:1\r\n")           # itself, behind the reply
        self.assertEqual(self.server.command("GET", "k"), b"v")

    def test_kill_with_writes_under_way(self):
        client, victim = self.connect(), self.connect()
        own = victim.call("CLIENT", "ID")
        victim.send(b"".join(wire.encode("SET", f"k{i}", "v" * 1000) for i in range(1000)))
        self.assertEqual(client.call("CLIENT", "KILL", "ID", own), 1)
        answered = victim.rest().count(b"+OK\r\n")
        count = client.call("DBSIZE")
        self.assertGreaterEqual(count, answered)
        self.assertEqual([client.call("GET", f"k{i}") for i in range(count)],
                         [b"v" * 1000] * count)

    def test_pause_writes(self):
        client, writer = self.connect(), self.connect()
        self.assert_ok(client.call("SET", "k", "before"))
        self.assert_ok(client.call("CLIENT", "PAUSE", 10 * harness.WAIT_S * 1000, "WRITE"))
        writer.send(wire.encode("PING") + wire.encode("SET", "k", "after") +
                    wire.encode("GET", "k") + wire.encode("INCR", "n"))
        self.assertEqual(writer.reply(), b"PONG")
        self.assert_silent(writer)
        self.assertEqual(client.call("GET", "k"), b"before")        # reads go on
        self.assertEqual(client.call("DBSIZE"), 1)
        self.assert_ok(client.call("CLIENT", "UNPAUSE"))
        self.assertEqual([writer.reply() for _ in range(3)], [b"OK", b"after", 1])
        self.assertEqual(client.call("GET", "k"), b"after")

    def test_pause_everything(self):
        """It ends by itself, by the server's own clock."""
        client, other = self.connect(), self.connect()
        began = client.call("TIME")
        self.assert_ok(client.call("CLIENT", "PAUSE", 400, "ALL"))
        ended = other.call("TIME")
        held_us = (int(ended[0]) - int(began[0])) * 1000000 + int(ended[1]) - int(began[1])
        self.assertGreaterEqual(held_us, 400000)
        self.assert_ok(other.call("SET", "k", "v"))

    def test_pause_outlives_who_asked(self):
        other = self.connect()
        with wire.Client(self.server.port) as client:
            self.assert_ok(client.call("CLIENT", "PAUSE", 10 * harness.WAIT_S * 1000, "WRITE"))
        self.assertEqual(other.call("PING"), b"PONG")
        other.send(wire.encode("SET", "k", "v"))
        self.assert_silent(other)
        self.assert_ok(self.connect().call("CLIENT", "UNPAUSE"))
        self.assert_ok(other.reply())

    def test_reply(self):
        client = self.connect()
        client.send(b"".join(wire.encode(*words) for words in (
            ("CLIENT", "REPLY", "OFF"), ("SET", "a", 1), ("NOSUCH",), ("GET", "a"),
            ("CLIENT", "REPLY", "SKIP"), ("INCR", "a"), ("CLIENT", "REPLY", "ON"), ("GET", "a"),
            ("CLIENT", "REPLY", "SKIP"), ("INCR", "a"), ("INCR", "a"),
            ("CLIENT", "REPLY", "SKIP"), ("NOSUCH",), ("PING",))))
        self.assertEqual([client.reply() for _ in range(4)], [b"OK", b"2", 4, b"PONG"])
        self.assertEqual(client.call("ECHO", "in step"), b"in step")


# -- JSON --------------------------------------------------------------------------------------


STATES = {"ALIVE", "SUSPECT", "DEAD", "LEFT"}
REPLICA = {"id": str, "address": str, "role": {"leader", "follower"}, "state": STATES,
           "applied_index": int, "lag": int}
COMMAND = {"calls": int, "failed": int, "rejected": int, "usec_mean": float, "usec_p50": float,
           "usec_p99": float, "usec_p999": float}
SHAPES = {
    "NODES": [{"id": str, "address": str, "cluster_port": int, "role": {"leader", "follower"},
               "state": STATES, "zone": str, "partitions_led": int, "partitions_held": int,
               "version": str, "uptime_seconds": int, "self": bool}],
    "LEADER": {"leader": str, "address": str, "term": int},
    "LEADER k": {"leader": str, "address": str, "term": int, "partition": int},
    "ROUTE k": {"slot": int, "partition": int, "leader": str, "address": str, "state": str,
                "replicas": [str]},
    "REPLICAS k": [REPLICA],
    "SHARDS": [{"partition": int, "slots": [int], "leader": str, "address": str, "state": {"OK"},
                "replicas": [REPLICA], "keys": int, "bytes": int, "term": int,
                "first_index": int, "last_index": int}],
    "STATS": {"node": str, "version": str, "uptime_seconds": int, "keys": int,
              "volatile_keys": int, "hits": int, "misses": int, "hit_rate": float, "expired": int,
              "evicted": int, "commands_processed": int, "ops_per_second": int, "errors": int,
              "clients": int, "commands": {"set": COMMAND, "get": COMMAND},
              "memory": {"used": int, "resident": int, "peak": int, "limit": int, "dataset": int,
                         "bytes_per_key": int},
              "aof": {"fsync": {"always", "everysec", "no"}, "log_bytes": int, "disk_bytes": int,
                      "pending_bytes": int, "sequence": int, "synced_sequence": int,
                      "writes": int, "syncs": int, "sync_last_usec": int, "sync_max_usec": int,
                      "disk_full": bool},
              "snapshot": {"running": bool, "last_ok": bool, "last_time": int,
                           "last_duration_ms": int, "count": int, "partitions_done": int,
                           "writes_since": int}},
    "RING 5": {"points_count": int, "nodes": [{"id": str, "virtual_nodes": int,
                                               "partitions_led": int, "share": float}],
               "points": list},
}


class JsonProtocol(OperationsCase):
    options = ("--node-id", "json-node", "--partitions", "64")

    def setUp(self):
        super().setUp()
        self.client = self.connect(ask.Json)
        for i in range(30):
            self.assertEqual(self.client.data(f"SET k{i} value"), "OK")
        self.assertEqual(self.client.data("SET volatile v EX 1000"), "OK")
        self.client.data("GET k0")
        self.client.data("GET nothing")

    def test_shapes(self):
        for command, shape in SHAPES.items():
            for kind in ("CLIENT", "CLUSTER"):
                reply = self.client.ask(command, kind=kind, id=7)
                self.assertTrue(ask.matches(reply, {"id": {7}, "success": {True}, "data": shape}),
                                (command, reply))

    def test_shapes_are_told_apart(self):
        """The comparison of this test can fail."""
        for value, shape in ((1, str), ("1", int), (True, int), (-1, int), (1.5, int), (None, str),
                             ({}, {"a": int}), ([1, "2"], [int]), ("x", {"y"}), ([], {"a": int}),
                             ({"a": {"b": "1"}}, {"a": {"b": int}})):
            self.assertFalse(ask.matches(value, shape), (value, shape))

    def test_they_agree(self):
        nodes, shards = self.client.data("NODES"), self.client.data("SHARDS")
        self.assertEqual([node["id"] for node in nodes if node["self"]], ["json-node"])
        self.assertEqual(sum(node["partitions_led"] for node in nodes), 64)
        self.assertEqual(self.client.data("LEADER")["leader"], "json-node")
        self.assertEqual(nodes[0]["address"], f"127.0.0.1:{self.server.port}")
        self.assertEqual([shard["partition"] for shard in shards], list(range(64)))
        slots = [slot for shard in shards for slot in range(shard["slots"][0],
                                                            shard["slots"][1] + 1)]
        self.assertEqual(slots, list(range(16384)))
        self.assertEqual(sum(shard["keys"] for shard in shards), 31)
        self.assertEqual(self.client.data("DBSIZE"), 31)
        stats = self.client.data("STATS")
        self.assertEqual((stats["node"], stats["keys"], stats["volatile_keys"], stats["hits"],
                          stats["misses"], stats["hit_rate"]), ("json-node", 31, 1, 1, 1, 0.5))
        self.assertEqual(stats["commands"]["set"]["calls"], 31)
        self.assertEqual(stats["aof"]["sequence"], 31)

    def test_routes(self):
        shards = self.client.data("SHARDS")
        for key in ("k1", "", "user:1", "{user}.a", "a{user}b", "{}x", "\u20ac"):
            hashed = re.match(r"[^{]*\{([^}]+)\}", key)
            hashed = (hashed[1] if hashed else key).encode()
            route = self.client.ask("", args=["ROUTE", key])
            self.assertFalse(route["success"])                      # args or command, not both
            self.client.send(json.dumps({"type": "CLUSTER", "args": ["ROUTE", key]}).encode()
                             + b"\n")
            route = json.loads(self.client.file.readline())["data"]
            self.assertEqual(route["slot"], binascii.crc_hqx(hashed, 0) % 16384, key)
            first, last = shards[route["partition"]]["slots"]
            self.assertIn(route["slot"], range(first, last + 1))
            self.assertEqual(route["leader"], "json-node")
            self.assertEqual(route["replicas"], ["json-node"])

    def test_replicas_have_applied_what_was_answered(self):
        for key in ("k1", "k2", "k3"):
            at = self.client.data(f"ROUTE {key}")["partition"]
            version = self.client.ask(f"SET {key} again")["version"]
            self.assertEqual(self.client.ask(f"GET {key}")["version"], version)
            replicas = self.client.data(f"REPLICAS {key}")
            self.assertEqual([(row["role"], row["state"], row["applied_index"], row["lag"])
                              for row in replicas], [("leader", "ALIVE", version, 0)])
            self.assertEqual(self.client.data("SHARDS")[at]["last_index"], version)

    def test_errors(self):
        for command, code in (("NODES x", "ERR"), ("ROUTE", "ERR"), ("INCR k1", "ERR"),
                              ("LEADER a b", "ERR"), ("RING x", "ERR"), ("FROB", "ERR")):
            reply = self.client.ask(command, id="x")
            self.assertTrue(ask.matches(reply, {"id": {"x"}, "success": {False}, "error": str,
                                            "code": {code}}), reply)
            self.assertTrue(reply["error"].startswith(code + " "), reply)
        self.assertEqual(self.client.data("PING"), "PONG")


# -- data --------------------------------------------------------------------------------------


class WaitAof(OperationsCase):
    def check(self, policy):
        self.server.stop()
        self.server.options = ["--appendfsync", policy]
        self.server.start()
        client = self.connect()
        for i in range(2):
            self.assert_ok(client.call("SET", f"k{i}", "v"))
            written = int(ask.info(client, "persistence")["aof_sequence"])
            self.assertEqual(client.call("WAITAOF", 1, 0, harness.WAIT_S * 1000), [1, 0])
            synced = int(ask.info(client, "persistence")["aof_synced_sequence"])
            self.assertGreaterEqual(synced, written)
        client.send(b"".join(wire.encode("SET", f"k{i}", "w") for i in range(100)) +
                    wire.encode("WAITAOF", 1, 0, harness.WAIT_S * 1000) + wire.encode("GET", "k99"))
        self.assertEqual([client.reply() for _ in range(102)],
                         [b"OK"] * 100 + [[1, 0], b"w"])
        with ask.Json(self.server.port) as other:
            self.assertEqual(other.data("SET k json"), "OK")
            self.assertEqual(other.data(f"WAITAOF 1 0 {harness.WAIT_S * 1000}"), [1, 0])
        self.assertIn(client.call("WAITAOF", 0, 0, 0), ([0, 0], [1, 0]))
        self.assertEqual(client.call("WAIT", 0, 100), 0)

    def test_always(self):
        self.check("always")

    def test_everysec(self):
        self.check("everysec")

    def test_no(self):
        """Nobody syncs by himself: who waits makes it happen, or is told that it has not."""
        self.server.stop()
        self.server.options = ["--appendfsync", "no"]
        self.server.start()
        client = self.connect()
        self.assert_ok(client.call("SET", "k", "v"))
        written = int(ask.info(client, "persistence")["aof_sequence"])
        reply = client.call("WAITAOF", 1, 0, 500)
        synced = int(ask.info(client, "persistence")["aof_synced_sequence"])
        self.assertIn(reply, ([0, 0], [1, 0]))
        self.assertGreaterEqual(synced, written if reply == [1, 0] else 0)

    def test_nothing_to_wait_for(self):
        with harness.Server("--appendonly", "no") as server, wire.Client(server.port) as client:
            self.assert_ok(client.call("SET", "k", "v"))
            self.assertEqual(str(client.call("WAITAOF", 1, 0, 0)), "-ERR WAITAOF cannot be used "
                             "when numlocal is set but appendonly is disabled.")
            self.assertEqual(client.call("WAITAOF", 0, 0, 0), [0, 0])


class Keys(OperationsCase):
    def test_expiry_by_itself(self):
        """Nobody touches the keys: they go, are counted, and stay gone after a restart."""
        client = self.connect()
        client.pipeline([("SET", f"short:{i}", "v", "PX", 300 + i) for i in range(1000)])
        client.pipeline([("SET", f"long:{i}", "v", "EX", 1000) for i in range(50)])
        client.pipeline([("SET", f"kept:{i}", "v") for i in range(50)])
        harness.await_true("1000 keys expire", lambda: client.call("DBSIZE") == 100)
        fields = ask.info(client)
        self.assertEqual(fields["expired_keys"], "1000")
        self.assertEqual(fields["db0"].split(",")[:2], ["keys=100", "expires=50"])
        self.assertEqual(client.call("KEYS", "short:*"), [])
        self.server.kill()
        self.server.start()
        with wire.Client(self.server.port) as client:
            self.assertEqual(client.call("DBSIZE"), 100)

    def test_flushall_while_others_are_served(self):
        client, other = self.connect(), self.connect()
        count, step = 200_000, 500
        replies = client.pipeline([["MSET", *(word for i in range(at, at + step)
                                              for word in (f"key:{i}", f"value:{i}"))]
                                   for at in range(0, count, step)])
        self.assertEqual(set(replies), {b"OK"})
        self.assertEqual(client.call("DBSIZE"), count)
        seen, stop, failed = [], threading.Event(), []

        def watch():
            try:
                while not stop.is_set():
                    seen.append(other.call("MGET", "key:0", "key:77777", "key:199999"))
            except Exception as error:  # for the test to report
                failed.append(error)

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        harness.await_true("a reply", lambda: bool(seen or failed))
        self.assert_ok(client.call("FLUSHALL"))
        flushed = len(seen)
        harness.await_true("a reply behind FLUSHALL",
                           lambda: bool(len(seen) > flushed + 1 or failed))
        stop.set()
        thread.join(harness.WAIT_S)
        self.assertEqual(failed, [])
        # All or nothing, and never back.
        full, empty = [b"value:0", b"value:77777", b"value:199999"], [None] * 3
        switch = seen.index(empty)
        self.assertGreater(switch, 0)
        self.assertEqual(seen, [full] * switch + [empty] * (len(seen) - switch))
        self.assertEqual(client.call("DBSIZE"), 0)
        self.assert_ok(client.call("SET", "key:1", "after"))
        self.server.kill()
        self.server.start()
        with wire.Client(self.server.port) as client:
            self.assertEqual((client.call("DBSIZE"), client.call("GET", "key:1")), (1, b"after"))


class MaxMemory(OperationsCase):
    value = "v" * 20000

    def setUp(self):
        super().setUp()
        if ask.info(self.connect())["used_memory"] == "0":
            self.skipTest("with a sanitizer's allocator the server does not know its memory")

    def test_refuses_and_heals(self):
        client, other = self.connect(), self.connect(ask.Json)
        limit = int(ask.info(client)["used_memory"]) + (4 << 20)
        self.assert_ok(client.call("CONFIG", "SET", "maxmemory", limit))
        self.assert_ok(client.call("MSET", "n", 1, "old", "old"))
        stored = self.fill(client, 0)
        # Definite: nothing of what was refused is there.
        self.assertIsNone(client.call("GET", f"key:{stored}"))
        self.assertEqual(client.call("DBSIZE"), stored + 2)
        for words in (["SET", "old", "new"], ["MSET", "old", "new", "new", "new"], ["INCR", "n"],
                      ["APPEND", "old", "new"], ["SETRANGE", "old", "0", "new"],
                      ["COPY", "old", "new"], ["GETSET", "old", "new"], ["MSETNX", "x", "1"]):
            self.assertEqual(str(client.call(*words)), "-OOM command not allowed when used memory "
                             "> 'maxmemory'.", words)
        reply = other.ask("SET old new")
        self.assertEqual((reply["success"], reply["code"]), (False, "OOM"))
        self.assertEqual(client.call("MGET", "old", "n", "new", "x"), [b"old", b"1", None, None])
        for i in range(stored):                                     # reads go on
            self.assertEqual(client.call("STRLEN", f"key:{i}"), len(self.value))
        self.assertEqual(client.call("EXPIRE", "key:0", 1000), 1)   # needs nothing
        self.assertEqual(ask.info(client)["evicted_keys"], "0")
        self.assertRegex(ask.info(client, "all")["cmdstat_set"], "rejected_calls=[1-9]")
        # Deletes go on, and heal.
        for i in range(stored):
            self.assertEqual(client.call("DEL", f"key:{i}"), 1)
        harness.await_true("a write after deletes",
                           lambda: client.call("SET", "old", "new") == b"OK")
        self.assertGreater(self.fill(client, 0), 0)
        self.assert_ok(client.call("CONFIG", "SET", "maxmemory", 0))
        harness.await_true("a write without a limit", lambda: client.call("SET", "k", "v") == b"OK")

    def fill(self, client, begin):
        """Writes until refused; the number of the refused key."""
        for i in range(begin, begin + 5000):
            reply = client.call("SET", f"key:{i}", self.value)
            if isinstance(reply, wire.Error):
                self.assertRegex(str(reply), "^-OOM ")
                return i
        raise AssertionError("never refused")

    def test_a_restart_above_the_limit(self):
        """A server whose data are larger than its limit starts, serves, and shrinks."""
        client = self.connect()
        client.pipeline([("SET", f"key:{i}", self.value) for i in range(500)])
        self.server.kill()
        self.server.options = ["--maxmemory", "6mb"]
        self.server.start()
        with wire.Client(self.server.port) as client:
            self.assertEqual(client.call("DBSIZE"), 500)
            harness.await_true("a refusal", lambda: str(client.call("SET", "k", "v"))[:4] == "-OOM")
            self.assertEqual(client.call("GET", "key:499"), self.value.encode())
            self.assertEqual(client.call("UNLINK", *(f"key:{i}" for i in range(500))), 500)
            harness.await_true("a write after deletes",
                               lambda: client.call("SET", "k", "v") == b"OK")


if __name__ == "__main__":
    harness.main()
