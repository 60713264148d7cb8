/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The administrator's requests: what each refusal says, word by word, and when each is answered.
 * n1 is the core and has group web; n2 and n3 are played by hand. See core_hostile_test.c for names
 * that are not known, quorum, and the limit.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/core_fixture.h"

#define WEB 0

static const struct fx_group web_only[] = {
	{.name = "web", .preferred = "12", .resources = "web-ip* web-srv"},
	{.name = NULL},
};

static int web_online(void **ret_state)
{
	return fx_online(ret_state, web_only);
}

static void assert_refused(struct fx *fx, const char *reply)
{
	fx_assert_said(fx, "reply|send", reply);
}

static void from_n2(struct fx *fx, struct msg msg)
{
	msg.gen = fx_group_rec(fx, WEB)->gen;
	fx_message(fx, 2, msg);
}

/* ---- refusals ---- */

static void test_a_resource_is_not_set_online(void **state)
{
	struct fx *fx = *state;

	fx_admin(fx, 1, CORE_ONLINE, "web-srv", NULL, false);
	assert_refused(fx, "reply 1 REFUSED: \"web-srv\" is a resource of group web; name the "
			   "group\n");
}

static void test_no_failover_of_a_group_set_offline(void **state)
{
	struct fx *fx = *state;

	fx_admin(fx, 1, CORE_OFFLINE, "web", NULL, false);
	fx_all_done(fx);
	fx_forget(fx);
	fx_admin(fx, 2, CORE_FAILOVER, "web", "n2", false);
	assert_refused(fx, "reply 2 REFUSED: group web is set offline; bring it online first: "
			   "clusterctl online web\n");
}

static void test_no_failover_to_a_node_that_is_away(void **state)
{
	struct fx *fx = *state;

	fx_view(fx, 3, 0, 3);
	fx_quorum(fx, true);
	fx_forget(fx);
	fx_admin(fx, 1, CORE_FAILOVER, "web", "n3", false);
	assert_refused(fx, "reply 1 REFUSED: node n3 is offline; choose another with --to\n");
	fx_view(fx, 7, 4, 7);
	fx_quorum(fx, true);
	fx_forget(fx);
	fx_admin(fx, 2, CORE_FAILOVER, "web", "n3", false);
	assert_refused(fx, "reply 2 REFUSED: node n3 is joining; choose another with --to\n");
}

static void test_no_failover_to_a_node_that_leaves(void **state)
{
	struct fx *fx = *state;

	fx_message(fx, 2, (struct msg){.type = MSG_LEAVING});
	fx_forget(fx);
	fx_admin(fx, 1, CORE_FAILOVER, "web", "n2", false);
	assert_refused(fx, "reply 1 REFUSED: node n2 is leaving; choose another with --to\n");
}

static void test_no_failover_to_a_node_of_another_config(void **state)
{
	struct fx *fx = *state;

	fx_view(fx, 7, 4, 7);
	fx_quorum(fx, true);
	fx_message(fx, 3, (struct msg){.type = MSG_HELLO, .hello_seq = 1, .config_digest = 5});
	fx_forget(fx);
	fx_admin(fx, 1, CORE_FAILOVER, "web", "n3", false);
	assert_refused(fx, "reply 1 REFUSED: node n3 runs with another config; make the files "
			   "agree, or choose another with --to\n");
}

/* web went to n2 because n1 has no carrier. */
static void test_no_failover_to_a_node_that_is_unfit(void **state)
{
	struct fx *fx = *state;

	fx_resource(fx, CORE_EV_RESOURCE_FAILED, "web-ip", true, "eth0 has no carrier");
	fx_all_done(fx);
	from_n2(fx, (struct msg){.type = MSG_STARTED});
	assert_int_equal(fx_group_rec(fx, WEB)->owner, 1);
	fx_forget(fx);
	fx_admin(fx, 1, CORE_FAILOVER, "web", "n1", false);
	assert_refused(fx, "reply 1 REFUSED: node n1 cannot run it now (web-ip on n1: eth0 has no "
			   "carrier); mend that, or choose another with --to\n");
}

static void test_no_other_node(void **state)
{
	struct fx *fx = *state;

	fx_message(fx, 2, (struct msg){.type = MSG_LEAVING});
	fx_message(fx, 3, (struct msg){.type = MSG_LEAVING});
	fx_forget(fx);
	fx_admin(fx, 1, CORE_FAILOVER, "web", NULL, false);
	assert_refused(fx, "reply 1 REFUSED: no other node that is online can run group web; see "
			   "clusterctl status\n");
}

