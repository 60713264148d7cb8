/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What one node does for its groups: in which order resources start and stop, what a failure or a
 * change of mind half-way leads to, and what it tells the others. n1 is the core; n2 and n3 are
 * played by hand.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/unit/core_fixture.h"

#define OPS "start|stop|cancel|adopt"

#define WEB 0

static const struct fx_group web_only[] = {
	{.name = "web", .preferred = "12", .resources = "ip1* ip2* srv"},
	{.name = NULL},
};

static int web_formed(void **ret_state)
{
	fx_form(fx_given(ret_state, web_only));
	return 0;
}

static int web_online(void **ret_state)
{
	return fx_online(ret_state, web_only);
}

static void started(struct fx *fx, const char *resource)
{
	fx_done(fx, resource, CORE_OP_START, 0, NULL);
}

static void stopped(struct fx *fx, const char *resource)
{
	fx_done(fx, resource, CORE_OP_STOP, 0, NULL);
}

/* ---- order ---- */

static void test_pipelined_neighbours_start_together(void **state)
{
	struct fx *fx = *state;

	fx_assert_said(fx, OPS, "start web/ip1\nstart web/ip2\n");
	started(fx, "ip2");
	fx_assert_said(fx, OPS, "");
	started(fx, "ip1");
	fx_assert_said(fx, OPS, "start web/srv\n");
	assert_int_equal(core_local_resource(fx->core, WEB, 2), LOCAL_RES_STARTING);
	started(fx, "srv");
	fx_assert_said(fx, OPS "|send|save", "send STARTED\n");
	assert_int_equal(fx_group_rec(fx, WEB)->state, GROUP_STARTING); /* until it is ordered */
	fx_own(fx);
	fx_assert_said(fx, "note|record", "record web online\nnote group web: online on n1\n");
	assert_int_equal(fx_group_rec(fx, WEB)->state, GROUP_ONLINE);
}

static void test_stop_in_reverse(void **state)
{
	struct fx *fx = *state;

	fx_admin(fx, 1, CORE_OFFLINE, "web", NULL, false);
	fx_own(fx);
	fx_assert_said(fx, OPS, "stop web/srv\n");
	stopped(fx, "srv");
	fx_assert_said(fx, OPS, "stop web/ip2\nstop web/ip1\n");
	stopped(fx, "ip1");
	fx_assert_said(fx, OPS "|send", "");
	stopped(fx, "ip2");
	fx_assert_said(fx, OPS "|send", "send STOPPED\n");
	fx_own(fx);
	assert_int_equal(fx_group_rec(fx, WEB)->state, GROUP_OFFLINE);
	assert_int_equal(fx_group_rec(fx, WEB)->may_run_on, 0);
}

/* Without quorum the addresses do not wait for the slow service, whose stop goes on. */
static void test_addresses_go_first_without_quorum(void **state)
{
	struct fx *fx = *state;

	fx_forget(fx);
	fx_quorum(fx, false);
	fx_assert_said(fx, OPS, "stop web/srv\nstop web/ip2\nstop web/ip1\n");
	stopped(fx, "ip1");
	stopped(fx, "ip2");
	fx_assert_said(fx, OPS, "");
	stopped(fx, "srv");
	fx_assert_said(fx, OPS, "");
	fx_simple(fx, CORE_EV_LEAVE);
	fx_assert_said(fx, "left", "\n");
}

/* Also when the loss finds the service half-way up, or half-way down. */
static void test_addresses_go_first_amid_a_start(void **state)
{
	struct fx *fx = *state;

	started(fx, "ip1");
	started(fx, "ip2");
	fx_forget(fx);
	fx_simple(fx, CORE_EV_LOST);
	fx_assert_said(fx, OPS, "cancel web/srv\nstop web/ip2\nstop web/ip1\n");
	stopped(fx, "ip2");
	stopped(fx, "ip1");
	fx_assert_said(fx, OPS, "");
	fx_done(fx, "srv", CORE_OP_START, -ECANCELED, "called off");
	fx_assert_said(fx, OPS, "stop web/srv\n");
}

static void test_addresses_go_first_amid_a_stop(void **state)
{
	struct fx *fx = *state;

	fx_admin(fx, 1, CORE_OFFLINE, "web", NULL, false);
	fx_own(fx);
	fx_assert_said(fx, OPS, "stop web/srv\n");
	fx_simple(fx, CORE_EV_LOST);
	fx_assert_said(fx, OPS, "stop web/ip2\nstop web/ip1\n");
	stopped(fx, "srv");
	stopped(fx, "ip1");
	stopped(fx, "ip2");
	fx_assert_said(fx, OPS, "");
}

