#!/usr/bin/python3
"""run.py - runs every test of the project and ends with one line: "N passed, N failed".

STAGES below is the whole plan: what runs, in which order, for how long at most.  A stage first
runs its build command, then one of three kinds of tests:

  check     a command that succeeds or not: one test
  programs  unit test programs, listed by a command; each ends with "name: N passed, N failed"
  suites    Python files matching a pattern; each ends with "N passed, N failed"

A program that crashes, hangs, or ends without that line counts as a failed test.  Words on the
command line select stages whose name contains one of them.  Logs of everything lie in build/log.
"""

import dataclasses
import glob
import os
import re
import signal
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PYTHON = "/usr/bin/python3"
JOBS = f"-j{os.cpu_count() or 2}"
FUZZ_SECONDS = os.environ.get("FUZZ_SECONDS", "5")
BUILD_TIMEOUT_S = 1200


@dataclasses.dataclass
class Stage:
    name: str
    kind: str                      # check, programs, suites
    command: list                  # programs: what lists them; suites: patterns of files
    timeout_s: int                 # of each
    build: list = dataclasses.field(default_factory=list)
    env: dict = dataclasses.field(default_factory=dict)
    words: dict = dataclasses.field(default_factory=dict)   # program -> its arguments
    without: tuple = ()            # suites: file names that are left out


def make(*words):
    return ["make", "--no-print-directory", JOBS, *words]


def servers(variant):
    return {"MINIDB": f"build/{variant}/minidb", "MINIDB_CLI": "build/minidb-cli"}


def seeds(**counts):
    """How many lives each simulator lives; one that is not named decides for itself."""
    return {name: ["1", str(count)] for name, count in counts.items()}


ASAN = make("VARIANT=asan", "CC=gcc", "unit-build", "sim-build", "build/asan/minidb")
# What has threads; not what only simulates, a hundred times slower.
THREADED = ("LAYERS_ONLY=io root",
            "TESTS_SKIP=consensus forward members raft_wire recovery replica transfer")
TSAN = make("VARIANT=tsan", "CC=gcc", *THREADED, "unit-build")
# Long, and about time and other people's clients rather than about memory.
TIMED = ("test_elastic.py", "test_elastic_clients.py", "test_gossip.py", "test_hosts.py")
FUZZ = make("VARIANT=fuzz", "CC=clang", "fuzz-build")

STAGES = [
    Stage("build gcc", "check", make("CC=gcc", "all"), BUILD_TIMEOUT_S),
    Stage("build clang", "check", make("CC=clang", "build/release-clang/minidb"), BUILD_TIMEOUT_S),
    Stage("lint", "check", make("lint"), 120),
    Stage("purity", "check", make("purity"), 120),
    Stage("unit", "programs", make("unit-list"), 120, build=make("CC=gcc", "unit-build")),
    Stage("unit asan", "programs", make("VARIANT=asan", "unit-list"), 300, build=ASAN),
    Stage("unit tsan", "programs", make("VARIANT=tsan", *THREADED, "unit-list"), 300, build=TSAN),
    Stage("sim", "programs", make("sim-list"), 600, build=make("CC=gcc", "sim-build"),
          words=seeds(cluster_sim=150)),
    Stage("sim points", "check", ["build/release/sim/cluster_sim", "--points", "--quiet"], 900,
          build=make("CC=gcc", "sim-build")),
    Stage("sim asan", "programs", make("VARIANT=asan", "sim-list"), 600, build=ASAN,
          words=seeds(crash_sim=20, cluster_sim=25)),
    Stage("spec", "suites", ["tests/spec/*.py"], 300, env=servers("release")),
    Stage("e2e", "suites", ["tests/e2e/test_*.py"], 600, env=servers("release")),
    Stage("e2e asan", "suites", ["tests/spec/*.py", "tests/e2e/test_*.py"], 900,
          env=servers("asan"), without=TIMED),
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


def progress(text):
    """A line that the next one overwrites, on a terminal only."""
    if IS_TERMINAL:
        print(f"\r\033[K{text[:110]}", end="", flush=True)


def say(text):
    progress("")
    print(text, flush=True)


def run(command, timeout_s, env, label):
    """Runs a command in a process group of its own; returns (status, output).  Status None: it took
    too long and was killed with all its children."""
    log = os.path.join(ROOT, "build", "log", re.sub(r"[^A-Za-z0-9._-]+", "-", label) + ".log")
    os.makedirs(os.path.dirname(log), exist_ok=True)
    with open(log, "wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output,
                                   stderr=subprocess.STDOUT, start_new_session=True,
                                   env={**os.environ, **env})
        try:
            status = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
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


def run_tests(stage, commands):
    passed = failed = 0
    for number, (label, command) in enumerate(commands, 1):
        progress(f"{stage.name} [{number}/{len(commands)}] {label}")
        status, output = run(command, stage.timeout_s, stage.env, f"{stage.name}-{label}")
        good, bad = counts(status, output)
        passed += good
        failed += bad
        if bad:
            show_failure(f"{stage.name}: {label}", status, output)
    return passed, failed


def programs(stage):
    status, output = run(stage.command, 60, stage.env, f"{stage.name}-list")
    paths = [path for path in output.split() if path.startswith("build/")]
    if status != 0 or not paths:
        show_failure(stage.name, status, output)
        return 0, 1
    return run_tests(stage, [(path.split("/", 2)[2],
                              [path, *stage.words.get(os.path.basename(path), [])])
                             for path in paths])


def suites(stage):
    paths = sorted(path for pattern in stage.command
                   for path in glob.glob(os.path.join(ROOT, pattern))
                   if os.path.basename(path) not in stage.without)
    return run_tests(stage, [(os.path.basename(path), [PYTHON, path]) for path in paths])


def check(stage):
    progress(stage.name)
    status, output = run(stage.command, stage.timeout_s, stage.env, stage.name)
    if status != 0:
        show_failure(stage.name, status, output)
    return (1, 0) if status == 0 else (0, 1)


def run_stage(stage):
    start = time.monotonic()
    passed, failed = 0, 0
    if stage.build:
        progress(f"{stage.name}: building")
        status, output = run(stage.build, BUILD_TIMEOUT_S, {}, f"{stage.name}-build")
        if status != 0:
            show_failure(f"{stage.name}: build", status, output)
            failed = 1
    if not failed:
        kinds = {"check": check, "programs": programs, "suites": suites}
        passed, failed = kinds[stage.kind](stage)
    result = Result(stage.name, passed, failed, time.monotonic() - start)
    say(f"{'ok    ' if not failed else 'FAILED'} {stage.name:<12} {passed:>6} passed "
        f"{failed:>4} failed {result.seconds:>7.1f} s")
    return result


def main():
    words = sys.argv[1:]
    stages = [s for s in STAGES if not words or any(word in s.name for word in words)]
    os.chdir(ROOT)
    results = [run_stage(stage) for stage in stages]
    passed = sum(result.passed for result in results)
    failed = sum(result.failed for result in results)
    print(f"\n{'stage':<14}{'passed':>8}{'failed':>8}{'seconds':>9}")
    for result in results:
        print(f"{result.name:<14}{result.passed:>8}{result.failed:>8}{result.seconds:>9.1f}")
    print(f"{passed} passed, {failed} failed", flush=True)
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
