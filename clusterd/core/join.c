/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How a node without the cluster's state gets it.
 *
 * At each view a joiner says hello: its config's digest and what it holds. Where somebody has the
 * state, the lowest such node answers with a snapshot taken exactly at that hello; the joiner has
 * held every message since and applies them on top. Where nobody has it, the hellos of all daemons
 * in a quorate ring together make a new state (FORM): the newest known orders of the operator
 * (which groups are offline), and what each node says it holds. Hellos are repeated, so a lost
 * answer costs a moment, and an answer to an older hello is ignored.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "clusterd/core/internal.h"

#define HELLO_AGAIN_US 1000000
#define HELLO_DIFFERS_US 10000000 /* a node with another config asks rarely */
#define FORM_WAIT_US 2000000      /* for daemons that are not there yet, or silent */

void join_say_hello(struct core *core, bool has_state)
{
	struct msg msg = {.type = MSG_HELLO, .has_state = has_state};
	uint32_t n = core->config->n_groups;
	uint8_t *found = malloc(n ? n : 1);

	if (!found)
		abort();
	for (uint32_t i = 0; i < n; i++)
		found[i] = (uint8_t)local_found(core, i);
	msg.version = core->has_state ? core->state.version : core->saved_version;
	msg.loaded = core->loaded ? core->loaded->digest : core->config->digest;
	msg.hello_seq = has_state ? 0 : ++core->hello_seq;
	msg.blob = found;
	msg.blob_len = n;
	effect_send(core, &msg);
	free(found);
	if (has_state)
		return;
	core->is_buffering = false;
	queue_clear(core);
	effect_timer(core, CORE_TIMER_HELLO,
		core->event->now_us +
			(core->phase == CORE_DIFFERS ? HELLO_DIFFERS_US : HELLO_AGAIN_US));
}

void join_begin(struct core *core)
{
	core->is_frozen = core->view_pending = false;
	core->is_buffering = false;
	core->form_forced = false;
	core->difference_said = false;
	queue_clear(core);
	if (core->phase != CORE_DIFFERS) {
		if (core->phase == CORE_MEMBER)
			admin_fail_all(core, "this node has to join anew");
		phase_set(core, CORE_JOINING, "asks the others for the cluster's state");
	}
	join_say_hello(core, false);
	effect_timer(core, CORE_TIMER_FORM, core->event->now_us + FORM_WAIT_US);
}

void join_timer(struct core *core, enum core_timer timer)
{
	if (core->phase != CORE_JOINING && core->phase != CORE_DIFFERS)
		return;
	if (timer == CORE_TIMER_HELLO) {
		join_say_hello(core, false);
	} else if (core->phase == CORE_JOINING) {
		core->form_forced = true;
		join_try_form(core);
	}
}

/* ---- what a hello changes ---- */

static void take_found(struct core *core, uint8_t node, uint32_t group, enum core_found found)
{
	struct group_rec *rec = &core->state.groups[group];

	if (found == CORE_FOUND_NOTHING) {
		if (rec->owner == node)
			group_move(core, group, GROUP_EV_OWNER_LOST, node, CAUSE_NOT_FOUND, node);
		rec->may_run_on &= ~node_bit(node);
		return;
	}
	if (rec->owner == CORE_NO_NODE && rec->enabled && found == CORE_FOUND_ALL &&
		may_start_on(rec, node)) {
		group_move(core, group, GROUP_EV_ADOPTED, node, CAUSE_ADOPTED, node);
		record_add(core, group, CORE_NO_NODE, true, core->event->wall_ms, NULL);
	} else if (rec->owner == node && rec->state == GROUP_ONLINE && found != CORE_FOUND_ALL) {
		group_move(core, group, GROUP_EV_FAILED, node, CAUSE_NOT_FOUND, node);
	}
	rec->may_run_on |= node_bit(node);
}

/* An owner's return is the one thing that triggers a failback. */
static void failback(struct core *core, uint8_t node)
{
	for (uint32_t i = 0; i < core->state.n_groups; i++) {
		const struct core_group *group = &core->config->groups[i];
		struct group_rec *rec = &core->state.groups[i];

		if (!group->failback || rec->state != GROUP_ONLINE || rec->target != CORE_NO_NODE ||
			policy_rank(group, node) >= policy_rank(group, rec->owner))
			continue;
		rec->target = node;
		rec->cause = CAUSE_FAILBACK;
		rec->cause_node = node;
	}
}

