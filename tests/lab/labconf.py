# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab's plan: names, addresses and the configuration files of its machines.

Pure text; the one place that knows an address or a corosync setting. Used by labnet.py.
"""

import dataclasses

MAX_NODES = 16
CLUSTER_NAME = "lab"
WEB_IP = "10.77.0.50"
WEB_IP6 = "fd77::50"

# Machines beside the nodes, on the service network only: name -> last number of the address.
# The judge asks on the wire who holds an address; apart, so that it teaches the client nothing.
GUESTS = {"client": 200, "judge": 201}


@dataclasses.dataclass(frozen=True)
class Interface:
	name: str  # in the machine
	bridge: str  # in the switch
	port: str  # in the switch
	mac: str
	addresses: tuple  # with prefix


def node_name(index):
	return f"n{index}"


def service_ip(number):
	return f"10.77.0.{number}"


def service_ip6(number):
	return f"fd77::{number}"


def cluster_ip(number):
	return f"10.78.0.{number}"


def service_interface(name, number):
	return Interface("eth0", "service", f"s-{name}", f"02:77:00:00:00:{number:02x}",
		(f"{service_ip(number)}/24", f"{service_ip6(number)}/64"))


def cluster_interface(name, number):
	return Interface("eth1", "cluster", f"c-{name}", f"02:78:00:00:00:{number:02x}",
		(f"{cluster_ip(number)}/24",))


def hosts(n_nodes):
	lines = ["127.0.0.1 localhost", "::1 localhost"]
	for i in range(1, n_nodes + 1):
		lines.append(f"{cluster_ip(10 + i)} {node_name(i)}")
		lines.append(f"{service_ip(10 + i)} {node_name(i)}.service")
	for name, number in GUESTS.items():
		lines.append(f"{service_ip(number)} {name}")
	return "\n".join(lines) + "\n"


def section(name, values, children=()):
	"""One brace section of corosync.conf; children are finished sections."""
	lines = [f"\t{key}: {value}" for key, value in values.items()]
	for child in children:
		lines += ["\t" + line for line in child.rstrip("\n").split("\n")]
	return "\n".join([name + " {", *lines, "}"]) + "\n"


def corosync_conf(n_nodes, token_ms, totem=None, quorum=None):
	"""totem, quorum: further settings, or other values, of these sections."""
	settings = {
		"version": 2, "cluster_name": CLUSTER_NAME, "transport": "knet",
		"crypto_cipher": "aes256", "crypto_hash": "sha256",
		"token": token_ms, "token_coefficient": 0,
		# Halves what an idle ring costs while somebody sends beats.
		"seqno_unchanged_const": 3,
	}
	if token_ms < 126:  # corosync refuses the default of 4 there
		settings["token_retransmits_before_loss_const"] = 3
	settings.update(totem or {})
	# Below token 400 corosync's own choice (token / 2) makes an idle ring flap.
	link = section("interface",
		{"linknumber": 0, "knet_ping_interval": 200, "knet_ping_timeout": 600})
	nodes = [section("node",
		{"nodeid": i, "name": node_name(i), "ring0_addr": cluster_ip(10 + i)})
		for i in range(1, n_nodes + 1)]
	return "".join([
		section("totem", settings, [link]),
		section("nodelist", {}, nodes),
		section("quorum", {"provider": "corosync_votequorum", **(quorum or {})}),
		section("logging", {"to_logfile": "yes", "logfile": "/var/log/corosync/corosync.log",
			"to_syslog": "no", "to_stderr": "no", "timestamp": "hires"}),
	])


def clusterd_conf(n_nodes):
	names = [node_name(i) for i in range(1, n_nodes + 1)]
	nodes = ", ".join(f'{{ name = "{name}"; }}' for name in names)
	owners = ", ".join(f'"{name}"' for name in names)
	return f"""cluster = {{ name = "{CLUSTER_NAME}"; }};
nodes = ( {nodes} );
groups = (
  {{ name = "web";
    preferred_owners = [ {owners} ];
    failback = false;
    resources = (
      {{ name = "web-ip";  type = "vip"; address = "{WEB_IP}/24"; interface = "eth0"; }},
      {{ name = "web-ip6"; type = "vip"; address = "{WEB_IP6}/64"; interface = "eth0"; }}
    ); }} );
"""
