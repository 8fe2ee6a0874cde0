#!/usr/bin/python3
"""run_spec.py - runs the tables in commands/ and checks that no command is without a row.

    run_spec.py [--on in-process|minidb|cluster|redis|all] [--protocol resp2|resp3|json|all]
                [table ...]

The same tables run over the commands alone (in-process: the only place where time can be moved),
over a minidb server, over three that are one database, and over Debian's redis-server, which checks
the tables themselves.  Without arguments: everything that is there.  README.md has the notation.
"""

import argparse
import glob
import os
import re
import shutil
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "lib"), os.path.join(HERE, "..", "e2e")]

import cluster                                                     # noqa: E402
import harness                                                     # noqa: E402
import table                                                       # noqa: E402
import wire                                                        # noqa: E402

PROTOCOLS = ("resp2", "resp3", "json")
FAILURES_SHOWN_MAX = 40


class Tally:
    def __init__(self):
        self.passed = 0
        self.failed = 0
        self.skipped = 0     # rows that a cluster refuses, with the rest of their scenes

    def add(self, ok, what):
        if ok:
            self.passed += 1
            return
        self.failed += 1
        if self.failed <= FAILURES_SHOWN_MAX:
            print(what, flush=True)


def in_process_program():
    """Beside the server: build/<variant>/tests/command/spec_stdio_test."""
    folder = os.path.dirname(harness.MINIDB)
    if os.path.basename(folder) == "build":
        folder = os.path.join(folder, "release")
    return os.environ.get("SPEC_STDIO",
                          os.path.join(folder, "tests", "command", "spec_stdio_test"))


def redis_version():
    text = os.popen("redis-server --version").read()
    match = re.search(r"v=(\d+)\.(\d+)\.(\d+)", text)
    return tuple(int(part) for part in match.groups()) if match else None


# ── running rows ────────────────────────────────────────────────────────────────────────────────

def run_scene(scene, target, protocol, tally, label):
    """Time can be moved in-process only: elsewhere a scene ends where it would have to be.  So it
    does where a cluster refuses keys of several partitions: what follows builds on that row."""
    connection = None
    try:
        connection = target.connect(protocol)
        connection.call([b"FLUSHALL"])
        for number, row in enumerate(scene.rows):
            if not table.applies(row, target, protocol):
                continue
            if row.advance_ms is not None:
                if not target.has_virtual_time:
                    break
                connection.advance(row.advance_ms)
                continue
            reply, ok = ask(connection, row, target, protocol)
            if not ok and target.is_crossslot(row.argv, reply):
                tally.skipped += len(scene.rows) - number
                break
            tally.add(ok, f"{os.path.relpath(row.path)}:{row.line}: {label} {protocol}: "
                          f"{row.text}\n    got {reply!r}"[:1000])
    except (wire.ProtocolError, OSError, ValueError) as error:
        tally.add(False, f"{scene.rows[0].path}:{scene.rows[0].line}: {label} {protocol}: {error}")
    finally:
        if connection is not None:
            connection.close()


def ask(connection, row, target, protocol):
    """Sends a row; returns (reply, whether it is the right one)."""
    until = time.monotonic() + target.patience_s(row.argv)
    while True:
        reply = connection.call(row.argv)
        ok = table.matches(row.expected, reply, protocol)
        if ok or time.monotonic() >= until:
            return reply, ok
        time.sleep(0.01)


def run_tables(paths, target, protocols, tally, label):
    for path in paths:
        scenes = table.read_table(path)
        for protocol in protocols:
            if protocol == "json" and target.kind == "redis":
                continue
            for scene in scenes:
                run_scene(scene, target, protocol, tally, label)


# ── targets ─────────────────────────────────────────────────────────────────────────────────────

def run_in_process(paths, protocols, tally):
    for is_effects in (False, True):
        target = wire.InProcess(in_process_program(), effects=is_effects)
        run_tables(paths, target, protocols, tally,
                   "in-process by effects" if is_effects else "in-process")
        tally.add(target.stop() == 0, "the in-process server failed")


def run_minidb(paths, protocols, tally):
    with harness.Server() as server:
        run_tables(paths, wire.Tcp(server.port, "minidb"), protocols, tally, "minidb")


