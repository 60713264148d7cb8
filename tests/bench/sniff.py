#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Hears gratuitous ARP on eth0 and tells when each address was first announced.

sniff.py MAC PREFIX N: run in the lab's judge by addresses.py; MAC is the machine that held the
addresses before, and is not listened to. Stamps are the kernel's. When N addresses that begin with
PREFIX were announced, or on SIGTERM, it prints one line of JSON: first (address -> CLOCK_REALTIME in
ns) and dropped (frames the socket had no room for, which would make the rest worthless).
"""

import json
import select
import signal
import socket
import struct
import sys

ETH_P_ARP = 0x0806
SOL_PACKET, PACKET_STATISTICS = 263, 6
SO_RCVBUFFORCE, SO_TIMESTAMPNS = 33, 35
BUFFER = 64 << 20


def take(sock, ignored, prefix, first):
	frame, control, _, _ = sock.recvmsg(128, 128)
	spa, tpa = frame[28:32], frame[38:42]
	if spa != tpa or frame[22:28] == ignored:
		return
	address = socket.inet_ntoa(spa)
	if not address.startswith(prefix):
		return
	for level, kind, data in control:
		if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
			seconds, nanoseconds = struct.unpack("qq", data[:16])
			first.setdefault(address, seconds * 1000000000 + nanoseconds)


def main():
	ignored = bytes.fromhex(sys.argv[1].replace(":", ""))
	prefix, wanted = sys.argv[2], int(sys.argv[3])
	sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ARP))
	sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
	sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
	sock.bind(("eth0", ETH_P_ARP))
	sock.setblocking(False)
	wake, waker = socket.socketpair()
	waker.setblocking(False)
	signal.set_wakeup_fd(waker.fileno())
	signal.signal(signal.SIGTERM, lambda *_: None)
	first = {}
	print("started", flush=True)
	is_over = False
	while len(first) < wanted:
		ready, _, _ = select.select([sock, wake], [], [], 0 if is_over else None)
		is_over = is_over or wake in ready
		if sock in ready:
			take(sock, ignored, prefix, first)
		elif is_over:
			break
	_, dropped = struct.unpack("II", sock.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
	print(json.dumps({"first": first, "dropped": dropped}))


if __name__ == "__main__":
	main()
