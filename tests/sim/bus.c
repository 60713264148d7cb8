/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The bus, after corosync: rings with ids, one order of messages and views in a ring, quorum told
 * apart from both.
 *
 * A message is ordered when it is sent, as long as all machines of the sender's ring see each
 * other. When they do not, the token is lost: nothing is ordered until new rings form (but a
 * message may still reach those who see the sender, at times the sender alone). Then each machine
 * gets the complete view of its new ring, and what was held is sent in it.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/sim/inside.h"

#define LAST_WORDS_US 20000

static bool sees(const struct world *world, int a, int b)
{
	const struct machine *left = &world->machines[a], *right = &world->machines[b];

	return a == b || (left->is_on && right->is_on && left->side == right->side);
}

static bool same_ring(const struct world *world, int a, int b)
{
	return world->machines[a].ring_seq != 0 &&
	       world->machines[a].ring_seq == world->machines[b].ring_seq;
}

bool bus_is_whole(const struct world *world, int node)
{
	if (!world->machines[node].is_on || world->machines[node].ring_seq == 0 ||
		world->machines[node].torn_side != 0)
		return false;
	for (int i = 0; i < (int)world->n_machines; i++) {
		if (same_ring(world, node, i) && !sees(world, node, i))
			return false;
	}
	return true;
}

static unsigned ring_size(const struct world *world, uint64_t ring_seq)
{
	unsigned n = 0;

	for (unsigned i = 0; i < world->n_machines; i++)
		n += world->machines[i].ring_seq == ring_seq;
	return n;
}

bool bus_ring_quorate(const struct world *world, uint64_t ring_seq)
{
	unsigned n = ring_size(world, ring_seq) * 2;

	return world->is_half_enough ? n >= world->n_machines : n > world->n_machines;
}

/* In the order of one machine's deliveries. */
static void put(struct world *world, struct item *item, int64_t at_us)
{
	struct machine *machine = &world->machines[item->node];

	item->instance = machine->instance;
	if (at_us < machine->last_view_us)
		at_us = machine->last_view_us;
	machine->last_view_us = at_us;
	world_schedule(world, item, at_us);
}

static void deliver(struct world *world, int to, const struct item *message)
{
	struct item *item = item_new(ITEM_MESSAGE, to);
	size_t len = message->event.message.len;

	item->event = message->event;
	item->sent_us = message->sent_us;
	item->data = malloc(len ? len : 1);
	if (!item->data)
		abort();
	memcpy(item->data, message->data, len);
	item->event.message.data = item->data;
	put(world, item, world->now_us + world->latency_us + world_jitter(world));
}

static void outbox_flush(struct world *world, int node);

static void hold(struct machine *machine, struct item *item)
{
	item->next = NULL;
	*machine->outbox_end = item;
	machine->outbox_end = &item->next;
	machine->n_outbox++;
}

/* Same ring, and not on the other side of a tear in it. */
static bool goes_with(const struct world *world, int a, int b)
{
	return same_ring(world, a, b) &&
	       world->machines[a].torn_side == world->machines[b].torn_side;
}

/* May a message still be ordered as the token gets lost? Only right then, and only on the side that
 * had it. The ring is torn: it cannot go on, and those who got the message stand on one side. */
static bool recover(struct world *world, int node)
{
	if (world->now_us > world->cut_us + LAST_WORDS_US || world->machines[node].ring_seq == 0 ||
		world->machines[node].outbox || !world->ops->is_recovered ||
		!world->ops->is_recovered(world->ctx, node))
		return false;
	for (int i = 0; i < (int)world->n_machines; i++) {
		struct machine *machine = &world->machines[i];

		if (same_ring(world, node, i) && machine->torn_side == 0) {
			machine->torn_side = machine->is_on ? machine->side + 1 : -1;
			machine->had_token = machine->side == world->machines[node].side;
		}
	}
	if (!world->machines[node].had_token)
		return false;
	for (int i = 0; i < (int)world->n_machines; i++) {
		if (goes_with(world, node, i) && !sees(world, node, i))
			return false;
	}
	return true;
}

