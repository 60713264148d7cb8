#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests the lab itself, with real corosync and without clusterd: what it does to a machine is
what it says, what it measures is what happened, and it leaves nothing.

The tests share one lab; each leaves it healed and whole (tearDown sees to it). Run by make check.
"""

import contextlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
sys.dont_write_bytecode = True

import labnet  # noqa: E402
from labnet import Lab, LabError, boottime_ns  # noqa: E402

SKIP = 77  # automake's word for it
KINDS = ("pid", "net", "mnt", "uts", "ipc")


def namespaces(pid):
	return {os.readlink(f"/proc/{pid}/ns/{kind}") for kind in KINDS}


def processes_in(wanted):
	"""Pids of all processes that are in one of these namespaces."""
	found = []
	for folder in pathlib.Path("/proc").glob("[0-9]*"):
		with contextlib.suppress(OSError):  # it has just ended
			if namespaces(folder.name) & wanted:
				found.append(int(folder.name))
	return found


def own_links():
	text = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
	return set(re.findall(r"^\d+: ([^:@]+)", text, re.M))


class Base(unittest.TestCase):
	def setUp(self):
		self.started = time.monotonic()

	def say(self, text):
		print(f"  {self.id().rpartition('.')[2]}: {text}", flush=True)


class Shared(Base):
	@classmethod
	def setUpClass(cls):
		cls.temp = pathlib.Path(tempfile.mkdtemp(prefix="clusterd-lab-test."))
		cls.addClassCleanup(shutil.rmtree, cls.temp)
		started = time.monotonic()
		cls.lab = Lab(cls.temp / "lab")
		cls.addClassCleanup(cls.lab.down)
		cls.lab.up(3, token_ms=1000, clusterd=False)
		print(f"  up 3: {time.monotonic() - started:.2f} s", flush=True)

	def tearDown(self):
		self.lab.heal()
		for node in self.lab.nodes:
			if not node.is_on():
				node.power_on()
			node.start()
		self.lab.wait_ring([node.name for node in self.lab.nodes])

	def pings(self, source, address):
		done = self.lab.machine(source).exec(["ping", "-n", "-c", "1", "-W", "1", address])
		return done.returncode == 0

	def test_ring(self):
		for node in self.lab.nodes:
			ring = node.ring()
			self.assertEqual(ring["members"], [1, 2, 3])
			self.assertTrue(ring["quorate"])
			values = node.exec(["corosync-cmapctl"], check=True).stdout
			for line in ("runtime.config.totem.token (u32) = 1000",
					"totem.seqno_unchanged_const (u32) = 3",
					"totem.interface.0.knet_ping_interval (u32) = 200",
					"totem.interface.0.knet_ping_timeout (u32) = 600",
					"totem.crypto_cipher (str) = aes256"):
				self.assertIn(line, values)

	def test_machines_are_apart(self):
		n1 = self.lab.node("n1")
		self.assertEqual(n1.exec(["hostname"], check=True).stdout, "n1\n")
		n1.exec(["touch", "/etc/clusterd/mine", "/run/mine", "/dev/shm/mine"], check=True)
		for path in ("/etc/clusterd/mine", "/run/mine", "/dev/shm/mine"):
			self.assertEqual(self.lab.node("n2").exec(["test", "-e", path]).returncode, 1, path)
			self.assertFalse(os.path.exists(path), path)
		for address in ("n2", "10.77.0.13", "fd77::13", "client"):
			self.assertTrue(self.pings("n1", address), address)
		self.assertFalse(namespaces(n1.init_pid()) & namespaces("self"))
		self.assertEqual(n1.exec(["sh", "-c", "exit 7"]).returncode, 7)

	def test_power_off_and_on(self):
		n1, n2 = self.lab.node("n1"), self.lab.node("n2")
		n2.spawn("stubborn", ["sh", "-c", "trap '' TERM HUP; sleep 1000 & sleep 1000"])
		n2.write("/var/lib/clusterd/kept", "yes")
		n2.exec(["touch", "/run/gone"], check=True)
		there = namespaces(n2.init_pid())
		self.assertGreaterEqual(len(processes_in(there)), 4)
		before_ns = n2.power_off()
		self.say(f"power-off took {(boottime_ns() - before_ns) / 1e6:.0f} ms")
		self.assertEqual(processes_in(there), [])
		self.assertFalse(self.pings("client", n2.service_ip))
		self.lab.wait_ring(["n1", "n3"])
		self.say(f"ring without it {(boottime_ns() - before_ns) / 1e6:.0f} ms after")
		self.assertTrue(n1.ring()["quorate"])
		with self.assertRaisesRegex(LabError, "n2 is off"):
			n2.exec(["true"])

		started = time.monotonic()
		n2.power_on()
		self.lab.wait_ring(["n1", "n2", "n3"])
		self.say(f"power-on to ring {time.monotonic() - started:.2f} s")
		self.assertEqual(n2.path("/var/lib/clusterd/kept").read_text(), "yes")
		self.assertFalse(n2.path("/run/gone").exists())
		self.assertTrue(self.pings("client", n2.service_ip))

	def echos_seen(self, name):
		text = self.lab.node(name).exec(["cat", "/proc/net/snmp"], check=True).stdout
		names, values = [line.split() for line in text.splitlines() if line.startswith("Icmp:")]
		return int(values[names.index("InEchos")])

	def test_cut(self):
		self.lab.cut("n1", "n2")
		self.assertEqual(self.lab.cuts(), ["n1 -> n2 (cluster)", "n2 -> n1 (cluster)"])
		self.assertFalse(self.pings("n1", "10.78.0.12"))
		self.assertTrue(self.pings("n1", "10.78.0.13"))
		self.assertTrue(self.pings("n3", "10.78.0.12"))
		self.assertTrue(self.pings("n1", "10.77.0.12"))
		labnet.wait(lambda: "n2" in self.disconnected("n1"), 10, "corosync of n1 should miss n2")
		self.lab.heal()
		self.assertEqual(self.lab.cuts(), [])
		self.assertTrue(self.pings("n1", "10.78.0.12"))

	def disconnected(self, name):
		"""Names of the nodes that corosync's knet does not reach from there."""
		text = self.lab.node(name).exec(["corosync-cfgtool", "-s"], check=True).stdout
		return {f"n{i}" for i in re.findall(r"nodeid:\s+(\d+):\s+disconnected", text)}

	def test_cut_oneway(self):
		self.assertTrue(self.pings("n1", "10.78.0.12"))  # neighbours are known from here on
		self.lab.cut("n1", "n2", oneway=True)
		at_n1, at_n2 = self.echos_seen("n1"), self.echos_seen("n2")
		self.assertFalse(self.pings("n2", "10.78.0.11"))
		self.assertFalse(self.pings("n1", "10.78.0.12"))
		self.assertEqual(self.echos_seen("n1"), at_n1 + 1)
		self.assertEqual(self.echos_seen("n2"), at_n2)

	def test_isolate(self):
		before_ns = self.lab.isolate("n3")
		self.lab.wait_ring(["n1", "n2"])
		self.say(f"ring without it {(boottime_ns() - before_ns) / 1e6:.0f} ms after")
		n3 = self.lab.node("n3")
		ring = labnet.wait(lambda: (r := n3.ring()) and r["members"] == [3] and r, 10,
			"n3 should be alone")
		self.assertFalse(ring["quorate"])
		self.assertFalse(self.pings("client", n3.service_ip))
		self.lab.heal()
		self.lab.wait_ring(["n1", "n2", "n3"])

	def test_carrier(self):
		n1 = self.lab.node("n1")
		carrier = n1.path("/sys/class/net/eth0/carrier")
		self.assertEqual(carrier.read_text(), "1\n")
		n1.carrier(False)
		self.assertEqual(carrier.read_text(), "0\n")
		self.assertTrue(self.pings("n1", "10.78.0.12"))
		n1.carrier(True)
		labnet.wait(lambda: self.pings("client", n1.service_ip), 10, "n1 should answer again")

	def test_stop_and_start(self):
		n3 = self.lab.node("n3")
		n3.stop()
		self.assertIsNone(n3.ring())
		self.lab.wait_ring(["n1", "n2"])
		n3.start()
		self.lab.wait_ring(["n1", "n2", "n3"])
		n3.signal_daemon("corosync", labnet.signal_number("KILL"))
		labnet.wait(lambda: n3.daemon_pid("corosync") is None, 10, "corosync should be dead")
		with self.assertRaisesRegex(LabError, "corosync does not run"):
			n3.signal_daemon("corosync", labnet.signal_number("TERM"))

	def interruption(self, address):
		"""Isolates n1 for half a second under a probe; the gap must be that, and not less."""
		probe = self.lab.probe_start(address)
		time.sleep(0.2)
		before_ns = self.lab.isolate("n1", "service")
		cut_ns = boottime_ns()
		time.sleep(0.5)
		heal_ns = self.lab.heal()
		healed_ns = boottime_ns()
		time.sleep(0.3)
		result = probe.stop()
		gap = result["longest_gap"]
		self.say(f"{address}: cut {(heal_ns - cut_ns) / 1e6:.1f} to {(healed_ns - before_ns) / 1e6:.1f}"
			f" ms, gap {gap['ms']:.1f} ms, {result['lost']} of {result['sent']} lost, "
			f"latest send {result['latest_send_ms']} ms")
		self.assertGreaterEqual(gap["ms"], (heal_ns - cut_ns) / 1e6)
		self.assertLess(gap["ms"], (healed_ns - before_ns) / 1e6 + 250)
		self.assertLessEqual(gap["start_boottime_ns"], cut_ns)
		self.assertGreaterEqual(gap["start_boottime_ns"], before_ns - 250_000_000)
		self.assertGreaterEqual(gap["end_boottime_ns"], heal_ns)
		self.assertFalse(gap["open"])
		self.assertGreaterEqual(result["sent"], 900)
		self.assertGreaterEqual(result["lost"], 300)
		self.assertEqual(result["sent"] - result["lost"], result["received"])
		self.assertEqual(result["duplicates"], 0)
		self.assertEqual(result["gaps_total"], len(result["gaps"]))
		self.assertIn(gap, result["gaps"])

	def test_probe_ipv4(self):
		self.interruption("10.77.0.11")

	def test_probe_ipv6(self):
		self.interruption("fd77::11")

	def test_probe_nobody(self):
		result = self.lab.probe_start("10.77.0.99", for_s=0.5).wait(30)
		self.assertEqual((result["sent"] + result["skipped"], result["received"]), (500, 0))
		self.assertTrue(result["longest_gap"]["open"])
		self.assertGreater(result["longest_gap_ms"], 490)

	def test_probe_http(self):
		n1 = self.lab.node("n1")
		n1.write("/var/www-test/page", "hello\n")
		n1.spawn("web", ["python3", "-m", "http.server", "--directory", "/var/www-test", "80"])
		self.addCleanup(n1.end_daemon, "web")
		n1_up = ["python3", "-c", "import socket; socket.create_connection(('127.0.0.1', 80))"]
		labnet.wait(lambda: n1.exec(n1_up).returncode == 0, 10, "the web server should listen")

		def probe(mode, path):
			result = self.lab.probe_start(n1.service_ip, mode, 20000, 1, path).wait(30)
			self.say(f"{mode} {path}: {result['received']} of {result['sent']}")
			return result["sent"], result["received"]

		self.assertEqual(probe("http", "/page"), (50, 50))
		self.assertEqual(probe("http", "/missing"), (50, 0))
		self.assertEqual(probe("tcp", "/"), (50, 50))
		n1.end_daemon("web")
		self.assertEqual(probe("tcp", "/"), (50, 0))

	def judged(self, address, *changes):
		"""The judge's verdict over these changes (node, "add" or "del"), 0.1 s after each."""
		prefix = f"{address}/{64 if ':' in address else 24}"
		judge = self.lab.judge_start([address])
		for name, verb in changes:
			self.lab.node(name).exec(["ip", "address", verb, prefix, "dev", "eth0",
				*(["nodad"] if ":" in address and verb == "add" else [])], check=True)
			time.sleep(0.1)
		return judge.stop()

	def test_judge(self):
		macs = [self.lab.node(name).mac for name in ("n1", "n2")]
		for address in ("10.77.0.90", "fd77::90"):
			moved = self.judged(address, ("n1", "add"), ("n1", "del"), ("n2", "add"), ("n2", "del"))
			verdict = moved["addresses"][address]
			self.assertEqual(verdict["two_holders_total"], 0)
			self.assertEqual(verdict["holders"], macs)
			self.assertGreaterEqual(verdict["answers"], 10)
			twice = self.judged(address, ("n1", "add"), ("n2", "add"), ("n1", "del"), ("n2", "del"))
			verdict = twice["addresses"][address]
			self.assertEqual(verdict["two_holders_total"], 1)
			self.assertEqual(sorted(verdict["two_holders"][0]["macs"]), macs)
			both = verdict["two_holders"][0]
			self.assertGreater(both["end_boottime_ns"] - both["start_boottime_ns"], 80_000_000)
			self.assertIn("two-holders", [record["kind"] for record in twice["records"]])

	def test_judge_announcement(self):
		"""Both ARP forms and an unsolicited advertisement, for addresses that nobody has."""
		n1 = self.lab.node("n1")
		mac = n1.mac.replace(":", "")
		v4, none, all_ones = "0a4d005b", "00" * 6, "ff" * 6
		v6, all_nodes = "fd77" + "00" * 13 + "91", "ff02" + "00" * 13 + "01"
		frames = [
			f"{all_ones}{mac}0806 0001080006040001{mac}{v4}{none}{v4}",
			f"{all_ones}{mac}0806 0001080006040002{mac}{v4}{mac}{v4}",
			f"333300000001{mac}86dd 6000000000203aff{v6}{all_nodes}880000002000 0000{v6}0201{mac}",
		]
		send = ("import socket, sys\nwire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)\n"
			"wire.bind(('eth0', 0))\nwire.send(bytes.fromhex(sys.argv[1]))")
		judge = self.lab.judge_start(["10.77.0.91", "fd77::91"])
		for frame in frames:
			n1.exec(["python3", "-c", send, frame], check=True)
		result = judge.stop()
		counts = {address: (v["announcements"], v["answers"])
			for address, v in result["addresses"].items()}
		self.assertEqual(counts, {"10.77.0.91": (2, 0), "fd77::91": (1, 0)})
		self.assertEqual({r["mac"] for r in result["records"]}, {n1.mac})

	def test_second_lab(self):
		other = Lab(self.temp / "other")
		self.addCleanup(other.down)
		other.up(2, clusterd=False)
		self.assertEqual(other.node("n1").ring()["members"], [1, 2])
		other.down()
		self.lab.wait_ring(["n1", "n2", "n3"], 1)

	def test_command(self):
		"""The command finds the lab and speaks in words."""
		def lab(*argv):
			command = [str(pathlib.Path(__file__).resolve().parent / "lab"), *argv]
			environment = {**os.environ, "CLUSTERD_LAB_DIR": str(self.lab.dir)}
			done = subprocess.run(command, capture_output=True, text=True, env=environment,
				timeout=60)
			return done.returncode, done.stdout + done.stderr

		self.assertEqual(lab("exec", "n2", "hostname"), (0, "n2\n"))
		self.assertEqual(lab("exec", "n2", "false"), (1, ""))
		self.assertRegex(lab("status")[1], r"(?m)^n3 +on +runs +\S+ +yes")
		self.assertEqual(lab("cut", "n1", "n2", "--oneway"), (0, ""))
		self.assertIn("cut: n1 -> n2 (cluster)", lab("status")[1])
		self.assertEqual(lab("heal"), (0, ""))
		self.assertRegex(lab("probe", "fd77::11", "--for", "0.2")[1], "200 answered, 0 lost")
		self.assertIn("Members[3]: 1 2 3", lab("log", "n1", "corosync")[1])
		self.assertEqual(lab("power-off", "n9"), (1,
			"lab: n9: no such machine; there are switch, client, judge, n1, n2, n3\n"))
		self.assertRegex(lab("up", "3")[1], "a lab is up there")


