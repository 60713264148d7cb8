# SPDX-License-Identifier: GPL-2.0-or-later
"""Who takes part: clusterd, keepalived and Pacemaker, each behind the same few calls.

Invariant: all of them run on the same three machines of the same lab, see the same cut and are
asked by the same probe; what the machine does not have says so and is left out. Used by failover
and addresses.py.
"""

import os
import pathlib
import shutil

from bench_lab import ADDRESS, LIMIT_S, LabError, has_address, wait, wait_calm

PACEMAKER_AGENT = "/usr/lib/ocf/resource.d/heartbeat/IPaddr2"


class Contender:
	"""name, setting: for people; addresses: the first one is probed."""

	def __init__(self, name, setting, addresses=(ADDRESS + "/24",)):
		self.name = name
		self.setting = setting
		self.addresses = list(addresses)
		self.address = self.addresses[0].split("/")[0]

	@property
	def label(self):
		return f"{self.name} {self.setting}"

	def missing(self):
		"""Why it cannot take part here, or None."""
		return None

	def settle(self, lab):
		"""The holder, once everything is as it was before the event."""
		return wait_calm(lab, self.address)

	def result(self, lab, holder):
		"""What the contender itself says of the latest takeover."""
		return {}

	def cut(self, lab, holder):
		lab.isolate(holder)


class Clusterd(Contender):
	def __init__(self, token_ms, addresses=(ADDRESS + "/24",)):
		super().__init__("clusterd", f"token {token_ms}", addresses)
		self.token_ms = token_ms

	def config(self, n_nodes):
		names = [f"n{i}" for i in range(1, n_nodes + 1)]
		nodes = ", ".join(f'{{ name = "{name}"; }}' for name in names)
		owners = ", ".join(f'"{name}"' for name in names)
		vips = ",\n".join(f'\t{{ name = "ip-{i}"; type = "vip"; address = "{address}"; '
			'interface = "eth0"; }' for i, address in enumerate(self.addresses))
		return (f'cluster = {{ name = "lab"; }};\nnodes = ( {nodes} );\n'
			f'groups = ( {{ name = "web"; preferred_owners = [ {owners} ];\n'
			f"\tfailback = false; resources = (\n{vips} ); }} );\n")

	def up(self, lab):
		lab.up(3, token_ms=self.token_ms, conf=self.config(3))

	def settle(self, lab):
		lab.wait_ring()
		lab.wait_members()
		return super().settle(lab)

	def move(self, lab, holder):
		lab.node(holder).exec(["clusterctl", "failover", "web", "--wait"], check=True)

	def result(self, lab, holder):
		entry = lab.clusterctl_json(holder, "history", "--limit", "1")["history"][-1]
		if entry["to"] != holder or entry["result"] != "online":
			raise LabError(f"history of {holder}: the latest entry is not its takeover: {entry}")
		phases = entry["phases_ms"]
		proof_ms = max(phases["quorum"] or 0.0, 0.0)
		return {"phases_ms": phases, "cause": entry["cause"],
			"ring_change_realtime_ms": entry["time_ms"] - phases["online"],
			"proof_to_set_ms": phases["address"] - proof_ms,
			"proof_to_announced_ms": phases["announced"] - proof_ms}


class Keepalived(Contender):
	"""Orderly handover: SIGTERM to the holder, which says so in its last advertisement."""

	def __init__(self, advert_s, addresses=(ADDRESS + "/24",)):
		super().__init__("keepalived", f"advert {advert_s} s", addresses)
		self.advert_s = advert_s

	def missing(self):
		return None if shutil.which("keepalived", path=os.environ.get("PATH", "") + ":/usr/sbin") \
			else "keepalived is not installed (Debian package keepalived)"

	def config(self, index):
		text = (pathlib.Path(__file__).parent / "keepalived.conf").read_text()
		more = "\n".join(f"\t\t{address} dev eth0" for address in self.addresses[1:])
		for key, value in (("PRIORITY", 200 - 50 * index), ("ADVERT", self.advert_s),
				("FIRST", self.addresses[0]), ("MORE", more)):
			text = text.replace(f"@{key}@", str(value))
		return text

	def start(self, node):
		node.spawn("keepalived", ["keepalived", "--dont-fork", "--log-console", "--vrrp",
			"--use-file", "/etc/keepalived/keepalived.conf"])

	def up(self, lab):
		lab.up(3, clusterd=False, start=False)
		for node in lab.nodes:
			node.write("/etc/keepalived/keepalived.conf", self.config(node.index))
			self.start(node)

	def settle(self, lab):
		for node in lab.nodes:
			if not node.daemon_pid("keepalived"):
				self.start(node)
		# The one of highest priority takes it back, and stays.
		wait(lambda: has_address(lab.node("n1"), self.address), LIMIT_S, "n1 to be master again")
		return wait_calm(lab, self.address, max(1.0, 4 * self.advert_s))

	def move(self, lab, holder):
		lab.node(holder).end_daemon("keepalived")


class Pacemaker(Contender):
	def __init__(self, token_ms):
		super().__init__("pacemaker", f"token {token_ms}")
		self.token_ms = token_ms

	def missing(self):
		path = os.environ.get("PATH", "") + ":/usr/sbin"
		for tool, package in (("pacemakerd", "pacemaker"), ("cibadmin", "pacemaker-cli-utils"),
				("crm_resource", "pacemaker-cli-utils")):
			if not shutil.which(tool, path=path):
				return f"{tool} is not installed (Debian package {package})"
		if not os.access(PACEMAKER_AGENT, os.X_OK):
			return "ocf:heartbeat:IPaddr2 is not installed (Debian package resource-agents)"
		return None

	def up(self, lab):
		lab.up(3, token_ms=self.token_ms, clusterd=False)
		for node in lab.nodes:
			node.exec(["mkdir", "-p", "/run/crm", "/run/resource-agents"], check=True)
			node.exec(["chown", "hacluster:haclient", "/run/crm"], check=True)
			node.spawn("pacemakerd", ["pacemakerd", "-f"])
		first = lab.node("n1")
		wait(lambda: self.online(lab) == 3, LIMIT_S, "three nodes online in Pacemaker")
		here = pathlib.Path(__file__).parent
		for section in ("crm_config", "rsc_defaults", "resources"):
			xml = (here / f"pacemaker-{section}.xml").read_text()
			first.exec(["cibadmin", "--modify", "--allow-create", "--scope", section,
				"--xml-text", xml], check=True)

	def online(self, lab):
		text = lab.node("n1").exec(["crm_mon", "--one-shot", "--output-as=xml"]).stdout
		return text.count(' online="true"')

	def settle(self, lab):
		lab.wait_ring()
		wait(lambda: self.online(lab) == 3, LIMIT_S, "three nodes online in Pacemaker")
		lab.node("n1").exec(["crm_resource", "--clear", "--resource", "web-ip"])
		lab.node("n1").exec(["crm_resource", "--wait", "--timeout", "30s"], check=True)
		return wait_calm(lab, self.address)

	def move(self, lab, holder):
		target = next(node.name for node in lab.nodes if node.name != holder)
		lab.node(holder).exec(["crm_resource", "--move", "--resource", "web-ip",
			"--node", target], check=True)


def contenders():
	return [Clusterd(300), Clusterd(500), Keepalived(1), Keepalived(0.1), Keepalived(0.01),
		Pacemaker(300), Pacemaker(500)]