static void test_requests_while_joining(void **state)
{
	struct fx *fx = fx_given(state, web_only);

	fx_view(fx, 7, 7, 7);
	fx_quorum(fx, true);
	fx_forget(fx);
	fx_admin(fx, 1, CORE_FAILOVER, "web", NULL, false);
	assert_refused(fx,
		"reply 1 NO_QUORUM: this node is still joining the cluster; try again in "
		"a moment\n");
}

static void test_requests_while_the_config_differs(void **state)
{
	struct fx *fx = fx_given(state, web_only);

	fx_view(fx, 7, 7, 7);
	fx_quorum(fx, true);
	fx_message(fx, 2, (struct msg){.type = MSG_CONFIG, .config_digest = 5});
	fx_assert_said(fx, "compare", "\n");
	fx_event(fx,
		(struct core_event){.type = CORE_EV_COMPARED, .compared = "group web: timeout_ms"});
	fx_forget(fx);
	fx_admin(fx, 1, CORE_FAILOVER, "web", NULL, false);
	assert_refused(fx,
		"reply 1 NO_QUORUM: this node's config differs from the cluster's, so it "
		"takes part in nothing; see clusterctl status\n");
}

/* ---- what an order does ---- */

static void test_failover_by_the_name_of_a_resource(void **state)
{
	struct fx *fx = *state;

	fx_admin(fx, 1, CORE_FAILOVER, "web-srv", NULL, false);
	fx_own(fx);
	fx_assert_said(fx, "note|reply",
		"note group web: failover to n2 ordered on n1\n"
		"note group web: stopping on n1 (failover by the operator)\n"
		"reply 1 OK: \n");
	fx_all_done(fx);
	assert_int_equal(fx_group_rec(fx, WEB)->owner, 1);
	from_n2(fx, (struct msg){.type = MSG_STARTED});
	assert_int_equal(fx_group_rec(fx, WEB)->state, GROUP_ONLINE);
	assert_int_equal(fx_group_rec(fx, WEB)->target, CORE_NO_NODE); /* nothing is left of it */
	assert_int_equal(fx_group_rec(fx, WEB)->failed_on, 0);
}

static void test_failover_to_where_it_runs(void **state)
{
	struct fx *fx = *state;
	uint32_t gen = fx_group_rec(fx, WEB)->gen;

	fx_admin(fx, 1, CORE_FAILOVER, "web", "n1", true);
	fx_own(fx);
	fx_assert_said(fx, "reply|stop", "reply 1 OK: \n");
	assert_int_equal(fx_group_rec(fx, WEB)->gen, gen);
	assert_int_equal(fx_group_rec(fx, WEB)->target, CORE_NO_NODE);
}

/* The operator knows better than an old failure: he may send it back where it failed. */
static void test_failover_forgets_a_failure_there(void **state)
{
	struct fx *fx = *state;

	for (unsigned i = 0; i < 2; i++) {
		fx_resource(fx, CORE_EV_RESOURCE_FAILED, "web-srv", false, "exit 7");
		fx_all_done(fx);
	}
	from_n2(fx, (struct msg){.type = MSG_STARTED});
	assert_int_equal(fx_group_rec(fx, WEB)->failed_on, node_bit(0));
	fx_admin(fx, 1, CORE_FAILOVER, "web", "n1", false);
	fx_own(fx);
	assert_int_equal(fx_group_rec(fx, WEB)->failed_on, 0);
	assert_int_equal(fx_group_rec(fx, WEB)->target, 0);
}

static void test_orders_are_saved(void **state)
{
	struct fx *fx = *state;

	fx_admin(fx, 1, CORE_OFFLINE, "web", NULL, false);
	fx_assert_said(fx, "save|reply", ""); /* it is not an order before it is ordered */
	fx_own(fx);
	fx_assert_said(fx, "save|reply", "save\nreply 1 OK: \n");
	fx_admin(fx, 2, CORE_ONLINE, "web", NULL, false);
	fx_own(fx);
	fx_assert_said(fx, "save|reply", "save\nreply 2 OK: \n");
}

/* ---- who waits ---- */

static void test_failover_is_answered_when_it_is_there(void **state)
{
	struct fx *fx = *state;

	fx_admin(fx, 1, CORE_FAILOVER, "web", "n3", true);
	fx_all_done(fx);
	fx_assert_said(fx, "reply", "");
	fx_message(fx, 3, (struct msg){.type = MSG_STARTED, .gen = fx_group_rec(fx, WEB)->gen});
	fx_assert_said(fx, "reply", " 1 OK: \n");
	assert_int_equal(fx->effects.list[fx->effects.n - 1].type, CORE_DO_REPLY);
	assert_int_equal(fx->effects.list[fx->effects.n - 1].reply.owner, 2);
	assert_int_equal(fx->effects.list[fx->effects.n - 1].reply.state, GROUP_ONLINE);
}

