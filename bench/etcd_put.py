#!/usr/bin/python3
"""etcd_put.py - puts into etcd from many connections, for cluster_bench.py.

gRPC over HTTP/2, as etcd's own clients speak it, with no library: of HTTP/2 a unary call needs two
frames, the same HEADERS every time and one DATA.  (Through etcd's JSON gateway each put would cost
etcd more; etcdctl's `check perf` sends at a fixed rate.)  Every connection has one put under way.
The last line of the output is JSON: puts, seconds, and the CPU seconds this program used itself.

usage: etcd_put.py PORT REQUESTS [--clients 50] [--keys 1000000] [--value-bytes 64]
"""
import argparse
import json
import random
import selectors
import socket
import struct
import sys
import time

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind, flags, stream, body=b""):
    return struct.pack(">I", len(body))[1:] + struct.pack(">BBI", kind, flags, stream) + body


def text(name, value):
    """A header field that is not put into the other side's table."""
    return bytes([0, len(name)]) + name + bytes([len(value)]) + value


# :method POST and :scheme http stand in HPACK's table, as do the names of :path and :authority.
HEADER_BLOCK = (b"\x83\x86\x04" + bytes([len("/etcdserverpb.KV/Put")]) + b"/etcdserverpb.KV/Put" +
                b"\x01\x09127.0.0.1" + text(b"content-type", b"application/grpc") +
                text(b"te", b"trailers"))


def put(stream, key, value):
    """PutRequest { key = 1, value = 2 }."""
    message = b"\x0a" + bytes([len(key)]) + key + b"\x12" + bytes([len(value)]) + value
    return (frame(HEADERS, END_HEADERS, stream, HEADER_BLOCK) +
            frame(DATA, END_STREAM, stream, b"\0" + struct.pack(">I", len(message)) + message))


class Client:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(PREFACE + frame(SETTINGS, 0, 0) + frame(
            WINDOW_UPDATE, 0, 0, struct.pack(">I", 2**31 - 1 - 65535)))
        self.buffer, self.stream, self.has_answer = b"", -1, False

    def send(self, key, value):
        self.stream += 2
        self.has_answer = False
        self.socket.sendall(put(self.stream, key, value))

    def on_readable(self):
        """True when the put under way is done."""
        data = self.socket.recv(65536)
        if not data:
            raise EOFError("etcd closed a connection")
        self.buffer += data
        at, is_done = 0, False
        while len(self.buffer) - at >= 9:
            size = int.from_bytes(self.buffer[at:at + 3], "big")
            if len(self.buffer) - at < 9 + size:
                break
            kind, flags, stream = struct.unpack_from(">BBI", self.buffer, at + 3)
            is_done |= self.on_frame(kind, flags, stream, self.buffer[at + 9:at + 9 + size])
            at += 9 + size
        self.buffer = self.buffer[at:]
        return is_done

    def on_frame(self, kind, flags, stream, body):
        if kind == SETTINGS and not flags & ACK:
            self.socket.sendall(frame(SETTINGS, ACK, 0))
        elif kind == PING and not flags & ACK:
            self.socket.sendall(frame(PING, ACK, 0, body))
        elif kind in (RST_STREAM, GOAWAY):
            raise EOFError(f"etcd gave up a call: {body!r}")
        elif kind == DATA and stream == self.stream:
            self.has_answer |= len(body) > 5   # a PutResponse; failures have only trailers
        elif kind == HEADERS and stream == self.stream and flags & END_STREAM:
            if not self.has_answer:
                raise EOFError("etcd refused a put")
            return True
        return False


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("requests", type=int)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--value-bytes", type=int, default=64)
    options = parser.parse_args()
    rng, value = random.Random(1), b"x" * options.value_bytes
    selector = selectors.DefaultSelector()
    begun, sent, done = time.monotonic(), 0, 0
    for _ in range(options.clients):
        client = Client(options.port)
        selector.register(client.socket, selectors.EVENT_READ, client)
        client.send(b"key:%012d" % rng.randrange(options.keys), value)
        sent += 1
    while done < options.requests:
        ready = selector.select(30)
        if not ready:
            sys.exit("etcd did not answer for 30 s")
        for key, _ in ready:
            if key.data.on_readable():
                done += 1
                if sent < options.requests:
                    key.data.send(b"key:%012d" % rng.randrange(options.keys), value)
                    sent += 1
    print(json.dumps({"puts": done, "seconds": time.monotonic() - begun,
                      "cpu_s": time.process_time()}))


if __name__ == "__main__":
    main()
