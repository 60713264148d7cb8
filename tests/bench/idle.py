# SPDX-License-Identifier: GPL-2.0-or-later
"""What the daemon costs when nothing happens, and what its loop says of itself. Used by failover."""

import os
import pathlib
import time

from bench_lab import LabError, host_pid


def cpu_s(pid):
	"""Time that the process's threads have had a processor."""
	threads = pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat")
	spent_ns = [int(file.read_text().split()[0]) for file in threads]
	if spent_ns:
		return sum(spent_ns) / 1e9
	# A kernel without schedstat counts in ticks.
	fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
	return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime, stime


def cpu_percent(lab, name, for_s):
	"""Percent of one core, of each node's daemon."""
	pids = {node.name: host_pid(node, name) for node in lab.nodes}
	if None in pids.values():
		raise LabError(f"{name} does not run on every node")
	before = {node: cpu_s(pid) for node, pid in pids.items()}
	start = time.monotonic()
	time.sleep(for_s)
	passed_s = time.monotonic() - start
	return {node: 100 * (cpu_s(pid) - before[node]) / passed_s for node, pid in pids.items()}


def loops(lab):
	"""The slowest callback of each node's daemon since its start."""
	found = []
	for node in lab.nodes:
		loop = node.clusterctl_json("status")["loop"]
		found.append({"node": node.name, **loop})
	return found
