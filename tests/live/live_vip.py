# SPDX-License-Identifier: GPL-2.0-or-later
"""Live tests: what can happen to an address and its interface. Listed by live_test.py."""

from livelib import SVC, WEB, WEB6, boottime_ns, expect, test, wait_for
from live_nodes import n_history, unchanged

BACK_MS = 1000  # an address that somebody deleted is back within this
AT_ONCE_MS = 1500  # generous; a lost carrier needs no time-out, only two steps of the cluster


def put_back(cluster, address, prefix):
	"""Deletes the address on n1 as an administrator would; ms until the kernel has it again."""
	mark = cluster.witness.mark()
	cluster.node("n1").exec(["ip", "address", "del", f"{address}/{prefix}", "dev", "eth0"], check=True)
	wait_for(lambda: len(cluster.witness.since(mark, "n1", address)) >= 2, f"{address} should be back")
	gone, back = cluster.witness.since(mark, "n1", address)[:2]
	expect((gone.is_added, back.is_added) == (False, True), "deleted and added, in this order")
	return (back.time_ns - gone.time_ns) / 1e6


@test("addresses deleted by an administrator are back within a second, and nothing moves")
def address_deleted(cluster):
	before, lines = cluster.group("web", "n1"), n_history(cluster, "web", "n1")
	probes = cluster.probe()
	times = [put_back(cluster, address, prefix)
		for address, prefix in ((WEB, 24), (WEB6, 64)) for _ in range(3)]
	cluster.settled(owners={"web": "n1"})
	probes.stop()
	expect(max(times) < BACK_MS, f"back after {times} ms")
	expect(probes.longest_ms() < BACK_MS, f"silent: {probes.text()}")
	cluster.unmoved(before, cluster.group("web", "n1"))
	unchanged(cluster, "web", "n1", lines)
	return f"back after {', '.join(f'{ms:.1f}' for ms in times)} ms; silent {probes.text()}"


@test("carrier lost: the group moves at once; carrier back: it can run there again")
def carrier_lost(cluster):
	probes = cluster.probe()
	lost_ns = cluster.node("n1").carrier(False)
	gone_ns = cluster.wait_gone("n1", "web")
	wait_for(lambda: cluster.kernel_holders("web") == {WEB: ["n2"], WEB6: ["n2"]},
		"n2 should have the addresses of web")
	# Of the wire nothing is heard from n1 now; the kernels are what counts.
	wait_for(lambda: cluster.group("web", "n2")["state"] == "online", "web should be online")
	outage = probes.stop()
	expect(outage.longest_ms() < AT_ONCE_MS, f"outage {outage.text()}")
	expect("n1" in cluster.group("web", "n2")["failed_on"], "n1 should be known as not fit")
	cluster.ctl("n2", "failover", "web", "--to", "n1", status=1, words="node n1 cannot run it now")
	before = cluster.group("web", "n2")
	cluster.settled(owners={"web": "n2"})

	probes = cluster.probe()
	cluster.node("n1").carrier(True)
	wait_for(lambda: "n1" not in cluster.group("web", "n2")["failed_on"], "n1 should be fit again")
	cluster.settled(owners={"web": "n2"})
	cluster.unmoved(before, cluster.group("web", "n2"))
	expect(probes.stop().lost() == 0, f"lost {probes.lost()} probes when the carrier came back")
	cluster.ctl("n3", "failover", "web", "--to", "n1", "--wait", words="online on n1")
	cluster.settled(owners={"web": "n1"})
	return f"outage {outage.text()}; n1 let go {(gone_ns - lost_ns) / 1e6:.0f} ms after"


@test("carrier lost on all nodes: failed, and said why; back on one: served there")
def carrier_lost_everywhere(cluster):
	for name in ("n3", "n2", "n1"):
		cluster.node(name).carrier(False)
	wait_for(lambda: cluster.group("web", "n1")["state"] == "failed", "web should have failed")
	group = cluster.group("web", "n1")
	expect(sorted(group["failed_on"]) == ["n1", "n2", "n3"], f"failed on {group['failed_on']}")
	expect("carrier" in group["problem"], f"problem: {group['problem']!r}")
	cluster.ctl("n1", "status", words="web.*carrier")
	held = cluster.kernel_holders("web")
	expect(not any(held.values()), f"no node is fit, and kernels have {held}")
	back_ns = boottime_ns()
	cluster.node("n3").carrier(True)
	wait_for(lambda: cluster.kernel_holders("web") == {WEB: ["n3"], WEB6: ["n3"]}, "n3 should serve")
	served_ms = (boottime_ns() - back_ns) / 1e6
	for name in ("n1", "n2"):
		cluster.node(name).carrier(True)
	cluster.settled(owners={"web": "n3"})
	return f"served {served_ms:.0f} ms after the carrier of n3 was back"


@test("interface deleted: the group moves at once")
def interface_deleted(cluster):
	probes = cluster.probe(SVC)
	deleted_ns = boottime_ns()
	cluster.node("n2").exec(["ip", "link", "del", "eth0"], check=True)
	wait_for(lambda: cluster.kernel_holders("svc") == {SVC: ["n3"]}, "n3 should have it")
	cluster.settled(owners={"svc": "n3", "web": "n1"})
	outage = probes.stop()
	# The service has to be stopped and started as well, by scripts.
	expect(outage.longest_ms() < 2 * AT_ONCE_MS, f"outage {outage.text()}")
	cluster.ctl("n1", "failover", "svc", "--to", "n2", status=1, words="node n2 cannot run it now")
	cluster.plug("n2")
	wait_for(lambda: "n2" not in cluster.group("svc", "n1")["failed_on"], "n2 should be fit again")
	cluster.settled(owners={"svc": "n3"})
	cluster.ctl("n1", "failover", "svc", "--to", "n2", "--wait", words="online on n2")
	cluster.settled(owners={"svc": "n2"})
	moved = [c for c in cluster.witness.since(0, "n3", SVC) if c.is_added and c.time_ns > deleted_ns]
	return f"outage {outage.text()}; set on n3 {(moved[0].time_ns - deleted_ns) / 1e6:.0f} ms after " \
		"the deletion"
