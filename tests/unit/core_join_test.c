/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How a core comes to the cluster's state, and what it makes of what it, or another, found running
 * at its start. n1 is the core; n2 and n3 are played by hand.
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

static int web_online(void **ret_state)
{
	return fx_online(ret_state, web_only);
}

/* ---- joining ---- */

static void test_hello_is_repeated_until_it_is_answered(void **state)
{
	struct fx *fx = *state;

	fx_view(fx, 7, 7, 7);
	fx_quorum(fx, true);
	fx_assert_timer(fx, "hello", 1000);
	fx_assert_timer(fx, "form", 2000);
	fx_assert_said(fx, "send", " HELLO\n");
	for (unsigned i = 0; i < 3; i++) {
		fx_own_lost(fx);
		fx->now_us += 1000000;
		fx_timer(fx, CORE_TIMER_HELLO);
		fx_assert_timer(fx, "hello", 1000);
		fx_assert_said(fx, "send", " HELLO\n");
	}
	fx_own(fx);
	fx_hello(fx, 2, 1);
	fx_hello(fx, 3, 1);
	fx_own(fx);
	assert_int_equal(core_phase(fx->core), CORE_MEMBER);
	fx_assert_timer(fx, "hello", 0);
	fx_assert_timer(fx, "form", 0);
	fx_forget(fx);
	fx_timer(fx, CORE_TIMER_HELLO); /* one that was on its way already */
	fx_timer(fx, CORE_TIMER_FORM);
	fx_assert_said(fx, "send", "");
}

static void test_nothing_is_formed_without_quorum(void **state)
{
	struct fx *fx = *state;

	fx_view(fx, 1, 1, 1);
	fx_quorum(fx, false);
	fx_own(fx);
	fx->now_us += 2000000;
	fx_timer(fx, CORE_TIMER_FORM);
	fx_own(fx);
	assert_int_equal(core_phase(fx->core), CORE_NO_QUORUM);
	fx_assert_said(fx, OPS, "");
}

/* A machine whose clusterd is not there yet is waited for, two seconds and no longer; then what it
 * may have left running is waited for until the hold-off ends. */
static void test_silent_machines_are_waited_for(void **state)
{
	struct fx *fx = *state;

	fx_view(fx, 3, 3, 7);
	fx_quorum(fx, true);
	fx_own(fx);
	fx_hello(fx, 2, 1);
	fx_own(fx);
	assert_int_equal(core_phase(fx->core), CORE_JOINING);
	fx->now_us += 2000000;
	fx_timer(fx, CORE_TIMER_FORM);
	fx_own(fx);
	assert_int_equal(core_phase(fx->core), CORE_MEMBER);
	assert_int_equal(core_state(fx->core)->nodes[2].state, NODE_LOST);
	assert_int_equal(fx_group_rec(fx, WEB)->may_run_on, node_bit(2));
	fx_assert_said(fx, OPS, "");
	for (unsigned i = 0; i < 4 && fx_group_rec(fx, WEB)->owner == CORE_NO_NODE; i++) {
		fx_seconds(fx, 1);
		fx_own(fx);
	}
	assert_int_equal(core_state(fx->core)->nodes[2].state, NODE_OFFLINE);
	fx_assert_said(fx, OPS, "start web/ip\n");
}

/* A node that was offline by order stays so over a restart of the whole cluster. */
static void test_newest_orders_win(void **state)
{
	static const bool offline[] = {true};
	uint8_t nothing[] = {CORE_FOUND_NOTHING};
	struct fx *fx = malloc(sizeof(*fx));

	assert_non_null(fx);
	*state = fx;
	fx_init_saved(fx, fx_config(3, web_only), 1, 40, offline);
	fx_view(fx, 7, 7, 7);
	fx_quorum(fx, true);
	fx_own(fx);
	fx_message(fx, 2,
		(struct msg){.type = MSG_HELLO,
			.hello_seq = 1,
			.version = 39,
			.blob = nothing,
			.blob_len = 1});
	fx_hello(fx, 3, 1);
	fx_own(fx);
	assert_int_equal(core_phase(fx->core), CORE_MEMBER);
	assert_true(core_state(fx->core)->version > 40);
	assert_false(fx_group_rec(fx, WEB)->enabled);
	assert_int_equal(fx_group_rec(fx, WEB)->state, GROUP_OFFLINE);
	fx_assert_said(fx, OPS, "");
}

