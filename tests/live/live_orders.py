# SPDX-License-Identifier: GPL-2.0-or-later
"""Live tests: what administrators and strangers say to clusterd. Listed by live_test.py."""

import re

from livelib import SVC, boottime_ns, expect, test, wait_for
from live_nodes import PLANNED_MS, n_history, unchanged

# Connects as clusterctl does, asks, and never reads the answer.
SILENT_CLIENT = """
import ctypes, struct, sys, time
qb = ctypes.CDLL("libqb.so.100", use_errno=True)
qb.qb_ipcc_connect.restype = ctypes.c_void_p
qb.qb_ipcc_connect.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
qb.qb_ipcc_send.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
qb.qb_ipcc_send.restype = ctypes.c_ssize_t
clients = []
for i in range(8):
    client = qb.qb_ipcc_connect(b"clusterd", 32768 + 1024)
    if not client:
        sys.exit("connect: errno %d" % ctypes.get_errno())
    clients.append(client)
text = b'{"verb": "status"}'
request = struct.pack("=i4xi4x", 1, 16 + len(text)) + text
sent = 0
print("connected", flush=True)
while True:
    for client in clients:
        sent += qb.qb_ipcc_send(client, request, len(request)) == len(request)
    time.sleep(0.05)
"""


@test("failover by group, by resource, with --to, without --wait, to where it runs")
def failover(cluster):
	figures = []

	def moved(owner, *argv):
		probes = cluster.probe()
		cluster.ctl("n3", "failover", *argv, words=f"online on {owner} after"
			if argv[-1].startswith("--wait") else "decided")
		cluster.settled(owners={"web": owner})
		probes.stop()
		expect(probes.longest_ms() < PLANNED_MS, f"failover {argv}: {probes.text()}")
		figures.append(probes.longest_ms())

	moved("n2", "web", "--wait")
	moved("n1", "web-ip", "--wait")
	moved("n2", "web-ip6", "--wait")
	moved("n3", "web", "--to", "n3", "--wait")
	moved("n1", "web-ip", "--to", "n1", "--wait=30")
	moved("n2", "web")
	entry = [e for e in cluster.history("n1") if e["group"] == "web"][-1]
	expect((entry["kind"], entry["from"], entry["to"]) == ("move", "n1", "n2"), f"history: {entry}")

	before, lines = cluster.group("web", "n1"), n_history(cluster, "web", "n1")
	probes = cluster.probe()
	cluster.ctl("n1", "failover", "web", "--to", "n2", "--wait", words="online on n2")
	cluster.settled(owners={"web": "n2"})
	probes.stop()
	cluster.unmoved(before, cluster.group("web", "n1"))
	unchanged(cluster, "web", "n1", lines)
	expect(probes.lost() == 0, f"lost {probes.lost()} probes to a failover to where it runs")
	return "outages " + ", ".join(f"{ms:.1f}" for ms in figures) + " ms"


@test("orders that can't be: exit statuses and words, and nothing changes")
def refused_orders(cluster):
	before = {name: cluster.group(name, "n1") for name in ("web", "back", "svc")}
	ctl = cluster.ctl
	ctl("n1", "failover", "nonsense", status=1, words='no group or resource "nonsense"')
	ctl("n1", "failover", "web", "--to", "n9", status=1, words='no node "n9"')
	ctl("n1", "failover", "web", "--to", "web-ip", status=1, words='no node "web-ip"')
	ctl("n2", "online", "nonsense", status=1, words='no group or resource "nonsense"')
	ctl("n2", "offline", "web-ip", status=1, words='"web-ip" is a resource of group web')
	ctl("n2", "failover", "x" * 5000, status=1, words="no group or resource")
	ctl("n2", "failover", "web\nonline", status=1, words="no group or resource")
	ctl("n1", "failover", status=2, words="name of one group")
	ctl("n1", "failover", "web", "svc", status=2)
	ctl("n1", "failover", "web", "--wait=0", status=2)
	ctl("n1", "failover", "web", "--wait=soon", status=2)
	ctl("n1", "online", status=2)
	ctl("n1", "nonsense", status=2, words="no verb 'nonsense'")
	ctl("n1", "status", "--nonsense", status=2)
	ctl("n1", "history", "--limit", "-1", status=2)
	cluster.settled()
	for name, doc in before.items():
		cluster.unmoved(doc, cluster.group(name, "n1"))

	cluster.ctl("n1", "offline", "web", "--wait")
	ctl("n2", "failover", "web", "--to", "n2", status=1, words="set offline.*clusterctl online web")
	cluster.settled(offline=["web"])
	cluster.node("n2").stop()
	cluster.node("n3").stop(corosync=False)
	ctl("n3", "status", status=3)
	ctl("n1", "online", "web", "--wait", words="online on n1")
	ctl("n1", "failover", "web", status=1, words="no other node")
	ctl("n1", "failover", "web", "--to", "n2", status=1, words="node n2 is offline")


