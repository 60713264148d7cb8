/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The life of one core, step by step: quorum, strangers, time, an orderly stop. n1 is the core; n2
 * and n3 are played by hand.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/unit/core_fixture.h"

#define WEB 0
#define OPS "start|stop|cancel|adopt"

static const struct fx_group web_only[] = {
	{.name = "web", .preferred = "12", .resources = "ip* srv"},
	{.name = NULL},
};

static int web_new(void **ret_state)
{
	fx_given(ret_state, web_only);
	return 0;
}

static int web_formed(void **ret_state)
{
	fx_form(fx_given(ret_state, web_only));
	return 0;
}

static int web_online(void **ret_state)
{
	return fx_online(ret_state, web_only);
}

/* ---- quorum ---- */

static void test_quorum_lost_stops_all_at_once(void **state)
{
	struct fx *fx = *state;

	fx_view(fx, 1, 0, 1);
	fx_assert_said(fx, OPS, ""); /* not known yet: hold on to what runs, start nothing */
	fx_quorum(fx, false);
	fx_assert_said(fx, OPS "|send", "stop web/srv\nstop web/ip\n");
}

/* While quorum is not known a start goes no further, and goes on when it is. */
static void test_start_pauses_while_quorum_is_not_known(void **state)
{
	struct fx *fx = *state;

	fx_forget(fx);
	fx_view(fx, 7, 0, 7);
	fx_done(fx, "ip", CORE_OP_START, 0, NULL);
	fx_assert_said(fx, OPS, "");
	fx_quorum(fx, true);
	fx_assert_said(fx, OPS, "start web/srv\n");
}

/* Quorum of another ring is no quorum; too long without the right one, and all is let go. */
static void test_old_quorum_does_not_hold_for_ever(void **state)
{
	struct fx *fx = *state;

	fx_view(fx, 7, 0, 7);
	fx_seconds(fx, 2);
	fx_assert_said(fx, OPS, "");
	fx_seconds(fx, 1);
	fx_assert_said(fx, OPS, "stop web/srv\nstop web/ip\n");
}

static void test_corosync_gone_stops_all(void **state)
{
	struct fx *fx = *state;

	fx_simple(fx, CORE_EV_LOST);
	fx_assert_said(fx, OPS, "stop web/srv\nstop web/ip\n");
	assert_int_equal(core_phase(fx->core), CORE_OUT);
}

/* ---- strange company ---- */

static void test_strangers_are_named_once_a_view(void **state)
{
	static const char version[] = "note node n2 speaks version 7 of the protocol, this one "
				      "speaks 1: install the same "
				      "version of clusterd; such messages are ignored\n";
	static const char garbage[] = "note node n2 sent a message that is not well-formed; such "
				      "messages are ignored\n";
	unsigned char bytes[18] = {MSG_LEAVING, 7};
	struct fx *fx = *state;
	uint64_t before = fx_digest(fx);
	uint64_t events = core_state(fx->core)->version;

	for (unsigned i = 0; i < 3; i++)
		fx_bytes(fx, 2, bytes, sizeof(bytes));
	fx_assert_said(fx, "note|" OPS "|send", version);
	assert_true(core_state(fx->core)->version == events + 3); /* for all members alike */
	assert_true(fx_digest(fx) == before);
	fx_view(fx, 7, 0, 7);
	fx_quorum(fx, true);
	bytes[1] = CORE_PROTOCOL;
	for (unsigned i = 0; i < 3; i++)
		fx_bytes(fx, 2, bytes, sizeof(bytes) - 1);
	fx_assert_said(fx, "note|" OPS "|send", garbage);
	assert_true(fx_digest(fx) == before);
}

/* web has gone to n2: what n2 says late of the time before counts no more, and of others never. */
static void test_late_results_change_nothing(void **state)
{
	static const enum msg_type results[] = {MSG_STARTED, MSG_START_FAILED, MSG_FAILED,
		MSG_STOPPED, MSG_STOP_FAILED, MSG_FORGET};
	struct fx *fx = *state;
	uint64_t before;
	uint32_t gen;

	fx_admin(fx, 1, CORE_FAILOVER, "web", "n2", false);
	fx_all_done(fx);
	for (unsigned is_online = 0; is_online < 2; is_online++) {
		before = fx_digest(fx);
		gen = fx_group_rec(fx, WEB)->gen;
		for (size_t i = 0; i < sizeof(results) / sizeof(results[0]); i++) {
			struct msg msg = {.type = results[i], .gen = gen - 1, .is_clean = true};

			fx_message(fx, 2, msg);
			assert_true(fx_digest(fx) == before);
			msg.gen = gen + 1;
			fx_message(fx, 2, msg);
			assert_true(fx_digest(fx) == before);
			msg.gen = gen;
			if (results[i] != MSG_FORGET && results[i] != MSG_STOP_FAILED)
				fx_message(fx, 3, msg);
			assert_true(fx_digest(fx) == before);
		}
		fx_message(fx, 2, (struct msg){.type = MSG_STARTED, .gen = gen});
	}
	assert_int_equal(fx_group_rec(fx, WEB)->state, GROUP_ONLINE);
	assert_int_equal(fx_group_rec(fx, WEB)->owner, 1);
}

