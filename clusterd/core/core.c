/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * core_step: hands the event to the file that knows it, then settles: plans the groups that were
 * touched, lets this node do its part, answers who waits. Also the accessors.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "clusterd/core/internal.h"

static const char *const phase_names[CORE_PHASES] = {
	[CORE_OUT] = "waiting-for-corosync",
	[CORE_JOINING] = "joining",
	[CORE_MEMBER] = "member",
	[CORE_NO_QUORUM] = "no-quorum",
	[CORE_DIFFERS] = "differs",
	[CORE_LEFT] = "left",
};

int core_new(const struct core_setup *setup, struct core **ret_core)
{
	const struct core_config *config = setup->config;
	struct core *core = calloc(1, sizeof(*core));
	size_t groups = config->n_groups ? config->n_groups : 1;

	if (!core)
		return -ENOMEM;
	core->config = config;
	core->incarnation = setup->incarnation;
	core->holdoff_us = (int64_t)setup->holdoff_ms * 1000;
	core->saved_version = setup->saved_version;
	core->plan_touched = calloc(groups, 1);
	core->sync_touched = calloc(groups, 1);
	core->saved_offline = calloc(groups, sizeof(bool));
	if (!core->plan_touched || !core->sync_touched || !core->saved_offline ||
		state_init(&core->state, config) < 0 || local_init(core) < 0) {
		core_free(core);
		return -ENOMEM;
	}
	for (uint32_t i = 0; setup->offline && i < config->n_groups; i++)
		core->saved_offline[i] = setup->offline[i];
	core->self = node_of(core, setup->own_nodeid);
	if (core->self == CORE_NO_NODE) {
		core_free(core);
		return -EINVAL;
	}
	*ret_core = core;
	return 0;
}

void core_free(struct core *core)
{
	if (!core)
		return;
	queue_clear(core);
	free(core->queue);
	for (unsigned i = 0; i < CORE_MAX_NODES; i++)
		free(core->hello[i].found);
	local_fini(core);
	state_fini(&core->state);
	free(core->plan_touched);
	free(core->sync_touched);
	free(core->saved_offline);
	free(core);
}

void core_touch_local(struct core *core, uint32_t group)
{
	core->sync_touched[group] = 1;
	core->any_sync = true;
}

void core_touch(struct core *core, uint32_t group)
{
	core->plan_touched[group] = 1;
	core->any_plan = true;
	core_touch_local(core, group);
}

void core_sync_all(struct core *core)
{
	memset(core->sync_touched, 1, core->config->n_groups);
	core->any_sync = true;
}

void core_touch_all(struct core *core)
{
	memset(core->plan_touched, 1, core->config->n_groups);
	core->any_plan = true;
	core_sync_all(core);
}

bool core_may_act(const struct core *core)
{
	return core->phase == CORE_MEMBER && !core->is_frozen && quorum_holds(core);
}

static void sync_touched(struct core *core)
{
	core->any_sync = false;
	for (uint32_t i = 0; i < core->config->n_groups; i++) {
		if (!core->sync_touched[i])
			continue;
		core->sync_touched[i] = 0;
		local_sync(core, i);
	}
}

/* Every member comes past here between two ordered events, so that all plan the same: news of
 * quorum, which come to each at another point, must not decide whether it plans. Each pass needs a
 * group that the pass before moved on, and groups move on towards rest: it ends. */
void core_ordered_done(struct core *core)
{
	while (core->any_plan && core->phase == CORE_MEMBER && !core->is_frozen) {
		core->any_plan = false;
		plan_touched(core);
	}
	reload_settle(core);
	join_answer(core);
}

static void settle(struct core *core)
{
	while (core->any_sync)
		sync_touched(core);
	if (core->phase != CORE_MEMBER)
		reload_settle(core); /* what kept it waiting runs here, and may have stopped */
	while (core->any_sync)
		sync_touched(core);
	join_say_difference(core);
	admin_settle(core);
}

static void leave_step(struct core *core)
{
	struct msg msg = {.type = MSG_LEAVING};

	core->is_leaving = true;
	if (core_may_act(core) && !core->leave_sent) {
		effect_send(core, &msg);
		core->leave_sent = true;
	}
	core_sync_all(core);
}

