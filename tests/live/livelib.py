# SPDX-License-Identifier: GPL-2.0-or-later
"""The cluster that the live tests share: three nodes of the lab with corosync, clusterd, services.

Invariant: what a test believes comes from outside of clusterd as well: the witness (each kernel's
addresses, in order), the judge (who answers on the wire), probes from the client, the services'
own processes. clusterctl's word must agree with them. restore() brings back the state that each
test begins with, and settled() is what each ends with. Used by live_test.py and its parts.
"""

import concurrent.futures
import json
import pathlib
import re
import signal
import sys
import threading

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "lab"))

from labnet import Lab, LabError, boottime_ns, signal_number, wait  # noqa: E402
from witness import Witness  # noqa: E402

__all__ = ["Cluster", "Failure", "LabError", "NODES", "boottime_ns", "expect", "signal", "test",
	"wait", "wait_for"]

LIMIT_S = 30
ROUNDS = 8  # of questions to who has an address, until we believe it
ANSWERS_KEPT = 4000
WITNESS_S = 3  # for the kernel to tell of an IPv6 address that it has already
TOKEN_MS = 1000
HOLDOFF_MS = 2.6 * TOKEN_MS  # of a daemon that is gone while its corosync runs
NODES = ("n1", "n2", "n3")
ALL_ONLINE = {name: "online" for name in NODES}

WEB, WEB6, BACK, SVC, ADDED = "10.77.0.50", "fd77::50", "10.77.0.51", "10.77.0.52", "10.77.0.54"
ADDRESSES = {"web": (WEB, WEB6), "back": (BACK,), "svc": (SVC,), "added": (ADDED,)}
HOMES = {"web": "n1", "back": "n3", "svc": "n2"}

SERVICE = "/usr/local/lib/lab-svc"
SERVICE_SCRIPT = """#!/bin/sh
# A service for the tests: a process that sleeps. Files in /run/svc make it misbehave.
dir=/run/svc
mkdir -p $dir
runs() { [ -e $dir/pid ] && kill -0 "$(cat $dir/pid)" 2>/dev/null; }
case $1 in
start)
	[ -e $dir/slow-start ] && sleep "$(cat $dir/slow-start)"
	[ -e $dir/refuse-start ] && { echo "told to refuse"; exit 1; }
	runs && exit 0
	setsid sleep 1000000 </dev/null >/dev/null 2>&1 &
	echo $! >$dir/pid
	;;
stop)
	[ -e $dir/hang-stop ] && sleep 1000
	runs || exit 0
	kill "$(cat $dir/pid)"
	while runs; do sleep 0.02; done
	rm $dir/pid
	;;
status)
	[ -e $dir/hang-status ] && sleep 1000
	runs || exit 3
	;;
esac
"""

GROUP_WEB = """  { name = "web"; preferred_owners = [ "n1", "n2" ]; failback = %(web_failback)s;
    resources = (
      { name = "web-ip"; type = "vip"; address = "10.77.0.50/24"; interface = "eth0"; },
      { name = "web-ip6"; type = "vip"; address = "fd77::50/64"; interface = "eth0"; } ); }"""
GROUP_BACK = """  { name = "back"; preferred_owners = [ "n3" ]; failback = true;
    resources = ( { name = "back-ip"; type = "vip"; address = "10.77.0.51/24"; } ); }"""
GROUP_SVC = """  { name = "svc"; preferred_owners = [ "n2", "n3", "n1" ];
    resources = (
      { name = "svc-ip"; type = "vip"; address = "10.77.0.52/24"; interface = "eth0"; },
      { name = "svc-run"; type = "exec"; start = "SERVICE start"; stop = "SERVICE stop";
        monitor = "SERVICE status"; interval_ms = 250; timeout_ms = 2000;
        on_node_loss = "takeover"; } ); }""".replace("SERVICE", SERVICE)
