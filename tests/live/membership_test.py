#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The corosync adapter against real corosyncs: three nodes as network namespaces, root only.

Invariant: only processes, namespaces and folders that this run made are ever touched, and all of
them are gone when it ends. Called by `make check` from the build folder, or by hand; a first
argument runs only the tests whose names contain it. Exit status 77: skipped.

What it judges is the output of membership_trace, which prints what clusterd would be told.
"""
import contextlib
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time

TRACE = os.environ.get("MEMBERSHIP_TRACE", os.path.abspath("tests/live/membership_trace"))
PREFIX = "mbrt%d" % (os.getpid() % 100000)
FOLDER = "/dev/shm/" + PREFIX
TOKEN_MS = 1000
LIMIT_S = 30  # for every wait
MESSAGE_MAX = 1000 << 10

CONF = """totem {
	version: 2
	cluster_name: %(name)s
	transport: knet
	token: %(token)d
	token_coefficient: 0
	seqno_unchanged_const: 3
	crypto_cipher: %(cipher)s
	crypto_hash: %(hash)s
	interface {
		linknumber: 0
		knet_ping_interval: 200
		knet_ping_timeout: 600
	}
}
nodelist {
%(nodes)s}
quorum {
	%(quorum)s
}
logging {
	to_logfile: yes
	logfile: /var/lib/corosync/corosync.log
	to_syslog: no
	timestamp: hires
}
"""


def now_ns():
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def run(*argv, check=True):
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if check and done.returncode != 0:
        raise AssertionError("%s: exit %d: %s" % (" ".join(argv), done.returncode, done.stdout))
    return done


def wait_for(what, condition, limit_s=LIMIT_S):
    """The first true value of condition; never a fixed sleep."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError("did not happen within %d s: %s" % (limit_s, what))


class Event:
    """One line of membership_trace: TIME NAME key=value ..."""

    def __init__(self, line):
        stamp, self.name, *rest = line.split(" ", 2)
        self.ns = int(stamp)
        self.text = rest[0] if rest else ""
        for key, value in re.findall(r"(\w+)=(\S*)", self.text):
            setattr(self, key, int(value) if re.fullmatch(r"-?\d+", value) else value)

    def __repr__(self):
        return "%s %s" % (self.name, self.text)


