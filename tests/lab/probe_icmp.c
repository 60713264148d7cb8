/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Echo requests over a raw socket, IPv4 and IPv6.
 *
 * The payload carries the run's magic and the probe's full number, so neither another ping nor the
 * 16-bit sequence field can confuse the count. Arrival is the kernel's time stamp: a reply counts
 * when it came, not when this process got to run. Called by probe.c.
 */
#include "tests/lab/probe.h"

#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#define BUFFER_BYTES (1 << 20)

struct echo {
	uint8_t type, code;
	uint16_t checksum; /* filled in by the kernel for IPv6 */
	uint16_t id, sequence;
	uint64_t magic, number;
	int64_t sent_ns;
} __attribute__((packed));

struct icmp_state {
	int fd;
	bool is_ipv6;
	uint64_t magic;
};

static uint16_t checksum(const void *data, size_t len)
{
	const uint8_t *bytes = data;
	uint32_t sum = 0;

	for (size_t i = 0; i + 1 < len; i += 2)
		sum += (uint32_t)bytes[i] << 8 | bytes[i + 1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

static int filter(int fd, bool is_ipv6)
{
	if (is_ipv6) {
		struct icmp6_filter only;

		ICMP6_FILTER_SETBLOCKALL(&only);
		ICMP6_FILTER_SETPASS(ICMP6_ECHO_REPLY, &only);
		return setsockopt(fd, IPPROTO_ICMPV6, ICMP6_FILTER, &only, sizeof(only));
	}
	/* The kernel's ICMP_FILTER (1): a set bit blocks the type. */
	uint32_t blocked = ~(1u << ICMP_ECHOREPLY);

	return setsockopt(fd, SOL_RAW, 1, &blocked, sizeof(blocked));
}

static int icmp_open(struct probe *probe)
{
	const struct probe_options *options = &probe->options;
	struct icmp_state *state = calloc(1, sizeof(*state));
	int size = BUFFER_BYTES, on = 1, rc;

	if (!state)
		return -ENOMEM;
	probe->state = state;
	state->is_ipv6 = options->address.ss_family == AF_INET6;
	state->fd = socket(options->address.ss_family, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC,
		state->is_ipv6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
	if (state->fd < 0)
		return -errno;
	if (getrandom(&state->magic, sizeof(state->magic), 0) != sizeof(state->magic))
		return -EIO;
	if (filter(state->fd, state->is_ipv6) < 0 ||
		setsockopt(state->fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)) < 0 ||
		setsockopt(state->fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)) < 0 ||
		setsockopt(state->fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on)) < 0)
		return -errno;
	rc = connect(state->fd, (const struct sockaddr *)&options->address, options->address_len);
	if (rc < 0)
		return -errno;
	return probe_watch(probe, state->fd, EPOLLIN, 0);
}

static void icmp_send(struct probe *probe, uint64_t number, int64_t now_ns)
{
	const struct icmp_state *state = probe->state;
	struct echo echo = {
		.type = state->is_ipv6 ? ICMP6_ECHO_REQUEST : ICMP_ECHO,
		.id = (uint16_t)state->magic,
		.sequence = htons((uint16_t)number),
		.magic = state->magic,
		.number = number,
		.sent_ns = now_ns,
	};

	if (!state->is_ipv6)
		echo.checksum = checksum(&echo, sizeof(echo));
	if (send(state->fd, &echo, sizeof(echo), 0) < 0)
		probe_send_failed(probe, errno);
}

/* The kernel's time stamp, or now where it has none. */
static int64_t arrival_ns(struct msghdr *msg)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		struct timespec stamp;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_TIMESTAMPNS)
			continue;
		memcpy(&stamp, CMSG_DATA(c), sizeof(stamp));
		return stamp.tv_sec * 1000000000 + stamp.tv_nsec - probe_realtime_offset_ns();
	}
	return probe_now_ns();
}

static bool parse(const struct icmp_state *state, const uint8_t *data, size_t len, struct echo *ret)
{
	size_t skip = 0;

	if (!state->is_ipv6) {
		if (len < sizeof(struct iphdr))
			return false;
		skip = (size_t)(data[0] & 0x0f) * 4;
	}
	if (len < skip + sizeof(*ret))
		return false;
	memcpy(ret, data + skip, sizeof(*ret));
	return ret->magic == state->magic;
}

static void icmp_ready(struct probe *probe, uint64_t tag, uint32_t events)
{
	const struct icmp_state *state = probe->state;

	(void)tag;
	(void)events;
	for (;;) {
		uint8_t data[512], control[256];
		struct iovec iov = {data, sizeof(data)};
		struct msghdr msg = {.msg_iov = &iov,
			.msg_iovlen = 1,
			.msg_control = control,
			.msg_controllen = sizeof(control)};
		ssize_t len = recvmsg(state->fd, &msg, 0);
		struct echo echo;

		if (len < 0 && errno != EAGAIN) {
			probe_send_failed(probe, errno); /* an unreachable that came back */
			return;
		}
		if (len < 0)
			return;
		if (parse(state, data, (size_t)len, &echo))
			probe_reply(probe, echo.number, echo.sent_ns, arrival_ns(&msg));
	}
}

static void icmp_close(struct probe *probe)
{
	struct icmp_state *state = probe->state;

	if (state && state->fd >= 0)
		close(state->fd);
	free(state);
}

const struct probe_kind probe_icmp = {
	.name = "icmp",
	.open = icmp_open,
	.send = icmp_send,
	.ready = icmp_ready,
	.close = icmp_close,
};
