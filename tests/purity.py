#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Holds the tree to its architecture: who may include whom, a core without I/O, limits of size.

Run by `make check` in the build folder (automake sets srcdir), on the sources and on libcore.a.
First every rule must refuse small bad samples of its own and pass good ones: a rule that cannot
fail proves nothing. Prints TAP lines.
"""

import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

FOLDERS = ("clusterd", "clusterctl", "resources", "fence", "tests")

# ---- what the core may call, and keep ----

# Memory and text, and the abort of assert. No file, clock, chance, process, environment, locale.
CORE_CALLS = {
	"abort", "__assert_fail",
	"calloc", "free", "malloc", "realloc",
	"memchr", "memcmp", "memcpy", "memmove", "memset",
	"snprintf", "vsnprintf",
	"strchr", "strcmp", "strcspn", "strlen", "strncmp", "strnlen", "strrchr", "strspn", "strstr",
}
# What the compiler itself puts in: hardening, position-independent code, the sanitizers.
COMPILER_CALLS = re.compile(
	r"^(__stack_chk_fail|_GLOBAL_OFFSET_TABLE_|__(mem\w+|str\w+|v?snprintf)_chk|__(asan|ubsan)_\w+)$")


def symbols_of(objects):
	"""(defined, undefined, writable): names; what could be changed while it runs is writable."""
	out = subprocess.run(["nm", "--format=sysv", *objects], check=True, capture_output=True,
		text=True).stdout
	defined, undefined, writable = set(), set(), set()
	for line in out.splitlines():
		columns = [column.strip() for column in line.split("|")]
		if len(columns) != 7 or columns[0] == "Name":
			continue
		name, kind, section = columns[0], columns[2], columns[6]
		if kind in "Uwv":
			undefined.add(name)
			continue
		if kind.isupper():
			defined.add(name)
		constant = section.startswith(".data.rel.ro")
		if re.match(r"\.t?(bss|data)|\*COM\*", section) and not constant and "asan" not in name:
			writable.add(name)
	if not defined:
		raise ValueError("nm found nothing defined in " + " ".join(map(str, objects)))
	return defined, undefined, writable


def check_calls(objects):
	defined, undefined, _ = symbols_of(objects)
	for name in sorted(undefined - defined - CORE_CALLS):
		if not COMPILER_CALLS.match(name):
			yield f"clusterd/core: calls {name}(), which is not on the list of what a pure core may call"


def check_writable(objects):
	for name in sorted(symbols_of(objects)[2]):
		yield f"clusterd/core: the variable \"{name}\" lives outside of struct core"


# ---- who may include whom ----

CORE_SYSTEM = {"<assert.h>", "<errno.h>", "<stdarg.h>", "<stdbool.h>", "<stddef.h>", "<stdint.h>",
	"<stdio.h>", # snprintf; that nothing is read or written is seen from the calls
	"<stdlib.h>", "<string.h>"}
SERVICES = ("clusterd/core/types.h", "clusterd/config.h", "clusterd/loop.h", "clusterd/runner.h",
	"clusterd/log.h")

# The first pattern that matches the path counts. Then each "header" must begin with one of these;
# <headers> are free where no set is given.
INCLUDES = (
	(r"clusterd/core/", ("clusterd/core/",), CORE_SYSTEM),
	# The daemon sees all but the core's inside: what changes the state is core_step alone.
	(r"clusterd/", ("clusterd/core/!internal.h", "clusterd/", "resources/", "fence/"), None),
	(r"resources/", SERVICES + ("resources/",), None),
	(r"fence/", SERVICES + ("fence/",), None),
	# corosync-conf is the one verb that reads the config: it works before there is a daemon.
	(r"clusterctl/corosync_(conf|text)\.[ch]$",
		("clusterctl/", "clusterd/protocol.h", "clusterd/config.h"), None),
	(r"clusterctl/", ("clusterctl/", "clusterd/protocol.h"), None),
	(r"tests/sim/", ("clusterd/core/", "tests/sim/"), None),
	# The scenarios read a cluster.conf each.
	(r"tests/scenarios/", ("clusterd/core/", "clusterd/config.h", "tests/sim/", "tests/scenarios/"),
		None),
	(r"tests/", ("clusterd/", "clusterctl/", "resources/", "fence/", "tests/"), None),
)
INCLUDE = re.compile(r"^\s*#\s*include\b\s*(.*?)\s*(?:/[/*].*)?$", re.M)


def allows(allowed, header):
	if ".." in header:
		return False
	for pattern in allowed:
		folder, _, barred = pattern.partition("!")
		if barred and header == folder + barred:
			return False
		if header.startswith(folder):
			return True
	return False


def check_includes(path, text):
	rule = next((rule for rule in INCLUDES if re.match(rule[0], path)), None)
	if rule is None:
		yield f"{path}: no rule says what it may include: add one to tests/purity.py"
		return
	for match in INCLUDE.finditer(text):
		header = match.group(1)
		line = text.count("\n", 0, match.start(1)) + 1
		if header.startswith("\"") and allows(rule[1], header.strip("\"")):
			continue
		if header.startswith("<") and (rule[2] is None or header in rule[2]):
			continue
		yield f"{path}:{line}: must not include {header}"


# ---- limits of size ----

C_FILE_LINES = 650
HEADER_LINES = 250
FUNCTION_LINES = 90


def check_file_size(path, text):
	limit = HEADER_LINES if path.endswith(".h") else C_FILE_LINES
	lines = text.count("\n")
	if lines > limit:
		yield f"{path}: {lines} lines; at most {limit}: split it by what its parts are for"


def check_function_size(path, text):
	"""By .clang-format a function's braces, and no others, stand alone in the first column."""
	begin = None
	for number, line in enumerate(text.splitlines(), 1):
		if line == "{":
			begin = number
		elif line.startswith("}") and begin is not None:
			if number - begin - 1 > FUNCTION_LINES:
				yield (f"{path}:{begin}: a function of {number - begin - 1} lines; at most "
					f"{FUNCTION_LINES}")
			begin = None