GROUP_ADDED = """  { name = "added"; preferred_owners = [ "n2" ];
    resources = ( { name = "added-ip"; type = "vip"; address = "10.77.0.54/24"; } ); }"""


def config(added=False, web_failback=False):
	groups = [GROUP_WEB % {"web_failback": "true" if web_failback else "false"}, GROUP_BACK,
		GROUP_SVC] + [GROUP_ADDED] * added
	return """cluster = { name = "lab"; };
nodes = ( { name = "n1"; }, { name = "n2"; }, { name = "n3"; } );
groups = (
%s
);
""" % ",\n".join(groups)


class Failure(AssertionError):
	"""What the product did wrong, in words."""


def expect(condition, text):
	if not condition:
		raise Failure(text)


def wait_for(condition, what, limit_s=LIMIT_S):
	"""Until condition() returns a true value; an exception text of its own is kept for the words."""
	last = []

	def tried():
		try:
			return condition()
		except Failure as failure:
			last[:] = [str(failure)]
			return None

	try:
		return wait(tried, limit_s, what)
	except LabError as error:
		raise Failure(f"{error}{': ' + last[0] if last else ''}") from None


TESTS = []


def test(title, two_may_hold=()):
	"""Registers a test. It gets the cluster and returns its figures, in words. two_may_hold:
	groups whose addresses may be on two nodes at once in it, and the test says why."""
	def register(function):
		TESTS.append((title, function, set(two_may_hold)))
		return function
	return register


class WireJudge:
	"""arpwatch for a whole test, read as it speaks. There is one at a time: answers to another
	one's questions would look like late answers to ours."""

	def __init__(self, lab, addresses):
		self.clock = lab.client.interfaces[0].addresses[0].partition("/")[0]
		self.process = lab.judge.popen(["arpwatch", "--interface", "eth0", "--interval-us", "10000",
			"--all", self.clock, *addresses], stdout=-1, stderr=-2, text=True)
		self.answers = []  # (boottime_ns, address, mac), the newest
		self.summary = None
		self.thread = threading.Thread(target=self._read, daemon=True)
		self.thread.start()
		self.ask([])  # it is on its way

	def _read(self):
		for line in self.process.stdout:
			record = json.loads(line)
			if record["kind"] == "summary":
				self.summary = record["addresses"]
			elif record["kind"] == "answer":
				self.answers.append((record["boottime_ns"], record["address"], record["mac"]))
				del self.answers[:-ANSWERS_KEPT]

	def ask(self, addresses):
		"""{address: MACs of who answered}, over ROUNDS rounds from now. The client's own address
		tells that rounds were asked and answers were heard."""
		start_ns = boottime_ns()

		def heard():
			return [answer for answer in list(self.answers) if answer[0] > start_ns]

		wait(lambda: sum(answer[1] == self.clock for answer in heard()) >= ROUNDS, LIMIT_S,
			"the judge should hear the client")
		return {address: {mac for _, target, mac in heard() if target == address}
			for address in addresses}

	def stop(self):
		"""arpwatch's verdict by address."""
		self.process.send_signal(signal.SIGTERM)
		self.process.wait(LIMIT_S)
		self.thread.join(LIMIT_S)
		if self.summary is None:
			raise LabError(f"arpwatch ended with status {self.process.returncode} and no verdict")
		self.summary.pop(self.clock)
		return self.summary


class Probes:
	"""Probes of several addresses under way."""

	def __init__(self, lab, addresses):
		self.runs = [lab.probe_start(address) for address in addresses]
		self.addresses = addresses

	def stop(self):
		"""The results, and for people: the longest silence of each address."""
		self.results = [run.stop() for run in self.runs]
		return self

	def longest_ms(self):
		return max(result["longest_gap_ms"] for result in self.results)

	def lost(self):
		return sum(result["lost"] for result in self.results)

	def text(self):
		return ", ".join(f"{address}: {result['longest_gap_ms']:.1f} ms"
			for address, result in zip(self.addresses, self.results))


