/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The replicated state's life, its bytes and its digest. Called by the core only. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "clusterd/core/state.h"

static const char *const node_state_names[NODE_STATES] = {
	[NODE_OFFLINE] = "offline",
	[NODE_JOINING] = "joining",
	[NODE_DIFFERS] = "differs",
	[NODE_ONLINE] = "online",
	[NODE_LEAVING] = "leaving",
	[NODE_LOST] = "lost",
};

static const char *const group_state_names[GROUP_STATES] = {
	[GROUP_OFFLINE] = "offline",
	[GROUP_STARTING] = "starting",
	[GROUP_ONLINE] = "online",
	[GROUP_STOPPING] = "stopping",
	[GROUP_FAILED] = "failed",
	[GROUP_BLOCKED] = "blocked",
};

const char *node_state_name(enum node_state state)
{
	return node_state_names[state];
}

const char *group_state_name(enum group_state state)
{
	return group_state_names[state];
}

int state_init(struct core_state *state, const struct core_config *config)
{
	struct group_rec *groups = calloc(config->n_groups ? config->n_groups : 1, sizeof(*groups));

	if (!groups)
		return -ENOMEM;
	*state = (struct core_state){
		.n_nodes = config->n_nodes,
		.n_groups = config->n_groups,
		.groups = groups,
	};
	for (uint32_t i = 0; i < config->n_groups; i++) {
		groups[i].enabled = true;
		groups[i].owner = CORE_NO_NODE;
		groups[i].origin = CORE_NO_NODE;
		groups[i].target = CORE_NO_NODE;
		groups[i].cause_node = CORE_NO_NODE;
	}
	return 0;
}

void state_fini(struct core_state *state)
{
	for (uint32_t i = 0; state->groups && i < state->n_groups; i++)
		free(state->groups[i].problem);
	free(state->groups);
	*state = (struct core_state){0};
}

void group_set_problem(struct group_rec *group, const char *text)
{
	size_t len = text ? strlen(text) : 0;

	free(group->problem);
	group->problem = NULL;
	if (len == 0)
		return;
	if (len >= CORE_TEXT_SIZE)
		len = CORE_TEXT_SIZE - 1;
	group->problem = calloc(1, len + 1);
	if (group->problem)
		memcpy(group->problem, text, len);
}

static void group_encode(const struct group_rec *group, struct buf *buf)
{
	buf_u8(buf, group->enabled);
	buf_u8(buf, (uint8_t)group->state);
	buf_u8(buf, group->owner);
	buf_u8(buf, group->origin);
	buf_u8(buf, group->target);
	buf_u8(buf, group->restarts);
	buf_u8(buf, group->backoff);
	buf_u32(buf, group->may_run_on);
	buf_u32(buf, group->failed_on);
	buf_u32(buf, group->unfit_on);
	buf_u32(buf, group->gen);
	buf_u8(buf, (uint8_t)group->cause);
	buf_u8(buf, group->cause_node);
	buf_str(buf, group->problem);
}

void state_encode(const struct core_state *state, struct buf *buf)
{
	buf_u64(buf, state->version);
	buf_u32(buf, state->n_nodes);
	buf_u32(buf, state->n_groups);
	for (uint32_t i = 0; i < state->n_nodes; i++) {
		buf_u8(buf, (uint8_t)state->nodes[i].state);
		buf_u64(buf, state->nodes[i].incarnation);
		buf_u64(buf, state->nodes[i].loaded);
		buf_u32(buf, state->nodes[i].hello_seq);
		buf_u8(buf, state->nodes[i].is_returning);
		buf_str(buf, state->nodes[i].difference);
	}
	for (uint32_t i = 0; i < state->n_groups; i++)
		group_encode(&state->groups[i], buf);
}

static bool is_node_or_none(uint8_t node, uint32_t n_nodes)
{
	return node < n_nodes || node == CORE_NO_NODE;
}

static bool group_is_sound(const struct group_rec *group, uint32_t n_nodes)
{
	bool is_held = group->state == GROUP_STARTING || group->state == GROUP_ONLINE ||
		       group->state == GROUP_STOPPING || group->state == GROUP_BLOCKED;
	node_mask known = n_nodes == 32 ? UINT32_MAX : node_bit(n_nodes) - 1;

	return group->state < GROUP_STATES && group->cause < CAUSES &&
	       is_node_or_none(group->owner, n_nodes) && is_node_or_none(group->origin, n_nodes) &&
	       is_node_or_none(group->target, n_nodes) &&
	       is_node_or_none(group->cause_node, n_nodes) &&
	       is_held == (group->owner != CORE_NO_NODE) &&
	       !((group->may_run_on | group->failed_on | group->unfit_on) & ~known);
}

static bool group_decode(struct group_rec *group, uint32_t n_nodes, struct reader *reader)
{
	char problem[CORE_TEXT_SIZE];

	group->enabled = reader_u8(reader) != 0;
	group->state = reader_u8(reader);
	group->owner = reader_u8(reader);
	group->origin = reader_u8(reader);
	group->target = reader_u8(reader);
	group->restarts = reader_u8(reader);
	group->backoff = reader_u8(reader);
	group->may_run_on = reader_u32(reader);
	group->failed_on = reader_u32(reader);
	group->unfit_on = reader_u32(reader);
	group->gen = reader_u32(reader);
	group->cause = reader_u8(reader);
	group->cause_node = reader_u8(reader);
	reader_str(reader, problem, sizeof(problem));
	if (!reader_ok(reader) || !group_is_sound(group, n_nodes))
		return false;
	group_set_problem(group, problem);
	return true;
}

int state_decode(
	struct core_state *ret_state, const struct core_config *config, struct reader *reader)
{
	struct core_state state;
	int rc = state_init(&state, config);

	if (rc < 0)
		return rc;
	state.version = reader_u64(reader);
	if (reader_u32(reader) != config->n_nodes || reader_u32(reader) != config->n_groups)
		goto hostile;
	for (uint32_t i = 0; i < state.n_nodes; i++) {
		struct node_rec *node = &state.nodes[i];

		node->state = reader_u8(reader);
		node->incarnation = reader_u64(reader);
		node->loaded = reader_u64(reader);
		node->hello_seq = reader_u32(reader);
		node->is_returning = reader_u8(reader) != 0;
		reader_str(reader, node->difference, sizeof(node->difference));
		if (node->state >= NODE_STATES)
			goto hostile;
	}
	for (uint32_t i = 0; i < state.n_groups; i++) {
		if (!group_decode(&state.groups[i], state.n_nodes, reader))
			goto hostile;
	}
	if (!reader_at_end(reader))
		goto hostile;
	*ret_state = state;
	return 0;

hostile:
	state_fini(&state);
	return -EPROTO;
}

uint64_t state_digest(const struct core_state *state)
{
	struct buf buf = {0};
	uint64_t digest;

	state_encode(state, &buf);
	digest = core_digest(buf.data, buf.len);
	buf_fini(&buf);
	return digest;
}
