/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * rtnetlink for the vip type: one socket for requests, one for events, both non-blocking.
 *
 * Invariant: what was told through address() is the kernel's state up to the last event read; after
 * lost events (ENOBUFS) or an invalidate nothing is told as settled before the whole list was read
 * again. Events can be older than what a request has already changed, so only the state with no
 * event left is judged. Called by vip_engine.c.
 */
#include "resources/netlink.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>

#include "clusterd/loop.h"
#include "resources/links.h"
#include "resources/netlink_message.h"

#define NETLINK_RECEIVE_SIZE 65536 /* bytes; a dump fills 32 KiB of it */
#define NETLINK_EVENTS_PER_TURN 512
#define NETLINK_EVENTS_PER_SYNC 4096
#define NETLINK_BUSY_TURNS_MAX 16  /* with events still left: then read everything instead */
#define NETLINK_DUMP_TRIES 3       /* a dump that a change interrupted is not consistent */
#define NETLINK_RETRY_NS 100000000 /* after a dump that failed */

struct netlink {
	struct loop *loop;
	const struct netlink_ops *ops;
	void *ctx;
	struct nl_sock *request, *events;
	struct links links;
	struct loop_timer *settle;
	uint32_t seq;
	unsigned busy_turns;
	uint64_t rereads;
	bool addresses_stale, links_stale, subnets_stale;
	bool lost;                           /* events; all has to be read again */
	bool unsettled;                      /* something was read and not yet told by settled() */
	bool links_changed, subnets_changed; /* since the last settled() */
	_Alignas(struct nlmsghdr) char buffer[NETLINK_RECEIVE_SIZE];
};

static void netlink_settle(void *ctx);

static void settle_soon(struct netlink *netlink, int64_t delay_ns)
{
	/* Without memory for a timer the next event settles. */
	if (!netlink->settle)
		(void)loop_timer_add(netlink->loop, delay_ns, netlink_settle, netlink,
			"netlink: settle", &netlink->settle);
}

static void link_remove(struct netlink *netlink, int ifindex)
{
	if (!links_remove(&netlink->links, ifindex))
		return;
	netlink->links_changed = true;
	netlink->subnets_changed = true;
	netlink->ops->link_gone(netlink->ctx, ifindex);
}

static void link_message(struct netlink *netlink, struct nlmsghdr *msg)
{
	const struct ifinfomsg *info = nlmsg_data(msg);
	struct netlink_link link;
	bool changed = false;

	if (!nlmsg_valid_hdr(msg, sizeof(*info)))
		return;
	/* Bridges tell of their ports here too: a "deleted" one has only left its bridge. */
	if (info->ifi_family != AF_UNSPEC)
		return;
	if (msg->nlmsg_type == RTM_DELLINK) {
		link_remove(netlink, info->ifi_index);
		return;
	}
	if (netlink_parse_link(msg, &link) < 0)
		return;
	if (links_update(&netlink->links, &link, &changed) < 0)
		netlink->links_stale = true;
	netlink->links_changed |= changed;
}

static void address_message(struct netlink *netlink, struct nlmsghdr *msg)
{
	bool present = msg->nlmsg_type == RTM_NEWADDR, is_primary;
	struct ip_address address;
	int ifindex;

	if (netlink_parse_address(msg, &address, &ifindex, &is_primary) < 0)
		return;
	if (netlink->ops->address(netlink->ctx, &address, ifindex, is_primary, present))
		return;
	if (present)
		netlink->subnets_changed |= links_subnet_add(&netlink->links, ifindex, &address);
	else if (links_subnet_is_known(&netlink->links, ifindex, &address))
		netlink->subnets_stale = netlink->subnets_changed = true;
}

static void one_message(struct netlink *netlink, struct nlmsghdr *msg)
{
	netlink->unsettled = true;
	switch (msg->nlmsg_type) {
	case RTM_NEWLINK:
	case RTM_DELLINK: link_message(netlink, msg); break;
	case RTM_NEWADDR:
	case RTM_DELADDR: address_message(netlink, msg); break;
	default: break;
	}
}

/* Bytes in the buffer, or -errno; -EAGAIN: nothing there. */
static int receive(struct netlink *netlink, struct nl_sock *sock)
{
	ssize_t len = recv(nl_socket_get_fd(sock), netlink->buffer, sizeof(netlink->buffer),
		MSG_DONTWAIT | MSG_TRUNC);

	if (len < 0)
		return errno == EINTR ? -EAGAIN : -errno;
	return (size_t)len > sizeof(netlink->buffer) ? -EMSGSIZE : (int)len;
}

