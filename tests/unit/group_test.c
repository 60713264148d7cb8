/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The life of a group, stated a second time by hand: every pair of state and event, why the
 * impossible ones are, what each step does to each field, and the rule who may start it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "clusterd/core/group.h"

#define NEVER GROUP_STATES

struct row {
	enum group_state from;
	enum group_event event;
	enum group_state to;
	const char *why; /* of NEVER: why it cannot happen, or must not count */
};

static const struct row rows[] = {
	{GROUP_OFFLINE, GROUP_EV_START, GROUP_STARTING, ""},
	{GROUP_OFFLINE, GROUP_EV_STARTED, NEVER, "nobody was asked to start it"},
	{GROUP_OFFLINE, GROUP_EV_START_FAILED, NEVER, "nobody was asked to start it"},
	{GROUP_OFFLINE, GROUP_EV_STOP, NEVER, "there is nothing to stop"},
	{GROUP_OFFLINE, GROUP_EV_FAILED, NEVER, "what does not run cannot fail"},
	{GROUP_OFFLINE, GROUP_EV_STOPPED, NEVER, "it has no owner who could say so"},
	{GROUP_OFFLINE, GROUP_EV_STOP_FAILED, NEVER, "it has no owner who could say so"},
	{GROUP_OFFLINE, GROUP_EV_OWNER_LOST, NEVER, "it has no owner"},
	{GROUP_OFFLINE, GROUP_EV_ADOPTED, GROUP_ONLINE, ""},
	{GROUP_OFFLINE, GROUP_EV_NOWHERE, GROUP_FAILED, ""},
	{GROUP_OFFLINE, GROUP_EV_GIVEN_UP, NEVER, "it has not failed"},

	{GROUP_STARTING, GROUP_EV_START, NEVER, "it would run twice"},
	{GROUP_STARTING, GROUP_EV_STARTED, GROUP_ONLINE, ""},
	{GROUP_STARTING, GROUP_EV_START_FAILED, GROUP_OFFLINE, ""},
	{GROUP_STARTING, GROUP_EV_STOP, GROUP_STOPPING, ""},
	{GROUP_STARTING, GROUP_EV_FAILED, NEVER, "a failed start says START_FAILED"},
	{GROUP_STARTING, GROUP_EV_STOPPED, NEVER, "nobody was asked to stop it"},
	{GROUP_STARTING, GROUP_EV_STOP_FAILED, GROUP_BLOCKED, ""},
	{GROUP_STARTING, GROUP_EV_OWNER_LOST, GROUP_OFFLINE, ""},
	{GROUP_STARTING, GROUP_EV_ADOPTED, NEVER, "it has an owner already"},
	{GROUP_STARTING, GROUP_EV_NOWHERE, NEVER, "it must be stopped first"},
	{GROUP_STARTING, GROUP_EV_GIVEN_UP, NEVER, "it must be stopped first"},

	{GROUP_ONLINE, GROUP_EV_START, NEVER, "it would run twice"},
	{GROUP_ONLINE, GROUP_EV_STARTED, NEVER, "it runs already"},
	{GROUP_ONLINE, GROUP_EV_START_FAILED, NEVER, "its start was done"},
	{GROUP_ONLINE, GROUP_EV_STOP, GROUP_STOPPING, ""},
	{GROUP_ONLINE, GROUP_EV_FAILED, GROUP_STOPPING, ""},
	{GROUP_ONLINE, GROUP_EV_STOPPED, NEVER, "nobody was asked to stop it"},
	{GROUP_ONLINE, GROUP_EV_STOP_FAILED, NEVER, "nobody was asked to stop it"},
	{GROUP_ONLINE, GROUP_EV_OWNER_LOST, GROUP_OFFLINE, ""},
	{GROUP_ONLINE, GROUP_EV_ADOPTED, NEVER, "it has an owner already"},
	{GROUP_ONLINE, GROUP_EV_NOWHERE, NEVER, "it must be stopped first"},
	{GROUP_ONLINE, GROUP_EV_GIVEN_UP, NEVER, "it must be stopped first"},

	{GROUP_STOPPING, GROUP_EV_START, NEVER, "it is not stopped yet"},
	{GROUP_STOPPING, GROUP_EV_STARTED, NEVER, "the stop has overtaken the start"},
	{GROUP_STOPPING, GROUP_EV_START_FAILED, NEVER, "the stop has overtaken the start"},
	{GROUP_STOPPING, GROUP_EV_STOP, NEVER, "it is being stopped"},
	{GROUP_STOPPING, GROUP_EV_FAILED, NEVER, "it is being stopped"},
	{GROUP_STOPPING, GROUP_EV_STOPPED, GROUP_OFFLINE, ""},
	{GROUP_STOPPING, GROUP_EV_STOP_FAILED, GROUP_BLOCKED, ""},
	{GROUP_STOPPING, GROUP_EV_OWNER_LOST, GROUP_OFFLINE, ""},
	{GROUP_STOPPING, GROUP_EV_ADOPTED, NEVER, "it has an owner already"},
	{GROUP_STOPPING, GROUP_EV_NOWHERE, NEVER, "it is not stopped yet"},
	{GROUP_STOPPING, GROUP_EV_GIVEN_UP, NEVER, "it is not stopped yet"},

	{GROUP_FAILED, GROUP_EV_START, GROUP_STARTING, ""},
	{GROUP_FAILED, GROUP_EV_STARTED, NEVER, "nobody was asked to start it"},
	{GROUP_FAILED, GROUP_EV_START_FAILED, NEVER, "nobody was asked to start it"},
	{GROUP_FAILED, GROUP_EV_STOP, NEVER, "there is nothing to stop"},
	{GROUP_FAILED, GROUP_EV_FAILED, NEVER, "what does not run cannot fail"},
	{GROUP_FAILED, GROUP_EV_STOPPED, NEVER, "it has no owner who could say so"},
	{GROUP_FAILED, GROUP_EV_STOP_FAILED, NEVER, "it has no owner who could say so"},
	{GROUP_FAILED, GROUP_EV_OWNER_LOST, NEVER, "it has no owner"},
	{GROUP_FAILED, GROUP_EV_ADOPTED, GROUP_ONLINE, ""},
	{GROUP_FAILED, GROUP_EV_NOWHERE, NEVER, "it is known already"},
	{GROUP_FAILED, GROUP_EV_GIVEN_UP, GROUP_OFFLINE, ""},

	{GROUP_BLOCKED, GROUP_EV_START, NEVER, "it may still run: unknown is never stopped"},
	{GROUP_BLOCKED, GROUP_EV_STARTED, NEVER, "it was to be stopped"},
	{GROUP_BLOCKED, GROUP_EV_START_FAILED, NEVER, "it was to be stopped"},
	{GROUP_BLOCKED, GROUP_EV_STOP, NEVER, "its owner tries again by itself"},
	{GROUP_BLOCKED, GROUP_EV_FAILED, NEVER, "it was to be stopped"},
	{GROUP_BLOCKED, GROUP_EV_STOPPED, GROUP_OFFLINE, ""},
	{GROUP_BLOCKED, GROUP_EV_STOP_FAILED, GROUP_BLOCKED, ""},
	{GROUP_BLOCKED, GROUP_EV_OWNER_LOST, GROUP_OFFLINE, ""},
	{GROUP_BLOCKED, GROUP_EV_ADOPTED, NEVER, "it has an owner already"},
	{GROUP_BLOCKED, GROUP_EV_NOWHERE, NEVER, "it may still run"},
	{GROUP_BLOCKED, GROUP_EV_GIVEN_UP, NEVER, "it may still run"},
};