class Cluster:
	def __init__(self, folder):
		self.lab = Lab(folder)
		self.pool = concurrent.futures.ThreadPoolExecutor(4)
		self.witness = None
		self.judge = None
		self.digests = {}  # by version of the state
		self.n_rebuilt = 0
		self.loops = {}  # by node and daemon: the worst that its loop has said

	# Life

	def up(self):
		self.lab.up(3, token_ms=TOKEN_MS, conf=config(), start=False)
		self.witness = Witness(self.lab)
		self.macs = {node.mac: node.name for node in self.lab.nodes}
		for node in self.lab.nodes:
			node.write(SERVICE, SERVICE_SCRIPT, 0o755)
			node.start()
		self.lab.wait_ring(list(NODES))
		self.lab.wait_members(list(NODES))

	def down(self):
		if self.witness:
			self.witness.close()
			self.witness = None
		self.digests.clear()
		self.lab.down()

	def node(self, name):
		return self.lab.node(name)

	def power_off(self, *names):
		"""Boottime (ns) just before the first."""
		before = []
		for name in names:
			self.note_loop(name)
			before.append(self.node(name).power_off())
			self.witness.power_off(name)
		return before[0]

	def power_on(self, *names):
		for name in names:
			self.node(name).power_on()

	def kill(self, name, daemon):
		"""SIGKILL; boottime (ns) just before."""
		self.note_loop(name)
		node = self.node(name)
		before_ns = boottime_ns()
		proc = pathlib.Path(node.proc(), str(node.daemon_pid(daemon)))
		node.signal_daemon(daemon, signal.SIGKILL)
		# Its last thread too, not only the first one: then its sockets are closed.
		wait_for(lambda: not proc.exists(), f"{daemon} on {name} should be dead")
		return before_ns

	def state_forgotten(self):
		"""Call when no daemon is left that has the state: the next one is another history, whose
		versions begin where the last saved orders ended."""
		self.digests.clear()

	def write_config(self, text, *names):
		for name in names or NODES:
			self.node(name).write("/etc/clusterd/clusterd.conf", text)

	def reload(self, *names):
		for name in names or NODES:
			self.node(name).signal_daemon("clusterd", signal.SIGHUP)

	# Asking clusterd

	def status(self, name):
		"""The document, or None without an answer."""
		node = self.node(name)
		if not node.daemon_pid("clusterd"):
			return None
		done = node.exec(["clusterctl", "status", "--json"])
		if done.returncode != 0:
			return None
		doc = json.loads(done.stdout)
		self._note_status(name, doc)
		return doc

	def _note_status(self, name, doc):
		loop = doc["loop"]
		key = name, self.node(name).daemon_pid("clusterd")
		if loop["longest_ms"] >= self.loops.get(key, {"longest_ms": 0})["longest_ms"]:
			self.loops[key] = {**loop, "rss_kib": doc["rss_kib"]}
		if doc["phase"] != "member" or not doc["quorate"]:
			return
		other = self.digests.setdefault(doc["state_version"], (doc["state_digest"], name))
		expect(other[0] == doc["state_digest"], f"state version {doc['state_version']}: digest "
			f"{doc['state_digest']} on {name}, {other[0]} on {other[1]}")

	def note_loop(self, name):
		"""Its figures end with it."""
		self.status(name)

	def statuses(self, names=NODES):
		return dict(zip(names, self.pool.map(self.status, names)))

	def group(self, group, name=None):
		"""The group as this node (default: any member) shows it."""
		for candidate in [name] if name else NODES:
			doc = self.status(candidate) if self.node(candidate).is_on() else None
			if doc and (name or doc["phase"] == "member"):
				return next(g for g in doc["groups"] if g["name"] == group)
		raise Failure("no node is a member")

	def history(self, name):
		return self.node(name).clusterctl_json("history")["history"]

	def ctl(self, name, *argv, status=0, words=""):
		"""Runs clusterctl and judges its exit status and what it said (a regular expression)."""
		done = self.node(name).exec(["clusterctl", *argv])
		text = done.stdout + done.stderr
		what = f"{name}: clusterctl {' '.join(argv)}: exit status {done.returncode}, {text.strip()!r}"
		expect(done.returncode == status, f"{what}; status should be {status}")
		expect(re.search(words, text), f"{what}; should say {words!r}")
		return text

	# Asking everybody else

	def kernel_holders(self, group):
		return {address: self.witness.holders(address) for address in ADDRESSES[group]}

	def kernel_has(self, name, address):
		"""The node's own word, by ip."""
		family = "-6" if ":" in address else "-4"
		text = self.node(name).exec(["ip", family, "-o", "address", "show"], check=True).stdout
		return f" {address}/" in text

	def wait_gone(self, name, group, limit_s=LIMIT_S):
		"""Until the node's kernel has no address of the group; boottime (ns) when the last went."""
		wait_for(lambda: all(name not in held for held in self.kernel_holders(group).values()),
			f"{name} should drop the addresses of {group}", limit_s)
		return max(change.time_ns for change in self.witness.since(0, name)
			if change.address in ADDRESSES[group] and not change.is_added)

	def services(self):
		"""{node: pid} of the test's service, wherever it runs."""
		found = {}
		for node in self.lab.nodes:
			if node.is_on():
				pids = [path.parent.name for path in pathlib.Path(node.proc()).glob("[0-9]*/comm")
					if self._is_service(path)]
				if pids:
					expect(len(pids) == 1, f"{node.name}: the service runs {len(pids)} times")
					found[node.name] = int(pids[0])
		return found

	@staticmethod
	def _is_service(path):
		try:
			return b"sleep\0" + b"1000000" in (path.parent / "cmdline").read_bytes()
		except OSError:
			return False

	def probe(self, *addresses):
		return Probes(self.lab, addresses or (WEB, WEB6))

	def judge_start(self):
		self.judge = WireJudge(self.lab, [a for group in ADDRESSES.values() for a in group])

	def judge_stop(self):
		judge, self.judge = self.judge, None
		return judge.stop()

	def wire_holders(self, addresses):
		"""{address: names of those who answer now}."""
		return {address: sorted(self.macs.get(mac, mac) for mac in macs)
			for address, macs in self.judge.ask(addresses).items()}

	# What must be so

	def _agreement(self, members, owners, offline, nodes):
		docs = self.statuses(members)
		for name, doc in docs.items():
			expect(doc is not None, f"{name} does not answer")
			expect(doc["phase"] == "member" and doc["quorate"], f"{name} is in phase {doc['phase']}")
			states = {node["name"]: node["state"] for node in doc["nodes"]}
			expect(states == nodes, f"{name} sees nodes {states}")
			for group in doc["groups"]:
				self._group_is_settled(name, group, owners, offline)
		versions = {name: doc["state_version"] for name, doc in docs.items()}
		expect(len(set(versions.values())) == 1, f"versions of the state: {versions}")
		digests = {name: doc["state_digest"] for name, doc in docs.items()}
		expect(len(set(digests.values())) == 1, f"equal versions, but digests: {digests}")
		return docs

	def _group_is_settled(self, name, group, owners, offline):
		what = f"{name}: group {group['name']}: {group['state']} on {group['owner']} " \
			f"({group['problem'] or group['why']})"
		if group["name"] in offline:
			expect(group["state"] == "offline" and not group["may_run_on"], what)
			return
		expect(group["state"] == "online" and group["target"] == group["owner"], what)
		expect(group["may_run_on"] == [group["owner"]], f"{what}: may run on {group['may_run_on']}")
		expect(group["owner"] == owners.get(group["name"], group["owner"]),
			f"{what}; should be on {owners.get(group['name'])}")
		expect({r["state"] for r in group["resources"]} == {"online"},
			f"{what}: {group['resources']}")

	def settled(self, members=NODES, owners=None, offline=(), nodes=None, limit_s=LIMIT_S):
		"""Waits until the members agree that all groups are online (or offline, as told) where
		they should be; then asserts that the kernels, the wire and the processes say the same.
		Returns {group: owner}."""
		nodes = nodes or {name: "online" if name in members else "offline" for name in NODES}
		docs = wait_for(lambda: self._agreement(members, owners or {}, offline, nodes),
			"the members should agree", limit_s)
		groups = next(iter(docs.values()))["groups"]
		found = {group["name"]: group["owner"] for group in groups if group["name"] not in offline}
		want = {address: [found[name]] if name in found else []
			for name in ADDRESSES for address in ADDRESSES[name]}
		wait_for(lambda: self._kernels_have(want), "the kernels should agree", WITNESS_S)
		for address, names in want.items():
			for name in NODES:
				if self.node(name).is_on():
					expect(self.kernel_has(name, address) == (name in names),
						f"ip on {name} disagrees about {address}: it should be on {names}")
		wire = self.wire_holders(want) if self.judge else want  # restore() goes by the kernels
		expect(wire == want, f"on the wire {wire} answer, clusterctl says {want}")
		runs = sorted(self.services())
		expect(runs == [found[g] for g in ("svc",) if g in found], f"the service runs on {runs}")
		return found

	def _kernels_have(self, want):
		held = {address: self.witness.holders(address) for address in want}
		expect(held == want, f"kernels have {held}, clusterctl says {want}")
		return True

	def unmoved(self, before, after):
		"""before, after: documents of one group: it neither moved nor so much as stopped."""
		for key in ("state", "owner", "since_ms"):
			expect(before[key] == after[key],
				f"group {after['name']}: {key} was {before[key]}, is {after[key]}")

	# The state that every test begins with

	def plug(self, name):
		"""Gives a node a new service interface, as the lab's attach() did, if it has none."""
		node = self.node(name)
		i = node.interfaces[0]
		if self.lab.switch.path(f"/sys/class/net/{i.port}").exists() or not node.is_on():
			return
		self.lab.ip(self.lab.switch, [f"link add {i.port} type veth peer name {i.name} address "
			f"{i.mac} netns {node.init_pid()}", f"link set {i.port} master {i.bridge} up"])
		self.lab.ip(node, [f"address add {address} dev {i.name}{' nodad' if ':' in address else ''}"
			for address in i.addresses] + [f"link set {i.name} up"])

	def restore(self):
		self.lab.heal()
		for node in self.lab.nodes:
			self.plug(node.name)
			if not node.is_on():
				self.witness.power_off(node.name)
				node.power_on(start=False)
			node.carrier(True)
			node.write("/etc/clusterd/clusterd.conf", config())
			node.exec(["rm", "-f", *(f"/run/svc/{flag}"
				for flag in ("slow-start", "refuse-start", "hang-stop", "hang-status"))], check=True)
			node.start()
		self.lab.wait_ring(list(NODES))
		self.reload()
		self.lab.wait_members(list(NODES))
		wait_for(lambda: all(self._may_begin(doc) for doc in self.statuses().values()),
			"all groups should run before the next test", 60)
		for group, home in HOMES.items():
			if self.group(group, "n1")["owner"] != home:
				self.ctl("n1", "failover", group, "--to", home, "--wait=30")
		self.settled(owners=HOMES)

	def _may_begin(self, doc):
		if doc is None or doc["phase"] != "member":
			return False
		for group in doc["groups"]:
			if group["name"] not in HOMES:  # a config without it is loaded, and waits for this
				if group["enabled"]:
					self.ctl("n1", "offline", group["name"])
				return False
			if not group["enabled"] or group["failed_on"]:
				self.ctl("n1", "online", group["name"])
			if group["state"] != "online" or group["failed_on"]:
				return False
		return len(doc["groups"]) == len(HOMES) \
			and {node["name"]: node["state"] for node in doc["nodes"]} == ALL_ONLINE
