/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * groups.json in the state folder: which groups the operator has set offline, and at which version
 * of the state. Of all nodes that start together, the newest version counts.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "clusterd/daemon.h"
#include "clusterd/log.h"

#define SAVED_FILE "groups.json"

static void mark_offline(const struct core_config *config, const char *name, bool *offline)
{
	for (uint32_t i = 0; name && i < config->n_groups; i++) {
		if (strcmp(config->groups[i].name, name) == 0)
			offline[i] = true;
	}
}

void saved_load(const struct daemon *daemon, uint64_t *ret_version, bool *ret_offline)
{
	char *text = statefile_read(daemon->statefile, SAVED_FILE);
	json_t *saved, *version, *offline, *name;
	json_error_t error;
	size_t i;

	*ret_version = 0;
	if (!text) {
		if (errno != ENOENT)
			log_warning("%s/%s can't be read: %s; groups that were set offline may "
				    "start",
				daemon->state_dir, SAVED_FILE, strerror(errno));
		return;
	}
	saved = json_loads(text, 0, &error);
	free(text);
	version = json_object_get(saved, "version");
	offline = json_object_get(saved, "offline");
	if (!json_is_integer(version) || !json_is_array(offline) ||
		json_integer_value(version) < 0) {
		log_warning("%s/%s is damaged and was ignored: groups that were set offline may "
			    "start; it is written anew at the next order",
			daemon->state_dir, SAVED_FILE);
	} else {
		*ret_version = (uint64_t)json_integer_value(version);
		json_array_foreach(offline, i, name)
			mark_offline(&daemon->config->core, json_string_value(name), ret_offline);
	}
	json_decref(saved);
}

void saved_write(const struct daemon *daemon)
{
	const struct core_config *config = core_config(daemon->core);
	const struct core_state *state = core_state(daemon->core);
	json_t *offline = json_array();
	json_t *saved;
	char *text;

	for (uint32_t i = 0; i < state->n_groups; i++) {
		if (!state->groups[i].enabled)
			json_array_append_new(offline, json_string(config->groups[i].name));
	}
	saved = json_pack("{s:I, s:o}", "version", (json_int_t)state->version, "offline", offline);
	text = json_dumps(saved, JSON_COMPACT);
	if (text)
		statefile_replace(daemon->statefile, SAVED_FILE, text);
	free(text);
	json_decref(saved);
}
