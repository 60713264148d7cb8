/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Policy: where each group should be, and why. Pure: config and state in, choices out.
 *
 * Order of the rules: a group set offline is nowhere; a move under way goes to its target; a group
 * that runs stays; else the first preferred owner that can run it; else the node that can run it
 * and has the fewest groups, the first of the config among equals.
 */
#ifndef CLUSTERD_CORE_POLICY_H
#define CLUSTERD_CORE_POLICY_H

#include "clusterd/core/state.h"

enum policy_reason {
	POLICY_SET_OFFLINE,
	POLICY_MOVING,
	POLICY_STAYS,
	POLICY_PREFERRED,
	POLICY_ANY,
	POLICY_NO_NODE, /* none that is online can run it */
	POLICY_REASONS
};

struct policy_choice {
	uint8_t node; /* or CORE_NO_NODE */
	enum policy_reason reason;
};

/* Groups that each node runs or is about to run. */
struct policy_load {
	uint32_t groups[CORE_MAX_NODES];
};

void policy_load_init(struct policy_load *load, const struct core_state *state);
struct policy_choice policy_choose(const struct core_config *config, const struct core_state *state,
	const struct policy_load *load, uint32_t group);
/* The best node for the group outside `except`, whatever runs it now; or CORE_NO_NODE. */
uint8_t policy_best(const struct core_config *config, const struct core_state *state,
	const struct policy_load *load, uint32_t group, node_mask except);
/* All groups at once: ret_choices has room for n_groups. */
void policy_decide(const struct core_config *config, const struct core_state *state,
	struct policy_choice *ret_choices);

/* Can the node run the group at all, as the state stands? */
bool policy_may_run(const struct core_state *state, uint32_t group, uint8_t node);
/* Place of the node among the group's preferred owners; n_preferred: not one of them. */
uint8_t policy_rank(const struct core_group *group, uint8_t node);

const char *policy_reason_text(enum policy_reason reason);

#endif