/* A serial one waits for all before it, and all after it wait for it, pipelined or not. */
static void test_serial_between_pipelined(void **state)
{
	static const struct fx_group groups[] = {
		{.name = "mix", .preferred = "1", .resources = "a* b c* d* e f"},
		{.name = NULL},
	};
	struct fx *fx = fx_given(state, groups);

	fx_form(fx);
	fx_assert_said(fx, OPS, "start mix/a\n");
	started(fx, "a");
	fx_assert_said(fx, OPS, "start mix/b\n");
	started(fx, "b");
	fx_assert_said(fx, OPS, "start mix/c\nstart mix/d\n");
	started(fx, "c");
	fx_assert_said(fx, OPS, "");
	started(fx, "d");
	fx_assert_said(fx, OPS, "start mix/e\n");
	started(fx, "e");
	fx_assert_said(fx, OPS, "start mix/f\n");
	started(fx, "f");
	fx_own(fx);
	fx_forget(fx);
	fx_admin(fx, 1, CORE_OFFLINE, "mix", NULL, false);
	fx_own(fx);
	fx_assert_said(fx, OPS, "stop mix/f\n");
	stopped(fx, "f");
	fx_assert_said(fx, OPS, "stop mix/e\n");
	stopped(fx, "e");
	fx_assert_said(fx, OPS, "stop mix/d\nstop mix/c\n");
	stopped(fx, "d");
	stopped(fx, "c");
	fx_assert_said(fx, OPS, "stop mix/b\n");
	stopped(fx, "b");
	fx_assert_said(fx, OPS, "stop mix/a\n");
}

static void test_groups_do_not_wait_for_each_other(void **state)
{
	static const struct fx_group groups[] = {
		{.name = "a", .preferred = "1", .resources = "a1 a2"},
		{.name = "b", .preferred = "1", .resources = "b1 b2"},
		{.name = NULL},
	};
	struct fx *fx = fx_given(state, groups);

	fx_form(fx);
	fx_assert_said(fx, OPS, "start a/a1\nstart b/b1\n");
	started(fx, "b1");
	fx_assert_said(fx, OPS, "start b/b2\n");
}

/* ---- a start that fails ---- */

static void test_failed_start_is_cleaned_up_in_reverse(void **state)
{
	struct fx *fx = *state;

	started(fx, "ip1");
	started(fx, "ip2");
	fx_forget(fx);
	fx_done(fx, "srv", CORE_OP_START, -EIO, "exit 1: port\n80 is in use");
	fx_assert_said(
		fx, OPS "|send", "stop web/srv\n"); /* itself too: it may have got half-way */
	stopped(fx, "srv");
	fx_assert_said(fx, OPS, "stop web/ip2\nstop web/ip1\n");
	stopped(fx, "ip2");
	stopped(fx, "ip1");
	fx_assert_said(fx, OPS "|send", "send START_FAILED\n");
	fx_own(fx);
	fx_assert_said(fx, "note|record",
		"record web failed\n"
		"note group web: start failed on n1: srv on n1: exit 1: port 80 is in use\n"
		"note group web: starting on n2 (the start failed on n1)\n");
	assert_int_equal(fx_group_rec(fx, WEB)->failed_on, node_bit(0));
	assert_int_equal(fx_group_rec(fx, WEB)->may_run_on, node_bit(1));
}

/* The first failure stops the rest of the start; what is under way is waited for, never doubled. */
static void test_failure_beside_one_in_flight(void **state)
{
	struct fx *fx = *state;

	fx_forget(fx);
	fx_done(fx, "ip1", CORE_OP_START, -EADDRNOTAVAIL, "no such address");
	fx_assert_said(fx, OPS "|send", "");
	started(fx, "ip2");
	fx_assert_said(fx, OPS, "stop web/ip2\nstop web/ip1\n"); /* srv was never started */
	stopped(fx, "ip2");
	stopped(fx, "ip1");
	fx_assert_said(fx, OPS "|send", "send START_FAILED\n");
	fx_own(fx);
	assert_string_equal(fx_group_rec(fx, WEB)->problem, "ip1 on n1: no such address");
}