#define N_ROWS (sizeof(rows) / sizeof(rows[0]))

#define OWNER 2
#define OTHER 5

static bool has_owner(enum group_state state)
{
	return state == GROUP_STARTING || state == GROUP_ONLINE || state == GROUP_STOPPING ||
	       state == GROUP_BLOCKED;
}

static bool is_begin(enum group_event event)
{
	return event == GROUP_EV_START || event == GROUP_EV_ADOPTED;
}

/* With proof that nothing of it runs on the owner. */
static bool is_end(enum group_event event)
{
	return event == GROUP_EV_STOPPED || event == GROUP_EV_START_FAILED ||
	       event == GROUP_EV_OWNER_LOST;
}

/* A group in this state on OWNER, where it has one, with every other field told apart. */
static struct group_rec group_in(enum group_state state)
{
	return (struct group_rec){
		.enabled = true,
		.state = state,
		.owner = has_owner(state) ? OWNER : CORE_NO_NODE,
		.origin = 7,
		.target = 9,
		.restarts = 1,
		.backoff = 3,
		.may_run_on = has_owner(state) ? node_bit(OWNER) : 0,
		.failed_on = node_bit(11),
		.unfit_on = node_bit(12),
		.gen = 41,
		.cause = CAUSE_FAILBACK,
		.cause_node = 13,
	};
}