/* The hold-off was for the daemon before: the one that has come since is asked itself. */
static void test_late_end_of_a_hold_off(void **state)
{
	struct fx *fx = *state;
	struct msg over = {.type = MSG_HOLDOFF_OVER, .node = 2, .node_incarnation = 299};

	fx_view(fx, 7, 4, 7);
	fx_quorum(fx, true);
	fx_own(fx);
	fx_message(fx, 2, over);
	assert_int_equal(fx_group_rec(fx, WEB)->may_run_on, node_bit(0) | node_bit(2));
	over.node_incarnation = core_state(fx->core)->nodes[2].incarnation;
	fx_message(fx, 2, over);
	assert_int_equal(fx_group_rec(fx, WEB)->may_run_on, node_bit(0));
}

static void test_unknown_nodes_are_no_nodes(void **state)
{
	struct fx *fx = *state;
	uint64_t before = state_digest(core_state(fx->core));

	for (enum msg_type type = MSG_HELLO; type < MSG_TYPES; type++) {
		fx_message(fx, 77, (struct msg){.type = type});
		fx_message(fx, 0, (struct msg){.type = type});
		assert_int_equal(fx->effects.n, 0);
	}
	assert_true(state_digest(core_state(fx->core)) == before);
}

/* ---- time ---- */

static void test_tick_is_armed_for_ever(void **state)
{
	struct fx *fx = *state;

	for (unsigned i = 0; i < 5; i++) {
		fx->now_us += 1000000;
		fx_forget(fx);
		fx_timer(fx, CORE_TIMER_TICK);
		fx_assert_timer(fx, "tick", 1000);
	}
	fx_forget(fx);
	fx->now_us += 400000;
	fx_quorum(fx, true); /* any event; it is armed already */
	fx_assert_said(fx, "timer", "");
}

/* A daemon that was stopped for longer than the hold-off believes nothing that it still holds. */
static void test_stalled_core_asks_anew(void **state)
{
	struct fx *fx = *state;

	fx_timer(fx, CORE_TIMER_TICK);
	fx_forget(fx);
	fx->now_us += 10000000;
	fx_timer(fx, CORE_TIMER_TICK);
	fx_assert_said(fx, "note this|send",
		"note this node: clusterd did not run for 9000 ms\n"
		"note this node: joining (asks the others for the cluster's state)\n"
		"send HELLO\n");
}

static void test_seen_in_the_left_list(void **state)
{
	struct core_event event = {.type = CORE_EV_VIEW,
		.view = {.ring = {1, 99},
			.self_left = true,
			.n_members = 1,
			.members = {{.nodeid = 1, .fresh = true}},
			.n_ring = 1,
			.ring_nodes = {1}}};
	struct fx *fx = *state;

	fx_event(fx, event);
	assert_int_equal(core_phase(fx->core), CORE_JOINING);
	fx_assert_said(fx, OPS, "stop web/srv\nstop web/ip\n");
}

/* ---- the orderly stop ---- */

static void test_leave_when_nothing_runs_and_all_know_it(void **state)
{
	struct fx *fx = *state;

	fx_simple(fx, CORE_EV_LEAVE);
	fx_assert_said(fx, "send|left|" OPS, "send LEAVING\n");
	fx_own(fx);
	fx_assert_said(fx, "send|left|" OPS, "stop web/srv\n");
	fx_done(fx, "srv", CORE_OP_STOP, 0, NULL);
	fx_done(fx, "ip", CORE_OP_STOP, 0, NULL);
	fx_assert_said(fx, "send|left|" OPS, "stop web/ip\nsend STOPPED\n");
	fx_own(fx);
	fx_assert_said(fx, "note group|left",
		"note group web: stopped on n1\n"
		"note group web: n1 -> n2: taking over (n1 is being stopped)\n"
		"left\n");
	assert_int_equal(core_phase(fx->core), CORE_LEFT);
}

static void test_leave_waits_for_a_stop_that_fails(void **state)
{
	struct fx *fx = *state;

	fx_simple(fx, CORE_EV_LEAVE);
	fx_own(fx);
	fx_done(fx, "srv", CORE_OP_STOP, -5, "no");
	fx_done(fx, "ip", CORE_OP_STOP, 0, NULL);
	fx_own(fx);
	fx_seconds(fx, 1);
	fx_assert_said(fx, "left", "");
	fx_done(fx, "srv", CORE_OP_STOP, 0, NULL);
	fx_assert_said(fx, "left", ""); /* the others do not know yet */
	fx_own(fx);
	fx_assert_said(fx, "left", "\n");
}