def check_leftovers(path, text):
	for number, line in enumerate(text.splitlines(), 1):
		if re.search(r"\b(TODO|FIXME)\b", line):
			yield f"{path}:{number}: {line.strip()}"


def check_licence(path, text):
	if "SPDX-License-Identifier: GPL-2.0-or-later" not in text.partition("\n")[0]:
		yield f"{path}: its first line does not name the licence"


SOURCE_RULES = (
	("each part includes only what it may see", check_includes),
	("no file is too long", check_file_size),
	("no function is too long", check_function_size),
	("nothing is left to do", check_leftovers),
	("each file begins with its licence", check_licence),
)
OBJECT_RULES = (
	("the core calls nothing impure", check_calls),
	("the core has no variables of its own", check_writable),
)

# ---- samples ----

SPDX = "/* SPDX-License-Identifier: GPL-2.0-or-later */\n"

# rule, path, text: each alone must be refused by its rule.
BAD_SOURCES = (
	(check_includes, "clusterd/core/clock.c", "#include <time.h>\n"),
	(check_includes, "clusterd/core/print.c", "  #  include   \"clusterd/log.h\" /* why */\n"),
	(check_includes, "clusterd/core/up.c", "#include \"../daemon.h\"\n"),
	(check_includes, "clusterd/core/about.c", "#include \"clusterd/core/../daemon.h\"\n"),
	(check_includes, "clusterd/core/hidden.c", "#include HEADER\n"),
	(check_includes, "clusterd/status.c", "#include \"clusterd/core/internal.h\"\n"),
	(check_includes, "clusterd/status.c", "#include \"clusterctl/print.h\"\n"),
	(check_includes, "clusterd/status.c", "#include \"tests/unit/core_fixture.h\"\n"),
	(check_includes, "resources/disk.c", "#include \"clusterd/core/core.h\"\n"),
	(check_includes, "resources/disk.c", "#include \"clusterd/daemon.h\"\n"),
	(check_includes, "resources/disk.c", "#include \"fence/agent.h\"\n"),
	(check_includes, "fence/agent.c", "#include \"clusterd/membership.h\"\n"),
	(check_includes, "clusterctl/status.c", "#include \"clusterd/config.h\"\n"),
	(check_includes, "clusterctl/corosync_conf.c", "#include \"clusterd/core/core.h\"\n"),
	(check_includes, "tests/sim/world.c", "#include \"clusterd/config.h\"\n"),
	(check_includes, "tests/scenarios/runner.c", "#include \"clusterd/runner.h\"\n"),
	(check_includes, "elsewhere/new.c", "\n"),
	(check_file_size, "clusterd/long.c", "\n" * (C_FILE_LINES + 1)),
	(check_file_size, "clusterd/long.h", "\n" * (HEADER_LINES + 1)),
	(check_function_size, "clusterd/long.c",
		"int f(void)\n{\n" + "\tx++;\n" * (FUNCTION_LINES + 1) + "}\n"),
	(check_leftovers, "clusterd/half.c", "\t/* TODO: the other half */\n"),
	(check_leftovers, "clusterd/half.c", "int x; /* FIXME */\n"),
	(check_licence, "clusterd/mine.c", "/* All mine. */\n" + SPDX),
)
# Must pass every rule.
GOOD_SOURCES = (
	("clusterd/core/good.c", SPDX + "#include <stdio.h> /* snprintf */\n"
		"#include \"clusterd/core/internal.h\"\n"),
	("clusterd/good.c", SPDX + "#include <time.h>\n#include \"clusterd/core/core.h\"\n"
		"#include \"resources/resource.h\"\n"
		"int f(void)\n{\n" + "\tx++;\n" * FUNCTION_LINES + "}\n"),
	("clusterd/full.h", SPDX + "\n" * (HEADER_LINES - 1)),
	("resources/good.c", SPDX + "#include <net/if.h>\n#include \"clusterd/loop.h\"\n"),
	("clusterctl/corosync_conf.c", SPDX + "#include \"clusterd/config.h\"\n"),
	("tests/scenarios/good.c", SPDX + "#include \"clusterd/config.h\"\n"),
)
BAD_OBJECTS = (
	(check_calls, "#include <time.h>\nlong f(void) { return time(NULL); }\n"),
	(check_calls, "#include <stdlib.h>\nint f(void) { return rand(); }\n"),
	(check_calls, "#include <stdlib.h>\nchar *f(void) { return getenv(\"HOME\"); }\n"),
	(check_calls, "#include <stdio.h>\nint f(void) { return printf(\"%d\", 1); }\n"),
	(check_calls, "#include <unistd.h>\nint f(void) { return close(1); }\n"),
	(check_calls, "#include <errno.h>\nint f(void) { return errno; }\n"),
	(check_calls, "extern int other;\nint f(void) { return other; }\n"),
	(check_writable, "int count;\nint f(void) { return ++count; }\n"),
	(check_writable, "int f(void) { static int count = 3; return ++count; }\n"),
	(check_writable, "int f(void) { static int count; return ++count; }\n"),
	(check_writable, "int f(void) { static _Thread_local int count; return ++count; }\n"),
)
GOOD_OBJECT = (
	"#include <assert.h>\n#include <stdlib.h>\n#include <string.h>\n"
	"static const char *const names[] = {\"a\", \"b\"};\n"
	"const char *g(unsigned i) { assert(i < 2); return names[i]; }\n"
	"void *f(unsigned i) { char *p = malloc(9); if (p) memcpy(p, g(i), 2); return p; }\n")