/* Reads a dump to its end, also one that has to be thrown away: the kernel does not begin another
 * before that. -EINTR: something changed meanwhile. */
static int dump_receive(struct netlink *netlink)
{
	bool interrupted = false;

	for (;;) {
		int left = receive(netlink, netlink->request);

		if (left < 0)
			return left;
		for (struct nlmsghdr *msg = (struct nlmsghdr *)netlink->buffer; nlmsg_ok(msg, left);
			msg = nlmsg_next(msg, &left)) {
			if (msg->nlmsg_seq != netlink->seq)
				continue;
			interrupted |= (msg->nlmsg_flags & NLM_F_DUMP_INTR) != 0;
			if (msg->nlmsg_type == NLMSG_DONE)
				return interrupted ? -EINTR : 0;
			if (msg->nlmsg_type == NLMSG_ERROR) {
				const struct nlmsgerr *err = nlmsg_data(msg);

				return err->error < 0 ? err->error : -EPROTO;
			}
			one_message(netlink, msg);
		}
	}
}

static int dump(struct netlink *netlink, uint16_t type)
{
	struct nl_msg *msg = netlink_build_dump(type);
	int rc;

	if (!msg)
		return -ENOMEM;
	nlmsg_hdr(msg)->nlmsg_seq = ++netlink->seq;
	rc = send(nl_socket_get_fd(netlink->request), nlmsg_hdr(msg), nlmsg_hdr(msg)->nlmsg_len,
		     MSG_DONTWAIT) < 0
		     ? -errno
		     : dump_receive(netlink);
	nlmsg_free(msg);
	return rc;
}

static int read_links(struct netlink *netlink)
{
	int rc;

	for (size_t i = 0; i < netlink->links.n_links; i++)
		netlink->links.links[i].seen = false;
	netlink->links_stale = false;
	rc = dump(netlink, RTM_GETLINK);
	if (rc < 0)
		return rc;
	for (size_t i = netlink->links.n_links; i-- > 0;)
		if (!netlink->links.links[i].seen)
			link_remove(netlink, netlink->links.links[i].index);
	return netlink->links_stale ? -ENOMEM : 0;
}

static int read_addresses(struct netlink *netlink)
{
	netlink->links.n_subnets = 0;
	netlink->subnets_changed = netlink->unsettled = true;
	netlink->ops->reset(netlink->ctx);
	return dump(netlink, RTM_GETADDR);
}

/* Reads again what is not known any more. -errno: still not known. */
static int refresh(struct netlink *netlink)
{
	int rc = 0;

	if (netlink->links_stale) {
		for (int i = 0; i < NETLINK_DUMP_TRIES; i++) {
			rc = read_links(netlink);
			if (rc != -EINTR)
				break;
		}
		netlink->links_stale = rc < 0;
	}
	if (rc == 0 && netlink->addresses_stale) {
		for (int i = 0; i < NETLINK_DUMP_TRIES; i++) {
			rc = read_addresses(netlink);
			if (rc != -EINTR)
				break;
		}
		netlink->addresses_stale = netlink->subnets_stale = rc < 0;
	}
	if (rc == 0 && netlink->lost) {
		netlink->lost = false;
		netlink->rereads++;
	}
	return rc;
}

static void events_lost(struct netlink *netlink)
{
	netlink->lost = netlink->links_stale = netlink->addresses_stale = true;
}

/* True: nothing is left. */
static bool drain(struct netlink *netlink, int max)
{
	for (int i = 0; i < max; i++) {
		int left = receive(netlink, netlink->events);

		if (left == -EAGAIN)
			return true;
		if (left < 0) {
			events_lost(netlink);
			continue;
		}
		for (struct nlmsghdr *msg = (struct nlmsghdr *)netlink->buffer; nlmsg_ok(msg, left);
			msg = nlmsg_next(msg, &left))
			one_message(netlink, msg);
	}
	return false;
}

