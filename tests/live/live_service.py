# SPDX-License-Identifier: GPL-2.0-or-later
"""Live tests: a service that crashes, refuses, hangs. Listed by live_test.py."""

from livelib import SVC, boottime_ns, expect, test, wait_for


def flag(cluster, name, which, text=""):
	"""Makes the service on a node misbehave, see SERVICE_SCRIPT."""
	cluster.node(name).exec(["mkdir", "-p", "/run/svc"], check=True)
	cluster.node(name).exec(["tee", f"/run/svc/{which}"], input=text, check=True)


def unflag(cluster, name, which):
	cluster.node(name).exec(["rm", f"/run/svc/{which}"], check=True)


def forgive(cluster):
	"""Forgets earlier failures: the next one is the first again."""
	cluster.ctl("n1", "online", "svc", "--wait", words="online on n2")


def crash(cluster, name):
	cluster.node(name).exec(["kill", "-9", str(cluster.services()[name])], check=True)


@test("a service crashes: restarted in place; crashes again: moves")
def service_crash(cluster):
	forgive(cluster)
	first = cluster.services()
	expect(list(first) == ["n2"], f"the service runs: {first}")
	crashed_ns = boottime_ns()
	crash(cluster, "n2")
	wait_for(lambda: cluster.services().get("n2", first["n2"]) != first["n2"], "it should be restarted")
	restarted_ms = (boottime_ns() - crashed_ns) / 1e6
	cluster.settled(owners={"svc": "n2"})
	entry = [e for e in cluster.history("n1") if e["group"] == "svc"][-1]
	expect(entry["kind"] == "restart" and entry["to"] == "n2", f"history says {entry}")
	probes = cluster.probe(SVC)
	crashed_ns = boottime_ns()
	crash(cluster, "n2")
	wait_for(lambda: list(cluster.services()) == ["n3"], "it should move to n3")
	moved_ms = (boottime_ns() - crashed_ns) / 1e6
	cluster.settled(owners={"svc": "n3"})
	probes.stop()
	group = cluster.group("svc", "n1")
	expect(group["failed_on"] == ["n2"], f"failed on {group['failed_on']}")
	cluster.ctl("n1", "failover", "svc", "--to", "n2", "--wait", words="online on n2")
	cluster.settled(owners={"svc": "n2"})
	expect(cluster.group("svc", "n1")["failed_on"] == [], "a failover to n2 should forgive it")
	return f"restarted after {restarted_ms:.0f} ms, moved after {moved_ms:.0f} ms, address silent " \
		f"{probes.longest_ms():.0f} ms (monitor each 250 ms)"


@test("a start fails: the next node; all fail: the group has failed, and says why")
def start_fails(cluster):
	flag(cluster, "n3", "refuse-start")
	cluster.ctl("n1", "failover", "svc", "--to", "n3", "--wait", status=1,
		words="online on n2 instead of n3.*told to refuse|online on n1 instead of n3.*told to refuse")
	owners = cluster.settled()
	expect(owners["svc"] != "n3", f"svc is on {owners['svc']}")
	for name in ("n1", "n2"):
		flag(cluster, name, "refuse-start")
	cluster.ctl("n1", "offline", "svc", "--wait")
	cluster.ctl("n1", "online", "svc", "--wait", status=1, words="svc is failed.*told to refuse")
	group = cluster.group("svc", "n3")
	expect(group["state"] == "failed" and group["failed_on"] == ["n1", "n2", "n3"]
		and "told to refuse" in group["problem"], f"svc: {group}")
	expect("told to refuse" in cluster.ctl("n1", "status"), "status does not say why")
	expect(not cluster.services(), f"services run: {cluster.services()}")
	held = cluster.kernel_holders("svc")
	expect(held == {SVC: []}, f"after a failed start: {held}")
	for name in ("n1", "n2", "n3"):
		unflag(cluster, name, "refuse-start")
	cluster.ctl("n2", "online", "svc", "--wait", words="online on n2")
	cluster.settled(owners={"svc": "n2"})


@test("a stop script hangs: blocked, said in words, started nowhere; repaired: goes on")
def hung_stop(cluster):
	flag(cluster, "n2", "hang-stop")
	cluster.ctl("n1", "failover", "svc", "--to", "n3", "--wait=20", status=1,
		words="svc is blocked.*did not end within")
	group = cluster.group("svc", "n3")
	expect(group["state"] == "blocked" and group["may_run_on"] == ["n2"] and group["owner"] == "n2",
		f"svc: {group}")
	text = cluster.ctl("n3", "status", words="blocked")
	expect("svc-run on n2: stop" in text, f"status: {text}")
	expect(list(cluster.services()) == ["n2"], f"services: {cluster.services()}")
	unflag(cluster, "n2", "hang-stop")
	repaired_ns = boottime_ns()
	cluster.settled(owners={"svc": "n3", "web": "n1", "back": "n3"})
	return f"went on {(boottime_ns() - repaired_ns) / 1e6:.0f} ms after the repair"


@test("a monitor hangs: a failure, restarted in place; a slow start: --wait runs out, and it goes on")
def hung_monitor(cluster):
	forgive(cluster)
	first = cluster.services()["n2"]
	flag(cluster, "n2", "hang-status")
	wait_for(lambda: cluster.services().get("n2", first) != first, "it should be restarted")
	unflag(cluster, "n2", "hang-status")
	cluster.settled(owners={"svc": "n2"})
	log = cluster.node("n1").log_tail("/var/log/lab/clusterd.log", 20)
	expect("svc-run on n2: monitor" in log and "did not end within" in log, "the log does not say why")
	flag(cluster, "n3", "slow-start", "1.6")
	cluster.ctl("n1", "failover", "svc", "--to", "n3", "--wait=1", status=5, words="goes on")
	cluster.settled(owners={"svc": "n3"})
