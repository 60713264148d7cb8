/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Two cores, n1 and n2, driven directly: one state on both, a takeover within one step, and how a
 * node that lost the state gets it back. tests/sim does the same at random and by the thousand.
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

struct pair {
	struct core_config *config;
	struct fx a, b; /* n1, n2; n3 is off */
};

static void pair_view(struct pair *pair, node_mask daemons, node_mask fresh)
{
	fx_view(&pair->a, daemons, fresh, daemons);
	fx_quorum(&pair->a, true);
	fx_view(&pair->b, daemons, fresh, daemons);
	fx_quorum(&pair->b, true);
	fx_exchange(&pair->a, &pair->b);
}

static int pair_new(void **ret_state)
{
	struct pair *pair = malloc(sizeof(*pair));

	if (!pair)
		return -1;
	pair->config = fx_config(3, web_only);
	fx_init(&pair->a, pair->config, 1);
	fx_init(&pair->b, pair->config, 2);
	pair_view(pair, 3, 3);
	*ret_state = pair;
	return 0;
}

static int pair_free(void **state)
{
	struct pair *pair = *state;

	fx_fini(&pair->a);
	fx_fini(&pair->b);
	fx_config_free(pair->config);
	free(pair);
	return 0;
}

static void assert_equal_states(const struct pair *pair)
{
	assert_int_equal(core_phase(pair->a.core), CORE_MEMBER);
	assert_int_equal(core_phase(pair->b.core), CORE_MEMBER);
	assert_true(
		state_digest(core_state(pair->a.core)) == state_digest(core_state(pair->b.core)));
}

/* Starts web on n1 and brings it online. */
static void pair_start(struct pair *pair)
{
	fx_done(&pair->a, "ip", CORE_OP_START, 0, NULL);
	fx_done(&pair->a, "srv", CORE_OP_START, 0, NULL);
	fx_exchange(&pair->a, &pair->b);
	assert_int_equal(fx_group_rec(&pair->b, WEB)->state, GROUP_ONLINE);
	fx_forget(&pair->a);
	fx_forget(&pair->b);
}

/* A new daemon on n2; both know the view, and nothing that they sent for it is delivered yet. */
static void restart_b(struct pair *pair)
{
	fx_fini(&pair->b);
	fx_init(&pair->b, pair->config, 2);
	pair->b.ring_seq = pair->a.ring_seq;
	fx_view(&pair->a, 3, 2, 3);
	fx_quorum(&pair->a, true);
	fx_view(&pair->b, 3, 2, 3);
	fx_quorum(&pair->b, true);
}

static void test_two_nodes_hold_one_state(void **state)
{
	struct pair *pair = *state;

	assert_equal_states(pair);
	fx_assert_said(&pair->a, OPS, "start web/ip\n");
	fx_assert_said(&pair->b, OPS, "");
	pair_start(pair);
	assert_equal_states(pair);
	fx_admin(&pair->b, 1, CORE_FAILOVER, "web", "n2", true);
	fx_exchange(&pair->a, &pair->b);
	fx_assert_said(&pair->a, OPS, "stop web/srv\n");
	fx_done(&pair->a, "srv", CORE_OP_STOP, 0, NULL);
	fx_done(&pair->a, "ip", CORE_OP_STOP, 0, NULL);
	fx_assert_said(&pair->b, OPS, "");
	fx_exchange(&pair->a, &pair->b);
	fx_assert_said(&pair->b, OPS, "start web/ip\n");
	fx_done(&pair->b, "ip", CORE_OP_START, 0, NULL);
	fx_done(&pair->b, "srv", CORE_OP_START, 0, NULL);
	fx_exchange(&pair->a, &pair->b);
	fx_assert_said(&pair->b, "reply", " 1 OK: \n");
	assert_equal_states(pair);
	assert_int_equal(fx_group_rec(&pair->a, WEB)->owner, 1);
}

/* The path whose time we count: the survivor acts in the step in which the last proof comes. */
static void test_takeover_within_the_step(void **state)
{
	struct pair *pair = *state;

	pair_start(pair);
	fx_view(&pair->b, 2, 0, 2);
	fx_assert_said(&pair->b, OPS, ""); /* quorum of this ring is not known yet */
	fx_quorum(&pair->b, true);
	fx_assert_said(&pair->b, OPS "|note group",
		"note group web: n1 -> n2: taking over (n1 left the ring)\n"
		"start web/ip\n");
}

static void test_takeover_when_quorum_comes_first(void **state)
{
	struct pair *pair = *state;

	pair_start(pair);
	pair->b.ring_seq++;
	fx_quorum(&pair->b, true); /* of the ring whose view is still on its way */
	pair->b.ring_seq--;
	fx_assert_said(&pair->b, OPS, "");
	fx_view(&pair->b, 2, 0, 2);
	fx_assert_said(&pair->b, OPS, "start web/ip\n");
}

