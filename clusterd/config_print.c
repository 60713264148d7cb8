/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The canonical form of a config, and the digests of it.
 *
 * One key a line, an object's name first, keys in a fixed order, nothing that has its default's
 * value: equal configs print alike however they were written, and a key that a later version adds
 * changes nothing where it is not used. config_difference reads this form.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "clusterd/config_reader.h"

struct text {
	char *buf;
	size_t len, size;
	bool no_memory;
};

static void put(struct text *text, const char *s, size_t len)
{
	if (text->len + len + 1 > text->size) {
		size_t size = 2 * text->size + len + 1;
		char *buf = realloc(text->buf, size);

		if (!buf) {
			text->no_memory = true;
			return;
		}
		text->buf = buf;
		text->size = size;
	}
	memcpy(text->buf + text->len, s, len);
	text->len += len;
	text->buf[text->len] = '\0';
}

static void put_text(struct text *text, const char *s)
{
	put(text, s, strlen(s));
}

/* Values hold no other control character than the tab (config_get_string). */
static void put_quoted(struct text *text, const char *s)
{
	static const char from[] = "\"\\\t", to[] = "\"\\t";

	put_text(text, "\"");
	for (; *s; s++) {
		const char *found = strchr(from, *s);

		if (found)
			put_text(text, "\\");
		put(text, found ? &to[found - from] : s, 1);
	}
	put_text(text, "\"");
}

static void put_indent(struct text *text, unsigned depth)
{
	put(text, "\t\t\t\t", depth);
}

static void put_key(struct text *text, unsigned depth, const char *key)
{
	put_indent(text, depth);
	put_text(text, key);
	put_text(text, " = ");
}

static void put_string(struct text *text, unsigned depth, const char *key, const char *value)
{
	put_key(text, depth, key);
	put_quoted(text, value);
	put_text(text, ";\n");
}

static void put_bool(struct text *text, unsigned depth, const char *key, bool value)
{
	put_key(text, depth, key);
	put_text(text, value ? "true;\n" : "false;\n");
}

static void put_int(struct text *text, unsigned depth, const char *key, int64_t value)
{
	bool is_long = value > INT32_MAX || value < INT32_MIN;
	char number[32];

	put_key(text, depth, key);
	snprintf(number, sizeof(number), "%lld%s;\n", (long long)value, is_long ? "L" : "");
	put_text(text, number);
}

/* The i-th of n strings of an array; call in order. */
static void put_entry(struct text *text, uint32_t i, uint32_t n, const char *value)
{
	put_text(text, i == 0 ? "[ " : ", ");
	put_quoted(text, value);
	if (i + 1 == n)
		put_text(text, " ];\n");
}

/* After the i-th of n objects in a list. */
static void put_end(struct text *text, unsigned depth, uint32_t i, uint32_t n)
{
	put_indent(text, depth);
	put_text(text, i + 1 < n ? "},\n" : "}\n");
}

static void put_param(
	struct text *text, const struct param_spec *spec, const struct param_value *value)
{
	switch (spec->kind) {
	case PARAM_STRING:
		if (value->str && (!spec->def_str || strcmp(value->str, spec->def_str) != 0))
			put_string(text, 4, spec->key, value->str);
		return;
	case PARAM_INT:
		if (spec->required || value->num != spec->def)
			put_int(text, 4, spec->key, value->num);
		return;
	case PARAM_BOOL:
		if (spec->required || value->num != spec->def)
			put_bool(text, 4, spec->key, value->num != 0);
		return;
	}
}

static void put_resource(struct text *text, const struct config_resource *res)
{
	put_string(text, 4, "name", res->name);
	put_string(text, 4, "type", res->type->name);
	for (size_t i = 0; res->type->params[i].key; i++)
		put_param(text, &res->type->params[i], &res->params[i]);
}

static void put_group(struct text *text, const struct config *config, uint32_t index)
{
	const struct core_group *core = &config->core.groups[index];

	put_string(text, 2, "name", core->name);
	if (core->n_preferred > 0)
		put_key(text, 2, "preferred_owners");
	for (uint32_t i = 0; i < core->n_preferred; i++)
		put_entry(text, i, core->n_preferred, config->core.nodes[core->preferred[i]].name);
	if (core->failback)
		put_bool(text, 2, "failback", true);
	put_text(text, "\t\tresources = (\n");
	for (uint32_t i = 0; i < core->n_resources; i++) {
		put_text(text, "\t\t\t{\n");
		put_resource(text, &config->groups[index].resources[i]);
		put_end(text, 3, i, core->n_resources);
	}
	put_text(text, "\t\t);\n");
}

static void put_nodes(struct text *text, const struct config *config, bool with_addresses)
{
	put_text(text, "nodes = (\n");
	for (uint32_t i = 0; i < config->core.n_nodes; i++) {
		const struct config_node *node = &config->nodes[i];

		put_text(text, "\t{\n");
		put_string(text, 2, "name", config->core.nodes[i].name);
		if (with_addresses && node->n_addresses > 0) {
			put_key(text, 2, "address");
			for (uint32_t j = 0; j < node->n_addresses; j++)
				put_entry(text, j, node->n_addresses, node->addresses[j]);
		}
		put_end(text, 1, i, config->core.n_nodes);
	}
	put_text(text, ");\n");
}

/* digests: one for each group, or NULL. */
static char *print(const struct config *config, bool with_addresses, struct core_group *digests,
	size_t *ret_len)
{
	struct text text = {0};

	put_text(&text, "cluster = {\n");
	put_string(&text, 1, "name", config->core.cluster_name);
	if (config->unsafe_without_fencing)
		put_bool(&text, 1, "unsafe_without_fencing", true);
	put_text(&text, "};\n");
	put_nodes(&text, config, with_addresses);
	put_text(&text, "groups = (\n");
	for (uint32_t i = 0; i < config->core.n_groups; i++) {
		size_t start;

		put_text(&text, "\t{\n");
		start = text.len;
		put_group(&text, config, i);
		if (digests && !text.no_memory)
			digests[i].digest = core_digest(text.buf + start, text.len - start);
		put_end(&text, 1, i, config->core.n_groups);
	}
	put_text(&text, ");\n");
	if (text.no_memory) {
		free(text.buf);
		return NULL;
	}
	*ret_len = text.len;
	return text.buf;
}

char *config_print(const struct config *config)
{
	size_t len;

	return print(config, true, NULL, &len);
}

int config_fill_digests(struct config *config)
{
	struct core_config *core = &config->core;

	core->text = print(config, false, core->groups, &core->text_len);
	if (!core->text)
		return -ENOMEM;
	core->digest = core_digest(core->text, core->text_len);
	return 0;
}
