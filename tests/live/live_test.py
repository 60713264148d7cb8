#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The live tests: the whole product on the lab, with real corosync, real netlink, real ARP.

One lab serves all tests in order. Each begins in the state that Cluster.restore() brings back, and
ends with Cluster.settled(): members, kernels, wire and processes agree, state digests are equal. In
between the witness and the judge look on: no address on two nodes at once, unless the test says for
which groups that may be. A failed test changes nothing for the next, at worst it gets a new lab.
Run by make check from the build folder, or by hand; see README.md. Exit status 77: skipped.
"""

import argparse
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import time
import traceback

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import livelib  # noqa: E402
from livelib import ADDRESSES, Cluster, Failure, LabError, NODES, expect  # noqa: E402

import live_orders  # noqa: E402, F401
import live_nodes  # noqa: E402, F401
import live_vip  # noqa: E402, F401
import live_service  # noqa: E402, F401
import live_daemon  # noqa: E402, F401

SKIP = 77
LONGEST_MS = 500  # generous: the machine may be busy. The product's own word is 20 ms
LOG_LINES = 25
TEST_LIMIT_S = 150  # for one test with all that comes before it; most take a few seconds


def watched(cluster, function, two_may_hold):
	"""Runs one test under the eyes of witness and judge; returns its figures."""
	may = {address for group in two_may_hold for address in ADDRESSES[group]}
	n_overlaps = len(cluster.witness.overlaps)
	cluster.judge_start()
	try:
		figures = function(cluster)
	finally:
		seen = cluster.judge_stop()
	cluster.witness.holders("any")  # all that happened is known now
	overlaps = cluster.witness.overlaps[n_overlaps:]
	bad = [str(overlap) for overlap in overlaps if overlap.address not in may]
	expect(not bad, f"two kernels had it: {'; '.join(bad)}")
	double = [address for address, verdict in seen.items()
		if verdict["two_holders_total"] and address not in may]
	expect(not double, f"two nodes answered on the wire: {[(a, seen[a]) for a in double]}")
	heard = {address for address, verdict in seen.items() if verdict["answers"]}
	expect(heard >= {a for group in livelib.HOMES for a in ADDRESSES[group]}, f"heard only of {heard}")
	return figures


def on_alarm(number, frame):
	"""Something waits for ever: fail there, and show where."""
	stack = "".join(traceback.format_stack(frame)[-8:])
	raise Failure(f"not done after {TEST_LIMIT_S} s; it was here:\n{stack}")


def explain(cluster, error, out):
	print("".join(f"#   {line}\n" for line in str(error).splitlines()), end="", file=out)
	if not isinstance(error, (Failure, LabError)):
		print("".join("#   " + line for line in traceback.format_exception(error)), file=out)
	if not cluster.lab.is_up:
		return
	for node in cluster.lab.nodes:
		log = node.log_tail("/var/log/lab/clusterd.log", LOG_LINES)
		print(f"# {node.name}:", file=out)
		print("".join(f"#   {line}\n" for line in log.splitlines()), end="", file=out)


def begin(cluster):
	"""A clean state, whatever it takes; LabError or Failure when even a new lab has none."""
	if cluster.lab.is_up:
		try:
			cluster.restore()
			return
		except (Failure, LabError) as error:
			print(f"# cannot restore the cluster, making a new one: {error}", flush=True)
			explain(cluster, error, sys.stdout)
			cluster.down()
			cluster.n_rebuilt += 1
	cluster.up()
	cluster.restore()


def run_one(cluster, number, title, function, two_may_hold):
	"""True when it passed."""
	started = time.monotonic()
	signal.alarm(TEST_LIMIT_S)
	try:
		begin(cluster)
		figures = watched(cluster, function, two_may_hold)
	except Exception as error:  # whatever it was, the next one runs
		print(f"not ok {number} - {title}", flush=True)
		explain(cluster, error, sys.stdout)
		sys.stdout.flush()
		return False
	finally:
		signal.alarm(0)
	took_s = time.monotonic() - started
	print(f"ok {number} - {title} ({figures + '; ' if figures else ''}{took_s:.1f} s)", flush=True)
	return True


def loops(cluster):
	"""What the daemons' loops say of themselves."""
	for name in NODES:
		cluster.note_loop(name)
	worst = max(cluster.loops.values(), key=lambda loop: loop["longest_ms"])
	over = sum(loop["over_budget"] for loop in cluster.loops.values())
	rss = max(loop["rss_kib"] for loop in cluster.loops.values())
	print(f"# {len(cluster.loops)} daemons: longest callback {worst['longest_ms']:.1f} ms "
		f"({worst['longest_in']}), {over} over 20 ms, largest RSS {rss} KiB", flush=True)
	return worst["longest_ms"] < LONGEST_MS


def main():
	parser = argparse.ArgumentParser(description="live tests of clusterd on the lab")
	parser.add_argument("names", nargs="*", help="run only the tests whose title has one of these")
	parser.add_argument("--list", action="store_true", help="only print the titles")
	parser.add_argument("--keep", metavar="DIR", help="make the lab in DIR and leave it up")
	options = parser.parse_args()
	tests = [row for row in livelib.TESTS
		if not options.names or any(name in row[0] for name in options.names)]
	if options.list:
		print("\n".join(title for title, *_ in tests))
		return 0
	if os.geteuid() != 0:
		print("1..0 # SKIP the lab makes namespaces and needs root")
		return SKIP
	if not shutil.which("corosync", path=os.environ.get("PATH", "") + ":/usr/sbin"):
		print("1..0 # SKIP corosync is not installed (package corosync)")
		return SKIP
	for number in (signal.SIGTERM, signal.SIGHUP):  # stopped from outside: clean up all the same
		signal.signal(number, lambda *_: sys.exit(1))
	signal.signal(signal.SIGALRM, on_alarm)
	print(f"1..{len(tests) + 1}", flush=True)
	# In memory where possible: a slow disk would stall corosync, and what is tested is not the disk.
	memory = "/run" if os.access("/run", os.W_OK) else None
	temp = pathlib.Path(options.keep or tempfile.mkdtemp(prefix="clusterd-live.", dir=memory))
	cluster = Cluster(temp / "lab")
	failed = 0
	try:
		for number, row in enumerate(tests, 1):
			failed += not run_one(cluster, number, *row)
		is_fast = cluster.lab.is_up and loops(cluster)
		print(f"{'ok' if is_fast else 'not ok'} {len(tests) + 1} - nothing held a loop longer than "
			f"{LONGEST_MS} ms", flush=True)
		failed += not is_fast
	finally:
		if not options.keep:
			cluster.down()
			temp.rmdir()
	print(f"{len(tests) + 1 - failed} passed, {failed} failed", flush=True)
	return 1 if failed else 0


if __name__ == "__main__":
	sys.exit(main())
