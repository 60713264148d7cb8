/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Ordered messages and what each changes in the replicated state. Every member runs this on the
 * same messages in the same order. A result counts only for the generation of the group that it
 * was sent for; whoever still has to say something says it again for the new one (local.c).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "clusterd/core/internal.h"

void group_move(struct core *core, uint32_t group, enum group_event event, uint8_t node,
	enum cause cause, uint8_t cause_node)
{
	struct group_rec *rec = &core->state.groups[group];
	struct local_group *local = &core->local[group];
	enum group_state from = rec->state;
	uint8_t owner = rec->owner;

	if (!group_apply(rec, event, node))
		return;
	rec->cause = cause;
	rec->cause_node = cause_node;
	local->changed_us = core->event->now_us;
	local->changed_wall_ms = core->event->wall_ms;
	if (event == GROUP_EV_START) {
		local->proof_us = core->in_view ? core->view_us : core->event->now_us;
		local->quorum_us = core->in_view && core->quorum_us > core->view_us
					   ? core->quorum_us
					   : local->proof_us;
		local->decided_us = core->event->now_us;
	} else if (event == GROUP_EV_STOP || event == GROUP_EV_OWNER_LOST) {
		local->release_us = -1;
	}
	note_transition(core, group, event, from, owner);
	core_touch(core, group);
}

void record_add(struct core *core, uint32_t group, uint8_t from, bool is_online, int64_t wall_ms,
	const int64_t *phase_us)
{
	const struct group_rec *rec = &core->state.groups[group];
	struct core_record *entry = calloc(1, sizeof(*entry));

	if (!entry)
		abort();
	entry->wall_ms = wall_ms;
	entry->group = group;
	entry->from = from;
	entry->to = rec->owner;
	entry->cause = rec->cause;
	entry->is_online = is_online;
	for (unsigned i = 0; i < PHASES; i++)
		entry->phase_us[i] = phase_us ? phase_us[i] : -1;
	core_cause_text(
		core, rec->cause, rec->cause_node, entry->cause_text, sizeof(entry->cause_text));
	effect_add(core, CORE_DO_RECORD)->record = entry;
}

static void apply_started(struct core *core, uint8_t node, const struct msg *msg)
{
	struct group_rec *rec = &core->state.groups[msg->group];
	uint8_t from = rec->origin;

	if (rec->state != GROUP_STARTING || rec->owner != node)
		return;
	record_add(core, msg->group, from, true, msg->wall_ms, msg->phase_us);
	group_move(core, msg->group, GROUP_EV_STARTED, node, rec->cause, rec->cause_node);
}

static void set_problem(struct core *core, uint8_t node, const struct msg *msg)
{
	const struct core_group *group = &core->config->groups[msg->group];
	char text[CORE_TEXT_SIZE] = "";
	const char *parts[] = {msg->resource < group->n_resources
				       ? group->resources[msg->resource].name
				       : group->name,
		" on ", core->config->nodes[node].name, ": ", msg->text};
	size_t at = 0;

	for (unsigned i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		for (const char *p = parts[i]; *p && at + 1 < sizeof(text); p++)
			text[at++] = *p;
	}
	group_set_problem(&core->state.groups[msg->group], text);
}

static void apply_start_failed(struct core *core, uint8_t node, const struct msg *msg)
{
	struct group_rec *rec = &core->state.groups[msg->group];

	if (rec->state != GROUP_STARTING || rec->owner != node)
		return;
	set_problem(core, node, msg);
	record_add(core, msg->group, rec->origin, false, msg->wall_ms, NULL);
	if (msg->unfit)
		rec->unfit_on |= node_bit(node);
	else
		rec->failed_on |= node_bit(node);
	if (rec->target == node)
		rec->target = CORE_NO_NODE;
	group_move(core, msg->group, msg->is_clean ? GROUP_EV_START_FAILED : GROUP_EV_STOP_FAILED,
		node, CAUSE_START_FAILED, node);
}

/* A soft failure is mended in place once; the next one, or one that this node cannot mend, moves
 * the group. */
