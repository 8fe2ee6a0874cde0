#!/usr/bin/python3
"""Nothing acknowledged is ever lost: crashes, clean stops, damaged files, failing and full disks.

What "acknowledged" survives depends on appendfsync only when the power fails; a process that dies
loses nothing in any mode, so every kill here is checked to the last acknowledged write.
"""

import errno
import glob
import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

import harness
import wire

KILLS = 10
LOG_START = 8192                # records begin behind a segment's two headers
WAIT_S = 30


def last_line(server, event):
    lines = [line for line in server.log().splitlines() if f"event={event} " in line + " "]
    return lines[-1] if lines else ""


class DurabilityCase(harness.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="minidb-durability-")
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)

    def server(self, *options):
        """A server on this test's directory; what is left of it ends with the test."""
        server = harness.Server(*options, directory=self.directory)
        self.addCleanup(server.__exit__)
        return server

    def data(self, pattern):
        return sorted(glob.glob(os.path.join(self.directory, "data", pattern)))

    def refused(self, *options, kind=1):
        """Runs a server that must not start; returns its one line of explanation."""
        server = self.server(*options)
        result = subprocess.run(server.command_line(), capture_output=True, text=True,
                                timeout=WAIT_S, stdin=subprocess.DEVNULL, check=False)
        self.assertEqual(result.returncode, kind, result.stderr)
        lines = [line for line in result.stderr.splitlines() if not line.startswith("time=")]
        self.assertEqual(len(lines), 1, result.stderr)
        self.assertRegex(lines[0], r"^minidb: ")
        return lines[0]


class Crashes(DurabilityCase):
    def kill_rounds(self, *options, rounds=KILLS, meanwhile=None):
        chance = random.Random(1)
        load = wire.Load()
        server = self.server(*options)
        for _ in range(rounds):
            server.start()
            load.check(server.port)
            load.start(server.port)
            seen = load.acknowledged()
            harness.await_true("an acknowledged write", lambda: load.acknowledged() >= max(seen, 1))
            if meanwhile:
                meanwhile(server)
            time.sleep(chance.uniform(0.01, 0.2))
            server.kill()
            load.join()
        server.start()
        load.check(server.port)
        self.assertNotIn("log_damaged", server.log())
        self.assertGreater(sum(writer.number for writer in load.writers), 1000)
        self.assertEqual(server.stop(), 0)

    def test_kill_always(self):
        self.kill_rounds("--appendfsync", "always")

    def test_kill_everysec(self):
        self.kill_rounds("--appendfsync", "everysec")

    def test_kill_no(self):
        self.kill_rounds("--appendfsync", "no", "--aof-segment-size", "256kb")

    def test_kill_during_snapshots(self):
        def save(server):
            self.assertEqual(server.command("SAVE"), b"OK")
            server.command("BGSAVE")
        self.kill_rounds("--aof-segment-size", "256kb", "--partitions", "16", rounds=6,
                         meanwhile=save)
        self.assertNotEqual(self.data("snap-*.mdb"), [])

    def test_kill_during_automatic_snapshots(self):
        self.kill_rounds("--aof-segment-size", "128kb", "--snapshot-log-size", "256kb",
                         "--partitions", "16", rounds=6)

    def test_sigterm_under_load(self):
        load = wire.Load()
        server = self.server()
        for number in range(3):
            server.start()
            load.check(server.port)
            if number > 0:
                self.assertIn("clean_stop=true", last_line(server, "recovered"))
            load.start(server.port)
            time.sleep(0.2)
            self.assertEqual(server.stop(), 0, server.log())
            load.join()
        server.start()
        load.check(server.port)
        self.assertIn("clean_stop=true", last_line(server, "recovered"))
        server.kill()
        server.start()
        self.assertIn("clean_stop=false", last_line(server, "recovered"))

    def test_nothing_is_kept_without_the_log(self):
        server = self.server("--appendonly", "no").start()
        self.assertEqual(server.command("SET", "k", "v"), b"OK")
        self.assertEqual(server.stop(), 0)
        server.start()
        self.assertEqual(server.command("DBSIZE"), 0)
        self.assertEqual(self.data("*"), [])

    def test_times_to_live(self):
        server = self.server().start()
        with wire.Client(server.port) as client:
            client.call("SET", "long", "v", "EX", 1000)
            client.call("SET", "short", "v", "PX", 300)
            client.call("SET", "kept", "v", "PX", 300)
            client.call("PERSIST", "kept")
            client.call("SAVE")
            client.call("SET", "logged", "v", "EX", 1000)
            client.call("SET", "logged-short", "v", "PX", 300)
            before = client.call("EXPIRETIME", "long"), client.call("EXPIRETIME", "logged")
        for how in (signal.SIGKILL, signal.SIGTERM):
            server.stop(how)
            time.sleep(0.4)
            server.start()
            with wire.Client(server.port) as client:
                self.assertEqual((client.call("EXPIRETIME", "long"),
                                  client.call("EXPIRETIME", "logged")), before)
                self.assertIn(client.call("TTL", "long"), range(900, 1001))
                self.assertIsNone(client.call("GET", "short"))
                self.assertIsNone(client.call("GET", "logged-short"))
                self.assertEqual(client.call("GET", "kept"), b"v")
                self.assertEqual(client.call("TTL", "kept"), -1)