static void test_leave_without_quorum(void **state)
{
	struct fx *fx = *state;

	fx_view(fx, 1, 0, 1);
	fx_quorum(fx, false);
	fx_simple(fx, CORE_EV_LEAVE);
	fx_assert_said(fx, "left|stop", "stop web/srv\nstop web/ip\n");
	fx_done(fx, "srv", CORE_OP_STOP, 0, NULL);
	fx_assert_said(fx, "left|stop", "");
	fx_done(fx, "ip", CORE_OP_STOP, 0, NULL);
	fx_assert_said(fx, "left|stop", "left\n");
}

/* A start under way is called off; its end is waited for. */
static void test_leave_while_starting(void **state)
{
	struct fx *fx = *state;

	fx_form(fx);
	fx_forget(fx);
	fx_simple(fx, CORE_EV_LEAVE);
	fx_own(fx);
	fx_assert_said(fx, "left|" OPS, "cancel web/ip\n");
	fx_done(fx, "ip", CORE_OP_START, -125, NULL);
	fx_assert_said(fx, "left|" OPS, "stop web/ip\n");
	fx_done(fx, "ip", CORE_OP_STOP, 0, NULL);
	fx_own(fx);
	fx_assert_said(fx, "left", "\n");
}

static void test_leave_before_anything(void **state)
{
	struct fx *fx = *state;

	fx_simple(fx, CORE_EV_LEAVE);
	fx_assert_said(fx, "left|send", "left\n");
}

/* After "left" the core is silent, whatever comes. */
static void test_nothing_after_left(void **state)
{
	struct fx *fx = *state;
	uint64_t before;

	fx_simple(fx, CORE_EV_LEAVE);
	fx_all_done(fx);
	assert_int_equal(core_phase(fx->core), CORE_LEFT);
	before = state_digest(core_state(fx->core));
	fx_forget(fx);
	fx_view(fx, 7, 7, 7);
	fx_quorum(fx, true);
	fx_hello(fx, 2, 9);
	fx_admin(fx, 1, CORE_FAILOVER, "web", NULL, true);
	fx_done(fx, "ip", CORE_OP_STOP, 0, NULL);
	fx_resource(fx, CORE_EV_RESOURCE_FAILED, "ip", true, "carrier lost");
	fx_resource(fx, CORE_EV_RESOURCE_FIT, "ip", false, NULL);
	fx_event(fx, (struct core_event){.type = CORE_EV_CONFIG, .config = fx->config});
	fx_event(fx, (struct core_event){.type = CORE_EV_COMPARED, .compared = "group web"});
	fx_seconds(fx, 20);
	fx_timer(fx, CORE_TIMER_HELLO);
	fx_timer(fx, CORE_TIMER_FORM);
	fx_simple(fx, CORE_EV_LEAVE);
	fx_simple(fx, CORE_EV_LOST);
	assert_string_equal(fx->story, "");
	assert_true(state_digest(core_state(fx->core)) == before);
}

int main(void)
{
#define NEW(test) cmocka_unit_test_setup_teardown(test, web_new, fx_strike)
#define ONLINE(test) cmocka_unit_test_setup_teardown(test, web_online, fx_strike)
#define FORMED(test) cmocka_unit_test_setup_teardown(test, web_formed, fx_strike)
#define BY_ITSELF(test) cmocka_unit_test_teardown(test, fx_strike)
	static const struct CMUnitTest tests[] = {
		ONLINE(test_quorum_lost_stops_all_at_once),
		FORMED(test_start_pauses_while_quorum_is_not_known),
		ONLINE(test_old_quorum_does_not_hold_for_ever),
		ONLINE(test_corosync_gone_stops_all),
		ONLINE(test_strangers_are_named_once_a_view),
		ONLINE(test_late_results_change_nothing),
		ONLINE(test_late_end_of_a_hold_off),
		ONLINE(test_unknown_nodes_are_no_nodes),
		ONLINE(test_tick_is_armed_for_ever),
		ONLINE(test_stalled_core_asks_anew),
		ONLINE(test_seen_in_the_left_list),
		ONLINE(test_leave_when_nothing_runs_and_all_know_it),
		ONLINE(test_leave_waits_for_a_stop_that_fails),
		ONLINE(test_leave_without_quorum),
		NEW(test_leave_while_starting),
		NEW(test_leave_before_anything),
		ONLINE(test_nothing_after_left),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
