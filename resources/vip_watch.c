/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What happens to virtual IPs from outside: links, addresses deleted by others, foreign holders.
 *
 * Invariant: judged is only a settled state, never a single event, so our own deletions (and those
 * that a later start has made obsolete) are not mistaken for somebody else's. Called back by
 * netlink.c and duplicate.c; helps vip_engine.c.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clusterd/loop.h"
#include "resources/vip_engine.h"

#define VIP_PUT_BACK_PAUSE_NS 200000000  /* at least, between two of one address */
#define VIP_SUBNETS_PAUSE_NS 200000000   /* foreign addresses may come and go in floods */
#define VIP_RIVAL_GRACE_NS 1000000000    /* frames of the previous holder may be under way */
#define VIP_RIVAL_PAUSE_NS 60000000000LL /* between two notes on one MAC */

bool vip_watch_is_at(const struct vip *vip, int ifindex)
{
	for (unsigned i = 0; i < vip->n_places; i++)
		if (vip->places[i].ifindex == ifindex)
			return true;
	return false;
}

void vip_watch_place_del(struct vip *vip, int ifindex, uint8_t prefix_len)
{
	for (unsigned i = 0; i < vip->n_places; i++)
		if (vip->places[i].ifindex == ifindex && vip->places[i].prefix_len == prefix_len)
			vip->places[i--] = vip->places[--vip->n_places];
}

void vip_watch_place_add(struct vip *vip, const struct vip_place *place)
{
	vip_watch_place_del(vip, place->ifindex, place->prefix_len);
	if (vip->n_places == VIP_PLACES_MAX)
		vip->has_more_places = true;
	else
		vip->places[vip->n_places++] = *place;
}

static int resolve_by_subnet(
	struct vip *vip, struct netlink_link *ret_link, char *reterr, size_t size)
{
	struct netlink *netlink = vip->engine->netlink;
	struct ip_address subnet = address_subnet(&vip->address);
	const struct netlink_link *links[2], *link;
	char text[ADDRESS_TEXT_SIZE];

	/* It stays where it is even if the link's own address goes. */
	link = vip->running ? netlink_link(netlink, vip->ifindex) : NULL;
	if (link) {
		*ret_link = *link;
		return 0;
	}
	switch (netlink_link_by_subnet(netlink, &vip->address, links)) {
	case NETLINK_FOUND: *ret_link = *links[0]; return 0;
	case NETLINK_AMBIGUOUS:
		snprintf(reterr, size,
			"both %s and %s have an address in %s; name one of them with interface",
			links[0]->name, links[1]->name, address_print(&subnet, text));
		return -ENETDOWN;
	case NETLINK_NONE: break;
	}
	snprintf(reterr, size,
		"no interface has an address in %s; give one such an address, or name it with "
		"interface",
		address_print(&subnet, text));
	return -ENETDOWN;
}

int vip_watch_resolve(struct vip *vip, struct netlink_link *ret_link, char *reterr, size_t size)
{
	struct netlink *netlink = vip->engine->netlink;
	const struct netlink_link *link;

	if (!vip->interface) {
		if (resolve_by_subnet(vip, ret_link, reterr, size) < 0)
			return -ENETDOWN;
	} else {
		link = netlink_link(netlink, vip->ifindex);
		if (!link || strcmp(link->name, vip->interface) != 0)
			link = netlink_link_by_name(netlink, vip->interface);
		if (!link) {
			snprintf(reterr, size, "interface %s does not exist", vip->interface);
			return -ENETDOWN;
		}
		*ret_link = *link;
	}
	if (!ret_link->is_up) {
		snprintf(reterr, size, "interface %s is down or has no carrier", ret_link->name);
		return -ENETDOWN;
	}
	return 0;
}

bool vip_watch_announcement(struct vip *vip, const struct netlink_link *link)
{
	if (!link->has_neighbours)
		return false;
	vip->announcement.address = vip->address;
	vip->announcement.ifindex = link->index;
	memcpy(vip->announcement.mac, link->mac, sizeof(vip->announcement.mac));
	return true;
}

