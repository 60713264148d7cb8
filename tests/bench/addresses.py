# SPDX-License-Identifier: GPL-2.0-or-later
"""Takeover of many addresses in one group, seen by the daemon itself and by a sniffer outside.

Invariant: a run counts only if every address was announced by the new holder and the sniffer lost
nothing. Used by failover.
"""

import json
import os
import pathlib
import re
import subprocess
import sys

from bench_lab import LIMIT_S, LabError, holders, host_pid, wait

SNIFF = pathlib.Path(__file__).with_name("sniff.py")


PREFIX = "10.90."
SUBNET = PREFIX + "0.0/16"


def many(n):
	"""N addresses of a subnet of their own."""
	return [f"{PREFIX}{i // 250}.{i % 250 + 1}/16" for i in range(n)]


def prepare(lab):
	"""The client reaches them without an address there."""
	lab.client.exec(["ip", "route", "add", SUBNET, "dev", "eth0"], check=True)


class Sniffer:
	def __init__(self, lab, ignored_mac, n):
		self.process = lab.judge.popen([sys.executable, SNIFF, ignored_mac, PREFIX, n],
			stdout=subprocess.PIPE, text=True)
		if self.process.stdout.readline() != "started\n":
			self.process.wait()
			raise LabError("the sniffer does not start in the judge")

	def result(self):
		"""When all were heard; after a while also what was heard till then."""
		try:
			out, _ = self.process.communicate(timeout=LIMIT_S / 2)
		except subprocess.TimeoutExpired:
			self.process.terminate()
			out, _ = self.process.communicate(timeout=LIMIT_S)
		if self.process.returncode != 0:
			raise LabError(f"sniffer: status {self.process.returncode}")
		return json.loads(out)

	def kill(self):
		self.process.kill()
		self.process.wait()


def last_has_come(lab, contender, old):
	last = contender.addresses[-1].split("/")[0]
	return [name for name in holders(lab, last) if name != old]


def takeover(lab, contender, old):
	"""Cuts the holder's links; the times of the first and the last announcement."""
	sniffer = Sniffer(lab, lab.node(old).mac, len(contender.addresses))
	try:
		contender.cut(lab, old)
		new = wait(lambda: last_has_come(lab, contender, old), LIMIT_S,
			f"another node than {old} to hold the last address")[0]
		heard = sniffer.result()
		done = contender.result(lab, new)
	except BaseException:
		sniffer.kill()
		raise
	wanted = {address.split("/")[0] for address in contender.addresses}
	first = [at_ns for address, at_ns in heard["first"].items() if address in wanted]
	if len(first) != len(wanted) or heard["dropped"]:
		raise LabError(f"{len(first)} of {len(wanted)} addresses were announced by {new}; "
			f"the sniffer lost {heard['dropped']} frames")
	run = {"spread_ms": (max(first) - min(first)) / 1e6, "load": os.getloadavg()[0], **done}
	if "ring_change_realtime_ms" in done:
		# The daemon's clock is told in whole ms.
		run["heard_ms"] = max(first) / 1e6 - done["ring_change_realtime_ms"]
	return run


def rss_kib(lab, name):
	"""The largest resident set of that daemon on the nodes."""
	sizes = []
	for node in lab.nodes:
		pid = host_pid(node, name)
		if pid is None:
			raise LabError(f"{name} does not run on {node.name}")
		text = pathlib.Path(f"/proc/{pid}/status").read_text()
		sizes.append(int(re.search(r"^VmRSS:\s+(\d+) kB", text, re.M)[1]))
	return max(sizes)