static void test_failover_that_ends_elsewhere(void **state)
{
	struct fx *fx = *state;

	fx_admin(fx, 1, CORE_FAILOVER, "web", "n3", true);
	fx_all_done(fx);
	fx_message(fx, 3,
		(struct msg){.type = MSG_START_FAILED,
			.gen = fx_group_rec(fx, WEB)->gen,
			.resource = 1,
			.is_clean = true,
			.text = "exit 1"});
	fx_assert_said(fx, "reply", "");
	fx_all_done(fx);
	fx_assert_said(fx, "reply",
		" 1 FAILED: group web is online on n1 instead of n3: web-srv on n3: exit 1\n");
}

static void test_offline_is_answered_when_nothing_runs(void **state)
{
	struct fx *fx = *state;

	fx_admin(fx, 1, CORE_OFFLINE, "web", NULL, true);
	fx_own(fx);
	fx_done(fx, "web-srv", CORE_OP_STOP, 0, NULL);
	fx_done(fx, "web-ip", CORE_OP_STOP, 0, NULL);
	fx_assert_said(fx, "reply", ""); /* stopped, and the others do not know it yet */
	fx_own(fx);
	fx_assert_said(fx, "reply", " 1 OK: \n");
}

/* n3 has just come and may have anything running: that it is offline is not known yet. */
static void test_offline_waits_for_who_has_not_said_hello(void **state)
{
	struct fx *fx = *state;

	fx_view(fx, 7, 4, 7);
	fx_quorum(fx, true);
	fx_admin(fx, 1, CORE_OFFLINE, "web", NULL, true);
	fx_all_done(fx);
	assert_int_equal(fx_group_rec(fx, WEB)->state, GROUP_OFFLINE);
	assert_int_equal(fx_group_rec(fx, WEB)->may_run_on, node_bit(2));
	fx_assert_said(fx, "reply", "");
	fx_hello(fx, 3, 1);
	fx_assert_said(fx, "reply", " 1 OK: \n");
}

static void test_online_that_fails_everywhere(void **state)
{
	struct fx *fx = *state;

	fx_admin(fx, 1, CORE_OFFLINE, "web", NULL, false);
	fx_all_done(fx);
	fx_message(fx, 2, (struct msg){.type = MSG_LEAVING});
	fx_message(fx, 3, (struct msg){.type = MSG_LEAVING});
	fx_admin(fx, 2, CORE_ONLINE, "web", NULL, true);
	fx_own(fx);
	fx_forget(fx);
	fx_done(fx, "web-ip", CORE_OP_START, -EADDRINUSE, "the address is in use");
	fx_all_done(fx);
	fx_assert_said(fx, "reply",
		" 2 FAILED: group web is failed: web-ip on n1: the address is in use\n");
}

/* The end that it waits for will never come: who waits must not wait for ever. */
static void test_offline_overtaken_by_online(void **state)
{
	struct fx *fx = *state;

	fx_admin(fx, 1, CORE_OFFLINE, "web", NULL, true);
	fx_own(fx);
	fx_admin(fx, 2, CORE_ONLINE, "web", NULL, true);
	fx_own(fx);
	fx_assert_said(fx, "reply", " 1 FAILED: group web was set online meanwhile\n");
	fx_all_done(fx);
	assert_int_equal(fx_group_rec(fx, WEB)->state, GROUP_ONLINE);
	fx_assert_said(fx, "reply", " 2 OK: \n");
}

static void test_failover_overtaken_by_offline(void **state)
{
	struct fx *fx = *state;

	fx_admin(fx, 1, CORE_FAILOVER, "web", "n2", true);
	fx_own(fx);
	fx_admin(fx, 2, CORE_OFFLINE, "web", NULL, false);
	fx_own(fx);
	fx_assert_said(fx, "reply",
		" 1 FAILED: group web was set offline meanwhile\n"
		" 2 OK: \n");
}

static void test_failover_overtaken_by_another(void **state)
{
	struct fx *fx = *state;

	fx_admin(fx, 1, CORE_FAILOVER, "web", "n2", true);
	fx_own(fx);
	fx_admin(fx, 2, CORE_FAILOVER, "web", "n3", true);
	fx_all_done(fx);
	fx_message(fx, 3, (struct msg){.type = MSG_STARTED, .gen = fx_group_rec(fx, WEB)->gen});
	fx_assert_said(fx, "reply",
		" 1 FAILED: group web is online on n3 instead of n2: see clusterctl status\n"
		" 2 OK: \n");
}