/* Joined while any resource with the same group on the same link and socket needs it. */
void vip_watch_leave(struct vip *vip)
{
	struct vip_engine *engine = vip->engine;
	int ifindex = vip->joined_ifindex;

	vip->joined_ifindex = 0;
	if (ifindex == 0)
		return;
	for (size_t i = 0; i < engine->n_vips; i++) {
		const struct vip *other = engine->vips[i];

		if (other->joined_ifindex == ifindex &&
			other->joined_socket == vip->joined_socket &&
			solicited_is_same_group(&other->address, &vip->address))
			return;
	}
	solicited_leave(vip->joined_socket, ifindex, &vip->address);
}

static void follow_group(struct vip *vip, int ifindex)
{
	if (vip->address.family != AF_INET6 || vip->joined_ifindex == ifindex)
		return;
	vip_watch_leave(vip);
	if (ifindex != 0 && solicited_join(vip->engine->solicited, ifindex, &vip->address,
				    &vip->joined_socket) == 0)
		vip->joined_ifindex = ifindex;
}

void vip_watch_unfit(struct vip *vip, const char *text)
{
	const struct resource_host *host = vip->res.host;

	if (vip->is_unfit)
		return;
	vip->is_unfit = true;
	host->failed(host->ctx, &vip->res, true, text);
}

static void judge_later(struct vip_engine *engine, int64_t delay_ns);

static void put_back(struct vip *vip, int64_t now_ns)
{
	int64_t wait_ns = vip->put_back_ns + VIP_PUT_BACK_PAUSE_NS - now_ns;

	if (vip->job != VIP_IDLE)
		return;
	if (vip->put_back_ns != 0 && wait_ns > 0) {
		judge_later(vip->engine, wait_ns);
		return;
	}
	vip->put_back_ns = now_ns;
	vip_engine_submit(vip, VIP_PUT_BACK, 0);
}

static void judge(struct vip *vip, int64_t now_ns)
{
	const struct resource_host *host = vip->res.host;
	struct vip_engine *engine = vip->engine;
	struct announcement *announcement = &vip->announcement;
	struct netlink_link link = {0};
	char text[VIP_TEXT_SIZE];
	bool is_fit = vip_watch_resolve(vip, &link, text, sizeof(text)) == 0;
	bool was_unfit = vip->is_unfit;

	follow_group(vip, link.index);
	if (!is_fit) {
		if (vip->running)
			vip_watch_unfit(vip, text);
		return;
	}
	/* Before the host hears of it: it may free the resource. */
	vip->is_unfit = false;
	if (vip->running && !vip_watch_is_at(vip, link.index)) {
		put_back(vip, now_ns);
	} else if (vip->running && vip->job == VIP_IDLE && (was_unfit || link.mac_changed)) {
		announcement->ret_sent_ns = NULL;
		if (vip_watch_announcement(vip, &link))
			announcer_start(engine->announcer, &announcement, 1);
	}
	if (was_unfit)
		host->fit(host->ctx, &vip->res);
}

static void judge_all(struct vip_engine *engine)
{
	int64_t now_ns = clock_boottime_ns();
	bool was_busy = engine->is_busy;

	engine->is_busy = true;
	engine->judge = false;
	/* A resource freed by the host moves the last one into its place, and asks to judge again.
	 */
	for (size_t i = 0; i < engine->n_vips; i++)
		judge(engine->vips[i], now_ns);
	engine->is_busy = was_busy;
	if (engine->judge)
		judge_later(engine, 0);
}

static void on_judge_later(void *ctx)
{
	struct vip_engine *engine = ctx;

	/* Reads what came meanwhile; settled() follows. Unknown: it is tried again by netlink.c. */
	engine->judge = true;
	if (netlink_sync(engine->netlink) == 0)
		judge_all(engine);
}

static void judge_later(struct vip_engine *engine, int64_t delay_ns)
{
	if (!engine->judge_later)
		(void)loop_timer_add(engine->loop, delay_ns, on_judge_later, engine, "vip: judge",
			&engine->judge_later);
}

