/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Resource type "exec": a service that is started, stopped and watched by commands.
 *
 * start and stop succeed with exit code 0. monitor, which also answers a probe: 0 running, 3 or 7
 * stopped (what LSB init scripts and OCF agents say), anything else and a time-out: not known.
 * Commands are split at blanks; there is no shell and no quoting.
 *
 * Invariant: at most one child at a time, told apart by `work`; the host's operations take the
 * place of a monitor that is under way. Monitors follow a successful start or an adopt until stop,
 * or until the first one that fails, each interval_ms after the end of the one before.
 * Called by the host through exec_type.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clusterd/config.h"
#include "clusterd/loop.h"
#include "clusterd/runner.h"
#include "resources/resource.h"

#define EXEC_BLANKS " \t"
#define NS_PER_MS 1000000
#define MONITOR_STOPPED_LSB 3
#define MONITOR_STOPPED_OCF 7

extern const struct resource_type exec_type; /* registry.c lists it */

struct command {
	char *words;       /* the text, cut at blanks */
	const char **argv; /* into words, ends with NULL; NULL: no such command */
};

enum exec_work { EXEC_IDLE, EXEC_STARTING, EXEC_STOPPING, EXEC_PROBING, EXEC_MONITORING };

static const char *const work_names[] = {
	[EXEC_IDLE] = "idle",
	[EXEC_STARTING] = "start",
	[EXEC_STOPPING] = "stop",
	[EXEC_PROBING] = "monitor",
	[EXEC_MONITORING] = "monitor",
};

struct exec {
	struct resource res; /* first: the host's pointer is ours */
	struct command start, stop, monitor;
	int timeout_ms;
	int64_t interval_ns;
	enum exec_work work;
	uint64_t op; /* of work, but for EXEC_MONITORING */
	struct runner_child *child;
	bool is_watched; /* monitors follow each other */
	struct loop_timer *timer;
};

static void exec_watch(struct exec *exec);

/* ---- commands ---- */

/* 0 or -ENOMEM; text may be NULL. */
static int command_init(struct command *command, const char *text)
{
	size_t n = 0;
	char *rest, *word;

	*command = (struct command){0};
	if (!text)
		return 0;
	command->words = strdup(text);
	command->argv = calloc(strlen(text) / 2 + 2, sizeof(*command->argv));
	if (!command->words || !command->argv)
		return -ENOMEM;
	for (word = strtok_r(command->words, EXEC_BLANKS, &rest); word;
		word = strtok_r(NULL, EXEC_BLANKS, &rest))
		command->argv[n++] = word;
	return 0;
}

static void command_fini(struct command *command)
{
	free(command->words);
	free(command->argv);
}

/* What a shell would not hand on as it stands; NULL: nothing. */
static const char *command_shell_word(const struct command *command)
{
	static const char *const operators[] = {"|", "||", "&", "&&", ";", "<", ">", ">>", "2>&1"};

	for (const char *const *word = command->argv; *word; word++) {
		if (strpbrk(*word, "\"'`"))
			return *word;
		for (size_t i = 0; i < sizeof(operators) / sizeof(operators[0]); i++) {
			if (strcmp(*word, operators[i]) == 0)
				return *word;
		}
	}
	return NULL;
}

/* ---- config ---- */

static void check_file(const struct command *command, int line, const char *object, const char *key,
	struct config_report *report)
{
	const char *file = command->argv[0];
	struct stat st;

	if (stat(file, &st) < 0)
		config_report_add(report, true, line, object,
			"%s: %s is not usable on this machine (%s); install it on every node", key,
			file, strerrordesc_np(errno));
	else if (!S_ISREG(st.st_mode) || access(file, X_OK) < 0)
		config_report_add(report, true, line, object,
			"%s: %s is not an executable file on this machine; chmod +x it on every "
			"node",
			key, file);
}