/* The quorum of another ring is no proof, however often it is told. */
static void test_no_takeover_on_the_old_rings_quorum(void **state)
{
	struct pair *pair = *state;

	pair_start(pair);
	fx_view(&pair->b, 2, 0, 2);
	pair->b.ring_seq--;
	fx_quorum(&pair->b, true);
	pair->b.ring_seq++;
	fx_seconds(&pair->b, 2);
	fx_assert_said(&pair->b, OPS, "");
	assert_int_equal(fx_group_rec(&pair->b, WEB)->owner, 0);
}

/* A daemon that is gone from a machine that is not: its address may still be there. */
static void test_daemon_gone_waits_for_the_hold_off(void **state)
{
	struct pair *pair = *state;

	pair_start(pair);
	fx_view(&pair->b, 2, 0, 3);
	fx_quorum(&pair->b, true);
	fx_assert_said(&pair->b, OPS, "");
	fx_seconds(&pair->b, 2);
	fx_assert_said(&pair->b, "send", "");
	fx_seconds(&pair->b, 1); /* the hold-off of 3 s */
	fx_assert_said(&pair->b, OPS "|send", "send HOLDOFF_OVER\n");
	fx_own(&pair->b);
	fx_assert_said(&pair->b, OPS, "start web/ip\n");
}

/* n1 forgets its state over an overflow; what runs goes on, and it gets the state back from n2. */
static void test_overflow_loses_nothing(void **state)
{
	struct pair *pair = *state;
	size_t len = 1u << 20;
	unsigned char *big = calloc(1, len);

	assert_non_null(big);
	pair_start(pair);
	fx_view(&pair->a, 3, 0, 3);
	fx_view(&pair->b, 3, 0, 3);
	fx_quorum(&pair->b, true);
	for (unsigned i = 0; i < 5; i++) {
		fx_bytes(&pair->a, 2, big, len);
		fx_bytes(&pair->b, 2, big, len);
	}
	free(big);
	assert_int_equal(core_phase(pair->a.core), CORE_JOINING);
	fx_assert_said(&pair->a, "note this|note too|send HELLO|stop",
		"note too many messages while waiting for quorum: asking for the state anew\n"
		"note this node: joining (asks the others for the cluster's state)\n"
		"send HELLO\n");
	fx_quorum(&pair->a, true);
	fx_exchange(&pair->a, &pair->b);
	assert_equal_states(pair);
	assert_int_equal(fx_group_rec(&pair->a, WEB)->owner, 0);
	assert_int_equal(fx_group_rec(&pair->a, WEB)->state, GROUP_ONLINE);
	fx_seconds(&pair->a, 4);
	fx_assert_said(&pair->a, OPS, "");
}

/* The joiner's own queue overflows before the answer comes: an answer without what followed the
 * hello is worthless. It asks again, and the second answer serves. */
static void test_joiners_overflow(void **state)
{
	struct pair *pair = *state;
	size_t len = 1u << 20;
	unsigned char *big = calloc(1, len);

	assert_non_null(big);
	restart_b(pair);
	fx_own_lost(&pair->a);
	assert_int_equal(pair->b.n_sent, 1);
	fx_bytes(&pair->a, 2, pair->b.sent[0].data, pair->b.sent[0].len);
	fx_own(&pair->b);
	for (unsigned i = 0; i < 5; i++) { /* the last one is too long; the answer would fit in */
		fx_bytes(&pair->a, 1, big, i < 4 ? len - 1024 : len);
		fx_bytes(&pair->b, 1, big, i < 4 ? len - 1024 : len);
	}
	free(big);
	fx_exchange(&pair->a, &pair->b); /* a's answer */
	assert_int_equal(core_phase(pair->b.core), CORE_JOINING);
	pair->b.now_us += 1000000;
	fx_timer(&pair->b, CORE_TIMER_HELLO);
	fx_exchange(&pair->a, &pair->b);
	assert_equal_states(pair);
}

/* Messages between the hello and its answer are applied on top of it, once. */
static void test_messages_behind_the_hello_count(void **state)
{
	struct pair *pair = *state;

	pair_start(pair);
	restart_b(pair);
	fx_admin(&pair->a, 1, CORE_OFFLINE, "web", NULL, false);
	fx_exchange(&pair->b, &pair->a); /* b's hello first, then a's order, then a's answer */
	assert_equal_states(pair);
	assert_false(fx_group_rec(&pair->b, WEB)->enabled);
	assert_int_equal(fx_group_rec(&pair->b, WEB)->state, GROUP_STOPPING);
}

int main(void)
{
#define PAIR(test) cmocka_unit_test_setup_teardown(test, pair_new, pair_free)
	static const struct CMUnitTest tests[] = {
		PAIR(test_two_nodes_hold_one_state),
		PAIR(test_takeover_within_the_step),
		PAIR(test_takeover_when_quorum_comes_first),
		PAIR(test_no_takeover_on_the_old_rings_quorum),
		PAIR(test_daemon_gone_waits_for_the_hold_off),
		PAIR(test_overflow_loses_nothing),
		PAIR(test_joiners_overflow),
		PAIR(test_messages_behind_the_hello_count),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