static bool watch_address(
	void *ctx, const struct ip_address *address, int ifindex, bool is_primary, bool present)
{
	struct vip_engine *engine = ctx;
	struct vip *vip = vip_engine_find(engine, address);

	if (!vip)
		return false;
	if (present) {
		vip_watch_place_add(
			vip, &(struct vip_place){ifindex, address->prefix_len, is_primary});
	} else {
		vip_watch_place_del(vip, ifindex, address->prefix_len);
		engine->judge |= vip->running;
	}
	return true;
}

static void watch_link_gone(void *ctx, int ifindex)
{
	struct vip_engine *engine = ctx;

	for (size_t i = 0; i < engine->n_vips; i++) {
		struct vip *vip = engine->vips[i];

		for (unsigned place = 0; place < vip->n_places; place++)
			if (vip->places[place].ifindex == ifindex)
				vip->places[place--] = vip->places[--vip->n_places];
	}
	for (size_t i = 0; i < engine->n_prepared; i++)
		if (engine->prepared[i] == ifindex)
			engine->prepared[i--] = engine->prepared[--engine->n_prepared];
	engine->judge = true;
}

static void watch_reset(void *ctx)
{
	struct vip_engine *engine = ctx;

	for (size_t i = 0; i < engine->n_vips; i++) {
		engine->vips[i]->n_places = 0;
		engine->vips[i]->has_more_places = false;
	}
	engine->judge = true;
}

static void watch_settled(void *ctx, bool links_changed, bool subnets_changed)
{
	struct vip_engine *engine = ctx;

	if (engine->judge || links_changed)
		judge_all(engine);
	else if (subnets_changed && engine->n_by_subnet > 0)
		judge_later(engine, VIP_SUBNETS_PAUSE_NS);
}

const struct netlink_ops vip_watch_ops = {
	.address = watch_address,
	.link_gone = watch_link_gone,
	.reset = watch_reset,
	.settled = watch_settled,
};

/* May this MAC be noted (again)? With more rivals than places that were all noted lately: no. */
static bool rival_is_news(struct vip *vip, const uint8_t mac[6], int64_t now_ns)
{
	struct vip_rival *oldest;

	if (!vip->rivals)
		vip->rivals = calloc(VIP_RIVALS_MAX, sizeof(*vip->rivals));
	if (!vip->rivals)
		return false;
	oldest = &vip->rivals[0];
	for (size_t i = 0; i < VIP_RIVALS_MAX; i++) {
		struct vip_rival *rival = &vip->rivals[i];

		if (rival->noted_ns != 0 && memcmp(rival->mac, mac, sizeof(rival->mac)) == 0) {
			oldest = rival;
			break;
		}
		if (rival->noted_ns < oldest->noted_ns)
			oldest = rival;
	}
	if (oldest->noted_ns != 0 && now_ns - oldest->noted_ns < VIP_RIVAL_PAUSE_NS)
		return false;
	memcpy(oldest->mac, mac, sizeof(oldest->mac));
	oldest->noted_ns = now_ns;
	return true;
}

void vip_watch_heard(void *ctx, const struct ip_address *address, const uint8_t mac[6], int ifindex)
{
	struct vip_engine *engine = ctx;
	struct vip *vip = vip_engine_find(engine, address);
	int64_t now_ns = clock_boottime_ns();
	const struct netlink_link *link;
	char text[VIP_TEXT_SIZE], print[ADDRESS_TEXT_SIZE];

	if (!vip || !vip->running || vip->ifindex != ifindex)
		return;
	if (now_ns - vip->held_since_ns < VIP_RIVAL_GRACE_NS)
		return;
	if (netlink_mac_is_ours(engine->netlink, mac) || !rival_is_news(vip, mac, now_ns))
		return;
	link = netlink_link(engine->netlink, ifindex);
	snprintf(text, sizeof(text),
		"%s is also used by MAC %02x:%02x:%02x:%02x:%02x:%02x, seen on %s; take it away "
		"from that machine",
		address_print_bare(address, print), mac[0], mac[1], mac[2], mac[3], mac[4], mac[5],
		link ? link->name : "a vanished interface");
	vip->res.host->note(vip->res.host->ctx, &vip->res, text);
}