static void apply_failed(struct core *core, uint8_t node, const struct msg *msg)
{
	struct group_rec *rec = &core->state.groups[msg->group];

	if (rec->state != GROUP_ONLINE || rec->owner != node)
		return;
	set_problem(core, node, msg);
	effect_note(core, CORE_NOTE_WARNING, true, "group %s: %s",
		core->config->groups[msg->group].name, rec->problem ? rec->problem : "failed");
	if (msg->unfit) {
		rec->unfit_on |= node_bit(node);
	} else if (rec->restarts > 0) {
		rec->failed_on |= node_bit(node);
	} else {
		rec->restarts++;
		rec->target = node;
	}
	group_move(core, msg->group, GROUP_EV_FAILED, node, CAUSE_RESOURCE_FAILED, node);
}

static void apply_stopped(struct core *core, uint8_t node, const struct msg *msg)
{
	struct group_rec *rec = &core->state.groups[msg->group];

	if (rec->owner != node) {
		rec->may_run_on &= ~node_bit(node);
		core_touch(core, msg->group);
		return;
	}
	if (rec->state != GROUP_STOPPING && rec->state != GROUP_BLOCKED)
		return;
	group_move(core, msg->group, GROUP_EV_STOPPED, node, rec->cause, rec->cause_node);
	core->local[msg->group].release_us = msg->phase_us[PHASE_RELEASE];
}

static void apply_stop_failed(struct core *core, uint8_t node, const struct msg *msg)
{
	struct group_rec *rec = &core->state.groups[msg->group];

	set_problem(core, node, msg);
	if (rec->owner == node && rec->state == GROUP_STOPPING)
		group_move(
			core, msg->group, GROUP_EV_STOP_FAILED, node, rec->cause, rec->cause_node);
}

static void apply_forget(struct core *core, const struct msg *msg)
{
	struct group_rec *rec = &core->state.groups[msg->group];

	if (rec->state == GROUP_FAILED && rec->backoff < UINT8_MAX)
		rec->backoff++;
	else
		rec->backoff = 0;
	if (rec->state == GROUP_FAILED)
		rec->cause = CAUSE_RETRY;
	rec->failed_on = 0;
	rec->restarts = 0;
	core_touch(core, msg->group);
}

static void apply_leaving(struct core *core, uint8_t node)
{
	if (core->state.nodes[node].state != NODE_ONLINE)
		return;
	core->state.nodes[node].state = NODE_LEAVING;
	effect_note(core, CORE_NOTE_INFO, true, "node %s: is being stopped; its groups move",
		core->config->nodes[node].name);
	core_touch_all(core);
}

static void apply_holdoff_over(struct core *core, const struct msg *msg)
{
	struct node_rec *rec = &core->state.nodes[msg->node % CORE_MAX_NODES];

	if (msg->node >= core->state.n_nodes || rec->incarnation != msg->node_incarnation ||
		(rec->state != NODE_LOST && rec->state != NODE_JOINING))
		return;
	if (rec->state == NODE_LOST)
		rec->state = NODE_OFFLINE;
	clear_node(core, msg->node, CAUSE_DAEMON_GONE);
}

static void apply_differs(struct core *core, uint8_t node, const struct msg *msg)
{
	struct node_rec *rec = &core->state.nodes[node];

	if (rec->state != NODE_DIFFERS || rec->incarnation != msg->incarnation)
		return;
	if (strcmp(rec->difference, msg->text) != 0) {
		memcpy(rec->difference, msg->text, sizeof(rec->difference));
		effect_note(core, CORE_NOTE_ERROR, true, "node %s: its config differs: %s",
			core->config->nodes[node].name, rec->difference);
	}
	if (msg->all_stopped)
		clear_node(core, node, CAUSE_CONFIG);
}

static void apply_fit(struct core *core, uint8_t node, const struct msg *msg)
{
	struct group_rec *rec = &core->state.groups[msg->group];

	if (!(rec->unfit_on & node_bit(node)))
		return;
	rec->unfit_on &= ~node_bit(node);
	effect_note(core, CORE_NOTE_INFO, true, "group %s: can run on %s again",
		core->config->groups[msg->group].name, core->config->nodes[node].name);
	if (rec->state == GROUP_FAILED)
		rec->cause = CAUSE_RETRY;
	core_touch(core, msg->group);
}

static void apply_group_result(struct core *core, uint8_t node, const struct msg *msg)
{
	switch (msg->type) {
	case MSG_STARTED: apply_started(core, node, msg); break;
	case MSG_START_FAILED: apply_start_failed(core, node, msg); break;
	case MSG_FAILED: apply_failed(core, node, msg); break;
	case MSG_STOPPED: apply_stopped(core, node, msg); break;
	case MSG_STOP_FAILED: apply_stop_failed(core, node, msg); break;
	case MSG_FORGET:
		core->local[msg->group].changed_us = core->event->now_us;
		apply_forget(core, msg);
		break;
	default: break;
	}
	/* Whatever this made of the group, the sender may have more to say about it. */
	core_touch_local(core, msg->group);
}

