/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The resource set with real exec resources: every operation has one result, however many there
 * are, whether they end at once, are called off, or a new config comes meanwhile.
 *
 * The daemon's side, which passes results to the core, is here: it counts them. Run by `make
 * check`.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "clusterd/daemon.h"

#define GUARD_NS 20000000000LL
#define N_GROUPS 60
#define N_CHAIN 20 /* more than begin in one turn of the loop */

struct fixture {
	struct daemon daemon;
	struct config *other;
	struct loop_timer *guard;
	unsigned n_done[N_GROUPS], n_waiting;
	int rc[N_GROUPS];
	bool has_timed_out, start_next;
};

/* ---- what daemon.c does ---- */

static struct fixture *fixture_of(struct daemon *daemon)
{
	return (struct fixture *)(void *)daemon; /* its first member */
}

void daemon_fail(struct daemon *daemon, int exit_code)
{
	(void)exit_code;
	fixture_of(daemon)->has_timed_out = true;
	loop_stop(daemon->loop);
}

void daemon_queue(struct daemon *daemon, const struct core_event *event, const char *text)
{
	struct fixture *f = fixture_of(daemon);
	uint32_t group = event->op_done.group;

	assert_int_equal(event->type, CORE_EV_OP_DONE);
	assert_true(event->op_done.rc == 0 || text[0]);
	f->n_done[group]++;
	f->rc[group] = event->op_done.rc;
	/* The last one's result leads to the next operation, as one of the core's steps does. */
	if (f->start_next && group == N_GROUPS - 1 && f->n_done[group] < N_CHAIN) {
		f->n_waiting++;
		resource_set_op(daemon->resources, CORE_OP_START, group, 0);
	}
	if (--f->n_waiting == 0)
		loop_stop(daemon->loop);
}

/* ---- the fixture ---- */

static void on_guard(void *ctx)
{
	daemon_fail(ctx, 1);
}

static void wait_all(struct fixture *f)
{
	f->has_timed_out = false;
	assert_int_equal(
		loop_timer_add(f->daemon.loop, GUARD_NS, on_guard, &f->daemon, "guard", &f->guard),
		0);
	loop_run(f->daemon.loop);
	loop_timer_del(f->daemon.loop, &f->guard);
	assert_false(f->has_timed_out);
}

static struct config *config_with(unsigned first, const char *start)
{
	static char text[N_GROUPS * 256];
	struct config_report report = {.file = "test.conf"};
	struct config *config;
	int len = snprintf(text, sizeof(text),
		"cluster = { name = \"lab\"; };\n"
		"nodes = ( { name = \"n1\"; }, { name = \"n2\"; }, { name = \"n3\"; } );\n"
		"groups = (\n");

	for (unsigned i = first; i < N_GROUPS; i++)
		len += snprintf(text + len, sizeof(text) - (size_t)len,
			"%s{ name = \"g%u\"; resources = ( { name = \"r%u\"; type = \"exec\"; "
			"start = \"%s\"; stop = \"/bin/true\"; on_node_loss = \"takeover\"; } ); "
			"}\n",
			i > first ? "," : "", i, i, start);
	snprintf(text + len, sizeof(text) - (size_t)len, ");\n");
	if (config_parse("test.conf", text, &config, &report) < 0)
		fail_msg("%s", report.text);
	config_report_fini(&report);
	return config;
}

static void begin(struct fixture *f, const char *start)
{
	f->daemon.config = config_with(0, start);
	assert_int_equal(resource_set_new(&f->daemon, &f->daemon.resources), 0);
}

static void op_all(struct fixture *f, enum core_op op)
{
	f->n_waiting += N_GROUPS; /* before the first one can end */
	for (uint32_t i = 0; i < N_GROUPS; i++)
		resource_set_op(f->daemon.resources, op, i, 0);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	if (!f || loop_new(&f->daemon.loop) < 0 ||
		runner_new(f->daemon.loop, &f->daemon.runner) < 0)
		return -1;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	resource_set_free(f->daemon.resources);
	runner_free(f->daemon.runner);
	loop_free(f->daemon.loop);
	config_free(f->daemon.config);
	config_free(f->other);
	free(f);
	return 0;
}

/* ---- tests ---- */

static void test_all_end(void **state)
{
	struct fixture *f = *state;

	begin(f, "/bin/true");
	op_all(f, CORE_OP_START);
	assert_true(resource_set_is_busy(f->daemon.resources));
	wait_all(f);
	assert_false(resource_set_is_busy(f->daemon.resources));
	op_all(f, CORE_OP_STOP);
	wait_all(f);
	for (unsigned i = 0; i < N_GROUPS; i++) {
		assert_int_equal(f->n_done[i], 2);
		assert_int_equal(f->rc[i], 0);
	}
}

/* Results that come from within the call, and begin more operations. */
static void test_all_fail_at_once(void **state)
{
	struct fixture *f = *state;

	begin(f, "/not/there");
	f->start_next = true;
	op_all(f, CORE_OP_START);
	wait_all(f);
	for (unsigned i = 0; i < N_GROUPS; i++) {
		assert_int_equal(f->n_done[i], i == N_GROUPS - 1 ? N_CHAIN : 1);
		assert_int_equal(f->rc[i], -ENOENT);
	}
}

static void test_all_called_off(void **state)
{
	struct fixture *f = *state;

	begin(f, "/bin/sleep 1000");
	op_all(f, CORE_OP_START);
	for (uint32_t i = N_GROUPS; i-- > 0;) /* the last waiting one first */
		resource_set_op(f->daemon.resources, CORE_OP_CANCEL, i, 0);
	op_all(f, CORE_OP_CANCEL); /* nothing more to call off, or under way: no second result */
	f->n_waiting -= N_GROUPS;
	wait_all(f);
	for (unsigned i = 0; i < N_GROUPS; i++) {
		assert_int_equal(f->n_done[i], 1);
		assert_int_equal(f->rc[i], -ECANCELED);
	}
	op_all(f, CORE_OP_STOP);
	wait_all(f);
}

/* Groups that stay bring their operations along, the others' are gone. */
static void test_switch(void **state)
{
	struct fixture *f = *state;
	const unsigned gone = 20;

	begin(f, "/bin/true");
	f->other = config_with(gone, "/bin/true");
	op_all(f, CORE_OP_START);
	assert_int_equal(resource_set_same_group(f->other, f->daemon.config, gone - 1), UINT32_MAX);
	assert_int_equal(resource_set_same_group(f->other, f->daemon.config, gone), 0);
	assert_int_equal(resource_set_switch(f->daemon.resources, f->daemon.config, f->other), 0);
	f->n_waiting -= gone;
	config_free(f->daemon.config);
	f->daemon.config = f->other;
	f->other = NULL;
	wait_all(f);
	assert_false(resource_set_is_busy(f->daemon.resources));
	for (unsigned i = 0; i < N_GROUPS; i++)
		assert_int_equal(f->n_done[i], i < N_GROUPS - gone);
}

/* Freed while some are under way and some wait. */
static void test_freed_while_busy(void **state)
{
	struct fixture *f = *state;

	begin(f, "/bin/sleep 1000");
	op_all(f, CORE_OP_START);
}

static void on_probed(struct daemon *daemon)
{
	loop_stop(daemon->loop);
}

static void test_probe(void **state)
{
	struct fixture *f = *state;

	begin(f, "/bin/true");
	resource_set_probe(f->daemon.resources, on_probed);
	wait_all(f);
	/* Without a monitor nobody knows: it may run. */
	for (uint32_t i = 0; i < N_GROUPS; i++)
		assert_true(resource_set_found(f->daemon.resources, i)[0]);
	op_all(f, CORE_OP_STOP);
	wait_all(f);
	for (uint32_t i = 0; i < N_GROUPS; i++)
		assert_false(resource_set_found(f->daemon.resources, i)[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_all_end, setup, teardown),
		cmocka_unit_test_setup_teardown(test_all_fail_at_once, setup, teardown),
		cmocka_unit_test_setup_teardown(test_all_called_off, setup, teardown),
		cmocka_unit_test_setup_teardown(test_switch, setup, teardown),
		cmocka_unit_test_setup_teardown(test_freed_while_busy, setup, teardown),
		cmocka_unit_test_setup_teardown(test_probe, setup, teardown),
	};

	return cmocka_run_group_tests_name("resource_set", tests, NULL, NULL);
}
