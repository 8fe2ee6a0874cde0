#!/usr/bin/python3
"""make_seeds.py - makes the fuzzers' seeds out of the spec tables and a session with a server.

Run it by hand when commands, replies, options or a format on disk have changed, and commit what it
wrote.  Seeds written by hand lie beside these; a find of the fuzzers is kept as find-<what>.

    corpus/resp, corpus/json       spec-*     the commands of one table, as requests
    corpus/cli_reply               reply-*    what a server answers, in RESP3
    corpus/config                  options-*  every option with its default and with other values
    corpus/gossip                  packet-*   each kind, with items
    corpus/hints                   hints-*, ask, gone   who leads what; groups that were left
    corpus/aof, corpus/snapshot    session-*  records and blocks of a server's data directory
"""

import glob
import os
import socket
import struct
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.dirname(HERE)
sys.path[:0] = [os.path.join(TESTS, "spec", "lib"), os.path.join(TESTS, "e2e")]

import harness                                                     # noqa: E402
import table                                                       # noqa: E402
import wire                                                        # noqa: E402

SEED_BYTES_MAX = 1500        # small ones are mutated faster
ARGUMENT_BYTES_MAX = 60
LOG_START = 8192             # records begin behind a segment's two headers
RECORD_HEADER_BYTES = 32
SNAPSHOT_HEADER_BYTES = 88
SNAPSHOT_FRAME_BYTES = 32


def write(fuzzer, name, data):
    directory = os.path.join(HERE, "corpus", fuzzer)
    os.makedirs(directory, exist_ok=True)
    with open(os.path.join(directory, name), "wb") as file:
        file.write(data)


# ── requests ──────────────────────────────────────────────────────────────────────────────────────

def commands_of(path):
    """A table's commands, each kind (name and number of words) once, the short ones."""
    seen = {}
    for scene in table.read_table(path):
        for row in scene.rows:
            words = row.argv
            if words and all(len(word) <= ARGUMENT_BYTES_MAX for word in words):
                seen.setdefault((words[0].lower(), len(words)), words)
    return list(seen.values())


def whole(pieces):
    """As many pieces as fit."""
    data = b""
    for piece in pieces:
        if len(data) + len(piece) > SEED_BYTES_MAX:
            break
        data += piece
    return data


def make_requests():
    for number, path in enumerate(sorted(glob.glob(os.path.join(TESTS, "spec/commands/*.txt")))):
        name = "spec-" + os.path.basename(path)[:-len(".txt")]
        commands = commands_of(path)
        # First byte: the limits; second: the size of the pieces it is fed in.
        choice = bytes([number % 2, number * 7 % 32])
        write("resp", name, choice + whole(wire.resp_encode(words) for words in commands))
        write("json", name, choice + whole(wire.json_encode(words) for words in commands))


# ── replies and options ───────────────────────────────────────────────────────────────────────────

REPLIES = {
    "hello": ["HELLO", "3"], "error": ["BOGUS"], "null": ["GET", "none"], "bulk": ["GET", "k"],
    "integer": ["STRLEN", "k"], "double": ["INCRBYFLOAT", "f", "1.5"], "mget": ["MGET", "k", "x"],
    "scan": ["SCAN", "0"], "info": ["INFO", "clients"], "config": ["CONFIG", "GET", "*max*"],
    "docs": ["COMMAND", "DOCS", "ttl"], "command": ["COMMAND", "INFO", "get"],
    "client-list": ["CLIENT", "LIST"], "slowlog": ["SLOWLOG", "GET", "2"],
    "latency": ["LATENCY", "HISTOGRAM", "set"], "memory": ["MEMORY", "STATS"],
    "lcs": ["LCS", "k", "l", "IDX", "WITHMATCHLEN"], "help": ["CONFIG", "HELP"],
    "acl": ["ACL", "GETUSER", "default"], "shards": ["CLUSTER", "SHARDS"],
}


def make_replies(server):
    with wire_client(server) as client:
        for words in (["HELLO", "3"], ["SET", "k", "ohmytext"], ["SET", "l", "mynewtext"],
                      ["CONFIG", "SET", "slowlog-log-slower-than", "0"], ["GET", "k"]):
            raw_reply(client, words)
        for name, words in REPLIES.items():
            reply = raw_reply(client, words)
            if len(reply) <= 2 * SEED_BYTES_MAX:
                write("cli_reply", "reply-" + name, reply)


