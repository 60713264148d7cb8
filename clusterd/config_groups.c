/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The groups of a config file and their resources.
 *
 * Knows no resource type: a type's own keys are read by its table, then the type checks them.
 * Whatever is wrong is reported and reading goes on; nothing half-read is used, as the config is
 * thrown away if there was any error. Called by config.c.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "clusterd/config_reader.h"

#define KEYS_MAX 64 /* of one resource type */

static size_t count_params(const struct resource_type *type)
{
	size_t n = 0;

	while (type->params[n].key)
		n++;
	return n;
}

static void read_value(struct config_reader *reader, const config_setting_t *setting,
	const char *object, const struct param_spec *spec, struct param_value *value)
{
	const char *text;
	bool is_true;

	value->set = true;
	switch (spec->kind) {
	case PARAM_STRING:
		if (!config_get_string(reader, setting, object, &text))
			return;
		if (*text == '\0') {
			config_error_at(reader, setting, object,
				"%s is empty; write a value, or leave the key out", spec->key);
			return;
		}
		free(value->str);
		value->str = strdup(text);
		if (!value->str)
			reader->no_memory = true;
		return;
	case PARAM_INT:
		config_get_int(reader, setting, object, spec->min, spec->max, &value->num);
		return;
	case PARAM_BOOL:
		if (config_get_bool(reader, setting, object, &is_true))
			value->num = is_true;
		return;
	}
}

static void read_params(struct config_reader *reader, const config_setting_t *setting,
	const char *object, struct config_resource *res)
{
	const struct param_spec *specs = res->type->params;
	size_t n = count_params(res->type);
	const char *keys[KEYS_MAX + 3] = {"name", "type"};

	assert(n <= KEYS_MAX);
	for (size_t i = 0; i < n; i++)
		keys[i + 2] = specs[i].key;
	config_check_keys(reader, setting, object, keys);

	res->params = calloc(n + 1, sizeof(*res->params));
	if (!res->params) {
		reader->no_memory = true;
		return;
	}
	for (size_t i = 0; i < n; i++) {
		const config_setting_t *child = config_setting_get_member(setting, specs[i].key);
		struct param_value *value = &res->params[i];

		value->line = res->line;
		value->num = specs[i].def;
		if (specs[i].def_str) {
			value->str = strdup(specs[i].def_str);
			reader->no_memory |= !value->str;
		}
		if (child) {
			/* A line counts only within the resource's file. */
			if (config_setting_source_file(child) ==
				config_setting_source_file(setting))
				value->line = (int)child->line;
			read_value(reader, child, object, &specs[i], value);
		} else if (specs[i].required) {
			config_error_at(reader, setting, object, "%s is missing; add %s%s%s",
				specs[i].key, specs[i].key, specs[i].expects ? ": " : "",
				specs[i].expects ? specs[i].expects : "");
		}
	}
}

static void read_type(struct config_reader *reader, const config_setting_t *group,
	const char *object, const struct resource_type **ret)
{
	const config_setting_t *setting = config_setting_get_member(group, "type");
	const struct resource_type *const *types = resource_types();
	const char *text, *nearest, *names[32];
	char known[256] = "";
	size_t n = 0;

	for (; types[n] && n < 31; n++) {
		size_t used = strlen(known);

		names[n] = types[n]->name;
		snprintf(known + used, sizeof(known) - used, "%s\"%s\"", n ? ", " : "", names[n]);
	}
	names[n] = NULL;
	if (!setting) {
		config_error_at(
			reader, group, object, "has no type; add type = \"...\", one of %s", known);
		return;
	}
	if (!config_get_string(reader, setting, object, &text))
		return;
	*ret = resource_type_find(text);
	if (*ret)
		return;
	nearest = config_nearest(text, names);
	if (nearest)
		config_error_at(reader, setting, object,
			"unknown type \"%.80s\"; did you mean \"%s\"?", text, nearest);
	else
		config_error_at(reader, setting, object, "unknown type \"%.80s\"; write one of %s",
			text, known);
}

static void read_resource(struct config_reader *reader, const config_setting_t *setting,
	uint32_t group, uint32_t index)
{
	struct config_resource *res = &reader->config->groups[group].resources[index];
	struct core_resource *core = &reader->config->core.groups[group].resources[index];
	uint32_t errors_before = reader->report->n_errors;
	char object[CONFIG_OBJECT_SIZE], buf[CORE_TEXT_SIZE];
	const char *name, *key;

	res->line = (int)setting->line;
	if (config_setting_type(setting) != CONFIG_TYPE_GROUP) {
		snprintf(object, sizeof(object), "resource #%u", index + 1);
		config_wrong_type(
			reader, setting, object, "{ name = \"...\"; type = \"...\"; ... }");
		return;
	}
	name = config_get_name(reader, setting, "resource", index, object);
	if (name) {
		snprintf(res->name, sizeof(res->name), "%s", name);
		snprintf(core->name, sizeof(core->name), "%s", name);
		config_hold(reader, &reader->name_holders, "resource", name, name, setting, group);
	}
	read_type(reader, setting, object, &res->type);
	if (!res->type)
		return; /* whose keys these are is not known */
	core->pipelined = res->type->pipelined;
	read_params(reader, setting, object, res);
	if (reader->report->n_errors > errors_before || reader->no_memory)
		return; /* check may rely on the table */

	config_set_place(reader, setting);
	if (res->type->check)
		res->type->check(res, reader->report);
	reader->report->file = reader->file;
	if (reader->report->n_errors > errors_before)
		return;
	core->stateless = res->type->is_stateless && res->type->is_stateless(res);
	key = res->type->unique_key ? res->type->unique_key(res, buf, sizeof(buf)) : NULL;
	if (key)
		config_hold_copy(reader, &reader->address_holders, "resource", name, key, setting);
}

