"""table.py - reads the spec tables and compares replies with them.  README.md has the notation."""

import re
from dataclasses import dataclass, field

from wire import Error, Map, Status


class TableError(Exception):
    pass


@dataclass
class Row:
    path: str
    line: int
    text: str
    tags: list
    argv: list             # bytes; empty for "@advance"
    advance_ms: int = None
    expected: object = None


@dataclass
class Scene:
    """Rows that build on each other; each scene begins with an empty keyspace."""
    rows: list = field(default_factory=list)


# ── words ───────────────────────────────────────────────────────────────────────────────────────

ESCAPES = {"n": b"\n", "r": b"\r", "t": b"\t", "b": b"\b", "a": b"\a", "0": b"\0"}


def unquote(text, at):
    """text[at] is a double quote: returns (bytes, position after the closing one)."""
    out = b""
    at += 1
    while text[at] != '"':
        if text[at] != "\\":
            out += text[at].encode()
            at += 1
        elif text[at + 1] == "x":
            out += bytes([int(text[at + 2:at + 4], 16)])
            at += 4
        else:
            out += ESCAPES.get(text[at + 1], text[at + 1].encode())
            at += 2
    return out, at + 1


def split_row(text):
    """Splits at the first " | " outside quotes: (command, expectation or None)."""
    at = 0
    while at < len(text):
        if text[at] == '"':
            _, at = unquote(text, at)
        elif text[at:at + 3] == " | ":
            return text[:at].rstrip(), text[at + 3:].strip()
        else:
            at += 1
    return text.rstrip(), None


def command_words(text):
    """Words as in redis-cli; word*N repeats a quoted word: "ab"*1000."""
    words = []
    at = 0
    while at < len(text):
        if text[at] == " ":
            at += 1
        elif text[at] == '"':
            word, at = unquote(text, at)
            repeat = re.match(r"\*(\d+)", text[at:])
            if repeat:
                word *= int(repeat.group(1))
                at += repeat.end()
            words.append(word)
        else:
            end = text.find(" ", at)
            end = len(text) if end < 0 else end
            words.append(text[at:end].encode())
            at = end
    return words


# ── expectations ────────────────────────────────────────────────────────────────────────────────

@dataclass
class Expect:
    kind: str   # status bulk int nil error array map any string regex double bool
    value: object = None
    is_ordered: bool = True


def parse_items(text, at, closing):
    items = []
    while True:
        while text[at] == " ":
            at += 1
        if text[at] == closing:
            return items, at + 1
        item, at = parse_expected(text, at)
        items.append(item)


WORD = re.compile(r"[^\s\[\]{}\"]+")
NAMED = {"(nil)": Expect("nil"), "(true)": Expect("bool", True), "(false)": Expect("bool", False),
         "(string)": Expect("string"), "(integer)": Expect("integer"), "*": Expect("any")}


def parse_expected(text, at):
    """Parses one value; returns (Expect, position after it)."""
    if text[at] == '"':
        value, at = unquote(text, at)
        repeat = re.match(r"\*(\d+)", text[at:])
        if repeat:
            value *= int(repeat.group(1))
            at += repeat.end()
        return Expect("bulk", value), at
    if text[at] == "[":
        items, at = parse_items(text, at + 1, "]")
        return Expect("array", items), at
    if text.startswith("~[", at):
        items, at = parse_items(text, at + 2, "]")
        return Expect("array", items, is_ordered=False), at
    if text[at] == "{":
        items, at = parse_items(text, at + 1, "}")
        return Expect("map", list(zip(items[::2], items[1::2]))), at
    if text[at] == "/":
        end = text.index("/", at + 1)
        return Expect("regex", text[at + 1:end]), end + 1
    word = WORD.match(text, at)
    if not word:
        raise TableError(f"what is {text[at:]!r}?")
    return parse_word(word.group()), word.end()


def parse_word(word):
    if word in NAMED:
        return NAMED[word]
    if re.fullmatch(r"-?\d+", word):
        return Expect("int", (int(word), int(word)))
    between = re.fullmatch(r"(-?\d+)\.\.(-?\d+)", word)
    if between:
        return Expect("int", (int(between.group(1)), int(between.group(2))))
    if re.fullmatch(r",[-+.0-9einfa]+", word):
        return Expect("double", float(word[1:]))
    return Expect("status", word.encode())


def parse_expectation(text):
    if text.startswith("(error) /") and text.endswith("/"):
        return Expect("error-regex", text[len("(error) /"):-1])
    if text.startswith("(error) "):
        return Expect("error", text[len("(error) "):])
    expected, at = parse_expected(text, 0)
    if text[at:].strip():
        if expected.kind == "status":
            return Expect("status", text.encode())  # a status of several words
        raise TableError(f"and what is {text[at:]!r}?")
    return expected


