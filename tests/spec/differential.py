#!/usr/bin/python3
"""differential.py - the same random commands to minidb and to Debian's redis-server.

    differential.py [--seed n] [--commands n] [--protocol resp2|resp3] [--on in-process|minidb]

Every reply is compared, and at the end of each round every key: value, expiry, encoding.  Commands
are mostly well-formed, over a few keys so that they meet, with wrong arguments among them.  What
may differ is listed in `is_known_difference`, with reasons.  Without arguments it runs against the
commands alone and against a server, in RESP2 and RESP3.
"""

import argparse
import os
import random
import shutil
import struct
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "lib"), os.path.join(HERE, "..", "e2e"), HERE]

import harness                                                     # noqa: E402
import run_spec                                                    # noqa: E402
import wire                                                        # noqa: E402

ROUND_COMMANDS = 500
TIME_TOLERANCE_MS = 3000
KEYS = [b"k%d" % i for i in range(8)] + [b"{t}a", b"{t}b", b"{t}c", b"", b"bin\x00\xff"]
ODD_WORDS = [b"", b"abc", b"1.5", b"-1", b"0", b" 1", b"1 ", b"007", b"+1", b"-0", b"1e3", b"inf",
             b"nan", b"9223372036854775807", b"-9223372036854775808", b"9223372036854775808",
             b"99999999999999999999999", b"NX", b"XX", b"GET", b"EX", b"PXAT", b"KEEPTTL", b"\x00",
             b"PERSIST", b"REPLACE", b"GT", b"LT", b"COUNT", b"\xff\xfe"]


# ── commands ────────────────────────────────────────────────────────────────────────────────────

