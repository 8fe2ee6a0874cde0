#!/usr/bin/python3
"""What operators do to keep a server and its files: configure, save, restart, `minidb --check`."""

import glob
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile

import ask
import harness
import wire


# -- configuration -----------------------------------------------------------------------------


class Configuration(harness.TestCase):
    def test_set_rewrite_restart(self):
        values = {"appendfsync": "always", "maxclients": "321", "maxmemory": "123456789",
                  "timeout": "77", "slowlog-max-len": "9", "slowlog-log-slower-than": "-1",
                  "latency-monitor-threshold": "13", "hz": "25", "log-level": "debug",
                  "snapshot-log-size": "10485760", "requirepass": "a b\"c'd\\e #f\u00e9",
                  "consistency": "QUORUM"}
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "minidb.conf")
            with open(path, "w", encoding="utf-8") as file:
                file.write("# kept\n\nmaxclients 100\nslowlog-max-len 5\n")
            with harness.Server("--config", path) as server:
                with wire.Client(server.port) as client:
                    words = [word.encode() for pair in values.items() for word in pair]
                    self.assertEqual(client.call("CONFIG", "SET", *words), b"OK")
                    self.assertEqual(self.values(client, values), values)
                    self.assertEqual(client.call("CONFIG", "REWRITE"), b"OK")
                with open(path, encoding="utf-8") as file:
                    text = file.read()
                self.assertTrue(text.startswith("# kept\n\nmaxclients 321\nslowlog-max-len 9\n"))
                server.kill()
                harness_start(server, values["requirepass"])
                with wire.Client(server.port) as client:
                    self.assertRegex(str(client.call("GET", "k")), "^-NOAUTH")
                    self.assertEqual(client.call("AUTH", values["requirepass"]), b"OK")
                    self.assertEqual(self.values(client, values), values)
                    self.assertEqual(client.call("CONFIG", "REWRITE"), b"OK")
                with open(path, encoding="utf-8") as file:
                    self.assertEqual(file.read(), text)             # nothing twice

    def values(self, client, names):
        reply = client.call("CONFIG", "GET", *names)
        return {name.decode(): value.decode() for name, value in zip(reply[::2], reply[1::2])}

    def test_all_or_nothing(self):
        with harness.Server() as server, wire.Client(server.port) as client:
            before = self.values(client, ["*"])
            for words in (["hz", "20", "maxclients", "x"], ["hz", "20", "port", "1"],
                          ["hz", "20", "nosuch", "1"], ["hz", "20", "hz", "21"],
                          ["hz", "20", "maxmemory"], ["maxmemory-policy", "allkeys-lru"]):
                self.assertIsInstance(client.call("CONFIG", "SET", *words), wire.Error, words)
                self.assertEqual(self.values(client, ["*"]), before, words)
            self.assertRegex(str(client.call("CONFIG", "REWRITE")),
                             "^-ERR The server is running without a config file")


def harness_start(server, password):
    """A start that does not mind being asked for the password (any answer means it serves)."""
    server.start()
    assert server.command("AUTH", password.encode()) == b"OK"


# -- snapshots ---------------------------------------------------------------------------------


class Snapshots(harness.TestCase):
    options = ("--partitions", "16", "--aof-segment-size", "64kb", "--snapshot-log-size", "0")
    keys = 3000

    def setUp(self):
        self.server = harness.Server(*self.options)
        self.addCleanup(self.server.__exit__)
        self.server.start()

    def connect(self):
        client = wire.Client(self.server.port)
        self.addCleanup(client.close)
        return client

    def fill(self, client, text):
        replies = client.pipeline([("SET", f"key:{i}", f"{text}:{i}:" + "v" * 400)
                                   for i in range(self.keys)])
        self.assertEqual(set(replies), {b"OK"})

    def check(self, text):
        with wire.Client(self.server.port) as client:
            replies = client.pipeline([("GET", f"key:{i}") for i in range(self.keys)])
            self.assertEqual(replies, [f"{text}:{i}:".encode() + b"v" * 400
                                       for i in range(self.keys)])
            self.assertEqual(client.call("DBSIZE"), self.keys)

    def files(self, pattern):
        return glob.glob(os.path.join(self.server.directory, "data", pattern))

    def bgsave(self, client):
        saves = int(ask.info(client)["rdb_saves"])
        self.assertEqual(client.call("BGSAVE"), b"Background saving started")
        harness.await_true("the snapshot ends", lambda: int(ask.info(client)["rdb_saves"]) > saves
                           and ask.info(client)["rdb_bgsave_in_progress"] == "0")
        self.assertEqual(ask.info(client)["rdb_last_bgsave_status"], "ok")

    def test_bgsave_restart_and_release_of_the_log(self):
        client = self.connect()
        before = client.call("LASTSAVE")
        self.fill(client, "one")
        grown, released = len(self.files("aof-*.log")), min(self.files("aof-*.log"))
        self.assertGreater(grown, 5)
        self.bgsave(client)
        self.assertGreaterEqual(client.call("LASTSAVE"), before)
        self.assertEqual(len(self.files("snap-*.mdb")), 16)
        # The older of two generations decides what of the log may go.
        self.fill(client, "two")
        self.bgsave(client)
        self.assertEqual(len(self.files("snap-*.mdb")), 32)
        self.fill(client, "three")
        self.bgsave(client)
        self.assertEqual(len(self.files("snap-*.mdb")), 32)
        # Everything before the second generation's begin; what is younger stays.
        harness.await_true("log is released", lambda: len(self.files("aof-*.log")) <= grown + 2)
        self.assertLess(released, min(self.files("aof-*.log")))
        self.server.kill()
        self.server.start()
        self.check("three")
        self.assertEqual(self.server.stop(), 0)
        self.server.start()
        self.check("three")
        self.assertNotRegex(self.server.log(), "event=\\w*damaged|damaged_partitions=[1-9]")

    def test_snapshot_while_writing(self):
        """What is saved while writes go on is replaced by the log behind it."""
        client = self.connect()
        self.fill(client, "one")
        self.assertEqual(client.call("BGSAVE"), b"Background saving started")
        self.fill(client, "two")
        harness.await_true("the snapshot ends",
                           lambda: ask.info(client)["rdb_bgsave_in_progress"] == "0")
        self.server.kill()
        self.server.start()
        self.check("two")