@test("offline and online, with --wait")
def offline_online(cluster):
	probes = cluster.probe(SVC)
	cluster.ctl("n1", "offline", "svc", "--wait", words="group svc: offline after")
	cluster.settled(offline=["svc"])
	expect("taken offline" in cluster.ctl("n3", "status"), "status does not say it")
	cluster.ctl("n2", "offline", "svc", "--wait")  # again: nothing to do
	cluster.ctl("n3", "online", "svc", "--wait", words="group svc: online on n2 after")
	cluster.settled(owners={"svc": "n2"})
	probes.stop()


@test("a storm of orders on all nodes at once: members agree, no address is anywhere twice")
def storm(cluster):
	script = """
for i in 1 2 3 4 5 6; do
	clusterctl failover web
	clusterctl failover back --to n%(to)d
	clusterctl offline svc
	clusterctl failover web-ip6 --to n%(other)d --wait
	clusterctl online svc
	clusterctl failover svc
	clusterctl status >/dev/null || exit 9
done
"""
	done = []
	for number in (1, 2, 3):
		text = script % {"to": number, "other": number % 3 + 1}
		done.append(cluster.node(f"n{number}").popen(["sh", "-c", text], stdout=-1, stderr=-2, text=True))
	words = []
	for process in done:
		words += process.communicate(timeout=120)[0].splitlines()
		expect(process.returncode == 0, f"exit status {process.returncode}: {words[-5:]}")
	strange = [line for line in words if not re.search(r"^group \w+: |instead of|is set offline|"
		r"no other node|is failed|is blocked", line)]
	expect(not strange, f"said {strange}")
	cluster.ctl("n2", "online", "svc", "--wait")
	cluster.settled()
	moves = len({e["time_ms"] for e in cluster.history("n1") if e["kind"] == "move"})
	return f"{len(words)} orders; {moves} moves in the history"


@test("a second clusterd on a node is refused")
def second_daemon(cluster):
	before = cluster.group("web", "n1")
	probes = cluster.probe()
	for name in ("n1", "n2"):
		done = cluster.node(name).exec(["clusterd", "-f", "-c", "/etc/clusterd/clusterd.conf", "-s",
			"/var/lib/clusterd"])
		text = done.stdout + done.stderr
		expect(done.returncode == 1 and "another clusterd runs on this machine" in text,
			f"{name}: exit status {done.returncode}, {text!r}")
	cluster.settled()
	probes.stop()
	expect(probes.lost() == 0, f"lost {probes.lost()} probes")
	cluster.unmoved(before, cluster.group("web", "n1"))


@test("who is not root is refused by the control socket, and told so")
def unprivileged(cluster):
	nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "clusterctl"]
	for argv in (["status"], ["failover", "web"], ["offline", "web"]):
		done = cluster.node("n1").exec([*nobody, *argv])
		text = done.stdout + done.stderr
		expect(done.returncode == 3 and re.search("root", text),
			f"clusterctl {argv[0]} as nobody: exit status {done.returncode}, {text!r}")
	cluster.settled(owners={"web": "n1"})


@test("clients that ask and never read hurt nobody")
def silent_clients(cluster):
	node = cluster.node("n1")
	pid = node.daemon_pid("clusterd")
	probes = cluster.probe()
	client = node.popen(["python3", "-c", SILENT_CLIENT], stdout=-1, stderr=-2, text=True)
	try:
		line = client.stdout.readline()
		expect(line == "connected\n", f"the silent client: {line!r}")
		begun_ns = boottime_ns()
		longest_ms = 0.0
		# Longer than the five seconds after which such a client is disconnected.
		while boottime_ns() - begun_ns < 7_000_000_000:
			before_ns = boottime_ns()
			cluster.ctl("n1", "status")
			longest_ms = max(longest_ms, (boottime_ns() - before_ns) / 1e6)
		cluster.ctl("n1", "failover", "web", "--to", "n2", "--wait")
		cluster.ctl("n1", "failover", "web", "--to", "n1", "--wait")
	finally:
		client.kill()
		client.wait()
	wait_for(lambda: cluster.status("n1")["phase"] == "member", "n1 should be well")
	cluster.settled(owners={"web": "n1"})
	probes.stop()
	expect(node.daemon_pid("clusterd") == pid, "clusterd on n1 has ended")
	expect(probes.longest_ms() < PLANNED_MS, probes.text())
	expect(longest_ms < 2000, f"a status took {longest_ms:.0f} ms")
	return f"longest status {longest_ms:.0f} ms"