static void test_failed_clean_up_blocks(void **state)
{
	struct fx *fx = *state;

	started(fx, "ip1");
	started(fx, "ip2");
	fx_done(fx, "srv", CORE_OP_START, -EIO, "no");
	fx_forget(fx);
	fx_done(fx, "srv", CORE_OP_STOP, -ETIMEDOUT, "still there");
	stopped(fx, "ip2");
	stopped(fx, "ip1");
	fx_assert_said(fx, "send", " START_FAILED\n");
	fx_own(fx);
	assert_int_equal(fx_group_rec(fx, WEB)->state, GROUP_BLOCKED);
	assert_int_equal(fx_group_rec(fx, WEB)->owner, 0);
	assert_int_equal(fx_group_rec(fx, WEB)->may_run_on, node_bit(0));
	fx_forget(fx);
	fx_seconds(fx, 2);
	fx_assert_said(fx, OPS, "stop web/srv\n"); /* the addresses are stopped, and stay so */
	stopped(fx, "srv");
	fx_own(fx);
	assert_int_equal(fx_group_rec(fx, WEB)->may_run_on, node_bit(1));
}

/* Every node has failed: none is tried for ever, and the words say what went wrong. */
static void test_all_nodes_fail(void **state)
{
	struct fx *fx = *state;
	uint32_t gen;

	fx_done(fx, "ip1", CORE_OP_START, -EIO, "no");
	started(fx, "ip2");
	fx_all_done(fx);
	for (uint32_t nodeid = 2; nodeid <= 3; nodeid++) {
		gen = fx_group_rec(fx, WEB)->gen;
		assert_int_equal(fx_group_rec(fx, WEB)->owner, nodeid - 1);
		fx_forget(fx);
		fx_message(fx, nodeid,
			(struct msg){.type = MSG_START_FAILED,
				.gen = gen,
				.resource = 2,
				.is_clean = true,
				.text = "not here either"});
	}
	fx_assert_said(fx, "note",
		" group web: start failed on n3: srv on n3: not here either\n"
		" group web: failed: no node can run it; last: srv on n3: not here either\n");
	assert_int_equal(fx_group_rec(fx, WEB)->state, GROUP_FAILED);
	assert_int_equal(fx_group_rec(fx, WEB)->may_run_on, 0);
}

/* ---- changes of mind ---- */

static void test_cancel_during_start(void **state)
{
	struct fx *fx = *state;

	started(fx, "ip1");
	started(fx, "ip2");
	fx_forget(fx);
	fx_admin(fx, 1, CORE_OFFLINE, "web", NULL, false);
	fx_own(fx);
	fx_assert_said(
		fx, OPS, "cancel web/srv\n"); /* its result is waited for: unknown is not stopped */
	fx_seconds(fx, 1);
	fx_assert_said(fx, OPS, ""); /* and it is cancelled once */
	fx_done(fx, "srv", CORE_OP_START, -ECANCELED, NULL);
	fx_assert_said(fx, OPS, "stop web/srv\n");
	stopped(fx, "srv");
	fx_assert_said(fx, OPS, "stop web/ip2\nstop web/ip1\n");
	stopped(fx, "ip2");
	stopped(fx, "ip1");
	fx_own(fx);
	assert_int_equal(fx_group_rec(fx, WEB)->state, GROUP_OFFLINE);
	assert_int_equal(fx_group_rec(fx, WEB)->may_run_on, 0);
	assert_int_equal(fx_group_rec(fx, WEB)->failed_on, 0); /* that was no failure */
}

static void test_cancel_of_pipelined_starts(void **state)
{
	struct fx *fx = *state;

	started(fx, "ip1");
	fx_forget(fx);
	fx_admin(fx, 1, CORE_OFFLINE, "web", NULL, false);
	fx_own(fx);
	fx_assert_said(fx, OPS, "cancel web/ip2\n");
	started(fx, "ip2"); /* the cancel came too late */
	fx_assert_said(fx, OPS, "stop web/ip2\nstop web/ip1\n");
}

/* Online again while it stops: the stop ends first, then it starts anew. */
static void test_online_while_stopping(void **state)
{
	struct fx *fx = *state;

	fx_admin(fx, 1, CORE_OFFLINE, "web", NULL, false);
	fx_own(fx);
	fx_admin(fx, 2, CORE_ONLINE, "web", NULL, false);
	fx_own(fx);
	fx_assert_said(fx, OPS, "stop web/srv\n");
	stopped(fx, "srv");
	stopped(fx, "ip2");
	stopped(fx, "ip1");
	fx_own(fx);
	fx_assert_said(fx, OPS, "stop web/ip2\nstop web/ip1\nstart web/ip1\nstart web/ip2\n");
}

/* ---- failures of what runs ---- */