static void read_resources(struct config_reader *reader, const config_setting_t *group,
	const char *object, uint32_t index)
{
	const config_setting_t *list = config_setting_get_member(group, "resources");
	struct core_group *core = &reader->config->core.groups[index];
	struct config_group *conf = &reader->config->groups[index];
	uint32_t n;

	if (!list) {
		config_error_at(reader, group, object,
			"has no resources; add resources = ( { name = \"...\"; type = \"...\"; ... "
			"} )");
		return;
	}
	if (config_setting_type(list) != CONFIG_TYPE_LIST) {
		config_wrong_type(reader, list, object, "a list: ( { ... }, { ... } )");
		return;
	}
	n = (uint32_t)config_setting_length(list);
	if (n == 0) {
		config_error_at(reader, list, object,
			"its list of resources is empty; add one, or take the group out");
		return;
	}
	if (n > CORE_MAX_RESOURCES) {
		config_error_at(reader, list, object,
			"%u resources are more than the %d a group may have; split the group", n,
			CORE_MAX_RESOURCES);
		return;
	}
	core->resources = calloc(n, sizeof(*core->resources));
	conf->resources = calloc(n, sizeof(*conf->resources));
	if (!core->resources || !conf->resources) {
		reader->no_memory = true;
		return;
	}
	core->n_resources = n;
	for (uint32_t i = 0; i < n; i++)
		read_resource(reader, config_setting_get_elem(list, i), index, i);
}

static void read_owner(struct config_reader *reader, const config_setting_t *setting,
	const char *object, struct core_group *core)
{
	const char *names[CORE_MAX_NODES + 1], *owner, *nearest;
	uint32_t n = reader->config->core.n_nodes, node = 0;

	if (!config_get_string(reader, setting, object, &owner) || !reader->nodes_known)
		return;
	memcpy(names, reader->node_names, n * sizeof(*names));
	names[n] = NULL;
	while (node < n && strcmp(names[node], owner) != 0)
		node++;
	if (node == n) {
		nearest = config_nearest(owner, names);
		config_error_at(reader, setting, object,
			"preferred_owners: there is no node \"%.80s\"; %s%s%s", owner,
			nearest ? "did you mean \"" : "name one of the list nodes, or add it there",
			nearest ? nearest : "", nearest ? "\"?" : "");
		return;
	}
	for (unsigned i = 0; i < core->n_preferred; i++) {
		if (core->preferred[i] == node) {
			config_error_at(reader, setting, object,
				"preferred_owners names \"%s\" twice; take one out", owner);
			return;
		}
	}
	core->preferred[core->n_preferred++] = (uint8_t)node;
}

static void read_owners(struct config_reader *reader, const config_setting_t *list,
	const char *object, struct core_group *core)
{
	int type = config_setting_type(list);

	if (type != CONFIG_TYPE_ARRAY && type != CONFIG_TYPE_LIST) {
		config_wrong_type(
			reader, list, object, "node names in brackets: [ \"n1\", \"n2\" ]");
		return;
	}
	for (int i = 0; i < config_setting_length(list); i++)
		read_owner(reader, config_setting_get_elem(list, (unsigned)i), object, core);
}

static void read_group(struct config_reader *reader, const config_setting_t *group, uint32_t index)
{
	static const char *const keys[] = {
		"name", "preferred_owners", "failback", "resources", NULL};
	struct core_group *core = &reader->config->core.groups[index];
	const config_setting_t *setting;
	char object[CONFIG_OBJECT_SIZE];
	const char *name;

	reader->config->groups[index].line = (int)group->line;
	if (config_setting_type(group) != CONFIG_TYPE_GROUP) {
		snprintf(object, sizeof(object), "group #%u", index + 1);
		config_wrong_type(
			reader, group, object, "{ name = \"...\"; resources = ( ... ); }");
		return;
	}
	name = config_get_name(reader, group, "group", index, object);
	if (name) {
		snprintf(core->name, sizeof(core->name), "%s", name);
		config_hold(reader, &reader->name_holders, "group", name, name, group, index);
	}
	config_check_keys(reader, group, object, keys);
	setting = config_setting_get_member(group, "preferred_owners");
	if (setting)
		read_owners(reader, setting, object, core);
	setting = config_setting_get_member(group, "failback");
	if (setting)
		config_get_bool(reader, setting, object, &core->failback);
	read_resources(reader, group, object, index);
}

void config_read_groups(struct config_reader *reader, const config_setting_t *groups)
{
	struct config *config = reader->config;
	uint32_t n;

	if (config_setting_type(groups) != CONFIG_TYPE_LIST) {
		config_wrong_type(reader, groups, NULL, "a list: ( { ... }, { ... } )");
		return;
	}
	n = (uint32_t)config_setting_length(groups);
	if (n > CORE_MAX_GROUPS) {
		config_error_at(reader, groups, NULL,
			"groups: %u groups are more than the %d a cluster may have", n,
			CORE_MAX_GROUPS);
		return;
	}
	config->core.groups = calloc(n ? n : 1, sizeof(*config->core.groups));
	config->groups = calloc(n ? n : 1, sizeof(*config->groups));
	if (!config->core.groups || !config->groups) {
		reader->no_memory = true;
		return;
	}
	config->core.n_groups = n;
	for (uint32_t i = 0; i < n; i++)
		read_group(reader, config_setting_get_elem(groups, i), i);
}
