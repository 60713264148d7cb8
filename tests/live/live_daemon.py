# SPDX-License-Identifier: GPL-2.0-or-later
"""Live tests: clusterd and corosync stop, die, come back; configs; a stranger in the CPG group.
Listed by live_test.py."""

import os
import signal

from livelib import (ADDRESSES, HOLDOFF_MS, HOMES, NODES, WEB, boottime_ns, config, expect, test,
	wait, wait_for)
from live_nodes import PLANNED_MS, TAKEOVER_MS, n_history, unchanged

DROP_MS = 1000  # generous; a holder without corosync is told by the kernel


@test("orderly stop of clusterd on the owner: handed over; start: rejoins, nothing moves")
def orderly_stop(cluster):
	node = cluster.node("n1")
	probes = cluster.probe()
	cluster.note_loop("n1")
	node.stop(corosync=False)
	expect(not any("n1" in held for held in cluster.kernel_holders("web").values()),
		"clusterd has ended and left addresses")
	cluster.settled(["n2", "n3"], owners={"web": "n2"})
	handed = probes.stop()
	expect(handed.longest_ms() < PLANNED_MS, f"handed over: {handed.text()}")
	before = n_history(cluster, "web", "n2")
	probes = cluster.probe()
	node.start()
	cluster.settled(owners={"web": "n2"})
	expect(probes.stop().lost() == 0, f"lost {probes.lost()} probes when n1 came back")
	unchanged(cluster, "web", "n2", before)
	return f"outage {handed.text()}"


@test("orderly stop of corosync on the owner: handed over first")
def corosync_stop(cluster):
	node = cluster.node("n1")
	probes = cluster.probe()
	cluster.note_loop("n1")
	node.exec(["corosync-cfgtool", "-H"], check=True)
	wait_for(lambda: node.daemon_pid("corosync") is None, "corosync should end")
	wait_for(lambda: node.daemon_pid("clusterd") is None, "clusterd should end as well")
	cluster.settled(["n2", "n3"], owners={"web": "n2"})
	handed = probes.stop()
	expect(handed.longest_ms() < PLANNED_MS, f"handed over: {handed.text()}")
	node.start()
	cluster.settled(owners={"web": "n2"})
	return f"outage {handed.text()}"


@test("clusterd killed and started within the hold-off: re-adopted, not one probe lost")
def readopted(cluster):
	figures = []
	for name, group in (("n1", "web"), ("n2", "svc")):
		service = cluster.services()
		since = cluster.group(group, "n3")
		mark = cluster.witness.mark()
		probes = cluster.probe(*ADDRESSES[group])
		killed_ns = cluster.kill(name, "clusterd")
		cluster.node(name).start()
		cluster.lab.wait_members([name])
		figures.append((boottime_ns() - killed_ns) / 1e6)
		cluster.settled(owners={group: name})
		probes.stop()
		expect(probes.lost() == 0, f"lost {probes.lost()} probes: {probes.text()}")
		# That they are set again, with no change, is no harm.
		gone = [c for c in cluster.witness.since(mark) if c.address in ADDRESSES[group]
			and (c.node != name or not c.is_added)]
		expect(not gone, f"addresses were touched: {gone}")
		cluster.unmoved(since, cluster.group(group, "n3"))
		expect(cluster.services() == service, f"services {service} are now {cluster.services()}")
		# It is watched again.
		if group == "web":
			cluster.node(name).exec(["ip", "address", "del", f"{WEB}/24", "dev", "eth0"], check=True)
			wait_for(lambda: cluster.witness.holders(WEB) == [name], f"{WEB} should be back")
	return "a member again after " + ", ".join(f"{ms:.0f}" for ms in figures) + " ms"


