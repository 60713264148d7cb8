/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The words of the story: the same in the daemon's log, the scenarios and the simulator.
 */
#include <stdio.h>

#include "clusterd/core/internal.h"

static const char *node_name(const struct core *core, uint8_t node)
{
	return node < core->config->n_nodes ? core->config->nodes[node].name : "?";
}

const char *core_cause_text(
	const struct core *core, enum cause cause, uint8_t node, char *buf, size_t size)
{
	static const char *const formats[CAUSES] = {
		[CAUSE_FIRST_START] = "first start",
		[CAUSE_CLUSTER_BACK] = "the cluster is back",
		[CAUSE_NODE_LEFT] = "%s left the ring",
		[CAUSE_DAEMON_GONE] = "clusterd on %s is gone",
		[CAUSE_NODE_STOPS] = "%s is being stopped",
		[CAUSE_RESOURCE_FAILED] = "a resource failed on %s",
		[CAUSE_START_FAILED] = "the start failed on %s",
		[CAUSE_FAILOVER] = "failover by the operator",
		[CAUSE_OPERATOR] = "by the operator",
		[CAUSE_FAILBACK] = "failback, %s is back",
		[CAUSE_RETRY] = "tried again",
		[CAUSE_ADOPTED] = "found running on %s",
		[CAUSE_NOT_FOUND] = "%s came back without it",
		[CAUSE_CONFIG] = "%s has another config",
	};
	const char *format = formats[cause];
	const char *name = node_name(core, node);
	size_t at = 0;

	for (; *format && at + 1 < size; format++) {
		if (format[0] == '%' && format[1] == 's') {
			at += (size_t)snprintf(buf + at, size - at, "%s", name);
			if (at >= size)
				at = size - 1;
			format++;
		} else {
			buf[at++] = *format;
		}
	}
	buf[at] = '\0';
	return buf;
}

/* group web: n1 -> n2: taking over (n1 left the ring) */
static void note_start(struct core *core, const char *name, const struct group_rec *rec)
{
	char cause[CORE_TEXT_SIZE];
	const char *to = node_name(core, rec->owner);

	core_cause_text(core, rec->cause, rec->cause_node, cause, sizeof(cause));
	if (rec->origin == CORE_NO_NODE)
		effect_note(core, CORE_NOTE_INFO, true, "group %s: starting on %s (%s)", name, to,
			cause);
	else if (rec->origin == rec->owner)
		effect_note(core, CORE_NOTE_INFO, true, "group %s: starting again on %s (%s)", name,
			to, cause);
	else
		effect_note(core, CORE_NOTE_INFO, true, "group %s: %s -> %s: taking over (%s)",
			name, node_name(core, rec->origin), to, cause);
}

static void note_stop(
	struct core *core, const char *name, const struct group_rec *rec, uint8_t owner)
{
	char cause[CORE_TEXT_SIZE];

	core_cause_text(core, rec->cause, rec->cause_node, cause, sizeof(cause));
	effect_note(core, CORE_NOTE_INFO, true, "group %s: stopping on %s (%s)", name,
		node_name(core, owner), cause);
}

static void note_lost(
	struct core *core, const char *name, const struct group_rec *rec, uint8_t owner)
{
	char cause[CORE_TEXT_SIZE];

	core_cause_text(core, rec->cause, rec->cause_node, cause, sizeof(cause));
	effect_note(core, CORE_NOTE_INFO, true, "group %s: no longer on %s (%s)", name,
		node_name(core, owner), cause);
}

void note_transition(struct core *core, uint32_t group, enum group_event event,
	enum group_state from, uint8_t owner_before)
{
	const struct group_rec *rec = &core->state.groups[group];
	const char *name = core->config->groups[group].name;
	const char *problem = rec->problem ? rec->problem : "";

	switch (rec->state) {
	case GROUP_STARTING: note_start(core, name, rec); break;
	case GROUP_ONLINE:
		effect_note(core, CORE_NOTE_INFO, true, "group %s: online on %s%s", name,
			node_name(core, rec->owner),
			from == GROUP_STARTING ? "" : " (found running)");
		break;
	case GROUP_STOPPING: note_stop(core, name, rec, owner_before); break;
	case GROUP_OFFLINE:
		if (event == GROUP_EV_OWNER_LOST && from != GROUP_STARTING && from != GROUP_ONLINE)
			note_lost(core, name, rec, owner_before);
		else if (from == GROUP_STOPPING || from == GROUP_BLOCKED)
			effect_note(core, CORE_NOTE_INFO, true, "group %s: stopped on %s", name,
				node_name(core, owner_before));
		else if (from == GROUP_STARTING && rec->cause == CAUSE_START_FAILED)
			effect_note(core, CORE_NOTE_WARNING, true,
				"group %s: start failed on %s: %s", name,
				node_name(core, owner_before), problem);
		break;
	case GROUP_FAILED:
		effect_note(core, CORE_NOTE_ERROR, true, "group %s: failed: no node can run it%s%s",
			name, problem[0] ? "; last: " : "", problem);
		break;
	case GROUP_BLOCKED:
		effect_note(core, CORE_NOTE_ERROR, true,
			"group %s: blocked: it may still run on %s, its stop failed: %s", name,
			node_name(core, rec->owner), problem);
		break;
	case GROUP_STATES: break;
	}
}
