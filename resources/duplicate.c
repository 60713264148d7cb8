/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Packet sockets that hear foreign claims to an address. Called by vip_engine.c.
 *
 * Invariant: a socket is filtered before it is bound, so it never holds anything but claims. A
 * flood costs a bounded share of the loop: after a full turn the socket rests for a while.
 *
 * To close a bound packet socket costs some ten milliseconds (the kernel waits until no processor
 * can be using it), and that just when an address is let go. So one that nobody needs is kept,
 * deaf.
 */
#include "resources/duplicate.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/ethernet.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>
#include <linux/filter.h>
#include <linux/if_packet.h>

#include "clusterd/loop.h"

#define DUPLICATES_FRAMES_PER_TURN 64
#define DUPLICATES_DEAF_MAX 16 /* listeners kept without users */
#define DUPLICATES_REST_NS (1000000000LL * DUPLICATES_FRAMES_PER_TURN / DUPLICATES_FRAMES_PER_S)

/* Offsets from the network header. */
#define ARP_SHA 8
#define ARP_SPA 14
#define ARP_LEN 28
#define NA_NEXT_HEADER 6
#define NA_HOP_LIMIT 7
#define NA_TYPE 40
#define NA_TARGET 48
#define NA_LEN 64

struct listener {
	LIST_ENTRY(listener) link;
	struct duplicates *duplicates;
	struct loop_timer *rest;
	int ifindex, fd;
	uint8_t family;
	unsigned users;
};

struct duplicates {
	struct loop *loop;
	duplicate_fn fn;
	void *ctx;
	LIST_HEAD(, listener) listeners;
};

#define LOAD_PKTTYPE BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(SKF_AD_OFF + SKF_AD_PKTTYPE))
#define LOAD(size, offset) BPF_STMT(BPF_LD | (size) | BPF_ABS, (offset))
#define IF_EQUAL(value, yes, no) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), (yes), (no))
#define RETURN(value) BPF_STMT(BPF_RET | BPF_K, (value))

/* What we send ourselves and probes (sender 0.0.0.0, RFC 5227) claim nothing. */
static const struct sock_filter arp_filter[] = {
	LOAD_PKTTYPE,
	IF_EQUAL(PACKET_OUTGOING, 3, 0),
	LOAD(BPF_W, ARP_SPA),
	IF_EQUAL(0, 1, 0),
	RETURN(ARP_LEN),
	RETURN(0),
};

/* Neighbour Advertisements that no router has forwarded (RFC 4861 section 7.1.2). */
static const struct sock_filter na_filter[] = {
	LOAD_PKTTYPE,
	IF_EQUAL(PACKET_OUTGOING, 7, 0),
	LOAD(BPF_B, NA_NEXT_HEADER),
	IF_EQUAL(IPPROTO_ICMPV6, 0, 5),
	LOAD(BPF_B, NA_TYPE),
	IF_EQUAL(136, 0, 3),
	LOAD(BPF_B, NA_HOP_LIMIT),
	IF_EQUAL(255, 0, 1),
	RETURN(NA_LEN),
	RETURN(0),
};

static const struct sock_filter deaf_filter[] = {
	RETURN(0),
};

/* The programs are the kernel's to read; its header lacks the const. */
static int filter_set(int fd, const struct sock_filter *filter, size_t n)
{
	struct sock_fprog program = {(unsigned short)n, (struct sock_filter *)(uintptr_t)filter};

	if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) < 0)
		return -errno;
	return 0;
}

static int filter_deaf(int fd)
{
	return filter_set(fd, deaf_filter, sizeof(deaf_filter) / sizeof(deaf_filter[0]));
}

static int filter_claims(int fd, uint8_t family)
{
	if (family == AF_INET)
		return filter_set(fd, arp_filter, sizeof(arp_filter) / sizeof(arp_filter[0]));
	return filter_set(fd, na_filter, sizeof(na_filter) / sizeof(na_filter[0]));
}

static void heard(
	struct listener *listener, const uint8_t *frame, size_t len, const struct sockaddr_ll *from)
{
	struct duplicates *duplicates = listener->duplicates;
	struct ip_address address = {.family = listener->family};

	if (listener->family == AF_INET && len >= ARP_LEN) {
		memcpy(address.bytes, frame + ARP_SPA, 4);
		duplicates->fn(duplicates->ctx, &address, frame + ARP_SHA, listener->ifindex);
	} else if (listener->family == AF_INET6 && len >= NA_LEN && from->sll_halen == ETH_ALEN) {
		memcpy(address.bytes, frame + NA_TARGET, 16);
		duplicates->fn(duplicates->ctx, &address, from->sll_addr, listener->ifindex);
	}
}

static void on_rested(void *ctx)
{
	struct listener *listener = ctx;

	(void)loop_fd_mod(listener->duplicates->loop, listener->fd, POLLIN);
}

