#!/usr/bin/python3
"""overload.py - full load for as long as one likes: nobody may be taken for dead, nothing be lost.

Three nodes with `appendfsync always`, writers that pipeline SETs through every node as fast as they
are answered, readers that compare what they get, and processes that only burn time, so that every
processor has more to do than it can.  At the end

  DEAD       how often any node took another one for dead: must be 0
  suspect    how often one was suspected and spoke up
  lost       keys whose value is not the last one that was acknowledged: must be 0
  errors     replies that were errors, or connections that broke
  longest    the longest wait for the answers to one pipeline, in seconds

usage: overload.py [--minutes N] [--nodes N] [--hogs N]
"""
import argparse
import multiprocessing
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
import cluster  # noqa: E402  pylint: disable=wrong-import-position

WRITERS, DEPTH, KEYS = 3, 100, 20000
SAY_EVERY_S, ANSWER_S = 60, 120


def hog():
    while True:     # until it is killed
        sum(range(100000))


def write(nodes, number, stopped, pipe):
    """SETs of its own keys in turn, a GET before each hundred; through one node after the other."""
    acknowledged, count, errors, wrong, longest, at = {}, 0, 0, 0, 0.0, number
    connection = None
    while not stopped.is_set():
        keys = [f"full:{number}:{(count + i) % KEYS}" for i in range(DEPTH)]
        begin = time.monotonic()
        try:
            if connection is None:
                connection = cluster.Connection(nodes[at % len(nodes)], timeout_s=30)
            connection.send("GET", keys[0])
            for i, key in enumerate(keys):
                connection.send("SET", key, count + i)
            was = connection.reply()
            if keys[0] in acknowledged and was != str(acknowledged[keys[0]]):
                wrong += 1
                print(f"  GET {keys[0]}: {was}, not {acknowledged[keys[0]]}", flush=True)
            for i, key in enumerate(keys):
                if connection.reply() == "OK":
                    acknowledged[key] = count + i
                else:
                    errors += 1
                    acknowledged.pop(key, None)     # it may have happened
            count += DEPTH
        except (OSError, EOFError):
            errors += 1
            for key in keys:
                acknowledged.pop(key, None)
            connection, at = None, at + 1
        longest = max(longest, time.monotonic() - begin)
        if count % (50 * DEPTH) == 0 and connection is not None:
            connection.close()
            connection, at = None, at + 1
    pipe.send((acknowledged, count, errors, wrong, longest))
    pipe.close()


def lost(nodes, acknowledged):
    """Of each node is asked a part of the keys."""
    missing = 0
    keys = sorted(acknowledged)
    for number, node in enumerate(nodes):
        with cluster.Connection(node) as connection:
            for key in keys[number::len(nodes)]:
                now = connection.command("GET", key)
                if now != str(acknowledged[key]):
                    missing += 1
                    print(f"  at the end {key} is {now}, not {acknowledged[key]}", flush=True)
    return missing


def events(nodes, name):
    return sum(node.log().count(f"event={name} ") for node in nodes)


def run(options):
    with cluster.Cluster(options.nodes, "--appendfsync", "always") as them:
        nodes = them.nodes
        before = events(nodes, "node_dead")
        context = multiprocessing.get_context("fork")
        stopped, pipes, processes = context.Event(), [], []
        for number in range(WRITERS):
            here, there = context.Pipe(duplex=False)
            pipes.append(here)
            processes.append(context.Process(target=write, daemon=True,
                                             args=(nodes, number, stopped, there)))
        hogs = [context.Process(target=hog, daemon=True) for _ in range(options.hogs)]
        for process in processes + hogs:
            process.start()
        begun = said = time.monotonic()
        while time.monotonic() < begun + options.minutes * 60:
            time.sleep(1.0)
            for node in nodes:
                if node.process.poll() is not None:
                    sys.exit(f"n{node.number} ended by itself: {node.log()[-2000:]}")
            if time.monotonic() > said + SAY_EVERY_S:
                said = time.monotonic()
                print(f"{(said - begun) / 60:.0f} of {options.minutes:g} min: "
                      f"DEAD {events(nodes, 'node_dead') - before}, "
                      f"suspect {events(nodes, 'node_suspect')}", flush=True)
        dead, suspect = events(nodes, "node_dead") - before, events(nodes, "node_suspect")
        for process in hogs:
            process.kill()
        stopped.set()
        for pipe in pipes:
            if not pipe.poll(ANSWER_S):
                sys.exit("a writer hangs")
        results = [pipe.recv() for pipe in pipes]
        missing = sum(lost(nodes, result[0]) + result[3] for result in results)
        count, errors = (sum(result[at] for result in results) for at in (1, 2))
        print(f"{'minutes':>8} {'SETs':>11} {'per s':>7} {'DEAD':>5} {'suspect':>8} {'lost':>5} "
              f"{'errors':>7} {'longest':>8}")
        print(f"{options.minutes:8g} {count:11d} {count / options.minutes / 60:7.0f} {dead:5d} "
              f"{suspect:8d} {missing:5d} {errors:7d} {max(r[4] for r in results):8.2f}")
        return dead == 0 and missing == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--hogs", type=int, default=os.cpu_count())
    good = run(parser.parse_args())
    print("1 passed, 0 failed" if good else "0 passed, 1 failed")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
