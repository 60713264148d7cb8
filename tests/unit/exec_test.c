/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Resource type exec: its config checks, and its operations with a real script in a folder of its
 * own.
 *
 * The script does what files beside it say: WORD.rc is its exit code, WORD.slow makes it hang; each
 * call is a line in `log`. Run by `make check`.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "clusterd/config.h"
#include "clusterd/loop.h"
#include "clusterd/runner.h"
#include "resources/resource.h"

#define MS 1000000LL
#define GUARD_NS (20000 * MS)
#define COMMON "on_node_loss = \"takeover\"; "

static const char service_script[] = "#!/bin/sh\n"
				     "dir=${0%/*}\n"
				     "echo \"$*\" >>$dir/log\n"
				     "test -e $dir/$1.slow && { echo $$ >$dir/pid; sleep 1000; }\n"
				     "test -e $dir/$1.rc && { echo one; echo $1 says no; exit "
				     "$(cat $dir/$1.rc); }\n"
				     "case $1 in\n"
				     "start) touch $dir/running;;\n"
				     "stop) rm -f $dir/running;;\n"
				     "status) test -e $dir/running || exit 3;;\n"
				     "esac\n";

static const char *const files[] = {"log", "pid", "running", "svc", "start.rc", "start.slow",
	"stop.rc", "stop.slow", "status.rc", "status.slow"};

struct fixture {
	char dir[64];
	struct loop *loop;
	struct runner *runner;
	struct resource_host host;
	struct config *config;
	struct config_report report;
	struct resource *res;
	int n_done, n_failed, rc;
	uint64_t op;
	char text[CORE_TEXT_SIZE];
};

/* ---- the host ---- */

static void host_done(void *ctx, struct resource *res, uint64_t op, int rc, const char *text)
{
	struct fixture *f = ctx;

	assert_ptr_equal(res, f->res);
	f->n_done++;
	f->op = op;
	f->rc = rc;
	snprintf(f->text, sizeof(f->text), "%s", text ? text : "");
	loop_stop(f->loop);
}

static void host_failed(void *ctx, struct resource *res, bool node_unfit, const char *text)
{
	struct fixture *f = ctx;

	assert_ptr_equal(res, f->res);
	assert_false(node_unfit);
	f->n_failed++;
	snprintf(f->text, sizeof(f->text), "%s", text);
	loop_stop(f->loop);
}

static void guard_fired(void *ctx)
{
	(void)ctx;
	fail_msg("nothing came in time");
}

static void run_guarded(struct fixture *f)
{
	struct loop_timer *guard;

	assert_int_equal(loop_timer_add(f->loop, GUARD_NS, guard_fired, NULL, "guard", &guard), 0);
	loop_run(f->loop);
	loop_timer_del(f->loop, &guard);
}

static void stop_loop(void *ctx)
{
	loop_stop(ctx);
}

/* A result or failure stops the loop as well. */
static void run_for(struct fixture *f, int64_t ns)
{
	struct loop_timer *timer;

	assert_int_equal(loop_timer_add(f->loop, ns, stop_loop, f->loop, "stop", &timer), 0);
	while (timer)
		run_guarded(f);
}

/* ---- the folder ---- */

static const char *path_of(const struct fixture *f, const char *name, char path[static 128])
{
	snprintf(path, 128, "%s/%s", f->dir, name);
	return path;
}

static void put(const struct fixture *f, const char *name, const char *text)
{
	char path[128];
	FILE *file = fopen(path_of(f, name, path), "w");

	assert_non_null(file);
	fputs(text, file);
	assert_int_equal(fclose(file), 0);
}

static void drop(const struct fixture *f, const char *name)
{
	char path[128];

	assert_int_equal(unlink(path_of(f, name, path)), 0);
}

static bool has(const struct fixture *f, const char *name)
{
	char path[128];

	return access(path_of(f, name, path), F_OK) == 0;
}

/* The whole of a file; "" if there is none. */
static const char *get(const struct fixture *f, const char *name, char text[static 4096])
{
	char path[128];
	FILE *file = fopen(path_of(f, name, path), "r");
	size_t len = file ? fread(text, 1, 4095, file) : 0;

	text[len] = '\0';
	if (file)
		fclose(file);
	return text;
}