static void assert_same(const struct group_rec *a, const struct group_rec *b)
{
	assert_int_equal(a->enabled, b->enabled);
	assert_int_equal(a->state, b->state);
	assert_int_equal(a->owner, b->owner);
	assert_int_equal(a->origin, b->origin);
	assert_int_equal(a->target, b->target);
	assert_int_equal(a->restarts, b->restarts);
	assert_int_equal(a->backoff, b->backoff);
	assert_int_equal(a->may_run_on, b->may_run_on);
	assert_int_equal(a->failed_on, b->failed_on);
	assert_int_equal(a->unfit_on, b->unfit_on);
	assert_int_equal(a->gen, b->gen);
	assert_int_equal(a->cause, b->cause);
	assert_int_equal(a->cause_node, b->cause_node);
	assert_ptr_equal(a->problem, b->problem);
}

static void apply(const struct row *row, struct group_rec *group)
{
	bool is_possible = group_apply(group, row->event, OWNER);

	if (is_possible != (row->to != NEVER))
		fail_msg("state %s, event %d (in the order of group.h): %s%s",
			group_state_name(row->from), (int)row->event,
			is_possible ? "must be impossible: " : "must be possible", row->why);
}

static void test_each_pair_is_stated_once(void **test_state)
{
	unsigned seen[GROUP_STATES][GROUP_EVENTS] = {0};

	(void)test_state;
	assert_int_equal(N_ROWS, GROUP_STATES * GROUP_EVENTS);
	for (size_t i = 0; i < N_ROWS; i++) {
		seen[rows[i].from][rows[i].event]++;
		assert_int_equal(rows[i].to == NEVER, rows[i].why[0] != '\0');
	}
	for (unsigned state = 0; state < GROUP_STATES; state++) {
		for (unsigned event = 0; event < GROUP_EVENTS; event++)
			assert_int_equal(seen[state][event], 1);
	}
}

static void test_impossible_pairs_change_nothing(void **test_state)
{
	(void)test_state;
	for (size_t i = 0; i < N_ROWS; i++) {
		struct group_rec before = group_in(rows[i].from), group = before;

		if (rows[i].to != NEVER)
			continue;
		apply(&rows[i], &group);
		assert_same(&group, &before);
	}
}

/* What the event does to each field, from the meaning of the fields (state.h). */
static struct group_rec expected_after(const struct row *row, struct group_rec group)
{
	group.state = row->to;
	group.gen = 42;
	if (is_begin(row->event)) {
		group.owner = OWNER;
		group.may_run_on = node_bit(OWNER);
		group.restarts = 0; /* it was elsewhere before */
	}
	if (is_end(row->event)) {
		group.owner = CORE_NO_NODE;
		group.may_run_on = 0;
	}
	if (row->to == GROUP_ONLINE) {
		group.origin = group.owner;
		group.target = CORE_NO_NODE;
	}
	return group;
}

static void test_possible_pairs(void **test_state)
{
	(void)test_state;
	for (size_t i = 0; i < N_ROWS; i++) {
		struct group_rec group = group_in(rows[i].from), expected;

		if (rows[i].to == NEVER)
			continue;
		expected = expected_after(&rows[i], group);
		apply(&rows[i], &group);
		assert_same(&group, &expected);
		assert_int_equal(has_owner(group.state), group.owner != CORE_NO_NODE);
		if (has_owner(group.state))
			assert_true(group.may_run_on & node_bit(group.owner));
	}
}

