# SPDX-License-Identifier: GPL-2.0-or-later
"""Live tests: nodes die, are cut off, come back; quorum comes and goes. Listed by live_test.py."""

import threading

from livelib import (ADDRESSES, HOMES, NODES, SVC, TOKEN_MS, WEB, WEB6, boottime_ns, expect,
	test, wait_for)

TAKEOVER_MS = 5 * TOKEN_MS  # generous; corosync alone needs 2.1 x token
PLANNED_MS = 1000  # generous; below what a failure detected by the token would take


def unchanged(cluster, group, name, n_history):
	"""Nothing has moved since there were n_history lines of this group in the node's history."""
	entries = [entry for entry in cluster.history(name) if entry["group"] == group]
	expect(len(entries) == n_history, f"group {group} moved: {entries[n_history:]}")


def n_history(cluster, group, name):
	return len([entry for entry in cluster.history(name) if entry["group"] == group])


@test("power-off of the owner: taken over; power-on: rejoins, nothing moves back")
def power_off_of_owner(cluster):
	probes = cluster.probe()
	cluster.power_off("n1")
	owners = cluster.settled(["n2", "n3"], owners={"web": "n2"})
	outage = probes.stop()
	expect(outage.longest_ms() < TAKEOVER_MS, f"outage {outage.text()}")
	entry = [e for e in cluster.history("n2") if e["group"] == "web"][-1]
	expect((entry["from"], entry["to"], entry["kind"], entry["result"])
		== ("n1", "n2", "failover", "online") and "n1 left the ring" in entry["cause"],
		f"history says {entry}")
	before = n_history(cluster, "web", "n2")
	probes = cluster.probe()
	cluster.power_on("n1")
	cluster.settled(owners=owners)
	quiet = probes.stop()
	unchanged(cluster, "web", "n2", before)
	expect(quiet.longest_ms() < PLANNED_MS, f"while n1 came back: {quiet.text()}")
	phases = entry["phases_ms"]
	return f"outage {outage.text()}; address set {phases['address']:.1f} ms, announced " \
		f"{phases['announced']:.1f} ms after the ring change"


@test("power-off of another node: the owners do not blink")
def power_off_of_other(cluster):
	before = cluster.group("web", "n1")
	probes = cluster.probe()
	cluster.power_off("n3")
	cluster.settled(["n1", "n2"], owners={"web": "n1", "svc": "n2"})
	cluster.power_on("n3")
	cluster.settled(owners=HOMES)
	probes.stop()
	expect(probes.lost() == 0, f"lost {probes.lost()} probes: {probes.text()}")
	cluster.unmoved(before, cluster.group("web", "n1"))
	return f"longest silence {probes.text()}"


@test("link cut of the owner: the minority drops its addresses; heal: rejoins, nothing moves",
	two_may_hold=["web"])  # until each side has noticed; the cut one reaches nobody
def link_cut_of_owner(cluster):
	probes = cluster.probe()
	cut_ns = cluster.lab.isolate("n1")
	gone_ns = cluster.wait_gone("n1", "web")
	owners = cluster.settled(["n2", "n3"], owners={"web": "n2"})
	outage = probes.stop()
	expect(outage.longest_ms() < TAKEOVER_MS, f"outage {outage.text()}")
	expect((gone_ns - cut_ns) / 1e6 < TAKEOVER_MS, "the minority kept its addresses too long")
	wait_for(lambda: cluster.status("n1")["phase"] == "no-quorum", "n1 should know it has no quorum")
	cluster.ctl("n1", "failover", "web", status=4, words="no quorum")
	cluster.ctl("n1", "offline", "web", status=4, words="no quorum")
	expect("NO QUORUM" in cluster.ctl("n1", "status"), "status on n1 does not say NO QUORUM")
	before = n_history(cluster, "web", "n2")
	probes = cluster.probe()
	cluster.lab.heal()
	cluster.settled(owners=owners)
	quiet = probes.stop()
	unchanged(cluster, "web", "n2", before)
	expect(quiet.longest_ms() < PLANNED_MS, f"while n1 came back: {quiet.text()}")
	overlaps = [o.ms() for o in cluster.witness.overlaps if o.address in ADDRESSES["web"]
		and o.start_ns > cut_ns]
	return f"outage {outage.text()}; n1 dropped them {(gone_ns - cut_ns) / 1e6:.0f} ms after the cut; " \
		f"in both kernels for {max(overlaps, default=0):.0f} ms"


@test("split 1:2, both sides give orders, heal: the side with quorum is right",
	two_may_hold=["web"])  # the service network is whole: both may answer until n1 has noticed
def split_with_orders(cluster):
	cut_ns = cluster.lab.isolate("n1", "cluster")
	# n1 has not noticed yet: it takes this order and can't carry it out.
	late = cluster.node("n1").popen(["clusterctl", "failover", "back", "--to", "n1", "--wait=20"],
		stdout=-1, stderr=-2, text=True)
	gone_ns = cluster.wait_gone("n1", "web")
	expect((gone_ns - cut_ns) / 1e6 < TAKEOVER_MS, "the minority kept its addresses too long")
	said = late.communicate(timeout=30)[0]
	expect(late.returncode == 4, f"the order on n1: exit status {late.returncode}, {said!r}")
	cluster.settled(["n2", "n3"], owners={"web": "n2", "back": "n3"})
	cluster.ctl("n1", "online", "svc", status=4, words="no quorum")
	cluster.ctl("n2", "offline", "svc", "--wait")
	cluster.ctl("n3", "failover", "back", "--to", "n2", "--wait")
	probes = cluster.probe()
	cluster.lab.heal()
	cluster.settled(owners={"web": "n2", "back": "n2"}, offline=["svc"])
	quiet = probes.stop()
	expect(quiet.longest_ms() < PLANNED_MS, f"while n1 came back: {quiet.text()}")
	overlaps = [o for o in cluster.witness.overlaps if o.start_ns > cut_ns]
	expect(all(o.ms() < TAKEOVER_MS for o in overlaps), f"{[str(o) for o in overlaps]}")
	return f"n1 dropped its addresses {(gone_ns - cut_ns) / 1e6:.0f} ms after the cut; in both " \
		f"kernels for {max((o.ms() for o in overlaps), default=0):.0f} ms"