static bool is_known_sender(const struct core *core, uint8_t node, const struct msg *msg)
{
	const struct node_rec *rec = &core->state.nodes[node];

	return (rec->state == NODE_ONLINE || rec->state == NODE_LEAVING) &&
	       rec->incarnation == msg->incarnation && msg->config_digest == core->config->digest;
}

/* The cluster's config has come into force, and here it has not. */
static bool has_switched(const struct core *core, uint8_t node, const struct msg *msg)
{
	const struct node_rec *rec = &core->state.nodes[node];

	return rec->state == NODE_ONLINE && rec->incarnation == msg->incarnation &&
	       msg->config_digest != core->config->digest && msg->config_digest == rec->loaded;
}

static void apply_known(struct core *core, uint8_t node, uint32_t nodeid, const struct msg *msg)
{
	bool is_of_group = msg->type == MSG_FIT || msg->type == MSG_FORGET ||
			   (msg->type >= MSG_STARTED && msg->type <= MSG_STOP_FAILED) ||
			   msg->type == MSG_ADMIN;

	if (msg->type == MSG_HELLO)
		hello_apply(core, node, nodeid, msg);
	else if (msg->type == MSG_DIFFERS)
		apply_differs(core, node, msg);
	else if (has_switched(core, node, msg))
		join_begin(core); /* it found us with yet another one loaded */
	else if (!is_known_sender(core, node, msg) ||
		 (is_of_group && msg->group >= core->state.n_groups))
		return;
	else if (msg->type == MSG_SNAPSHOT)
		snapshot_apply(core, msg);
	else if (msg->type == MSG_LEAVING)
		apply_leaving(core, node);
	else if (msg->type == MSG_HOLDOFF_OVER)
		apply_holdoff_over(core, msg);
	else if (msg->type == MSG_LOADED)
		reload_apply(core, node, msg);
	else if (msg->type == MSG_FIT)
		apply_fit(core, node, msg);
	else if (msg->type == MSG_ADMIN)
		admin_apply(core, node, msg);
	else if (is_of_group && msg->gen == core->state.groups[msg->group].gen)
		apply_group_result(core, node, msg);
	else if (is_of_group)
		core_touch_local(core, msg->group);
}

static void note_foreign(struct core *core, uint8_t node, int rc, const struct msg *msg)
{
	const char *name = core->config->nodes[node].name;

	if (core->foreign_said & node_bit(node))
		return;
	core->foreign_said |= node_bit(node);
	if (rc == -EPROTONOSUPPORT)
		effect_note(core, CORE_NOTE_ERROR, false,
			"node %s speaks version %u of the protocol, this one speaks %u: install "
			"the "
			"same version of clusterd; such messages are ignored",
			name, msg->protocol, CORE_PROTOCOL);
	else
		effect_note(core, CORE_NOTE_WARNING, false,
			"node %s sent a message that is not well-formed; such messages are ignored",
			name);
}

void message_apply(struct core *core, uint8_t node, const void *data, size_t len)
{
	struct msg msg;

	core->state.version++;
	if (msg_decode(&msg, data, len) == 0)
		apply_known(core, node, core->config->nodes[node].nodeid, &msg);
	core_ordered_done(core);
}

void message_deliver(struct core *core, uint32_t nodeid, const void *data, size_t len)
{
	uint8_t node = node_of(core, nodeid);
	struct msg msg;
	int rc;

	if (node == CORE_NO_NODE || core->phase == CORE_OUT)
		return;
	rc = msg_decode(&msg, data, len);
	if (rc < 0)
		note_foreign(core, node, rc, &msg);
	if (rc == 0 && join_overhear(core, node, &msg)) {
		join_form(core, &msg);
		return;
	}
	if (core->phase != CORE_MEMBER) {
		join_message(core, node, rc == 0 ? &msg : NULL, data, len);
	} else if (!core->is_frozen) {
		message_apply(core, node, data, len);
	} else if (!queue_add(core, node, data, len)) {
		effect_note(core, CORE_NOTE_WARNING, false,
			"too many messages while waiting for quorum: asking for the state anew");
		join_begin(core);
	}
}