/* The proof of one node says nothing of another: only the owner leaves the set. */
static void test_the_end_on_the_owner_leaves_others_in_the_set(void **test_state)
{
	unsigned n = 0;

	(void)test_state;
	for (size_t i = 0; i < N_ROWS; i++) {
		struct group_rec group = group_in(rows[i].from);

		if (rows[i].to == NEVER || !is_end(rows[i].event))
			continue;
		group.may_run_on |= node_bit(OTHER) | node_bit(31);
		assert_true(group_apply(&group, rows[i].event, OWNER));
		assert_int_equal(group.may_run_on, node_bit(OTHER) | node_bit(31));
		assert_false(group_apply(&group, GROUP_EV_START, OWNER));
		n++;
	}
	assert_int_equal(n, 7);
}

/* "Never served twice": any node of the set but the starting one forbids the start. */
static void test_may_start_on(void **test_state)
{
	(void)test_state;
	for (uint8_t node = 0; node < CORE_MAX_NODES; node++) {
		struct group_rec group = group_in(GROUP_OFFLINE);

		assert_true(may_start_on(&group, node));
		group.may_run_on = node_bit(node);
		assert_true(may_start_on(&group, node));
		for (uint8_t other = 0; other < CORE_MAX_NODES; other++) {
			group.may_run_on = node_bit(other);
			assert_int_equal(may_start_on(&group, node), other == node);
			group.may_run_on |= node_bit(node);
			assert_int_equal(may_start_on(&group, node), other == node);
		}
		group.may_run_on = UINT32_MAX;
		assert_false(may_start_on(&group, node));
	}
}

static void test_no_start_while_it_may_run_elsewhere(void **test_state)
{
	static const enum group_state from[] = {GROUP_OFFLINE, GROUP_FAILED};
	static const node_mask held[] = {1u << OTHER, 1u << OTHER | 1u << OWNER};

	(void)test_state;
	for (unsigned i = 0; i < 4; i++) {
		struct group_rec group = group_in(from[i % 2]), before;

		group.may_run_on = held[i / 2];
		before = group;
		assert_false(group_apply(&group, GROUP_EV_START, OWNER));
		assert_same(&group, &before);
		group.may_run_on = node_bit(OWNER);
		assert_true(group_apply(&group, GROUP_EV_START, OWNER));
	}
}

/* The count of restarts is for one place: a new try where it was last online keeps it. */
static void test_restarts_are_counted_in_place(void **test_state)
{
	struct group_rec group = group_in(GROUP_OFFLINE);

	(void)test_state;
	group.origin = OWNER;
	assert_true(group_apply(&group, GROUP_EV_START, OWNER));
	assert_int_equal(group.restarts, 1);
	group = group_in(GROUP_OFFLINE);
	group.origin = OTHER;
	assert_true(group_apply(&group, GROUP_EV_START, OWNER));
	assert_int_equal(group.restarts, 0);
}

/* A target is for one move: reached, it is gone. */
static void test_nothing_is_left_of_a_move(void **test_state)
{
	struct group_rec group = group_in(GROUP_ONLINE);

	(void)test_state;
	group.target = OTHER;
	assert_true(group_apply(&group, GROUP_EV_STOP, OWNER));
	assert_true(group_apply(&group, GROUP_EV_STOPPED, OWNER));
	assert_int_equal(group.target, OTHER);
	assert_true(group_apply(&group, GROUP_EV_START, OTHER));
	assert_int_equal(group.target, OTHER);
	assert_true(group_apply(&group, GROUP_EV_STARTED, OTHER));
	assert_int_equal(group.target, CORE_NO_NODE);
	assert_int_equal(group.origin, OTHER);
	assert_int_equal(group.owner, OTHER);
	assert_int_equal(group.may_run_on, node_bit(OTHER));
	assert_int_equal(group.gen, 45);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_pair_is_stated_once),
		cmocka_unit_test(test_impossible_pairs_change_nothing),
		cmocka_unit_test(test_possible_pairs),
		cmocka_unit_test(test_the_end_on_the_owner_leaves_others_in_the_set),
		cmocka_unit_test(test_may_start_on),
		cmocka_unit_test(test_no_start_while_it_may_run_elsewhere),
		cmocka_unit_test(test_restarts_are_counted_in_place),
		cmocka_unit_test(test_nothing_is_left_of_a_move),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
