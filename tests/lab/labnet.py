# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab: a cluster of machines on one, each a set of namespaces, on two bridges.

	switch   holds the bridges "service" and "cluster"; its nft table makes the cuts
	n1..nN   eth0 on service, eth1 on cluster; corosync and clusterd
	client, judge   eth0 on service; where probes run

Invariant: everything is recorded below one folder before it runs, the host's own network, mounts
and processes are never touched, and down() leaves nothing. Used by the lab command, the live
tests, the demo and the benchmarks.
"""

import concurrent.futures
import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import threading

import labconf
from labproc import LIMIT_S, LabError, Machine, boottime_ns, wait

DEFAULT_DIR = "/run/clusterd-lab"
TOP = pathlib.Path(__file__).resolve().parents[2]
PROGRAMS = ("nodeinit", "probe", "arpwatch")
NETWORKS = {"service": "s-", "cluster": "c-"}
LOGS = {"corosync": "/var/log/corosync/corosync.log", "clusterd": "/var/log/lab/clusterd.log"}

FILTER = """table bridge lab {
	set off { type ifname; }
	set gone { type ifname; }
	set cuts { type ifname . ifname; }
	chain forward {
		type filter hook forward priority 0; policy accept;
		iifname @off drop
		oifname @off drop
		iifname @gone drop
		oifname @gone drop
		iifname . oifname @cuts drop
	}
}
"""

__all__ = ["Lab", "LabError", "Node", "boottime_ns", "wait"]


def find_build(build=None):
	"""The folder of the built programs: as told, the current one, or the source tree's top."""
	told = build or os.environ.get("CLUSTERD_BUILD")
	places = [told] if told else [os.getcwd(), TOP]
	for place in places:
		if all(os.access(pathlib.Path(place, "tests/lab", name), os.X_OK) for name in PROGRAMS):
			return pathlib.Path(place).resolve()
	raise LabError(f"{places[-1]}: the lab's programs ({', '.join(PROGRAMS)}) are not built; "
		"run make, or name the build folder with --build")


@contextlib.contextmanager
def uninterrupted():
	"""Whoever asks twice to stop must not stop the cleaning up."""
	numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
	is_main = threading.current_thread() is threading.main_thread()
	before = {n: signal.signal(n, signal.SIG_IGN) for n in numbers} if is_main else {}
	try:
		yield
	finally:
		for number, handler in before.items():
			signal.signal(number, handler)


def signal_number(text):
	"""KILL, SIGKILL or 9."""
	try:
		return signal.Signals(int(text)) if text.isdigit() else \
			signal.Signals["SIG" + text.upper().removeprefix("SIG")]
	except (KeyError, ValueError):
		raise LabError(f"{text}: not a signal; say KILL, STOP, CONT or TERM, for example") from None