/* Every waiter is told at last, one way or another. */
static void test_waiters_are_told_when_the_end_is_not_seen(void **state)
{
	struct fx *fx = *state;

	fx_admin(fx, 1, CORE_FAILOVER, "web", "n2", true);
	fx_own(fx);
	fx_admin(fx, 2, CORE_OFFLINE, "web", NULL, false); /* not even ordered yet */
	fx_forget(fx);
	fx_simple(fx, CORE_EV_LOST);
	fx_assert_said(fx, "reply",
		" 1 NO_QUORUM: not known whether it was done: corosync has gone\n"
		" 2 NO_QUORUM: not known whether it was done: corosync has gone\n");
	fx_simple(fx, CORE_EV_LOST);
	fx_seconds(fx, 5);
	fx_assert_said(fx, "reply", ""); /* and told once */
}

static void test_waiters_are_told_when_the_node_joins_anew(void **state)
{
	struct fx *fx = *state;

	fx_admin(fx, 1, CORE_FAILOVER, "web", "n2", true);
	fx_own(fx);
	fx_forget(fx);
	fx_view(fx, 7, 0, 7);
	fx_view(fx, 7, 0, 7); /* on top of one that is not decided */
	fx_assert_said(fx, "reply",
		" 1 NO_QUORUM: not known whether it was done: this node has to join anew\n");
}

/* The limit is for those that wait: their answers make room. */
static void test_room_for_requests_comes_back(void **state)
{
	struct fx *fx = *state;

	for (unsigned i = 0; i < CORE_REQUESTS_MAX; i++)
		fx_admin(fx, i, CORE_ONLINE, "web", NULL, false);
	fx_forget(fx);
	fx_admin(fx, 100, CORE_ONLINE, "web", NULL, false);
	assert_refused(fx, "reply 100 REFUSED: too many requests are under way; try again later\n");
	fx_own(fx);
	fx_forget(fx);
	fx_admin(fx, 101, CORE_ONLINE, "web", NULL, false);
	fx_own(fx);
	fx_assert_said(fx, "reply", " 101 OK: \n");
}

/* Nor does one whose client has gone keep its place: its order goes on without it. */
static void test_room_of_those_who_went(void **state)
{
	struct core_event gone = {.type = CORE_EV_ADMIN_GONE};
	struct fx *fx = *state;

	for (unsigned i = 0; i < CORE_REQUESTS_MAX; i++)
		fx_admin(fx, i, CORE_ONLINE, "web", NULL, false);
	gone.gone_request_id = 7;
	fx_event(fx, gone);
	fx_forget(fx);
	fx_admin(fx, 100, CORE_ONLINE, "web", NULL, false);
	fx_assert_said(fx, "reply", "");
	fx_own(fx);
	assert_null(strstr(fx_lines(fx, "reply"), " 7 OK"));
	assert_non_null(strstr(fx_lines(fx, "reply"), " 100 OK"));
}

int main(void)
{
#define ONLINE(test) cmocka_unit_test_setup_teardown(test, web_online, fx_strike)
#define BY_ITSELF(test) cmocka_unit_test_teardown(test, fx_strike)
	static const struct CMUnitTest tests[] = {
		ONLINE(test_a_resource_is_not_set_online),
		ONLINE(test_no_failover_of_a_group_set_offline),
		ONLINE(test_no_failover_to_a_node_that_is_away),
		ONLINE(test_no_failover_to_a_node_that_leaves),
		ONLINE(test_no_failover_to_a_node_of_another_config),
		ONLINE(test_no_failover_to_a_node_that_is_unfit),
		ONLINE(test_no_other_node),
		BY_ITSELF(test_requests_while_joining),
		BY_ITSELF(test_requests_while_the_config_differs),
		ONLINE(test_failover_by_the_name_of_a_resource),
		ONLINE(test_failover_to_where_it_runs),
		ONLINE(test_failover_forgets_a_failure_there),
		ONLINE(test_orders_are_saved),
		ONLINE(test_failover_is_answered_when_it_is_there),
		ONLINE(test_failover_that_ends_elsewhere),
		ONLINE(test_offline_is_answered_when_nothing_runs),
		ONLINE(test_offline_waits_for_who_has_not_said_hello),
		ONLINE(test_online_that_fails_everywhere),
		ONLINE(test_offline_overtaken_by_online),
		ONLINE(test_failover_overtaken_by_offline),
		ONLINE(test_failover_overtaken_by_another),
		ONLINE(test_waiters_are_told_when_the_end_is_not_seen),
		ONLINE(test_waiters_are_told_when_the_node_joins_anew),
		ONLINE(test_room_for_requests_comes_back),
		ONLINE(test_room_of_those_who_went),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
