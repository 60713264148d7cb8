/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Membership and quorum.
 *
 * Quorum comes unordered against views and messages. A member therefore freezes at each view: it
 * holds the messages that follow until corosync has said whether this very ring is quorate. Then it
 * applies view and messages in their order, or drops them and lets go of everything. A second view
 * on top of an undecided one makes it ask the others for the state anew. So replicated state
 * changes in quorate rings only.
 */
#include <string.h>

#include "clusterd/core/internal.h"

static bool ring_equal(struct ring_id a, struct ring_id b)
{
	return a.nodeid == b.nodeid && a.seq == b.seq;
}

bool quorum_is_known(const struct core *core)
{
	return core->view.n_members > 0 && ring_equal(core->quorum_ring, core->view.ring);
}

bool quorum_holds(const struct core *core)
{
	return quorum_is_known(core) && core->quorum;
}

uint8_t node_of(const struct core *core, uint32_t nodeid)
{
	for (uint32_t i = 0; i < core->config->n_nodes; i++) {
		if (core->config->nodes[i].nodeid == nodeid)
			return (uint8_t)i;
	}
	return CORE_NO_NODE;
}

void phase_set(struct core *core, enum core_phase phase, const char *why)
{
	if (core->phase == phase)
		return;
	core->phase = phase;
	effect_note(core,
		phase == CORE_NO_QUORUM || phase == CORE_OUT ? CORE_NOTE_WARNING : CORE_NOTE_INFO,
		false, "this node: %s (%s)", core_phase_name(phase), why);
	core_sync_all(core);
}

static bool in_group(const struct core_view *view, uint32_t nodeid, bool *ret_fresh)
{
	for (uint32_t i = 0; i < view->n_members; i++) {
		if (view->members[i].nodeid == nodeid) {
			*ret_fresh = view->members[i].fresh;
			return true;
		}
	}
	return false;
}

bool view_has_daemon(const struct core_view *view, uint32_t nodeid)
{
	bool is_fresh;

	return in_group(view, nodeid, &is_fresh);
}

bool view_has_machine(const struct core_view *view, uint32_t nodeid)
{
	for (uint32_t i = 0; i < view->n_ring; i++) {
		if (view->ring_nodes[i] == nodeid)
			return true;
	}
	return false;
}

static bool holds_something(const struct core *core, uint8_t node)
{
	for (uint32_t i = 0; i < core->state.n_groups; i++) {
		if (core->state.groups[i].may_run_on & node_bit(node))
			return true;
	}
	return false;
}

void clear_node(struct core *core, uint8_t node, enum cause cause)
{
	core->lost_us[node] = 0;
	for (uint32_t i = 0; i < core->state.n_groups; i++) {
		struct group_rec *rec = &core->state.groups[i];

		if (rec->owner == node)
			group_move(core, i, GROUP_EV_OWNER_LOST, node, cause, node);
		if (rec->target == node)
			rec->target = CORE_NO_NODE;
		rec->may_run_on &= ~node_bit(node);
	}
	core_touch_all(core);
}

void node_hold_all(struct core *core, uint8_t node)
{
	for (uint32_t i = 0; i < core->state.n_groups; i++)
		core->state.groups[i].may_run_on |= node_bit(node);
	if (!core->lost_us[node])
		core->lost_us[node] = core->event->now_us;
}

/* Back in the ring without its daemon: what that daemon may have left there is not known. */
static void machine_came(struct core *core, uint8_t node)
{
	core->state.nodes[node].state = NODE_LOST;
	core->state.nodes[node].is_returning = true;
	node_hold_all(core, node);
	effect_note(core, CORE_NOTE_INFO, true, "node %s: in the ring, without its clusterd so far",
		core->config->nodes[node].name);
}

void machines_note(struct core *core)
{
	core->machines = 0;
	for (uint8_t i = 0; i < core->config->n_nodes; i++) {
		if (view_has_machine(&core->view, core->config->nodes[i].nodeid))
			core->machines |= node_bit(i);
	}
}

/* The daemon of a node has gone, or a new one is there in its place. */
static void node_went(struct core *core, uint8_t node, bool is_in_ring)
{
	struct node_rec *rec = &core->state.nodes[node];
	const char *name = core->config->nodes[node].name;
	bool was_leaving = rec->state == NODE_LEAVING;

	if (!is_in_ring) {
		effect_note(core, CORE_NOTE_WARNING, true, "node %s: left the ring%s", name,
			was_leaving ? " in order" : "");
		rec->state = NODE_OFFLINE;
		clear_node(core, node, was_leaving ? CAUSE_NODE_STOPS : CAUSE_NODE_LEFT);
	} else if (holds_something(core, node)) {
		if (rec->state != NODE_LOST)
			effect_note(core, CORE_NOTE_WARNING, true,
				"node %s: its clusterd is gone and may have left groups running; "
				"they are taken over unless it comes back in time",
				name);
		rec->state = NODE_LOST;
		if (!core->lost_us[node])
			core->lost_us[node] = core->event->now_us;
	} else if (rec->state != NODE_OFFLINE) {
		effect_note(core, CORE_NOTE_INFO, true, "node %s: clusterd has %s", name,
			was_leaving ? "stopped in order" : "gone; it held nothing");
		rec->state = NODE_OFFLINE;
	}
}