def wire_client(server):
    return socket.create_connection(("127.0.0.1", server.port), 30)


def raw_reply(client, words):
    """The bytes of one reply: up to those of an ECHO that follows."""
    mark = b"$8\r\n~marked~\r\n"
    client.sendall(wire.resp_encode([word.encode() for word in words]) +
                   b"*2\r\n$4\r\nECHO\r\n" + mark)
    data = b""
    while not data.endswith(mark):
        data += client.recv(65536)
    return data[:-len(mark)]


def make_options(server):
    client = wire_client(server)
    words = raw_reply(client, ["CONFIG", "GET", "*"]).split(b"\r\n")
    texts = words[2::2]                      # *n, then $size and text, again and again
    lines = [b'%s "%s"\n' % (texts[i], texts[i + 1]) for i in range(0, len(texts) - 1, 2)
             if texts[i] not in (b"port", b"data-dir")]
    third = (len(lines) + 2) // 3
    for part in range(3):
        write("config", f"options-defaults-{part + 1}",
              b"".join(lines[part * third:(part + 1) * third]))
    write("config", "options-values",
          b"# a comment\n\nport 0\nbind 127.0.0.1 ::1\nmaxmemory 1gb\nappendfsync everysec\r\n"
          b"  hz 100  \nAPPENDONLY yes\nrequirepass 'it\\'s'\nslowlog-log-slower-than -1\n"
          b"log-format json\naof-segment-size 65536\nsnapshot-log-size 10kb\nrecover salvage\n")
    write("config", "options-mistakes",
          b"port 70000\nhz\nhz 1 2\nmaxmemory 99999999999999999999gb\nunknown x\n\"open\n")
    client.close()


# ── files ─────────────────────────────────────────────────────────────────────────────────────────

SESSION = [
    ["SET", "k", "v"], ["SET", "counter", "41"], ["INCR", "counter"], ["SET", "t", "x", "EX", "99"],
    ["APPEND", "k", "w" * 50], ["MSET", "a", "1", "b", "2", "c", "3"], ["RENAME", "a", "b"],
    ["DEL", "c", "k"], ["SETRANGE", "s", "20", "x"], ["INCRBYFLOAT", "f", "1.5"],
    ["COPY", "f", "g"], ["PERSIST", "t"], ["SET", "e", ""], ["PEXPIRE", "e", "100000"],
    ["GETDEL", "g"], ["FLUSHALL"], ["SET", "k2", "\x01" * 99],
]


def records_of(path):
    with open(path, "rb") as file:
        data = file.read()
    records = []
    at = LOG_START
    while data[at:at + RECORD_HEADER_BYTES].strip(b"\0"):
        size = struct.unpack_from("<I", data, at + 8)[0]
        end = at + (RECORD_HEADER_BYTES + size + 7) // 8 * 8
        records.append(data[at:end])
        at = end
    return records


def make_logs(directory):
    records = [record for path in sorted(glob.glob(os.path.join(directory, "data", "aof-*.log")))
               for record in records_of(path)]
    assert len(records) > len(SESSION)
    third = len(records) // 3
    pieces = [b"".join(records[i * third:(i + 1) * third])[:2 * SEED_BYTES_MAX] for i in range(3)]
    size = max(len(piece) for piece in pieces)
    three = b"".join(piece.ljust(size, b"\0") for piece in pieces)
    one = b"".join(records)[:SEED_BYTES_MAX]
    # First byte: 1 a valid header, 2 valid records, 4 sequence numbers in a row.
    for kind in (0, 1, 3, 7):
        write("aof", f"session-one-{kind}", bytes([kind, 1]) + one + bytes(2 * len(one)))
        write("aof", f"session-three-{kind}", bytes([kind, 1]) + three)


def blocks_of(path):
    """(entries, body) of each block."""
    with open(path, "rb") as file:
        data = file.read()
    at = SNAPSHOT_HEADER_BYTES
    while data[at + 28:at + 32] == b"SNB1":
        size, entries = struct.unpack_from("<II", data, at + 8)
        yield entries, data[at + SNAPSHOT_FRAME_BYTES:at + SNAPSHOT_FRAME_BYTES + size]
        at += SNAPSHOT_FRAME_BYTES + size