/* It said hello: what runs there is known. It takes part when it has the state. */
void hello_take(struct core *core, uint8_t node, uint64_t incarnation, uint64_t loaded,
	const uint8_t *found)
{
	struct node_rec *rec = &core->state.nodes[node];

	if ((rec->state != NODE_ONLINE && rec->state != NODE_LEAVING &&
		    rec->state != NODE_JOINING) ||
		rec->incarnation != incarnation)
		rec->is_returning = true;
	rec->state = NODE_JOINING;
	rec->incarnation = incarnation;
	rec->loaded = loaded;
	rec->difference[0] = '\0';
	core->lost_us[node] = 0;
	for (uint32_t i = 0; i < core->state.n_groups; i++)
		take_found(core, node, i,
			found[i] <= CORE_FOUND_ALL ? found[i] : CORE_FOUND_SOMETHING);
	core_touch_all(core);
}

/* It has the state. */
void node_joined(struct core *core, uint8_t node)
{
	struct node_rec *rec = &core->state.nodes[node];

	rec->state = NODE_ONLINE;
	core->lost_us[node] = 0;
	if (rec->is_returning) {
		rec->is_returning = false;
		effect_note(core, CORE_NOTE_INFO, true, "node %s: online",
			core->config->nodes[node].name);
		for (uint32_t i = 0; i < core->state.n_groups; i++) {
			core->state.groups[i].failed_on &= ~node_bit(node);
			core->state.groups[i].unfit_on &= ~node_bit(node);
		}
		failback(core, node);
	}
	core_touch_all(core);
}

/* Everybody sees the answer to a hello; it is good if no later hello came before it. */
void snapshot_apply(struct core *core, const struct msg *msg)
{
	uint8_t node = node_of(core, msg->nodeid);

	if (node != CORE_NO_NODE && core->state.nodes[node].state == NODE_JOINING &&
		core->state.nodes[node].incarnation == msg->node_incarnation &&
		core->state.nodes[node].hello_seq == msg->hello_seq)
		node_joined(core, node);
}

/* Who answers a hello: the lowest node that has the state. */
static bool is_responder(const struct core *core, uint8_t joiner)
{
	for (uint8_t i = 0; i < core->state.n_nodes; i++) {
		enum node_state state = core->state.nodes[i].state;

		if (i != joiner && (state == NODE_ONLINE || state == NODE_LEAVING))
			return i == core->self;
	}
	return false;
}

static uint8_t lowest_holder(const struct core *core)
{
	uint8_t i = 0;

	while (i < core->self && core->state.nodes[i].state != NODE_ONLINE)
		i++;
	return i;
}

/* Two sides that both had quorum have met (two nodes without a third vote): the longer history
 * stays, the other side asks for it. */
static void dispute(struct core *core, uint8_t node, const struct msg *msg)
{
	enum node_state state = core->state.nodes[node].state;

	if (state == NODE_ONLINE || state == NODE_LEAVING)
		return;
	if (msg->version < core->view_version ||
		(msg->version == core->view_version && lowest_holder(core) < node))
		return;
	effect_note(core, CORE_NOTE_WARNING, false,
		"node %s has a longer history of this cluster: this node takes it over",
		core->config->nodes[node].name);
	join_begin(core);
}

void hello_apply(struct core *core, uint8_t node, uint32_t nodeid, const struct msg *msg)
{
	struct node_rec *rec = &core->state.nodes[node];
	bool answers = is_responder(core, node);

	if (msg->config_digest != core->config->digest) {
		if (rec->state != NODE_DIFFERS)
			effect_note(core, CORE_NOTE_ERROR, true,
				"node %s: its config differs from the cluster's; it takes part in "
				"nothing until it agrees",
				core->config->nodes[node].name);
		rec->state = NODE_DIFFERS;
		core->lost_us[node] = 0; /* it lives, and says itself when nothing runs there */
		rec->incarnation = msg->incarnation;
		rec->loaded = msg->loaded;
		core->config_wanted = core->config_wanted || answers;
		core_touch_all(core);
		return;
	}
	if (msg->has_state) {
		dispute(core, node, msg);
		return;
	}
	if (msg->blob_len != core->state.n_groups)
		return;
	hello_take(core, node, msg->incarnation, msg->loaded, msg->blob);
	rec->hello_seq = msg->hello_seq;
	if (!answers || core->n_snapshots == CORE_MAX_NODES)
		return;
	core->snapshots[core->n_snapshots].nodeid = nodeid;
	core->snapshots[core->n_snapshots].hello_seq = msg->hello_seq;
	core->snapshots[core->n_snapshots].incarnation = msg->incarnation;
	core->n_snapshots++;
}

