/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The tables of links.h. Called by netlink.c.
 */
#include "resources/links.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LINKS_GROW 16

void links_fini(struct links *links)
{
	free(links->links);
	free(links->subnets);
	*links = (struct links){0};
}

/* The first place whose index is not below ifindex. */
static size_t links_place(const struct links *links, int ifindex)
{
	size_t low = 0, high = links->n_links;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (links->links[middle].index < ifindex)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct netlink_link *links_find(const struct links *links, int ifindex)
{
	size_t place = links_place(links, ifindex);

	if (place == links->n_links || links->links[place].index != ifindex)
		return NULL;
	return &links->links[place];
}

static int links_insert(struct links *links, const struct netlink_link *link)
{
	size_t place = links_place(links, link->index);

	if (links->n_links == links->links_size) {
		size_t size = links->links_size + LINKS_GROW;
		struct netlink_link *grown = realloc(links->links, size * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		links->links = grown;
		links->links_size = size;
	}
	memmove(&links->links[place + 1], &links->links[place],
		(links->n_links - place) * sizeof(*links->links));
	links->links[place] = *link;
	links->n_links++;
	return 0;
}

int links_update(struct links *links, const struct netlink_link *link, bool *ret_changed)
{
	struct netlink_link *old = links_find(links, link->index);
	struct netlink_link updated = *link;

	if (!old) {
		*ret_changed = true;
		return links_insert(links, link);
	}
	updated.mac_changed =
		old->mac_changed || memcmp(old->mac, link->mac, sizeof(link->mac)) != 0;
	*ret_changed = updated.mac_changed || old->is_up != link->is_up ||
		       old->has_neighbours != link->has_neighbours ||
		       strcmp(old->name, link->name) != 0;
	*old = updated;
	return 0;
}

bool links_remove(struct links *links, int ifindex)
{
	struct netlink_link *link = links_find(links, ifindex);
	size_t kept = 0;

	for (size_t i = 0; i < links->n_subnets; i++)
		if (links->subnets[i].ifindex != ifindex)
			links->subnets[kept++] = links->subnets[i];
	links->n_subnets = kept;
	if (!link)
		return false;
	memmove(link, link + 1,
		(size_t)(links->links + links->n_links - (link + 1)) * sizeof(*link));
	links->n_links--;
	return true;
}

bool links_subnet_is_known(const struct links *links, int ifindex, const struct ip_address *address)
{
	for (size_t i = 0; i < links->n_subnets; i++)
		if (links->subnets[i].ifindex == ifindex &&
			address_is_same_subnet(&links->subnets[i].subnet, address))
			return true;
	return false;
}

bool links_subnet_add(struct links *links, int ifindex, const struct ip_address *address)
{
	if (links->n_subnets == NETLINK_SUBNETS_MAX ||
		links_subnet_is_known(links, ifindex, address))
		return false;
	if (links->n_subnets == links->subnets_size) {
		size_t size = links->subnets_size + LINKS_GROW;
		struct links_subnet *grown = realloc(links->subnets, size * sizeof(*grown));

		if (!grown)
			return false;
		links->subnets = grown;
		links->subnets_size = size;
	}
	links->subnets[links->n_subnets++] =
		(struct links_subnet){.ifindex = ifindex, .subnet = address_subnet(address)};
	return true;
}