static int count_calls(const struct fixture *f, const char *word)
{
	char text[4096], line[64];
	int n = 0;

	snprintf(line, sizeof(line), "%s\n", word);
	get(f, "log", text);
	for (const char *at = text; (at = strstr(at, line)); at += strlen(line))
		n++;
	return n;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	char path[128];

	if (!f)
		return -1;
	strcpy(f->dir, "/tmp/clusterd-exec-XXXXXX");
	if (!mkdtemp(f->dir) || loop_new(&f->loop) < 0 || runner_new(f->loop, &f->runner) < 0)
		return -1;
	f->host = (struct resource_host){.loop = f->loop,
		.runner = f->runner,
		.ctx = f,
		.done = host_done,
		.failed = host_failed};
	put(f, "svc", service_script);
	if (chmod(path_of(f, "svc", path), 0755) < 0)
		return -1;
	*state = f;
	return 0;
}

static void config_drop(struct fixture *f)
{
	config_free(f->config);
	f->config = NULL;
	config_report_fini(&f->report);
	f->report = (struct config_report){0};
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	char path[128];

	if (f->res)
		f->res->type->free(f->res);
	config_drop(f);
	runner_free(f->runner);
	loop_free(f->loop);
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		unlink(path_of(f, files[i], path));
	rmdir(f->dir);
	free(f);
	return 0;
}

/* A config whose one resource stands in line 5, with @ for the folder. */
static int parse(struct fixture *f, const char *keys)
{
	char text[4096], *out = text;
	const char *head =
		"cluster = { name = \"lab\"; };\n"
		"nodes = ( { name = \"n1\"; }, { name = \"n2\"; }, { name = \"n3\"; } );\n"
		"groups = ( { name = \"web\"; preferred_owners = [ \"n1\" ];\n"
		"resources = (\n"
		"{ name = \"srv\"; type = \"exec\"; ";

	out += sprintf(out, "%s", head);
	for (; *keys; keys++)
		out += *keys == '@' ? sprintf(out, "%s", f->dir) : sprintf(out, "%c", *keys);
	sprintf(out, " } ); } );\n");
	config_drop(f);
	return config_parse("test.conf", text, &f->config, &f->report);
}

static void create(struct fixture *f, const char *keys)
{
	const struct config_resource *conf;

	if (parse(f, keys) < 0)
		fail_msg("%s", f->report.text);
	conf = &f->config->groups[0].resources[0];
	assert_int_equal(conf->type->create(&f->host, conf, &f->res), 0);
}

static void operate(
	struct fixture *f, void (*call)(struct resource *res, uint64_t op), uint64_t op, int rc)
{
	int n_done = f->n_done;

	call(f->res, op);
	while (f->n_done == n_done)
		run_guarded(f);
	assert_int_equal(f->n_done, n_done + 1);
	assert_int_equal(f->op, op);
	assert_int_equal(f->rc, rc);
}

static void wait_for_calls(struct fixture *f, const char *word, int n)
{
	int64_t until_ns = clock_boottime_ns() + GUARD_NS;

	while (count_calls(f, word) < n) {
		if (clock_boottime_ns() > until_ns)
			fail_msg("%s was not called %d times", word, n);
		run_for(f, 2 * MS);
	}
}

#define SERVICE                                                                        \
	"start = \"@/svc start\"; stop = \"@/svc stop\"; monitor = \"@/svc status\"; " \
	"interval_ms = 100; timeout_ms = 15000; " COMMON

/* ---- config ---- */

static void assert_finding(struct fixture *f, const char *keys, int rc, const char *text)
{
	assert_int_equal(parse(f, keys), rc);
	assert_non_null(f->report.text);
	if (!strstr(f->report.text, text))
		fail_msg("not \"%s\" but: %s", text, f->report.text);
}

