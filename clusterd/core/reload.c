/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A newly loaded config becomes the cluster's when every member has loaded it and each group that
 * it changes or removes is offline: then all switch at the same ordered message. A node that holds
 * nothing (it is still joining, or its old file differed) switches at once and joins with it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "clusterd/core/internal.h"

static uint32_t same_group(const struct core_config *in, const struct core_group *group)
{
	for (uint32_t i = 0; i < in->n_groups; i++) {
		if (in->groups[i].digest == group->digest &&
			strcmp(in->groups[i].name, group->name) == 0)
			return i;
	}
	return UINT32_MAX;
}

static uint32_t group_called(const struct core_config *in, const char *name)
{
	for (uint32_t i = 0; i < in->n_groups; i++) {
		if (strcmp(in->groups[i].name, name) == 0)
			return i;
	}
	return UINT32_MAX;
}

static uint8_t same_node(const struct core_config *in, const char *name)
{
	for (uint32_t i = 0; i < in->n_nodes; i++) {
		if (strcmp(in->nodes[i].name, name) == 0)
			return (uint8_t)i;
	}
	return CORE_NO_NODE;
}

static uint8_t map_node(const uint8_t *map, uint8_t node)
{
	return node < CORE_MAX_NODES ? map[node] : CORE_NO_NODE;
}

static node_mask map_mask(const uint8_t *map, node_mask mask)
{
	node_mask mapped = 0;

	for (uint8_t i = 0; i < CORE_MAX_NODES; i++) {
		if ((mask & node_bit(i)) && map[i] != CORE_NO_NODE)
			mapped |= node_bit(map[i]);
	}
	return mapped;
}

static void group_carry(struct group_rec *to, struct group_rec *from, const uint8_t *map)
{
	*to = *from;
	from->problem = NULL;
	to->owner = map_node(map, from->owner);
	to->origin = map_node(map, from->origin);
	to->target = map_node(map, from->target);
	to->cause_node = map_node(map, from->cause_node);
	to->may_run_on = map_mask(map, from->may_run_on);
	to->failed_on = map_mask(map, from->failed_on);
	to->unfit_on = map_mask(map, from->unfit_on);
}

/* Replaces every array that is sized by the config; what stays the same is carried over. */
static void do_switch(struct core *core)
{
	const struct core_config *from = core->config, *to = core->loaded;
	bool *old_offline = core->saved_offline;
	struct core_state old = core->state;
	struct local_group *old_local = core->local;
	int64_t old_lost_us[CORE_MAX_NODES];
	uint8_t map[CORE_MAX_NODES];
	size_t n = to->n_groups ? to->n_groups : 1;

	admin_settle(core); /* by their places in the old config; after it none can wait */
	admin_fail_all(core, "a new config has come into force");
	memset(map, CORE_NO_NODE, sizeof(map));
	for (uint32_t i = 0; i < from->n_nodes; i++)
		map[i] = same_node(to, from->nodes[i].name);
	core->config = to;
	core->loaded = NULL;
	free(core->plan_touched);
	free(core->sync_touched);
	core->plan_touched = calloc(n, 1);
	core->sync_touched = calloc(n, 1);
	core->saved_offline = calloc(n, sizeof(bool));
	if (!core->plan_touched || !core->sync_touched || !core->saved_offline ||
		state_init(&core->state, to) < 0 || local_init(core) < 0)
		abort();
	core->state.version = old.version;
	for (uint32_t i = 0; i < old.n_nodes; i++) {
		if (map[i] != CORE_NO_NODE)
			core->state.nodes[map[i]] = old.nodes[i];
	}
	for (uint32_t i = 0; i < from->n_groups; i++) {
		uint32_t j = group_called(to, from->groups[i].name);

		if (j != UINT32_MAX) { /* the operator's order stands, however the group has changed
					*/
			core->saved_offline[j] = old_offline[i];
			core->state.groups[j].enabled = old.groups[i].enabled;
		}
		j = same_group(to, &from->groups[i]);

		if (j != UINT32_MAX) {
			struct local_group fresh = core->local[j];

			group_carry(&core->state.groups[j], &old.groups[i], map);
			core->local[j] = old_local[i];
			old_local[i] = fresh;
		}
		free(old_local[i].res);
		free(old_local[i].unfit_res);
		free(old_local[i].failed_text);
	}
	free(old_local);
	free(old_offline);
	state_fini(&old);
	core->self = map[core->self];
	memcpy(old_lost_us, core->lost_us, sizeof(old_lost_us));
	memset(core->lost_us, 0, sizeof(core->lost_us));
	for (unsigned i = 0; i < CORE_MAX_NODES; i++) {
		core->hello[i].seen = false;
		if (map[i] != CORE_NO_NODE)
			core->lost_us[map[i]] = old_lost_us[i];
	}
	machines_note(core);
	if (core->has_state)
		effect_add(core, CORE_DO_SAVE);
	local_forget_reports(core);
	effect_add(core, CORE_DO_SWITCH);
	effect_note(core, CORE_NOTE_INFO, core->phase == CORE_MEMBER, "the new config is in force");
	core_touch_all(core);
}

/* What still keeps the loaded config from coming into force, in words; false: nothing. */
static bool is_waiting(const struct core *core)
{
	const struct core_config *to = core->loaded;

	for (uint32_t i = 0; i < core->state.n_nodes; i++) {
		const struct node_rec *node = &core->state.nodes[i];

		if (node->state == NODE_OFFLINE || node->state == NODE_DIFFERS)
			continue;
		if (node->state != NODE_ONLINE || node->loaded != to->digest ||
			same_node(to, core->config->nodes[i].name) == CORE_NO_NODE)
			return true;
	}
	for (uint32_t i = 0; i < core->state.n_groups; i++) {
		if (same_group(to, &core->config->groups[i]) == UINT32_MAX &&
			core->state.groups[i].may_run_on != 0)
			return true;
	}
	return false;
}

void reload_settle(struct core *core)
{
	if (!core->loaded)
		return;
	if (core->phase == CORE_MEMBER) {
		if (!core->is_frozen && !is_waiting(core)) {
			do_switch(core);
			for (uint32_t i = 0; i < core->state.n_nodes; i++)
				core->state.nodes[i].loaded = core->config->digest;
			core_ordered_done(core);
		}
		return;
	}
	if (!local_all_idle(core) ||
		same_node(core->loaded, core->config->nodes[core->self].name) == CORE_NO_NODE)
		return;
	do_switch(core);
	core->difference[0] = '\0';
	if (core->phase == CORE_DIFFERS || core->phase == CORE_JOINING) {
		phase_set(core, CORE_JOINING, "has a new config");
		join_begin(core);
	}
}

void reload_apply(struct core *core, uint8_t node, const struct msg *msg)
{
	core->state.nodes[node].loaded = msg->loaded;
	if (msg->loaded != core->config->digest)
		effect_note(core, CORE_NOTE_INFO, true,
			"node %s: has loaded another config; it comes into force when all nodes "
			"have "
			"it and the groups that it changes are offline",
			core->config->nodes[node].name);
}

void reload_step(struct core *core, const struct core_config *config)
{
	struct msg msg = {.type = MSG_LOADED, .loaded = config->digest};

	core->loaded = config->digest == core->config->digest ? NULL : config;
	if (core->phase == CORE_MEMBER)
		effect_send(core, &msg);
	else
		reload_settle(core);
}
