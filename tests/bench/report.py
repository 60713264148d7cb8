# SPDX-License-Identifier: GPL-2.0-or-later
"""From runs to rows: median, p90, max, and whether what must be reached was reached.

Invariant: every run counts; one that failed is a row's failure, never left out in silence. Pure.
Used by failover.
"""

import math

MET, NOT_MET = "met", "NOT met"


def percentile(values, percent):
	"""Nearest rank: always a value that was measured."""
	ranked = sorted(values)
	return ranked[max(0, math.ceil(percent / 100 * len(ranked)) - 1)]


def median(values):
	ranked = sorted(values)
	middle = len(ranked) // 2
	return ranked[middle] if len(ranked) % 2 else (ranked[middle - 1] + ranked[middle]) / 2


class Row:
	"""goals: [(which of "median", "p90", "max", limit)]."""

	def __init__(self, group, what, unit, values, goals=(), failed=0, lost=None, late_ms=None,
			load=None):
		self.group, self.what, self.unit = group, what, unit
		self.values, self.failed = list(values), failed
		self.goals = list(goals)
		self.lost, self.late_ms, self.load = lost, late_ms, load

	def figures(self):
		if not self.values:
			return {}
		return {"median": median(self.values), "p90": percentile(self.values, 90),
			"max": max(self.values)}

	def verdict(self):
		"""None where nothing is promised."""
		if not self.goals:
			return None
		figures = self.figures()
		if self.failed or not figures:
			return NOT_MET
		return MET if all(figures[which] <= limit for which, limit in self.goals) else NOT_MET

	def goal_text(self):
		text = ", ".join(f"{which} <= {limit:g} {self.unit}" for which, limit in self.goals)
		return f"{text}: {self.verdict()}" if text else ""

	def json(self):
		return {"group": self.group, "what": self.what, "unit": self.unit, "values": self.values,
			"failed": self.failed, **self.figures(), "goals": self.goals,
			"verdict": self.verdict(), "lost_probes": self.lost, "probe_late_ms": self.late_ms, "load": self.load}


def number(value):
	if value is None:
		return "-"
	return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def table(rows):
	head = ("", "", "runs", "median", "p90", "max", "unit", "lost", "late", "load",
		"must reach")
	lines, group = [head], None
	for row in rows:
		figures = row.figures()
		runs = str(len(row.values)) + (f" ({row.failed} failed)" if row.failed else "")
		lines.append((row.group if row.group != group else "", row.what, runs,
			*(number(figures.get(which)) for which in ("median", "p90", "max")), row.unit,
			number(row.lost), number(row.late_ms), number(row.load), row.goal_text()))
		group = row.group
	widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
	left = (0, 1, 6, 10)
	return "\n".join("  ".join(cell.ljust(width) if i in left else cell.rjust(width)
		for i, (cell, width) in enumerate(zip(line, widths))).rstrip() for line in lines)