class Generator:
    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.makers = [getattr(self, name) for name in sorted(dir(self)) if name.startswith("cmd_")]

    def key(self):
        return self.rng.choice(KEYS)

    def value(self):
        rng = self.rng
        kind = rng.randrange(8)
        if kind < 2:
            return b"%d" % rng.randrange(-1000, 1000)
        if kind == 2:
            return b"%d" % rng.randrange(-2**63, 2**63)
        if kind == 3:
            return rng.choice(ODD_WORDS)
        if kind == 4:
            return bytes(rng.randrange(256) for _ in range(rng.randrange(60)))
        if kind == 5:
            return rng.choice([b"x" * 44, b"x" * 45, b"abc" * rng.randrange(1, 200)])
        return bytes(rng.choice(b"abcdef") for _ in range(rng.randrange(12)))

    def ttl(self, in_ms):
        """Far away, so that nothing expires while it is compared; sometimes long ago."""
        seconds = self.rng.randrange(1000, 1000000)
        if self.rng.random() < 0.05:
            return b"%d" % self.rng.choice([0, -1, -seconds])
        return b"%d" % (seconds * 1000 if in_ms else seconds)

    def moment(self, in_ms):
        seconds = 4000000000 + self.rng.randrange(1000000)
        if self.rng.random() < 0.1:
            seconds = self.rng.choice([1, 1000])
        return b"%d" % (seconds * 1000 + self.rng.randrange(1000) if in_ms else seconds)

    def case(self, word):
        return word.lower() if self.rng.random() < 0.2 else word

    def expiry(self):
        word = self.rng.choice([b"EX", b"PX", b"EXAT", b"PXAT"])
        number = (self.moment if word.endswith(b"AT") else self.ttl)(word.startswith(b"P"))
        return [self.case(word), number]

    def some(self, make, most):
        return [word for _ in range(self.rng.randrange(1, most + 1)) for word in make()]

    def next(self):
        argv = self.rng.choice(self.makers)()
        if self.rng.random() < 0.04:
            at = self.rng.randrange(1, len(argv) + 1)
            argv = argv[:at] + [self.rng.choice(ODD_WORDS)] + argv[at + self.rng.randrange(2):]
        elif self.rng.random() < 0.01:
            argv = argv[:self.rng.randrange(1, len(argv) + 1)]
        return argv

    def cmd_get(self):
        name = self.rng.choice([b"GET", b"STRLEN", b"GETDEL", b"TYPE", b"GET", b"GET"])
        return [name, self.key()]

    def cmd_set(self):
        argv = [b"SET", self.key(), self.value()]
        options = [[b"NX"], [b"XX"], [b"GET"], [b"KEEPTTL"], self.expiry(), self.expiry()]
        for option in self.rng.sample(options, self.rng.choice([0, 0, 0, 1, 1, 2, 3])):
            argv += [self.case(option[0])] + option[1:]
        return argv

    def cmd_setnx(self):
        return [self.rng.choice([b"SETNX", b"GETSET", b"APPEND"]), self.key(), self.value()]

    def cmd_setex(self):
        in_ms = self.rng.random() < 0.5
        return [b"PSETEX" if in_ms else b"SETEX", self.key(), self.ttl(in_ms), self.value()]

    def cmd_getex(self):
        return [b"GETEX", self.key()] + self.rng.choice([[], [b"PERSIST"], self.expiry()])

    def cmd_incr(self):
        return [self.rng.choice([b"INCR", b"DECR"]), self.key()]

    def cmd_incrby(self):
        number = self.rng.choice([self.rng.randrange(-100, 100), self.rng.randrange(-2**63, 2**63)])
        return [self.rng.choice([b"INCRBY", b"DECRBY"]), self.key(), b"%d" % number]

    def cmd_incrbyfloat(self):
        number = self.rng.randrange(-10000, 10000) / self.rng.choice([1, 2, 4, 64])
        return [b"INCRBYFLOAT", self.key(), repr(number).encode()]

    def cmd_mget(self):
        return [b"MGET"] + self.some(lambda: [self.key()], 6)

    def cmd_mset(self):
        name = self.rng.choice([b"MSET", b"MSETNX", b"MSETNX"])
        return [name] + self.some(lambda: [self.key(), self.value()], 4)

    def cmd_getrange(self):
        return [self.rng.choice([b"GETRANGE", b"SUBSTR"]), self.key(),
                b"%d" % self.rng.randrange(-20, 20), b"%d" % self.rng.randrange(-20, 20)]

    def cmd_setrange(self):
        return [b"SETRANGE", self.key(), b"%d" % self.rng.randrange(-1, 60), self.value()]

    def cmd_lcs(self):
        options = [[b"LEN"], [b"IDX"], [b"WITHMATCHLEN"],
                   [b"MINMATCHLEN", b"%d" % self.rng.randrange(-1, 5)]]
        argv = [b"LCS", self.key(), self.key()]
        for option in self.rng.sample(options, self.rng.randrange(3)):
            argv += option
        return argv

    def cmd_del(self):
        name = self.rng.choice([b"DEL", b"UNLINK", b"EXISTS", b"EXISTS", b"TOUCH"])
        return [name] + self.some(lambda: [self.key()], 4)

    def cmd_expire(self):
        name = self.rng.choice([b"EXPIRE", b"PEXPIRE", b"EXPIREAT", b"PEXPIREAT"])
        make = self.moment if name.endswith(b"AT") else self.ttl
        argv = [name, self.key(), make(name.startswith(b"P"))]
        for word in self.rng.sample([b"NX", b"XX", b"GT", b"LT"], self.rng.choice([0, 0, 1, 1, 2])):
            argv.append(self.case(word))
        return argv

    def cmd_ttl(self):
        name = self.rng.choice([b"TTL", b"PTTL", b"EXPIRETIME", b"PEXPIRETIME", b"PERSIST"])
        return [name, self.key()]

    def cmd_rename(self):
        return [self.rng.choice([b"RENAME", b"RENAMENX"]), self.key(), self.key()]

    def cmd_copy(self):
        options = self.rng.choice([[], [b"REPLACE"], [b"DB", b"0"], [b"DB", b"0", b"REPLACE"]])
        return [b"COPY", self.key(), self.key()] + options

    def cmd_keys(self):
        return [b"KEYS", self.rng.choice([b"*", b"k*", b"k?", b"k[0-3]", b"{t}[^a]", b"*a", b""])]

    def cmd_other(self):
        return self.rng.choice([[b"DBSIZE"], [b"OBJECT", b"ENCODING", self.key()],
                                [b"OBJECT", b"NOPE", self.key()], [b"NOPE", self.key(), b"x"],
                                [b"FLUSHALL", b"NOPE"], [b"OBJECT", b"ENCODING"]])

    def cmd_flush(self):
        if self.rng.random() < 0.9:
            return [b"DBSIZE"]
        return [self.rng.choice([b"FLUSHALL", b"FLUSHDB"])] + self.rng.choice([[], [b"ASYNC"]])

    def cmd_scan(self):
        options = [[b"MATCH", b"k*"], [b"COUNT", b"%d" % self.rng.randrange(1, 20)],
                   [b"TYPE", self.rng.choice([b"string", b"list"])]]
        argv = [b"SCAN", b"0"]
        for option in self.rng.sample(options, self.rng.randrange(4)):
            argv += option
        return argv

    def cmd_dump(self):
        return [b"DUMP", self.key()]


