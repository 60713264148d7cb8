/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The resources of this node, by group and place: hands the core's operations to their types and
 * the types' results to the core. Every node has every resource, also those it does not hold.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clusterd/daemon.h"
#include "clusterd/log.h"
#include "resources/vip.h"

#define OPS_A_TURN 8 /* of those that start a process: each may take a millisecond or more */
#define OPS_AT_ONCE (RUNNER_CHILDREN_MAX / 2) /* of the same; the other half is for monitors */

enum op_kind { OP_NONE, OP_PROBING, OP_STARTING, OP_STOPPING };

struct slot {
	struct resource *res;
	uint64_t op; /* of the operation under way */
	enum op_kind kind;
	struct slot *next_waiting; /* its turn has not come yet */
	bool is_waiting, is_counted;
};

struct slots {
	uint32_t n;
	struct slot *slots;
	bool *found; /* by the probe */
};

struct resource_set {
	struct daemon *daemon;
	struct resource_host host;
	uint64_t next_op;
	uint32_t n_groups;
	struct slots *groups;
	uint32_t n_this_turn; /* operations begun in this turn of the loop */
	uint32_t n_at_once;   /* operations under way, of those that start a process */
	struct slot *waiting, **waiting_end;
	struct loop_timer *turn_timer;
	uint32_t n_probes;
	void (*probed)(struct daemon *daemon);
};

static struct slot *slot_of(struct resource_set *set, const struct resource *res)
{
	return &set->groups[res->group].slots[res->index];
}

static void op_call(struct slot *slot)
{
	struct resource *res = slot->res;

	switch (slot->kind) {
	case OP_PROBING: res->type->probe(res, slot->op); break;
	case OP_STARTING: res->type->start(res, slot->op); break;
	case OP_STOPPING: res->type->stop(res, slot->op); break;
	case OP_NONE: break;
	}
}

static void on_turn(void *ctx);

static void turn_arm(struct resource_set *set)
{
	if (!set->turn_timer &&
		loop_timer_add(set->host.loop, 0, on_turn, set, "operations", &set->turn_timer) < 0)
		daemon_fail(set->daemon, 1);
}

static bool has_room(const struct resource_set *set)
{
	return set->n_this_turn < OPS_A_TURN && set->n_at_once < OPS_AT_ONCE;
}

static void op_call_counted(struct resource_set *set, struct slot *slot)
{
	set->n_this_turn++;
	set->n_at_once++;
	slot->is_counted = true;
	op_call(slot);
}

static void wait_add(struct resource_set *set, struct slot *slot)
{
	slot->is_waiting = true;
	slot->next_waiting = NULL;
	*set->waiting_end = slot;
	set->waiting_end = &slot->next_waiting;
}

static void wait_del(struct resource_set *set, struct slot *slot)
{
	struct slot **at = &set->waiting;

	while (*at != slot)
		at = &(*at)->next_waiting;
	*at = slot->next_waiting;
	if (!*at)
		set->waiting_end = at;
	slot->is_waiting = false;
}

/* A call may have its result at once, and that may begin or call off others. */
static void on_turn(void *ctx)
{
	struct resource_set *set = ctx;

	set->n_this_turn = 0;
	while (set->waiting && has_room(set)) {
		struct slot *slot = set->waiting;

		wait_del(set, slot);
		op_call_counted(set, slot);
	}
	if (set->n_this_turn > 0)
		turn_arm(set);
}

/* Many processes started at once would hold up the loop: a few begin at once, the others wait for
 * the next turns. Pipelined operations are quick and never wait. */
static void op_begin(struct resource_set *set, struct slot *slot, enum op_kind kind)
{
	slot->op = ++set->next_op;
	slot->kind = kind;
	if (slot->res->type->pipelined) {
		op_call(slot);
		return;
	}
	turn_arm(set);
	if (set->waiting || !has_room(set))
		wait_add(set, slot);
	else
		op_call_counted(set, slot);
}

/* Its result has come, or it never will. */
static void op_uncount(struct resource_set *set, struct slot *slot)
{
	if (!slot->is_counted)
		return;
	slot->is_counted = false;
	set->n_at_once--;
	if (set->waiting)
		turn_arm(set);
}