#define CONFIG_TEXT_MAX (900u << 10)

void join_answer(struct core *core)
{
	if (core->phase != CORE_MEMBER)
		core->n_snapshots = 0;
	for (uint32_t i = 0; i < core->n_snapshots; i++) {
		struct buf buf = {0};
		struct msg msg = {
			.type = MSG_SNAPSHOT,
			.nodeid = core->snapshots[i].nodeid,
			.hello_seq = core->snapshots[i].hello_seq,
			.node_incarnation = core->snapshots[i].incarnation,
			.version = core->view_version,
		};

		state_encode(&core->state, &buf);
		if (!buf_ok(&buf))
			abort();
		msg.blob = buf.data;
		msg.blob_len = buf.len;
		effect_send(core, &msg);
		buf_fini(&buf);
	}
	core->n_snapshots = 0;
	if (core->config_wanted) {
		struct msg msg = {.type = MSG_CONFIG, .blob = core->config->text};

		msg.blob_len =
			core->config->text_len <= CONFIG_TEXT_MAX ? core->config->text_len : 0;
		effect_send(core, &msg);
		core->config_wanted = false;
	}
}

/* ---- the joiner's side ---- */

void become_member(struct core *core, struct core_state *state)
{
	state_fini(&core->state);
	core->state = *state;
	core->has_state = true;
	core->is_frozen = !quorum_is_known(core);
	core->view_pending = false;
	machines_note(core);
	core->is_buffering = false;
	core->leave_sent = false;
	core->keep_until_us = core->event->now_us + core->holdoff_us;
	for (unsigned i = 0; i < core->state.n_nodes; i++) {
		enum node_state node = core->state.nodes[i].state;

		core->lost_us[i] =
			node == NODE_LOST || node == NODE_JOINING ? core->event->now_us : 0;
	}
	/* What the others have not planned anew, we must not: a choice hangs on loads that change.
	 */
	memset(core->plan_touched, 0, core->config->n_groups);
	core->any_plan = false;
	local_forget_reports(core);
	effect_timer(core, CORE_TIMER_HELLO, 0);
	effect_timer(core, CORE_TIMER_FORM, 0);
	phase_set(core, CORE_MEMBER, "has the cluster's state");
	effect_add(core, CORE_DO_SAVE);
}

static void snapshot_take(
	struct core *core, uint8_t node, const struct msg *msg, const void *data, size_t len)
{
	struct core_state state;
	struct reader reader;

	if (!core->is_buffering || msg->nodeid != core->config->nodes[core->self].nodeid ||
		msg->node_incarnation != core->incarnation || msg->hello_seq != core->hello_seq)
		goto not_ours;
	reader_init(&reader, msg->blob, msg->blob_len);
	if (state_decode(&state, core->config, &reader) < 0)
		goto not_ours;
	if (!queue_add(core, node, data, len)) {
		state_fini(&state);
		return; /* too much at once: the next hello tries again */
	}
	become_member(core, &state);
	core->view_version = msg->version;
	if (!core->is_frozen)
		queue_drain(core);
	return;

not_ours:
	if (core->is_buffering && !queue_add(core, node, data, len))
		core->is_buffering = false;
}

static void hello_note(struct core *core, uint8_t node, const struct msg *msg)
{
	struct hello_rec *hello = &core->hello[node];
	uint8_t *found = malloc(msg->blob_len ? msg->blob_len : 1);

	if (!found)
		abort();
	memcpy(found, msg->blob, msg->blob_len);
	free(hello->found);
	hello->found = found;
	hello->n_found = msg->blob_len;
	hello->msg = *msg;
	hello->msg.blob = NULL;
	hello->seen = true;
}