# ── comparing ───────────────────────────────────────────────────────────────────────────────────

CRC64_TABLE = []
for _n in range(256):
    for _ in range(8):
        _n = (_n >> 1) ^ (0x95ac9329ac4bc9b5 if _n & 1 else 0)
    CRC64_TABLE.append(_n)


def with_rdb_version(payload, version):
    """A DUMP payload as an older or newer Redis would have made it."""
    body = payload[:-10] + struct.pack("<H", version)
    crc = 0
    for byte in body:
        crc = CRC64_TABLE[(crc ^ byte) & 255] ^ (crc >> 8)
    return body + struct.pack("<Q", crc)


def is_number(reply):
    return type(reply) is int


def is_close_float(a, b):
    try:
        a, b = float(a), float(b)
    except (TypeError, ValueError):
        return False
    return abs(a - b) <= 1e-15 * max(abs(a), abs(b), 1)


def is_known_difference(argv, ours, theirs):
    """Where minidb is meant to answer otherwise."""
    name = argv[0].upper()
    # Static errors come before looking at the key (nothing is logged for them).
    if name in (b"GETEX", b"RESTORE") and isinstance(ours, wire.Error):
        return theirs is None or "BUSYKEY" in str(theirs)
    # Times past the year 10889 are kept as that.
    if name in (b"EXPIRETIME", b"PEXPIRETIME", b"TTL", b"PTTL"):
        return is_number(theirs) and theirs > 200_000_000_000
    # INCRBYFLOAT stores integers as integers; Redis keeps the text until the key is written again.
    if name == b"OBJECT":
        return ours == b"int" and theirs == b"embstr"
    # Values are limited to what one request can hold; numbers of 20 digits are added exactly.
    if name == b"SETRANGE":
        return isinstance(ours, wire.Error) and "maximum allowed size" in ours
    # One database, not 16; GET knows a level; cursors are strict as in Redis 7.2.
    if name == b"COPY":
        return isinstance(ours, wire.Error) and "DB index" in ours
    if name == b"GET":
        return ours == theirs
    return name == b"SCAN" and isinstance(ours, wire.Error) and "invalid cursor" in ours


def is_same(argv, ours, theirs):
    name = argv[0].upper()
    if ours == theirs and type(ours) is type(theirs):
        return True
    if name in (b"TTL", b"PTTL", b"EXPIRETIME", b"PEXPIRETIME") and is_number(ours):
        unit = 1 if name.startswith(b"P") else 1000
        return (is_number(theirs) and theirs >= 0 and ours >= 0
                and abs(ours - theirs) * unit <= TIME_TOLERANCE_MS)
    if name == b"KEYS" and isinstance(ours, list) and isinstance(theirs, list):
        return sorted(ours) == sorted(theirs)
    return is_known_difference(argv, ours, theirs)


class Difference(Exception):
    pass


