# SPDX-License-Identifier: GPL-2.0-or-later
"""One machine of the lab as processes: boot, kill, commands and daemons inside, files.

Invariant: a process is signalled only after its recorded pid and start time were found equal, so
nothing but what the lab started can be hit. Each machine has a folder of its own and no state
elsewhere. Used by labnet.py.
"""

import os
import pathlib
import select
import signal
import subprocess
import time

POLL_S = 0.03
LIMIT_S = 30  # for what should take moments


class LabError(Exception):
	"""Something to tell the person at the keyboard."""


def boottime_ns():
	return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def wait(condition, limit_s, what):
	"""Polls until condition() is true and returns its value."""
	deadline = time.monotonic() + limit_s
	while True:
		value = condition()
		if value:
			return value
		if time.monotonic() > deadline:
			raise LabError(f"waited {limit_s} s in vain: {what}")
		time.sleep(POLL_S)


def start_time(proc, pid):
	"""Field 22 of PID's stat below the folder proc, or None if there is no such process (or only
	its zombie)."""
	try:
		text = pathlib.Path(proc, str(pid), "stat").read_text()
	except (FileNotFoundError, ProcessLookupError, NotADirectoryError):
		return None
	fields = text.rpartition(")")[2].split()
	return None if fields[0] in "ZX" else int(fields[19])


class Machine:
	"""A set of namespaces that lives as long as its first process."""

	def __init__(self, name, folder, build):
		self.name = name
		self.dir = pathlib.Path(folder)
		self.build = pathlib.Path(build)

	def __repr__(self):
		return self.name

	@property
	def nodeinit(self):
		return str(self.build / "tests/lab/nodeinit")

	def environment(self):
		paths = [str(self.build / part) for part in ("clusterd", "clusterctl", "tests/lab")]
		return {**os.environ, "PATH": ":".join(paths + [os.environ.get("PATH", os.defpath),
			"/usr/sbin", "/sbin"])}

	# Power

	def init_pid(self):
		"""The machine's first process, or None when the power is off."""
		try:
			pid, started = map(int, (self.dir / "init").read_text().split())
		except FileNotFoundError:
			return None
		return pid if start_time("/proc", pid) == started else None

	def is_on(self):
		return self.init_pid() is not None

	def boot(self):
		if self.is_on():
			raise LabError(f"{self.name} is on already")
		for record in self.dir.glob("*.pid"):
			record.unlink()
		done = subprocess.run([self.nodeinit, "boot", self.name, str(self.dir)],
			stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT_S)
		if done.returncode != 0:
			raise LabError(f"{self.name} does not boot: {done.stderr.strip()}")

	def kill(self):
		"""Cuts the power: every process of the machine is gone when this returns."""
		pid = self.init_pid()
		if pid is None:
			return
		try:
			fd = os.pidfd_open(pid)
		except ProcessLookupError:
			return
		try:
			if self.init_pid() == pid:  # the descriptor is of the right process
				signal.pidfd_send_signal(fd, signal.SIGKILL)
			# Readable when the last process of the PID namespace is gone too.
			if not select.select([fd], [], [], LIMIT_S)[0]:
				raise LabError(f"{self.name}: process {pid} survives SIGKILL")
		finally:
			os.close(fd)

	# Commands

	def enter(self, argv):
		pid = self.init_pid()
		if pid is None:
			raise LabError(f"{self.name} is off; turn it on with: lab power-on {self.name}")
		return [self.nodeinit, "enter", str(pid), *map(str, argv)]

	def exec(self, argv, check=False, input=None, timeout_s=60):
		"""Runs a command to its end; the result has .returncode, .stdout, .stderr (text)."""
		source = {"input": input} if input is not None else {"stdin": subprocess.DEVNULL}
		done = subprocess.run(self.enter(argv), **source, capture_output=True, text=True,
			timeout=timeout_s, env=self.environment())
		if check and done.returncode != 0:
			raise LabError(f"{self.name}: {' '.join(map(str, argv))}: status "
				f"{done.returncode}: {(done.stderr or done.stdout).strip()}")
		return done

	def popen(self, argv, **options):
		"""Starts a command; signals sent to it reach it, and it dies with us."""
		options.setdefault("stdin", subprocess.DEVNULL)
		return subprocess.Popen(self.enter(argv), env=self.environment(), **options)

	# Daemons

	def spawn(self, name, argv):
		if self.daemon_pid(name):
			raise LabError(f"{self.name}: {name} runs already")
		done = self.exec([self.nodeinit, "spawn", f"/var/log/lab/{name}.log", *argv], check=True)
		pid = int(done.stdout)
		started = start_time(self.proc(), pid)
		(self.dir / f"{name}.pid").write_text(f"{pid} {started or 0}\n")

	def proc(self):
		"""The machine's /proc, seen from outside."""
		return f"/proc/{self.init_pid()}/root/proc"

	def daemon_pid(self, name):
		"""As the machine numbers it; None if it does not run."""
		try:
			pid, started = map(int, (self.dir / f"{name}.pid").read_text().split())
		except FileNotFoundError:
			return None
		if not self.is_on() or start_time(self.proc(), pid) != started:
			return None
		return pid

	def signal_daemon(self, name, number):
		pid = self.daemon_pid(name)
		if pid is None:
			raise LabError(f"{self.name}: {name} does not run")
		self.exec(["/usr/bin/kill", "-s", signal.Signals(number).name[3:], str(pid)], check=True)

	def end_daemon(self, name, limit_s=LIMIT_S):
		"""Asks it to stop and waits."""
		if self.daemon_pid(name) is None:
			return
		self.signal_daemon(name, signal.SIGTERM)
		wait(lambda: self.daemon_pid(name) is None, limit_s,
			f"{name} on {self.name} should end after SIGTERM")

	# Files below /etc, /var and /usr/local, which outlive a power cut

	def path(self, inside):
		"""Where the file lies for this process; while the machine is off, only what was changed
		in it."""
		pid = self.init_pid()
		root = f"/proc/{pid}/root" if pid else self.dir / "root"
		return pathlib.Path(root, str(inside).lstrip("/"))

	def write(self, inside, text, mode=0o644):
		path = self.path(inside)
		path.parent.mkdir(parents=True, exist_ok=True)
		if isinstance(text, str):
			text = text.encode()
		path.write_bytes(text)
		path.chmod(mode)

	def log_tail(self, inside, lines):
		try:
			text = self.path(inside).read_text(errors="replace")
		except FileNotFoundError:
			return ""
		return "".join(text.splitlines(keepends=True)[-lines:])
