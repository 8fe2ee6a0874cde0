#!/usr/bin/python3
"""minidb-cli as scripts and people use it: one command, pipes, the interactive shell on a terminal.

CLI_SERVER=redis runs it against Debian's redis-server instead.
"""

import base64
import fcntl
import json
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import tempfile
import termios
import threading
import time
import unittest

import harness

KIND = os.environ.get("CLI_SERVER", "minidb")
WAIT_S = 20


def environment(home):
    clean = {name: value for name, value in os.environ.items()
             if name not in ("MINIDB_PASSWORD", "REDISCLI_AUTH", "MINIDB_HISTFILE")}
    return {**clean, "HOME": home, "TERM": "xterm", "LC_ALL": "C.UTF-8"}


class Terminal:
    """The program on a pseudo terminal.  What it printed is kept in `text`."""

    def __init__(self, home, *args):
        self.text = ""
        self.process, self.fd = pty.fork()
        if self.process == 0:
            os.execve(harness.MINIDB_CLI, [harness.MINIDB_CLI, *args], environment(home))
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))

    def read_until(self, pattern, start=0):
        """Waits until the text from `start` on matches; returns the match."""
        deadline = time.monotonic() + WAIT_S
        while True:
            match = re.compile(pattern, re.S).search(self.text, start)
            if match:
                return match
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.fd], [], [], left)[0]:
                raise AssertionError(f"no {pattern!r} in {self.text[start:]!r}")
            try:
                piece = os.read(self.fd, 65536)
            except OSError:
                piece = b""
            if not piece:
                raise AssertionError(f"ended without {pattern!r}: {self.text[start:]!r}")
            self.text += piece.decode("utf-8", "replace")

    def type(self, keys, pattern):
        start = len(self.text)
        os.write(self.fd, keys.encode())
        return self.read_until(pattern, start)

    def end(self, keys):
        """Types keys that end the program until it has ended; returns its exit status.  (Keys that
        come while the program is between two prompts may be swallowed by the terminal.)"""
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            try:
                os.write(self.fd, keys.encode())
                while (time.monotonic() < deadline and select.select([self.fd], [], [], 0.5)[0]
                       and os.read(self.fd, 65536)):
                    pass
            except OSError:
                pass  # the other side is closed
            pid, status = os.waitpid(self.process, os.WNOHANG)
            if pid:
                self.process = None
                return os.waitstatus_to_exitcode(status)
        raise AssertionError("did not end")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process:
            os.kill(self.process, signal.SIGKILL)
            os.waitpid(self.process, 0)
        os.close(self.fd)


class CliCase(harness.TestCase):
    options = ()

    def setUp(self):
        self.server = harness.Server(*self.options, kind=KIND).start()
        self.home = tempfile.mkdtemp(prefix="minidb-cli-", dir=self.server.directory)

    def tearDown(self):
        self.server.__exit__()

    def run_cli(self, *args, stdin="", env=None, text=True):
        return subprocess.run([harness.MINIDB_CLI, "-p", str(self.server.port), *args], text=text,
                              input=stdin, capture_output=True, timeout=60,
                              env={**environment(self.home), **(env or {})}, check=False)

    def check(self, args, stdout, status=0, **options):
        result = self.run_cli(*args, **options)
        self.assertEqual((result.stdout, result.returncode), (stdout, status), result.stderr)

    def terminal(self, *args):
        terminal = Terminal(self.home, "-p", str(self.server.port), *args)
        terminal.read_until(r"\d> ")
        return terminal