# -- minidb --check ----------------------------------------------------------------------------


class Check(harness.TestCase):
    options = ("--appendfsync", "always", "--partitions", "16")

    def setUp(self):
        self.server = harness.Server(*self.options)
        self.addCleanup(self.server.__exit__)
        self.data = os.path.join(self.server.directory, "data")

    def fill(self, begin, end):
        with wire.Client(self.server.port) as client:
            client.pipeline([("SET", f"key:{i}", f"value:{i}") for i in range(begin, end)])

    def files(self, pattern):
        return sorted(glob.glob(os.path.join(self.data, pattern)))

    def contents(self):
        """Names and contents of the directory."""
        found = {}
        for path in self.files("*"):
            with open(path, "rb") as file:
                found[path] = hashlib.sha256(file.read()).hexdigest()
        return found

    def run_check(self, *words):
        result = subprocess.run([harness.MINIDB, "--check", self.data, *words], text=True,
                                capture_output=True, timeout=harness.WAIT_S, check=False)
        self.assertEqual(result.stderr, "")
        return result.returncode, result.stdout

    def check(self, status, result):
        """Runs the check as text and as JSON, which must agree and change nothing."""
        before = self.contents()
        text_status, text = self.run_check()
        json_status, line = self.run_check("--json")
        self.assertEqual((text_status, json_status), (status, status), text)
        report = json.loads(line)
        self.assertEqual(line.count("\n"), 1)
        self.assertEqual(report["result"], result)
        self.assertTrue(ask.matches(report, {"directory": {self.data}, "snapshots": list,
                                             "log": list, "damage": list}), report)
        self.assertTrue(text.startswith(self.data + "\n"), text)
        self.assertEqual(text.rstrip().split("\n")[-1].split(":")[0], result)
        self.assertEqual("DAMAGE" in text.split("\n"), report["damage"] != [])
        self.assertEqual(self.contents(), before)
        return text, report

    def flip(self, path, text=None, offset=None):
        with open(path, "r+b") as file:
            at = offset if text is None else file.read().index(text)
            file.seek(at)
            byte = file.read(1)
            file.seek(at)
            file.write(bytes([byte[0] ^ 4]))
        return at

    def filled(self):
        self.server.start()
        self.fill(0, 500)
        self.assertEqual(self.server.command("SAVE"), b"OK")
        self.fill(500, 800)
        self.fill(800, 1000)         # shows that those before had been synced

    def test_good(self):
        self.filled()
        self.assertEqual(self.server.stop(), 0)
        text, report = self.check(0, "clean")
        self.assertTrue(ask.matches(report, {
            "node": {"node1"}, "identity": str, "partitions": {16}, "boots": {1},
            "clean_stop": {True}, "damage": list,
            "snapshots": [{"file": str, "group": int, "index": int, "term": int, "keys": int,
                           "bytes": int, "state": {"good"}}],
            "log": [{"file": str, "bytes": int, "first_sequence": int, "last_sequence": int,
                     "records": int, "groups": int, "damages": {0}}],
            "groups": [{"group": int, "snapshot_index": int, "first_index": int,
                        "last_index": int, "entries": int, "missing": {0}}],
            "records_count": int, "next_sequence": int}), report)
        self.assertEqual(len(report["snapshots"]), 16)
        self.assertEqual(sum(row["keys"] for row in report["snapshots"]), 500)
        self.assertEqual(sum(row["last_index"] for row in report["groups"]), 1000)
        self.assertNotIn("torn_tail", report)
        self.assertRegex(text, r"node node1, identity [0-9a-f]{16}, 16 partitions, 1 starts, "
                               r"last stop clean\n")

    def test_records(self):
        self.server.start()
        self.fill(0, 20)
        self.server.stop()
        status, text = self.run_check("--records")
        self.assertEqual(status, 0)
        self.assertEqual(len(re.findall(r"(?m)^aof-.* record \d+ .* command set$", text)), 20)
        status, text = self.run_check("--records", "--json")
        records = [row for row in json.loads(text)["records"] if row.get("kind") == "command"]
        self.assertEqual((status, len(records)), (0, 20))
        self.assertTrue(ask.matches(records, [{"sequence": int, "file": str, "offset": int,
                                           "group": int, "bytes": int, "more": bool, "index": int,
                                           "term": int, "time_ms": int, "command": {"set"}}]))

    def test_torn(self):
        """What a crash leaves is no damage: status 0."""
        self.server.options = ["--appendfsync", "no", "--partitions", "16"]
        self.server.start()
        self.fill(0, 300)
        self.server.kill()
        log = self.files("aof-*.log")[-1]
        with open(log, "rb") as file:
            used = len(file.read().rstrip(b"\0"))
        os.truncate(log, used - 10)
        text, report = self.check(0, "clean")
        self.assertEqual(report["torn_tail"]["file"], os.path.basename(log))
        self.assertGreater(report["torn_tail"]["bytes"], 0)
        self.assertIn(f"torn tail in {os.path.basename(log)} at "
                      f"{report['torn_tail']['offset']}: ", text)
        self.assertIs(report["clean_stop"], False)

    def test_damaged_log(self):
        self.filled()
        self.server.kill()
        log = self.files("aof-*.log")[-1]
        at = self.flip(log, text=b"value:700")
        text, report = self.check(3, "damaged")
        damage = report["damage"][0]
        self.assertTrue(ask.matches(damage, {
            "file": {os.path.basename(log)}, "what": {"a record's body is not what was written"},
            "offset": int, "group": int, "first_sequence": int, "last_sequence": int}), damage)
        self.assertIn(damage["offset"], range(at - 200, at))
        self.assertEqual(damage["first_sequence"], damage["last_sequence"])
        self.assertIn(f"{damage['file']} at {damage['offset']}, group {damage['group']}: ", text)
        self.assertEqual(sum(row["missing"] for row in report["groups"]), 1)

    def test_damage_that_a_snapshot_covers(self):
        self.filled()
        self.server.kill()
        log = self.files("aof-*.log")[-1]
        self.flip(log, text=b"value:100")
        _, report = self.check(3, "damaged")
        self.assertEqual(report["damage"][0]["file"], os.path.basename(log))

    def test_damaged_snapshot(self):
        self.filled()
        self.server.stop()
        path = self.files("snap-*.mdb")[3]
        self.flip(path, offset=os.path.getsize(path) // 2)
        _, report = self.check(3, "damaged")
        states = {row["file"]: row["state"] for row in report["snapshots"]}
        self.assertEqual([name for name in states if states[name] != "good"],
                         [os.path.basename(path)])
        self.assertEqual(report["damage"][0]["file"], os.path.basename(path))

    def test_damaged_identity(self):
        self.filled()
        self.server.stop()
        self.flip(self.files("meta-*")[0], offset=40)
        _, report = self.check(3, "damaged")
        self.assertEqual(report["damage"][0]["file"], "meta-a, meta-b")
        self.flip(self.files("meta-*")[1], offset=40)
        self.check(3, "damaged")

    def test_missing_segment(self):
        self.server.options += ["--aof-segment-size", "64kb"]
        self.server.start()
        self.fill(0, 3000)
        self.server.stop()
        self.server.start()
        self.server.stop()
        logs = self.files("aof-*.log")
        self.assertGreater(len(logs), 3)
        os.unlink(logs[1])
        _, report = self.check(3, "damaged")
        self.assertIn({"file": os.path.basename(logs[1]), "what": "the segment is missing"},
                      [{"file": item["file"], "what": item["what"]} for item in report["damage"]])
        os.unlink(logs[-1])
        _, report = self.check(3, "damaged")
        self.assertIn(os.path.basename(logs[-1]), [item["file"] for item in report["damage"]])

    def test_nothing_to_look_at(self):
        self.filled()
        status, text = self.run_check()
        self.assertEqual(status, 1)
        self.assertIn("error: a server is using it", text)
        self.server.stop()
        shutil.rmtree(self.data)
        for exists in (False, True):                                  # missing, then empty
            status, text = self.run_check("--json")
            self.assertEqual((status, json.loads(text)["result"]), (1, "error"))
            self.assertIs(os.path.isdir(self.data), exists)
            os.makedirs(self.data, exist_ok=True)


if __name__ == "__main__":
    harness.main()