static void test_config_errors(void **state)
{
	struct fixture *f = *state;

	assert_finding(f, "start = \"@/svc a\"; stop = \"@/svc b\";", -EINVAL,
		"test.conf:5: resource srv: on_node_loss is missing: when a node is lost nothing "
		"proves that this service has stopped there");
	assert_int_equal(f->report.n_errors, 1);
	assert_finding(f, "start = \"@/svc a\"; stop = \"@/svc b\";\non_node_loss = \"stop\";",
		-EINVAL, "test.conf:6: resource srv: on_node_loss = \"stop\" is unknown");
	assert_finding(f, "start = \"@/svc a\"; stop = \"svc b\"; " COMMON, -EINVAL,
		"resource srv: stop: \"svc\" is not an absolute path");
	assert_finding(f, "start = \" \t \"; stop = \"@/svc b\"; " COMMON, -EINVAL,
		"resource srv: start is empty");
	assert_finding(f, "start = \"@/svc 'a b'\"; stop = \"@/svc b\"; " COMMON, -EINVAL,
		"resource srv: start: 'a means nothing here");
	assert_finding(f, "start = \"@/svc a > /dev/null\"; stop = \"@/svc b\"; " COMMON, -EINVAL,
		"resource srv: start: > means nothing here");
	assert_finding(f, "start = \"@/svc a\"; stop = \"@/svc b\"; timeout_ms = 99; " COMMON,
		-EINVAL, "timeout_ms");
	assert_finding(f, "start = \"@/svc a\"; " COMMON, -EINVAL, "stop");
}

static void test_config_of_this_machine_is_a_warning(void **state)
{
	struct fixture *f = *state;

	assert_finding(f, "start = \"@/none a\"; stop = \"@/svc b\";\nmonitor = \"@ c\"; " COMMON,
		0, "/none is not usable on this machine (No such file or directory)");
	assert_non_null(strstr(f->report.text, "test.conf:6: "));
	assert_non_null(strstr(f->report.text, " is not an executable file on this machine"));
	assert_int_equal(f->report.n_warnings, 2);
	assert_int_equal(f->report.n_errors, 0);
}

static void test_config_good(void **state)
{
	struct fixture *f = *state;
	const struct config_resource *conf;

	assert_int_equal(parse(f, "start = \"@/svc a\"; stop = \"@/svc b\"; " COMMON), 0);
	if (f->report.text)
		fail_msg("%s", f->report.text);
	conf = &f->config->groups[0].resources[0];
	assert_ptr_equal(conf->type, resource_type_find("exec"));
	assert_int_equal(config_param(conf, "interval_ms")->num, 10000);
	assert_int_equal(config_param(conf, "timeout_ms")->num, 20000);
	assert_true(f->config->core.groups[0].resources[0].stateless);
	assert_false(f->config->core.groups[0].resources[0].pipelined);
	assert_null(resource_type_find("toaster"));
}

/* ---- operations ---- */

static void test_start_probe_stop(void **state)
{
	struct fixture *f = *state;

	create(f, SERVICE);
	operate(f, f->res->type->probe, 1, PROBE_STOPPED);
	operate(f, f->res->type->start, 2, 0);
	assert_string_equal(f->text, "");
	assert_true(has(f, "running"));
	operate(f, f->res->type->probe, 3, PROBE_RUNNING);
	operate(f, f->res->type->stop, 4, 0);
	assert_false(has(f, "running"));
	operate(f, f->res->type->probe, 5, PROBE_STOPPED);
	operate(f, f->res->type->stop, 6, 0); /* of what is stopped */
	assert_int_equal(f->n_failed, 0);
}

static void test_words_are_split_at_blanks(void **state)
{
	struct fixture *f = *state;
	char text[4096];

	create(f, "start = \"  @/svc  start \t $HOME *  \"; stop = \"@/svc\"; " COMMON);
	operate(f, f->res->type->start, 1, 0);
	operate(f, f->res->type->stop, 2, 0);
	assert_string_equal(get(f, "log", text), "start $HOME *\n\n");
}

