#!/usr/bin/python3
"""run.py - runs every test of the project and ends with one line: "N passed, N failed".

STAGES below is the whole plan: what runs, in which order, for how long at most.  A stage first
runs its build command, then one of three kinds of tests:

  check     a command that succeeds or not: one test
  programs  unit test programs, listed by a command; each ends with "name: N passed, N failed"
  suites    Python files matching a pattern; each ends with "N passed, N failed"

Tests of one stage run side by side, each in a lane of its own: as many as the stage says, those of
LONGEST first, and those that measure time alone behind all others.

A program that crashes, hangs, or ends without that line counts as a failed test.  Words on the
command line select stages whose name contains one of them.  Logs of everything lie in build/log.
"""

import concurrent.futures
import dataclasses
import glob
import os
import queue
import re
import signal
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PYTHON = "/usr/bin/python3"
FUZZ_SECONDS = os.environ.get("FUZZ_SECONDS", "5")
BUILD_TIMEOUT_S = 1200
CPUS = os.cpu_count() or 2
SUITES_AT_ONCE = 1          # two take two thirds of the time, but load is what tests trip over
JOBS = f"-j{CPUS}"
LANES_MAX = 4               # harness.py has ports for so many
SLOWEST_SHOWN = 10


@dataclasses.dataclass
class Stage:
    name: str
    kind: str                      # check, programs, suites
    command: list                  # programs: what lists them; suites: patterns of files
    timeout_s: int                 # of each
    build: list = dataclasses.field(default_factory=list)
    env: dict = dataclasses.field(default_factory=dict)
    words: dict = dataclasses.field(default_factory=dict)   # program -> arguments of each run
    without: tuple = ()            # suites: file names that are left out
    alone: tuple = ()              # suites: file names with nothing else at their side
    at_once: int = 1               # so many side by side


def make(*words):
    return ["make", "--no-print-directory", JOBS, *words]


def servers(variant):
    return {"MINIDB": f"build/{variant}/minidb", "MINIDB_CLI": "build/minidb-cli"}


ASAN = make("VARIANT=asan", "CC=gcc", "unit-build", "sim-build", "build/asan/minidb")
# What has threads; not what only simulates, a hundred times slower.
THREADED = ("LAYERS_ONLY=io root",
            "TESTS_SKIP=consensus forward members raft_wire recovery replica transfer")
TSAN = make("VARIANT=tsan", "CC=gcc", *THREADED, "unit-build")
# Long, and about time and other people's clients rather than about memory.
LONG = ("test_elastic.py", "test_elastic_clients.py", "test_gossip.py", "test_hosts.py")
# They measure how soon the dead are found and leaders replaced.
TIMED = ("test_gossip.py", "test_hosts.py")
# They expect that leaders stay where they are; of nodes with asan, slow as they are, those beside
# other clusters do not.
STEADY = ("test_keyspace.py", "test_slot_port.py")
# They fill small disks, and type into terminals: what happens there depends on who is how quick.
BRITTLE = ("test_cli.py", "test_durability.py")
# A lane that begins one of these last would leave the others idle meanwhile.
LONGEST = ("cluster_sim", "transfer_test", "placement_test", "test_elastic_clients.py",
           "test_slot_port.py", "test_membership.py", "test_cluster.py", "test_keyspace.py")
FUZZ = make("VARIANT=fuzz", "CC=clang", "fuzz-build")