/* Done when nothing runs here, and, while we have a voice, all others know it. */
static void leave_settle(struct core *core)
{
	if (!core->is_leaving || core->phase == CORE_LEFT || !local_all_idle(core))
		return;
	if (core_may_act(core)) {
		if (core->state.nodes[core->self].state != NODE_LEAVING)
			return;
		for (uint32_t i = 0; i < core->state.n_groups; i++) {
			if (core->state.groups[i].may_run_on & node_bit(core->self))
				return;
		}
	}
	phase_set(core, CORE_LEFT, "stopped in order");
	effect_add(core, CORE_DO_LEFT);
}

#define TICK_US 1000000

static void tick_step(struct core *core)
{
	holdoff_tick(core);
	forget_tick(core);
	local_tick(core);
	if (core->is_leaving)
		leave_step(core);
}

/* The next second, or sooner when a hold-off or a grace ends before it. */
static void tick_arm(struct core *core)
{
	int64_t now = core->event->now_us;
	int64_t at = now + TICK_US;

	for (unsigned i = 0; i < core->config->n_nodes; i++) {
		int64_t due = core->lost_us[i] + core->holdoff_us;

		if (core->lost_us[i] && due > now && due < at)
			at = due;
	}
	if (core->keep_until_us > now && core->keep_until_us < at)
		at = core->keep_until_us;
	if (core->tick_us > now && core->tick_us <= at)
		return;
	core->tick_us = at;
	effect_timer(core, CORE_TIMER_TICK, at);
}

static void dispatch(struct core *core, const struct core_event *event)
{
	switch (event->type) {
	case CORE_EV_VIEW: view_step(core, &event->view); break;
	case CORE_EV_QUORUM: quorum_step(core, event->quorum.ring, event->quorum.quorate); break;
	case CORE_EV_MESSAGE:
		message_deliver(
			core, event->message.nodeid, event->message.data, event->message.len);
		break;
	case CORE_EV_TIMER:
		if (event->timer == CORE_TIMER_TICK)
			tick_step(core);
		else
			join_timer(core, event->timer);
		break;
	case CORE_EV_OP_DONE: local_op_done(core, event); break;
	case CORE_EV_RESOURCE_FAILED: local_resource_failed(core, event); break;
	case CORE_EV_RESOURCE_FIT: local_resource_fit(core, event); break;
	case CORE_EV_ADMIN: admin_step(core, event); break;
	case CORE_EV_ADMIN_GONE: admin_forget(core, event->gone_request_id); break;
	case CORE_EV_CONFIG: reload_step(core, event->config); break;
	case CORE_EV_COMPARED: join_compared(core, event->compared); break;
	case CORE_EV_LEAVE: leave_step(core); break;
	case CORE_EV_LOST: lost_step(core); break;
	}
}

/* What waits to be delivered is old by now, and the others may have gone on without us: believe
 * nothing of it until they have answered. */
static void rejoin_if_stalled(struct core *core)
{
	int64_t late_us = core->event->now_us - core->tick_us;

	if ((core->phase != CORE_MEMBER && core->phase != CORE_JOINING &&
		    core->phase != CORE_DIFFERS) ||
		core->tick_us == 0 || late_us < core->holdoff_us)
		return;
	effect_note(core, CORE_NOTE_WARNING, false, "this node: clusterd did not run for %lld ms",
		(long long)(late_us / 1000));
	if (core->phase == CORE_MEMBER)
		keep_for_a_while(core);
	join_begin(core);
}

void core_step(struct core *core, const struct core_event *event, struct core_effects *effects)
{
	if (core->phase == CORE_LEFT)
		return;
	core->event = event;
	core->effects = effects;
	rejoin_if_stalled(core);
	dispatch(core, event);
	settle(core);
	leave_settle(core);
	tick_arm(core);
	core->event = NULL;
	core->effects = NULL;
}

enum core_phase core_phase(const struct core *core)
{
	return core->phase;
}

const char *core_phase_name(enum core_phase phase)
{
	return phase_names[phase];
}

bool core_is_quorate(const struct core *core)
{
	return quorum_holds(core);
}

bool core_is_frozen(const struct core *core)
{
	return core->is_frozen;
}

struct ring_id core_ring(const struct core *core)
{
	return core->view.ring;
}

const struct core_config *core_config(const struct core *core)
{
	return core->config;
}

const struct core_state *core_state(const struct core *core)
{
	return &core->state;
}

uint8_t core_own_node(const struct core *core)
{
	return core->self;
}

enum local_res core_local_resource(const struct core *core, uint32_t group, uint32_t resource)
{
	return core->local[group].res[resource];
}

int64_t core_group_changed_ms(const struct core *core, uint32_t group)
{
	return core->local[group].changed_wall_ms;
}

const char *core_difference(const struct core *core)
{
	return core->difference;
}