static void test_failures_tell_why(void **state)
{
	struct fixture *f = *state;

	create(f, "start = \"@/svc start\"; stop = \"@/svc stop\"; monitor = \"@/svc status\"; "
		  "interval_ms = 100; timeout_ms = 300; " COMMON);
	put(f, "start.rc", "5");
	operate(f, f->res->type->start, 1, -EIO);
	assert_non_null(strstr(f->text, "/svc exited with code 5: start says no"));
	put(f, "stop.slow", "");
	operate(f, f->res->type->stop, 2, -ETIMEDOUT);
	assert_non_null(strstr(f->text, "/svc did not end within timeout_ms = 300"));
	drop(f, "stop.slow");
	drop(f, "svc");
	operate(f, f->res->type->stop, 3, -ENOENT);
	assert_non_null(strstr(f->text, "/svc can't be run: No such file or directory"));
	run_for(f, 300 * MS);
	assert_int_equal(f->n_done, 3);
	assert_int_equal(f->n_failed, 0);
	assert_int_equal(count_calls(f, "status"), 0); /* nothing was started: nothing to watch */
}

static void test_probe_knows_what_it_does_not_know(void **state)
{
	struct fixture *f = *state;

	create(f, "start = \"@/svc start\"; stop = \"@/svc stop\"; monitor = \"@/svc status\"; "
		  "timeout_ms = 300; " COMMON);
	put(f, "status.rc", "7");
	operate(f, f->res->type->probe, 1, PROBE_STOPPED);
	put(f, "status.rc", "1");
	operate(f, f->res->type->probe, 2, -EIO);
	assert_non_null(strstr(f->text, "exited with code 1"));
	put(f, "status.slow", "");
	operate(f, f->res->type->probe, 3, -ETIMEDOUT);
	f->res->type->free(f->res);

	create(f, "start = \"@/svc start\"; stop = \"@/svc stop\"; " COMMON);
	operate(f, f->res->type->probe, 4, -EOPNOTSUPP);
	assert_string_not_equal(f->text, "");
	operate(f, f->res->type->start, 5, 0); /* and nothing is watched */
	f->res->type->adopt(f->res);
	run_for(f, 50 * MS);
}

static void test_monitor_reports_once(void **state)
{
	struct fixture *f = *state;
	int n;

	create(f, SERVICE);
	operate(f, f->res->type->start, 1, 0);
	wait_for_calls(f, "status", 3);
	operate(f, f->res->type->probe, 2, PROBE_RUNNING); /* in between; they go on */
	wait_for_calls(f, "status", 6);
	assert_int_equal(f->n_failed, 0);
	drop(f, "running");
	while (f->n_failed == 0)
		run_guarded(f);
	assert_non_null(strstr(f->text, "monitor: "));
	assert_non_null(strstr(f->text, "/svc exited with code 3"));
	n = count_calls(f, "status");
	run_for(f, 400 * MS);
	assert_int_equal(count_calls(f, "status"), n);
	assert_int_equal(f->n_failed, 1);
	operate(f, f->res->type->probe, 3, PROBE_STOPPED); /* which does not resume them */
	run_for(f, 400 * MS);
	assert_int_equal(count_calls(f, "status"), ++n);

	put(f, "running", ""); /* found running by a daemon that was restarted */
	f->res->type->adopt(f->res);
	wait_for_calls(f, "status", n + 2);
	put(f, "status.rc", "9");
	while (f->n_failed == 1)
		run_guarded(f);
	assert_non_null(strstr(f->text, "exited with code 9: status says no"));
	assert_int_equal(f->n_done, 3);
}

static void test_interval_counts_from_the_end(void **state)
{
	struct fixture *f = *state;
	int64_t began_ns;

	create(f, "start = \"@/svc start\"; stop = \"@/svc stop\"; monitor = \"@/svc status\"; "
		  "interval_ms = 400; timeout_ms = 300; " COMMON);
	operate(f, f->res->type->start, 1, 0);
	began_ns = clock_boottime_ns();
	put(f, "status.slow", "");
	while (f->n_failed == 0)
		run_guarded(f);
	assert_int_equal(f->n_failed, 1);
	assert_non_null(strstr(f->text, "monitor: "));
	assert_non_null(strstr(f->text, "did not end within timeout_ms = 300"));
	/* began_ns was taken a little after the timer was set */
	assert_true(clock_boottime_ns() - began_ns >= (400 + 300 - 20) * MS);
	assert_int_equal(count_calls(f, "status"), 1);
}