static void test_soft_failure_is_mended_in_place_once(void **state)
{
	struct fx *fx = *state;

	fx_resource(fx, CORE_EV_RESOURCE_FAILED, "srv", false, "monitor: exit 7");
	fx_assert_said(fx, "send", " FAILED\n");
	fx_own(fx);
	fx_assert_said(fx, "note|stop",
		"note group web: srv on n1: monitor: exit 7\n"
		"note group web: stopping on n1 (a resource failed on n1)\n"
		"stop web/srv\n");
	fx_all_done(fx);
	assert_int_equal(fx_group_rec(fx, WEB)->state, GROUP_ONLINE);
	assert_int_equal(fx_group_rec(fx, WEB)->owner, 0);
	fx_resource(fx, CORE_EV_RESOURCE_FAILED, "srv", false, "monitor: exit 7");
	fx_all_done(fx);
	assert_int_equal(fx_group_rec(fx, WEB)->state, GROUP_STARTING);
	assert_int_equal(fx_group_rec(fx, WEB)->owner, 1);
	assert_int_equal(fx_group_rec(fx, WEB)->failed_on, node_bit(0));
}

static void test_the_first_failure_is_the_cause(void **state)
{
	struct fx *fx = *state;

	fx_resource(fx, CORE_EV_RESOURCE_FAILED, "ip1", false, "gone");
	fx_resource(fx, CORE_EV_RESOURCE_FAILED, "srv", false, "cannot bind");
	fx_own(fx);
	assert_string_equal(fx_group_rec(fx, WEB)->problem, "ip1 on n1: gone");
}

/* A node that cannot is left at once, and is a choice again when it says so. */
static void test_unfit_and_fit_again(void **state)
{
	struct fx *fx = *state;

	fx_resource(fx, CORE_EV_RESOURCE_FAILED, "ip1", true, "carrier lost");
	fx_all_done(fx);
	assert_int_equal(fx_group_rec(fx, WEB)->owner, 1);
	assert_int_equal(fx_group_rec(fx, WEB)->unfit_on, node_bit(0));
	fx_forget(fx);
	fx_resource(fx, CORE_EV_RESOURCE_FIT, "ip1", false, NULL);
	fx_assert_said(fx, "send", " FIT\n");
	fx_own(fx);
	fx_assert_said(fx, "note", " group web: can run on n1 again\n");
	assert_int_equal(fx_group_rec(fx, WEB)->unfit_on, 0);
}

/* Two resources bar the node: one of them fit is not enough. */
static void test_fit_when_the_last_one_is(void **state)
{
	struct fx *fx = *state;

	fx_resource(fx, CORE_EV_RESOURCE_FAILED, "ip1", true, "carrier lost");
	fx_resource(fx, CORE_EV_RESOURCE_FAILED, "ip2", true, "carrier lost");
	fx_all_done(fx);
	fx_forget(fx);
	fx_resource(fx, CORE_EV_RESOURCE_FIT, "ip1", false, NULL);
	fx_assert_said(fx, "send", "");
	fx_resource(fx, CORE_EV_RESOURCE_FIT, "ip2", false, NULL);
	fx_assert_said(fx, "send", " FIT\n");
}

static void test_start_without_carrier_makes_unfit(void **state)
{
	struct fx *fx = *state;

	fx_done(fx, "ip1", CORE_OP_START, -ENETDOWN, "eth0 has no carrier");
	started(fx, "ip2");
	fx_all_done(fx);
	assert_int_equal(fx_group_rec(fx, WEB)->unfit_on, node_bit(0));
	assert_int_equal(fx_group_rec(fx, WEB)->failed_on, 0);
	assert_int_equal(fx_group_rec(fx, WEB)->owner, 1);
}

/* ---- stops that fail ---- */

/* Tried again after 1, 2, 4, 8, 16 s and then every 32 s, for as long as it takes. */
static void test_stop_retries_back_off(void **state)
{
	struct fx *fx = *state;
	static const unsigned waits_s[] = {1, 2, 4, 8, 16, 32, 32, 32};

	fx_admin(fx, 1, CORE_OFFLINE, "web", NULL, false);
	fx_own(fx);
	fx_done(fx, "srv", CORE_OP_STOP, -EIO, "no");
	stopped(fx, "ip2");
	stopped(fx, "ip1");
	fx_own(fx);
	for (size_t i = 0; i < sizeof(waits_s) / sizeof(waits_s[0]); i++) {
		fx_forget(fx);
		fx_seconds(fx, waits_s[i] - 1);
		assert_string_equal(fx_lines(fx, "stop"), "");
		fx_seconds(fx, 1);
		assert_string_equal(fx_lines(fx, "stop"), " web/srv\n");
		assert_int_equal(fx_group_rec(fx, WEB)->may_run_on, node_bit(0));
		assert_int_equal(fx_group_rec(fx, WEB)->state, GROUP_BLOCKED);
		fx_done(fx, "srv", CORE_OP_STOP, -EIO, "no");
		fx_own(fx);
	}
	fx_seconds(fx, 32);
	stopped(fx, "srv");
	fx_own(fx);
	assert_int_equal(fx_group_rec(fx, WEB)->state, GROUP_OFFLINE);
	assert_int_equal(fx_group_rec(fx, WEB)->may_run_on, 0);
}

