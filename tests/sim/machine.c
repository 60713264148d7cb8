/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A machine and its daemon: carries out what the core asks for, on the ground truth of what runs
 * there. Called by world.c with what has come for it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/inside.h"

#define CANCEL_US 1000

static void name_copy(char *ret_name, const char *name)
{
	snprintf(ret_name, CORE_NAME_SIZE, "%s", name);
}

struct truth *truth_find(
	struct world *world, int node, const char *group, const char *resource, bool create)
{
	struct machine *machine = &world->machines[node];
	struct truth *grown;

	for (uint32_t i = 0; i < machine->n_truths; i++) {
		if (strcmp(machine->truths[i].group, group) == 0 &&
			strcmp(machine->truths[i].resource, resource) == 0)
			return &machine->truths[i];
	}
	if (!create)
		return NULL;
	grown = realloc(machine->truths, (machine->n_truths + 1) * sizeof(*grown));
	if (!grown)
		abort();
	machine->truths = grown;
	grown += machine->n_truths++;
	*grown = (struct truth){0};
	name_copy(grown->group, group);
	name_copy(grown->resource, resource);
	return grown;
}

/* ---- operations ---- */

static void log_op(struct world *world, int node, const char *what, const struct truth *truth)
{
	char text[3 * CORE_NAME_SIZE];

	if (!world->is_verbose)
		return;
	snprintf(text, sizeof(text), "  %s %s", what, truth->resource);
	world->ops->log(world->ctx, node, false, text);
}

/* Adopted, and its monitor will find that it does not really run. */
static void monitor_later(struct world *world, int node, const struct core_effect *effect)
{
	struct item *item = item_new(ITEM_EVENT, node);

	item->instance = world->machines[node].instance;
	item->event.type = CORE_EV_RESOURCE_FAILED;
	item->event.resource.group = effect->op.group;
	item->event.resource.resource = effect->op.resource;
	item->event.resource.text = item->data = strdup("the monitor finds it stopped");
	world_schedule(world, item, world->now_us + 1000000);
}

static void op_begin(struct world *world, int node, const struct core_effect *effect)
{
	static const char *const words[] = {"start", "stop", "cancel", "adopt"};
	struct machine *machine = &world->machines[node];
	const struct core_group *group = &machine->config->groups[effect->op.group];
	const char *resource = group->resources[effect->op.resource].name;
	struct truth *truth = truth_find(world, node, group->name, resource, true);
	struct world_op_result result = {.took_us = world->op_us};
	struct item *item;

	log_op(world, node, words[effect->op.op], truth);
	if (effect->op.op == CORE_OP_ADOPT) {
		truth->is_left = false;
		if (truth->state != TRUTH_RUNNING)
			monitor_later(world, node, effect);
		return;
	}
	if (effect->op.op == CORE_OP_CANCEL) {
		if (truth->op == 0)
			return; /* its result is on its way */
		result = (struct world_op_result){CANCEL_US, -ECANCELED, "cancelled"};
	} else if (truth->op != 0) {
		world_violated(world, "%s: a second operation on %s before the first one's result",
			machine->name, resource);
		return;
	} else if (world->ops->op) {
		result = world->ops->op(world->ctx, node, group->name, resource, effect->op.op);
	}
	if (effect->op.op == CORE_OP_START)
		check_start(world, node, group->name);
	item = item_new(ITEM_OP, node);
	item->instance = machine->instance;
	item->op = truth->op = ++world->op_seq;
	item->event.type = CORE_EV_OP_DONE;
	item->event.op_done.op = effect->op.op == CORE_OP_STOP ? CORE_OP_STOP : CORE_OP_START;
	item->event.op_done.rc = result.rc;
	item->data = strdup(result.text ? result.text : "");
	name_copy(item->group, group->name);
	name_copy(item->resource, resource);
	truth->state = effect->op.op == CORE_OP_STOP ? TRUTH_STOPPING : TRUTH_STARTING;
	truth->is_serving = true;
	world_schedule(world, item, world->now_us + result.took_us);
}

/* What it makes of the truth; the daemon, if it is still there, hears of it next. */
void machine_op_done(struct world *world, struct item *item)
{
	struct truth *truth = truth_find(world, item->node, item->group, item->resource, false);

	if (!truth || truth->op != item->op)
		return; /* cancelled, or the machine went off meanwhile */
	truth->op = 0;
	item->is_seen = true;
	if (item->event.op_done.op == CORE_OP_START) {
		truth->state = item->event.op_done.rc == 0 ? TRUTH_RUNNING : TRUTH_STOPPED;
	} else if (item->event.op_done.rc == 0) {
		truth->state = TRUTH_STOPPED;
		truth->is_serving = truth->is_excused = truth->is_left = false;
	} else {
		truth->state = TRUTH_RUNNING;
	}
}

