/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The administrator's requests: checked here, sent to all, applied in order, answered when settled.
 *
 * They set what is wanted and leave nothing behind: a failover's target is gone when it is reached.
 */
#include <stdio.h>
#include <string.h>

#include "clusterd/core/internal.h"

static uint8_t node_named(const struct core *core, const char *name)
{
	for (uint32_t i = 0; i < core->config->n_nodes; i++) {
		if (strcmp(core->config->nodes[i].name, name) == 0)
			return (uint8_t)i;
	}
	return CORE_NO_NODE;
}

/* Index of the group that is, or holds a resource that is, called so; *ret_is_group tells which. */
static uint32_t group_named(const struct core *core, const char *name, bool *ret_is_group)
{
	*ret_is_group = true;
	for (uint32_t i = 0; i < core->config->n_groups; i++) {
		if (strcmp(core->config->groups[i].name, name) == 0)
			return i;
	}
	*ret_is_group = false;
	for (uint32_t i = 0; i < core->config->n_groups; i++) {
		const struct core_group *group = &core->config->groups[i];

		for (uint32_t j = 0; j < group->n_resources; j++) {
			if (strcmp(group->resources[j].name, name) == 0)
				return i;
		}
	}
	return UINT32_MAX;
}

static void refuse(struct core *core, uint64_t request_id, uint32_t group, const char *text)
{
	effect_reply(core, request_id, CORE_REPLY_REFUSED, group, "%s", text);
}

/* Why a group can't go to a node, in words; false: it can. */
static bool is_barred(
	const struct core *core, uint32_t group, uint8_t node, char *ret_text, size_t size)
{
	const struct group_rec *rec = &core->state.groups[group];
	enum node_state state = core->state.nodes[node].state;
	const char *name = core->config->nodes[node].name;

	if (state == NODE_DIFFERS)
		snprintf(ret_text, size,
			"node %s runs with another config; make the files agree, or choose another "
			"with --to",
			name);
	else if (state != NODE_ONLINE)
		snprintf(ret_text, size, "node %s is %s; choose another with --to", name,
			node_state_name(state));
	else if (rec->unfit_on & node_bit(node))
		snprintf(ret_text, size,
			"node %s cannot run it now (%s); mend that, or choose another with --to",
			name, rec->problem ? rec->problem : "its interface is down");
	else
		return false;
	return true;
}

/* The node that a failover goes to, or CORE_NO_NODE with the reason told. */
static uint8_t failover_target(struct core *core, const struct core_event *event, uint32_t group)
{
	const struct group_rec *rec = &core->state.groups[group];
	uint64_t request_id = event->admin.request_id;
	const char *group_name = core->config->groups[group].name;
	char text[CORE_TEXT_SIZE];
	struct policy_load load;
	uint8_t node;

	if (!rec->enabled) {
		snprintf(text, sizeof(text),
			"group %s is set offline; bring it online first: clusterctl online %s",
			group_name, group_name);
		refuse(core, request_id, group, text);
		return CORE_NO_NODE;
	}
	if (event->admin.to) {
		node = node_named(core, event->admin.to);
		if (node == CORE_NO_NODE) {
			effect_reply(core, request_id, CORE_REPLY_NOT_FOUND, group,
				"there is no node \"%s\" in the config", event->admin.to);
			return CORE_NO_NODE;
		}
		if (is_barred(core, group, node, text, sizeof(text))) {
			refuse(core, request_id, group, text);
			return CORE_NO_NODE;
		}
		return node;
	}
	policy_load_init(&load, &core->state);
	node = policy_best(core->config, &core->state, &load, group,
		rec->owner == CORE_NO_NODE ? 0 : node_bit(rec->owner));
	if (node == CORE_NO_NODE) {
		snprintf(text, sizeof(text),
			"no other node that is online can run group %s; see clusterctl status",
			group_name);
		refuse(core, request_id, group, text);
	}
	return node;
}

static bool is_ready(struct core *core, uint64_t request_id)
{
	if (core_may_act(core) && !core->is_leaving)
		return true;
	effect_reply(core, request_id, CORE_REPLY_NO_QUORUM, UINT32_MAX,
		core->is_leaving ? "clusterd on this node is being stopped; ask another node"
		: core->phase == CORE_DIFFERS
			? "this node's config differs from the cluster's, so it takes "
			  "part in nothing; see clusterctl status"
		: core->phase == CORE_JOINING
			? "this node is still joining the cluster; try again in a moment"
			: "this node has no quorum: it can decide nothing until enough "
			  "nodes are up and connected; see clusterctl status");
	return false;
}

void admin_step(struct core *core, const struct core_event *event)
{
	uint64_t request_id = event->admin.request_id;
	struct msg msg = {.type = MSG_ADMIN, .verb = event->admin.verb, .node = CORE_NO_NODE};
	struct waiter *waiter;
	bool is_group;
	uint32_t group;

	if (!is_ready(core, request_id))
		return;
	group = group_named(core, event->admin.name, &is_group);
	if (group == UINT32_MAX) {
		effect_reply(core, request_id, CORE_REPLY_NOT_FOUND, UINT32_MAX,
			"there is no group or resource \"%s\" in the config", event->admin.name);
		return;
	}
	if (!is_group && event->admin.verb != CORE_FAILOVER) {
		effect_reply(core, request_id, CORE_REPLY_REFUSED, group,
			"\"%s\" is a resource of group %s; name the group", event->admin.name,
			core->config->groups[group].name);
		return;
	}
	if (core->n_waiters == CORE_REQUESTS_MAX) {
		refuse(core, request_id, group, "too many requests are under way; try again later");
		return;
	}
	if (event->admin.verb == CORE_FAILOVER) {
		msg.node = failover_target(core, event, group);
		if (msg.node == CORE_NO_NODE)
			return;
	}
	msg.group = group;
	msg.request_id = request_id;
	effect_send(core, &msg);
	waiter = &core->waiters[core->n_waiters++];
	*waiter = (struct waiter){
		.request_id = request_id,
		.group = group,
		.verb = event->admin.verb,
		.to = msg.node,
		.wait = event->admin.wait,
	};
}