class Report:
	"""TAP lines; is_good stays true as long as all are ok."""

	def __init__(self):
		self.count = 0
		self.is_good = True

	def tell(self, is_ok, name, reasons=()):
		self.count += 1
		self.is_good = self.is_good and is_ok
		print(f"{'ok' if is_ok else 'not ok'} {self.count} - {name}")
		for reason in reasons:
			print(f"# {reason}")


def compile_sample(folder, text):
	source, target = folder / "sample.c", folder / "sample.o"
	source.write_text(text)
	subprocess.run([*shlex.split(os.environ.get("CC", "cc")), "-O1", "-fPIE", "-c", source, "-o",
		target], check=True)
	return target


def tell_refused(report, rules, samples):
	"""samples: (rule, what it is, what the rule found in it)."""
	for _, rule in rules:
		mine = [(what, found) for whose, what, found in samples if whose is rule]
		missed = [f"{what} was passed" for what, found in mine if not found]
		report.tell(bool(mine) and not missed, f"{rule.__name__} refuses {len(mine)} bad samples",
			missed)


def test_samples(report):
	tell_refused(report, SOURCE_RULES, [(rule, f"{path} with {text[:60]!r}", list(rule(path, text)))
		for rule, path, text in BAD_SOURCES])
	reasons = [reason for path, text in GOOD_SOURCES for _, rule in SOURCE_RULES
		for reason in rule(path, text)]
	report.tell(not reasons, f"{len(GOOD_SOURCES)} good sources pass", reasons)
	with tempfile.TemporaryDirectory(prefix="clusterd-purity-") as name:
		folder = pathlib.Path(name)
		tell_refused(report, OBJECT_RULES, [(rule, text, list(rule([compile_sample(folder, text)])))
			for rule, text in BAD_OBJECTS])
		good = compile_sample(folder, GOOD_OBJECT)
		reasons = [reason for _, rule in OBJECT_RULES for reason in rule([good])]
		report.tell(not reasons, "a good object passes", reasons)


def sources_of(top):
	"""(path below top, text) of each C file and header, in order."""
	for folder in FOLDERS:
		for path in sorted((top / folder).rglob("*.[ch]")):
			yield str(path.relative_to(top)), path.read_text()


def test_tree(report, top, library):
	sources = list(sources_of(top))
	parts = {path.partition("/")[0] for path, _ in sources}
	missing = {"clusterd", "clusterctl", "resources", "tests"} - parts
	report.tell(not missing, "the sources are there", [f"no C files in {part}/" for part in missing])
	for name, rule in SOURCE_RULES:
		reasons = [reason for path, text in sources for reason in rule(path, text)]
		report.tell(not reasons, name, reasons)
	for name, rule in OBJECT_RULES:
		reasons = list(rule([library]))
		report.tell(not reasons, name, reasons)


def main():
	report = Report()
	test_samples(report)
	test_tree(report, pathlib.Path(os.environ.get("srcdir", ".")), pathlib.Path("libcore.a"))
	print(f"1..{report.count}")
	return 0 if report.is_good else 1


if __name__ == "__main__":
	sys.exit(main())
