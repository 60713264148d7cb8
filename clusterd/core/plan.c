/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From policy to movement: every member runs this after each ordered event, on the same state, and
 * so comes to the same plan.
 */
#include <string.h>

#include "clusterd/core/internal.h"

static enum cause stop_cause(
	const struct core *core, const struct group_rec *rec, uint8_t *ret_node)
{
	*ret_node = rec->owner;
	if (!rec->enabled)
		return CAUSE_OPERATOR;
	if (core->state.nodes[rec->owner].state == NODE_LEAVING)
		return CAUSE_NODE_STOPS;
	if (core->state.nodes[rec->owner].state == NODE_DIFFERS)
		return CAUSE_CONFIG;
	*ret_node = rec->cause_node;
	return rec->cause;
}

/* Its daemon is away or has just come back: what it had stays its own until it says hello, or the
 * hold-off ends. */
static bool is_awaited(const struct core *core, uint8_t node)
{
	enum node_state state = core->state.nodes[node].state;

	return state == NODE_LOST || state == NODE_JOINING;
}

static void plan_group(struct core *core, uint32_t group, struct policy_load *load)
{
	struct group_rec *rec = &core->state.groups[group];
	struct policy_choice choice = policy_choose(core->config, &core->state, load, group);
	enum cause cause;
	uint8_t node;

	switch (rec->state) {
	case GROUP_OFFLINE:
	case GROUP_FAILED:
		if (choice.node != CORE_NO_NODE && may_start_on(rec, choice.node)) {
			load->groups[choice.node]++;
			group_move(core, group, GROUP_EV_START, choice.node, rec->cause,
				rec->cause_node);
		} else if (rec->state == GROUP_FAILED && !rec->enabled) {
			group_move(core, group, GROUP_EV_GIVEN_UP, CORE_NO_NODE, CAUSE_OPERATOR,
				CORE_NO_NODE);
		} else if (rec->state == GROUP_OFFLINE && rec->enabled &&
			   choice.node == CORE_NO_NODE && rec->may_run_on == 0) {
			group_move(core, group, GROUP_EV_NOWHERE, CORE_NO_NODE, rec->cause,
				rec->cause_node);
		}
		break;
	case GROUP_STARTING:
	case GROUP_ONLINE:
		if (choice.node == rec->owner || (rec->enabled && is_awaited(core, rec->owner)))
			break;
		load->groups[rec->owner]--;
		cause = stop_cause(core, rec, &node);
		group_move(core, group, GROUP_EV_STOP, rec->owner, cause, node);
		break;
	case GROUP_STOPPING:
	case GROUP_BLOCKED:
	case GROUP_STATES: break;
	}
}

/* What went wrong is told until the group runs and every node is a choice for it again. */
static void problem_settle(struct group_rec *rec)
{
	if (rec->state == GROUP_ONLINE && !rec->failed_on && !rec->unfit_on)
		group_set_problem(rec, NULL);
}

void plan_touched(struct core *core)
{
	struct policy_load load;

	policy_load_init(&load, &core->state);
	for (uint32_t i = 0; i < core->state.n_groups; i++) {
		if (!core->plan_touched[i])
			continue;
		core->plan_touched[i] = 0;
		plan_group(core, i, &load);
		problem_settle(&core->state.groups[i]);
	}
}

#define RETRY_FIRST_US 5000000
#define RETRY_BACKOFF_MAX 6 /* 5 s * 2^6 = 320 s */
#define FORGET_US 600000000
#define RANK_US 2000000 /* the lowest node speaks; the next ones only if it does not */

static int64_t forget_after_us(const struct group_rec *rec)
{
	unsigned doublings = rec->backoff < RETRY_BACKOFF_MAX ? rec->backoff : RETRY_BACKOFF_MAX;

	if (rec->state == GROUP_FAILED)
		return RETRY_FIRST_US << doublings;
	return FORGET_US;
}

void forget_tick(struct core *core)
{
	int64_t rank_us = 0;

	if (!core_may_act(core))
		return;
	for (uint8_t i = 0; i < core->self; i++) {
		if (core->state.nodes[i].state == NODE_ONLINE)
			rank_us += RANK_US;
	}
	for (uint32_t i = 0; i < core->state.n_groups; i++) {
		const struct group_rec *rec = &core->state.groups[i];
		struct msg msg = {.type = MSG_FORGET, .group = i, .gen = rec->gen};
		int64_t age = core->event->now_us - core->local[i].changed_us;

		if (!rec->failed_on && !rec->restarts)
			continue;
		if (age >= forget_after_us(rec) + rank_us)
			effect_send(core, &msg);
	}
}