class Identity(DurabilityCase):
    def test_one_process_at_a_time(self):
        server = self.server().start()
        self.assertIn("another process uses this data directory", self.refused())
        self.assertEqual(server.command("SET", "k", "v"), b"OK")
        server.kill()
        server.start()
        self.assertEqual(server.command("GET", "k"), b"v")

    def test_settings_of_the_directory(self):
        server = self.server("--node-id", "one", "--partitions", "32").start()
        server.command("SET", "k", "v")
        server.stop()
        self.assertIn("'one'", self.refused("--node-id", "two", "--partitions", "32"))
        self.assertIn("32", self.refused("--node-id", "one", "--partitions", "64"))
        server.start()
        self.assertEqual(server.command("GET", "k"), b"v")

    def test_files_without_their_owner(self):
        server = self.server().start()
        server.command("SET", "k", "v")
        server.stop()
        for path in self.data("meta-*"):
            os.unlink(path)
        self.refused()


class Damage(DurabilityCase):
    keys = 2000
    options = ("--appendfsync", "always", "--partitions", "16")

    def fill(self, server, begin, end):
        with wire.Client(server.port) as client:
            replies = client.pipeline([("SET", f"key:{i}", f"value:{i}")
                                       for i in range(begin, end)])
        self.assertEqual(set(replies), {b"OK"})

    def read(self, server, count=None):
        """(keys with their value, keys missing, keys refused)"""
        with wire.Client(server.port) as client:
            replies = client.pipeline([("GET", f"key:{i}") for i in range(count or self.keys)])
        good, missing, refused = set(), set(), set()
        for i, reply in enumerate(replies):
            if isinstance(reply, wire.Error):
                self.assertRegex(str(reply), r"^-CLUSTERDOWN partition \d+ is damaged")
                refused.add(i)
            elif reply is None:
                missing.add(i)
            else:
                self.assertEqual(reply, b"value:%d" % i)
                good.add(i)
        return good, missing, refused

    @staticmethod
    def used_bytes(path):
        with open(path, "rb") as file:
            return len(file.read().rstrip(b"\0"))

    @staticmethod
    def flip(path, offset):
        with open(path, "r+b") as file:
            file.seek(offset)
            byte = file.read(1)
            file.seek(offset)
            file.write(bytes([byte[0] ^ 4]))

    def offset_of(self, path, text):
        with open(path, "rb") as file:
            return file.read().index(text)

    def test_flipped_bit_in_the_log(self):
        server = self.server(*self.options).start()
        self.fill(server, 0, 1000)
        self.assertEqual(server.command("SAVE"), b"OK")
        self.fill(server, 1000, 2000)
        server.kill()
        log = self.data("aof-*.log")[-1]
        # Not among the newest 500: later records show that this one had been synced.
        self.flip(log, self.offset_of(log, b"value:1200"))

        server.start()
        self.assertIn(os.path.basename(log), last_line(server, "log_damaged"))
        self.assertNotEqual(last_line(server, "partition_damaged"), "")
        good, missing, refused = self.read(server)
        self.assertEqual(missing, set())
        self.assertIn(1200, refused)
        self.assertLess(len(refused), self.keys // 4)
        self.assertGreater(len(good), self.keys // 2)
        with wire.Client(server.port) as client:
            self.assertRegex(str(client.call("SET", "key:1200", "x")), "^-CLUSTERDOWN")
            self.assertEqual(client.call("SET", f"key:{min(good)}", f"value:{min(good)}"), b"OK")
        server.kill()
        server.start()                           # still known after another start
        self.assertEqual(self.read(server)[2], refused)
        server.stop()

        server = self.server(*self.options, "--recover", "salvage").start()
        good, missing, refused = self.read(server)
        self.assertEqual((missing, refused), ({1200}, set()))
        self.assertEqual(server.command("SET", "key:1200", "value:1200"), b"OK")
        self.assertEqual(server.command("SAVE"), b"OK")
        self.assertEqual(server.stop(), 0)

    def test_missing_newest_segment(self):
        server = self.server(*self.options, "--aof-segment-size", "64kb").start()
        self.fill(server, 0, self.keys)
        logs = self.data("aof-*.log")
        self.assertGreater(len(logs), 1)
        time.sleep(1.5)                          # the meta file names the newest
        server.kill()
        os.unlink(logs[-1])
        check = [harness.MINIDB, "--check", os.path.join(self.directory, "data")]
        self.assertEqual(subprocess.run(check, capture_output=True, check=False).returncode, 3)
        for number in range(3):                  # still known after other starts
            server.start()
            self.assertIn("newest file is missing" if number == 0 else "log_damaged",
                          last_line(server, "log_damaged"))
            good, missing, refused = self.read(server)
            self.assertEqual((good, missing), (set(), set()))
            self.assertEqual(server.command("SAVE"), b"OK")
            server.kill()

        server = self.server(*self.options, "--recover", "salvage").start()
        good, missing, refused = self.read(server)
        self.assertEqual(refused, set())
        self.assertEqual(good, set(range(len(good))), "not a prefix")
        self.assertGreater(len(missing), 0)
        self.assertEqual(server.command("SAVE"), b"OK")
        server.kill()
        server = self.server(*self.options).start()
        self.assertEqual(self.read(server), (good, missing, refused))
        self.assertEqual(server.command("SET", "key:0", "value:0"), b"OK")

    def test_missing_log(self):
        server = self.server(*self.options).start()
        self.fill(server, 0, 1000)
        self.assertEqual(server.command("SAVE"), b"OK")
        self.assertEqual(server.stop(), 0)
        for path in self.data("aof-*.log"):
            os.unlink(path)
        self.assertIn("all of the log is missing", self.refused(*self.options))
        server = self.server(*self.options, "--recover", "salvage").start()
        self.assertEqual(len(self.read(server, 1000)[0]), 1000)
        self.assertEqual(server.stop(), 0)
        server = self.server(*self.options).start()
        self.assertEqual(len(self.read(server, 1000)[0]), 1000)

    def test_an_unused_newest_segment_is_no_damage(self):
        server = self.server(*self.options).start()
        for how in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
            server.stop(how)
            check = [harness.MINIDB, "--check", os.path.join(self.directory, "data")]
            self.assertEqual(subprocess.run(check, capture_output=True, check=False).returncode, 0)
            server.start()
            self.assertEqual(last_line(server, "log_damaged"), "")

    def test_flipped_bit_that_a_snapshot_covers(self):
        server = self.server(*self.options).start()
        self.fill(server, 0, 1000)
        self.assertEqual(server.command("SAVE"), b"OK")
        self.fill(server, 1000, 2000)
        server.kill()
        log = self.data("aof-*.log")[-1]
        self.flip(log, self.offset_of(log, b"value:500"))
        server.start()
        self.assertNotEqual(last_line(server, "log_damaged"), "")
        self.assertEqual(len(self.read(server)[0]), self.keys)

    def test_every_place_in_the_log(self):
        """Wherever one bit goes bad, nothing wrong is ever served, and never silently less."""
        server = self.server(*self.options).start()
        self.fill(server, 0, 300)
        time.sleep(1.5)              # the log marks that all of it is durable
        server.kill()
        log = self.data("aof-*.log")[-1]
        used = self.used_bytes(log)
        chance = random.Random(2)
        for _ in range(8):
            copy = os.path.join(self.directory, "copy")
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(os.path.join(self.directory, "data"), os.path.join(copy, "data"))
            offset = chance.randrange(LOG_START, used)
            self.flip(os.path.join(copy, "data", os.path.basename(log)), offset)
            with harness.Server(*self.options, directory=copy) as damaged:
                good, missing, refused = self.read(damaged, 300)
                self.assertEqual(missing, set(), offset)
                self.assertEqual(len(good) + len(refused), 300)

    def test_flipped_bit_in_the_newest_snapshot(self):
        server = self.server(*self.options, "--aof-segment-size", "64kb").start()
        for begin in range(0, self.keys, 500):
            self.fill(server, begin, begin + 500)
            self.assertEqual(server.command("SAVE"), b"OK")
        server.kill()
        newest = {}
        for path in self.data("snap-*.mdb"):
            newest[os.path.basename(path).split("-")[1]] = path
        self.assertEqual(len(newest), 16)
        for path in newest.values():
            self.flip(path, os.path.getsize(path) // 2)
        server.start()
        self.assertNotEqual(last_line(server, "snapshot_rejected"), "")
        self.assertEqual(len(self.read(server)[0]), self.keys)
        self.assertEqual(server.command("SAVE"), b"OK")
        server.kill()
        server.start()
        self.assertEqual(len(self.read(server)[0]), self.keys)

    def test_partition_with_no_good_file(self):
        """Its snapshots are bad and the log they replaced is gone: every later start knows."""
        server = self.server(*self.options, "--aof-segment-size", "64kb").start()
        self.fill(server, 0, self.keys)
        for _ in range(2):
            self.assertEqual(server.command("SAVE"), b"OK")
        server.stop()
        server.start()                           # a log file of its own, with nothing in it
        server.stop()
        for path in self.data("aof-*.log")[:-1]:
            os.unlink(path)
        for path in self.data("snap-00003-*.mdb"):
            self.flip(path, os.path.getsize(path) // 2)
        seen = []
        for _ in range(3):
            server.start()
            seen.append(self.read(server))
            server.kill()
        good, missing, refused = seen[0]
        self.assertEqual(missing, set())
        self.assertGreater(len(refused), 0)
        self.assertEqual(seen, seen[:1] * 3)
        server = self.server(*self.options, "--recover", "salvage").start()
        self.assertEqual(self.read(server), (good, refused, set()))
        server.kill()
        server = self.server(*self.options).start()
        self.assertEqual(self.read(server), (good, refused, set()))

    def test_torn_tail(self):
        """What a power loss may do to the newest, unsynced writes: the end of the log is missing.
        The server starts, says so, and has a prefix of what was written.  (The mode is everysec,
        and the writes are younger than a second, so none of them has been promised to survive
        this.)"""
        for cut in (1, 40, 200):
            with self.subTest(cut=cut):
                shutil.rmtree(os.path.join(self.directory, "data"), ignore_errors=True)
                server = self.server("--appendfsync", "everysec", "--partitions", "16").start()
                self.fill(server, 0, 500)
                server.kill()
                log = self.data("aof-*.log")[-1]
                os.truncate(log, self.used_bytes(log) - cut)
                server.start()
                self.assertNotEqual(last_line(server, "log_tail_torn"), "")
                good, missing, refused = self.read(server, 500)
                self.assertEqual(refused, set())
                self.assertEqual(good, set(range(len(good))), "not a prefix")
                self.assertIn(len(missing), range(1, 10))
                self.fill(server, 0, 500)
                server.kill()
                server.start()                   # written behind the cut, and nothing else
                self.assertEqual(len(self.read(server, 500)[0]), 500)
                server.kill()


class FailingDisk(DurabilityCase):
    def test_sync_fails(self):
        if shutil.which("strace") is None:
            self.skipTest("strace is not installed")
        server = self.server("--appendfsync", "always")
        plain = server.command_line
        prefix = ["strace", "-D", "-f", "-o", os.devnull, "-e", "trace=fdatasync", "-e",
                  "inject=fdatasync:error=EIO:when=20+"]
        server.command_line = lambda: prefix + plain()
        server.env["ASAN_OPTIONS"] = "detect_leaks=0"
        try:
            server.start()
        except RuntimeError as error:
            if "ptrace" in str(error):
                self.skipTest("strace may not trace here")
            raise
        acked = 0
        with wire.Client(server.port) as client:
            try:
                for i in range(2000):
                    self.assertEqual(client.call("SET", f"key:{i}", i), b"OK")
                    acked = i + 1
            except OSError:
                pass
        self.assertLess(acked, 2000, "no sync failed")
        self.assertGreater(acked, 0)
        self.assertEqual(server.process.wait(WAIT_S), 1)
        self.assertIn("level=error", last_line(server, "log_failed"))
        server.process = None
        server.command_line = plain
        server.start()
        with wire.Client(server.port) as client:
            values = client.call("MGET", *(f"key:{i}" for i in range(acked)))
            self.assertEqual(values, [b"%d" % i for i in range(acked)])
            self.assertEqual(client.call("SET", "k", "v"), b"OK")


class FullDisk(DurabilityCase):
    value = "x" * 10000

    def setUp(self):
        super().setUp()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "minidb-test",
                                  self.directory], capture_output=True, text=True, check=False)
        if mounted.returncode != 0:
            self.skipTest(f"cannot mount a small disk: {mounted.stderr.strip()}")
        self.addCleanup(subprocess.run, ["umount", "-l", self.directory], check=False)
        self.ballast = os.path.join(self.directory, "ballast")
        with open(self.ballast, "wb") as file:
            file.write(b"x" * (3 << 20))

    def write_until_refused(self, client, begin):
        for i in range(begin, begin + 2000):
            reply = client.call("SET", f"key:{i}", f"{i}:{self.value}")
            if isinstance(reply, wire.Error):
                self.assertRegex(str(reply), "^-MISCONF the disk is full")
                return i
            self.assertEqual(reply, b"OK")
        raise AssertionError("the disk never filled")

    def check(self, client, count):
        for i in range(count):
            self.assertEqual(client.call("GET", f"key:{i}"), f"{i}:{self.value}".encode(), i)

    def test_full_and_healed(self):
        server = self.server("--aof-segment-size", "1mb").start()
        with wire.Client(server.port, 20) as client:
            count = self.write_until_refused(client, 0)
            self.assertGreater(count, 50)
            self.check(client, count)
            self.assertRegex(str(client.call("DEL", "key:0")), "^-MISCONF")
            self.assertEqual(client.call("PING"), b"PONG")
            os.unlink(self.ballast)
            harness.await_true("a write after the disk has room again", lambda: client.call(
                "SET", f"key:{count}", f"{count}:{self.value}") == b"OK")
            count = self.write_until_refused(client, count + 1)
            self.check(client, count)
        server.kill()
        server.start()
        with wire.Client(server.port, 20) as client:
            self.check(client, count)

    def test_stop_and_start_while_full(self):
        server = self.server("--aof-segment-size", "1mb").start()
        with wire.Client(server.port, 20) as client:
            count = self.write_until_refused(client, 0)
        self.assertIn(server.stop(), (0, 1))
        server.start()
        with wire.Client(server.port, 20) as client:
            self.check(client, count)

    def fill(self):
        """Leaves not one free block."""
        with open(self.ballast, "ab", buffering=0) as file:
            for size in (1 << 20, 4096):
                try:
                    while file.write(b"x" * size):
                        pass
                except OSError as error:
                    self.assertEqual(error.errno, errno.ENOSPC)
        self.assertEqual(os.statvfs(self.directory).f_bfree, 0)

    def test_start_without_a_free_block(self):
        server = self.server("--aof-segment-size", "1mb").start()
        with wire.Client(server.port, 20) as client:
            self.assertEqual(client.call("SET", "key:0", f"0:{self.value}"), b"OK")
        self.assertEqual(server.stop(), 0)
        for _ in range(2):
            self.fill()
            server.start()
            with wire.Client(server.port, 20) as client:
                self.check(client, 1)
                self.assertRegex(str(client.call("SET", "k", "v")), "^-MISCONF the disk is full")
            self.assertIn(server.stop(), (0, 1))
        server.start()
        with wire.Client(server.port, 20) as client:
            os.unlink(self.ballast)
            harness.await_true("a write after the disk has room again",
                               lambda: client.call("SET", "k", "v") == b"OK")
        server.kill()
        server.start()
        with wire.Client(server.port, 20) as client:
            self.check(client, 1)
            self.assertEqual(client.call("GET", "k"), b"v")


if __name__ == "__main__":
    harness.main()
