"""history.py - what clients saw of one register, and the judge of it.

An operation is SET of a value that nobody else writes, or GET.  `end` is when its answer came; it
is INFINITY for a write whose outcome nobody knows (the connection broke, UNKNOWN): it may take
effect at any later time, or never.  NOT is a write that was refused for certain (NOQUORUM).

Because values are unique, linearizability needs no search (Gibbons and Korach, Testing Shared
Memories, 1997).  All operations on one value stand next to each other in any order that explains
the history.  Of each value, let `first` be when the first of its operations had ended and `last`
when the last one began.  Value a must come before b when a.first < b.last: some operation of a was
over before one of b began.  The history is linearizable unless a read was over before its write
began, or two values must each come before the other.
"""
import bisect

INFINITY = float("inf")


class Operation:
    __slots__ = ("begin", "end", "kind", "value")

    def __init__(self, begin, end, kind, value):
        self.begin, self.end, self.kind, self.value = begin, end, kind, value

    def __repr__(self):
        return f"{self.kind}({self.value}) {self.begin:.4f}..{self.end:.4f}"


class Zone:
    """The operations on one value."""
    __slots__ = ("value", "first", "last", "write")

    def __init__(self, value, write):
        self.value, self.write = value, write
        self.first, self.last = (write.end, write.begin) if write else (-INFINITY, -INFINITY)

    def __repr__(self):
        begun = f"written {self.write.begin:.4f}..{self.write.end:.4f}" if self.write else "initial"
        return (f"{self.value} ({begun}, an operation on it over at {self.first:.4f}, "
                f"one begun at {self.last:.4f})")


def judge(history):
    """None when the history of one register (missing at first) is linearizable, else what is
    wrong."""
    zones, refused = {None: Zone(None, None)}, set()
    for op in history:
        if op.kind == "SET":
            if op.value in zones:
                return f"{op.value} is written twice: no verdict"
            zones[op.value] = Zone(op.value, op)
        elif op.kind == "NOT":
            refused.add(op.value)
    for op in history:
        if op.kind != "GET":
            continue
        if op.value in refused:
            return f"{op}: that write was refused for certain"
        zone = zones.get(op.value)
        if zone is None:
            return f"{op}: nobody wrote that"
        if zone.write and op.end < zone.write.begin:
            return f"{op} was over before {zone.write} began"
        zone.first = min(zone.first, op.end)
        zone.last = max(zone.last, op.begin)
    return _conflict(zones.values())


def _conflict(zones):
    """Two values of which each must come before the other."""
    # Only zones with first < last can force themselves around another one, and these must not
    # overlap each other; so few comparisons are left.
    spans = sorted((z for z in zones if z.first < z.last), key=lambda z: z.first)
    for a, b in zip(spans, spans[1:]):
        if b.first < a.last:
            return f"not linearizable: {a} and {b}"
    starts = [z.first for z in spans]
    for point in zones:
        if point.first < point.last:
            continue
        at = bisect.bisect_left(starts, point.last) - 1
        if at >= 0 and point.first < spans[at].last:
            return f"not linearizable: {point} inside {spans[at]}"
    return None