static void order_failover(struct core *core, const struct msg *msg)
{
	struct group_rec *rec = &core->state.groups[msg->group];

	if (!rec->enabled || msg->node >= core->state.n_nodes ||
		core->state.nodes[msg->node].state != NODE_ONLINE)
		return; /* overtaken by events; the waiter finds it elsewhere and says so */
	rec->failed_on &= ~node_bit(msg->node);
	rec->restarts = 0;
	if (rec->state == GROUP_ONLINE && rec->owner == msg->node)
		return;
	rec->target = msg->node;
	rec->cause = CAUSE_FAILOVER;
	rec->cause_node = msg->node;
}

static void order_enabled(struct core *core, const struct msg *msg)
{
	struct group_rec *rec = &core->state.groups[msg->group];

	rec->enabled = msg->verb == CORE_ONLINE;
	rec->target = CORE_NO_NODE;
	rec->failed_on = 0;
	rec->restarts = 0;
	rec->backoff = 0;
	if (rec->state != GROUP_ONLINE || !rec->enabled) {
		rec->cause = CAUSE_OPERATOR;
		rec->cause_node = CORE_NO_NODE;
	}
	core->local[msg->group].retry_us = 0;
	effect_add(core, CORE_DO_SAVE);
}

void admin_apply(struct core *core, uint8_t node, const struct msg *msg)
{
	static const char *const orders[CORE_VERBS] = {"failover", "online", "offline"};
	const char *to =
		msg->node < core->state.n_nodes ? core->config->nodes[msg->node].name : NULL;

	effect_note(core, CORE_NOTE_INFO, true, "group %s: %s%s%s ordered on %s",
		core->config->groups[msg->group].name, orders[msg->verb], to ? " to " : "",
		to ? to : "", core->config->nodes[node].name);
	if (msg->verb == CORE_FAILOVER)
		order_failover(core, msg);
	else
		order_enabled(core, msg);
	core_touch(core, msg->group);
	if (node != core->self)
		return;
	for (uint32_t i = 0; i < core->n_waiters; i++) {
		if (core->waiters[i].request_id == msg->request_id)
			core->waiters[i].is_sent = true;
	}
}

/* true: answered. */
static bool answer(struct core *core, const struct waiter *waiter)
{
	const struct group_rec *rec = &core->state.groups[waiter->group];
	const char *name = core->config->groups[waiter->group].name;
	const char *problem = rec->problem ? rec->problem : "see clusterctl status";

	if (!waiter->wait) {
		effect_reply(core, waiter->request_id, CORE_REPLY_OK, waiter->group, NULL);
		return true;
	}
	if (rec->enabled == (waiter->verb == CORE_OFFLINE)) { /* its end would never come */
		effect_reply(core, waiter->request_id, CORE_REPLY_FAILED, waiter->group,
			"group %s was set %s meanwhile", name, rec->enabled ? "online" : "offline");
		return true;
	}
	if (rec->state == GROUP_BLOCKED || rec->state == GROUP_FAILED) {
		effect_reply(core, waiter->request_id, CORE_REPLY_FAILED, waiter->group,
			"group %s is %s: %s", name, group_state_name(rec->state), problem);
		return true;
	}
	if (waiter->verb == CORE_OFFLINE && rec->state == GROUP_OFFLINE && !rec->may_run_on) {
		effect_reply(core, waiter->request_id, CORE_REPLY_OK, waiter->group, NULL);
		return true;
	}
	if (rec->state != GROUP_ONLINE || rec->target != CORE_NO_NODE ||
		waiter->verb == CORE_OFFLINE)
		return false;
	if (waiter->verb == CORE_FAILOVER && rec->owner != waiter->to)
		effect_reply(core, waiter->request_id, CORE_REPLY_FAILED, waiter->group,
			"group %s is online on %s instead of %s: %s", name,
			core->config->nodes[rec->owner].name, core->config->nodes[waiter->to].name,
			problem);
	else
		effect_reply(core, waiter->request_id, CORE_REPLY_OK, waiter->group, NULL);
	return true;
}

void admin_settle(struct core *core)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < core->n_waiters; i++) {
		if (!core->waiters[i].is_sent || !answer(core, &core->waiters[i]))
			core->waiters[kept++] = core->waiters[i];
	}
	core->n_waiters = kept;
}

/* The order itself goes on; only its place among those who wait is free again. */
void admin_forget(struct core *core, uint64_t request_id)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < core->n_waiters; i++) {
		if (core->waiters[i].request_id != request_id)
			core->waiters[kept++] = core->waiters[i];
	}
	core->n_waiters = kept;
}

void admin_fail_all(struct core *core, const char *why)
{
	for (uint32_t i = 0; i < core->n_waiters; i++)
		effect_reply(core, core->waiters[i].request_id, CORE_REPLY_NO_QUORUM,
			core->waiters[i].group, "not known whether it was done: %s", why);
	core->n_waiters = 0;
}