class OneCommand(CliCase):
    def test_values(self):
        self.check(["SET", "k", "hello world"], "OK\n")
        self.check(["GET", "k"], "hello world\n")
        self.check(["GET", "missing"], "\n")
        self.check(["--no-raw", "GET", "missing"], "(nil)\n")
        self.check(["--no-raw", "GET", "k"], '"hello world"\n')
        self.check(["--no-raw", "INCR", "n"], "(integer) 1\n")
        self.check(["--no-raw", "MGET", "k", "n", "x"], '1) "hello world"\n2) "1"\n3) (nil)\n')
        self.check(["MGET", "k", "n"], "hello world\n1\n")
        self.check(["--no-raw", "SET", "b", "a\tb\"\\"], "OK\n")
        self.check(["--no-raw", "GET", "b"], '"a\\tb\\"\\\\"\n')
        self.check(["--no-raw", "KEYS", "nothing*"], "(empty array)\n")

    def test_binary(self):
        everything = bytes(range(256))
        result = self.run_cli("-x", "SET", "bin", stdin=everything, text=False)
        self.assertEqual(result.stdout, b"OK\n")
        result = self.run_cli("GET", "bin", text=False)
        self.assertEqual(result.stdout, everything + b"\n")
        result = self.run_cli("--json", "GET", "bin")
        self.assertEqual(base64.b64decode(json.loads(result.stdout)["base64"]), everything)

    def test_json(self):
        self.check(["--json", "SET", "k", "a\"\n\u00e9"], '"OK"\n')
        self.assertEqual(json.loads(self.run_cli("--json", "GET", "k").stdout), "a\"\n\u00e9")
        self.check(["--json", "GET", "missing"], "null\n")
        self.check(["--json", "DBSIZE"], "1\n")
        self.check(["--json", "MGET", "k", "x"], '["a\\"\\n\u00e9",null]\n')
        got = json.loads(self.run_cli("--json", "CONFIG", "GET", "maxmemory*").stdout)
        self.assertEqual(got["maxmemory"], "0")
        docs = json.loads(self.run_cli("--json", "COMMAND", "DOCS", "get").stdout)
        self.assertEqual(docs["get"]["group"], "string")

    def test_status(self):
        result = self.run_cli("INCR")
        self.assertEqual(result.returncode, 1)
        self.assertEqual(result.stdout, "")
        self.assertIn("wrong number of arguments", result.stderr)
        self.check(["--no-raw", "NOSUCH"], "(error) ERR unknown command 'NOSUCH', with args "
                   "beginning with: \n", status=1)
        result = self.run_cli("--json", "NOSUCH")
        self.assertIn("unknown command", json.loads(result.stdout)["error"])
        self.assertEqual(result.returncode, 1)
        result = subprocess.run([harness.MINIDB_CLI, "-p", str(harness.free_port()), "PING"],
                                capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(result.returncode, 1)
        self.assertIn("Connection refused", result.stderr)

    def test_ways_to_name_the_server(self):
        port = str(self.server.port)
        for words in (["127.0.0.1", port], ["localhost", port], [port], ["-h", "127.0.0.1", "-p",
                      port], ["--host", "127.0.0.1", port], ["127.0.0.1", "--json", port]):
            result = subprocess.run([harness.MINIDB_CLI, *words, "PING"], capture_output=True,
                                    text=True, timeout=60, check=False)
            self.assertEqual(result.stdout.strip().strip('"'), "PONG", words)
        self.check(["GET", "7"], "\n")  # a command, not a host with a port

    def test_usage(self):
        for words in (["--nosuch"], ["-p", "x"], ["-p"], ["-r", "0", "PING"]):
            result = subprocess.run([harness.MINIDB_CLI, *words], capture_output=True, text=True,
                                    timeout=60, check=False)
            self.assertEqual(result.returncode, 2, words)
        for word, text in (("--help", "usage:"), ("--version", "minidb-cli ")):
            result = subprocess.run([harness.MINIDB_CLI, word], capture_output=True, text=True,
                                    timeout=60, check=False)
            self.assertEqual(result.returncode, 0)
            self.assertIn(text, result.stdout)

    def test_repeat(self):
        self.check(["-r", "3", "INCR", "n"], "1\n2\n3\n")

    def test_protocols_agree(self):
        self.run_cli("MSET", "a", "1", "b", "2")
        for words in (["MGET", "a", "b"], ["GET", "a"], ["GET", "x"], ["INCR", "a"]):
            self.assertEqual(self.run_cli("--no-raw", *words[:1], *words[1:]).stdout.count("\n"),
                             self.run_cli("--no-raw", "--resp2", *words).stdout.count("\n"))

    def test_latency(self):
        self.assertRegex(self.run_cli("--latency").stdout, r"^min .* ms, .*samples\n$")

    def test_streams_are_refused(self):
        for words in (["MONITOR"], ["SUBSCRIBE", "c"], ["CLIENT", "REPLY", "OFF"]):
            self.assertEqual(self.run_cli(*words).returncode, 1)

    def test_slowlog_is_a_table(self):
        self.run_cli("CONFIG", "SET", "slowlog-log-slower-than", "0")
        self.run_cli("SET", "k", "v")
        lines = self.run_cli("--no-raw", "SLOWLOG", "GET", "5").stdout.split("\n")
        self.assertRegex(lines[0], r"^ *id +time +usec +command +client +name$")
        self.assertTrue(any(re.search(r"(?i)\d{4}-\d\d-\d\d .*SET k v", line)
                            for line in lines), lines)


class Password(CliCase):
    options = ("--requirepass", "secret")

    def test_ways_to_give_it(self):
        self.assertEqual(self.run_cli("GET", "k").returncode, 1)
        self.assertIn("NOAUTH", self.run_cli("GET", "k").stderr)
        self.check(["-a", "secret", "PING"], "PONG\n")
        self.check(["PING"], "PONG\n", env={"MINIDB_PASSWORD": "secret"})
        self.check(["PING"], "PONG\n", env={"REDISCLI_AUTH": "secret"})
        self.check(["--resp2", "-a", "secret", "PING"], "PONG\n")
        wrong = self.run_cli("-a", "wrong", "PING")
        self.assertEqual(wrong.returncode, 1)
        self.assertIn("WRONGPASS", wrong.stderr)

    def test_shell_logs_in_and_keeps_no_password(self):
        with self.terminal() as terminal:
            terminal.type("GET k\n", "NOAUTH")
            terminal.type("AUTH secret\n", "OK\r\n.*> ")
            terminal.type("SET k v\n", "OK\r\n.*> ")
            terminal.type("CONFIG SET requirepass other\n", "OK\r\n.*> ")
            self.assertEqual(terminal.end("quit\n"), 0)
        with open(os.path.join(self.home, ".minidb_history"), encoding="utf-8") as file:
            kept = file.read()
        self.assertIn("SET", kept)
        self.assertNotIn("secret", kept)
        self.assertNotIn("other", kept)
        mode = os.stat(os.path.join(self.home, ".minidb_history")).st_mode & 0o777
        self.assertEqual(mode, 0o600)


class Pipe(CliCase):
    def test_commands_and_errors(self):
        result = self.run_cli(stdin="SET k 'a b'\n\nGET k\nNOSUCH\nGET \"k\nINCR n")
        self.assertEqual(result.stdout, "OK\na b\n1\n")
        self.assertEqual(result.returncode, 1)
        errors = sorted(result.stderr.strip().split("\n"))
        self.assertRegex(errors[0], "^line 4: ERR unknown command 'NOSUCH'")
        self.assertEqual(errors[1], "line 5: unbalanced quotes")

    def test_json(self):
        result = self.run_cli("--json", stdin="SET k v\nGET k\nMGET k x\n")
        self.assertEqual([json.loads(line) for line in result.stdout.splitlines()],
                         ["OK", "v", ["v", None]])
        self.assertEqual(result.returncode, 0)

    def test_many_commands(self):
        count = 100_000
        lines = "".join(f"SET key:{i} value:{i}\nGET key:{i}\n" for i in range(count))
        result = self.run_cli(stdin=lines)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(result.stdout, "".join(f"OK\nvalue:{i}\n" for i in range(count)))

    def test_large_values(self):
        value = "x" * (1 << 20)
        result = self.run_cli(stdin=f"SET big {value}\n" + "GET big\n" * 50)
        self.assertEqual(result.stdout, "OK\n" + (value + "\n") * 50)

    def test_server_that_goes_away(self):
        client = subprocess.Popen([harness.MINIDB_CLI, "-p", str(self.server.port)],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, text=True)
        client.stdin.write("SET k v\n")
        client.stdin.flush()
        self.assertEqual(client.stdout.readline(), "OK\n")
        self.server.kill()
        out, err = client.communicate("GET k\n", timeout=WAIT_S)
        self.assertEqual(client.returncode, 1)
        self.assertIn("answered", err)
        self.assertEqual(out, "")


class Shell(CliCase):
    def test_commands_and_history(self):
        with self.terminal() as terminal:
            terminal.type("SET k 'a b'\n", r"\nOK\r\n")
            terminal.type("GET k\n", r'\n"a b"\r\n')
            terminal.type("\x1b[A\x1b[A\n", r"\nOK\r\n")      # up, up: SET again
            terminal.type("FROB\n", r"\(error\) ERR unknown command")
            terminal.type('GET "k\n', "unbalanced quotes")
            terminal.type("\n\n", "> .*> ")
            self.assertEqual(terminal.end("\x04"), 0)
        with self.terminal() as terminal:                      # kept for the next time
            terminal.type("\x1b[A\x1b[A\x1b[A\n", r'\n"a b"\r\n')

    def test_ctrl_c(self):
        with self.terminal() as terminal:
            terminal.type("SET k wrong", "w.*r.*o.*n.*g")
            terminal.type("\x03", r"\^C\r\n.*> ")
            terminal.type("GET k\n", r"\(nil\)")
            terminal.type("DEBUG SLEEP 2\n" if KIND == "minidb" else "BLPOP l 60\n", r"\n")
            time.sleep(0.2)
            terminal.type("\x03", "cancelled; the command may have run or not.*connected to.*> ")
            terminal.type("PING\n", r"\nPONG\r\n")

    def test_ctrl_d_while_a_command_runs(self):
        """It is passed over; the next one ends the shell."""
        with self.terminal() as terminal:
            terminal.type("DEBUG SLEEP 1\n" if KIND == "minidb" else "BLPOP l 1\n", r"\n")
            harness.await_true("the command runs: the line editor has let go of the terminal",
                               lambda: termios.tcgetattr(terminal.fd)[3] & termios.ICANON != 0)
            terminal.type("\x04", r"\d> ")
            self.assertEqual(terminal.end("\x04"), 0)

    def test_completion(self):
        with self.terminal() as terminal:
            terminal.type("confi\t", "g ")
            terminal.type(" g\t", r"et")
            terminal.type("maxclients\n", r'"maxclients" => "\d+"')
            terminal.type("expi\t", "re")
            terminal.type("\t", "EXPIREAT")
            terminal.type("\x03", r"> ")
            terminal.type("help getra\t", "nge")
            terminal.type("\n", "summary: ")

    def test_hints(self):
        with self.terminal() as terminal:
            terminal.type("getrange ", r"key start end")
            terminal.type("\x03", r"> ")
            terminal.type("config set ", r"parameter value")

    def test_help(self):
        with self.terminal() as terminal:
            terminal.type("help\n", "groups:.*@string")
            terminal.type("help SET\n", r"SET key value .*summary: ")
            terminal.type("help config get\n", r"CONFIG GET .*summary: ")
            terminal.type("help @string\n", r"APPEND key value.*GETRANGE")
            terminal.type("help nosuch\n", "no help for nosuch")

    def test_unicode(self):
        with self.terminal() as terminal:
            terminal.type("SET k \u00e9\u20ac\n", r"\nOK\r\n")
        self.check(["GET", "k"], "\u00e9\u20ac\n")

    def test_reconnects(self):
        with self.terminal() as terminal:
            terminal.type("PING\n", r"\nPONG\r\n")
            self.server.stop()
            terminal.type("PING\n", "could not connect to .*Connection refused")
            terminal.read_until(r"\(not connected\)> ")
            self.server.start()
            terminal.type("PING\n", r"connected to .*\nPONG\r\n")

    def test_background_save(self):
        with self.terminal() as terminal:
            terminal.type("SET k v\n", r"\nOK\r\n")
            terminal.type("BGSAVE\n", r"saved in \d")

    def test_window_size_changes(self):
        with self.terminal() as terminal:
            terminal.type("SET k ", "k")
            fcntl.ioctl(terminal.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 20, 60, 0, 0))
            terminal.type("v\n", r"\nOK\r\n")