static void check_command(const struct config_resource *conf, const char *object, const char *key,
	struct config_report *report)
{
	const struct param_value *value = config_param(conf, key);
	struct command command;
	const char *word;

	if (!value->str) /* optional, or reported as missing already */
		return;
	if (command_init(&command, value->str) < 0)
		config_report_add(report, false, value->line, object, "%s: out of memory", key);
	else if (!command.argv[0])
		config_report_add(report, false, value->line, object,
			"%s is empty; write the absolute path of a program, and its arguments",
			key);
	else if (command.argv[0][0] != '/')
		config_report_add(report, false, value->line, object,
			"%s: \"%s\" is not an absolute path; write the whole path, such as "
			"/usr/local/sbin/%s",
			key, command.argv[0], command.argv[0]);
	else if ((word = command_shell_word(&command)))
		config_report_add(report, false, value->line, object,
			"%s: %s means nothing here, for there is no shell and no quoting; put the "
			"command into a script and name the script",
			key, word);
	else
		check_file(&command, value->line, object, key, report);
	command_fini(&command);
}

static bool is_takeover(const struct config_resource *conf)
{
	const char *str = config_param(conf, "on_node_loss")->str;

	return str && strcmp(str, "takeover") == 0;
}

static void exec_check(const struct config_resource *conf, struct config_report *report)
{
	const struct param_value *loss = config_param(conf, "on_node_loss");
	char object[CORE_NAME_SIZE + 16];

	snprintf(object, sizeof(object), "resource %s", conf->name);
	check_command(conf, object, "start", report);
	check_command(conf, object, "stop", report);
	check_command(conf, object, "monitor", report);
	if (is_takeover(conf))
		return;
	if (loss->str)
		config_report_add(report, false, loss->line, object,
			"on_node_loss = \"%s\" is unknown; the only value is \"takeover\"",
			loss->str);
	else
		config_report_add(report, false, loss->line, object,
			"on_node_loss is missing: when a node is lost nothing proves that this "
			"service has stopped there; if two of it at once do no harm, write "
			"on_node_loss = \"takeover\"; if they would, it can't be managed yet, for "
			"that needs fencing");
}

/* ---- what people read ---- */

/* The last line of a child's output. */
static const char *last_line(const struct runner_result *result)
{
	const char *newline = strrchr(result->output, '\n');

	return newline ? newline + 1 : result->output;
}

static const struct command *exec_command(const struct exec *exec, enum exec_work work)
{
	switch (work) {
	case EXEC_STARTING: return &exec->start;
	case EXEC_STOPPING: return &exec->stop;
	case EXEC_PROBING:
	case EXEC_MONITORING: return &exec->monitor;
	case EXEC_IDLE: break;
	}
	assert(!"an idle exec resource has no command");
	return NULL;
}

static void text_of_result(const struct exec *exec, enum exec_work work,
	const struct runner_result *result, char text[static CORE_TEXT_SIZE])
{
	const char *file = exec_command(exec, work)->argv[0], *line = last_line(result);
	const char *name = work_names[work], *sep = *line ? ": " : "";

	switch (result->end) {
	case RUNNER_EXITED:
		snprintf(text, CORE_TEXT_SIZE, "%s: %s exited with code %d%s%s", name, file,
			result->code, sep, line);
		break;
	case RUNNER_SIGNALED: {
		const char *signal = sigabbrev_np(result->code);

		snprintf(text, CORE_TEXT_SIZE, "%s: %s died of signal %d (%s)%s%s", name, file,
			result->code, signal ? signal : "?", sep, line);
		break;
	}
	case RUNNER_TIMED_OUT:
		snprintf(text, CORE_TEXT_SIZE, "%s: %s did not end within timeout_ms = %d%s%s",
			name, file, exec->timeout_ms, sep, line);
		break;
	case RUNNER_CANCELED:
		snprintf(text, CORE_TEXT_SIZE, "%s: %s was canceled", name, file);
		break;
	}
}