@test("quorum lost: the rest drops its addresses; power-on: served again")
def quorum_lost(cluster):
	off_ns = cluster.power_off("n2", "n3")
	gone_ns = cluster.wait_gone("n1", "web")
	dropped_ms = (gone_ns - off_ns) / 1e6
	expect(dropped_ms < TAKEOVER_MS, f"n1 kept its addresses for {dropped_ms:.0f} ms")
	expect(cluster.status("n1")["phase"] == "no-quorum", "n1 should know that it has no quorum")
	wire = cluster.wire_holders([a for addresses in ADDRESSES.values() for a in addresses])
	expect(not any(wire.values()), f"without quorum, on the wire: {wire}")
	expect(not cluster.services(), f"without quorum, services run: {cluster.services()}")
	on_ns = boottime_ns()
	cluster.power_on("n2", "n3")
	wait_for(lambda: all(cluster.kernel_holders("web").values()), "web should be served again")
	served_ms = (boottime_ns() - on_ns) / 1e6
	cluster.settled(owners={"web": "n1", "svc": "n2", "back": "n3"})
	return f"dropped after {dropped_ms:.0f} ms, served again {served_ms:.0f} ms after power-on"


@test("no preferred owner is up: another node serves; failback on its return, not after a failover")
def failback(cluster):
	probes = cluster.probe("10.77.0.51")
	cluster.power_off("n3")
	owners = cluster.settled(["n1", "n2"])
	outage = probes.stop()
	expect(owners["back"] in ("n1", "n2"), f"back is on {owners['back']}")
	expect(outage.longest_ms() < TAKEOVER_MS, f"outage {outage.text()}")
	why = cluster.group("back", "n1")["why"]
	# A node that is no preferred owner comes and goes: nothing to go back to.
	probes = cluster.probe("10.77.0.51")
	cluster.power_on("n3")
	cluster.settled(owners={"back": "n3", "web": "n1"})
	moved = probes.stop()
	expect(moved.longest_ms() < PLANNED_MS, f"failback: {moved.text()}")
	entry = [e for e in cluster.history("n3") if e["group"] == "back"][-1]
	expect(entry["kind"] == "failback" and entry["to"] == "n3", f"history says {entry}")

	cluster.ctl("n1", "failover", "back", "--to", "n1", "--wait")
	cluster.settled(owners={"back": "n1"})
	before = cluster.group("back", "n1")
	# Everything is planned anew when a node goes and when one that is no better owner comes.
	cluster.node("n2").stop()
	cluster.settled(["n1", "n3"], owners={"back": "n1"})
	cluster.node("n2").start()
	cluster.settled(owners={"back": "n1"})
	cluster.unmoved(before, cluster.group("back", "n1"))
	return f"outage {outage.text()} ({why}); failback {moved.text()}"


@test("power-off of the node that a group is moving to: it is started elsewhere")
def power_off_in_move(cluster):
	cluster.node("n3").exec(["mkdir", "-p", "/run/svc"], check=True)
	cluster.node("n3").exec(["tee", "/run/svc/slow-start"], input="1.5", check=True)
	cluster.ctl("n1", "failover", "svc", "--to", "n3")
	wait_for(lambda: cluster.witness.holders(SVC) == ["n3"], "n3 should be starting svc")
	expect(cluster.group("svc", "n1")["state"] == "starting", "svc should not be up yet")
	cluster.power_off("n3")
	cluster.settled(["n1", "n2"], owners={"svc": "n2"})
	cluster.power_on("n3")
	cluster.settled(owners=HOMES)


@test("all nodes off and on: everything is served again, what was offline stays offline")
def full_restart(cluster):
	cluster.ctl("n2", "offline", "svc", "--wait")
	cluster.settled(offline=["svc"])
	cluster.power_off(*NODES)
	cluster.state_forgotten()
	wire = cluster.wire_holders([WEB, WEB6])
	expect(not any(wire.values()), f"all are off, and yet on the wire: {wire}")
	on_ns = boottime_ns()
	# Not at once: the order of booting must not matter.
	threads = [threading.Thread(target=cluster.power_on, args=(name,)) for name in ("n3", "n1", "n2")]
	for thread in threads:
		thread.start()
	for thread in threads:
		thread.join()
	wait_for(lambda: all(cluster.kernel_holders("web").values()), "web should be served again")
	served_ms = (boottime_ns() - on_ns) / 1e6
	cluster.settled(owners={"web": "n1", "back": "n3"}, offline=["svc"])
	cluster.ctl("n3", "online", "svc", "--wait")
	cluster.settled(owners={"svc": "n2"})
	return f"served {served_ms:.0f} ms after power-on"
