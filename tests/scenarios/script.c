/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The language of the scripts: one command a line, words apart by blanks, "quotes" around words
 * with blanks, # for comments. README.md lists the commands; the table at the end is what counts.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/scenarios/story.h"

#define MAX_WORDS 24

struct command {
	struct story *story;
	char *words[MAX_WORDS];
	int n;
};

/* ---- words ---- */

static int words_split(struct command *command, char *line)
{
	command->n = 0;
	while (*line) {
		char end = ' ';

		line += strspn(line, " \t\n");
		if (*line == '\0' || *line == '#')
			break;
		if (command->n == MAX_WORDS)
			return -EINVAL;
		if (*line == '"') {
			end = '"';
			line++;
		}
		command->words[command->n++] = line;
		line += end == '"' ? strcspn(line, "\"") : strcspn(line, " \t\n");
		if (end == '"' && *line != '"')
			return -EINVAL;
		if (*line)
			*line++ = '\0';
	}
	return 0;
}

static int node_named(struct command *command, const char *name)
{
	const struct world *world = &command->story->world;

	for (unsigned i = 0; i < world->n_machines; i++) {
		if (strcmp(world->machines[i].name, name) == 0)
			return (int)i;
	}
	story_fail(command->story, "there is no node \"%s\"", name);
	return -1;
}

/* "1500ms", "2s", "1min"; -1: not a time */
static int64_t time_us(const char *word)
{
	char *end;
	long long n = strtoll(word, &end, 10);

	if (end == word)
		return -1;
	if (strcmp(end, "ms") == 0)
		return n * 1000;
	if (strcmp(end, "s") == 0)
		return n * 1000000;
	return strcmp(end, "min") == 0 ? n * 60000000 : -1;
}

static const char *word(const struct command *command, int i)
{
	return i < command->n ? command->words[i] : "";
}

/* The word after `key`, or NULL. */
static char *word_after(const struct command *command, const char *key)
{
	for (int i = 1; i + 1 < command->n; i++) {
		if (strcmp(command->words[i], key) == 0)
			return command->words[i + 1];
	}
	return NULL;
}

static bool has_word(const struct command *command, const char *key)
{
	for (int i = 1; i < command->n; i++) {
		if (strcmp(command->words[i], key) == 0)
			return true;
	}
	return false;
}

/* ---- machines ---- */

static void each_node(struct command *command, void (*todo)(struct world *, int))
{
	for (int i = 1; i < command->n; i++) {
		int node = node_named(command, command->words[i]);

		if (node < 0)
			return;
		todo(&command->story->world, node);
	}
}

static void do_start(struct command *command)
{
	each_node(command, world_power_on);
	each_node(command, world_daemon_start);
}

static void do_power_on(struct command *command)
{
	each_node(command, world_power_on);
}

static void do_power_off(struct command *command)
{
	each_node(command, world_power_off);
}

static void do_start_daemon(struct command *command)
{
	each_node(command, world_daemon_start);
}

static void do_kill_daemon(struct command *command)
{
	each_node(command, world_daemon_kill);
}

static void do_stop_daemon(struct command *command)
{
	each_node(command, world_daemon_leave);
}

static void do_freeze(struct command *command)
{
	each_node(command, world_daemon_freeze);
}

static void do_thaw(struct command *command)
{
	each_node(command, world_daemon_thaw);
}

static void do_stop_corosync(struct command *command)
{
	each_node(command, world_corosync_stop);
}

/* split n1 | n2 n3: who is not named stands alone. */
static void do_split(struct command *command)
{
	int side[CORE_MAX_NODES], now = 0;

	for (int i = 0; i < CORE_MAX_NODES; i++)
		side[i] = 100 + i;
	for (int i = 1; i < command->n; i++) {
		int node;

		if (strcmp(command->words[i], "|") == 0) {
			now++;
			continue;
		}
		node = node_named(command, command->words[i]);
		if (node < 0)
			return;
		side[node] = now;
	}
	world_connect(&command->story->world, side);
}

static void do_heal(struct command *command)
{
	static const int side[CORE_MAX_NODES] = {0};

	world_connect(&command->story->world, side);
}

static void do_quorum(struct command *command)
{
	int node = node_named(command, word(command, 1));

	if (node >= 0)
		world_quorum(&command->story->world, node, strcmp(word(command, 2), "yes") == 0);
}

