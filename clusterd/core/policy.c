/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Placement of groups. Called by plan.c for the cluster and by status for its reasons. */
#include "clusterd/core/policy.h"

static const char *const reason_texts[POLICY_REASONS] = {
	[POLICY_SET_OFFLINE] = "set offline by the operator",
	[POLICY_MOVING] = "goes where the move under way was sent",
	[POLICY_STAYS] = "stays where it runs",
	[POLICY_PREFERRED] = "the first preferred owner that can run it",
	[POLICY_ANY] = "no preferred owner can run it; the online node with the fewest groups",
	[POLICY_NO_NODE] = "no node that is online can run it",
};

const char *policy_reason_text(enum policy_reason reason)
{
	return reason_texts[reason];
}

bool policy_may_run(const struct core_state *state, uint32_t group, uint8_t node)
{
	const struct group_rec *rec = &state->groups[group];

	return node < state->n_nodes && state->nodes[node].state == NODE_ONLINE &&
	       !((rec->failed_on | rec->unfit_on) & node_bit(node));
}

uint8_t policy_rank(const struct core_group *group, uint8_t node)
{
	uint8_t rank = 0;

	while (rank < group->n_preferred && group->preferred[rank] != node)
		rank++;
	return rank;
}

void policy_load_init(struct policy_load *load, const struct core_state *state)
{
	*load = (struct policy_load){0};
	for (uint32_t i = 0; i < state->n_groups; i++) {
		const struct group_rec *rec = &state->groups[i];

		if (rec->state == GROUP_STARTING || rec->state == GROUP_ONLINE)
			load->groups[rec->owner]++;
	}
}

static uint8_t first_preferred(const struct core_group *group, const struct core_state *state,
	uint32_t index, node_mask except)
{
	for (uint8_t i = 0; i < group->n_preferred; i++) {
		uint8_t node = group->preferred[i];

		if (!(except & node_bit(node)) && policy_may_run(state, index, node))
			return node;
	}
	return CORE_NO_NODE;
}

static uint8_t least_loaded(const struct core_state *state, const struct policy_load *load,
	uint32_t index, node_mask except)
{
	uint8_t best = CORE_NO_NODE;

	for (uint8_t node = 0; node < state->n_nodes; node++) {
		if ((except & node_bit(node)) || !policy_may_run(state, index, node))
			continue;
		if (best == CORE_NO_NODE || load->groups[node] < load->groups[best])
			best = node;
	}
	return best;
}

uint8_t policy_best(const struct core_config *config, const struct core_state *state,
	const struct policy_load *load, uint32_t group, node_mask except)
{
	uint8_t node = first_preferred(&config->groups[group], state, group, except);

	return node != CORE_NO_NODE ? node : least_loaded(state, load, group, except);
}

struct policy_choice policy_choose(const struct core_config *config, const struct core_state *state,
	const struct policy_load *load, uint32_t group)
{
	const struct group_rec *rec = &state->groups[group];
	uint8_t node;

	if (!rec->enabled)
		return (struct policy_choice){CORE_NO_NODE, POLICY_SET_OFFLINE};
	if (policy_may_run(state, group, rec->target))
		return (struct policy_choice){rec->target, POLICY_MOVING};
	if ((rec->state == GROUP_STARTING || rec->state == GROUP_ONLINE) &&
		policy_may_run(state, group, rec->owner))
		return (struct policy_choice){rec->owner, POLICY_STAYS};
	node = first_preferred(&config->groups[group], state, group, 0);
	if (node != CORE_NO_NODE)
		return (struct policy_choice){node, POLICY_PREFERRED};
	node = least_loaded(state, load, group, 0);
	return (struct policy_choice){node, node == CORE_NO_NODE ? POLICY_NO_NODE : POLICY_ANY};
}

void policy_decide(const struct core_config *config, const struct core_state *state,
	struct policy_choice *ret_choices)
{
	struct policy_load load;

	policy_load_init(&load, state);
	for (uint32_t i = 0; i < state->n_groups; i++) {
		const struct group_rec *rec = &state->groups[i];

		ret_choices[i] = policy_choose(config, state, &load, i);
		if (rec->state != GROUP_STARTING && rec->state != GROUP_ONLINE &&
			ret_choices[i].node != CORE_NO_NODE)
			load.groups[ret_choices[i].node]++;
	}
}