static int errno_of_result(const struct runner_result *result)
{
	switch (result->end) {
	case RUNNER_EXITED: return result->code == 0 ? 0 : -EIO;
	case RUNNER_SIGNALED: return -EIO;
	case RUNNER_TIMED_OUT: return -ETIMEDOUT;
	case RUNNER_CANCELED: return -ECANCELED;
	}
	return -EIO;
}

/* Of a monitor that answers a probe. */
static int probe_of_result(const struct runner_result *result)
{
	if (result->end != RUNNER_EXITED)
		return errno_of_result(result);
	switch (result->code) {
	case 0: return PROBE_RUNNING;
	case MONITOR_STOPPED_LSB:
	case MONITOR_STOPPED_OCF: return PROBE_STOPPED;
	default: return -EIO;
	}
}

/* ---- operations ---- */

static void exec_fail(struct exec *exec, const char *text)
{
	exec->is_watched = false;
	exec->res.host->failed(exec->res.host->ctx, &exec->res, false, text);
}

/* The host may start the next operation from within done or failed: nothing comes after them. */
static void exec_ended(void *ctx, const struct runner_result *result)
{
	struct exec *exec = ctx;
	const struct resource_host *host = exec->res.host;
	enum exec_work work = exec->work;
	int rc = work == EXEC_PROBING ? probe_of_result(result) : errno_of_result(result);
	char text[CORE_TEXT_SIZE] = "";

	exec->child = NULL;
	exec->work = EXEC_IDLE;
	if (rc < 0)
		text_of_result(exec, work, result, text);
	if (work == EXEC_MONITORING && rc < 0) {
		exec_fail(exec, text);
		return;
	}
	if (work == EXEC_STARTING)
		exec->is_watched = rc == 0 && exec->monitor.argv;
	if (exec->is_watched)
		exec_watch(exec);
	if (work != EXEC_MONITORING)
		host->done(host->ctx, &exec->res, exec->op, rc, text);
}

/* 0, or -errno with text. */
static int exec_run(struct exec *exec, enum exec_work work, char text[static CORE_TEXT_SIZE])
{
	const struct command *command = exec_command(exec, work);
	int rc = runner_start(exec->res.host->runner, command->argv, exec->timeout_ms, exec_ended,
		exec, &exec->child);

	if (rc < 0) {
		snprintf(text, CORE_TEXT_SIZE, "%s: %s can't be run: %s", work_names[work],
			command->argv[0], strerrordesc_np(-rc));
		return rc;
	}
	exec->work = work;
	return 0;
}

static void exec_monitor(void *ctx)
{
	struct exec *exec = ctx;
	char text[CORE_TEXT_SIZE];

	if (exec_run(exec, EXEC_MONITORING, text) < 0)
		exec_fail(exec, text);
}

static void exec_watch(struct exec *exec)
{
	if (loop_timer_add(exec->res.host->loop, exec->interval_ns, exec_monitor, exec,
		    "exec monitor", &exec->timer) < 0)
		exec_fail(exec, "monitor: out of memory");
}

/* Makes room for an operation: a monitor that is due or under way is dropped. */
static void exec_pause(struct exec *exec)
{
	assert(exec->work == EXEC_IDLE || exec->work == EXEC_MONITORING);
	loop_timer_del(exec->res.host->loop, &exec->timer);
	if (exec->child)
		runner_forget(exec->child);
	exec->child = NULL;
	exec->work = EXEC_IDLE;
}

static void exec_operate(struct resource *res, uint64_t op, enum exec_work work)
{
	struct exec *exec = (struct exec *)res;
	char text[CORE_TEXT_SIZE];
	int rc;

	exec_pause(exec);
	exec->op = op;
	if (work != EXEC_PROBING)
		exec->is_watched = false;
	rc = exec_run(exec, work, text);
	if (rc == 0)
		return;
	if (exec->is_watched)
		exec_watch(exec);
	res->host->done(res->host->ctx, res, op, rc, text);
}

