/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tables of links and of the subnets that foreign addresses span, as the kernel told them. Memory
 * only; owned and fed by netlink.c.
 */
#ifndef RESOURCES_LINKS_H
#define RESOURCES_LINKS_H

#include "resources/netlink.h"

struct links_subnet {
	int ifindex;
	struct ip_address subnet;
};

struct links {
	struct netlink_link *links; /* by ascending index */
	size_t n_links, links_size;
	struct links_subnet *subnets; /* unsorted, each once */
	size_t n_subnets, subnets_size;
};

void links_fini(struct links *links);

/* Adds or updates; *ret_changed is set if that matters to an address on it. 0 or -ENOMEM. */
int links_update(struct links *links, const struct netlink_link *link, bool *ret_changed);
/* False: there was none. */
bool links_remove(struct links *links, int ifindex);
struct netlink_link *links_find(const struct links *links, int ifindex);

/* True: it was new. One too many, or without memory: left out. */
bool links_subnet_add(struct links *links, int ifindex, const struct ip_address *address);
bool links_subnet_is_known(
	const struct links *links, int ifindex, const struct ip_address *address);

#endif