void bus_send_item(struct world *world, struct item *item)
{
	int node = item->node;
	struct machine *machine = &world->machines[node];

	if (!machine->is_in_group || (!bus_is_whole(world, node) && !recover(world, node))) {
		hold(machine, item);
		return;
	}
	outbox_flush(world, node); /* what one sends stays in order */
	for (int i = 0; i < (int)world->n_machines; i++) {
		if (goes_with(world, node, i) && world->machines[i].is_in_group)
			deliver(world, i, item);
	}
	item_free(item);
}

void bus_send(struct world *world, int node, void *data, size_t len)
{
	struct item *item = item_new(ITEM_MESSAGE, node);

	item->data = data;
	item->instance = world->machines[node].instance;
	item->sent_us = world->machines[node].last_sent_us = world->now_us;
	item->event.type = CORE_EV_MESSAGE;
	item->event.message.nodeid = (uint32_t)node + 1;
	item->event.message.len = len;
	bus_send_item(world, item);
}

static void outbox_flush(struct world *world, int node)
{
	struct machine *machine = &world->machines[node];
	struct item *item = machine->outbox;

	machine->outbox = NULL;
	machine->outbox_end = &machine->outbox;
	machine->n_outbox = 0;
	while (item) {
		struct item *next = item->next;

		if (item->instance == machine->instance && machine->has_daemon)
			bus_send_item(world, item);
		else
			item_free(item);
		item = next;
	}
}

static void tell_quorum(struct world *world, int node)
{
	struct machine *machine = &world->machines[node];
	struct item *item = item_new(ITEM_QUORUM, node);
	int64_t at_us = world->now_us + world->latency_us + world->quorum_delay_us;

	at_us += world_jitter(world);
	item->instance = machine->instance;
	item->event.type = CORE_EV_QUORUM;
	item->event.quorum.ring = (struct ring_id){machine->ring_nodeid, machine->ring_seq};
	item->event.quorum.quorate = bus_ring_quorate(world, machine->ring_seq);
	if (at_us < world->now_us)
		at_us = world->now_us;
	if (at_us < machine->last_quorum_us)
		at_us = machine->last_quorum_us;
	machine->last_quorum_us = at_us;
	world_schedule(world, item, at_us);
}

/* The view as this machine's daemon gets it. came_with: shared its ring before, by machine. */
static void tell_view(struct world *world, int node, const bool *came_with)
{
	struct machine *machine = &world->machines[node];
	struct item *item = item_new(ITEM_VIEW, node);
	struct core_view *view = &item->event.view;

	item->event.type = CORE_EV_VIEW;
	view->ring = (struct ring_id){machine->ring_nodeid, machine->ring_seq};
	for (int i = 0; i < (int)world->n_machines; i++) {
		const struct machine *other = &world->machines[i];
		bool is_here = same_ring(world, node, i) && other->is_in_group;

		if (same_ring(world, node, i))
			view->ring_nodes[view->n_ring++] = (uint32_t)i + 1;
		if (is_here) {
			view->members[view->n_members].nodeid = (uint32_t)i + 1;
			view->members[view->n_members++].fresh =
				machine->seen_instance[i] != other->instance ||
				(came_with && !came_with[i]);
		}
		machine->seen_instance[i] = is_here ? other->instance : 0;
	}
	put(world, item, world->now_us + world->latency_us);
}

void bus_group_changed(struct world *world, int node)
{
	world->machines[node].is_change_pending = !bus_is_whole(world, node);
	if (world->machines[node].is_change_pending)
		return; /* told when the token is back, or by the next ring's view */
	for (int i = 0; i < (int)world->n_machines; i++) {
		if (same_ring(world, node, i) && world->machines[i].is_in_group)
			tell_view(world, i, NULL);
	}
}

void bus_changed(struct world *world, int64_t delay_us)
{
	world_schedule(world, item_new(ITEM_RING, 0), world->now_us + delay_us);
}

