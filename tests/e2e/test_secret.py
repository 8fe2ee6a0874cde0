#!/usr/bin/python3
"""cluster-secret between real nodes: who knows it is linked; who does not, whatever he says and
whose name he gives, changes nothing and is told why.
"""
import hashlib
import hmac
import json
import os
import socket
import struct

import cluster
import harness
from cluster import await_true

SECRET = "the nodes know it"


def states(node):
    members = node.json({"type": "CLUSTER", "command": "NODES"})["data"]
    return {m["id"]: m["state"] for m in members}


def all_alive(nodes):
    seen = [states(node) for node in nodes]
    return True if all(set(s.values()) == {"ALIVE"} for s in seen) else seen


def log_has(node, *words):
    """Some line of its log has all the words."""
    lines = node.log().splitlines()
    return any(all(word in line for word in words) for line in lines) or lines[-5:]


class Stranger:
    """Somebody at a node's cluster port; knows how nodes talk, by PROTOCOL.md."""

    def __init__(self, node, hello):
        self.socket = socket.create_connection((node.host, node.cluster_port), 10)
        self.file = self.socket.makefile("rb")
        self.line = json_line(hello)
        self.socket.sendall(self.line)
        self.answer_line = self.file.readline()
        self.answer = json.loads(self.answer_line)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.socket.close()

    def read(self):
        """The next line; None: closed."""
        line = self.file.readline()
        return json.loads(line) if line else None

    def proof(self, secret, direction):
        return proof(secret, direction, self.line, self.answer_line)

    def say(self, digits):
        self.socket.sendall(json_line({"type": "PROOF", "proof": digits}))


def proof(secret, direction, dialing_line, accepting_line):
    """As peer_proof.h says."""
    key = hmac.new(secret.encode(), b"minidb greeting 1", hashlib.sha256).digest()
    text = direction + struct.pack("<Q", len(dialing_line)) + dialing_line + accepting_line
    return hmac.new(key, text, hashlib.sha256).hexdigest()


def json_line(value):
    return json.dumps(value).encode() + b"\n"


def seed_answers(listener, answer, secret):
    """The next node that dials is answered so, and with a proof by this secret (None: without).
    What it says to that, until it closes or has said enough."""
    connection = listener.accept()[0]
    with connection, connection.makefile("rb") as file:
        connection.settimeout(10)
        line = file.readline()
        reply = json_line(answer)
        if secret is not None:
            said = {"type": "PROOF", "proof": proof(secret, b"accepting", line, reply)}
            connection.sendall(reply + json_line(said))
        else:
            connection.sendall(reply)
        heard = file.readline()
        if heard.startswith(b'{"type":"PROOF"'):
            heard += file.read(48 + 7 + len("our password"))    # header, and the question's begin
        return heard


def nonce():
    return os.urandom(16).hex()


def identity(node, with_nonce=True):
    """All that a node says of itself to whoever asks: HELLO of channel "join"."""
    hello = {"type": "HELLO", "protocol": 1, "channel": "join", "node": "nobody", "number": 4711,
             "incarnation": 1, "boot": 1}
    if with_nonce:
        hello["nonce"] = nonce()
    with Stranger(node, hello) as stranger:
        answer = stranger.answer
    return {name: value for name, value in answer.items() if name not in ("crc", "features")}


