#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Who may include whom, and that the core is pure.

Reads the sources ($srcdir, else here) and the built libcore.a; builds nothing of the tree. The core
includes the core and the freestanding part of libc, its objects want nothing else and hold no
variable; resource types see the daemon's small services; clusterctl sees the control protocol; the
simulator sees the core. Each rule is first shown to fail on a tree of its own that breaks it.
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"][^>"]+[>"])', re.M)

CORE_SYSTEM = {"<errno.h>", "<stdarg.h>", "<stdbool.h>", "<stddef.h>", "<stdint.h>", "<stdio.h>",
	"<stdlib.h>", "<string.h>"}
SERVICES = {f'"clusterd/{name}"' for name in ("core/types.h", "config.h", "loop.h", "runner.h", "log.h")}

# What the objects of the core may want from outside; the _chk ones come with _FORTIFY_SOURCE.
CORE_SYMBOLS = {"memcpy", "memset", "memcmp", "memmove", "memchr", "strlen", "strcmp", "strncmp",
	"strchr", "malloc", "calloc", "realloc", "free", "snprintf", "vsnprintf", "abort",
	"__assert_fail", "__stack_chk_fail", "__memcpy_chk", "__memset_chk", "__memmove_chk",
	"__snprintf_chk", "__vsnprintf_chk", "_GLOBAL_OFFSET_TABLE_"}


def includes(top, folder):
	"""(file, "name" or <name>) of each include below a folder."""
	for path in sorted((top / folder).rglob("*.[ch]")):
		for name in INCLUDE.findall(path.read_text(errors="replace")):
			yield path.relative_to(top), name


def is_below(name, *folders):
	return any(name.startswith(f'"{folder}/') for folder in folders)


def is_system(name):
	return name.startswith("<")


def core_includes(_path, name):
	return is_below(name, "clusterd/core") or name in CORE_SYSTEM


def resource_includes(_path, name):
	return is_system(name) or is_below(name, "resources", "fence") or name in SERVICES


def clusterctl_includes(path, name):
	if name == '"clusterd/config.h"':
		return path.name.startswith(("corosync_conf", "corosync_text")) # of one verb
	return is_system(name) or is_below(name, "clusterctl") or name == '"clusterd/protocol.h"'


def sim_includes(_path, name):
	return is_system(name) or is_below(name, "clusterd/core", "tests/sim")


def daemon_includes(_path, name):
	return not is_below(name, "clusterctl", "tests")


FOLDERS = {
	"clusterd/core": core_includes,
	"resources": resource_includes,
	"fence": resource_includes,
	"clusterctl": clusterctl_includes,
	"tests/sim": sim_includes,
	"clusterd": daemon_includes,
}


def wrong_includes(top, folder):
	may = FOLDERS[folder]
	return [f"{path}: must not include {name}" for path, name in includes(top, folder)
		if not may(path, name)]


def nm(archive):
	"""(object, class, section, symbol) of an archive."""
	out = subprocess.run(["nm", "--format=sysv", str(archive)], check=True, capture_output=True,
		text=True).stdout
	member = ""
	for line in out.splitlines():
		columns = [column.strip() for column in line.split("|")]
		if line.startswith("Symbols from "):
			member = line.removeprefix("Symbols from ").rstrip(":")
		elif len(columns) == 7 and columns[2]:
			yield member, columns[2], columns[6], columns[0]


def wrong_symbols(archive):
	symbols = list(nm(archive))
	if not symbols:
		return [f"{archive}: holds no symbol at all"]
	defined = {name for _, kind, _, name in symbols if kind.isupper() and kind != "U"}
	return [f"{member}: wants {name}" for member, kind, _, name in symbols
		if kind in "Uwv" and name not in defined and name not in CORE_SYMBOLS]


def variables(archive):
	"""What can be written between two calls. Tables of pointers lie in .data.rel.ro: constants."""
	return [f"{member}: holds the variable {name}" for member, kind, section, name in nm(archive)
		if kind in "DdBbCcGgSs" and not section.startswith(".data.rel.ro")]


# ---- each rule can fail ----

BREAKERS = {
	"clusterd/core": ["<time.h>", "<unistd.h>", '"clusterd/loop.h"', '"resources/resource.h"'],
	"resources": ['"clusterd/core/core.h"', '"clusterd/membership.h"', '"clusterctl/print.h"'],
	"fence": ['"clusterd/daemon.h"', '"clusterd/core/policy.h"'],
	"clusterctl": ['"clusterd/core/core.h"', '"clusterd/config.h"', '"resources/resource.h"'],
	"tests/sim": ['"clusterd/config.h"', '"clusterd/loop.h"', '"resources/vip.h"'],
	"clusterd": ['"clusterctl/print.h"', '"tests/sim/world.h"'],
}


def include_rule_fails(folder):
	missed = []
	for name in BREAKERS[folder]:
		with tempfile.TemporaryDirectory() as scratch:
			top = pathlib.Path(scratch)
			(top / folder).mkdir(parents=True)
			(top / folder / "broken.c").write_text(f"#include {name}\n")
			if not wrong_includes(top, folder):
				missed.append(f"{folder}: {name} passes")
	return missed


def archive_of(scratch, text):
	source, thing = scratch / "broken.c", scratch / "broken.o"
	source.write_text(text)
	subprocess.run([os.environ.get("CC", "cc"), "-c", "-o", thing, source], check=True)
	subprocess.run(["ar", "rc", scratch / "broken.a", thing], check=True)
	return scratch / "broken.a"


def symbol_rules_fail():
	missed = []
	with tempfile.TemporaryDirectory() as scratch:
		top = pathlib.Path(scratch)
		for call in ("time(0)", "rand()", "puts(\"\")", "getenv(\"\")"):
			text = f"#include <stdio.h>\n#include <stdlib.h>\n#include <time.h>\nlong f(void);\nlong f(void) {{ return (long){call}; }}\n"
			if not wrong_symbols(archive_of(top, text)):
				missed.append(f"{call} passes")
		for text in ("int counter;\n", "static char text[9];\nchar *f(void);\nchar *f(void) { return text; }\n",
				"static int n = 3;\nint f(void);\nint f(void) { return n++; }\n"):
			if not variables(archive_of(top, text)):
				missed.append(f"a variable passes: {text.splitlines()[0]}")
	return missed


def main():
	top = pathlib.Path(os.environ.get("srcdir", "."))
	archive = pathlib.Path("libcore.a")
	if not archive.exists():
		print("libcore.a is not built: run make first")
		return 1
	if any(name.startswith(("__asan", "__ubsan")) for _, _, _, name in nm(archive)):
		print("libcore.a is built with sanitizers, which add symbols of their own")
		return 77
	results = {
		"the core wants nothing but memory, strings and snprintf": wrong_symbols(archive),
		"the core holds no variable": variables(archive),
		"the rules for symbols can fail": symbol_rules_fail(),
	}
	for folder in FOLDERS:
		results[f"includes of {folder}"] = wrong_includes(top, folder)
		results[f"the rule for {folder} can fail"] = include_rule_fails(folder)
	for name, findings in results.items():
		print(f"{'not ok' if findings else 'ok'} - {name}")
		for finding in findings:
			print(f"# {finding}")
	return 1 if any(results.values()) else 0


if __name__ == "__main__":
	sys.exit(main())
