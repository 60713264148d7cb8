# SPDX-License-Identifier: GPL-2.0-or-later
"""What every contender of the benchmark shares: the lab, waiting, and one measured outage.

Invariant: while an outage is measured nothing is started and nobody is asked but the kernel's tables
in /proc, so that the benchmark disturbs what it measures as little as it can. Used by failover,
contenders.py and addresses.py.
"""

import os
import pathlib
import re
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lab"))

from labnet import Lab, LabError  # noqa: E402,F401

ADDRESS = "10.77.0.50"
POLL_S = 0.1
BEFORE_S = 0.3  # probed before the event
AFTER_S = 0.5  # and after somebody else answers
CALM_S = 1.0  # one holder for that long: the cluster has settled
LIMIT_S = 60


def wait(condition, limit_s, what):
	"""As the lab's, but seldom: polling costs the machine what it should spend on the takeover."""
	deadline = time.monotonic() + limit_s
	while True:
		value = condition()
		if value:
			return value
		if time.monotonic() > deadline:
			raise LabError(f"waited {limit_s} s in vain: {what}")
		time.sleep(POLL_S)


def has_address(node, address):
	"""Read from outside: no process is started in the node."""
	pid = node.init_pid()
	if pid is None:
		return False
	try:
		text = pathlib.Path(f"/proc/{pid}/net/fib_trie").read_text()
	except OSError:
		return False
	return re.search(rf"\|-- {re.escape(address)}\n\s+/32 host LOCAL", text) is not None


def holders(lab, address):
	return [node.name for node in lab.nodes if has_address(node, address)]


def wait_answered(lab, address):
	wait(lambda: lab.client.exec(["ping", "-c", "1", "-W", "1", address]).returncode == 0, LIMIT_S,
		f"{address} to answer the client")


def wait_calm(lab, address, calm_s=CALM_S):
	"""The one holder of the address, when there has been no other for a while."""
	since = {"name": None, "at": 0.0}

	def is_calm():
		names = holders(lab, address)
		now = time.monotonic()
		if len(names) != 1:
			since["name"] = None
			return None
		if names[0] != since["name"]:
			since.update(name=names[0], at=now)
		return names[0] if now - since["at"] >= calm_s else None

	name = wait(is_calm, LIMIT_S, f"{address} to have exactly one holder for {calm_s} s")
	# After a split the client may go on for most of a minute to ask the machine that held it during
	# the cut: that is not what is measured here.
	lab.client.exec(["ip", "neigh", "flush", "dev", "eth0"], check=True)
	wait_answered(lab, address)
	return name


def host_pid(node, name):
	"""The daemon's pid as this process numbers it; None if it does not run."""
	inner = node.daemon_pid(name)
	if inner is None:
		return None
	namespace = os.readlink(f"/proc/{node.init_pid()}/ns/pid")
	for status in pathlib.Path("/proc").glob("[0-9]*/status"):
		try:
			if os.readlink(status.parent / "ns/pid") != namespace:
				continue
			numbers = re.search(r"^NSpid:\s+(.*)$", status.read_text(), re.M)[1].split()
		except (OSError, TypeError):
			continue
		if int(numbers[-1]) == inner:
			return int(status.parent.name)
	return None


def prefer(pid):
	"""Real time for the probe and whatever it was started through: a probe that waits for its turn
	measures the machine's other work. The figure beside each result tells how late it still was."""
	children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
	for each in (pid, *map(int, children)):
		os.sched_setscheduler(each, os.SCHED_RR, os.sched_param(1))


def outage(lab, address, old, act):
	"""Probes from outside while act() takes the address from the node old; the longest gap."""
	probe = lab.probe_start(address)
	try:
		prefer(probe.process.pid)
		time.sleep(BEFORE_S)
		act()
		wait(lambda: any(name != old for name in holders(lab, address)), LIMIT_S,
			f"another node than {old} to hold {address}")
		wait_answered(lab, address)
		time.sleep(AFTER_S)
	except BaseException:
		probe.process.kill()
		probe.process.wait()
		raise
	result = probe.stop()
	gap = result["longest_gap"]
	# A short one at an edge is a probe that began or ended late: then no other was longer.
	if gap is None or (gap.get("open") and result["longest_gap_ms"] > 1000 * AFTER_S / 2):
		raise LabError(f"{address} was not answered at the start or at the end of the run: {result}")
	return {"outage_ms": result["longest_gap_ms"], "probe_late_ms": result["latest_send_ms"],
		"lost": result["lost"], "gaps": result["gaps_total"], "load": os.getloadavg()[0]}