class ClusterNode(wire.Tcp):
    """One node of a cluster."""

    is_member = True

    def __init__(self, node):
        super().__init__(node.port, "minidb")
        self.node = node

    def patience_s(self, argv):
        """These look at the node's own replicas, which follow their leaders."""
        local = (b"INFO", b"STATS", b"MEMORY", b"DEBUG")
        is_local = argv[0].upper() in local or argv[-1].upper() == b"ANY"
        return 10 if is_local else 0

    def is_crossslot(self, argv, reply):
        """True when a node may refuse this request: its arguments lie in several partitions."""
        if not isinstance(reply, wire.Error) or not reply.startswith("CROSSSLOT"):
            return False
        return len({self.partition_of(word) for word in argv[1:]}) > 1

    def partition_of(self, key):
        answer = self.node.json({"type": "CLUSTER", "args": ["ROUTE", wire.json_arg(key)]})
        return answer["data"]["partition"]


def run_cluster(paths, protocols, tally):
    """Each protocol over another node: every node takes every command."""
    with cluster.Cluster(3) as three:
        for protocol in protocols:
            node = three.nodes[PROTOCOLS.index(protocol)]
            run_tables(paths, ClusterNode(node), [protocol], tally, f"n{node.number} of three")


def run_redis(paths, protocols, tally):
    with harness.Server("--appendonly", "no", kind="redis") as server:
        target = wire.Tcp(server.port, "redis", redis_version())
        run_tables(paths, target, protocols, tally, "redis")


# ── coverage ────────────────────────────────────────────────────────────────────────────────────

def table_commands():
    """The names in command_table.def: commands, and "parent|name" for subcommands."""
    path = os.path.join(HERE, "..", "..", "src", "command", "command_table.def")
    with open(path, encoding="utf-8") as file:
        text = re.sub(r"/\*.*?\*/", "", file.read(), flags=re.DOTALL)
    names = re.findall(r"^COMMAND\((\w+),", text, re.MULTILINE)
    pairs = re.findall(r"^SUBCOMMAND\((\w+),\s*([\w-]+|\"[\w-]+\"),", text, re.MULTILINE)
    return names, [f"{parent}|{name.strip(chr(34))}" for parent, name in pairs]


def check_coverage(paths, tally):
    """Every command and subcommand has a row."""
    seen = set()
    for path in paths:
        for scene in table.read_table(path):
            for row in scene.rows:
                words = [word.decode("utf-8", "replace").lower() for word in row.argv[:2]]
                seen.add("".join(words[:1]))
                seen.add("|".join(words))
    names, subcommands = table_commands()
    for name in names + [s.replace("_", "-") if s not in seen else s for s in subcommands]:
        tally.add(name in seen, f"no row in tests/spec/commands for {name}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--on", default="all")
    parser.add_argument("--protocol", default="all")
    parser.add_argument("tables", nargs="*")
    options = parser.parse_args()
    everything = sorted(glob.glob(os.path.join(HERE, "commands", "*.txt")))
    paths = options.tables or everything
    protocols = PROTOCOLS if options.protocol == "all" else (options.protocol,)
    tally = Tally()
    if options.on in ("all", "in-process") and os.path.exists(in_process_program()):
        run_in_process([p for p in paths if is_data(p)], protocols, tally)
    if options.on in ("all", "redis") and shutil.which("redis-server"):
        run_redis(paths, protocols, tally)
    if options.on in ("all", "minidb"):
        run_minidb(paths, protocols, tally)
    if options.on in ("all", "cluster"):
        run_cluster(paths, protocols, tally)
        print(f"{tally.skipped} rows lie behind keys of several partitions", flush=True)
    if options.on == "all" and not options.tables:
        check_coverage(everything, tally)
    print(f"{tally.passed} passed, {tally.failed} failed", flush=True)
    return 1 if tally.failed or not tally.passed else 0


def is_data(path):
    """Tables of commands that need a whole server say so in their first line: "# server"."""
    with open(path, encoding="utf-8") as file:
        return not file.readline().startswith("# server")


if __name__ == "__main__":
    sys.exit(main())