static void netlink_settle(void *ctx)
{
	struct netlink *netlink = ctx;
	bool links_changed, subnets_changed;

	if (netlink_sync(netlink) < 0) {
		settle_soon(netlink, NETLINK_RETRY_NS);
		return;
	}
	loop_timer_del(netlink->loop, &netlink->settle);
	links_changed = netlink->links_changed;
	subnets_changed = netlink->subnets_changed;
	netlink->links_changed = netlink->subnets_changed = netlink->unsettled = false;
	netlink->ops->settled(netlink->ctx, links_changed, subnets_changed);
	for (size_t i = 0; links_changed && i < netlink->links.n_links; i++)
		netlink->links.links[i].mac_changed = false;
}

static void on_events(void *ctx, int fd, int revents)
{
	struct netlink *netlink = ctx;

	(void)fd;
	(void)revents;
	if (!drain(netlink, NETLINK_EVENTS_PER_TURN)) {
		if (++netlink->busy_turns < NETLINK_BUSY_TURNS_MAX)
			return;
		/* They come faster than they can be read: what is true now is quicker to ask. */
		events_lost(netlink);
	}
	netlink->busy_turns = 0;
	netlink_settle(netlink);
}

int netlink_sync(struct netlink *netlink)
{
	int rc;

	if (!drain(netlink, NETLINK_EVENTS_PER_SYNC))
		events_lost(netlink);
	rc = refresh(netlink);
	/* The socket will not wake us for what was read here. */
	if (netlink->unsettled || rc < 0)
		settle_soon(netlink, rc < 0 ? NETLINK_RETRY_NS : 0);
	return rc;
}

void netlink_invalidate(struct netlink *netlink)
{
	netlink->addresses_stale = true;
	settle_soon(netlink, 0);
}

static void change_answer(struct nlmsghdr *msg, struct netlink_change *change)
{
	const struct nlmsgerr *err = nlmsg_data(msg);
	struct nlattr *attrs[NLMSGERR_ATTR_MAX + 1];

	change->rc = err->error;
	change->text[0] = '\0';
	if (!(msg->nlmsg_flags & NLM_F_ACK_TLVS) ||
		nlmsg_parse(msg, sizeof(*err), attrs, NLMSGERR_ATTR_MAX, NULL) < 0)
		return;
	if (attrs[NLMSGERR_ATTR_MSG])
		(void)nla_strlcpy(change->text, attrs[NLMSGERR_ATTR_MSG], sizeof(change->text));
}

/* What got no answer keeps the rc it has. */
static void changes_answers(
	struct netlink *netlink, struct netlink_change *changes, size_t n, uint32_t first_seq)
{
	for (size_t answered = 0; answered < n;) {
		int left = receive(netlink, netlink->request);

		if (left < 0)
			return;
		for (struct nlmsghdr *msg = (struct nlmsghdr *)netlink->buffer; nlmsg_ok(msg, left);
			msg = nlmsg_next(msg, &left)) {
			uint32_t i = msg->nlmsg_seq - first_seq;

			if (msg->nlmsg_type != NLMSG_ERROR || i >= n ||
				!nlmsg_valid_hdr(msg, sizeof(struct nlmsgerr)))
				continue;
			change_answer(msg, &changes[i]);
			answered++;
		}
	}
}

size_t netlink_apply(struct netlink *netlink, struct netlink_change *changes, size_t n)
{
	struct nl_msg *msgs[NETLINK_CHANGES_MAX] = {NULL};
	struct iovec parts[NETLINK_CHANGES_MAX];
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	struct msghdr packet = {.msg_name = &kernel,
		.msg_namelen = sizeof(kernel),
		.msg_iov = parts,
		.msg_iovlen = n};
	uint32_t first_seq = netlink->seq + 1;
	size_t succeeded = 0;
	int rc = -ENOMEM;

	assert(n <= NETLINK_CHANGES_MAX);
	for (size_t i = 0; i < n; i++) {
		msgs[i] = netlink_build_change(&changes[i]);
		if (!msgs[i])
			goto out;
		nlmsg_hdr(msgs[i])->nlmsg_seq = ++netlink->seq;
		parts[i] = (struct iovec){nlmsg_hdr(msgs[i]), nlmsg_hdr(msgs[i])->nlmsg_len};
	}
	rc = sendmsg(nl_socket_get_fd(netlink->request), &packet, MSG_DONTWAIT) < 0 ? -errno : 0;
out:
	for (size_t i = 0; i < n; i++) {
		/* An answer that got lost must not pass for a success. */
		changes[i].rc = rc < 0 ? rc : -ENOBUFS;
		changes[i].text[0] = '\0';
		nlmsg_free(msgs[i]);
	}
	if (rc == 0)
		changes_answers(netlink, changes, n, first_seq);
	for (size_t i = 0; i < n; i++)
		succeeded += changes[i].rc == 0;
	return succeeded;
}