class Trace:
    def __init__(self, node):
        self.node = node
        self.events, self.log = [], []
        self.process = node.start(TRACE, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE)
        for pipe, sink in ((self.process.stdout, self._event), (self.process.stderr, self.log.append)):
            threading.Thread(target=self._read, args=(pipe, sink), daemon=True).start()

    def _read(self, pipe, sink):
        for line in pipe:
            sink(line.decode().rstrip("\n"))

    def _event(self, line):
        self.events.append(Event(line))

    def tell(self, command):
        self.process.stdin.write((command + "\n").encode())
        self.process.stdin.flush()

    def all(self, name, after=0):
        return [e for e in self.events[after:] if e.name == name]

    def wait(self, name, condition=lambda e: True, after=0):
        def found():
            return next((e for e in self.events[after:] if e.name == name and condition(e)), None)

        try:
            return wait_for(name, found)
        except AssertionError as failure:
            raise AssertionError("%s: %s; got %s; log %s" % (
                self.node.name, failure, self.events[-6:], self.log[-6:])) from None

    def mark(self):
        return len(self.events)

    def ask(self, command, answer):
        mark = self.mark()
        self.tell(command)
        return self.wait(answer, after=mark)

    def stop(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


class Node:
    def __init__(self, number):
        self.number, self.name = number, "n%d" % number
        self.netns = "%s-%s" % (PREFIX, self.name)
        self.folder = os.path.join(FOLDER, self.name)
        self.address = "10.99.0.%d" % number
        self.corosync, self.processes = None, []
        run("ip", "netns", "add", self.netns)
        run("ip", "-n", self.netns, "link", "set", "lo", "up")
        run("ip", "-n", PREFIX, "link", "add", self.name, "type", "veth",
            "peer", "name", "eth0", "netns", self.netns)
        run("ip", "-n", PREFIX, "link", "set", self.name, "master", "br0", "up")
        run("ip", "-n", self.netns, "address", "add", self.address + "/24", "dev", "eth0")
        run("ip", "-n", self.netns, "link", "set", "eth0", "up")
        binds = ""
        # /dev/shm last: it hides the folder that the others come from.
        for inside in ("/var/lib/corosync", "/etc/corosync", "/run", "/dev/shm"):
            outside = self.folder + inside
            os.makedirs(outside)
            binds += "mount --bind %s %s && " % (outside, inside)
        self.holder = subprocess.Popen(
            ["ip", "netns", "exec", self.netns, "unshare", "--mount", "--propagation", "private",
             "sh", "-c", binds + "echo ready && exec sleep infinity"], stdout=subprocess.PIPE)
        assert self.holder.stdout.readline() == b"ready\n"

    def command(self, *argv):
        return ["nsenter", "-t", str(self.holder.pid), "-m", "-n", *argv]

    def start(self, *argv, **options):
        process = subprocess.Popen(self.command(*argv), **options)
        self.processes.append(process)
        return process

    def run(self, *argv, check=True):
        return run(*self.command(*argv), check=check)

    def link(self, state):
        run("ip", "-n", PREFIX, "link", "set", self.name, state)

    def log(self):
        try:
            with open(self.folder + "/var/lib/corosync/corosync.log") as log:
                return log.read()
        except FileNotFoundError:
            return ""

    def configure(self, token=TOKEN_MS, named=True, crypto=True, quorum=True):
        nodes = ""
        for i in (1, 2, 3):
            name = "\t\tname: n%d\n" % i if named else ""
            nodes += "\tnode {\n\t\tring0_addr: 10.99.0.%d\n\t\tnodeid: %d\n%s\t}\n" % (i, i, name)
        with open(self.folder + "/etc/corosync/corosync.conf", "w") as conf:
            conf.write(CONF % {
                "name": PREFIX, "token": token, "nodes": nodes,
                "cipher": "aes256" if crypto else "none", "hash": "sha256" if crypto else "none",
                "quorum": "provider: corosync_votequorum" if quorum else "two_node: 0"})
        with open(self.folder + "/etc/corosync/authkey", "wb") as key:
            key.write(b"0123456789abcdef" * 16)

    def corosync_start(self):
        self.corosync = self.start("corosync", "-f", stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)

    def corosync_is_ready(self):
        return self.run("corosync-cmapctl", "-g", "runtime.votequorum.this_node_id",
                        check=False).returncode == 0

    def power_off(self):
        """Every process dies, the link goes down: as fast as this program can."""
        at_ns = now_ns()
        for process in self.processes:
            if process.poll() is None:
                process.kill()
        self.link("down")
        for process in self.processes:
            process.wait()
        self.processes = []
        for name in os.listdir(self.folder + "/dev/shm"):
            path = os.path.join(self.folder + "/dev/shm", name)
            shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
        return at_ns

    def stop_all(self):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
        self.processes = []

    def close(self):
        self.stop_all()
        self.holder.kill()
        self.holder.wait()


class Cluster:
    def __init__(self):
        self.nodes, self.traces, self.figures = [], {}, {}

    def create(self):
        os.mkdir(FOLDER)
        run("ip", "netns", "add", PREFIX)
        run("ip", "-n", PREFIX, "link", "add", "br0", "type", "bridge")
        run("ip", "-n", PREFIX, "link", "set", "br0", "up")
        for number in (1, 2, 3):
            self.nodes.append(Node(number))
            self.nodes[-1].configure()

    def stop_all(self):
        for node in self.nodes:
            node.stop_all()

    def print_logs(self):
        for node in self.nodes:
            lines = [line for line in node.log().splitlines(keepends=True)
                     if re.search(r"TOTEM|QUORUM|MAIN", line)]
            print("%s:\n%s" % (node.name, "".join(lines[-20:])), flush=True)

    def close(self):
        for node in self.nodes:
            node.close()
        names = [line.split()[0] for line in run("ip", "netns", "list").stdout.splitlines()]
        for name in names:
            if name == PREFIX or name.startswith(PREFIX + "-"):
                run("ip", "netns", "delete", name, check=False)
        shutil.rmtree(FOLDER, ignore_errors=True)

    def start_all(self):
        """Corosync and a trace on each node that has none, and one settled view of three."""
        for node in self.nodes:
            node.link("up")
            if node.corosync is None or node.corosync.poll() is not None:
                node.configure()
                node.corosync_start()
        for node in self.nodes:
            wait_for("corosync of %s is ready" % node.name, node.corosync_is_ready)
        for node in self.nodes:
            trace = self.traces.get(node.number)
            if trace is None or trace.process.poll() is not None or trace.all("lost"):
                if trace:
                    trace.stop()
                self.traces[node.number] = Trace(node)
        self.settled("1,2,3")

    def settled(self, members, on=(1, 2, 3), after=None):
        """Waits until the last views of these nodes agree and quorum names the same ring."""
        def agreed():
            rings = set()
            for number in on:
                trace = self.traces[number]
                since = after[number] if after else 0
                views, quorums = trace.all("view", since), trace.all("quorum")
                if not views or not quorums or plain(views[-1]) != members:
                    return None
                rings.add(views[-1].ring)
                if quorums[-1].ring != views[-1].ring:
                    return None
            return rings if len(rings) == 1 else None

        try:
            return wait_for("views of %s" % members, agreed).pop()
        except AssertionError as failure:
            raise AssertionError("%s: %s" % (failure, {
                n: (t.all("view")[-2:], t.all("quorum")[-1:], t.log[-3:])
                for n, t in self.traces.items()})) from None

    def marks(self):
        return {number: trace.mark() for number, trace in self.traces.items()}

    def figure(self, name, value):
        self.figures[name] = value
        print("    %s: %s" % (name, value))


def plain(view):
    return str(view.members).replace("*", "")


def fresh(view):
    return {int(m[:-1]) for m in str(view.members).split(",") if m.endswith("*")}


def numbers(trace, sender, after=0):
    return [e.number for e in trace.all("message", after) if e.node == sender]


def expect(condition, text):
    if not condition:
        raise AssertionError(text)


# Tests; each leaves a cluster that start_all can bring back.

def test_not_running(cluster):
    """Without corosync: try again, said at once."""
    trace = Trace(cluster.nodes[0])
    error = trace.wait("error")
    expect(error.rc == -11 and "not running" in error.text, error)
    trace.stop()


def test_no_names_no_quorum(cluster):
    """A corosync.conf that clusterd can't work with is named and explained."""
    node = cluster.nodes[0]
    for options, word in (({"named": False}, "has no name"), ({"quorum": False}, "quorum provider")):
        node.configure(**options)
        node.corosync_start()
        wait_for("corosync answers", lambda: node.run(
            "corosync-cmapctl", "-g", "totem.cluster_name", check=False).returncode == 0)
        trace = Trace(node)
        error = trace.wait("error")
        expect(error.rc == -22 and word in error.text, error)
        trace.stop()
        node.corosync.kill()
        node.corosync.wait()


def test_join(cluster):
    """Views with matching quorum, the newcomer alone is fresh, the facts are right."""
    for node in cluster.nodes:
        node.configure()
        node.corosync_start()
    for node in cluster.nodes:
        wait_for("corosync of %s is ready" % node.name, node.corosync_is_ready)
    wait_for("three nodes", lambda: "Nodes:            3" in cluster.nodes[0].run(
        "corosync-quorumtool", "-s", check=False).stdout)
    for number in (1, 2, 3):
        cluster.traces[number] = Trace(cluster.nodes[number - 1])
        cluster.settled(",".join(str(n) for n in range(1, number + 1)), on=range(1, number + 1))
        for trace in cluster.traces.values():
            expect(fresh(trace.all("view")[-1]) == {number}, trace.all("view"))
    facts = cluster.traces[2].ask("facts", "facts")
    expect(facts.cluster == PREFIX and facts.own == 2 and facts.token == TOKEN_MS, facts)
    expect(facts.consensus == TOKEN_MS * 6 // 5 and facts.retransmits == 4 and facts.hold > 0, facts)
    expect(facts.ping_interval == 200 and facts.ping_timeout == 600, facts)
    expect(facts.secauth == 1 and facts.two_node == 0 and facts.expected_votes == 3, facts)
    expect(facts.nodes == "1:n1:10.99.0.1,2:n2:10.99.0.2,3:n3:10.99.0.3", facts)
    cluster.figure("open, ms", "%.1f" % (cluster.traces[1].all("open")[0].took_ns / 1e6))


def test_order(cluster):
    """Everybody sees all messages in one order, each sender's as sent; latency."""
    marks = cluster.marks()
    for trace in cluster.traces.values():
        trace.tell("send 500")
    orders = []
    for number, trace in cluster.traces.items():
        wait_for("1500 messages", lambda: len(trace.all("message", marks[number])) >= 1500)
        orders.append([(e.node, e.number) for e in trace.all("message", marks[number])])
    expect(orders[0] == orders[1] == orders[2] and len(orders[0]) == 1500, "orders differ")
    for sender in (1, 2, 3):
        own = [number for node, number in orders[0] if node == sender]
        expect(own == list(range(own[0], own[0] + 500)), "sender %d is out of order" % sender)
    latencies = {1: [], 2: []}
    for _ in range(100):
        marks = cluster.marks()
        cluster.traces[1].tell("send 1")
        for receiver, sink in latencies.items():
            message = cluster.traces[receiver].wait("message", after=marks[receiver])
            sink.append(message.latency_ns / 1e6)
        time.sleep(0.02)  # an idle ring between two messages
    for receiver, sink in latencies.items():
        sink.sort()
        cluster.figure("one message from n1 at n%d, ms (median, p90, max)" % receiver,
                       "%.2f %.2f %.2f" % (statistics.median(sink), sink[89], sink[-1]))


def test_process(cluster):
    """A killed process leaves, at once and on the same ring; its successor is fresh."""
    ring = cluster.settled("1,2,3")
    marks = cluster.marks()
    killed_ns = now_ns()
    cluster.traces[3].stop()
    view = cluster.traces[1].wait("view", after=marks[1])
    expect(plain(view) == "1,2" and view.ring == ring and view.nodes == "1,2,3", view)
    expect(not fresh(view), view)
    cluster.figure("process killed to view, ms", "%.1f" % ((view.ns - killed_ns) / 1e6))
    marks = cluster.marks()
    cluster.traces[3] = Trace(cluster.nodes[2])
    view = cluster.traces[1].wait("view", after=marks[1])
    expect(plain(view) == "1,2,3" and fresh(view) == {3} and view.ring == ring, view)
    cluster.settled("1,2,3")


def test_leave(cluster):
    """Leaving comes after what was sent before."""
    marks = cluster.marks()
    cluster.traces[3].tell("send 100")
    cluster.traces[3].tell("leave")
    view = cluster.traces[1].wait("view", after=marks[1])
    expect(plain(view) == "1,2" and view.self_left == 0, view)
    expect(len(numbers(cluster.traces[1], 3, marks[1])) == 100, "messages after the leave")
    own = cluster.traces[3].wait("view", after=marks[3])
    expect(own.self_left == 1 and plain(own) == "1,2", own)
    cluster.traces[3].stop()
    cluster.traces[3] = Trace(cluster.nodes[2])
    cluster.settled("1,2,3")


def test_second_process(cluster):
    """A second daemon on a node gives up; the others keep the first one as the member."""
    marks = cluster.marks()
    second = Trace(cluster.nodes[1])
    lost = second.wait("lost")
    expect("another clusterd runs on this node" in lost.text, lost)
    expect(not second.all("view"), second.events)
    second.stop()
    mark = cluster.traces[1].mark()
    cluster.traces[2].tell("send 1")
    cluster.traces[1].wait("message", lambda e: e.node == 2, after=mark)
    for number, trace in cluster.traces.items():
        for view in trace.all("view", marks[number]):
            expect(plain(view) == "1,2,3" and not fresh(view), view)


STRANGER = """
import ctypes, time
cpg = ctypes.CDLL("libcpg.so.4")
class Name(ctypes.Structure):
    _fields_ = [("length", ctypes.c_uint32), ("value", ctypes.c_char * 128)]
class Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_char_p), ("len", ctypes.c_size_t)]
handle = ctypes.c_uint64()
assert cpg.cpg_initialize(ctypes.byref(handle), None) == 1
name = Name(len(GROUP), GROUP)
assert cpg.cpg_join(handle, ctypes.byref(name)) == 1
count = 0
while count < COUNT:
    for data in DATA:
        iov = Iovec(data, len(data))
        rc = cpg.cpg_mcast_joined(handle, 2, ctypes.byref(iov), 1)
        assert rc in (1, 6), rc
        count += rc == 1
        if rc == 6:
            time.sleep(0.001)
print("sent", flush=True)
"""


def stranger(node, group, data, count):
    script = "GROUP=%r\nDATA=%s\nCOUNT=%d\n" % (group, data, count) + STRANGER
    return node.start("python3", "-c", script, stdout=subprocess.PIPE)


def test_stranger(cluster):
    """Messages of another program or version change nothing, and are named once."""
    marks = cluster.marks()
    # Nothing, noise; our magic with version 2, with absurd counts, with a kind that is none.
    data = "[b'', b'x', b'\\0' * 5000, b'\\xff' * 32, bytes.fromhex('55556c4302000100') + b'\\0' * 40," \
           " bytes.fromhex('55556c4301000100') + b'\\xff' * 40," \
           " bytes.fromhex('55556c4301000900') + b'\\0' * 40]"
    other = stranger(cluster.nodes[1], ("clusterd:" + PREFIX).encode(), data, 28)
    expect(other.stdout.readline() == b"sent\n", "the stranger failed")
    other.wait()
    cluster.traces[1].tell("send 1")
    for number, trace in cluster.traces.items():
        trace.wait("message", after=marks[number])
        complaints = [line for line in trace.log if "are ignored" in line]
        expect(len(complaints) == 1 and "n2" in complaints[0], trace.log)
        expect(len(trace.all("message", marks[number])) == 1, trace.events[marks[number]:])
        expect(not trace.all("lost"), trace.events)
        for view in trace.all("view", marks[number]):
            expect(plain(view) == "1,2,3" and not fresh(view), view)


def test_large(cluster):
    """The largest messages arrive whole and in order, also when another program floods corosync."""
    flood = stranger(cluster.nodes[0], b"flood", "[b'\\0' * 1000000]", 60)
    marks = cluster.marks()
    for _ in range(12):
        cluster.traces[1].tell("send 1 %d" % MESSAGE_MAX)
        cluster.traces[1].tell("send 3")
    for number, trace in cluster.traces.items():
        wait_for("48 messages", lambda: len(trace.all("message", marks[number])) >= 48)
        got = numbers(trace, 1, marks[number])
        expect(got == list(range(got[0], got[0] + 48)), got)
        sizes = [e.len for e in trace.all("message", marks[number])]
        expect(sizes.count(MESSAGE_MAX) == 12, sizes)
    sent = cluster.traces[1].ask("send 1 %d" % (MESSAGE_MAX + 1), "sent")
    expect(sent.rc == -90, sent)  # EMSGSIZE
    expect(flood.wait(LIMIT_S) == 0, "the flood failed")


def test_flood(cluster):
    """Thousands of messages never hold the loop, and stay in order."""
    for trace in cluster.traces.values():
        trace.stop()
    for number in (1, 2, 3):
        cluster.traces[number] = Trace(cluster.nodes[number - 1])
        cluster.traces[number].tell("count")
    cluster.settled("1,2,3")
    for trace in cluster.traces.values():
        trace.tell("send 20000 100")
    for number, trace in cluster.traces.items():
        stats = wait_for("60000 messages", lambda: [
            stats for stats in [trace.ask("stats", "stats")] if stats.received == 60000])[0]
        with open("/proc/%d/smaps_rollup" % trace.process.pid) as status:
            rss = re.search(r"Rss:\s+(\d+)", status.read()).group(1)
        cluster.figure("n%d: longest callback, ms; RSS, KiB" % number,
                       "%.2f (%s); %s" % (stats.longest_ns / 1e6, stats.longest, rss))
        expect(stats.longest_ns < 100e6, stats)
        expect(stats.out_of_order == 0, stats)
        expect(int(rss) < 12 << 10, rss)
    for trace in cluster.traces.values():
        trace.stop()  # start_all gives us printing ones


def test_stopped(cluster):
    """A corosync that is stopped holds nothing up; what was sent meanwhile arrives once, in order."""
    node, trace = cluster.nodes[2], cluster.traces[3]
    before = trace.ask("stats", "stats")
    marks = cluster.marks()
    os.kill(node.corosync.pid, signal.SIGSTOP)
    try:
        trace.tell("send 1000")
        trace.wait("sent", after=marks[3])
        second = Trace(node)
        error = second.wait("error")
        expect(error.rc == -11 and "does not answer" in error.text, error)
        expect(error.took_ns < 2e9, error)
        second.stop()
        cluster.settled("1,2", on=(1, 2), after=marks)
        stats = trace.ask("stats", "stats")
        expect(stats.idle == 0 and stats.received == before.received, stats)
    finally:
        os.kill(node.corosync.pid, signal.SIGCONT)
    cluster.settled("1,2,3", after=marks)
    wait_for("1000 messages", lambda: len(numbers(cluster.traces[3], 3, marks[3])) >= 1000)
    first = numbers(cluster.traces[3], 3, marks[3])[0]
    # One more behind them all: n3 may have had the others to itself, this one reaches everybody.
    trace.tell("send 1")
    for number in (1, 2, 3):
        wait_for("the last one", lambda: (first + 1000) in numbers(
            cluster.traces[number], 3, marks[number]))
        got = numbers(cluster.traces[number], 3, marks[number])
        expect(got == list(range(first + 1001 - len(got), first + 1001)), (number, got))
        cluster.figure("n%d: of 1000 messages sent by a stopped node" % number, len(got) - 1)
    stats = trace.ask("stats", "stats")
    expect(stats.longest_ns < 100e6 and stats.idle == 1, stats)


def quorum_precedes_messages(trace, mark):
    """No message is told between the view of a ring and the quorum of that ring."""
    waiting_for, known = None, set()
    for event in trace.events[mark:]:
        if event.name == "quorum":
            known.add(event.ring)
        elif event.name == "view":
            waiting_for = event.ring
        elif event.name == "message" and waiting_for:
            expect(waiting_for in known, "a message before the quorum of %s" % waiting_for)


def test_power_off(cluster):
    """A dead node: one view with the new ring, then its quorum; with how long each takes."""
    gaps = []
    for _ in range(5):
        marks = cluster.marks()
        off_ns = cluster.nodes[2].power_off()
        for number in (1, 2):
            cluster.traces[number].tell("send 50")
        ring = cluster.settled("1,2", on=(1, 2), after=marks)
        for number in (1, 2):
            views = cluster.traces[number].all("view", marks[number])
            expect(len(views) == 1 and not fresh(views[0]) and views[0].nodes == "1,2", views)
            quorum = cluster.traces[number].wait("quorum", lambda e: e.ring == ring, marks[number])
            expect(quorum.quorate == 1, quorum)
            gaps.append((quorum.ns - views[0].ns) / 1e6)
            wait_for("100 messages", lambda: len(
                cluster.traces[number].all("message", marks[number])) >= 100)
            quorum_precedes_messages(cluster.traces[number], marks[number])
        cluster.figure("power off to view at n1, ms", "%.0f" % (
            (cluster.traces[1].all("view", marks[1])[0].ns - off_ns) / 1e6))
        marks = cluster.marks()
        cluster.traces[3].stop()
        cluster.start_all()
        for number in (1, 2):
            views = cluster.traces[number].all("view", marks[number])
            expect(fresh(views[-1]) == {3} and plain(views[-1]) == "1,2,3", views)
    gaps.sort()
    cluster.figure("view to quorum of the same ring, ms (min, median, max)",
                   "%.2f %.2f %.2f" % (gaps[0], statistics.median(gaps), gaps[-1]))


def test_partition(cluster):
    """Cut and healed: the part alone has no quorum; on healing each side sees the other as fresh."""
    marks = cluster.marks()
    cluster.nodes[2].link("down")
    cluster.settled("1,2", on=(1, 2), after=marks)
    cluster.settled("3", on=(3,), after=marks)
    expect(cluster.traces[1].all("quorum")[-1].quorate == 1, "the larger part lost quorum")
    expect(cluster.traces[3].all("quorum")[-1].quorate == 0, "the lone node kept quorum")
    marks = cluster.marks()
    cluster.nodes[2].link("up")
    cluster.settled("1,2,3", after=marks)
    for number, others in ((1, {3}), (2, {3}), (3, {1, 2})):
        views = [v for v in cluster.traces[number].all("view", marks[number])
                 if plain(v) == "1,2,3"]
        # On healing, corosync may tear n1 and n2 apart for a moment as well: then both are fresh.
        expect(len(views) == 1 and others <= fresh(views[0]), views)
        expect(number not in fresh(views[0]), views)
    expect(cluster.traces[3].all("quorum")[-1].quorate == 1, "no quorum after healing")


def test_reload(cluster):
    """The timings follow corosync's config."""
    for node in cluster.nodes:
        node.configure(token=TOKEN_MS + 500)
    cluster.nodes[0].run("corosync-cfgtool", "-R")
    for trace in cluster.traces.values():
        wait_for("the new token", lambda: trace.ask("facts", "facts").token == TOKEN_MS + 500)
        expect(trace.ask("facts", "facts").consensus == (TOKEN_MS + 500) * 6 // 5, "consensus")
    for node in cluster.nodes:
        node.configure()
    cluster.nodes[0].run("corosync-cfgtool", "-R")
    for trace in cluster.traces.values():
        wait_for("the old token", lambda: trace.ask("facts", "facts").token == TOKEN_MS)


def shared_memory(trace):
    """libqb names its folders by server and client: those of this client with something in them."""
    ours = re.compile(r"/qb-\d+-%d-" % trace.process.pid)
    return [path for path, _, files in os.walk(trace.node.folder + "/dev/shm")
            if files and ours.search(path)]


def test_killed(cluster):
    """corosync killed: told within milliseconds, and the loop goes on."""
    times = []
    for _ in range(5):
        trace = cluster.traces[2]
        expect(shared_memory(trace), "no shared memory to be given back")
        killed_ns = now_ns()
        cluster.nodes[1].corosync.kill()
        lost = trace.wait("lost")
        times.append((lost.ns - killed_ns) / 1e6)
        cluster.nodes[1].corosync.wait()
        expect("stopped or crashed" in lost.text, lost)
        expect(trace.ask("stats", "stats").longest_ns < 100e6, "the loop was held")
        wait_for("the shared memory is given back", lambda: not shared_memory(trace))
        cluster.settled("1,3", on=(1, 3))
        cluster.start_all()
    times.sort()
    cluster.figure("corosync killed to told, ms (median, max)",
                   "%.2f %.2f" % (statistics.median(times), times[-1]))
    expect(times[-1] < 1000, times)


def test_shutdown(cluster):
    """corosync-cfgtool -H waits for us; then corosync stops, and that is told as well."""
    node, trace = cluster.nodes[1], cluster.traces[2]
    tool = node.start("corosync-cfgtool", "-H", stdout=subprocess.DEVNULL)
    trace.wait("shutdown")
    trace.tell("send 10")
    mark = trace.mark()
    wait_for("sent before we allow it", lambda: len(numbers(trace, 2, mark)) == 10)
    expect(node.corosync.poll() is None and tool.poll() is None, "corosync did not wait")
    trace.tell("allow")
    trace.wait("lost")
    expect(tool.wait(LIMIT_S) == 0, "corosync-cfgtool -H failed")
    node.corosync.wait(LIMIT_S)
    expect(len(trace.all("shutdown")) == 1, trace.events)
    cluster.settled("1,3", on=(1, 3))


def main():
    if os.geteuid() != 0:
        print("skipped: needs root (network namespaces)")
        return 77
    for tool in ("corosync", "corosync-cfgtool", "ip", "nsenter"):
        if not shutil.which(tool):
            print("skipped: %s is not installed" % tool)
            return 77
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    tests = [fn for name, fn in globals().items() if name.startswith("test_") and wanted in name]
    # Stopped from outside: clean up all the same.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    early = (test_not_running, test_no_names_no_quorum, test_join)
    failed = 0
    with contextlib.ExitStack() as stack:
        cluster = Cluster()
        stack.callback(cluster.close)
        cluster.create()
        for test in tests:
            print("%s: %s" % (test.__name__[5:], test.__doc__), flush=True)
            try:
                if test not in early:
                    cluster.start_all()
                test(cluster)
            except AssertionError as failure:
                failed += 1
                print("FAILED: %s: %s" % (test.__name__[5:], failure), flush=True)
                cluster.print_logs()
                cluster.stop_all()
    print("%d passed, %d failed" % (len(tests) - failed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