def read_table(path):
    scenes = [Scene()]
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            text = line.rstrip("\n")
            if not text.strip():
                scenes.append(Scene())
            elif not text.startswith("#"):
                try:
                    scenes[-1].rows.append(read_row(path, number, text))
                except (TableError, IndexError, ValueError) as error:
                    raise TableError(f"{path}:{number}: {error}") from error
    return [scene for scene in scenes if scene.rows]


def read_row(path, number, text):
    tags = []
    match = re.match(r"\[([^\]]*)\]\s+", text)
    body = text
    if match:
        tags = match.group(1).split()
        body = text[match.end():]
    if body.startswith("@advance "):
        return Row(path, number, text, tags, [], advance_ms=int(body.split()[1]))
    command, expectation = split_row(body)
    if expectation is None:
        raise TableError("a row is: command | reply")
    if expectation.startswith("(error)") is False and expectation == "":
        raise TableError("no reply given")
    return Row(path, number, text, tags, command_words(command),
               expected=parse_expectation(expectation))


# ── comparing ───────────────────────────────────────────────────────────────────────────────────

def matches(expected, reply, protocol):
    return MATCHERS[expected.kind](expected, reply, protocol)


def is_bulk(reply, protocol):
    return isinstance(reply, bytes) and (protocol == "json" or not isinstance(reply, Status))


def match_status(expected, reply, protocol):
    right_type = isinstance(reply, Status) or (protocol == "json" and isinstance(reply, bytes))
    return right_type and bytes(reply) == expected.value


def match_bulk(expected, reply, protocol):
    return is_bulk(reply, protocol) and bytes(reply) == expected.value


def match_int(expected, reply, _protocol):
    low, high = expected.value
    return type(reply) is int and low <= reply <= high


def match_array(expected, reply, protocol):
    if not isinstance(reply, list) or isinstance(reply, Map) or len(reply) != len(expected.value):
        return False
    if expected.is_ordered:
        return all(matches(e, r, protocol) for e, r in zip(expected.value, reply))
    rest = list(reply)
    for item in expected.value:
        found = next((i for i, r in enumerate(rest) if matches(item, r, protocol)), None)
        if found is None:
            return False
        del rest[found]
    return True


def match_map(expected, reply, protocol):
    if isinstance(reply, Map):
        pairs = list(reply)
    elif protocol == "resp2" and isinstance(reply, list) and len(reply) % 2 == 0:
        pairs = list(zip(reply[::2], reply[1::2]))
    else:
        return False
    return len(pairs) == len(expected.value) and all(
        matches(ek, k, protocol) and matches(ev, v, protocol)
        for (ek, ev), (k, v) in zip(expected.value, pairs))


def match_double(expected, reply, protocol):
    if protocol == "resp2":
        return isinstance(reply, bytes) and float(reply) == expected.value
    return type(reply) in (float, int) and float(reply) == expected.value


def match_bool(expected, reply, protocol):
    if protocol == "resp2":
        return type(reply) is int and reply == int(expected.value)
    return reply is expected.value


def match_regex(expected, reply, _protocol):
    return isinstance(reply, bytes) and re.fullmatch(
        expected.value, reply.decode("utf-8", "replace"), re.DOTALL) is not None


MATCHERS = {
    "any": lambda e, r, p: True,
    "nil": lambda e, r, p: r is None,
    "error": lambda e, r, p: isinstance(r, Error) and str(r).rstrip() == e.value.rstrip(),
    "error-regex": lambda e, r, p: isinstance(r, Error) and re.fullmatch(e.value, r) is not None,
    "string": lambda e, r, p: isinstance(r, bytes),
    "integer": lambda e, r, p: type(r) is int,
    "status": match_status,
    "bulk": match_bulk,
    "int": match_int,
    "array": match_array,
    "map": match_map,
    "double": match_double,
    "bool": match_bool,
    "regex": match_regex,
}


# ── tags ────────────────────────────────────────────────────────────────────────────────────────

def applies(row, target, protocol):
    """True when the row's tags let it run against this target in this protocol."""
    protocols = [tag for tag in row.tags if tag in ("resp2", "resp3", "json", "resp")]
    if protocols and protocol not in protocols:
        if not ("resp" in protocols and protocol.startswith("resp")):
            return False
    for tag in row.tags:
        if tag in ("minidb", "redis") and tag != target.kind:
            return False
        if tag == "lone" and target.is_member:
            return False
        if tag.startswith("redis>=") and target.kind == "redis":
            if target.version < tuple(int(part) for part in tag[7:].split(".")):
                return False
    return True
