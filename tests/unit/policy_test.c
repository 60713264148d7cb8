/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where each group should be: every rule of policy.h in its order, ties, and what bars a node. The
 * time for the largest cluster is printed and not judged: it hangs on the machine.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "clusterd/core/policy.h"
#include "tests/unit/core_fixture.h"

/* Three nodes, all online; group 0 prefers n2, then n3; groups 1 to 3 prefer none. */
struct stage {
	struct core_config *config;
	struct core_state state;
};

static int stage_set(void **ret_stage)
{
	static const struct fx_group groups[] = {
		{.name = "web", .preferred = "23", .resources = "web-ip"},
		{.name = "a", .resources = "a-ip"},
		{.name = "b", .resources = "b-ip"},
		{.name = "c", .resources = "c-ip"},
		{.name = NULL},
	};
	struct stage *stage = calloc(1, sizeof(*stage));

	if (!stage)
		return -1;
	stage->config = fx_config(3, groups);
	if (state_init(&stage->state, stage->config) < 0)
		return -1;
	for (unsigned i = 0; i < 3; i++)
		stage->state.nodes[i].state = NODE_ONLINE;
	*ret_stage = stage;
	return 0;
}

static int stage_strike(void **test_state)
{
	struct stage *stage = *test_state;

	state_fini(&stage->state);
	fx_config_free(stage->config);
	free(stage);
	return 0;
}

static void put(struct stage *stage, uint32_t group, enum group_state state, uint8_t owner)
{
	stage->state.groups[group].state = state;
	stage->state.groups[group].owner = owner;
	stage->state.groups[group].may_run_on = node_bit(owner);
}

static struct policy_choice choose(const struct stage *stage, uint32_t group)
{
	struct policy_load load;

	policy_load_init(&load, &stage->state);
	return policy_choose(stage->config, &stage->state, &load, group);
}

static void assert_choice(struct policy_choice choice, uint8_t node, enum policy_reason reason)
{
	assert_int_equal(choice.node, node);
	assert_int_equal(choice.reason, reason);
}

static void test_set_offline_comes_before_all(void **test_state)
{
	struct stage *stage = *test_state;
	struct group_rec *web = &stage->state.groups[0];

	put(stage, 0, GROUP_ONLINE, 1);
	web->target = 2;
	web->enabled = false;
	assert_choice(choose(stage, 0), CORE_NO_NODE, POLICY_SET_OFFLINE);
}

static void test_a_move_goes_to_its_target(void **test_state)
{
	struct stage *stage = *test_state;
	struct group_rec *web = &stage->state.groups[0];

	put(stage, 0, GROUP_ONLINE, 1);
	web->target = 0; /* no preferred owner, and it runs elsewhere: the order counts */
	assert_choice(choose(stage, 0), 0, POLICY_MOVING);
	put(stage, 0, GROUP_STOPPING, 1);
	assert_choice(choose(stage, 0), 0, POLICY_MOVING);
}

static void test_a_target_that_cannot_is_passed_over(void **test_state)
{
	struct stage *stage = *test_state;
	struct group_rec *web = &stage->state.groups[0];

	put(stage, 0, GROUP_ONLINE, 1);
	web->target = 0;
	stage->state.nodes[0].state = NODE_LEAVING;
	assert_choice(choose(stage, 0), 1, POLICY_STAYS);
	stage->state.nodes[0].state = NODE_ONLINE;
	web->failed_on = node_bit(0);
	assert_choice(choose(stage, 0), 1, POLICY_STAYS);
	web->failed_on = 0;
	web->unfit_on = node_bit(0);
	assert_choice(choose(stage, 0), 1, POLICY_STAYS);
}

static void test_what_runs_stays(void **test_state)
{
	struct stage *stage = *test_state;

	put(stage, 0, GROUP_ONLINE, 0); /* though two preferred owners are there */
	assert_choice(choose(stage, 0), 0, POLICY_STAYS);
	put(stage, 0, GROUP_STARTING, 0);
	assert_choice(choose(stage, 0), 0, POLICY_STAYS);
}

/* A group that is being stopped, or may still run, has no place to stay at. */
static void test_what_stops_does_not_stay(void **test_state)
{
	struct stage *stage = *test_state;

	put(stage, 0, GROUP_STOPPING, 0);
	assert_choice(choose(stage, 0), 1, POLICY_PREFERRED);
	put(stage, 0, GROUP_BLOCKED, 0);
	assert_choice(choose(stage, 0), 1, POLICY_PREFERRED);
}

static void test_an_owner_that_cannot_is_left(void **test_state)
{
	static const enum node_state bad[] = {
		NODE_OFFLINE, NODE_JOINING, NODE_DIFFERS, NODE_LEAVING, NODE_LOST};
	struct stage *stage = *test_state;

	put(stage, 0, GROUP_ONLINE, 1);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		stage->state.nodes[1].state = bad[i];
		assert_choice(choose(stage, 0), 2, POLICY_PREFERRED);
	}
	stage->state.nodes[1].state = NODE_ONLINE;
	stage->state.groups[0].failed_on = node_bit(1);
	assert_choice(choose(stage, 0), 2, POLICY_PREFERRED);
	stage->state.groups[0].failed_on = 0;
	stage->state.groups[0].unfit_on = node_bit(1);
	assert_choice(choose(stage, 0), 2, POLICY_PREFERRED);
}

