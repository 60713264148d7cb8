/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The kernel's links and addresses over rtnetlink: changes, a table of links, events.
 *
 * rtnetlink works a request off within sendmsg, so an answer is waiting when sendmsg returns and no
 * call here waits for anything but the kernel's own lock. Foreign addresses are not kept, only the
 * subnets they span.
 */
#ifndef RESOURCES_NETLINK_H
#define RESOURCES_NETLINK_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "resources/address.h"

struct loop;
struct netlink;

#define NETLINK_CHANGES_MAX 64          /* in one call */
#define NETLINK_EVENT_BUFFER (8u << 20) /* bytes; an address event takes less than 1 KiB of it */
#define NETLINK_SUBNETS_MAX 4096        /* of foreign addresses; more are not looked at */
#define NETLINK_TEXT_SIZE 80

struct netlink_link {
	int index;
	uint16_t hw_type; /* ARPHRD_… */
	char name[IF_NAMESIZE];
	uint8_t mac[6];
	bool has_neighbours; /* Ethernet, ARP in use: it makes sense to announce */
	bool is_up;          /* administratively, and it has a carrier */
	bool mac_changed;    /* since the last settled() */
	bool seen;           /* netlink.c's own */
};

/* One address to add to a link or to delete from it. */
struct netlink_change {
	bool add;
	struct ip_address address;
	int ifindex;
	int rc;                       /* out: 0 or -errno of this change */
	char text[NETLINK_TEXT_SIZE]; /* out: the kernel's words, often none */
};

enum netlink_find { NETLINK_FOUND, NETLINK_NONE, NETLINK_AMBIGUOUS };

struct netlink_ops {
	/* Every address seen; true: it is one of ours, so it does not count as the link's own.
	 * is_primary: IPv4, others of its subnet are secondary to it. */
	bool (*address)(void *ctx, const struct ip_address *address, int ifindex, bool is_primary,
		bool present);
	void (*link_gone)(void *ctx, int ifindex);
	/* Forget all addresses: those that exist follow by address(). */
	void (*reset)(void *ctx);
	/* No event is left unread: what was told so far is the state of the machine. */
	void (*settled)(void *ctx, bool links_changed, bool subnets_changed);
};

/* 0 or -errno. */
int netlink_new(
	struct loop *loop, const struct netlink_ops *ops, void *ctx, struct netlink **ret_netlink);
void netlink_free(struct netlink *netlink);
/* Another size of the event socket's buffer: what bursts it can hold. */
int netlink_set_event_buffer(struct netlink *netlink, unsigned bytes);

/* How often events were lost and everything was read again. */
uint64_t netlink_rereads(const struct netlink *netlink);

/* Reads what is queued, without settled(); after it the address() calls are up to date. 0 or
 * -errno: the state is not known. */
int netlink_sync(struct netlink *netlink);
/* The caller has new addresses of its own: the next sync reads the kernel's whole list. */
void netlink_invalidate(struct netlink *netlink);

/* At most NETLINK_CHANGES_MAX, in order, each with its own rc. Returns how many succeeded. */
size_t netlink_apply(struct netlink *netlink, struct netlink_change *changes, size_t n);

/* NULL: no such link. Valid until the next netlink_sync or turn of the loop. */
const struct netlink_link *netlink_link(struct netlink *netlink, int ifindex);
const struct netlink_link *netlink_link_by_name(struct netlink *netlink, const char *name);
/* The link that has a foreign address in the same subnet; with two, both in ret_links. */
enum netlink_find netlink_link_by_subnet(struct netlink *netlink, const struct ip_address *address,
	const struct netlink_link *ret_links[2]);
bool netlink_mac_is_ours(const struct netlink *netlink, const uint8_t mac[6]);

#endif
