/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The world's clock and its faults. Each fault changes the machines at once and lets time tell. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/inside.h"

/* ---- what is to come, by time and then by order of scheduling ---- */

struct item *item_new(enum item_kind kind, int node)
{
	struct item *item = calloc(1, sizeof(*item));

	if (!item)
		abort();
	item->kind = kind;
	item->node = node;
	return item;
}

void item_free(struct item *item)
{
	free(item->data);
	free(item);
}

static bool is_before(const struct item *a, const struct item *b)
{
	return a->at_us != b->at_us ? a->at_us < b->at_us : a->seq < b->seq;
}

void world_schedule(struct world *world, struct item *item, int64_t at_us)
{
	uint32_t at = world->n_heap;

	if (world->n_heap == world->heap_size) {
		world->heap_size = world->heap_size ? world->heap_size * 2 : 256;
		world->heap = realloc(world->heap, world->heap_size * sizeof(*world->heap));
		if (!world->heap)
			abort();
	}
	item->at_us = at_us;
	item->seq = world->seq++;
	world->n_heap++;
	for (; at > 0 && is_before(item, world->heap[(at - 1) / 2]); at = (at - 1) / 2)
		world->heap[at] = world->heap[(at - 1) / 2];
	world->heap[at] = item;
}

static struct item *heap_pop(struct world *world)
{
	struct item *first = world->heap[0], *last = world->heap[--world->n_heap];
	uint32_t at = 0;

	for (uint32_t child = 1; child < world->n_heap; child = 2 * at + 1) {
		if (child + 1 < world->n_heap &&
			is_before(world->heap[child + 1], world->heap[child]))
			child++;
		if (!is_before(world->heap[child], last))
			break;
		world->heap[at] = world->heap[child];
		at = child;
	}
	world->heap[at] = last;
	return first;
}

int64_t world_jitter(struct world *world)
{
	if (!world->ops->jitter || world->jitter_us == 0)
		return 0;
	return world->ops->jitter(world->ctx, world->jitter_us);
}

void world_violated(struct world *world, const char *fmt, ...)
{
	va_list args;

	if (world->violation[0])
		return; /* the first one is the cause */
	va_start(args, fmt);
	vsnprintf(world->violation, sizeof(world->violation), fmt, args);
	va_end(args);
}

/* ---- life of a world ---- */

void world_init(struct world *world, const struct core_config *config, const struct world_ops *ops,
	void *ctx)
{
	*world = (struct world){
		.latency_us = 1000,
		.quorum_delay_us = 1000,
		.loss_delay_us = 2100000,
		.join_delay_us = 300000,
		.op_us = 10000,
		.holdoff_ms = 2000,
		.ops = ops,
		.ctx = ctx,
		.now_us = 1000000,
		.n_machines = config->n_nodes,
	};
	world->digests = calloc(WORLD_DIGESTS, sizeof(*world->digests));
	if (!world->digests)
		abort();
	for (unsigned i = 0; i < config->n_nodes; i++) {
		struct machine *machine = &world->machines[i];

		memcpy(machine->name, config->nodes[i].name, sizeof(machine->name));
		machine->config = config;
		machine->outbox_end = &machine->outbox;
		machine->backlog_end = &machine->backlog;
	}
}

static void items_free(struct item *item)
{
	while (item) {
		struct item *next = item->next;

		item_free(item);
		item = next;
	}
}

void world_fini(struct world *world)
{
	for (unsigned i = 0; i < world->n_machines; i++) {
		struct machine *machine = &world->machines[i];

		core_free(machine->core);
		core_effects_fini(&machine->effects);
		items_free(machine->outbox);
		items_free(machine->backlog);
		free(machine->saved_offline);
		free(machine->truths);
	}
	while (world->n_heap > 0)
		item_free(heap_pop(world));
	free(world->heap);
	free(world->digests);
}

/* ---- faults ---- */

void world_power_on(struct world *world, int node)
{
	struct machine *machine = &world->machines[node];

	if (machine->is_on)
		return;
	machine->is_on = true;
	bus_changed(world, world->join_delay_us);
}

static void backlog_drop(struct machine *machine)
{
	items_free(machine->backlog);
	machine->backlog = NULL;
	machine->backlog_end = &machine->backlog;
}

static void daemon_end(struct world *world, int node)
{
	struct machine *machine = &world->machines[node];

	core_free(machine->core);
	machine->core = NULL;
	machine->has_daemon = machine->is_frozen = false;
	machine->is_in_group = false;
	backlog_drop(machine);
	memset(machine->seen_instance, 0, sizeof(machine->seen_instance));
	memset(machine->timer_us, 0, sizeof(machine->timer_us));
}