static void test_preferred_owners_in_their_order(void **test_state)
{
	struct stage *stage = *test_state;
	struct group_rec *web = &stage->state.groups[0];

	put(stage, 1, GROUP_ONLINE, 1); /* load does not matter among preferred owners */
	put(stage, 2, GROUP_ONLINE, 1);
	assert_choice(choose(stage, 0), 1, POLICY_PREFERRED);
	web->failed_on = node_bit(1);
	assert_choice(choose(stage, 0), 2, POLICY_PREFERRED);
	web->failed_on = 0;
	web->unfit_on = node_bit(1);
	assert_choice(choose(stage, 0), 2, POLICY_PREFERRED);
	web->failed_on = node_bit(2);
	assert_choice(choose(stage, 0), 0, POLICY_ANY);
}

static void test_the_least_loaded_of_the_rest(void **test_state)
{
	struct stage *stage = *test_state;

	put(stage, 0, GROUP_ONLINE, 0);
	put(stage, 1, GROUP_STARTING, 1);
	assert_choice(choose(stage, 3), 2, POLICY_ANY);
	put(stage, 2, GROUP_ONLINE, 2);
	assert_choice(choose(stage, 3), 0, POLICY_ANY); /* one each: the first of the config */
	stage->state.groups[3].failed_on = node_bit(0);
	assert_choice(choose(stage, 3), 1, POLICY_ANY);
}

/* Only what a node runs or is about to run is its load. */
static void test_what_counts_as_load(void **test_state)
{
	struct stage *stage = *test_state;
	struct policy_load load;

	put(stage, 0, GROUP_STARTING, 0);
	put(stage, 1, GROUP_ONLINE, 0);
	put(stage, 2, GROUP_STOPPING, 1);
	put(stage, 3, GROUP_BLOCKED, 2);
	policy_load_init(&load, &stage->state);
	assert_int_equal(load.groups[0], 2);
	assert_int_equal(load.groups[1], 0);
	assert_int_equal(load.groups[2], 0);
}

static void test_no_node(void **test_state)
{
	struct stage *stage = *test_state;
	struct group_rec *web = &stage->state.groups[0];

	web->failed_on = node_bit(0) | node_bit(1);
	web->unfit_on = node_bit(2);
	assert_choice(choose(stage, 0), CORE_NO_NODE, POLICY_NO_NODE);
	web->failed_on = web->unfit_on = 0;
	for (unsigned i = 0; i < 3; i++)
		stage->state.nodes[i].state = NODE_OFFLINE;
	assert_choice(choose(stage, 0), CORE_NO_NODE, POLICY_NO_NODE);
}

/* The nodes of a state that is being carried over may be fewer than a mask or a target names. */
static void test_a_node_out_of_range_may_run_nothing(void **test_state)
{
	struct stage *stage = *test_state;

	assert_true(policy_may_run(&stage->state, 0, 2));
	assert_false(policy_may_run(&stage->state, 0, 3));
	assert_false(policy_may_run(&stage->state, 0, CORE_NO_NODE));
}

/* A start of everything: each choice is load for the next, so the groups spread. */
static void test_decide_spreads(void **test_state)
{
	struct stage *stage = *test_state;
	struct policy_choice choices[4];

	policy_decide(stage->config, &stage->state, choices);
	assert_choice(choices[0], 1, POLICY_PREFERRED);
	assert_choice(choices[1], 0, POLICY_ANY);
	assert_choice(choices[2], 2, POLICY_ANY);
	assert_choice(choices[3], 0, POLICY_ANY);
}

/* What a node is left with counts once: a group that stays is not counted again. */
static void test_decide_counts_what_stays_once(void **test_state)
{
	struct stage *stage = *test_state;
	struct policy_choice choices[4];

	put(stage, 0, GROUP_ONLINE, 0);
	put(stage, 1, GROUP_ONLINE, 1);
	put(stage, 2, GROUP_ONLINE, 1);
	stage->state.nodes[2].state = NODE_OFFLINE;
	policy_decide(stage->config, &stage->state, choices);
	assert_choice(choices[0], 0, POLICY_STAYS);
	assert_choice(choices[3], 0, POLICY_ANY);
}

static void test_best_looks_past_the_owner(void **test_state)
{
	struct stage *stage = *test_state;
	struct policy_load load;

	put(stage, 0, GROUP_ONLINE, 1);
	policy_load_init(&load, &stage->state);
	assert_int_equal(policy_best(stage->config, &stage->state, &load, 0, 0), 1);
	assert_int_equal(policy_best(stage->config, &stage->state, &load, 0, node_bit(1)), 2);
	assert_int_equal(
		policy_best(stage->config, &stage->state, &load, 0, node_bit(1) | node_bit(2)), 0);
	assert_int_equal(policy_best(stage->config, &stage->state, &load, 0, 7), CORE_NO_NODE);
}