static void view_apply(struct core *core)
{
	const struct core_view *view = &core->view;
	bool any_fresh = false;

	core->in_view = true;
	core->state.version++;
	for (uint8_t i = 0; i < core->state.n_nodes; i++) {
		struct node_rec *rec = &core->state.nodes[i];
		uint32_t nodeid = core->config->nodes[i].nodeid;
		bool is_fresh = false;
		bool is_member = in_group(view, nodeid, &is_fresh);

		if (is_member && !is_fresh)
			continue;
		if (!is_member && view_has_machine(view, nodeid) && !(core->machines & node_bit(i)))
			machine_came(core, i);
		else if (rec->state != NODE_OFFLINE)
			node_went(core, i, is_member || view_has_machine(view, nodeid));
		if (is_member) {
			rec->state = NODE_JOINING;
			rec->is_returning = true;
			any_fresh = true;
			node_hold_all(core, i);
		}
	}
	machines_note(core);
	core_touch_all(core);
	if (any_fresh) {
		core->view_version = core->state.version;
		join_say_hello(core, true);
	}
	core_ordered_done(core);
	core->in_view = false;
}

void keep_for_a_while(struct core *core)
{
	core->keep_until_us = core->event->now_us + core->holdoff_us;
}

static void quorum_settle(struct core *core)
{
	if (!quorum_is_known(core))
		return;
	if (!core->quorum) {
		core->is_frozen = core->view_pending = false;
		queue_clear(core);
		if (core->phase == CORE_MEMBER || core->phase == CORE_JOINING) {
			admin_fail_all(core, "quorum was lost");
			phase_set(core, CORE_NO_QUORUM,
				"this ring has no quorum; everything that runs here is stopped");
		}
		return;
	}
	if (core->phase == CORE_NO_QUORUM) {
		join_begin(core);
	} else if (core->phase == CORE_JOINING) {
		join_try_form(core);
	} else if (core->phase == CORE_MEMBER && core->is_frozen) {
		core->is_frozen = false;
		core_sync_all(core);
		if (core->view_pending) {
			core->view_pending = false;
			view_apply(core);
		} else {
			core_ordered_done(core);
		}
		queue_drain(core);
	}
}

void view_step(struct core *core, const struct core_view *view)
{
	bool was_undecided = core->is_frozen;

	core->view = *view;
	core->view_us = core->event->now_us;
	core->n_answers = 0;
	core->foreign_said = 0;
	for (unsigned i = 0; i < CORE_MAX_NODES; i++)
		core->hello[i].seen = false;
	if (core->phase == CORE_MEMBER && !view->self_left && !was_undecided) {
		core->is_frozen = core->view_pending = true;
		keep_for_a_while(core);
		quorum_settle(core);
		return;
	}
	/* A member that was overtaken by events, or one that never had the state. */
	if (core->phase != CORE_JOINING || view->self_left)
		keep_for_a_while(core);
	if (view->self_left)
		core->keep_until_us = 0;
	join_begin(core);
	quorum_settle(core);
}

void quorum_step(struct core *core, struct ring_id ring, bool quorate)
{
	core->quorum_ring = ring;
	core->quorum = quorate;
	core->quorum_us = core->event->now_us;
	/* Of a ring whose view is still to come: start nothing more, and hold on to what runs. */
	if (core->phase == CORE_MEMBER && !core->is_frozen && !quorum_is_known(core))
		keep_for_a_while(core);
	if (core->phase != CORE_OUT)
		quorum_settle(core);
}

void lost_step(struct core *core)
{
	core->view.n_members = 0;
	core->is_frozen = core->view_pending = false;
	queue_clear(core);
	admin_fail_all(core, "corosync has gone");
	phase_set(core, CORE_OUT, "corosync has gone; everything that runs here is stopped");
}

void holdoff_tick(struct core *core)
{
	int64_t now = core->event->now_us;

	if (core->keep_until_us && now >= core->keep_until_us) {
		core->keep_until_us = 0;
		core_sync_all(core);
	}
	if (!core_may_act(core))
		return;
	for (uint8_t i = 0; i < core->state.n_nodes; i++) {
		const struct node_rec *rec = &core->state.nodes[i];
		struct msg msg = {
			.type = MSG_HOLDOFF_OVER,
			.node = i,
			.node_incarnation = rec->incarnation,
		};

		if (!core->lost_us[i] || now < core->lost_us[i] + core->holdoff_us)
			continue;
		core->lost_us[i] = now; /* should the message be lost, it is sent again */
		effect_send(core, &msg);
	}
}
