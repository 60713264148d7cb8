/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How long a dead node's groups are down, and what makes corosync's settings unsafe. Pure; called
 * by check.c and the unit tests.
 */
#include "clusterctl/takeover.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#define KNET_TICK_MS 200         /* knet looks at its links so often */
#define TOKEN_COEFFICIENT_MS 650 /* corosync's default, for each node above two */
#define TOKEN_STEP_MS 500        /* configured tokens are multiples of it, mostly */

struct takeover_estimate takeover_estimate(const struct takeover_facts *facts)
{
	struct takeover_estimate estimate;
	int64_t ring_ms = facts->token_ms + facts->consensus_ms;

	estimate.ring_max_ms = ring_ms;
	estimate.ring_min_ms = ring_ms > facts->hold_ms ? ring_ms - facts->hold_ms : 0;
	estimate.min_ms = estimate.ring_min_ms + TAKEOVER_OWN_MIN_MS;
	estimate.max_ms = estimate.ring_max_ms + TAKEOVER_OWN_MAX_MS;
	estimate.token_limit_ms = ring_ms > 0 ? (TAKEOVER_LIMIT_MS - 1 - TAKEOVER_OWN_MAX_MS) *
							facts->token_ms / ring_ms
					      : 0;
	estimate.is_met = ring_ms > 0 && estimate.max_ms < TAKEOVER_LIMIT_MS;
	return estimate;
}

struct warnings {
	char (*texts)[TAKEOVER_WARNING_SIZE];
	size_t n;
};

static void __attribute__((format(printf, 2, 3)))
warn(struct warnings *warnings, const char *fmt, ...)
{
	va_list args;

	if (warnings->n == TAKEOVER_WARNINGS_MAX)
		return;
	va_start(args, fmt);
	vsnprintf(warnings->texts[warnings->n++], TAKEOVER_WARNING_SIZE, fmt, args);
	va_end(args);
}

static void warn_token(const struct takeover_facts *facts, struct warnings *warnings)
{
	int64_t added_ms = (facts->n_nodes - 2) * TOKEN_COEFFICIENT_MS;
	int64_t base_ms = facts->token_ms - added_ms;

	if (added_ms > 0 && base_ms > 0 && base_ms % TOKEN_STEP_MS == 0)
		warn(warnings,
			"the running token of %" PRId64 " ms looks like token %" PRId64
			" ms plus corosync's token_coefficient of %d ms for each node above two: "
			"write 'token_coefficient: 0' in corosync.conf, so that the token is what "
			"the file says, also when a node is added",
			facts->token_ms, base_ms, TOKEN_COEFFICIENT_MS);
	if (facts->consensus_ms * 5 < facts->token_ms * 6)
		warn(warnings,
			"consensus %" PRId64 " ms is less than 1.2 x token (%" PRId64
			" ms): rings may form and break again; leave 'consensus' out of "
			"corosync.conf",
			facts->consensus_ms, facts->token_ms * 6 / 5);
}

static void warn_knet(const struct takeover_facts *facts, struct warnings *warnings)
{
	if (facts->knet_ping_timeout_ms > 0 && facts->knet_ping_timeout_ms < 2 * KNET_TICK_MS)
		warn(warnings,
			"knet_ping_timeout is %" PRId64
			" ms, but knet looks at its links only each %d ms: links, and with them "
			"the ring, break at any load; write 'knet_ping_interval: 200' and "
			"'knet_ping_timeout: 600' in each interface of totem (a token below 400 ms "
			"gives such a time-out by default)",
			facts->knet_ping_timeout_ms, KNET_TICK_MS);
	else if (facts->knet_ping_timeout_ms > 0 &&
		 facts->knet_ping_interval_ms >= facts->knet_ping_timeout_ms)
		warn(warnings,
			"knet_ping_interval (%" PRId64
			" ms) is not less than knet_ping_timeout (%" PRId64
			" ms): each link breaks again and again; write 200 and 600",
			facts->knet_ping_interval_ms, facts->knet_ping_timeout_ms);
}

size_t takeover_warnings(const struct takeover_facts *facts,
	char ret_warnings[static TAKEOVER_WARNINGS_MAX][TAKEOVER_WARNING_SIZE])
{
	struct warnings warnings = {.texts = ret_warnings};

	warn_token(facts, &warnings);
	warn_knet(facts, &warnings);
	if (facts->two_node)
		warn(&warnings,
			"quorum.two_node is on: when the link between the nodes is cut, both stay "
			"quorate and both serve; take it out of corosync.conf, and add a third "
			"node "
			"or a quorum device");
	if (facts->n_nodes < 3)
		warn(&warnings,
			"%" PRId64 " node%s: a cluster can lose a node and stay quorate only with "
			"three or more, or with a quorum device",
			facts->n_nodes, facts->n_nodes == 1 ? "" : "s");
	if (!facts->encrypted)
		warn(&warnings,
			"corosync's traffic is neither encrypted nor authenticated: anybody on the "
			"network can stop the cluster; 'clusterctl corosync-conf' writes a config "
			"with "
			"crypto_cipher, crypto_hash and the key");
	if (facts->expected_votes < facts->n_nodes)
		warn(&warnings,
			"votequorum expects %" PRId64 " votes, but there are %" PRId64
			" nodes: with fewer votes expected than there are, two halves can be "
			"quorate; "
			"take 'expected_votes' out of corosync.conf",
			facts->expected_votes, facts->n_nodes);
	return warnings.n;
}
