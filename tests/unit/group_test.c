/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The life of a group: every pair of state and event, the impossible ones by name, and the rule who
 * may start it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "clusterd/core/group.h"

#define NO GROUP_STATES /* impossible */

/* In the order of the enums; a new state or event without a row here does not compile. */
static const enum group_state expected[][11] = {
        /* START, STARTED, START_FAILED, STOP, FAILED, STOPPED, STOP_FAILED, OWNER_LOST, ADOPTED,
         * NOWHERE, GIVEN_UP */
        [GROUP_OFFLINE] = {GROUP_STARTING, NO, NO, NO, NO, NO, NO, NO, GROUP_ONLINE, GROUP_FAILED,
                NO},
        [GROUP_STARTING] = {NO, GROUP_ONLINE, GROUP_OFFLINE, GROUP_STOPPING, NO, NO, GROUP_BLOCKED,
                GROUP_OFFLINE, NO, NO, NO},
        [GROUP_ONLINE] = {NO, NO, NO, GROUP_STOPPING, GROUP_STOPPING, NO, NO, GROUP_OFFLINE, NO, NO,
                NO},
        [GROUP_STOPPING] = {NO, NO, NO, NO, NO, GROUP_OFFLINE, GROUP_BLOCKED, GROUP_OFFLINE, NO, NO,
                NO},
        [GROUP_FAILED] = {GROUP_STARTING, NO, NO, NO, NO, NO, NO, NO, GROUP_ONLINE, NO,
                GROUP_OFFLINE},
        [GROUP_BLOCKED] = {NO, NO, NO, NO, NO, GROUP_OFFLINE, GROUP_BLOCKED, GROUP_OFFLINE, NO, NO,
                NO},
};
_Static_assert(sizeof(expected) / sizeof(expected[0]) == GROUP_STATES, "a state is missing");
_Static_assert(GROUP_EVENTS == 11, "an event is missing");

static bool is_held(enum group_state state)
{
	return state == GROUP_STARTING || state == GROUP_ONLINE || state == GROUP_STOPPING ||
	       state == GROUP_BLOCKED;
}

static struct group_rec group_in(enum group_state state)
{
	struct group_rec group = {
	        .enabled = true,
	        .state = state,
	        .owner = is_held(state) ? 2 : CORE_NO_NODE,
	        .origin = 1,
	        .target = 2,
	        .restarts = 1,
	        .may_run_on = is_held(state) ? node_bit(2) : 0,
	        .gen = 5,
	};

	return group;
}

static void test_every_pair(void **unused)
{
	(void)unused;
	for (unsigned state = 0; state < GROUP_STATES; state++) {
		for (unsigned event = 0; event < GROUP_EVENTS; event++) {
			struct group_rec before = group_in(state), group = before;
			bool is_possible = expected[state][event] != NO;

			assert_int_equal(group_apply(&group, event, 2), is_possible);
			if (!is_possible) {
				assert_memory_equal(&group, &before, sizeof(group));
				continue;
			}
			assert_int_equal(group.state, expected[state][event]);
			assert_int_equal(group.gen, before.gen + 1);
			assert_int_equal(is_held(group.state), group.owner != CORE_NO_NODE);
			if (is_held(group.state))
				assert_true(group.may_run_on & node_bit(group.owner));
			else
				assert_int_equal(group.may_run_on, 0);
		}
	}
}

static void test_online_ends_a_move(void **unused)
{
	struct group_rec group = group_in(GROUP_STARTING);

	(void)unused;
	assert_true(group_apply(&group, GROUP_EV_STARTED, 2));
	assert_int_equal(group.origin, 2);
	assert_int_equal(group.target, CORE_NO_NODE);
}

static void test_restarts_count_on_one_node(void **unused)
{
	struct group_rec group = group_in(GROUP_OFFLINE);

	(void)unused;
	assert_true(group_apply(&group, GROUP_EV_START, 1));
	assert_int_equal(group.restarts, 1); /* back where it was */
	group = group_in(GROUP_OFFLINE);
	assert_true(group_apply(&group, GROUP_EV_START, 3));
	assert_int_equal(group.restarts, 0);
}

/* Never served twice: not one bit of another node may be set. */
static void test_who_may_start(void **unused)
{
	struct group_rec group = group_in(GROUP_OFFLINE);

	(void)unused;
	for (uint8_t node = 0; node < CORE_MAX_NODES; node++) {
		for (uint8_t other = 0; other < CORE_MAX_NODES; other++) {
			struct group_rec before;

			group = group_in(GROUP_OFFLINE);
			group.may_run_on = node_bit(other);
			before = group;
			assert_int_equal(may_start_on(&group, node), node == other);
			assert_int_equal(group_apply(&group, GROUP_EV_START, node), node == other);
			if (node != other)
				assert_memory_equal(&group, &before, sizeof(group));
		}
	}
	group = group_in(GROUP_FAILED);
	group.may_run_on = node_bit(4) | node_bit(2);
	assert_false(group_apply(&group, GROUP_EV_START, 4));
	group.may_run_on = 0;
	assert_true(group_apply(&group, GROUP_EV_START, 4));
}

/* What another node may hold is not forgotten by what the owner says. */
static void test_other_holders_stay(void **unused)
{
	struct group_rec group = group_in(GROUP_STOPPING);

	(void)unused;
	group.may_run_on |= node_bit(7);
	assert_true(group_apply(&group, GROUP_EV_STOPPED, 2));
	assert_int_equal(group.may_run_on, node_bit(7));
	assert_false(group_apply(&group, GROUP_EV_START, 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_every_pair),
	        cmocka_unit_test(test_online_ends_a_move),
	        cmocka_unit_test(test_restarts_count_on_one_node),
	        cmocka_unit_test(test_who_may_start),
	        cmocka_unit_test(test_other_holders_stay),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