@test("clusterd killed on all nodes at once and started: re-adopted, not one probe lost")
def all_readopted(cluster):
	service = cluster.services()
	mark = cluster.witness.mark()
	probes = cluster.probe(*(a for group in HOMES for a in ADDRESSES[group]))
	for name in NODES:
		cluster.kill(name, "clusterd")
	cluster.state_forgotten()
	for name in NODES:
		cluster.node(name).start()
	cluster.settled(owners=HOMES)
	probes.stop()
	expect(probes.lost() == 0, f"lost {probes.lost()} probes: {probes.text()}")
	gone = [c for c in cluster.witness.since(mark) if not c.is_added]
	expect(not gone, f"addresses were deleted: {gone}")
	expect(cluster.services() == service, f"services {service} are now {cluster.services()}")
	kinds = {e["group"]: e["kind"] for e in cluster.history("n1")[-3:]}
	return f"history: {kinds}"


@test("orderly stop of all daemons: nothing stays behind; start: all is served")
def all_stopped(cluster):
	for name in NODES:
		cluster.note_loop(name)
	begun_ns = boottime_ns()
	for name in NODES:
		cluster.node(name).signal_daemon("clusterd", signal.SIGTERM)
	wait_for(lambda: not any(cluster.node(name).daemon_pid("clusterd") for name in NODES),
		"all should end")
	stopped_ms = (boottime_ns() - begun_ns) / 1e6
	held = {address: cluster.witness.holders(address)
		for group in HOMES for address in ADDRESSES[group]}
	expect(not any(held.values()), f"all have ended, and kernels have {held}")
	expect(not cluster.services(), f"all have ended, and services run: {cluster.services()}")
	cluster.state_forgotten()
	for name in NODES:
		cluster.node(name).start()
	cluster.settled(owners=HOMES)
	return f"ended after {stopped_ms:.0f} ms"


@test("clusterd killed on the owner: taken over; started again: leftovers go before anything else",
	two_may_hold=["web"])  # a killed daemon can remove nothing; the next issue silences it
def rejoin_with_leftovers(cluster):
	killed_ns = cluster.kill("n1", "clusterd")
	wait_for(lambda: all("n2" in held for held in cluster.kernel_holders("web").values()),
		"n2 should take web over")
	taken_ms = (boottime_ns() - killed_ns) / 1e6
	expect(taken_ms > HOLDOFF_MS - 200, f"taken over {taken_ms:.0f} ms after, before the hold-off ended")
	expect(taken_ms < HOLDOFF_MS + TAKEOVER_MS, f"taken over only {taken_ms:.0f} ms after")
	expect(cluster.witness.holders(WEB) == ["n1", "n2"], "n1 should have leftovers, or nothing is tested")
	started_ns = boottime_ns()
	cluster.node("n1").start()

	def is_member():
		doc = cluster.status("n1")
		held = cluster.kernel_holders("web")
		if not doc or doc["phase"] != "member":
			return False
		expect_clean.append(not any("n1" in names for names in held.values()))
		return True

	expect_clean = []
	gone_ns = cluster.wait_gone("n1", "web")
	wait_for(is_member, "n1 should be a member")
	expect(expect_clean == [True], "n1 was a member while it still had leftovers")
	cluster.settled(owners={"web": "n2"})
	log = cluster.node("n1").log_tail("/var/log/lab/clusterd.log", 40)
	return f"taken over after {taken_ms:.0f} ms, leftovers gone {(gone_ns - started_ns) / 1e6:.0f} ms " \
		f"after the start" + (f"; {log.count('left over')} lines about it" if "left over" in log else "")