class Alone(Base):
	def test_down_leaves_nothing(self):
		temp = pathlib.Path(tempfile.mkdtemp(prefix="clusterd-lab-test."))
		self.addCleanup(shutil.rmtree, temp)
		lab = Lab(temp / "lab")
		self.addCleanup(lab.down)
		lab.up(2, clusterd=False)
		links = own_links()
		self.assertFalse([link for link in links if re.match(r"[sc]-n\d|service|cluster$", link)])
		spaces = set()
		for machine in lab.machines():
			spaces |= namespaces(machine.init_pid())
		lab.node("n1").spawn("sleeper", ["sleep", "1000"])
		shell = lab.node("n1").popen(["sleep", "1000"])
		self.assertGreaterEqual(len(processes_in(spaces)), 9)
		started = time.monotonic()
		lab.down()
		self.say(f"down took {time.monotonic() - started:.2f} s")
		shell.wait(10)
		self.assertEqual(processes_in(spaces), [])
		self.assertEqual(list(temp.iterdir()), [])
		# Nothing mounted from the folder, no namespace kept alive by a bind mount.
		mounts = pathlib.Path("/proc/self/mountinfo").read_text()
		self.assertNotIn(str(temp), mounts)
		self.assertFalse([space for space in spaces if space in mounts])
		tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True).stdout
		self.assertNotIn("bridge lab", tables)

	def test_failed_up_leaves_nothing(self):
		temp = pathlib.Path(tempfile.mkdtemp(prefix="clusterd-lab-test."))
		self.addCleanup(shutil.rmtree, temp)
		with self.assertRaisesRegex(LabError, "(?s)corosync does not run on n1.*Invalid cipher"):
			Lab(temp / "lab").up(1, clusterd=False, totem={"crypto_cipher": "nonsense"})
		self.assertEqual(list(temp.iterdir()), [])

	def test_foreign_folder_is_kept(self):
		temp = pathlib.Path(tempfile.mkdtemp(prefix="clusterd-lab-test."))
		self.addCleanup(shutil.rmtree, temp)
		(temp / "precious").touch()
		with self.assertRaisesRegex(LabError, "exists"):
			Lab(temp).up(1, clusterd=False)
		with self.assertRaisesRegex(LabError, "not a lab's folder"):
			Lab(temp).down()
		self.assertTrue((temp / "precious").exists())


def main():
	if os.geteuid() != 0:
		print("SKIP: the lab makes namespaces and needs root")
		return SKIP
	if not shutil.which("corosync", path=os.environ.get("PATH", "") + ":/usr/sbin"):
		print("SKIP: corosync is not installed (package corosync)")
		return SKIP
	return 0 if unittest.main(verbosity=2, exit=False).result.wasSuccessful() else 1


if __name__ == "__main__":
	sys.exit(main())