const struct netlink_link *netlink_link(struct netlink *netlink, int ifindex)
{
	return links_find(&netlink->links, ifindex);
}

const struct netlink_link *netlink_link_by_name(struct netlink *netlink, const char *name)
{
	for (size_t i = 0; i < netlink->links.n_links; i++)
		if (strcmp(netlink->links.links[i].name, name) == 0)
			return &netlink->links.links[i];
	return NULL;
}

enum netlink_find netlink_link_by_subnet(struct netlink *netlink, const struct ip_address *address,
	const struct netlink_link *ret_links[2])
{
	unsigned n = 0;

	if (netlink->subnets_stale) {
		netlink->addresses_stale = true;
		(void)netlink_sync(netlink); /* if it fails, what is known is the best there is */
	}
	for (size_t i = 0; i < netlink->links.n_subnets && n < 2; i++) {
		const struct links_subnet *subnet = &netlink->links.subnets[i];
		const struct netlink_link *link = links_find(&netlink->links, subnet->ifindex);

		if (link && address_is_same_subnet(&subnet->subnet, address))
			ret_links[n++] = link;
	}
	return n == 0 ? NETLINK_NONE : n == 1 ? NETLINK_FOUND : NETLINK_AMBIGUOUS;
}

bool netlink_mac_is_ours(const struct netlink *netlink, const uint8_t mac[6])
{
	for (size_t i = 0; i < netlink->links.n_links; i++)
		if (memcmp(netlink->links.links[i].mac, mac, 6) == 0)
			return true;
	return false;
}

uint64_t netlink_rereads(const struct netlink *netlink)
{
	return netlink->rereads;
}

int netlink_set_event_buffer(struct netlink *netlink, unsigned bytes)
{
	int fd = nl_socket_get_fd(netlink->events), size = (int)bytes;

	/* FORCE passes the sysctl limit and needs CAP_NET_ADMIN, as everything here does. */
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0)
		return -errno;
	return 0;
}

static int socket_open(struct nl_sock **ret_sock)
{
	struct nl_sock *sock = nl_socket_alloc();
	int one = 1, fd;

	if (!sock)
		return -ENOMEM;
	if (nl_connect(sock, NETLINK_ROUTE) < 0 || nl_socket_set_nonblocking(sock) < 0) {
		nl_socket_free(sock);
		return -EPROTONOSUPPORT;
	}
	fd = nl_socket_get_fd(sock);
	/* Only for better texts. */
	(void)setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &one, sizeof(one));
	(void)setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &one, sizeof(one));
	*ret_sock = sock;
	return 0;
}

int netlink_new(
	struct loop *loop, const struct netlink_ops *ops, void *ctx, struct netlink **ret_netlink)
{
	struct netlink *netlink = calloc(1, sizeof(*netlink));
	int rc;

	if (!netlink)
		return -ENOMEM;
	netlink->loop = loop;
	netlink->ops = ops;
	netlink->ctx = ctx;
	rc = socket_open(&netlink->request);
	if (rc == 0)
		rc = socket_open(&netlink->events);
	if (rc < 0)
		goto fail;
	rc = netlink_set_event_buffer(netlink, NETLINK_EVENT_BUFFER);
	if (rc < 0)
		goto fail;
	if (nl_socket_add_memberships(netlink->events, RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR,
		    RTNLGRP_IPV6_IFADDR, 0) < 0) {
		rc = -EPERM;
		goto fail;
	}
	rc = loop_fd_add(loop, nl_socket_get_fd(netlink->events), POLLIN, on_events, netlink,
		"netlink: events");
	if (rc < 0)
		goto fail;
	netlink->links_stale = netlink->addresses_stale = true;
	settle_soon(netlink, 0);
	*ret_netlink = netlink;
	return 0;
fail:
	netlink_free(netlink);
	return rc;
}

void netlink_free(struct netlink *netlink)
{
	if (!netlink)
		return;
	loop_timer_del(netlink->loop, &netlink->settle);
	if (netlink->events)
		loop_fd_del(netlink->loop, nl_socket_get_fd(netlink->events));
	nl_socket_free(netlink->events);
	nl_socket_free(netlink->request);
	links_fini(&netlink->links);
	free(netlink);
}