@test("corosync killed on the owner: it drops its addresses at once, and they are taken over")
def corosync_killed(cluster):
	probes = cluster.probe()
	killed_ns = cluster.kill("n1", "corosync")
	gone_ns = cluster.wait_gone("n1", "web")
	dropped_ms = (gone_ns - killed_ns) / 1e6
	expect(dropped_ms < DROP_MS, f"n1 kept them for {dropped_ms:.0f} ms")
	cluster.settled(["n2", "n3"], owners={"web": "n2"})
	outage = probes.stop()
	silent_ns = min(result["longest_gap"]["start_boottime_ns"] for result in outage.results)
	expect(outage.longest_ms() < TAKEOVER_MS, f"outage {outage.text()}")
	expect(cluster.status("n1")["phase"] == "waiting-for-corosync", "n1 should wait for corosync")
	cluster.ctl("n1", "failover", "web", status=4)
	cluster.node("n1").start()
	cluster.settled(owners={"web": "n2"})
	return f"from the kill to silence {(silent_ns - killed_ns) / 1e6:.1f} ms, to the last address " \
		f"gone {dropped_ms:.1f} ms; outage {outage.text()}"


@test("another config on a node: it takes part in nothing, both sides say why; put back: it does")
def config_differs(cluster):
	before = cluster.group("web", "n1")
	probes = cluster.probe()
	cluster.write_config(config(web_failback=True), "n3")
	cluster.note_loop("n3")
	cluster.node("n3").stop(corosync=False)
	cluster.node("n3").start()
	doc = wait_for(lambda: (d := cluster.status("n3")) and d["phase"] == "differs" and d,
		"n3 should find that its config differs")
	expect("failback" in doc["difference"], f"the difference, on n3: {doc['difference']!r}")
	owners = cluster.settled(["n1", "n2"], owners={"web": "n1", "svc": "n2"},
		nodes={"n1": "online", "n2": "online", "n3": "differs"})
	expect(owners["back"] != "n3", "a node with another config holds a group")
	note = next(n["note"] for n in cluster.status("n1")["nodes"] if n["name"] == "n3")
	expect("failback" in note, f"the difference, on n1: {note!r}")
	for name in ("n1", "n3"):
		expect("failback" in cluster.ctl(name, "status"), f"status on {name} does not say it")
	cluster.ctl("n3", "failover", "web", status=4, words="config differs")
	cluster.ctl("n1", "failover", "web", "--to", "n3", status=1, words="n3 is differs|n3.*config")
	cluster.write_config(config(), "n3")
	cluster.reload("n3")
	# n3 is the preferred owner of back, and has returned.
	cluster.settled(owners={"web": "n1", "svc": "n2", "back": "n3"})
	probes.stop()
	expect(probes.lost() == 0, f"lost {probes.lost()} probes")
	cluster.unmoved(before, cluster.group("web", "n1"))
	return f"said: {note}"


@test("reload on all nodes: a group added, a group taken away, the others not disturbed")
def reload_groups(cluster):
	before = {group: cluster.group(group, "n1") for group in ("web", "svc", "back")}
	service = cluster.services()
	probes = cluster.probe(*(a for group in before for a in ADDRESSES[group]))
	cluster.write_config(config(added=True))
	cluster.reload("n1")
	cluster.reload("n2")
	wait(lambda: "loaded another config" in cluster.node("n3").log_tail("/var/log/lab/clusterd.log", 40),
		10, "n3 should hear of it")
	expect({g["name"] for g in cluster.status("n1")["groups"]} == {"web", "back", "svc"},
		"the new config is in force before all have loaded it")
	cluster.reload("n3")
	wait_for(lambda: cluster.group("added", "n1")["state"] == "online" if "added" in
		{g["name"] for g in cluster.status("n1")["groups"]} else False, "added should be online")
	cluster.settled(owners={"added": "n2"})

	cluster.write_config(config())
	cluster.reload()
	wait(lambda: "loaded another config" in cluster.node("n1").log_tail("/var/log/lab/clusterd.log", 20),
		10, "n1 should hear of it")
	cluster.settled(owners={"added": "n2"})  # it runs: the config that lacks it must wait
	cluster.ctl("n3", "offline", "added", "--wait")
	wait_for(lambda: {g["name"] for g in cluster.status("n2")["groups"]} == {"web", "back", "svc"},
		"added should be gone")
	cluster.settled()
	probes.stop()
	expect(probes.lost() == 0, f"lost {probes.lost()} probes: {probes.text()}")
	for group, doc in before.items():
		cluster.unmoved(doc, cluster.group(group, "n1"))
	expect(cluster.services() == service, "the service was touched")

	cluster.write_config("cluster = { nonsense", "n2")
	digest = cluster.status("n2")["config_digest"]
	cluster.reload("n2")
	wait(lambda: "was not loaded" in cluster.node("n2").log_tail("/var/log/lab/clusterd.log", 20),
		10, "n2 should complain about its config")
	cluster.settled()
	expect(cluster.status("n2")["config_digest"] == digest, "a broken config was taken")


