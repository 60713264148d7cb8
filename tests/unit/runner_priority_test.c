/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A runner in real time: its children, and what they start, are ordinary processes. Needs the right
 * to run in real time, else it is skipped. Run by `make check`.
 */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "clusterd/loop.h"
#include "clusterd/runner.h"

#define N_CHILDREN 40
#define TIMEOUT_MS 15000

struct fixture {
	struct loop *loop;
	unsigned n_left;
};

/* The child's own scheduler, then that of a child of it; field 41 of proc(5)'s stat is the policy.
 */
static const char *const argv[] = {
	"/bin/sh", "-c", "cut -d' ' -f41 /proc/$$/stat; cut -d' ' -f41 /proc/self/stat", NULL};

static void on_end(void *ctx, const struct runner_result *result)
{
	struct fixture *f = ctx;

	assert_int_equal(result->end, RUNNER_EXITED);
	assert_int_equal(result->code, 0);
	assert_string_equal(result->output, "0\n0"); /* SCHED_OTHER */
	if (--f->n_left == 0)
		loop_stop(f->loop);
}

static void test_children_are_ordinary(void **state)
{
	struct sched_param param = {.sched_priority = sched_get_priority_min(SCHED_RR) + 1};
	struct fixture f = {.n_left = N_CHILDREN};
	struct runner *runner;

	(void)state;
	if (sched_setscheduler(0, SCHED_RR, &param) < 0)
		skip();
	assert_int_equal(loop_new(&f.loop), 0);
	assert_int_equal(runner_new(f.loop, &runner), 0);
	for (unsigned i = 0; i < N_CHILDREN; i++)
		assert_int_equal(runner_start(runner, argv, TIMEOUT_MS, on_end, &f, NULL), 0);
	loop_run(f.loop);
	assert_int_equal(f.n_left, 0);
	runner_free(runner);
	loop_free(f.loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_children_are_ordinary),
	};

	return cmocka_run_group_tests_name("runner_priority", tests, NULL, NULL);
}