STAGES = [
    Stage("build gcc", "check", make("CC=gcc", "all"), BUILD_TIMEOUT_S),
    Stage("build clang", "check", make("CC=clang", "build/release-clang/minidb"), BUILD_TIMEOUT_S),
    Stage("lint", "check", make("lint"), 120),
    Stage("purity", "check", make("purity"), 120),
    Stage("unit", "programs", make("unit-list"), 120, build=make("CC=gcc", "unit-build"),
          at_once=CPUS),
    Stage("unit asan", "programs", make("VARIANT=asan", "unit-list"), 300, build=ASAN,
          at_once=CPUS),
    Stage("unit tsan", "programs", make("VARIANT=tsan", *THREADED, "unit-list"), 300, build=TSAN,
          at_once=CPUS),
    Stage("sim", "programs", make("sim-list"), 600, build=make("CC=gcc", "sim-build"),
          at_once=CPUS, words={"cluster_sim": [["1", "75"], ["76", "75"]]}),
    Stage("sim points", "check", ["build/release/sim/cluster_sim", "--points", "--quiet"], 900,
          build=make("CC=gcc", "sim-build")),
    Stage("sim asan", "programs", make("VARIANT=asan", "sim-list"), 600, build=ASAN,
          at_once=CPUS, words={"crash_sim": [["1", "20"]],
                               "cluster_sim": [["1", "13"], ["14", "12"]]}),
    Stage("spec", "suites", ["tests/spec/*.py"], 300, env=servers("release"),
          at_once=CPUS),
    Stage("e2e", "suites", ["tests/e2e/test_*.py"], 600, env=servers("release"),
          alone=TIMED + BRITTLE, at_once=SUITES_AT_ONCE),
    Stage("e2e asan", "suites", ["tests/spec/*.py", "tests/e2e/test_*.py"], 900,
          env=servers("asan"), without=LONG, alone=STEADY + BRITTLE, at_once=SUITES_AT_ONCE),
    Stage("fuzz", "check", make("VARIANT=fuzz", "CC=clang", "fuzz-run",
                                f"FUZZ_SECONDS={FUZZ_SECONDS}"), 900, build=FUZZ),
]

SUMMARY = re.compile(r"(?:^|: )(\d+) passed, (\d+) failed$")
IS_TERMINAL = sys.stdout.isatty()


@dataclasses.dataclass
class Result:
    name: str
    passed: int
    failed: int
    seconds: float
    tests: list = dataclasses.field(default_factory=list)   # of (seconds, what)


def progress(text):
    """A line that the next one overwrites, on a terminal only."""
    if IS_TERMINAL:
        print(f"\r\033[K{text[:110]}", end="", flush=True)


def say(text):
    progress("")
    print(text, flush=True)


RUNNING = set()     # processes that lead a group


def end_group(process):
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def run(command, timeout_s, env, label):
    """Runs a command in a process group of its own; returns (status, output).  Status None: it took
    too long and was killed with all its children."""
    log = os.path.join(ROOT, "build", "log", re.sub(r"[^A-Za-z0-9._-]+", "-", label) + ".log")
    os.makedirs(os.path.dirname(log), exist_ok=True)
    with open(log, "wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output,
                                   stderr=subprocess.STDOUT, start_new_session=True,
                                   env={**os.environ, **env})
        RUNNING.add(process)
        try:
            status = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            end_group(process)
            process.wait()
            RUNNING.discard(process)
    with open(log, "rb") as output:
        return status, output.read().decode("utf-8", "replace")


def show_failure(label, status, output):
    if status is None:
        why = "took too long and was killed"
    elif status < 0:
        why = f"died of {signal.Signals(-status).name}"
    else:
        why = f"exit status {status}"
    lines = output.rstrip().splitlines()
    say(f"FAILED {label}: {why}")
    if len(lines) > 150:
        print(f"  ... {len(lines) - 150} lines before, all in build/log")
    for line in lines[-150:]:
        print("  " + line)
    sys.stdout.flush()


def counts(status, output):
    """(passed, failed) of a program that ends with the summary line."""
    lines = output.rstrip().splitlines()
    match = SUMMARY.search(lines[-1].strip()) if lines else None
    if match is None:
        return 0, 1
    passed, failed = int(match.group(1)), int(match.group(2))
    if failed == 0 and (status != 0 or passed == 0):
        failed = 1
    return passed, failed


def run_test(stage, lanes, label, command):
    """Runs it as soon as a lane is free; returns (passed, failed, seconds, status, output)."""
    lane = lanes.get()
    start = time.monotonic()
    try:
        status, output = run(command, stage.timeout_s, {**stage.env, "TEST_LANE": str(lane)},
                             f"{stage.name}-{label}")
    finally:
        lanes.put(lane)
    return (*counts(status, output), time.monotonic() - start, status, output)