static void test_rank(void **test_state)
{
	const struct stage *stage = *test_state;

	assert_int_equal(policy_rank(&stage->config->groups[0], 1), 0);
	assert_int_equal(policy_rank(&stage->config->groups[0], 2), 1);
	assert_int_equal(policy_rank(&stage->config->groups[0], 0), 2);
	assert_int_equal(policy_rank(&stage->config->groups[1], 0), 0);
}

static void test_each_reason_has_its_words(void **test_state)
{
	(void)test_state;
	for (unsigned i = 0; i < POLICY_REASONS; i++) {
		assert_non_null(policy_reason_text(i));
		for (unsigned j = 0; j < i; j++)
			assert_string_not_equal(policy_reason_text(i), policy_reason_text(j));
	}
}

#define BIG_GROUPS 10000

/* 32 nodes, every group prefers four of them, a node has just gone. */
static void big_make(struct core_config *config, struct core_state *state)
{
	*config = (struct core_config){.n_nodes = 32, .n_groups = BIG_GROUPS};
	config->groups = calloc(BIG_GROUPS, sizeof(*config->groups));
	assert_non_null(config->groups);
	assert_int_equal(state_init(state, config), 0);
	for (unsigned i = 0; i < 32; i++)
		state->nodes[i].state = i == 7 ? NODE_OFFLINE : NODE_ONLINE;
	for (unsigned i = 0; i < BIG_GROUPS; i++) {
		bool is_orphan = i % 32 == 7;

		config->groups[i].n_preferred = i % 2 ? 4 : 0;
		for (unsigned j = 0; j < 4; j++)
			config->groups[i].preferred[j] = (uint8_t)((i + 5 * j) % 32);
		state->groups[i].state = is_orphan ? GROUP_OFFLINE : GROUP_ONLINE;
		state->groups[i].owner = is_orphan ? CORE_NO_NODE : (uint8_t)(i % 32);
	}
}

static double elapsed_ms(struct timespec from)
{
	struct timespec to;

	clock_gettime(CLOCK_MONOTONIC, &to);
	return (double)(to.tv_sec - from.tv_sec) * 1e3 + (double)(to.tv_nsec - from.tv_nsec) / 1e6;
}

static void test_largest_cluster_is_decided_alike_each_time(void **test_state)
{
	struct policy_choice *first = calloc(BIG_GROUPS, sizeof(*first));
	struct policy_choice *again = calloc(BIG_GROUPS, sizeof(*again));
	struct core_config config;
	struct core_state state;
	struct timespec begin;
	double worst_ms = 0;

	(void)test_state;
	assert_non_null(first);
	assert_non_null(again);
	big_make(&config, &state);
	policy_decide(&config, &state, first);
	for (unsigned run = 0; run < 20; run++) {
		double ms;

		clock_gettime(CLOCK_MONOTONIC, &begin);
		policy_decide(&config, &state, again);
		ms = elapsed_ms(begin);
		worst_ms = ms > worst_ms ? ms : worst_ms;
		for (unsigned i = 0; i < BIG_GROUPS; i++)
			assert_choice(again[i], first[i].node, first[i].reason);
	}
	for (unsigned i = 0; i < BIG_GROUPS; i++) {
		assert_int_not_equal(first[i].node, 7);
		assert_int_not_equal(first[i].node, CORE_NO_NODE);
		if (i % 32 != 7)
			assert_choice(first[i], (uint8_t)(i % 32), POLICY_STAYS);
	}
	printf("# 32 nodes, %d groups: decided in %.2f ms at most (goal: 10 ms)\n", BIG_GROUPS,
		worst_ms);
	state_fini(&state);
	free(config.groups);
	free(first);
	free(again);
}

#define ON_STAGE(test) cmocka_unit_test_setup_teardown(test, stage_set, stage_strike)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		ON_STAGE(test_set_offline_comes_before_all),
		ON_STAGE(test_a_move_goes_to_its_target),
		ON_STAGE(test_a_target_that_cannot_is_passed_over),
		ON_STAGE(test_what_runs_stays),
		ON_STAGE(test_what_stops_does_not_stay),
		ON_STAGE(test_an_owner_that_cannot_is_left),
		ON_STAGE(test_preferred_owners_in_their_order),
		ON_STAGE(test_the_least_loaded_of_the_rest),
		ON_STAGE(test_what_counts_as_load),
		ON_STAGE(test_no_node),
		ON_STAGE(test_a_node_out_of_range_may_run_nothing),
		ON_STAGE(test_decide_spreads),
		ON_STAGE(test_decide_counts_what_stays_once),
		ON_STAGE(test_best_looks_past_the_owner),
		ON_STAGE(test_rank),
		cmocka_unit_test(test_each_reason_has_its_words),
		cmocka_unit_test(test_largest_cluster_is_decided_alike_each_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