static void test_monitor_that_cannot_run(void **state)
{
	struct fixture *f = *state;

	create(f, SERVICE);
	operate(f, f->res->type->start, 1, 0);
	drop(f, "svc");
	while (f->n_failed == 0)
		run_guarded(f);
	assert_non_null(strstr(f->text, "/svc can't be run"));
}

static void test_stop_overtakes_a_hanging_monitor(void **state)
{
	struct fixture *f = *state;
	char text[4096];
	int64_t began_ns, until_ns;
	int pid;

	create(f, SERVICE);
	operate(f, f->res->type->start, 1, 0);
	put(f, "status.slow", "");
	until_ns = clock_boottime_ns() + GUARD_NS;
	while ((pid = atoi(get(f, "pid", text))) == 0) {
		if (clock_boottime_ns() > until_ns)
			fail_msg("the monitor does not begin");
		run_for(f, 2 * MS);
	}
	began_ns = clock_boottime_ns();
	operate(f, f->res->type->stop, 2, 0);
	assert_true(clock_boottime_ns() - began_ns < 5000 * MS); /* its time-out is 15 s */
	until_ns = clock_boottime_ns() + GUARD_NS;
	while (kill(pid, 0) == 0) {
		if (clock_boottime_ns() > until_ns)
			fail_msg("the monitor %d is still there", pid);
		run_for(f, 5 * MS);
	}
	run_for(f, 400 * MS);
	assert_int_equal(f->n_failed, 0);
	assert_int_equal(count_calls(f, "status"), 1);
	assert_int_equal(f->n_done, 2);
}

static void test_cancel_then_stop(void **state)
{
	struct fixture *f = *state;

	create(f, SERVICE);
	f->res->type->cancel(f->res); /* of nothing */
	put(f, "start.slow", "");
	f->res->type->start(f->res, 1);
	wait_for_calls(f, "start", 1);
	assert_int_equal(f->n_done, 0);
	f->res->type->cancel(f->res);
	f->res->type->cancel(f->res);
	while (f->n_done == 0)
		run_guarded(f);
	assert_int_equal(f->n_done, 1);
	assert_int_equal(f->op, 1);
	assert_int_equal(f->rc, -ECANCELED);
	operate(f, f->res->type->stop, 2, 0);
	run_for(f, 300 * MS);
	assert_int_equal(f->n_done, 2);
	assert_int_equal(count_calls(f, "status"), 0);
}

static void test_cancel_spares_the_monitor(void **state)
{
	struct fixture *f = *state;

	create(f, SERVICE);
	operate(f, f->res->type->start, 1, 0);
	put(f, "status.slow", "");
	wait_for_calls(f, "status", 1);
	f->res->type->cancel(f->res);
	run_for(f, 200 * MS);
	assert_int_equal(f->n_done, 1);
	assert_int_equal(f->n_failed, 0);
}

static void test_free_amid_an_operation(void **state)
{
	struct fixture *f = *state;

	create(f, SERVICE);
	put(f, "start.slow", "");
	f->res->type->start(f->res, 1);
	wait_for_calls(f, "start", 1);
	f->res->type->free(f->res);
	f->res = NULL;
	run_for(f, 50 * MS);
	assert_int_equal(f->n_done, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(test_config_errors),
		TEST(test_config_of_this_machine_is_a_warning),
		TEST(test_config_good),
		TEST(test_start_probe_stop),
		TEST(test_words_are_split_at_blanks),
		TEST(test_failures_tell_why),
		TEST(test_probe_knows_what_it_does_not_know),
		TEST(test_monitor_reports_once),
		TEST(test_interval_counts_from_the_end),
		TEST(test_monitor_that_cannot_run),
		TEST(test_stop_overtakes_a_hanging_monitor),
		TEST(test_cancel_then_stop),
		TEST(test_cancel_spares_the_monitor),
		TEST(test_free_amid_an_operation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