class Node(Machine):
	"""A machine with both networks and the cluster's daemons."""

	def __init__(self, lab, index):
		name = labconf.node_name(index)
		super().__init__(name, lab.dir / name, lab.build)
		self.lab = lab
		self.index = index
		self.service_ip = labconf.service_ip(10 + index)
		self.service_ip6 = labconf.service_ip6(10 + index)
		self.cluster_ip = labconf.cluster_ip(10 + index)
		self.interfaces = (labconf.service_interface(name, 10 + index),
			labconf.cluster_interface(name, 10 + index))
		self.mac = self.interfaces[0].mac

	def start(self, corosync=True, clusterd=True):
		"""Starts what does not run yet."""
		if corosync and not self.daemon_pid("corosync"):
			self.spawn("corosync", ["corosync", "-f"])
		if clusterd and self.lab.has_clusterd and not self.daemon_pid("clusterd"):
			self.spawn("clusterd", [self.build / "clusterd/clusterd", "-f",
				"-c", "/etc/clusterd/clusterd.conf", "-s", "/var/lib/clusterd"])

	def stop(self, corosync=True):
		"""In order: clusterd hands its groups over, then corosync leaves the ring."""
		self.end_daemon("clusterd")
		if corosync:
			self.end_daemon("corosync")

	def power_off(self):
		"""Both links in one transaction, then all processes: no last word gets out, and no carrier
		is seen going. Returns the boottime (ns) just before."""
		ports = [i.port for i in self.interfaces]
		before_ns = boottime_ns()
		self.lab.nft(f"add element bridge lab off {{ {', '.join(ports)} }}\n")
		self.kill()
		self.lab.remove_ports(ports)
		self.lab.nft(f"delete element bridge lab off {{ {', '.join(ports)} }}\n")
		return before_ns

	def power_on(self, start=True):
		"""Boots; the daemons are started, not waited for (see Lab.wait_ring, wait_members)."""
		self.boot()
		self.lab.attach(self)
		if start:
			self.start()

	def carrier(self, is_on, network="service"):
		"""Plugs the cable of one interface in or out. Returns the boottime (ns) just before."""
		before_ns = boottime_ns()
		self.lab.ip(self.lab.switch,
			[f"link set {NETWORKS[network]}{self.name} {'up' if is_on else 'down'}"])
		return before_ns

	def clusterctl_json(self, *argv):
		done = self.exec(["clusterctl", *argv, "--json"], check=True)
		return json.loads(done.stdout)

	def ring(self):
		"""corosync's view: {"ring", "quorate", "members"}, or None without an answer."""
		if not self.daemon_pid("corosync"):
			return None
		text = self.exec(["corosync-quorumtool", "-s"]).stdout
		ring = re.search(r"^Ring ID:\s+(\S+)", text, re.M)
		if not ring:
			return None
		rows = text.partition("Membership information")[2]
		return {"ring": ring[1], "quorate": bool(re.search(r"^Quorate:\s+Yes", text, re.M)),
			"members": sorted(map(int, re.findall(r"^\s+(\d+)\s+\d+\s", rows, re.M)))}

	def phase(self):
		"""clusterd's own word for how far it got, or why there is none."""
		if not self.daemon_pid("clusterd"):
			return "not running"
		done = self.exec(["clusterctl", "status", "--json"])
		try:
			return json.loads(done.stdout)["phase"]
		except (ValueError, KeyError, TypeError):
			return (done.stderr.strip() or "no answer").splitlines()[0]


class Run:
	"""A probe or judge under way in a guest."""

	def __init__(self, process):
		self.process = process

	def wait(self, timeout_s=None):
		"""The result, when it ends by itself."""
		out, err = self.process.communicate(timeout=timeout_s)
		if self.process.returncode != 0:
			raise LabError(f"{self.process.args[3]}: status {self.process.returncode}: {err.strip()}")
		return self.result([json.loads(line) for line in out.splitlines()])

	def stop(self):
		"""Ends it now and gives the result."""
		if self.process.poll() is None:
			self.process.send_signal(signal.SIGTERM)
		return self.wait(LIMIT_S)

	def result(self, records):
		return records[-1]


class Judge(Run):
	def result(self, records):
		return {**records[-1], "records": records[:-1]}