class Pair:
    """The two servers, asked together."""

    def __init__(self, ours, theirs):
        self.ours = ours
        self.theirs = theirs
        self.history = []

    def ask(self, argv):
        self.history.append(argv)
        if hasattr(self.ours, "set_time"):
            self.ours.set_time(int(time.time() * 1000))
        if [word.upper() for word in argv] == [b"DBSIZE"]:
            # Redis counts what it stored with a time long past, and KEYS leaves it out.
            return self.ours.call(argv), len(self.theirs.call([b"KEYS", b"*"]))
        return self.ours.call(argv), self.theirs.call(argv)

    def compare(self, argv):
        ours, theirs = self.ask(argv)
        name = argv[0].upper()
        if name == b"INCRBYFLOAT" and isinstance(ours, bytes) and ours != theirs:
            if not is_close_float(ours, theirs):
                self.fail(argv, ours, theirs)
            self.ask([b"SET", argv[1], ours, b"KEEPTTL"])  # go on from the same text
        elif name == b"SCAN" and isinstance(ours, list) and isinstance(theirs, list):
            if argv[1] != b"0":  # a cursor is a place of its own in each
                return ours, theirs
            self.compare_scans(argv, ours, theirs)
        elif name == b"DUMP" and isinstance(ours, bytes) and isinstance(theirs, bytes):
            self.exchange_dumps(argv, ours, theirs)
        elif not is_same(argv, ours, theirs):
            self.fail(argv, ours, theirs)
        return ours, theirs

    def fail(self, argv, ours, theirs):
        recent = "\n".join(f"    {words!r}"[:300] for words in self.history[-12:])
        text = f"{argv!r}\n  minidb {ours!r}\n  redis  {theirs!r}\n  after\n{recent}"
        raise Difference(text[:4000])

    def compare_scans(self, argv, ours, theirs):
        """Walks both to the end: the same keys, each at least once."""
        found = []
        for connection, reply in ((self.ours, ours), (self.theirs, theirs)):
            keys = list(reply[1])
            while reply[0] != b"0":
                reply = connection.call([argv[0], reply[0]] + argv[2:])
                keys += reply[1]
            found.append(sorted(set(keys)))
        if found[0] != found[1]:
            self.fail(argv, found[0], found[1])

    def exchange_dumps(self, argv, ours, theirs):
        """Each restores what the other dumped; the values are compared by the commands to come."""
        key = argv[1]
        there = self.theirs.call([b"RESTORE", key, b"0", with_rdb_version(ours, 10), b"REPLACE"])
        here = self.ours.call([b"RESTORE", key, b"0", theirs, b"REPLACE"])
        if here != b"OK" or there != b"OK":
            self.fail(argv, here, there)
        self.compare([b"GET", key])

    def compare_all(self):
        self.compare([b"KEYS", b"*"])
        self.compare([b"DBSIZE"])
        for key in KEYS:
            for words in ([b"GET"], [b"PTTL"], [b"OBJECT", b"ENCODING"]):
                self.compare(words + [key])


def run(pair, seed, commands):
    generator = Generator(seed)
    pair.ask([b"FLUSHALL"])
    counts = {}
    for number in range(1, commands + 1):
        argv = generator.next()
        ours, _ = pair.compare(argv)
        kind = (argv[0].upper(), "error" if isinstance(ours, wire.Error) else "ok")
        counts[kind] = counts.get(kind, 0) + 1
        if number % ROUND_COMMANDS == 0:
            pair.compare_all()
    return counts


def attempt(label, target, redis, protocol, seed, commands):
    """Returns true when the two were alike."""
    connections = []
    try:
        connections += [target.connect(protocol), redis.connect(protocol)]
        counts = run(Pair(*connections), seed, commands)
    except (Difference, wire.ProtocolError, OSError) as error:
        print(f"{label} {protocol} seed {seed}: {error}", flush=True)
        return False
    finally:
        for connection in connections:
            connection.close()
    errors = sum(count for (_, kind), count in counts.items() if kind == "error")
    print(f"{label} {protocol} seed {seed}: {commands} commands alike, {errors} of them errors")
    return True


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--commands", type=int, default=5000)
    parser.add_argument("--protocol", default="all")
    parser.add_argument("--on", default="all")
    options = parser.parse_args()
    if not shutil.which("redis-server"):
        print("no redis-server to compare with: 1 passed, 0 failed")
        return 0
    protocols = ("resp2", "resp3") if options.protocol == "all" else (options.protocol,)
    results = []
    with harness.Server("--appendonly", "no", kind="redis") as server:
        redis = wire.Tcp(server.port, "redis", run_spec.redis_version())
        program = run_spec.in_process_program()
        if options.on in ("all", "in-process") and os.path.exists(program):
            for effects in (False, True):
                target = wire.InProcess(program, effects=effects)
                label = "in-process by effects" if effects else "in-process"
                results += [attempt(label, target, redis, p, options.seed, options.commands)
                            for p in protocols]
                results.append(target.stop() == 0)
        if options.on in ("all", "minidb"):
            with harness.Server() as minidb:
                target = wire.Tcp(minidb.port, "minidb")
                results += [attempt("minidb", target, redis, p, options.seed, options.commands)
                            for p in protocols]
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed", flush=True)
    return 0 if all(results) and results else 1


if __name__ == "__main__":
    sys.exit(main())
