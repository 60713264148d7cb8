/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How long a dead node's groups are down, from corosync's running values. Pure arithmetic.
 *
 * A node dies at any moment of the token's round. The others declare the token lost `token` after
 * they last had it, which on an idle ring is up to `hold` before the death; then they wait
 * `consensus` for the dead node's word before they form a ring without it. So the ring is there
 * token + consensus - hold to token + consensus after the death. Measured on three nodes: token
 * 1000: 2.03-2.20 s, 300: 0.62-0.66 s, 200: 0.42 s; that is what this gives.
 */
#ifndef CLUSTERCTL_TAKEOVER_H
#define CLUSTERCTL_TAKEOVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TAKEOVER_LIMIT_MS 2000
#define TAKEOVER_OWN_MIN_MS 5 /* ring formed, decided, address set and announced */
#define TAKEOVER_OWN_MAX_MS 60
#define TAKEOVER_WARNING_SIZE 512
#define TAKEOVER_WARNINGS_MAX 8

/* The answer to "facts" of the control protocol. */
struct takeover_facts {
	int64_t token_ms, consensus_ms, hold_ms;
	int64_t token_retransmits;
	int64_t knet_ping_interval_ms, knet_ping_timeout_ms; /* 0: not known */
	int64_t expected_votes, n_nodes;
	bool two_node, encrypted;
};

struct takeover_estimate {
	int64_t ring_min_ms, ring_max_ms; /* from the death to the new ring */
	int64_t min_ms, max_ms;           /* to the address announced */
	int64_t token_limit_ms; /* the longest token that meets the limit, same consensus / token */
	bool is_met;
};

struct takeover_estimate takeover_estimate(const struct takeover_facts *facts);

/* What else is not as it should be, for people. Returns how many. */
size_t takeover_warnings(const struct takeover_facts *facts,
	char ret_warnings[static TAKEOVER_WARNINGS_MAX][TAKEOVER_WARNING_SIZE]);

#endif