static void do_run(struct command *command)
{
	struct world *world = &command->story->world;
	int64_t us = time_us(word(command, 1));

	if (us < 0)
		story_fail(command->story, "run needs a time such as 500ms, 2s or 10min");
	else if (!world_run_until(world, world->now_us + us))
		story_fail(command->story, "BROKEN: %s", world->violation);
}

/* ---- resources ---- */

static bool op_named(struct command *command, const char *name, enum core_op *ret_op)
{
	*ret_op = strcmp(name, "stop") == 0 ? CORE_OP_STOP : CORE_OP_START;
	if (strcmp(name, "stop") == 0 || strcmp(name, "start") == 0)
		return true;
	story_fail(command->story, "\"%s\" is neither start nor stop", name);
	return false;
}

/* result NODE|any RESOURCE start|stop ok|fail|unfit ["text"] [times N] [takes TIME] */
static void do_result(struct command *command)
{
	struct story *story = command->story;
	struct rule rule = {.node = -1, .times = -1};
	const char *times = word_after(command, "times"), *takes = word_after(command, "takes");
	const char *what = word(command, 4);

	if (strcmp(word(command, 1), "any") != 0)
		rule.node = node_named(command, word(command, 1));
	if (!op_named(command, word(command, 3), &rule.op))
		return;
	if (story->n_rules == STORY_RULES || command->n < 5) {
		story_fail(story, "result NODE|any RESOURCE start|stop ok|fail|unfit [\"text\"]");
		return;
	}
	rule.rc = strcmp(what, "ok") == 0 ? 0 : strcmp(what, "unfit") == 0 ? -ENETDOWN : -EIO;
	if (rule.rc)
		snprintf(rule.text, sizeof(rule.text), "%s", word(command, 5));
	if (times)
		rule.times = atoi(times);
	if (takes)
		rule.took_us = time_us(takes);
	snprintf(rule.resource, sizeof(rule.resource), "%s", word(command, 2));
	story->rules[story->n_rules++] = rule;
}

/* fail NODE RESOURCE [unfit] "text" */
static void do_fail(struct command *command)
{
	int node = node_named(command, word(command, 1));
	bool unfit = strcmp(word(command, 3), "unfit") == 0;

	if (node >= 0)
		world_resource(&command->story->world, node, word(command, 2),
			CORE_EV_RESOURCE_FAILED, unfit, word(command, unfit ? 4 : 3));
}

static void do_fit(struct command *command)
{
	int node = node_named(command, word(command, 1));

	if (node >= 0)
		world_resource(&command->story->world, node, word(command, 2), CORE_EV_RESOURCE_FIT,
			false, NULL);
}

static void do_by_hand(struct command *command)
{
	int node = node_named(command, word(command, 1));

	if (node >= 0)
		world_start_by_hand(&command->story->world, node, word(command, 2));
}

/* ---- the administrator ---- */

/* The node that is asked: the one named after "on", or the first whose daemon is awake. */
static int node_asked(struct command *command)
{
	const struct world *world = &command->story->world;
	const char *on = word_after(command, "on");

	if (on)
		return node_named(command, on);
	for (unsigned i = 0; i < world->n_machines; i++) {
		if (world->machines[i].has_daemon && !world->machines[i].is_frozen)
			return (int)i;
	}
	story_fail(command->story, "no daemon is there to be asked");
	return -1;
}

static void order(struct command *command, enum core_verb verb)
{
	struct story *story = command->story;
	int node = node_asked(command);

	if (node >= 0)
		world_admin(&story->world, node, ++story->n_requests, verb, word(command, 1),
			word_after(command, "to"), has_word(command, "wait"));
}

static void do_failover(struct command *command)
{
	order(command, CORE_FAILOVER);
}

static void do_online(struct command *command)
{
	order(command, CORE_ONLINE);
}

static void do_offline(struct command *command)
{
	order(command, CORE_OFFLINE);
}

static void do_reload(struct command *command)
{
	int node = node_named(command, word(command, 1));
	const struct config *config;

	if (node < 0)
		return;
	config = story_config(command->story, word(command, 2));
	if (config)
		world_reload(&command->story->world, node, &config->core);
}

/* ---- settings and assertions ---- */