class Noise:
	"""A stranger in clusterd's CPG group on a node; joined when this returns."""

	def __init__(self, cluster, name, seed, *options):
		program = os.environ.get("CPG_NOISE", cluster.lab.build / "tests/live/cpg_noise")
		self.process = cluster.node(name).popen([program, "clusterd:lab", 400, seed, *options],
			stdout=-1, stderr=-2, text=True)
		line = self.process.stdout.readline()
		expect(line == "joined\n", f"cpg_noise on {name}: {line!r}")

	def end(self):
		text = self.process.communicate(timeout=60)[0].strip()
		expect(self.process.returncode == 0, f"cpg_noise: {text}")
		return text


@test("a stranger in the CPG group: noise, forgeries, other versions, replays change nothing")
def cpg_noise(cluster):
	before = {group: cluster.group(group, "n1") for group in ("web", "svc", "back")}
	probes = cluster.probe(*(a for group in before for a in ADDRESSES[group]))
	pids = {name: cluster.node(name).daemon_pid("clusterd") for name in NODES}
	said = []
	for seed, name in enumerate(("n2", "n1")):
		noise = Noise(cluster, name, seed)
		# An order that changes nothing, for the stranger to hear and repeat.
		cluster.ctl("n3", "failover", "web", "--to", "n1", "--wait")
		said.append(noise.end())
		expect("of these 0 replays" not in said[-1], said[-1])
	cluster.settled()
	expect({name: cluster.node(name).daemon_pid("clusterd") for name in NODES} == pids,
		"a clusterd has ended")
	for group, doc in before.items():
		cluster.unmoved(doc, cluster.group(group, "n1"))
	for name in NODES:
		lines = [line for line in cluster.node(name).log_tail("/var/log/lab/clusterd.log", 400)
			.splitlines() if "are ignored" in line]
		expect(1 <= len(lines) <= 8, f"{name} complains in {len(lines)} lines: {lines[:3]}")

	# Alone on its node it counts as the daemon there. What it makes up must change nothing; what it
	# could repeat of others is as good as theirs, for whoever is in the ring has the key.
	cluster.note_loop("n3")
	cluster.ctl("n1", "failover", "back", "--to", "n1", "--wait")
	del before["back"]  # it goes back when the preferred owner does
	cluster.node("n3").stop(corosync=False)
	noise = Noise(cluster, "n3", 3, "--no-replays")
	cluster.node("n3").start()
	cluster.ctl("n2", "failover", "web", "--to", "n1", "--wait")
	said.append(noise.end())
	cluster.settled(owners={"web": "n1", "back": "n3"})
	probes.stop()
	for group, doc in before.items():
		cluster.unmoved(doc, cluster.group(group, "n1"))
	lines = [line for line in cluster.node("n1").log_tail("/var/log/lab/clusterd.log", 400).splitlines()
		if "node n3 sent a message" in line or "node n3 speaks version" in line]
	expect(1 <= len(lines) <= 4, f"n1 complains in {len(lines)} lines: {lines[:3]}")
	expect(probes.results[0]["lost"] == 0, f"lost {probes.lost()} probes: {probes.text()}")
	# And it can still do its work.
	cluster.ctl("n1", "failover", "web", "--wait", words="online on n2")
	cluster.settled(owners={"web": "n2"})
	return "; ".join(said)
