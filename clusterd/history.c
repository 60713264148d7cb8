/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The history: each takeover with its cause and measured phases. The newest are kept in memory as
 * JSON, all are appended to history.jsonl in the state folder.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "clusterd/daemon.h"

#define HISTORY_FILE "history.jsonl"
#define HISTORY_OLD HISTORY_FILE STATEFILE_OLD_SUFFIX
#define HISTORY_MAX 200

struct history {
	struct statefile *statefile;
	json_t *entries; /* oldest first */
};

static const char *kind_of(const struct core_record *record)
{
	switch (record->cause) {
	case CAUSE_NODE_STOPS:
	case CAUSE_FAILOVER:
	case CAUSE_CONFIG: return "move";
	case CAUSE_FAILBACK: return "failback";
	case CAUSE_ADOPTED: return "readopt";
	case CAUSE_NODE_LEFT:
	case CAUSE_DAEMON_GONE:
	case CAUSE_RESOURCE_FAILED:
	case CAUSE_START_FAILED:
	case CAUSE_NOT_FOUND:
		return record->from == record->to     ? "restart"
		       : record->from == CORE_NO_NODE ? "start"
						      : "failover";
	default: return "start";
	}
}

static json_t *node_json(const struct core_config *config, uint8_t node)
{
	return node < config->n_nodes ? json_string(config->nodes[node].name) : json_null();
}

static json_t *phases_json(const struct core_record *record)
{
	static const char *const names[PHASES] = {
		"release", "quorum", "decided", "address", "announced", "online"};
	json_t *phases = json_object();

	for (unsigned i = 0; i < PHASES; i++)
		json_object_set_new(phases, names[i],
			record->phase_us[i] < 0 ? json_null()
						: json_real((double)record->phase_us[i] / 1000));
	return phases;
}

static void keep(struct history *history, json_t *entry)
{
	json_array_append_new(history->entries, entry);
	if (json_array_size(history->entries) > HISTORY_MAX)
		json_array_remove(history->entries, 0);
}

static void load(struct history *history, const char *name)
{
	char *text = statefile_read(history->statefile, name);
	char *save = NULL;

	for (char *line = text ? strtok_r(text, "\n", &save) : NULL; line;
		line = strtok_r(NULL, "\n", &save)) {
		json_t *entry = json_loads(line, 0, NULL);

		if (json_is_object(entry))
			keep(history, entry);
		else
			json_decref(entry); /* a torn line: lost, and nothing else with it */
	}
	free(text);
}

int history_new(struct statefile *statefile, struct history **ret_history)
{
	struct history *history = calloc(1, sizeof(*history));

	if (!history)
		return -ENOMEM;
	history->statefile = statefile;
	history->entries = json_array();
	load(history, HISTORY_OLD);
	load(history, HISTORY_FILE);
	*ret_history = history;
	return 0;
}

void history_free(struct history *history)
{
	if (!history)
		return;
	json_decref(history->entries);
	free(history);
}

void history_add(
	struct history *history, const struct daemon *daemon, const struct core_record *record)
{
	/* Not the core's, which may be past a switch that this record came before. */
	const struct core_config *config = &daemon->config->core;
	json_t *entry = json_pack("{s:I, s:s, s:o, s:o, s:s, s:o, s:s, s:o}", "time_ms",
		(json_int_t)record->wall_ms, "group", config->groups[record->group].name, "from",
		node_json(config, record->from), "to", node_json(config, record->to), "kind",
		kind_of(record), "cause", json_text(record->cause_text), "result",
		record->is_online ? "online" : "failed", "phases_ms", phases_json(record));
	char *text;

	if (!entry)
		return;
	text = json_dumps(entry, JSON_COMPACT | JSON_REAL_PRECISION(6));
	if (text)
		statefile_append(history->statefile, HISTORY_FILE, text);
	free(text);
	keep(history, entry);
}

json_t *history_json(const struct history *history, size_t limit)
{
	size_t n = json_array_size(history->entries);
	json_t *list = json_array();

	for (size_t i = limit && limit < n ? n - limit : 0; i < n; i++)
		json_array_append(list, json_array_get(history->entries, i));
	return json_pack("{s:b, s:o}", "ok", 1, "history", list);
}