/* Places in the config that the core has now, or false. */
static bool place_of(const struct core_config *config, const char *group, const char *resource,
	uint32_t *ret_group, uint32_t *ret_resource)
{
	for (uint32_t i = 0; i < config->n_groups; i++) {
		for (uint32_t j = 0; j < config->groups[i].n_resources; j++) {
			if ((!group || strcmp(config->groups[i].name, group) == 0) &&
				strcmp(config->groups[i].resources[j].name, resource) == 0) {
				*ret_group = i;
				*ret_resource = j;
				return true;
			}
		}
	}
	return false;
}

/* ---- effects ---- */

static void save(struct machine *machine)
{
	const struct core_state *state = core_state(machine->core);

	free(machine->saved_offline);
	machine->saved_offline = calloc(state->n_groups + 1, CORE_NAME_SIZE);
	if (!machine->saved_offline)
		abort();
	machine->n_saved = 0;
	machine->saved_version = state->version;
	for (uint32_t i = 0; i < state->n_groups; i++) {
		if (!state->groups[i].enabled)
			name_copy(machine->saved_offline[machine->n_saved++],
				core_config(machine->core)->groups[i].name);
	}
}

static void log_reply(struct world *world, int node, const struct core_effect *effect)
{
	static const char *const words[] = {"ok", "not found", "refused", "no quorum", "failed"};
	char text[2 * CORE_TEXT_SIZE + 64];

	snprintf(text, sizeof(text), "answer %llu: %s%s%s",
		(unsigned long long)effect->reply.request_id, words[effect->reply.code],
		effect->reply.text ? ": " : "", effect->reply.text ? effect->reply.text : "");
	world->ops->log(world->ctx, node, false, text);
}

static void compare(struct world *world, int node, const struct core_effect *effect)
{
	struct item *item = item_new(ITEM_EVENT, node);
	char text[CORE_TEXT_SIZE] = "it differs";

	if (world->ops->difference)
		world->ops->difference(world->ctx, node, effect->compare.text, text, sizeof(text));
	item->instance = world->machines[node].instance;
	item->event.type = CORE_EV_COMPARED;
	item->event.compared = item->data = strdup(text);
	world_schedule(world, item, world->now_us);
}

static void timer_arm(struct world *world, int node, const struct core_effect *effect)
{
	struct machine *machine = &world->machines[node];
	struct item *item;

	machine->timer_us[effect->timer.timer] = effect->timer.at_us;
	if (effect->timer.at_us == 0)
		return;
	item = item_new(ITEM_TIMER, node);
	item->instance = machine->instance;
	item->event.type = CORE_EV_TIMER;
	item->event.timer = effect->timer.timer;
	item->armed_us = effect->timer.at_us;
	world_schedule(world, item, effect->timer.at_us);
}

static bool effect_do(struct world *world, int node, struct core_effect *effect)
{
	struct machine *machine = &world->machines[node];

	switch (effect->type) {
	case CORE_DO_SEND:
		bus_send(world, node, effect->send.data, effect->send.len);
		effect->send.data = NULL;
		break;
	case CORE_DO_OP: op_begin(world, node, effect); break;
	case CORE_DO_TIMER: timer_arm(world, node, effect); break;
	case CORE_DO_NOTE:
		world->ops->log(world->ctx, node, effect->note.is_replicated, effect->note.text);
		break;
	case CORE_DO_REPLY: log_reply(world, node, effect); break;
	case CORE_DO_RECORD: break;
	case CORE_DO_SAVE: save(machine); break;
	case CORE_DO_SWITCH: machine->config = machine->loaded; break;
	case CORE_DO_COMPARE: compare(world, node, effect); break;
	case CORE_DO_LEFT: return false;
	}
	return true;
}

void machine_step(struct world *world, int node, struct core_event *event)
{
	struct machine *machine = &world->machines[node];
	bool stays = true;

	event->now_us = world->now_us;
	event->wall_ms = world->now_us / 1000;
	core_step(machine->core, event, &machine->effects);
	for (uint32_t i = 0; i < machine->effects.n; i++)
		stays = effect_do(world, node, &machine->effects.list[i]) && stays;
	core_effects_clear(&machine->effects);
	check_all(world, node);
	if (!stays)
		world_daemon_left(world, node);
}

/* A daemon that was frozen is in charge again when a word of its own has come back to it. */
static void take_up(struct machine *machine, const struct item *item)
{
	if (machine->thawed_us == 0 || item->sent_us < machine->thawed_us ||
		item->event.message.nodeid != (uint32_t)item->node + 1 ||
		core_phase(machine->core) != CORE_MEMBER || core_is_frozen(machine->core))
		return;
	machine->thawed_us = 0;
	for (uint32_t i = 0; i < machine->n_truths; i++)
		machine->truths[i].is_left = false;
}