void world_power_off(struct world *world, int node)
{
	struct machine *machine = &world->machines[node];

	if (!machine->is_on)
		return;
	daemon_end(world, node);
	machine->is_on = false;
	free(machine->truths);
	machine->truths = NULL;
	machine->n_truths = 0;
	world->cut_us = world->now_us;
	bus_changed(world, world->loss_delay_us);
}

/* Since when the others have missed it: a joiner speaks once a second only. */
static int64_t last_word_us(const struct world *world, int node)
{
	const struct machine *machine = &world->machines[node];

	return machine->core && core_phase(machine->core) == CORE_JOINING ? machine->last_sent_us
									  : world->now_us;
}

static void leave_things(struct world *world, int node)
{
	struct machine *machine = &world->machines[node];

	for (uint32_t i = 0; i < machine->n_truths; i++) {
		struct truth *truth = &machine->truths[i];

		if (truth->is_serving && !truth->is_left)
			truth->left_us = last_word_us(world, node);
		truth->is_left = truth->is_serving;
	}
}

void world_daemon_kill(struct world *world, int node)
{
	struct machine *machine = &world->machines[node];

	if (!machine->has_daemon)
		return;
	leave_things(world, node);
	daemon_end(world, node);
	bus_group_changed(world, node);
}

void world_daemon_left(struct world *world, int node)
{
	leave_things(world, node); /* there should be none */
	daemon_end(world, node);
	bus_group_changed(world, node);
}

void world_daemon_freeze(struct world *world, int node)
{
	struct machine *machine = &world->machines[node];

	if (!machine->has_daemon || machine->is_frozen)
		return;
	machine->is_frozen = true;
	leave_things(world, node);
}

void world_daemon_thaw(struct world *world, int node)
{
	struct machine *machine = &world->machines[node];
	struct item *item = machine->backlog;

	machine->is_frozen = false;
	machine->thawed_us = world->now_us;
	machine->backlog = NULL;
	machine->backlog_end = &machine->backlog;
	while (item) {
		struct item *next = item->next;

		world_schedule(world, item, world->now_us);
		item = next;
	}
}

void world_corosync_stop(struct world *world, int node)
{
	struct machine *machine = &world->machines[node];
	struct item *item = item_new(ITEM_EVENT, node);

	machine->side = 1000 + node;
	machine->is_in_group = false;
	machine->is_deaf = true;
	item->instance = machine->instance;
	item->event.type = CORE_EV_LOST;
	world_schedule(world, item, world->now_us);
	bus_changed(world, world->join_delay_us);
}

void world_connect(struct world *world, const int *side)
{
	bool is_cut = false;

	for (unsigned i = 0; i < world->n_machines; i++) {
		for (unsigned j = 0; j < i; j++)
			is_cut = is_cut || (side[i] != side[j] && world->machines[i].side ==
									  world->machines[j].side);
	}
	for (unsigned i = 0; i < world->n_machines; i++)
		world->machines[i].side = side[i];
	if (is_cut)
		world->cut_us = world->now_us;
	bus_changed(world, is_cut ? world->loss_delay_us : world->join_delay_us);
}

/* ---- time ---- */

static void dispatch(struct world *world, struct item *item)
{
	struct machine *machine = &world->machines[item->node];

	if (item->kind == ITEM_RING) {
		bus_form_rings(world);
		item_free(item);
		return;
	}
	if (item->kind == ITEM_OP && !item->is_seen)
		machine_op_done(world, item);
	if (!machine->has_daemon || item->instance != machine->instance ||
		(item->kind == ITEM_OP && !item->is_seen)) {
		item_free(item);
		return;
	}
	if (machine->is_frozen) {
		item->next = NULL;
		*machine->backlog_end = item;
		machine->backlog_end = &item->next;
		return;
	}
	machine_item(world, item);
	item_free(item);
}

bool world_run_until(struct world *world, int64_t until_us)
{
	while (world->n_heap > 0 && world->heap[0]->at_us <= until_us && !world->violation[0]) {
		struct item *item = heap_pop(world);

		world->now_us = item->at_us;
		world->n_events++;
		dispatch(world, item);
		if (world->n_heap > WORLD_MAX_ITEMS)
			world_violated(world,
				"%u things under way at once: somebody talks without end",
				world->n_heap);
	}
	if (!world->violation[0])
		world->now_us = until_us;
	return !world->violation[0];
}
