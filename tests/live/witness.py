# SPDX-License-Identifier: GPL-2.0-or-later
"""The witness: which node's kernel has which address, in the one order in which it happened.

One netlink socket in the switch hears all nodes (NETLINK_LISTEN_ALL_NSID). The kernel changes
addresses under one lock and queues each change here before it lets go of it, so two nodes that have
an address at one time are seen, however short it was, and none is invented. (An IPv6 address
without duplicate detection is told a moment after it was added: there a very short one may be
missed.) Times are those of the reading. A machine that is off has nothing: power_off says so. Used by livelib.py.
"""

import ctypes
import dataclasses
import os
import select
import socket
import struct
import threading

from labproc import LabError, boottime_ns

SOL_NETLINK = 270
NETLINK_LISTEN_ALL_NSID = 8
SO_RCVBUFFORCE = 33
GROUPS = 0x10 | 0x100  # RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR
RTM_NEWADDR, RTM_DELADDR, RTM_GETNSID = 20, 21, 90
IFA_ADDRESS, IFA_LOCAL = 1, 2
NETNSA_NSID, NETNSA_PID = 1, 2
NLM_F_REQUEST = 1
CLONE_NEWNET = 0x40000000

HEADER = struct.Struct("=IHHII")


@dataclasses.dataclass
class Change:
	time_ns: int
	node: str
	address: str
	is_added: bool


@dataclasses.dataclass
class Overlap:
	address: str
	nodes: tuple
	start_ns: int
	end_ns: int = 0  # 0: not over

	def ms(self):
		return ((self.end_ns or boottime_ns()) - self.start_ns) / 1e6

	def __str__(self):
		return f"{self.address} on {' and '.join(self.nodes)} for {self.ms():.1f} ms" \
			+ ("" if self.end_ns else ", not over")


def socket_in(pid):
	"""A netlink socket in the network namespace of pid; threads have namespaces of their own."""
	made = []

	def make():
		try:
			with open(f"/proc/{pid}/ns/net") as file:
				libc = ctypes.CDLL(None, use_errno=True)
				if libc.setns(file.fileno(), CLONE_NEWNET) < 0:
					raise OSError(ctypes.get_errno(), "setns")
			made.append(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE))
		except OSError as error:
			made.append(error)

	thread = threading.Thread(target=make)
	thread.start()
	thread.join()
	if isinstance(made[0], OSError):
		raise made[0]
	return made[0]


def attributes(data):
	while len(data) >= 4:
		length, kind = struct.unpack_from("=HH", data)
		if length < 4:
			return
		yield kind, data[4:length]
		data = data[(length + 3) & ~3:]


class Witness:
	def __init__(self, lab):
		self.lab = lab
		self.lock = threading.RLock()
		self.nodes = {}  # by nsid
		self.held = {}  # address: set of nodes' names
		self.changes = []
		self.overlaps = []
		self.failure = None
		pid = lab.switch.init_pid()
		self.asker = socket_in(pid)
		self.sock = socket_in(pid)
		self.sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
		self.sock.setsockopt(SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, 1)
		self.sock.bind((0, GROUPS))
		self.stopper = os.eventfd(0)
		self.thread = threading.Thread(target=self._run, daemon=True)
		self.thread.start()

	def close(self):
		os.eventfd_write(self.stopper, 1)
		self.thread.join()
		self.sock.close()
		self.asker.close()
		os.close(self.stopper)

	def _run(self):
		while True:
			ready = select.select([self.sock, self.stopper], [], [])[0]
			if self.stopper in ready:
				return
			try:
				self._drain()
			except OSError as error:  # ENOBUFS: the truth has a hole
				self.failure = error
				return

	def _drain(self):
		with self.lock:
			while True:
				try:
					data, ancillary, _, _ = self.sock.recvmsg(65536, 64, socket.MSG_DONTWAIT)
				except BlockingIOError:
					return
				nsid = next((struct.unpack("=i", value)[0] for level, kind, value in ancillary
					if (level, kind) == (SOL_NETLINK, NETLINK_LISTEN_ALL_NSID)), None)
				if nsid is not None:  # None: the switch itself
					self._messages(nsid, data)

	def _messages(self, nsid, data):
		while len(data) >= HEADER.size:
			length, kind, _, _, _ = HEADER.unpack_from(data)
			if length < HEADER.size:
				return
			if kind in (RTM_NEWADDR, RTM_DELADDR):
				self._address(nsid, kind == RTM_NEWADDR, data[HEADER.size:length])
			data = data[(length + 3) & ~3:]

	def _address(self, nsid, is_added, body):
		found = dict(attributes(body[8:]))
		raw = found.get(IFA_LOCAL) or found.get(IFA_ADDRESS)
		node = self._node(nsid)
		if raw is None or node is None:
			return
		address = socket.inet_ntop(body[0], raw)
		self.changes.append(Change(boottime_ns(), node, address, is_added))
		self._set(node, address, is_added)

	def _set(self, node, address, is_added):
		held = self.held.setdefault(address, set())
		before = len(held)
		(held.add if is_added else held.discard)(node)
		if len(held) > 1 and len(held) != before:
			self.overlaps.append(Overlap(address, tuple(sorted(held)), boottime_ns()))
		elif before > 1 and len(held) <= 1:
			for overlap in self.overlaps:
				if overlap.address == address and not overlap.end_ns:
					overlap.end_ns = boottime_ns()

	def _node(self, nsid):
		if nsid not in self.nodes:
			for node in self.lab.nodes:
				if node.name in self.nodes.values() or node.init_pid() is None:
					continue
				if self._nsid_of(node.init_pid()) == nsid:
					self.nodes[nsid] = node.name
		return self.nodes.get(nsid)

	def _nsid_of(self, pid):
		body = struct.pack("=B3xHHI", socket.AF_UNSPEC, 8, NETNSA_PID, pid)
		self.asker.send(HEADER.pack(HEADER.size + len(body), RTM_GETNSID, NLM_F_REQUEST, 1, 0) + body)
		data = self.asker.recv(65536)
		kind = HEADER.unpack_from(data)[1]
		if kind == 2:  # NLMSG_ERROR: it has just died
			return None
		return next((struct.unpack("=i", value)[0]
			for key, value in attributes(data[HEADER.size + 4:]) if key == NETNSA_NSID), None)

	# What the tests ask

	def power_off(self, node):
		"""Call when the node's power is cut: it holds nothing more, and comes back as another
		namespace."""
		with self.lock:
			self._drain()
			for address, held in self.held.items():
				if node in held:
					self._set(node, address, False)
			self.nodes = {nsid: name for nsid, name in self.nodes.items() if name != node}

	def holders(self, address):
		with self.lock:
			if self.failure:
				raise LabError(f"the witness heard not all: {self.failure}")
			self._drain()
			return sorted(self.held.get(address, ()))

	def mark(self):
		with self.lock:
			self._drain()
			return len(self.changes)

	def since(self, mark, node=None, address=None):
		with self.lock:
			self._drain()
			return [change for change in self.changes[mark:]
				if node in (None, change.node) and address in (None, change.address)]