def make_snapshots(directory):
    paths = sorted(glob.glob(os.path.join(directory, "data", "snap-*.mdb")))
    blocks = sorted({block for path in paths for block in blocks_of(path)
                     if block[0] <= 8 and len(block[1]) <= 256}, key=lambda block: len(block[1]))
    assert len(blocks) > 3
    framed = [bytes([entries - 1, len(body) - 1]) + body for entries, body in blocks]
    # First byte: 1 a valid header, 2 valid frames, 4 with aux (of 5 bytes); 0 a block of a peer.
    for i in range(0, len(blocks), max(1, len(blocks) // 4)):
        write("snapshot", f"session-block-{i}", b"\0" + blocks[i][1])
        write("snapshot", f"session-framed-{i}", b"\3" + framed[i])
    write("snapshot", "session-blocks", b"\3" + b"".join(framed)[:SEED_BYTES_MAX])
    write("snapshot", "session-aux", b"\7auxes" + b"".join(framed)[:SEED_BYTES_MAX])
    with open(paths[0], "rb") as file:
        write("snapshot", "session-file", b"\0" + file.read()[:SEED_BYTES_MAX])


# ── gossip ────────────────────────────────────────────────────────────────────────────────────────

def gossip_items():
    def head(kind, a, b, number):
        return struct.pack("<BBBBQQ", kind, a, b, 0, number, number)
    states = [head(1, state, 2 if state == 1 else 0, 2) + struct.pack("<Q", 1 << 24 | state) +
              (struct.pack("<QQ", 3, 4) if state == 1 else b"") for state in range(4)]
    states.append(head(1, 2, 0, 1) + struct.pack("<Q", 1 << 24))    # we are dead
    advice = (head(2, 8, 5, 3) + struct.pack("<QHHHHIIQ", 9, 8001, 7001, 0, 0, 10, 256, 1 << 20) +
              b"10.0.0.30.1.0")
    return states + [advice]


def make_gossip():
    for kind in range(1, 6):
        head = (struct.pack("<IBBBB", 0x314f474d, kind, kind & 1, 0, 0) +
                struct.pack("<11Q", 1, 2, 2, 1, 1, 1, 1, 1, 1 << 24, 3 if kind > 1 else 0, 1))
        packets = [head + item for item in gossip_items()] + [head + b"".join(gossip_items())]
        write("gossip", f"packet-{kind}",
              b"".join(struct.pack("<H", len(packet)) + packet for packet in packets))


# ── who leads what ────────────────────────────────────────────────────────────────────────────────

def varint(value):
    data = b""
    while value >= 0x80:
        data += bytes([value & 0x7f | 0x80])
        value >>= 7
    return data + bytes([value])


def make_hints():
    config = b"\1\3" + b"".join(struct.pack("<QQB", node, 77, 1) for node in (2, 3, 5))
    joint = b"\1\2" + struct.pack("<QQBQQB", 2, 77, 2, 3, 77, 5)

    def entry(partition, term, flags, left, members):
        return (varint(partition) + varint(term) + bytes([flags]) + varint(left) +
                struct.pack("<H", len(members)) + members)
    entries = [entry(0, 1, 0, 0, config), entry(3, 300, 4, 1 << 30, joint),
               entry(9, 2, 1, 0, b""), entry(15, (1 << 48) - 1, 0, (1 << 64) - 1, config)]
    # First byte: 0 hints, 1 groups asked for, 2 groups that are gone.
    for is_all in range(2):
        for count in (0, 1, len(entries)):
            write("hints", f"hints-{'all' if is_all else 'changes'}-{count}",
                  struct.pack("<BBBQII", 0, 2, is_all, 7, 5, count) + b"".join(entries[:count]))
    write("hints", "ask", b"\1" + struct.pack("<4H", 0, 3, 15, 0xffff))
    write("hints", "gone", b"\2" + struct.pack("<HQQHQQ", 3, 7, 99, 15, (1 << 48) - 1, 0))


def main():
    make_requests()
    make_gossip()
    make_hints()
    with harness.Server("--partitions", "16") as server:
        make_replies(server)
        make_options(server)
    with tempfile.TemporaryDirectory() as directory:
        with harness.Server("--partitions", "16", directory=directory) as server:
            with wire_client(server) as client:
                for words in SESSION + SESSION[:-2]:
                    raw_reply(client, words)
                raw_reply(client, ["SAVE"])
            server.kill()
            make_logs(directory)
            make_snapshots(directory)


if __name__ == "__main__":
    main()