/* The rest of the group is stopped all the same: an address must not stay because a service does.
 */
static void test_one_failed_stop_does_not_keep_the_rest(void **state)
{
	struct fx *fx = *state;

	fx_admin(fx, 1, CORE_OFFLINE, "web", NULL, false);
	fx_own(fx);
	fx_forget(fx);
	fx_done(fx, "srv", CORE_OP_STOP, -ETIMEDOUT, "no end");
	fx_assert_said(fx, OPS, "stop web/ip2\nstop web/ip1\n");
	stopped(fx, "ip2");
	stopped(fx, "ip1");
	fx_assert_said(fx, "send", " STOP_FAILED\n");
	fx_own(fx);
	fx_assert_said(fx, "note",
		" group web: blocked: it may still run on n1, its stop failed: srv on "
		"n1: no end\n");
}

/* ---- what is told ---- */

/* A result that nobody got is said again, but not at every step. */
static void test_lost_results_are_said_again(void **state)
{
	struct fx *fx = *state;

	started(fx, "ip1");
	started(fx, "ip2");
	started(fx, "srv");
	fx_own_lost(fx);
	fx_forget(fx);
	fx_seconds(fx, 1);
	fx_assert_said(fx, "send", "");
	fx_seconds(fx, 1);
	fx_assert_said(fx, "send", " STARTED\n");
	fx_own(fx);
	assert_int_equal(fx_group_rec(fx, WEB)->state, GROUP_ONLINE);
	fx_forget(fx);
	fx_seconds(fx, 10);
	fx_assert_said(fx, "send", "");
}

/* Results count for what is under way; without that they are nobody's. */
static void test_stray_results(void **state)
{
	struct fx *fx = *state;
	uint64_t before = fx_digest(fx);

	stopped(fx, "srv");
	fx_done(fx, "ip1", CORE_OP_START, -EIO, "late");
	fx_assert_said(fx, OPS "|send|note|reply", "");
	assert_true(fx_digest(fx) == before);
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(core_local_resource(fx->core, WEB, i), LOCAL_RES_RUNNING);
}

int main(void)
{
#define FORMED(test) cmocka_unit_test_setup_teardown(test, web_formed, fx_strike)
#define ONLINE(test) cmocka_unit_test_setup_teardown(test, web_online, fx_strike)
#define BY_ITSELF(test) cmocka_unit_test_teardown(test, fx_strike)
	static const struct CMUnitTest tests[] = {
		FORMED(test_pipelined_neighbours_start_together),
		ONLINE(test_stop_in_reverse),
		ONLINE(test_addresses_go_first_without_quorum),
		FORMED(test_addresses_go_first_amid_a_start),
		ONLINE(test_addresses_go_first_amid_a_stop),
		BY_ITSELF(test_serial_between_pipelined),
		BY_ITSELF(test_groups_do_not_wait_for_each_other),
		FORMED(test_failed_start_is_cleaned_up_in_reverse),
		FORMED(test_failure_beside_one_in_flight),
		FORMED(test_failed_clean_up_blocks),
		FORMED(test_all_nodes_fail),
		FORMED(test_cancel_during_start),
		FORMED(test_cancel_of_pipelined_starts),
		ONLINE(test_online_while_stopping),
		ONLINE(test_soft_failure_is_mended_in_place_once),
		ONLINE(test_the_first_failure_is_the_cause),
		ONLINE(test_unfit_and_fit_again),
		ONLINE(test_fit_when_the_last_one_is),
		FORMED(test_start_without_carrier_makes_unfit),
		ONLINE(test_stop_retries_back_off),
		ONLINE(test_one_failed_stop_does_not_keep_the_rest),
		FORMED(test_lost_results_are_said_again),
		ONLINE(test_stray_results),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
