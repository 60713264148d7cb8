/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A state from nothing: where nobody has one, the hellos of all daemons in a quorate ring make it.
 *
 * It holds the newest known orders of the operator (which groups are offline) and what each node
 * says it runs. Whoever is in the ring and silent may run anything. Called by join.c.
 */
#include <stdlib.h>

#include "clusterd/core/internal.h"

/* The config that most of those who said hello have; the lowest node decides between equals. */
static uint64_t common_digest(const struct core *core)
{
	uint64_t best = 0;
	unsigned best_count = 0;

	for (unsigned i = 0; i < core->config->n_nodes; i++) {
		unsigned count = 0;

		if (!core->hello[i].seen)
			continue;
		for (unsigned j = 0; j < core->config->n_nodes; j++) {
			if (core->hello[j].seen && core->hello[j].msg.config_digest ==
							   core->hello[i].msg.config_digest)
				count++;
		}
		if (count > best_count) {
			best = core->hello[i].msg.config_digest;
			best_count = count;
		}
	}
	return best;
}

/* Machines of the cluster that corosync sees, with clusterd on them or not (yet). */
static unsigned machines_in_ring(const struct core *core)
{
	unsigned n = 0;

	for (uint32_t i = 0; i < core->view.n_ring; i++)
		n += node_of(core, core->view.ring_nodes[i]) != CORE_NO_NODE;
	return n;
}

/* At first all machines in the ring are waited for, so that a cluster that starts as a whole
 * places its groups with all nodes in view; when that takes too long, those that are there must
 * do, and silent daemons are left out if the others are a majority. */
static bool may_form(const struct core *core)
{
	unsigned n_hello = 0, n_members = 0;

	if ((core->phase != CORE_JOINING && core->phase != CORE_DIFFERS) || !quorum_holds(core))
		return false;
	for (uint32_t i = 0; i < core->view.n_members; i++) {
		uint8_t node = node_of(core, core->view.members[i].nodeid);

		if (node == CORE_NO_NODE)
			continue;
		n_members++;
		if (!core->hello[node].seen)
			continue;
		if (core->hello[node].msg.has_state)
			return false;
		n_hello++;
	}
	if (!core->form_forced)
		return n_hello == machines_in_ring(core);
	return n_hello == n_members || n_hello > core->config->n_nodes / 2;
}

/* The upper half counts new beginnings: whatever a node that is away now has saved, or does in what
 * it still takes for the cluster, never outranks this one. */
static uint64_t version_of_next_cluster(uint64_t version)
{
	return ((version >> 32) + 1) << 32;
}

static bool is_best_former(const struct core *core, uint64_t digest)
{
	const struct hello_rec *own = &core->hello[core->self];

	if (!own->seen || digest != core->config->digest)
		return false;
	for (uint8_t i = 0; i < core->config->n_nodes; i++) {
		const struct hello_rec *hello = &core->hello[i];

		if (!hello->seen || hello->msg.config_digest != digest || i == core->self)
			continue;
		if (hello->msg.version > own->msg.version ||
			(hello->msg.version == own->msg.version && i < core->self))
			return false;
	}
	return true;
}

static bool is_offline_by_order(const struct core *core, uint32_t group)
{
	return core->has_state ? !core->state.groups[group].enabled : core->saved_offline[group];
}

void join_try_form(struct core *core)
{
	struct msg msg = {
		.type = MSG_FORM,
		.ring = core->view.ring,
		.hello_seq = core->n_answers,
	};
	uint64_t digest = common_digest(core);
	struct buf buf = {0};

	if (!may_form(core) || !is_best_former(core, digest))
		return;
	buf_u64(&buf, version_of_next_cluster(core->hello[core->self].msg.version));
	for (uint32_t i = 0; i < core->config->n_groups; i++)
		buf_u8(&buf, is_offline_by_order(core, i));
	for (uint8_t i = 0; i < core->config->n_nodes; i++) {
		const struct hello_rec *hello = &core->hello[i];

		if (!hello->seen || hello->msg.config_digest != digest ||
			hello->n_found != core->config->n_groups)
			continue;
		buf_u8(&buf, i);
		buf_u64(&buf, hello->msg.incarnation);
		buf_u64(&buf, hello->msg.loaded);
		buf_bytes(&buf, hello->found, hello->n_found);
	}
	if (!buf_ok(&buf))
		abort();
	msg.blob = buf.data;
	msg.blob_len = buf.len;
	effect_send(core, &msg);
	buf_fini(&buf);
}