/* One that has not begun yet ends at once. */
static void op_cancel(struct resource_set *set, struct slot *slot)
{
	if (!slot->is_waiting) {
		slot->res->type->cancel(slot->res);
		return;
	}
	wait_del(set, slot);
	set->host.done(set, slot->res, slot->op, -ECANCELED, "called off");
}

static void probe_done(struct resource_set *set, struct resource *res, int rc, const char *text)
{
	if (rc < 0)
		log_warning("resource %s: not known whether it runs here, so taken as running: %s",
			res->conf->name, text && text[0] ? text : strerror(-rc));
	set->groups[res->group].found[res->index] = rc != PROBE_STOPPED;
	if (--set->n_probes == 0)
		set->probed(set->daemon);
}

static void on_done(void *ctx, struct resource *res, uint64_t op, int rc, const char *text)
{
	struct resource_set *set = ctx;
	struct slot *slot = slot_of(set, res);
	enum op_kind kind = slot->kind;
	struct core_event event = {.type = CORE_EV_OP_DONE};

	if (slot->op != op || kind == OP_NONE)
		return;
	slot->kind = OP_NONE;
	op_uncount(set, slot);
	if (kind == OP_PROBING) {
		probe_done(set, res, rc, text);
		return;
	}
	if (kind == OP_STOPPING && rc == 0)
		set->groups[res->group].found[res->index] = false;
	event.op_done.group = res->group;
	event.op_done.resource = res->index;
	event.op_done.op = kind == OP_STARTING ? CORE_OP_START : CORE_OP_STOP;
	event.op_done.rc = rc;
	if (kind == OP_STARTING && rc == 0) {
		event.op_done.set_us = res->set_ns / 1000;
		event.op_done.announced_us = res->announced_ns / 1000;
	}
	if (rc < 0 && (!text || !text[0]))
		text = strerror(-rc);
	if (rc < 0 && !set->daemon->core) /* nobody else will say it */
		log_error("resource %s: what was found running could not be stopped: %s",
			res->conf->name, text);
	daemon_queue(set->daemon, &event, text);
}

static void queue_verdict(struct resource_set *set, struct resource *res, enum core_event_type type,
	bool unfit, const char *text)
{
	struct core_event event = {.type = type};

	event.resource.group = res->group;
	event.resource.resource = res->index;
	event.resource.unfit = unfit;
	daemon_queue(set->daemon, &event, text);
}

static void on_failed(void *ctx, struct resource *res, bool node_unfit, const char *text)
{
	queue_verdict(ctx, res, CORE_EV_RESOURCE_FAILED, node_unfit, text);
}

static void on_fit(void *ctx, struct resource *res)
{
	queue_verdict(ctx, res, CORE_EV_RESOURCE_FIT, false, NULL);
}

static void on_note(void *ctx, struct resource *res, const char *text)
{
	(void)ctx;
	log_warning("resource %s: %s", res->conf->name, text);
}

static int slots_init(struct resource_set *set, struct slots *slots, uint32_t group,
	const struct config_group *conf, uint32_t n)
{
	slots->n = n;
	slots->slots = calloc(n ? n : 1, sizeof(*slots->slots));
	slots->found = calloc(n ? n : 1, sizeof(*slots->found));
	if (!slots->slots || !slots->found)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++) {
		const struct config_resource *res = &conf->resources[i];
		int rc = res->type->create(&set->host, res, &slots->slots[i].res);

		if (rc < 0) {
			log_error("resource %s: cannot be set up: %s", res->name, strerror(-rc));
			return rc;
		}
		slots->slots[i].res->group = group;
		slots->slots[i].res->index = i;
	}
	return 0;
}

static void slots_fini(struct resource_set *set, struct slots *slots)
{
	for (uint32_t i = 0; slots->slots && i < slots->n; i++) {
		struct slot *slot = &slots->slots[i];

		if (slot->is_waiting)
			wait_del(set, slot);
		op_uncount(set, slot);
		if (slot->res)
			slot->res->type->free(slot->res);
	}
	free(slots->slots);
	free(slots->found);
	*slots = (struct slots){0};
}