static void exec_start(struct resource *res, uint64_t op)
{
	exec_operate(res, op, EXEC_STARTING);
}

static void exec_stop(struct resource *res, uint64_t op)
{
	exec_operate(res, op, EXEC_STOPPING);
}

static void exec_probe(struct resource *res, uint64_t op)
{
	struct exec *exec = (struct exec *)res;

	if (exec->monitor.argv)
		exec_operate(res, op, EXEC_PROBING);
	else
		res->host->done(res->host->ctx, res, op, -EOPNOTSUPP,
			"there is no monitor command that could tell whether it runs");
}

static void exec_adopt(struct resource *res)
{
	struct exec *exec = (struct exec *)res;

	exec_pause(exec);
	exec->is_watched = exec->monitor.argv;
	if (exec->is_watched)
		exec_watch(exec);
}

static void exec_cancel(struct resource *res)
{
	struct exec *exec = (struct exec *)res;

	if (exec->child && exec->work != EXEC_MONITORING)
		runner_cancel(exec->child);
}

static void exec_free(struct resource *res)
{
	struct exec *exec = (struct exec *)res;

	if (!res)
		return;
	loop_timer_del(res->host->loop, &exec->timer);
	if (exec->child)
		runner_forget(exec->child);
	command_fini(&exec->start);
	command_fini(&exec->stop);
	command_fini(&exec->monitor);
	free(exec);
}

static int exec_create(const struct resource_host *host, const struct config_resource *conf,
	struct resource **ret_res)
{
	struct exec *exec = calloc(1, sizeof(*exec));

	if (!exec)
		return -ENOMEM;
	exec->res = (struct resource){.type = &exec_type, .conf = conf, .host = host};
	exec->timeout_ms = (int)config_param(conf, "timeout_ms")->num;
	exec->interval_ns = config_param(conf, "interval_ms")->num * NS_PER_MS;
	if (command_init(&exec->start, config_param(conf, "start")->str) < 0 ||
		command_init(&exec->stop, config_param(conf, "stop")->str) < 0 ||
		command_init(&exec->monitor, config_param(conf, "monitor")->str) < 0) {
		exec_free(&exec->res);
		return -ENOMEM;
	}
	*ret_res = &exec->res;
	return 0;
}

static const struct param_spec exec_params[] = {
	{.key = "start",
		.kind = PARAM_STRING,
		.required = true,
		.expects = "a command with its absolute path, such as \"/etc/init.d/web start\""},
	{.key = "stop",
		.kind = PARAM_STRING,
		.required = true,
		.expects = "a command with its absolute path, such as \"/etc/init.d/web stop\""},
	{.key = "monitor",
		.kind = PARAM_STRING,
		.expects = "a command with its absolute path, such as \"/etc/init.d/web status\""},
	{.key = "interval_ms",
		.kind = PARAM_INT,
		.min = 100,
		.max = 24 * 60 * 60 * 1000,
		.def = 10000,
		.expects = "the milliseconds between two monitors, 100 to 86400000"},
	{.key = "timeout_ms",
		.kind = PARAM_INT,
		.min = 100,
		.max = 60 * 60 * 1000,
		.def = 20000,
		.expects = "the milliseconds that each command may take, 100 to 3600000"},
	{.key = "on_node_loss", .kind = PARAM_STRING, .expects = "\"takeover\""},
	{0},
};

const struct resource_type exec_type = {
	.name = "exec",
	.pipelined = false,
	.params = exec_params,
	.check = exec_check,
	.is_stateless = is_takeover,
	.create = exec_create,
	.free = exec_free,
	.start = exec_start,
	.stop = exec_stop,
	.probe = exec_probe,
	.adopt = exec_adopt,
	.cancel = exec_cancel,
};
