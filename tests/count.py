#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Adds up the logs and verdicts that ./check collected, and prints its last line.

Each NAME.trs holds automake's ":test-result: VERDICT"; NAME.log is what the test said. A log in
cmocka's form ("[       OK ] …") or in TAP's ("ok - …") counts by its own lines, any other log as
one test. The verdict has the last word: a program that failed counts at least one failure.
"""

import pathlib
import re
import sys

PASSED = re.compile(r"^(?:\[       OK \]|ok\b)", re.M)
FAILED = re.compile(r"^(?:\[  FAILED  \] (?!\S+ \d+ test|\d+ test)|not ok\b).*", re.M)
SKIPPED = re.compile(r"^(?:\[  SKIPPED \] (?!\d+ test)|ok\b.*# SKIP)", re.M)


def verdict_of(path):
	found = re.search(r"^:test-result: (\w+)", path.read_text(), re.M)
	return found.group(1) if found else "ERROR"


def count(trs):
	"""(passed, failed, skipped) of one program."""
	log = trs.with_suffix(".log")
	text = log.read_text(errors="replace") if log.exists() else ""
	verdict = verdict_of(trs)
	skipped = len(SKIPPED.findall(text))
	passed = len(PASSED.findall(text)) - len(re.findall(r"^ok\b.*# SKIP", text, re.M))
	failed = len(set(FAILED.findall(text)))  # cmocka lists them twice
	if verdict == "SKIP":
		reason = text.strip().splitlines()[-1] if text.strip() else "no reason given"
		print(f"skipped: {trs.stem}: {reason}")
		return 0, 0, 1
	if verdict != "PASS":
		print(f"FAILED: {trs.stem}")
		return passed, max(failed, 1), skipped
	if failed:
		print(f"FAILED: {trs.stem}: it says \"not ok\" and passes all the same")
	return max(passed, 0 if failed or skipped else 1), failed, skipped


def main():
	totals = [0, 0, 0]
	for trs in sorted(pathlib.Path(sys.argv[1]).glob("*.trs")):
		totals = [a + b for a, b in zip(totals, count(trs))]
	passed, failed, skipped = totals
	line = f"{passed} passed, {failed} failed"
	print(line + (f", {skipped} skipped" if skipped else ""))
	return 0 if failed == 0 and passed > 0 else 1


if __name__ == "__main__":
	sys.exit(main())
