#!/usr/bin/python3
"""minidb beside Debian's redis-server, in one run.

The host's speed drifts by a quarter within minutes, so both servers run at the same time and short
slices of load alternate between them; only slices side by side are compared.  The server is pinned
to one core, the load to the other.  The steadier figure is the server's CPU time per operation,
read from /proc (all threads).  Every row: the ratio minidb / other as minimum, median, maximum over
the pairs of slices, and both medians.

usage: bench/bench.py [--quick] [--only WORD ...]
       WORD: cpu memory start latency always cluster (three nodes; see cluster_bench.py)
       elastic (nodes that come, leave and die; see elastic_bench.py)
"""
import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import cluster_bench
import elastic_bench
from servers import (KEY_BYTES, KEYS, LOAD_CORE, MINIDB, VALUE_BYTES, Table, fill, load, minidb,
                     progress, redis)


def bench_cpu(table, options, directory):
    slices = 3 if options.quick else 7
    for label, extra in (("", ()), (" (no AOF)", ("--appendonly", "no"))):
        path = os.path.join(directory, "cpu" + label.strip(" ()").replace(" ", ""))
        ours, theirs = minidb(path, *extra), redis()
        for s in (ours, theirs):
            fill(s, 200_000 if options.quick else KEYS)
        for pipeline, must, aim, requests in ((1, "0.95", "0.82", 100_000),
                                              (16, "0.65", "0.45", 500_000),
                                              (64, "0.60", "0.35", 1_000_000)):
            for test in ("get", "set"):
                pairs = []
                for i in range(slices):
                    progress(f"{test} pipeline {pipeline}{label}: slice {i + 1} of {slices}")
                    pairs.append((load(ours, test, requests, pipeline)[1],
                                  load(theirs, test, requests, pipeline)[1]))
                table.add(f"CPU per {test.upper()}, pipeline {pipeline}{label}", must, aim,
                          [a / b for a, b in pairs], statistics.median(a for a, _ in pairs),
                          statistics.median(b for _, b in pairs), "us/op")
        ours.stop()
        theirs.stop()


def bench_memory(table, options, directory):
    for keys, ttl, must, aim in ((5_000_000, False, "0.35", "0.25"),
                                 (1_000_000, True, "0.40", "0.28")):
        if options.quick:
            keys //= 5
        figures = []
        path = os.path.join(directory, f"mem{ttl}")
        for s in (minidb(path, "--snapshot-log-size", "0"), redis()):
            before = s.rss()
            fill(s, keys, ttl)
            time.sleep(2)
            figures.append((s.rss() - before) / keys - KEY_BYTES - VALUE_BYTES)
            s.stop()
        what = "all with a TTL" if ttl else "no TTL"
        table.add(f"memory per key over payload, {keys / 1e6:g}M keys, {what}", must, aim,
                  [figures[0] / figures[1]], figures[0], figures[1], "bytes")


def bench_start(table, options, directory):
    keys = 1_000_000 if options.quick else 5_000_000
    path = os.path.join(directory, "start")
    ours = minidb(path)
    theirs_dir = os.path.join(directory, "redis")
    os.makedirs(theirs_dir, exist_ok=True)
    theirs = redis("--save", "", "--appendonly", "no", "--dbfilename", "dump.rdb",
                   directory=theirs_dir)
    for s in (ours, theirs):
        fill(s, keys)
        s.command("SAVE")
        s.command("SAVE")  # two generations: the log before them is no longer needed
        s.stop()
    pairs = []
    for i in range(3 if options.quick else 5):
        progress(f"start {i + 1}")
        ours.start()
        theirs.start()
        pairs.append((ours.start_s, theirs.start_s))
        for s in (ours, theirs):
            size = int(s.command("DBSIZE")[1:])
            assert size == keys, (s.name, size)
            s.stop()
    table.add(f"start from a snapshot of {keys / 1e6:g}M keys", "0.60", "0.30",
              [a / b for a, b in pairs], statistics.median(a for a, _ in pairs),
              statistics.median(b for _, b in pairs), "s")


def latency_p999(server, requests):
    """p99.9 in milliseconds of SETs under load, from redis-benchmark's own histogram."""
    out = subprocess.run(["taskset", "-c", LOAD_CORE, "redis-benchmark", "-p", str(server.port),
                          "-t", "set", "-n", str(requests), "-c", "50", "-r", str(KEYS),
                          "-d", str(VALUE_BYTES), "--precision", "3"],
                         check=True, capture_output=True, text=True).stdout
    best = None
    for share, ms in re.findall(r"([\d.]+)% <= ([\d.]+) milliseconds \(cumulative", out):
        if float(share) >= 99.9:
            best = float(ms)
            break
    return best


def bench_latency(table, options, directory):
    keys = 500_000 if options.quick else 2_000_000
    ours = minidb(os.path.join(directory, "latency"))
    fill(ours, keys)
    pairs = []
    for i in range(5 if options.quick else 9):
        progress(f"latency pair {i + 1}")
        quiet = latency_p999(ours, 150_000)
        before = int(ours.command("LASTSAVE")[1:])
        ours.command("BGSAVE")
        busy = latency_p999(ours, 150_000)
        for _ in range(600):  # let the snapshot end before the next quiet slice
            if b"rdb_bgsave_in_progress:0" in ours.command("INFO", "persistence"):
                break
            time.sleep(0.1)
        pairs.append((busy, quiet))
        assert int(ours.command("LASTSAVE")[1:]) >= before
    ours.stop()
    table.add("p99.9 of SET while a snapshot is taken / without", "1.50", "1.10",
              [a / b for a, b in pairs], statistics.median(a for a, _ in pairs),
              statistics.median(b for _, b in pairs), "ms (both minidb)")


def bench_always(table, options, directory):
    path = os.path.join(directory, "redis-always")
    os.makedirs(path, exist_ok=True)
    ours = minidb(os.path.join(directory, "always"), "--appendfsync", "always")
    theirs = redis("--save", "", "--appendonly", "yes", "--appendfsync", "always",
                   "--auto-aof-rewrite-percentage", "0", directory=path)
    pairs = []
    for i in range(3 if options.quick else 7):
        progress(f"always slice {i + 1}")
        pairs.append((load(ours, "set", 100_000, 1)[0], load(theirs, "set", 100_000, 1)[0]))
    ours.stop()
    theirs.stop()
    table.add("SET appendfsync always, throughput (redis / minidb)", "0.90", "0.50",
              [b / a for a, b in pairs], statistics.median(a for a, _ in pairs),
              statistics.median(b for _, b in pairs), "op/s")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer and smaller slices")
    parser.add_argument("--only", nargs="*", default=[])
    options = parser.parse_args()
    if not os.path.exists(MINIDB):
        sys.exit("build/minidb is missing: run make")
    benches = {"cpu": bench_cpu, "memory": bench_memory, "start": bench_start,
               "latency": bench_latency, "always": bench_always,
               "cluster": cluster_bench.bench_cluster, "elastic": elastic_bench.bench_elastic}
    if os.getloadavg()[0] > 0.5:
        print(f"others are using this machine (load average {os.getloadavg()[0]:.1f}): throughput "
              "and latency will say more about them")
    table = Table()
    table.print_row(Table.HEAD)
    directory = tempfile.mkdtemp(prefix="minidb-bench-")
    try:
        for name, run in benches.items():
            if not options.only or name in options.only:
                run(table, options, directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