def run_side_by_side(stage, commands, at_once, result):
    lanes = queue.Queue()
    for lane in range(min(at_once, LANES_MAX)):
        lanes.put(lane)
    with concurrent.futures.ThreadPoolExecutor(lanes.qsize()) as pool:
        futures = {pool.submit(run_test, stage, lanes, *one): one[0] for one in commands}
        try:
            for number, future in enumerate(concurrent.futures.as_completed(futures), 1):
                label = futures[future]
                progress(f"{stage.name} [{number}/{len(commands)}] after {label}")
                passed, failed, seconds, status, output = future.result()
                result.passed += passed
                result.failed += failed
                result.tests.append((seconds, f"{stage.name}: {label}"))
                if failed:
                    show_failure(f"{stage.name}: {label}", status, output)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in list(RUNNING):
                end_group(process)
            raise


def run_tests(stage, commands, result):
    """commands: of (label, words, file name)."""
    def rank(name):
        return LONGEST.index(name) if name in LONGEST else len(LONGEST)
    commands = sorted(commands, key=lambda one: rank(one[2]))
    alone = [one[:2] for one in commands if one[2] in stage.alone]
    others = [one[:2] for one in commands if one[2] not in stage.alone]
    for group, at_once in ((others, stage.at_once), (alone, 1)):
        if group:
            run_side_by_side(stage, group, at_once, result)


def programs(stage, result):
    status, output = run(stage.command, 60, stage.env, f"{stage.name}-list")
    paths = [path for path in output.split() if path.startswith("build/")]
    if status != 0 or not paths:
        show_failure(stage.name, status, output)
        result.failed += 1
        return
    run_tests(stage, [(" ".join([path.split("/", 2)[2], *words]), [path, *words],
                       os.path.basename(path))
                      for path in paths
                      for words in stage.words.get(os.path.basename(path), [[]])], result)


def suites(stage, result):
    paths = sorted(path for pattern in stage.command
                   for path in glob.glob(os.path.join(ROOT, pattern))
                   if os.path.basename(path) not in stage.without)
    run_tests(stage, [(os.path.basename(path), [PYTHON, path], os.path.basename(path))
                      for path in paths], result)


def check(stage, result):
    progress(stage.name)
    status, output = run(stage.command, stage.timeout_s, stage.env, stage.name)
    if status == 0:
        result.passed += 1
    else:
        result.failed += 1
        show_failure(stage.name, status, output)


def run_stage(stage):
    start = time.monotonic()
    result = Result(stage.name, 0, 0, 0.0)
    if stage.build:
        progress(f"{stage.name}: building")
        status, output = run(stage.build, BUILD_TIMEOUT_S, {}, f"{stage.name}-build")
        result.tests.append((time.monotonic() - start, f"{stage.name}: build"))
        if status != 0:
            show_failure(f"{stage.name}: build", status, output)
            result.failed += 1
    if not result.failed:
        {"check": check, "programs": programs, "suites": suites}[stage.kind](stage, result)
    result.seconds = time.monotonic() - start
    say(f"{'ok    ' if not result.failed else 'FAILED'} {stage.name:<12} {result.passed:>6} passed "
        f"{result.failed:>4} failed {result.seconds:>7.1f} s")
    return result


def show_slowest(results):
    tests = sorted((test for result in results for test in result.tests), reverse=True)
    print(f"\n{'seconds':>9}  slowest")
    for seconds, what in tests[:SLOWEST_SHOWN]:
        print(f"{seconds:>9.1f}  {what}")


def main():
    words = sys.argv[1:]
    stages = [s for s in STAGES if not words or any(word in s.name for word in words)]
    os.chdir(ROOT)
    results = [run_stage(stage) for stage in stages]
    passed = sum(result.passed for result in results)
    failed = sum(result.failed for result in results)
    show_slowest(results)
    print(f"\n{'stage':<14}{'passed':>8}{'failed':>8}{'seconds':>9}")
    for result in results:
        print(f"{result.name:<14}{result.passed:>8}{result.failed:>8}{result.seconds:>9.1f}")
    print(f"{passed} passed, {failed} failed", flush=True)
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