/* Something has come for a daemon that is there and awake. */
void machine_item(struct world *world, struct item *item)
{
	struct machine *machine = &world->machines[item->node];
	struct core_event *event = &item->event;

	switch (item->kind) {
	case ITEM_VIEW: machine->view = event->view; break;
	case ITEM_QUORUM:
		machine->quorum_ring = event->quorum.ring;
		machine->quorum = event->quorum.quorate;
		break;
	case ITEM_TIMER:
		if (machine->timer_us[event->timer] != item->armed_us)
			return;
		machine->timer_us[event->timer] = 0;
		break;
	case ITEM_OP:
		event->op_done.text = item->data;
		event->op_done.set_us = event->op_done.announced_us = world->now_us;
		if (!place_of(machine->config, item->group, item->resource, &event->op_done.group,
			    &event->op_done.resource))
			return;
		break;
	case ITEM_MESSAGE:
	case ITEM_RING:
	case ITEM_EVENT: break;
	}
	if (item->kind == ITEM_MESSAGE)
		take_up(machine, item);
	machine_step(world, item->node, event);
}

/* ---- what the world does to a daemon ---- */

void world_daemon_start(struct world *world, int node)
{
	struct machine *machine = &world->machines[node];
	bool *flags = calloc(machine->config->n_groups + CORE_MAX_RESOURCES, sizeof(bool));
	struct core_setup setup = {
		.config = machine->config,
		.own_nodeid = (uint32_t)node + 1,
		.holdoff_ms = world->holdoff_ms,
		.saved_version = machine->saved_version,
		.offline = flags,
	};

	if (!flags || !machine->is_on || machine->has_daemon) {
		free(flags);
		return;
	}
	for (uint32_t i = 0; i < machine->config->n_groups; i++) {
		for (uint32_t j = 0; j < machine->n_saved; j++)
			flags[i] = flags[i] || strcmp(machine->saved_offline[j],
						       machine->config->groups[i].name) == 0;
	}
	machine->instance = ++world->instance_seq;
	setup.incarnation = machine->instance;
	if (core_new(&setup, &machine->core) < 0)
		abort();
	for (uint32_t i = 0; i < machine->config->n_groups; i++) {
		const struct core_group *group = &machine->config->groups[i];

		for (uint32_t j = 0; j < group->n_resources; j++) {
			struct truth *truth = truth_find(
				world, node, group->name, group->resources[j].name, false);

			if (truth && truth->op != 0) { /* the daemon before had it under way */
				truth->op = 0;
				truth->state = TRUTH_RUNNING;
			}
			flags[j] = truth && truth->is_serving;
		}
		core_found(machine->core, i, flags);
	}
	free(flags);
	machine->has_daemon = true;
	machine->is_deaf = false;
	machine->loaded = NULL;
	machine->was_member = false;
	machine->thawed_us = 0;
	machine->view = (struct core_view){0};
	machine->quorum_ring = (struct ring_id){0};
	bus_join(world, node);
}

static bool is_awake(const struct world *world, int node)
{
	return world->machines[node].has_daemon && !world->machines[node].is_frozen;
}

void world_daemon_leave(struct world *world, int node)
{
	struct core_event event = {.type = CORE_EV_LEAVE};

	if (is_awake(world, node))
		machine_step(world, node, &event);
}

void world_admin(struct world *world, int node, uint64_t request_id, enum core_verb verb,
	const char *name, const char *to, bool wait)
{
	struct core_event event = {.type = CORE_EV_ADMIN};

	event.admin.request_id = request_id;
	event.admin.verb = verb;
	event.admin.name = name;
	event.admin.to = to;
	event.admin.wait = wait;
	if (is_awake(world, node))
		machine_step(world, node, &event);
}

void world_resource(struct world *world, int node, const char *resource, enum core_event_type type,
	bool unfit, const char *text)
{
	struct core_event event = {.type = type};

	event.resource.unfit = unfit;
	event.resource.text = text;
	if (is_awake(world, node) && place_of(world->machines[node].config, NULL, resource,
					     &event.resource.group, &event.resource.resource))
		machine_step(world, node, &event);
}

void world_reload(struct world *world, int node, const struct core_config *config)
{
	struct core_event event = {.type = CORE_EV_CONFIG, .config = config};

	world->machines[node].loaded = config;
	if (is_awake(world, node))
		machine_step(world, node, &event);
	else
		world->machines[node].config = config;
}

void world_start_by_hand(struct world *world, int node, const char *group)
{
	const struct core_config *config = world->machines[node].config;

	for (uint32_t i = 0; i < config->n_groups; i++) {
		if (strcmp(config->groups[i].name, group) != 0)
			continue;
		for (uint32_t j = 0; j < config->groups[i].n_resources; j++) {
			struct truth *truth = truth_find(
				world, node, group, config->groups[i].resources[j].name, true);

			truth->state = TRUTH_RUNNING;
			truth->is_serving = truth->is_left = true;
		}
	}
}
