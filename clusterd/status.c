/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The documents of `clusterctl status` and `clusterctl check`; docs/control-protocol.md has every
 * field. Called by requests.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clusterd/core/policy.h"
#include "clusterd/daemon.h"

static int rss_kib(void)
{
	FILE *file = fopen("/proc/self/statm", "re");
	long size = 0, resident = 0;

	if (!file)
		return 0;
	if (fscanf(file, "%ld %ld", &size, &resident) != 2)
		resident = 0;
	fclose(file);
	return (int)(resident * (sysconf(_SC_PAGESIZE) / 1024));
}

static json_t *hex(uint64_t value)
{
	char text[17];

	snprintf(text, sizeof(text), "%016llx", (unsigned long long)value);
	return json_string(text);
}

static json_t *name_of(const struct core_config *config, uint8_t node)
{
	return node < config->n_nodes ? json_string(config->nodes[node].name) : json_null();
}

static json_t *names_of(const struct core_config *config, node_mask mask)
{
	json_t *names = json_array();

	for (uint8_t i = 0; i < config->n_nodes; i++) {
		if (mask & node_bit(i))
			json_array_append_new(names, json_string(config->nodes[i].name));
	}
	return names;
}

static json_t *nodes_json(const struct daemon *daemon, bool is_member)
{
	const struct core_config *config = &daemon->config->core;
	json_t *nodes = json_array();

	for (uint8_t i = 0; i < config->n_nodes; i++) {
		const struct node_rec *rec = is_member ? &core_state(daemon->core)->nodes[i] : NULL;
		const char *state = rec ? node_state_name(rec->state) : "unknown";

		json_array_append_new(
			nodes, json_pack("{s:s, s:i, s:s, s:o}", "name", config->nodes[i].name,
				       "nodeid", (int)config->nodes[i].nodeid, "state", state,
				       "note", json_text(rec ? rec->difference : "")));
	}
	return nodes;
}

/* The value of the type's first key says what a resource is: an address, a start command. */
static json_t *what_json(const struct config_resource *conf)
{
	const char *first = conf->params[0].str;
	const char *interface = NULL;
	char text[CORE_TEXT_SIZE];

	for (unsigned i = 0; conf->type->params[i].key; i++) {
		if (strcmp(conf->type->params[i].key, "interface") == 0)
			interface = conf->params[i].str;
	}
	snprintf(text, sizeof(text), "%s%s%s", first ? first : "", interface ? " on " : "",
		interface ? interface : "");
	return json_text(text);
}

/* On the node that holds the group, as it is; elsewhere, as the group's state implies. */
static const char *resource_state(const struct daemon *daemon, uint32_t group, uint32_t resource)
{
	static const char *const local[] = {
		[LOCAL_RES_STOPPED] = "offline",
		[LOCAL_RES_STARTING] = "starting",
		[LOCAL_RES_RUNNING] = "online",
		[LOCAL_RES_STOPPING] = "stopping",
		[LOCAL_RES_FAILED] = "failed",
		[LOCAL_RES_UNKNOWN] = "unknown",
	};
	const struct group_rec *rec = &core_state(daemon->core)->groups[group];

	if (core_phase(daemon->core) != CORE_MEMBER || rec->owner == core_own_node(daemon->core))
		return local[core_local_resource(daemon->core, group, resource)];
	switch (rec->state) {
	case GROUP_STARTING: return "starting";
	case GROUP_ONLINE: return "online";
	case GROUP_STOPPING: return "stopping";
	case GROUP_BLOCKED: return "unknown";
	default: return "offline";
	}
}

static json_t *resources_json(const struct daemon *daemon, uint32_t group)
{
	const struct config_group *conf = &daemon->config->groups[group];
	json_t *resources = json_array();

	for (uint32_t i = 0; i < daemon->config->core.groups[group].n_resources; i++) {
		const struct config_resource *res = &conf->resources[i];

		json_array_append_new(resources,
			json_pack("{s:s, s:s, s:s, s:o}", "name", res->name, "type",
				res->type->name, "state", resource_state(daemon, group, i), "what",
				what_json(res)));
	}
	return resources;
}

static json_t *preferred_json(const struct core_config *config, const struct core_group *group)
{
	json_t *names = json_array();

	for (uint8_t i = 0; i < group->n_preferred; i++)
		json_array_append_new(names, json_string(config->nodes[group->preferred[i]].name));
	return names;
}