static void do_set(struct command *command)
{
	struct world *world = &command->story->world;
	const char *key = word(command, 1);
	int64_t us = time_us(word(command, 2));
	struct {
		const char *key;
		int64_t *us;
	} times[] = {{"latency", &world->latency_us}, {"quorum-delay", &world->quorum_delay_us},
		{"loss-delay", &world->loss_delay_us}, {"join-delay", &world->join_delay_us},
		{"operations", &world->op_us}};

	for (unsigned i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		if (strcmp(times[i].key, key) == 0) {
			*times[i].us = us;
			return;
		}
	}
	if (strcmp(key, "hold-off") == 0)
		world->holdoff_ms = (uint32_t)(us / 1000);
	else if (strcmp(key, "half-is-enough") == 0)
		world->is_half_enough = strcmp(word(command, 2), "yes") == 0;
	else
		story_fail(command->story, "there is nothing called \"%s\" to set", key);
}

static void do_expect_runs(struct command *command)
{
	int node = strcmp(word(command, 2), "nowhere") == 0 ? -1
							    : node_named(command, word(command, 2));
	int found = world_runs_on(&command->story->world, word(command, 1));

	if (found != node)
		story_fail(command->story, "group %s runs on %s", word(command, 1),
			found == -1   ? "no node"
			: found == -2 ? "more than one node"
				      : command->story->world.machines[found].name);
}

static void do_expect_phase(struct command *command)
{
	int node = node_named(command, word(command, 1));
	const struct machine *machine;

	if (node < 0)
		return;
	machine = &command->story->world.machines[node];
	if (!machine->core)
		story_fail(command->story, "%s has no daemon", machine->name);
	else if (strcmp(core_phase_name(core_phase(machine->core)), word(command, 2)) != 0)
		story_fail(command->story, "%s is %s", machine->name,
			core_phase_name(core_phase(machine->core)));
}

static void do_unsettled(struct command *command)
{
	command->story->may_end_unsettled = true;
}

static const struct {
	const char *name;
	int min_words; /* with the name */
	bool is_told;  /* stands in the log */
	void (*todo)(struct command *command);
} commands[] = {
	{"start", 2, true, do_start},
	{"power-on", 2, true, do_power_on},
	{"power-off", 2, true, do_power_off},
	{"start-daemon", 2, true, do_start_daemon},
	{"kill-daemon", 2, true, do_kill_daemon},
	{"stop-daemon", 2, true, do_stop_daemon},
	{"stop-corosync", 2, true, do_stop_corosync},
	{"freeze", 2, true, do_freeze},
	{"thaw", 2, true, do_thaw},
	{"split", 2, true, do_split},
	{"heal", 1, true, do_heal},
	{"quorum", 3, true, do_quorum},
	{"result", 5, true, do_result},
	{"fail", 4, true, do_fail},
	{"fit", 3, true, do_fit},
	{"by-hand", 3, true, do_by_hand},
	{"failover", 2, true, do_failover},
	{"online", 2, true, do_online},
	{"offline", 2, true, do_offline},
	{"reload", 3, true, do_reload},
	{"run", 2, false, do_run},
	{"set", 3, false, do_set},
	{"expect-runs", 3, false, do_expect_runs},
	{"expect-phase", 3, false, do_expect_phase},
	{"may-end-unsettled", 1, false, do_unsettled},
};

static void command_run(struct command *command, const char *line)
{
	for (unsigned i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(commands[i].name, command->words[0]) != 0)
			continue;
		if (command->n < commands[i].min_words) {
			story_fail(command->story, "%s needs more words", commands[i].name);
			return;
		}
		if (commands[i].is_told)
			story_command(command->story, line);
		commands[i].todo(command);
		return;
	}
	story_fail(command->story, "there is no command \"%s\"", command->words[0]);
}

bool script_play(struct story *story, FILE *script)
{
	char line[1024], text[1024];

	for (int number = 1; !story->error[0] && fgets(line, sizeof(line), script); number++) {
		struct command command = {.story = story};
		char inner[STORY_ERROR_SIZE];

		line[strcspn(line, "\n")] = '\0';
		snprintf(text, sizeof(text), "%s", line);
		if (words_split(&command, line) < 0)
			story_fail(story, "too many words, or a quote without end");
		else if (command.n > 0)
			command_run(&command, text);
		if (!story->error[0])
			continue;
		snprintf(inner, sizeof(inner), "%s", story->error);
		snprintf(story->error, sizeof(story->error), "script:%d: %.400s", number, inner);
	}
	return !story->error[0];
}
