#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The demo: a web page on a virtual IP, whose node loses its power; then a planned move.

Everything is real (corosync, clusterd, nginx, the kernel's ARP), on three machines made of
namespaces. Two probes watch from a fourth one: ping, which asks for the address alone, and HTTP,
which asks for the page. Run by ./demo, which builds first.
"""

import argparse
import datetime
import pathlib
import re
import signal
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "lab"))

from labnet import Lab, LabError, boottime_ns, wait  # noqa: E402

ADDRESS = "10.77.0.50"
TOKEN_MS = 500  # what `clusterctl corosync-conf` writes by default
GOAL_MS = 2000
LIMIT_S = 30
COROSYNC_TIME = re.compile(r"^(\w{3} \d\d \d\d:\d\d:\d\d\.\d{3}) ")
CLUSTERD_TIME = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}) ")

# What the logs of the surviving nodes say, and what it means.
COROSYNC_STORY = (
	("A processor failed", "corosync: the token did not come back; who is still there?"),
	("A new membership", "corosync: a ring has formed without {lost}"),
)
CLUSTERD_STORY = (
	(": has quorum", "clusterd on {to}: the new ring has quorum"),
	("taking over", "clusterd on {to}: decides: web {lost} -> {to}"),
)


def say(text=""):
	print(text, flush=True)


def now_ms():
	return datetime.datetime.now().timestamp() * 1000


def owner_of(lab, asked):
	status = lab.clusterctl_json(asked, "status")
	group = status["groups"][0]
	return group["owner"] if group["state"] == "online" else None


def wait_online(lab, asked, but=None):
	wait(lambda: owner_of(lab, asked) not in (None, but), LIMIT_S, "group web to be online")
	return owner_of(lab, asked)


def furnish(node):
	"""Files of one machine: the page names it, so that a visitor sees who answers."""
	node.write("/usr/local/lib/web", (HERE / "web").read_text(), 0o755)
	node.write("/etc/web/nginx.conf", (HERE / "nginx.conf").read_text())
	node.write("/var/local/web/index.html", f"Hello from {node.name}.\n")


def page(lab):
	return lab.machine("client").exec(["curl", "-s", "-m", "2", f"http://{ADDRESS}/"]).stdout.strip()


def log_times(text, pattern, layout, since_ms):
	"""(ms since 1970, line) of each dated line from since_ms on."""
	year = datetime.date.today().year
	for line in text.splitlines():
		found = pattern.match(line)
		if not found:
			continue
		stamp = found.group(1)
		if layout.startswith("%b"):
			stamp, full = f"{year} {stamp}", "%Y " + layout
		else:
			full = layout
		at_ms = datetime.datetime.strptime(stamp, full).timestamp() * 1000
		if at_ms >= since_ms - 1:
			yield at_ms, line


def story(node, lost, cut_ms):
	"""The events between the cut and the takeover, as (ms since 1970, words)."""
	corosync = node.path("/var/log/corosync/corosync.log").read_text()
	clusterd = node.path("/var/log/lab/clusterd.log").read_text()
	words = {"lost": lost, "to": node.name}
	sources = (
		(log_times(corosync, COROSYNC_TIME, "%b %d %H:%M:%S.%f", cut_ms), COROSYNC_STORY),
		(log_times(clusterd, CLUSTERD_TIME, "%Y-%m-%d %H:%M:%S.%f", cut_ms), CLUSTERD_STORY),
	)
	events = []
	for lines, meanings in sources:
		lines = list(lines)
		for pattern, meaning in meanings:
			first = next((at_ms for at_ms, line in lines if pattern in line), None)
			if first is not None:
				events.append((first, meaning.format(**words)))
	return events


def takeover_events(lab, node, cut_ms):
	"""When address, announcement and service were ready, from clusterd's own history."""
	entry = lab.clusterctl_json(node.name, "history", "--limit", "1")["history"][-1]
	phases = entry["phases_ms"]
	# time_ms is when all of the group ran; the phases count from the ring change.
	proof_ms = entry["time_ms"] - phases["online"]
	meanings = (
		("address", f"netlink: {ADDRESS} and fd77::50 are set on {node.name}"),
		("announced", "gratuitous ARP and neighbour advertisement sent"),
		("online", "nginx runs: group web is online"),
	)
	return [(proof_ms + phases[name], words) for name, words in meanings if phases[name] is not None]


def print_timeline(cut_ms, events):
	say("       ms")
	for at_ms, words in sorted(events, key=lambda event: event[0]):
		say(f"  {at_ms - cut_ms:7.0f}  {words}")


def gap_end_ms(result):
	return result["longest_gap"]["end_realtime_ns"] / 1e6


def start_probes(lab):
	return lab.probe_start(ADDRESS), lab.probe_start(ADDRESS, mode="http", interval_us=2000)


def stop_probes(probes):
	ping, http = (probe.stop() for probe in probes)
	for name, result in (("ping", ping), ("page", http)):
		if result["longest_gap"].get("open"):
			raise LabError(f"the {name} probe was never answered again")
	return ping, http


def power_cut(lab):
	owner = wait_online(lab, "n1")
	watcher = next(node for node in lab.nodes if node.name != owner)
	probes = start_probes(lab)
	say(f"Now {owner} loses its power: all its processes at once, and its cables.")
	cut_ns = lab.node(owner).power_off()
	cut_ms = now_ms() - (boottime_ns() - cut_ns) / 1e6
	new = wait_online(lab, watcher.name, but=owner)
	wait(lambda: page(lab) == f"Hello from {new}.", LIMIT_S, "the page")
	ping, http = stop_probes(probes)
	events = [(cut_ms, f"power of {owner} cut")]
	events += story(lab.node(new), owner, cut_ms)
	events += takeover_events(lab, lab.node(new), cut_ms)
	events.append((gap_end_ms(ping), "the client's ping is answered again"))
	events.append((gap_end_ms(http), f"the client gets the page again: \"{page(lab)}\""))
	say()
	print_timeline(cut_ms, events)
	say()
	outage_ms = ping["longest_gap_ms"]
	verdict = "within" if outage_ms < GOAL_MS else "NOT within"
	say(f"Outage: the address was silent for {outage_ms:.0f} ms, the page for "
		f"{http['longest_gap_ms']:.0f} ms; {verdict} the two seconds we promise.")
	say()
	return owner, outage_ms


def planned_move(lab, lost):
	asked = next(node.name for node in lab.nodes if node.name != lost)
	before = owner_of(lab, asked)
	probes = start_probes(lab)
	say(f"Now a planned move away from {before}: clusterctl failover web --wait")
	result = lab.node(asked).exec(["clusterctl", "failover", "web", "--wait"], check=True)
	say("  " + result.stdout.strip())
	after = wait_online(lab, asked)
	wait(lambda: page(lab) == f"Hello from {after}.", LIMIT_S, "the page")
	ping, http = stop_probes(probes)
	say(f"Outage: the address was silent for {ping['longest_gap_ms']:.1f} ms, the page for "
		f"{http['longest_gap_ms']:.0f} ms (most of that: nginx stops on {before}, starts on {after}).")
	say()


def demo(lab, keep):
	say("Starting three nodes on this machine: n1, n2, n3 (corosync, clusterd), and a client.")
	lab.up(3, token_ms=TOKEN_MS, conf=(HERE / "cluster.conf").read_text(), start=False)
	for node in lab.nodes:
		furnish(node)
	for node in lab.nodes:
		node.start()
	lab.wait_members([node.name for node in lab.nodes])
	owner = wait_online(lab, "n1")
	wait(lambda: page(lab).startswith("Hello"), LIMIT_S, "the page")
	say(f"Group web (two virtual IPs and nginx) is online on {owner}; http://{ADDRESS}/ says: "
		f"\"{page(lab)}\"")
	say()
	lost, outage_ms = power_cut(lab)
	planned_move(lab, lost)
	say(lab.node(next(node.name for node in lab.nodes if node.name != lost))
		.exec(["clusterctl", "status"], check=True).stdout)
	if keep:
		say("The cluster stays up. Look around:")
		say(f"  tests/lab/lab power-on {lost}                  {lost} gets its power back")
		say("  tests/lab/lab exec n2 clusterctl status")
		say("  tests/lab/lab exec n2 clusterctl history")
		say(f"  tests/lab/lab exec client curl http://{ADDRESS}/")
		say("  tests/lab/lab exec switch tcpdump -ni service arp")
		say("  tests/lab/lab down                        ends it")
	return outage_ms


def main():
	parser = argparse.ArgumentParser(prog="demo", description=__doc__.split("\n")[0])
	parser.add_argument("--keep", action="store_true", help="leave the cluster up afterwards")
	args = parser.parse_args()
	for number in (signal.SIGTERM, signal.SIGHUP):
		signal.signal(number, signal.default_int_handler)
	lab = Lab()
	was_up, is_done = lab.is_up, False
	try:
		outage_ms = demo(lab, args.keep)
		is_done = True
	except LabError as error:
		print(f"demo: {error}", file=sys.stderr)
		return 1
	except KeyboardInterrupt:
		print("demo: interrupted; cleaned up", file=sys.stderr)
		return 130
	finally:
		# Only what this run has made: a lab that was up before is somebody else's.
		if lab.is_up and not was_up and not is_done:
			lab.down()
	if not args.keep:
		lab.down()
		say("Cleaned up. Next: ./demo --keep, and docs/first-cluster.md for real machines.")
	return 0 if outage_ms < GOAL_MS else 1


if __name__ == "__main__":
	sys.exit(main())