/* An answer to an older hello lacks what came between the two: it does not count. */
static void test_answer_to_an_older_hello(void **state)
{
	struct fx *fx = *state;
	struct core_state old;
	struct buf buf = {0};
	struct msg msg = {
		.type = MSG_SNAPSHOT, .nodeid = 1, .node_incarnation = 100, .hello_seq = 1};

	assert_int_equal(state_init(&old, fx->config), 0);
	state_encode(&old, &buf);
	msg.blob = buf.data;
	msg.blob_len = buf.len;
	fx_view(fx, 7, 7, 7);
	fx_quorum(fx, true);
	fx_own(fx);
	fx_timer(fx, CORE_TIMER_HELLO);
	fx_own(fx); /* hello 2 */
	fx_message(fx, 2, msg);
	assert_int_equal(core_phase(fx->core), CORE_JOINING);
	msg.hello_seq = 2;
	msg.node_incarnation = 101; /* for an earlier daemon of this node */
	fx_message(fx, 2, msg);
	assert_int_equal(core_phase(fx->core), CORE_JOINING);
	msg.node_incarnation = 100;
	msg.blob_len--; /* cut off */
	fx_message(fx, 2, msg);
	assert_int_equal(core_phase(fx->core), CORE_JOINING);
	msg.blob_len++;
	fx_message(fx, 2, msg);
	assert_int_equal(core_phase(fx->core), CORE_MEMBER);
	buf_fini(&buf);
	state_fini(&old);
}

/* ---- found at the start ---- */

static struct fx *found(void **ret_state, bool ip, bool srv)
{
	struct fx *fx = fx_given(ret_state, web_only);
	bool runs[] = {ip, srv};

	core_found(fx->core, WEB, runs);
	return fx;
}

static void test_found_whole_is_adopted(void **state)
{
	struct fx *fx = found(state, true, true);

	fx_form(fx);
	fx_assert_said(fx, OPS, "adopt web/ip\nadopt web/srv\n");
	assert_int_equal(fx_group_rec(fx, WEB)->state, GROUP_ONLINE);
	assert_int_equal(fx_group_rec(fx, WEB)->owner, 0);
	assert_int_equal(core_local_resource(fx->core, WEB, 1), LOCAL_RES_RUNNING);
}

/* Half a group is no group: what is left of it is cleared away before it starts anew. */
static void test_found_in_part_is_stopped_first(void **state)
{
	struct fx *fx = found(state, false, true);

	fx_form(fx);
	fx_assert_said(fx, OPS, "stop web/srv\n"); /* and nothing of what is not there */
	fx_done(fx, "srv", CORE_OP_STOP, 0, NULL);
	fx_own(fx);
	fx_assert_said(fx, OPS, "start web/ip\n");
}

/* Two say that they have it: the lower one keeps it, and it moves nowhere before the other has let
 * go of it. */
static void test_found_on_two_nodes(void **state)
{
	static const uint8_t n2_has_it[] = {CORE_FOUND_ALL};
	struct fx *fx = found(state, true, true);

	fx_view(fx, 7, 7, 7);
	fx_quorum(fx, true);
	fx_own(fx);
	fx_message(fx, 2,
		(struct msg){.type = MSG_HELLO, .hello_seq = 1, .blob = n2_has_it, .blob_len = 1});
	fx_hello(fx, 3, 1);
	fx_own(fx);
	fx_assert_said(fx, "adopt", " web/ip\n web/srv\n");
	assert_int_equal(fx_group_rec(fx, WEB)->owner, 0);
	assert_int_equal(fx_group_rec(fx, WEB)->may_run_on, node_bit(0) | node_bit(1));
	fx_resource(fx, CORE_EV_RESOURCE_FAILED, "ip", true, "carrier lost");
	fx_all_done(fx);
	assert_int_equal(fx_group_rec(fx, WEB)->may_run_on, node_bit(1));
	assert_int_equal(fx_group_rec(fx, WEB)->owner, 1); /* the one node where it may start */
	fx_message(fx, 2, (struct msg){.type = MSG_STARTED, .gen = fx_group_rec(fx, WEB)->gen});
	assert_int_equal(fx_group_rec(fx, WEB)->state, GROUP_ONLINE);
}