static bool is_as_it_should(const struct world *world, int node)
{
	if (!world->machines[node].is_on)
		return world->machines[node].ring_seq == 0;
	for (int i = 0; i < (int)world->n_machines; i++) {
		if (sees(world, node, i) != (same_ring(world, node, i)))
			return false;
	}
	return world->machines[node].ring_seq != 0 && world->machines[node].torn_side == 0;
}

static void form_ring(struct world *world, int first)
{
	bool came_with[CORE_MAX_NODES][CORE_MAX_NODES] = {{false}};
	int n = (int)world->n_machines;

	for (int i = 0; i < n; i++) {
		for (int j = 0; j < n; j++)
			came_with[i][j] = goes_with(world, i, j);
	}
	world->ring_seq += 4;
	for (int i = first; i < n; i++) {
		if (sees(world, first, i)) {
			world->machines[i].ring_seq = world->ring_seq;
			world->machines[i].ring_nodeid = (uint32_t)first + 1;
			world->machines[i].torn_side = 0;
		}
	}
	for (int i = first; i < n; i++) {
		struct machine *machine = &world->machines[i];

		if (machine->ring_seq != world->ring_seq)
			continue;
		machine->is_in_group = machine->has_daemon && !machine->is_deaf;
	}
	for (int i = first; i < n; i++) {
		if (world->machines[i].ring_seq != world->ring_seq ||
			!world->machines[i].is_in_group)
			continue;
		tell_view(world, i, came_with[i]);
		tell_quorum(world, i);
	}
	for (int i = first; i < n; i++) {
		if (world->machines[i].ring_seq == world->ring_seq)
			outbox_flush(world, i);
	}
}

/* What could not be told while the token was lost, should the old ring go on. */
static void token_is_back(struct world *world, int node)
{
	struct machine *machine = &world->machines[node];

	if (!bus_is_whole(world, node))
		return;
	if (machine->has_daemon && !machine->is_in_group && !machine->is_deaf) {
		machine->is_in_group = true;
		machine->is_change_pending = true;
		tell_quorum(world, node);
	}
	if (machine->is_change_pending)
		bus_group_changed(world, node);
	outbox_flush(world, node);
}

void bus_join(struct world *world, int node)
{
	token_is_back(world, node);
}

static void see_two_quorate(struct world *world)
{
	for (unsigned i = 0; i < world->n_machines; i++) {
		for (unsigned j = 0; j < i; j++) {
			uint64_t a = world->machines[i].ring_seq, b = world->machines[j].ring_seq;

			if (a && b && a != b && bus_ring_quorate(world, a) &&
				bus_ring_quorate(world, b))
				world->had_two_quorate = true;
		}
	}
}

void bus_form_rings(struct world *world)
{
	bool is_wrong[CORE_MAX_NODES] = {false};

	/* All sides are looked at before one changes: a machine may leave one ring for another. */
	for (int i = 0; i < (int)world->n_machines; i++)
		is_wrong[i] = !is_as_it_should(world, i);
	for (int i = 0; i < (int)world->n_machines; i++) {
		if (!world->machines[i].is_on)
			world->machines[i].ring_seq = 0;
	}
	for (int i = 0; i < (int)world->n_machines; i++) {
		bool is_lowest = world->machines[i].is_on && is_wrong[i];

		for (int j = 0; j < i && is_lowest; j++)
			is_lowest = !sees(world, i, j);
		if (is_lowest)
			form_ring(world, i);
	}
	see_two_quorate(world);
	for (int i = 0; i < (int)world->n_machines; i++)
		token_is_back(world, i);
}

void world_quorum(struct world *world, int node, bool quorate)
{
	struct machine *machine = &world->machines[node];
	struct item *item = item_new(ITEM_QUORUM, node);

	item->instance = machine->instance;
	item->event.type = CORE_EV_QUORUM;
	item->event.quorum.ring = (struct ring_id){machine->ring_nodeid, machine->ring_seq};
	item->event.quorum.quorate = quorate;
	if (machine->last_quorum_us < world->now_us)
		machine->last_quorum_us = world->now_us;
	world_schedule(world, item, machine->last_quorum_us);
}