/* What every message means for joining, noted when it is delivered, in whatever phase. A new state
 * counts only if no answer to a hello was delivered since it was sent: else there was a state
 * already, or it is the same one sent twice. All in this view see the answers in the same order. */
bool join_overhear(struct core *core, uint8_t node, const struct msg *msg)
{
	bool is_form = msg->type == MSG_FORM && msg->ring.seq == core->view.ring.seq &&
		       msg->ring.nodeid == core->view.ring.nodeid &&
		       msg->hello_seq == core->n_answers;

	if (msg->type == MSG_HELLO)
		hello_note(core, node, msg);
	if (msg->type == MSG_SNAPSHOT || is_form)
		core->n_answers++;
	for (unsigned i = 0; i < core->config->n_nodes; i++) {
		struct hello_rec *hello = &core->hello[i];

		bool is_target = core->config->nodes[i].nodeid == msg->nodeid;

		if (msg->type == MSG_SNAPSHOT ? i == node || is_target : is_form && hello->seen) {
			hello->seen = hello->msg.has_state = true;
			hello->msg.config_digest = msg->config_digest;
		}
	}
	return is_form && msg->config_digest == core->config->digest;
}

static void config_take(struct core *core, const struct msg *msg)
{
	struct core_effect *effect;

	if (msg->config_digest == core->config->digest || core->difference_said)
		return;
	effect = effect_add(core, CORE_DO_COMPARE);
	effect->compare.text = calloc(1, msg->blob_len + 1);
	if (!effect->compare.text)
		abort();
	memcpy(effect->compare.text, msg->blob, msg->blob_len);
}

static void own_hello_seen(struct core *core, const struct msg *msg)
{
	if (msg->incarnation != core->incarnation || msg->hello_seq != core->hello_seq)
		return;
	core->is_buffering = true;
	queue_clear(core);
	join_try_form(core);
}

/* msg is NULL when the bytes are not understood: they count as much as for those who have a state.
 */
void join_message(
	struct core *core, uint8_t node, const struct msg *msg, const void *data, size_t len)
{
	bool is_ours = msg && msg->config_digest == core->config->digest;

	if (core->phase != CORE_JOINING && core->phase != CORE_DIFFERS)
		return;
	if (msg && msg->type == MSG_HELLO && node == core->self) {
		own_hello_seen(core, msg);
		return;
	}
	if (msg && msg->type == MSG_SNAPSHOT && is_ours) {
		snapshot_take(core, node, msg, data, len);
		return;
	}
	if (core->is_buffering && !queue_add(core, node, data, len))
		core->is_buffering = false; /* the next hello tries again */
	if (msg && msg->type == MSG_CONFIG)
		config_take(core, msg);
	else if (msg && msg->type == MSG_HELLO)
		join_try_form(core);
}

void join_compared(struct core *core, const char *text)
{
	size_t len = strlen(text);

	if (core->phase != CORE_JOINING && core->phase != CORE_DIFFERS)
		return;
	if (len >= sizeof(core->difference))
		len = sizeof(core->difference) - 1;
	memcpy(core->difference, text, len);
	core->difference[len] = '\0';
	if (core->phase != CORE_DIFFERS)
		effect_note(core, CORE_NOTE_ERROR, false,
			"this node's config differs from the cluster's: %s; it takes part in "
			"nothing "
			"until the files agree (then: systemctl reload clusterd)",
			core->difference);
	phase_set(core, CORE_DIFFERS, "its config is not the cluster's");
	core->difference_said = core->difference_all_stopped = false;
	join_say_difference(core);
}

/* Said once when known, and once more when nothing runs here. */
void join_say_difference(struct core *core)
{
	struct msg msg = {.type = MSG_DIFFERS, .all_stopped = local_all_idle(core)};

	if (core->phase != CORE_DIFFERS || core->difference_all_stopped ||
		(core->difference_said && !msg.all_stopped))
		return;
	memcpy(msg.text, core->difference, sizeof(msg.text));
	effect_send(core, &msg);
	core->difference_said = true;
	core->difference_all_stopped = msg.all_stopped;
	effect_timer(core, CORE_TIMER_HELLO, core->event->now_us + HELLO_DIFFERS_US);
}