class Secret(harness.TestCase):
    def lost(self, node):
        return node.log().count("event=peer_lost")

    def test_a_members_name_is_not_enough(self):
        with cluster.Cluster(3, "--cluster-secret", SECRET) as nodes:
            await_true("all ALIVE", lambda: all_alive(nodes))
            for number, node in enumerate(nodes):
                self.assertEqual(node.command("SET", f"key:{number}", number), "OK")
            named = {**identity(nodes[1]), "channel": "raft"}
            named["boot"] += 1
            lost = self.lost(nodes[1])
            elsewhere = {**named, "epoch": 1000, "number": 4711, "node": "n9"}
            for hello in (named, {**named, "channel": "client"}, elsewhere):
                with Stranger(nodes[0], {**hello, "nonce": ""}) as stranger:
                    self.assertEqual(stranger.answer["code"], "SECRET")
                    self.assertIsNone(stranger.read())
                with Stranger(nodes[0], {**hello, "nonce": nonce()}) as stranger:
                    theirs = stranger.read()
                    self.assertEqual(theirs["proof"], stranger.proof(SECRET, b"accepting"))
                    stranger.say(theirs["proof"])   # reflected
                    self.assertEqual(stranger.read()["code"], "SECRET")
                    self.assertIsNone(stranger.read())
                with Stranger(nodes[0], {**hello, "nonce": nonce()}) as stranger:
                    stranger.read()
                    stranger.say(stranger.proof("guessed", b"dialing"))
                    self.assertEqual(stranger.read()["code"], "SECRET")
                with Stranger(nodes[0], {**hello, "nonce": nonce()}) as stranger:
                    stranger.read()
                    self.assertIsNone(stranger.read())   # in time it is closed
            self.assertIs(log_has(nodes[0], "event=peer_refused", "cluster-secret"), True)
            for node in nodes:
                self.assertEqual(node.command("GET", "key:1"), "1")
            self.assertEqual(self.lost(nodes[1]), lost)
            self.assertEqual(all_alive(nodes), True)
            # And it is the proof alone that was missing.
            with Stranger(nodes[0], {**named, "nonce": nonce()}) as stranger:
                stranger.read()
                stranger.say(stranger.proof(SECRET, b"dialing"))
                await_true("the link was replaced", lambda: self.lost(nodes[1]) > lost)

    def test_a_newcomer_must_know_it(self):
        with cluster.Cluster(3, "--cluster-secret", SECRET, spare=2) as nodes:
            wrong, none = nodes[3], nodes[4]
            wrong.options = ["--cluster-secret", "another"]
            none.options = ["--cluster-secret", ""]
            for node in (wrong, none):
                node.start(wait=False)
                await_true("it says why it waits",
                           lambda node=node: log_has(node, "event=join_waits", "cluster-secret"))
            await_true("and so does the other side",
                       lambda: log_has(nodes[0], "event=peer_refused", "cluster-secret"))
            self.assertEqual(set(states(nodes[0])), {"n1", "n2", "n3"})
            for node in (wrong, none):
                node.kill()
                node.options = []
                node.start()
            await_true("all ALIVE", lambda: len(states(nodes[0])) == 5 and all_alive(nodes))

    def test_a_newcomer_tells_nothing_to_who_does_not_know_it(self):
        """Its password above all.  Somebody else listens where it looks for its seed."""
        nodes = cluster.Cluster(2, "--cluster-secret", SECRET, "--requirepass", "our password")
        self.addCleanup(nodes.__exit__)
        hello = {"type": "HELLO", "protocol": 1, "channel": "join", "node": "n1", "number": 4711,
                 "incarnation": 1, "boot": 1, "cluster": 16 * "ab"}
        removed = {"success": False, "error": "go", "code": "REMOVED"}
        with socket.create_server((nodes[0].host, nodes[0].cluster_port)) as listener:
            listener.settimeout(30)
            nodes[1].start(wait=False)
            self.assertIn(b'"code":"SECRET"', seed_answers(listener, hello, None))
            hello["nonce"] = nonce()
            self.assertIn(b'"code":"SECRET"', seed_answers(listener, hello, "guessed"))
            self.assertEqual(seed_answers(listener, removed, "guessed").count(b"\n"), 1)
            heard = seed_answers(listener, hello, SECRET)
            self.assertTrue(heard.startswith(b'{"type":"PROOF"'), heard)
            self.assertIn(b"our password", heard)
        self.assertIs(log_has(nodes[1], "event=join_waits", "proves no cluster-secret"), True)
        self.assertIs(log_has(nodes[1], "event=join_waits", "cluster-secret is another one"), True)

    def test_a_cluster_without_it_does_not_take_one_who_has_it(self):
        with cluster.Cluster(1, spare=1) as nodes:
            nodes[1].options = ["--cluster-secret", SECRET]
            nodes[1].start(wait=False)
            await_true("it says why it waits",
                       lambda: log_has(nodes[1], "event=join_waits", "cluster-secret"))
            await_true("and so does the other side",
                       lambda: log_has(nodes[0], "event=peer_refused", "cluster-secret"))
            self.assertEqual(identity(nodes[0], with_nonce=False)["node"], "n1")

    def test_a_member_with_another_one_is_apart_until_it_has_the_right_one(self):
        with cluster.Cluster(3, "--cluster-secret", SECRET) as nodes:
            nodes[2].stop()
            nodes[2].options = ["--cluster-secret", "another"]
            nodes[2].start()
            for node in (nodes[0], nodes[2]):
                await_true("it says so",
                           lambda node=node: log_has(node, "event=peer_refused", "cluster-secret"))
            self.assertEqual(cluster.ask_until_node(nodes[0], "SET", "key", "new"), "OK")
            await_true("n3 is DEAD or LEFT", lambda: states(nodes[0])["n3"] in ("DEAD", "LEFT"))
            info = nodes[0].command("INFO", "gossip")
            self.assertNotIn("gossip_dropped_key:0", info)
            nodes[2].stop()
            nodes[2].options = []
            nodes[2].start()
            await_true("all ALIVE", lambda: all_alive(nodes))
            self.assertEqual(cluster.ask_until_node(nodes[2], "GET", "key"), "new")

    def test_a_secret_is_introduced_node_by_node(self):
        """Two that have it and one that has not are never a cluster of three; but nothing is lost,
        and a majority on either side goes on."""
        with cluster.Cluster(3) as nodes:
            self.assertEqual(nodes[0].command("SET", "a", "1"), "OK")
            for number, node in enumerate(nodes):
                node.stop()
                node.options = ["--cluster-secret", SECRET]
                node.start()
                majority = nodes[2] if number == 0 else nodes[0]
                self.assertEqual(cluster.ask_until_node(majority, "SET", f"b{number}", "2"), "OK")
            await_true("all ALIVE", lambda: all_alive(nodes))
            for node in nodes:
                for key, value in (("a", "1"), ("b0", "2"), ("b1", "2"), ("b2", "2")):
                    self.assertEqual(cluster.ask_until_node(node, "GET", key), value)


if __name__ == "__main__":
    harness.main()