/* Who is in the ring and said nothing may run anything, until it says hello or the hold-off ends.
 */
static void silent_hold(struct core *core)
{
	for (uint8_t i = 0; i < core->state.n_nodes; i++) {
		struct node_rec *rec = &core->state.nodes[i];
		uint32_t nodeid = core->config->nodes[i].nodeid;

		if (rec->state == NODE_ONLINE || !view_has_machine(&core->view, nodeid))
			continue;
		rec->state = view_has_daemon(&core->view, nodeid) ? NODE_JOINING : NODE_LOST;
		rec->is_returning = true;
		effect_note(core, CORE_NOTE_WARNING, true,
			"node %s: its clusterd is silent and may have left groups running; they "
			"wait "
			"for it until the hold-off ends",
			core->config->nodes[i].name);
		node_hold_all(core, i);
		if (rec->state == NODE_LOST)
			core->lost_us[i] = core->view_us; /* it was not in the view already */
	}
}

/* Is the new state sound, and does it know us? */
static bool form_is_ours(const struct core *core, struct reader look)
{
	uint32_t n_groups = core->config->n_groups;
	bool has_self = false;

	while (reader_ok(&look) && !reader_at_end(&look)) {
		uint8_t node = reader_u8(&look);
		uint64_t incarnation = reader_u64(&look);

		reader_u64(&look);
		if (!reader_bytes(&look, n_groups) || node >= core->config->n_nodes)
			return false;
		has_self = has_self || (node == core->self && incarnation == core->incarnation);
	}
	return reader_ok(&look) && has_self;
}

static void form_take(struct core *core, const struct msg *msg)
{
	struct core_state state;
	struct reader reader;
	uint32_t n_groups = core->config->n_groups;
	const uint8_t *offline;

	if (!core->is_buffering)
		return; /* our hello under way is answered by those who take it */
	reader_init(&reader, msg->blob, msg->blob_len);
	if (state_init(&state, core->config) < 0)
		return;
	state.version = reader_u64(&reader);
	offline = reader_bytes(&reader, n_groups);
	for (uint32_t i = 0; offline && i < n_groups; i++) {
		state.groups[i].enabled = !offline[i];
		if (state.version > version_of_next_cluster(0)) /* somebody had one once */
			state.groups[i].cause = CAUSE_CLUSTER_BACK;
	}
	if (!form_is_ours(core, reader)) {
		state_fini(&state);
		join_say_hello(core, false);
		return;
	}
	queue_clear(core);
	become_member(core, &state);
	core->view_version = core->state.version;
	while (!reader_at_end(&reader)) {
		uint8_t node = reader_u8(&reader);
		uint64_t incarnation = reader_u64(&reader);
		uint64_t loaded = reader_u64(&reader);

		hello_take(core, node, incarnation, loaded, reader_bytes(&reader, n_groups));
		node_joined(core, node);
	}
	silent_hold(core);
	core_ordered_done(core);
}

/* A new state, not void (see join_overhear). Whoever has one had none of it: it was thought silent.
 */
void join_form(struct core *core, const struct msg *msg)
{
	if (core->phase == CORE_JOINING || core->phase == CORE_DIFFERS) {
		form_take(core, msg);
	} else if (core->phase == CORE_MEMBER) {
		effect_note(core, CORE_NOTE_WARNING, false,
			"the others formed the cluster anew without this node: letting go of "
			"everything");
		core->keep_until_us = 0;
		join_begin(core);
	}
}