class HostileServer(harness.TestCase):
    """Whatever a server answers, the client ends with an error and not otherwise."""

    def answer(self, *pieces):
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]

        def serve():
            connection, _ = listener.accept()
            with connection:
                for piece in pieces:
                    connection.recv(65536)
                    connection.sendall(piece)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        result = subprocess.run([harness.MINIDB_CLI, "-p", str(port), "--no-raw", "GET", "k"],
                                capture_output=True, timeout=60, check=False)
        listener.close()
        thread.join(WAIT_S)
        return result

    def test_answers(self):
        hello = b"-ERR unknown command\r\n"
        bad = [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"$-2\r\n", b"$99999999999999\r\n", b"*1\r\n" *
               40, b":x\r\n", b"$5\r\nab", b"*2\r\n+a\r\n", b"\r\n", b"%99999999999\r\n", b""]
        for text in bad:
            result = self.answer(hello, text)
            self.assertEqual(result.returncode, 1, (text, result))
            self.assertNotEqual(result.stderr, b"", text)
        good = {b"*-1\r\n": b"(nil)\n", b"%1\r\n*1\r\n+a\r\n+b\r\n": None,
                b">1\r\n+push\r\n+OK\r\n": b"OK\n", b"|1\r\n+a\r\n+b\r\n:5\r\n": b"(integer) 5\n",
                b"$0\r\n\r\n": b'""\n', b"(123\r\n": b"(big number) 123\n"}
        for text, printed in good.items():
            result = self.answer(hello, text)
            self.assertEqual(result.returncode, 0, (text, result))
            if printed is not None:
                self.assertEqual(result.stdout, printed)

    def test_tables(self):
        rows = (b"*2\r\n%2\r\n$2\r\nid\r\n$5\r\nnode1\r\n$4\r\nkeys\r\n:7\r\n"
                b"%2\r\n$2\r\nid\r\n$6\r\nnode12\r\n$4\r\nkeys\r\n:123\r\n")
        result = self.answer(b"-ERR no\r\n", rows)
        self.assertEqual(result.stdout, b"id      keys\nnode1      7\nnode12   123\n")


if __name__ == "__main__":
    harness.main()
