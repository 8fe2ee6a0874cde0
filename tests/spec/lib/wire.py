"""wire.py - the ways to ask a server, each with a codec of its own, in one vocabulary.

A reply is: int, float, bool, None, bytes (bulk), Status, Error, list, Map (list of pairs), Set.
JSON cannot tell a status from a bulk: both come as bytes.

Targets are endpoints with connect(protocol): Tcp (minidb or redis on a port) and InProcess (the
program tests/unit/command/spec_stdio_test).
"""

import base64
import io
import json
import socket
import struct
import subprocess

TIMEOUT_S = 30


class Status(bytes):
    def __repr__(self):
        return f"Status({bytes(self)!r})"


class Error(str):
    def __repr__(self):
        return f"Error({str(self)!r})"


class Map(list):
    pass


class Set(list):
    pass


class ProtocolError(Exception):
    pass


# ── RESP ────────────────────────────────────────────────────────────────────────────────────────

def resp_encode(argv):
    parts = [b"*%d\r\n" % len(argv)]
    for arg in argv:
        parts.append(b"$%d\r\n%s\r\n" % (len(arg), arg))
    return b"".join(parts)


def resp_read(file):
    """Reads one reply of RESP2 or RESP3 from a binary file."""
    line = file.readline()
    if not line.endswith(b"\r\n"):
        raise ProtocolError(f"connection closed or bad line: {line!r}")
    kind, rest = line[:1], line[1:-2]
    if kind == b"+":
        return Status(rest)
    if kind == b"-":
        return Error(rest.decode("utf-8", "replace"))
    if kind == b":":
        return int(rest)
    if kind in (b"$", b"="):
        return resp_read_bulk(file, kind, int(rest))
    if kind in (b"*", b"~", b">"):
        count = int(rest)
        items = None if count < 0 else [resp_read(file) for _ in range(count)]
        return Set(items) if kind == b"~" else items
    if kind == b"%":
        return Map([(resp_read(file), resp_read(file)) for _ in range(int(rest))])
    if kind == b"_":
        return None
    if kind == b"#":
        return rest == b"t"
    if kind == b",":
        return float(rest)
    raise ProtocolError(f"unknown reply {line!r}")


def resp_read_bulk(file, kind, size):
    if size < 0:
        return None
    data = file.read(size + 2)
    if len(data) != size + 2 or data[-2:] != b"\r\n":
        raise ProtocolError("bulk without its end")
    return data[4:-2] if kind == b"=" else data[:-2]


# ── JSON ────────────────────────────────────────────────────────────────────────────────────────

def json_arg(arg):
    try:
        return arg.decode("utf-8")
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(arg).decode()}


def json_encode(argv):
    return json.dumps({"type": "CLIENT", "args": [json_arg(arg) for arg in argv]}).encode() + b"\n"


def json_value(value):
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, list):
        return [json_value(item) for item in value]
    if isinstance(value, dict) and list(value) == ["base64"]:
        return base64.b64decode(value["base64"], validate=True)
    if isinstance(value, dict) and list(value) == ["error"]:
        return Error(value["error"])
    if isinstance(value, dict):
        return Map([(json_value(key), json_value(item)) for key, item in value.items()])
    return value


def json_decode(line):
    reply = json.loads(line)
    if reply["success"]:
        return json_value(reply["data"])
    return Error(reply["error"])


# ── connections ─────────────────────────────────────────────────────────────────────────────────

class TcpConnection:
    def __init__(self, port, protocol):
        self.protocol = protocol
        self.socket = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")
        if protocol == "resp3":
            hello = self.call([b"HELLO", b"3"])
            if isinstance(hello, Error):
                raise ProtocolError(f"HELLO 3: {hello}")

    def call(self, argv):
        if self.protocol == "json":
            self.socket.sendall(json_encode(argv))
            line = self.file.readline()
            if not line.endswith(b"\n"):
                raise ProtocolError("connection closed")
            return json_decode(line)
        self.socket.sendall(resp_encode(argv))
        return resp_read(self.file)

    def close(self):
        self.file.close()
        self.socket.close()


class Target:
    """What both have."""

    kind = "minidb"
    version = (0,)
    has_virtual_time = False
    is_member = False      # of a cluster

    def patience_s(self, _argv):
        """How long a wrong reply may become right."""
        return 0

    def is_crossslot(self, _argv, _reply):
        """True when the target may refuse what one node would do."""
        return False


class Tcp(Target):
    """A server on a port.  kind: "minidb" or "redis"; version: redis's, as (7, 0, 15)."""

    def __init__(self, port, kind, version=(0,)):
        self.port = port
        self.kind = kind
        self.version = version

    def connect(self, protocol):
        return TcpConnection(self.port, protocol)


class InProcessConnection:
    def __init__(self, target, protocol):
        self.target = target
        self.protocol = protocol
        self.steer(f"@protocol {protocol}")

    def exchange(self, argv):
        request = struct.pack("<I", len(argv))
        for arg in argv:
            request += struct.pack("<I", len(arg)) + arg
        try:
            self.target.process.stdin.write(request)
            self.target.process.stdin.flush()
        except BrokenPipeError as error:
            raise ProtocolError("the in-process server ended") from error
        header = self.target.process.stdout.read(4)
        if len(header) != 4:
            raise ProtocolError("the in-process server ended")
        return self.target.process.stdout.read(struct.unpack("<I", header)[0])

    def steer(self, text):
        self.exchange([text.encode()])

    def advance(self, milliseconds):
        self.steer(f"@advance {milliseconds}")

    def set_time(self, milliseconds):
        self.steer(f"@time {milliseconds}")

    def call(self, argv):
        data = self.exchange(argv)
        if self.protocol == "json":
            return json_decode(data)
        return resp_read(io.BytesIO(data))

    def close(self):
        pass


class InProcess(Target):
    """Commands without a server, with time that moves only when told (@advance)."""

    has_virtual_time = True

    def __init__(self, program, effects=False):
        self.process = subprocess.Popen([program, "serve"], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)
        if effects:
            InProcessConnection(self, "resp2").steer("@effects 1")

    def connect(self, protocol):
        return InProcessConnection(self, protocol)

    def stop(self):
        self.process.stdin.close()
        return self.process.wait(TIMEOUT_S)