class Lab:
	def __init__(self, folder=None, build=None):
		"""Finds a lab that is up; otherwise call up()."""
		self.dir = pathlib.Path(folder or os.environ.get("CLUSTERD_LAB_DIR") or DEFAULT_DIR).absolute()
		if re.search(r"[\s:,\\]", str(self.dir)):
			raise LabError(f"{self.dir}: choose a folder without blanks, commas, colons, backslashes")
		self.nodes = []
		self.build = None
		self.has_clusterd = False
		try:
			state = json.loads((self.dir / "lab.json").read_text())
		except FileNotFoundError:
			state = {}
		self.is_up = bool(state)
		self._wanted_build = build
		if state:
			self._populate(state)

	def _populate(self, state):
		self.build = pathlib.Path(state["build"])
		self.has_clusterd = state["clusterd"]
		self.token_ms = state["token_ms"]
		self.nodes = [Node(self, i) for i in range(1, state["nodes"] + 1)]
		self.switch = Machine("switch", self.dir / "switch", self.build)
		for name, number in labconf.GUESTS.items():
			guest = Machine(name, self.dir / name, self.build)
			guest.interfaces = (labconf.service_interface(name, number),)
			setattr(self, name, guest)

	def machines(self):
		return [self.switch, *(getattr(self, name) for name in labconf.GUESTS), *self.nodes]

	def machine(self, name):
		self.require_up()
		for machine in self.machines():
			if machine.name == name:
				return machine
		raise LabError(f"{name}: no such machine; there are "
			+ ", ".join(m.name for m in self.machines()))

	def node(self, name):
		machine = self.machine(name)
		if not isinstance(machine, Node):
			raise LabError(f"{name} is not a node of the cluster")
		return machine

	def require_up(self):
		if not self.is_up:
			raise LabError(f"no lab at {self.dir}; start one with: lab up 3")

	# Up and down

	def up(self, n_nodes=3, token_ms=1000, conf=None, clusterd=True, totem=None, quorum=None,
			start=True, wait_ready=True):
		"""conf: text of clusterd's config (default: one group "web"). totem, quorum: see
		labconf.corosync_conf. On failure nothing is left."""
		if os.geteuid() != 0:
			raise LabError("the lab makes namespaces: run it as root")
		if self.is_up or self.dir.exists():
			raise LabError(f"{self.dir} exists: a lab is up there; end it with "
				"tests/lab/lab down, or choose another folder with CLUSTERD_LAB_DIR")
		if not 1 <= n_nodes <= labconf.MAX_NODES:
			raise LabError(f"{n_nodes} nodes: the lab makes 1 to {labconf.MAX_NODES}")
		build = find_build(self._wanted_build)
		if clusterd and not os.access(build / "clusterd/clusterd", os.X_OK):
			raise LabError(f"{build}/clusterd/clusterd is not built; run make (or --no-clusterd)")
		self.dir.mkdir(parents=True)
		state = {"nodes": n_nodes, "token_ms": token_ms, "build": str(build), "clusterd": clusterd}
		(self.dir / "lab.json").write_text(json.dumps(state) + "\n")
		self._populate(state)
		self.is_up = True
		try:
			self._write_files(conf, labconf.corosync_conf(n_nodes, token_ms, totem, quorum))
			self._boot()
			if start:
				self._each(self.nodes, lambda node: node.start())
			if start and wait_ready:
				names = [node.name for node in self.nodes]
				self.wait_ring(names)
				if clusterd:
					self.wait_members(names)
		except BaseException:
			self.down()
			raise
		return self

	def _each(self, machines, function):
		with concurrent.futures.ThreadPoolExecutor(8) as pool:
			return list(pool.map(function, machines))

	def _write_files(self, conf, corosync_conf):
		key = os.urandom(256)
		for machine in self.machines():
			machine.write("/etc/hosts", labconf.hosts(len(self.nodes)))
			machine.write("/etc/hostname", machine.name + "\n")
		for node in self.nodes:
			node.write("/etc/corosync/corosync.conf", corosync_conf)
			node.write("/etc/corosync/authkey", key, 0o400)
			node.write("/etc/clusterd/clusterd.conf", conf or labconf.clusterd_conf(len(self.nodes)))

	def _boot(self):
		self._each(self.machines(), lambda machine: machine.boot())
		# The switch has no address of its own.
		self.switch.exec(["sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1",
			"net.ipv6.conf.default.disable_ipv6=1"], check=True)
		self.ip(self.switch, [line for bridge in NETWORKS for line in (
			f"link add {bridge} type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
			f"link set {bridge} up")])
		self.nft(FILTER)
		for machine in self.machines()[1:]:
			self.attach(machine)

	def attach(self, machine):
		"""Gives a machine that has just booted its interfaces."""
		switch, inside = [], []
		for i in machine.interfaces:
			switch += [f"link add {i.port} type veth peer name {i.name} address {i.mac} "
				f"netns {machine.init_pid()}", f"link set {i.port} master {i.bridge} up"]
			# Our addresses are unique by plan; what clusterd adds meets DAD as on any machine.
			inside += [f"address add {address} dev {i.name}{' nodad' if ':' in address else ''}"
				for address in i.addresses] + [f"link set {i.name} up"]
		self.ip(self.switch, switch)
		self.ip(machine, inside)

	def down(self):
		"""Ends every process of the lab and removes its folder; needs no working lab."""
		if not self.dir.exists():
			return
		if not (self.dir / "lab.json").exists():
			raise LabError(f"{self.dir} is not a lab's folder (no lab.json); not touched")
		with uninterrupted():
			for record in self.dir.glob("*/init"):
				Machine(record.parent.name, record.parent, self.build).kill()
			# lab.json last: as long as it is there, down() can be said again.
			for entry in self.dir.iterdir():
				if entry.is_dir():
					shutil.rmtree(entry)
			shutil.rmtree(self.dir)
			self.is_up = False
			self.nodes = []

	def __enter__(self):
		return self

	def __exit__(self, *exc):
		self.down()

	# The switch

	def ip(self, machine, lines):
		"""One run of ip for many lines: in the machine's network, with our pids."""
		done = subprocess.run(["nsenter", f"--net=/proc/{machine.init_pid()}/ns/net", "ip",
			"-batch", "-"], input="\n".join(lines) + "\n", capture_output=True, text=True,
			timeout=LIMIT_S)
		if done.returncode != 0:
			raise LabError(f"{machine.name}: ip: {done.stderr.strip()}")

	def nft(self, text):
		"""One transaction."""
		self.switch.exec(["nft", "-f", "-"], input=text, check=True)

	def remove_ports(self, ports):
		"""They also vanish by themselves, some time after their machine."""
		for port in ports:
			done = self.switch.exec(["ip", "link", "del", port])
			if done.returncode != 0 and self.switch.path(f"/sys/class/net/{port}").exists():
				raise LabError(f"port {port} does not go: {done.stderr.strip()}")

	def _prefixes(self, network):
		if network == "all":
			return list(NETWORKS.values())
		return [NETWORKS[network]]

	def isolate(self, name, network="all"):
		"""Nothing passes to or from the node; its carrier stays. Returns the boottime (ns) just
		before."""
		node = self.node(name)
		ports = ", ".join(prefix + node.name for prefix in self._prefixes(network))
		text = f"add element bridge lab gone {{ {ports} }}\n"
		before_ns = boottime_ns()
		self.nft(text)
		return before_ns

	def cut(self, a, b, network="cluster", oneway=False):
		"""Nothing passes between the two; oneway: nothing from a to b."""
		first, second = self.machine(a).name, self.machine(b).name
		if first == second or "switch" in (first, second):
			raise LabError(f"cut {a} {b}: name two machines")
		pairs = []
		for prefix in self._prefixes(network):
			pairs.append(f"{prefix}{first} . {prefix}{second}")
			if not oneway:
				pairs.append(f"{prefix}{second} . {prefix}{first}")
		before_ns = boottime_ns()
		self.nft(f"add element bridge lab cuts {{ {', '.join(pairs)} }}\n")
		return before_ns

	def heal(self):
		"""Takes back every isolate and cut. Returns the boottime (ns) just before."""
		self.require_up()
		before_ns = boottime_ns()
		self.nft("flush set bridge lab gone\nflush set bridge lab cuts\n")
		return before_ns

	def cuts(self):
		"""What is cut now, for people: "n1 x n2 (cluster)"."""
		names = {prefix: network for network, prefix in NETWORKS.items()}
		found = []
		for which in ("gone", "cuts"):
			text = self.switch.exec(["nft", "-j", "list", "set", "bridge", "lab", which],
				check=True).stdout
			for item in json.loads(text)["nftables"]:
				for element in item.get("set", {}).get("elem", []):
					ports = element["concat"] if isinstance(element, dict) else [element]
					found.append(" -> ".join(port[2:] for port in ports)
						+ f" ({names[ports[0][:2]]})")
		return sorted(found)

	# Waiting

	def _waited_for(self, names, daemon):
		if names:
			return [self.node(name) for name in names]
		return [node for node in self.nodes if node.daemon_pid(daemon)]

	def _must_run(self, nodes, daemon):
		for node in nodes:
			if not node.daemon_pid(daemon):
				raise LabError(f"{daemon} does not run on {node.name}")

	def wait_ring(self, names=None, limit_s=LIMIT_S):
		"""Until these nodes (default: those where corosync runs) are one quorate ring, exactly."""
		nodes = self._waited_for(names, "corosync")
		want = [node.index for node in nodes]

		def is_formed():
			self._must_run(nodes, "corosync")
			rings = self._each(nodes, lambda node: node.ring())
			return all(r and r["quorate"] and r["members"] == want for r in rings) \
				and len({r["ring"] for r in rings}) == 1

		try:
			wait(is_formed, limit_s, f"{', '.join(n.name for n in nodes)} in one quorate ring")
		except LabError as error:
			raise LabError(f"{error}\n{self.tails(nodes, ['corosync'])}") from None

	def wait_members(self, names=None, limit_s=LIMIT_S):
		"""Until clusterd on these nodes (default: where it runs) is a member."""
		nodes = self._waited_for(names, "clusterd")
		phases = {}

		def are_members():
			self._must_run(nodes, "clusterd")
			phases.update(zip(nodes, self._each(nodes, lambda node: node.phase())))
			return all(phase == "member" for phase in phases.values())

		try:
			wait(are_members, limit_s, "clusterd should be a member everywhere")
		except LabError as error:
			now = "; ".join(f"{node.name}: {phase}" for node, phase in phases.items())
			raise LabError(f"{error}{f' ({now})' if now else ''}\n{self.tails(nodes, LOGS)}") from None

	def log(self, node, name, lines):
		"""The end of a daemon's log, and what corosync said on its standard error."""
		text = node.log_tail(LOGS[name], lines)
		if name == "corosync":
			text += node.log_tail("/var/log/lab/corosync.log", lines)
		return text

	def tails(self, nodes, names, lines=12):
		return "\n".join(f"--- {node.name}: {name}\n{self.log(node, name, lines) or '(empty)'}"
			for node in nodes for name in names)

	def clusterctl_json(self, name, *argv):
		return self.node(name).clusterctl_json(*argv)

	# Measuring

	def _started(self, machine, argv, kind):
		process = machine.popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
		if process.stdout.readline() != "started\n":
			error = process.communicate()[1]
			raise LabError(f"{argv[0]} does not start: {error.strip()}")
		return kind(process)

	def probe_start(self, address, mode="icmp", interval_us=1000, for_s=None, path="/", source="client"):
		"""Asks the address from the client; .stop() or .wait() give probe's JSON."""
		argv = ["probe", "--json", "--announce", "--mode", mode, "--path", path,
			"--interval-us", interval_us, *(["--for", for_s] if for_s else []), address]
		return self._started(self.machine(source), argv, Run)

	def judge_start(self, addresses, interval_us=5000, record_all=False):
		"""Asks the wire who holds the addresses; .stop() gives arpwatch's summary, with the lines
		before it as "records"."""
		argv = ["arpwatch", "--announce", "--interface", "eth0", "--interval-us", interval_us,
			*(["--all"] if record_all else []), *addresses]
		return self._started(self.machine("judge"), argv, Judge)
