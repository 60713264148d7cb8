/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What `clusterctl check` says against what was measured on three nodes: a dead node left the ring
 * after 2.03-2.20 s (token 1000 ms), 0.62-0.66 s (300), 0.42 s (200).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "clusterctl/takeover.h"

/* corosync's own arithmetic for what is not configured. */
static struct takeover_facts facts_of_token(int64_t token_ms)
{
	return (struct takeover_facts){
		.token_ms = token_ms,
		.consensus_ms = token_ms * 6 / 5,
		.hold_ms = token_ms * 10 / 42 * 4 / 5 - 10,
		.token_retransmits = 4,
		.knet_ping_interval_ms = 200,
		.knet_ping_timeout_ms = 600,
		.expected_votes = 3,
		.n_nodes = 3,
		.encrypted = true,
	};
}

static void test_measured(void **state)
{
	static const struct {
		int64_t token_ms, min_ms, max_ms; /* measured */
	} table[] = {{1000, 2030, 2200}, {300, 620, 660}, {200, 420, 420}};

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct takeover_facts facts = facts_of_token(table[i].token_ms);
		struct takeover_estimate estimate = takeover_estimate(&facts);

		assert_in_range(table[i].min_ms, estimate.ring_min_ms, estimate.ring_max_ms);
		assert_in_range(table[i].max_ms, estimate.ring_min_ms, estimate.ring_max_ms);
		/* and it's no guess that would hold anything */
		assert_true(estimate.ring_max_ms - estimate.ring_min_ms < table[i].token_ms / 5);
	}
}

static void test_limit(void **state)
{
	struct takeover_facts facts = facts_of_token(500);
	int64_t limit_ms = takeover_estimate(&facts).token_limit_ms;

	(void)state;
	assert_true(takeover_estimate(&facts).is_met);
	facts = facts_of_token(1000);
	assert_false(takeover_estimate(&facts).is_met);
	assert_in_range(limit_ms, 800, 900);
	facts = facts_of_token(limit_ms);
	assert_true(takeover_estimate(&facts).is_met);
	facts = facts_of_token(limit_ms + 2);
	assert_false(takeover_estimate(&facts).is_met);
	facts = (struct takeover_facts){0}; /* nothing known is not good */
	assert_false(takeover_estimate(&facts).is_met);
}

/* Exactly one warning, that has this in it; NULL: none. */
static void expect_warning(const struct takeover_facts *facts, const char *part)
{
	char warnings[TAKEOVER_WARNINGS_MAX][TAKEOVER_WARNING_SIZE];
	size_t n = takeover_warnings(facts, warnings);

	assert_int_equal(n, part ? 1 : 0);
	if (part)
		assert_non_null(strstr(warnings[0], part));
}

static void test_warnings(void **state)
{
	char warnings[TAKEOVER_WARNINGS_MAX][TAKEOVER_WARNING_SIZE];
	struct takeover_facts facts = facts_of_token(500);

	(void)state;
	expect_warning(&facts, NULL);
	facts.encrypted = false;
	expect_warning(&facts, "neither encrypted");
	facts = facts_of_token(500);
	facts.two_node = true;
	expect_warning(&facts, "two_node");
	facts = facts_of_token(500);
	facts.n_nodes = facts.expected_votes = 2;
	expect_warning(&facts, "2 nodes: ");
	facts = facts_of_token(500);
	facts.expected_votes = 2;
	expect_warning(&facts, "expects 2 votes");
	facts = facts_of_token(500);
	facts.expected_votes = 4; /* a quorum device has one */
	expect_warning(&facts, NULL);
	facts = facts_of_token(500 + 650);
	expect_warning(&facts, "token_coefficient: 0");
	facts = facts_of_token(3000 + 2 * 650);
	facts.n_nodes = facts.expected_votes = 4;
	expect_warning(&facts, "looks like token 3000 ms");
	facts = facts_of_token(500);
	facts.consensus_ms = 590;
	expect_warning(&facts, "1.2 x token");
	facts = facts_of_token(300);
	facts.knet_ping_interval_ms = 75; /* what corosync derives */
	facts.knet_ping_timeout_ms = 150;
	expect_warning(&facts, "knet_ping_timeout: 600");
	facts.knet_ping_interval_ms = facts.knet_ping_timeout_ms = 600;
	expect_warning(&facts, "is not less than");
	facts.knet_ping_interval_ms = facts.knet_ping_timeout_ms = 0; /* not known */
	expect_warning(&facts, NULL);
	facts = (struct takeover_facts){
		.token_ms = 1150, .n_nodes = 3, .two_node = true, .knet_ping_timeout_ms = 1};
	assert_int_equal(takeover_warnings(&facts, warnings), 6);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_measured),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_warnings),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