int resource_set_new(struct daemon *daemon, struct resource_set **ret_set)
{
	const struct config *config = daemon->config;
	struct resource_set *set = calloc(1, sizeof(*set));
	int rc;

	if (!set)
		return -ENOMEM;
	set->daemon = daemon;
	set->waiting_end = &set->waiting;
	set->host = (struct resource_host){
		.loop = daemon->loop,
		.runner = daemon->runner,
		.ctx = set,
		.done = on_done,
		.failed = on_failed,
		.fit = on_fit,
		.note = on_note,
	};
	rc = vip_engine_new(daemon->loop, &set->host.vips);
	if (rc < 0)
		goto fail;
	set->n_groups = config->core.n_groups;
	set->groups = calloc(set->n_groups ? set->n_groups : 1, sizeof(*set->groups));
	rc = set->groups ? 0 : -ENOMEM;
	for (uint32_t i = 0; rc == 0 && i < set->n_groups; i++)
		rc = slots_init(set, &set->groups[i], i, &config->groups[i],
			config->core.groups[i].n_resources);
	if (rc < 0)
		goto fail;
	*ret_set = set;
	return 0;

fail:
	resource_set_free(set);
	return rc;
}

void resource_set_free(struct resource_set *set)
{
	if (!set)
		return;
	for (uint32_t i = 0; set->groups && i < set->n_groups; i++)
		slots_fini(set, &set->groups[i]);
	loop_timer_del(set->daemon->loop, &set->turn_timer);
	free(set->groups);
	vip_engine_free(set->host.vips);
	free(set);
}

void resource_set_probe(struct resource_set *set, void (*fn)(struct daemon *daemon))
{
	set->probed = fn;
	set->n_probes = 1; /* held until all have been asked */
	for (uint32_t i = 0; i < set->n_groups; i++) {
		for (uint32_t j = 0; j < set->groups[i].n; j++) {
			struct slot *slot = &set->groups[i].slots[j];

			set->n_probes++;
			op_begin(set, slot, OP_PROBING);
		}
	}
	if (--set->n_probes == 0)
		fn(set->daemon);
}

bool resource_set_is_busy(const struct resource_set *set)
{
	for (uint32_t i = 0; i < set->n_groups; i++) {
		for (uint32_t j = 0; j < set->groups[i].n; j++) {
			if (set->groups[i].slots[j].kind != OP_NONE)
				return true;
		}
	}
	return false;
}

const bool *resource_set_found(const struct resource_set *set, uint32_t group)
{
	return set->groups[group].found;
}

void resource_set_op(struct resource_set *set, enum core_op op, uint32_t group, uint32_t resource)
{
	struct slot *slot = &set->groups[group].slots[resource];

	switch (op) {
	case CORE_OP_START: op_begin(set, slot, OP_STARTING); break;
	case CORE_OP_STOP: op_begin(set, slot, OP_STOPPING); break;
	case CORE_OP_CANCEL:
		if (slot->kind != OP_NONE)
			op_cancel(set, slot);
		break;
	case CORE_OP_ADOPT: slot->res->type->adopt(slot->res); break;
	}
}

uint32_t resource_set_same_group(const struct config *in, const struct config *of, uint32_t i)
{
	const struct core_group *group = &of->core.groups[i];

	for (uint32_t j = 0; j < in->core.n_groups; j++) {
		if (in->core.groups[j].digest == group->digest &&
			strcmp(in->core.groups[j].name, group->name) == 0)
			return j;
	}
	return UINT32_MAX;
}

int resource_set_switch(
	struct resource_set *set, const struct config *from, const struct config *to)
{
	uint32_t n = to->core.n_groups;
	struct slots *groups = calloc(n ? n : 1, sizeof(*groups));
	int rc = 0;

	if (!groups)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++) {
		uint32_t old = resource_set_same_group(from, to, i);

		if (old == UINT32_MAX)
			continue;
		groups[i] = set->groups[old];
		set->groups[old] = (struct slots){0};
		for (uint32_t j = 0; j < groups[i].n; j++) {
			groups[i].slots[j].res->group = i;
			groups[i].slots[j].res->conf = &to->groups[i].resources[j];
		}
	}
	for (uint32_t i = 0; i < set->n_groups; i++)
		slots_fini(set, &set->groups[i]);
	free(set->groups);
	set->groups = groups;
	set->n_groups = n;
	for (uint32_t i = 0; rc == 0 && i < n; i++) {
		if (!groups[i].slots)
			rc = slots_init(
				set, &groups[i], i, &to->groups[i], to->core.groups[i].n_resources);
	}
	return rc;
}