static void on_frames(void *ctx, int fd, int revents)
{
	struct listener *listener = ctx;
	struct loop *loop = listener->duplicates->loop;

	(void)revents;
	/* The listener stays while it reads: fn only notes. */
	for (int i = 0; i < DUPLICATES_FRAMES_PER_TURN; i++) {
		uint8_t frame[NA_LEN];
		struct sockaddr_ll from;
		socklen_t from_len = sizeof(from);
		ssize_t len = recvfrom(fd, frame, sizeof(frame), MSG_DONTWAIT,
			(struct sockaddr *)&from, &from_len);

		if (len < 0)
			return; /* nothing left, or the link went down: netlink tells that */
		heard(listener, frame, (size_t)len, &from);
	}
	if (loop_fd_mod(loop, fd, 0) == 0 &&
		loop_timer_add(loop, DUPLICATES_REST_NS, on_rested, listener, "duplicate: rest",
			&listener->rest) < 0)
		(void)loop_fd_mod(loop, fd, POLLIN);
}

static int listener_socket(int ifindex, uint8_t family)
{
	struct sockaddr_ll address = {.sll_family = AF_PACKET,
		.sll_protocol = htons(family == AF_INET ? ETHERTYPE_ARP : ETHERTYPE_IPV6),
		.sll_ifindex = ifindex};
	int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int rc;

	if (fd < 0)
		return -errno;
	rc = filter_claims(fd, family);
	if (rc == 0 && bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		rc = -errno;
	if (rc < 0) {
		close(fd);
		return rc;
	}
	return fd;
}

static struct listener *listener_find(struct duplicates *duplicates, int ifindex, uint8_t family)
{
	struct listener *listener;

	LIST_FOREACH(listener, &duplicates->listeners, link)
	if (listener->ifindex == ifindex && listener->family == family)
		return listener;
	return NULL;
}

static void listener_free(struct listener *listener)
{
	struct loop *loop = listener->duplicates->loop;

	LIST_REMOVE(listener, link);
	loop_timer_del(loop, &listener->rest);
	loop_fd_del(loop, listener->fd);
	close(listener->fd);
	free(listener);
}

/* Not for ever: the link may have gone, and another have got its number. */
static bool listener_is_bound(const struct listener *listener)
{
	struct sockaddr_ll address;
	socklen_t len = sizeof(address);

	return getsockname(listener->fd, (struct sockaddr *)&address, &len) == 0 &&
	       address.sll_ifindex == listener->ifindex;
}

int duplicates_watch(struct duplicates *duplicates, int ifindex, uint8_t family)
{
	struct listener *listener = listener_find(duplicates, ifindex, family);
	int rc;

	if (listener && listener->users == 0 && !listener_is_bound(listener)) {
		listener_free(listener);
		listener = NULL;
	}
	if (listener) {
		rc = listener->users == 0 ? filter_claims(listener->fd, family) : 0;
		if (rc == 0)
			listener->users++;
		return rc;
	}
	listener = calloc(1, sizeof(*listener));
	if (!listener)
		return -ENOMEM;
	*listener = (struct listener){
		.duplicates = duplicates, .ifindex = ifindex, .family = family, .users = 1};
	listener->fd = listener_socket(ifindex, family);
	if (listener->fd < 0) {
		rc = listener->fd;
		free(listener);
		return rc;
	}
	rc = loop_fd_add(
		duplicates->loop, listener->fd, POLLIN, on_frames, listener, "duplicate: frames");
	if (rc < 0) {
		close(listener->fd);
		free(listener);
		return rc;
	}
	LIST_INSERT_HEAD(&duplicates->listeners, listener, link);
	return 0;
}

void duplicates_unwatch(struct duplicates *duplicates, int ifindex, uint8_t family)
{
	struct listener *listener = listener_find(duplicates, ifindex, family), *other;
	unsigned n_deaf = 0;

	if (!listener || --listener->users > 0)
		return;
	LIST_FOREACH(other, &duplicates->listeners, link)
	n_deaf += other->users == 0;
	if (n_deaf > DUPLICATES_DEAF_MAX || filter_deaf(listener->fd) < 0)
		listener_free(listener);
}

int duplicates_new(
	struct loop *loop, duplicate_fn fn, void *ctx, struct duplicates **ret_duplicates)
{
	struct duplicates *duplicates = calloc(1, sizeof(*duplicates));

	if (!duplicates)
		return -ENOMEM;
	*duplicates = (struct duplicates){.loop = loop, .fn = fn, .ctx = ctx};
	LIST_INIT(&duplicates->listeners);
	*ret_duplicates = duplicates;
	return 0;
}

void duplicates_free(struct duplicates *duplicates)
{
	if (!duplicates)
		return;
	while (!LIST_EMPTY(&duplicates->listeners))
		listener_free(LIST_FIRST(&duplicates->listeners));
	free(duplicates);
}
