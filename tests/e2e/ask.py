"""ask.py - asks a server and reads the answers as tools and programs do: INFO's fields, JSON lines.

    with ask.Json(server.port) as client:
        client.data("GET k")                      # "v"
        client.ask("FROB", id=7)                  # {"id": 7, "success": False, ...}
    ask.matches({"keys": 3}, {"keys": int})       # True
"""

import json

import wire

def info(client, *sections):
    """INFO as tools read it: every line is a heading, empty, or name:value."""
    fields = {}
    for line in client.call("INFO", *sections).decode().split("\r\n"):
        if line and not line.startswith("# "):
            name, value = line.split(":", 1)
            assert name not in fields, f"{name} twice"
            fields[name] = value
    return fields


class Json(wire.Client):
    """A connection that speaks JSON lines."""

    def ask(self, command, kind="CLIENT", **fields):
        self.send(json.dumps({"type": kind, "command": command, **fields}).encode() + b"\n")
        return json.loads(self.file.readline())

    def data(self, command, **fields):
        reply = self.ask(command, **fields)
        assert reply["success"] is True, reply
        return reply["data"]


def matches(value, shape):
    """Whether a JSON value has the shape: a type, a set of allowed values, a list of one shape, or
    an object with at least these members."""
    if isinstance(shape, dict):
        return isinstance(value, dict) and all(
            name in value and matches(value[name], part) for name, part in shape.items())
    if isinstance(shape, list):
        return isinstance(value, list) and all(matches(part, shape[0]) for part in value)
    if isinstance(shape, set):
        return value in shape
    if shape is int:
        return isinstance(value, int) and not isinstance(value, bool) and value >= 0
    if shape is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0
    return isinstance(value, shape)