/* "Stopped" of a node that is not the owner ends what it held, and nothing else. */
static void test_the_other_one_lets_go(void **state)
{
	static const uint8_t n2_has_it[] = {CORE_FOUND_ALL};
	struct fx *fx = found(state, true, true);
	uint32_t gen;

	fx_view(fx, 7, 7, 7);
	fx_quorum(fx, true);
	fx_own(fx);
	fx_message(fx, 2,
		(struct msg){.type = MSG_HELLO, .hello_seq = 1, .blob = n2_has_it, .blob_len = 1});
	fx_hello(fx, 3, 1);
	fx_own(fx);
	gen = fx_group_rec(fx, WEB)->gen;
	fx_message(fx, 2, (struct msg){.type = MSG_STOPPED, .gen = gen - 1}); /* of before */
	assert_int_equal(fx_group_rec(fx, WEB)->may_run_on, node_bit(0) | node_bit(1));
	fx_message(fx, 2, (struct msg){.type = MSG_STOPPED, .gen = gen});
	assert_int_equal(fx_group_rec(fx, WEB)->may_run_on, node_bit(0));
	assert_int_equal(fx_group_rec(fx, WEB)->state, GROUP_ONLINE);
}

/* A daemon that has just come may have anything running, until it says hello. */
static void test_who_comes_may_run_anything(void **state)
{
	struct fx *fx = *state;

	fx_view(fx, 7, 6, 7); /* both others were restarted */
	fx_quorum(fx, true);
	fx_own(fx);
	assert_int_equal(fx_group_rec(fx, WEB)->may_run_on, 7);
	fx_resource(fx, CORE_EV_RESOURCE_FAILED, "ip", true, "carrier lost");
	fx_all_done(fx);
	assert_int_equal(fx_group_rec(fx, WEB)->state, GROUP_OFFLINE); /* it waits; not failed */
	assert_int_equal(fx_group_rec(fx, WEB)->may_run_on, 6);
	fx_hello(fx, 2, 1);
	fx_own(fx);
	assert_int_equal(core_state(fx->core)->nodes[1].state, NODE_ONLINE);
	assert_int_equal(fx_group_rec(fx, WEB)->may_run_on, 4);
	assert_int_equal(fx_group_rec(fx, WEB)->state, GROUP_OFFLINE);
	fx_hello(fx, 3, 1);
	assert_int_equal(fx_group_rec(fx, WEB)->state, GROUP_STARTING);
	assert_int_equal(fx_group_rec(fx, WEB)->owner, 1);
	assert_int_equal(fx_group_rec(fx, WEB)->may_run_on, 2);
}

int main(void)
{
#define NEW(test) cmocka_unit_test_setup_teardown(test, web_new, fx_strike)
#define ONLINE(test) cmocka_unit_test_setup_teardown(test, web_online, fx_strike)
#define BY_ITSELF(test) cmocka_unit_test_teardown(test, fx_strike)
	static const struct CMUnitTest tests[] = {
		NEW(test_hello_is_repeated_until_it_is_answered),
		NEW(test_nothing_is_formed_without_quorum),
		NEW(test_silent_machines_are_waited_for),
		BY_ITSELF(test_newest_orders_win),
		NEW(test_answer_to_an_older_hello),
		BY_ITSELF(test_found_whole_is_adopted),
		BY_ITSELF(test_found_in_part_is_stopped_first),
		BY_ITSELF(test_found_on_two_nodes),
		BY_ITSELF(test_the_other_one_lets_go),
		ONLINE(test_who_comes_may_run_anything),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
