/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The log of a scenario: what several nodes say alike at one instant is one line. Also what the
 * world asks of the story: how operations end, how configs differ.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "tests/scenarios/story.h"

void story_fail(struct story *story, const char *fmt, ...)
{
	va_list args;

	if (story->error[0])
		return;
	va_start(args, fmt);
	vsnprintf(story->error, sizeof(story->error), fmt, args);
	va_end(args);
}

/* ---- the log ---- */

static void line_print(struct story *story, const struct line *line)
{
	const char *comma = "";

	fprintf(story->log, "[%7lldms] ", (long long)(story->instant_us / 1000 - 1000));
	if (line->nodes == 0) {
		fprintf(story->log, "# %s\n", line->text);
		return;
	}
	for (unsigned i = 0; i < story->world.n_machines; i++) {
		if (!(line->nodes & node_bit(i)))
			continue;
		fprintf(story->log, "%s%s", comma, story->world.machines[i].name);
		comma = ",";
	}
	fprintf(story->log, ": %s\n", line->text);
}

void story_flush(struct story *story)
{
	for (unsigned i = 0; i < story->n_lines; i++) {
		line_print(story, &story->lines[i]);
		free(story->lines[i].text);
	}
	story->n_lines = 0;
}

static void line_add(struct story *story, node_mask nodes, bool is_replicated, const char *text)
{
	if (story->instant_us != story->world.now_us || story->n_lines == STORY_LINES)
		story_flush(story);
	story->instant_us = story->world.now_us;
	for (unsigned i = 0; is_replicated && i < story->n_lines; i++) {
		struct line *line = &story->lines[i];

		if (line->is_replicated && !(line->nodes & nodes) &&
			strcmp(line->text, text) == 0) {
			line->nodes |= nodes;
			return;
		}
	}
	story->lines[story->n_lines++] = (struct line){nodes, is_replicated, strdup(text)};
}

void story_command(struct story *story, const char *text)
{
	line_add(story, 0, false, text);
}

static void on_log(void *ctx, int node, bool is_replicated, const char *text)
{
	line_add(ctx, node_bit((unsigned)node), is_replicated, text);
}

/* ---- what the world asks ---- */

static struct world_op_result on_op(
	void *ctx, int node, const char *group, const char *resource, enum core_op op)
{
	struct story *story = ctx;
	struct world_op_result result = {.took_us = story->world.op_us};

	(void)group;
	for (unsigned i = story->n_rules; i-- > 0;) {
		struct rule *rule = &story->rules[i];

		if ((rule->node != -1 && rule->node != node) || rule->op != op ||
			rule->times == 0 || strcmp(rule->resource, resource) != 0)
			continue;
		if (rule->times > 0)
			rule->times--;
		result.rc = rule->rc;
		result.text = rule->text;
		if (rule->took_us)
			result.took_us = rule->took_us;
		break;
	}
	return result;
}

static void on_difference(void *ctx, int node, const char *theirs, char *ret_text, size_t size)
{
	struct story *story = ctx;

	config_difference(theirs, story->world.machines[node].config->text, ret_text, size);
}

const struct world_ops story_ops = {
	.log = on_log,
	.op = on_op,
	.difference = on_difference,
};

/* ---- life ---- */

/* Corosync's part of the config: nodeids are the places of the machines. */
static void nodeids_fill(struct story *story, struct core_config *config)
{
	for (uint32_t i = 0; i < config->n_nodes; i++) {
		config->nodes[i].nodeid = i + 1;
		for (unsigned j = 0; j < story->world.n_machines; j++) {
			if (strcmp(config->nodes[i].name, story->world.machines[j].name) == 0)
				config->nodes[i].nodeid = j + 1;
		}
	}
}

const struct config *story_config(struct story *story, const char *file)
{
	char path[4096];
	struct config_report report = {0};
	struct config *config;

	if (story->n_configs == STORY_CONFIGS) {
		story_fail(story, "more than %d configs", STORY_CONFIGS);
		return NULL;
	}
	snprintf(path, sizeof(path), "%s/%s", story->dir, file);
	report.file = path;
	if (config_load(path, &config, &report) < 0) {
		story_fail(story, "%s", report.text ? report.text : path);
		config_report_fini(&report);
		return NULL;
	}
	config_report_fini(&report);
	nodeids_fill(story, &config->core);
	story->configs[story->n_configs++] = config;
	return config;
}

int story_init(struct story *story, const char *dir)
{
	const struct config *config;

	*story = (struct story){.dir = dir};
	story->log = open_memstream(&story->log_text, &story->log_len);
	config = story_config(story, "cluster.conf");
	if (!config)
		return -EINVAL;
	world_init(&story->world, &config->core, &story_ops, story);
	return 0;
}

void story_fini(struct story *story)
{
	story_flush(story);
	world_fini(&story->world);
	for (unsigned i = 0; i < story->n_configs; i++)
		config_free(story->configs[i]);
	for (unsigned i = 0; i < story->n_texts; i++)
		free(story->texts[i]);
	fclose(story->log);
	free(story->log_text);
}