static json_t *group_json(
	const struct daemon *daemon, uint32_t i, const struct policy_choice *choice)
{
	const struct core_config *config = &daemon->config->core;
	const struct core_group *group = &config->groups[i];
	const struct group_rec *rec = &core_state(daemon->core)->groups[i];
	int64_t changed_ms = core_group_changed_ms(daemon->core, i);
	bool is_member = core_phase(daemon->core) == CORE_MEMBER;

	return json_pack("{s:s, s:s, s:b, s:o, s:o, s:o, s:b, s:o, s:s, s:o, s:o, s:o, s:o}",
		"name", group->name, "state", is_member ? group_state_name(rec->state) : "unknown",
		"enabled", rec->enabled, "owner",
		is_member ? name_of(config, rec->owner) : json_null(), "target",
		is_member ? name_of(config, choice->node) : json_null(), "preferred_owners",
		preferred_json(config, group), "failback", group->failback, "may_run_on",
		names_of(config, rec->may_run_on), "why",
		is_member ? policy_reason_text(choice->reason)
			  : "this node does not know the cluster's state",
		"since_ms", changed_ms ? json_integer(changed_ms) : json_null(), "problem",
		json_text(rec->problem ? rec->problem : ""), "failed_on",
		names_of(config, rec->failed_on | rec->unfit_on), "resources",
		resources_json(daemon, i));
}

static json_t *groups_json(const struct daemon *daemon)
{
	uint32_t n = daemon->config->core.n_groups;
	struct policy_choice *choices = calloc(n ? n : 1, sizeof(*choices));
	json_t *groups = json_array();

	if (!choices)
		return groups;
	policy_decide(core_config(daemon->core), core_state(daemon->core), choices);
	for (uint32_t i = 0; i < n; i++)
		json_array_append_new(groups, group_json(daemon, i, &choices[i]));
	free(choices);
	return groups;
}

static const char *reload_text(const struct daemon *daemon)
{
	if (daemon->reload_failed)
		return "the config file on this node has errors and was not loaded: clusterd -n "
		       "tells which";
	if (daemon->loaded)
		return "a newly loaded config waits: it comes into force when every running node "
		       "has loaded it and each group that it changes or removes is offline";
	return "";
}

json_t *status_json(const struct daemon *daemon)
{
	const struct loop_stats *stats = loop_stats(daemon->loop);
	const struct core *core = daemon->core;
	enum core_phase phase = core && daemon->membership ? core_phase(core) : CORE_OUT;
	struct ring_id ring = core ? core_ring(core) : (struct ring_id){0};
	char ring_text[40] = "";

	if (core && daemon->membership)
		snprintf(ring_text, sizeof(ring_text), "%u.%llx", ring.nodeid,
			(unsigned long long)ring.seq);
	return json_pack("{s:b, s:s, s:s, s:s, s:s, s:s, s:o, s:b, s:s, s:o, s:o, s:I, s:f, "
			 "s:{s:f, s:s, s:I}, s:i, s:o, s:o}",
		"ok", 1, "cluster", daemon->config->core.cluster_name, "node",
		core ? daemon->config->core.nodes[core_own_node(core)].name : "", "version",
		PACKAGE_VERSION, "phase", daemon->is_stopping ? "leaving" : core_phase_name(phase),
		"reload", reload_text(daemon), "difference",
		json_text(core && phase == CORE_DIFFERS ? core_difference(core) : ""), "quorate",
		core && core_is_quorate(core), "ring", ring_text, "config_digest",
		hex(daemon->config->core.digest), "state_digest",
		core ? hex(state_digest(core_state(core))) : json_string(""), "state_version",
		(json_int_t)(core ? core_state(core)->version : 0), "uptime_s",
		(double)(clock_boottime_ns() - daemon->started_ns) / 1e9, "loop", "longest_ms",
		(double)stats->longest_ns / 1e6, "longest_in",
		stats->longest_label ? stats->longest_label : "", "over_budget",
		(json_int_t)stats->over_budget, "rss_kib", rss_kib(), "nodes",
		nodes_json(daemon, phase == CORE_MEMBER), "groups",
		core ? groups_json(daemon) : json_array());
}

json_t *facts_json(const struct daemon *daemon)
{
	const struct membership_facts *facts = membership_facts(daemon->membership);

	return json_pack("{s:b, s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:b, s:b, s:i, s:i}", "ok", 1,
		"cluster", facts->cluster_name, "token_ms", (int)facts->token_ms, "consensus_ms",
		(int)facts->consensus_ms, "token_retransmits", (int)facts->token_retransmits,
		"hold_ms", (int)facts->hold_ms, "knet_ping_interval_ms",
		(int)facts->knet_ping_interval_ms, "knet_ping_timeout_ms",
		(int)facts->knet_ping_timeout_ms, "two_node", facts->two_node, "encrypted",
		facts->secauth, "expected_votes", (int)facts->expected_votes, "n_nodes",
		(int)facts->n_nodes);
}
