"""hosts.py - nodes on hosts of their own: network namespaces, with the test as the router between
them, so that one direction between two hosts, or one protocol of it, can be cut.

    hosts.enter()                            # this process gets a network of its own, or SkipTest
    with hosts.HostCluster(3) as nodes:
        nodes.cut(nodes[0], nodes[1])        # nothing from n1 to n2
        nodes.cut(nodes[0], nodes[2], "udp")
        nodes.heal()

Each host has one cable (a veth pair) to the router.  What is cut the router drops without a word:
a routing rule "from that cable, to that address, [of that protocol]: blackhole".  Nothing of this
is seen outside, and it goes away with the process, but for the namespaces' names, which the cluster
takes back.  The test reaches all hosts, whatever is cut.
"""
import os
import subprocess
import sys
import unittest

import cluster

ENTERED = "MINIDB_HOSTS_ENTERED"
RULE = "100"          # preference of the rules that cut
SYSCTLS = {"net/ipv4/ip_forward": "1", "net/ipv4/conf/all/rp_filter": "0",
           "net/ipv4/conf/default/rp_filter": "0"}


def ip(*words):
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}")


def is_permitted():
    """Whether this process may make networks, and rules that know protocols."""
    script = ("ip link set lo up && echo 1 > /proc/sys/net/ipv4/ip_forward && "
              "ip link add v type veth peer name w && "
              f"ip rule add pref {RULE} iif v to 10.99.1.2 ipproto udp blackhole && "
              f"ip netns add minidb-{os.getpid()} && ip netns del minidb-{os.getpid()}")
    try:
        done = subprocess.run(["unshare", "--net", "sh", "-c", script], capture_output=True,
                              timeout=30, check=False)
    except OSError:
        return False
    return done.returncode == 0


def enter():
    """Starts this program again with a network of its own; SkipTest when that is not permitted."""
    if os.environ.get(ENTERED):
        return
    if not is_permitted():
        raise unittest.SkipTest("network namespaces are not permitted here (root is needed)")
    os.environ[ENTERED] = "1"
    os.execvp("unshare", ["unshare", "--net", sys.executable, *sys.argv])


class HostNode(cluster.Node):
    def __init__(self, nodes, number):
        super().__init__(nodes, number)
        self.host = f"10.99.{number}.2"
        self.namespace = f"minidb-{os.getpid()}-{number}"
        self.cable = f"v{number}"
        self.options = ["--host", self.host, "--insecure", "yes"]

    def command_line(self):
        return ["ip", "netns", "exec", self.namespace, *super().command_line()]

    def plug_in(self):
        router = f"10.99.{self.number}.1"
        ip("netns", "add", self.namespace)
        ip("link", "add", self.cable, "type", "veth", "peer", "name", "e0", "netns",
           self.namespace)
        ip("addr", "add", f"{router}/24", "dev", self.cable)
        ip("link", "set", self.cable, "up")
        ip("-n", self.namespace, "addr", "add", f"{self.host}/24", "dev", "e0")
        ip("-n", self.namespace, "link", "set", "lo", "up")
        ip("-n", self.namespace, "link", "set", "e0", "up")
        ip("-n", self.namespace, "route", "add", "default", "via", router)


class HostCluster(cluster.Cluster):
    def __init__(self, count, *options):
        ip("link", "set", "lo", "up")
        for name, value in SYSCTLS.items():
            with open(f"/proc/sys/{name}", "w", encoding="ascii") as file:
                file.write(value)
        self.cuts = 0
        super().__init__(count, *options)

    def make_node(self, number):
        return HostNode(self, number)

    def start(self):
        for node in self.nodes:
            node.plug_in()
        super().start()

    def __exit__(self, *_):
        super().__exit__()
        for node in self.nodes:
            subprocess.run(["ip", "netns", "del", node.namespace], capture_output=True,
                           check=False)

    def cut(self, one, other, protocol=None):
        """Nothing, or nothing of one protocol, goes from the one to the other any more."""
        ip("rule", "add", "pref", RULE, "iif", one.cable, "to", other.host,
           *(["ipproto", protocol] if protocol else []), "blackhole")
        self.cuts += 1

    def heal(self):
        while self.cuts > 0:
            ip("rule", "del", "pref", RULE)
            self.cuts -= 1
