/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One core under a test's hands: every event is given by hand, time moves only when the test moves
 * it, and every effect is kept as one line of a story that the test compares.
 *
 * Lines: "send TYPE", "start GROUP/RESOURCE" (stop, cancel, adopt), "timer NAME AT_MS" (0: off),
 * "note TEXT", "reply ID CODE: TEXT", "record GROUP online|failed", "save", "switch", "compare",
 * "left". Used by policy_test and by core_admin_test, core_join_test, core_local_test,
 * core_pair_test and core_test.
 */
#ifndef TESTS_UNIT_CORE_FIXTURE_H
#define TESTS_UNIT_CORE_FIXTURE_H

#include "clusterd/core/core.h"
#include "clusterd/core/message.h"

struct fx_group {
	const char *name;
	const char *preferred; /* "21": n2, then n1 */
	const char *resources; /* words; one that ends in "*" is pipelined */
	bool failback;
};

/* Nodes n1, n2, … with nodeids 1, 2, …; groups end with a NULL name. To be freed by fx_config_free.
 */
struct core_config *fx_config(unsigned n_nodes, const struct fx_group *groups);
void fx_config_free(struct core_config *config);

#define FX_SENT_MAX 256
#define FX_STORY_SIZE (256u << 10)

struct fx_message {
	void *data;
	size_t len;
};

struct fx {
	struct core_config *config;
	struct core *core;
	uint32_t nodeid;
	int64_t now_us;
	uint64_t ring_seq;
	struct core_effects effects;         /* of the latest step */
	struct fx_message sent[FX_SENT_MAX]; /* own messages, not delivered yet, oldest first */
	unsigned n_sent;
	char *story, *lines; /* FX_STORY_SIZE each */
	size_t story_len;
};

/* holdoff 3 s; incarnation of node i: 100 * i, as that of every message made by hand. */
void fx_init(struct fx *fx, struct core_config *config, uint32_t nodeid);
void fx_init_saved(struct fx *fx, struct core_config *config, uint32_t nodeid,
	uint64_t saved_version, const bool *offline);
void fx_fini(struct fx *fx);
/* For a test's own setup and teardown: n1 of three nodes, allocated, its config too. */
struct fx *fx_given(void **ret_state, const struct fx_group *groups);
int fx_strike(void **state);
int fx_online(void **ret_state, const struct fx_group *groups); /* and all that n1 got is up */

void fx_event(struct fx *fx, struct core_event event);
/* A new ring of these nodeids, bit 0: nodeid 1. machines: in the ring, daemon or not. */
void fx_view(struct fx *fx, node_mask daemons, node_mask fresh, node_mask machines);
void fx_quorum(struct fx *fx, bool quorate);
void fx_bytes(struct fx *fx, uint32_t nodeid, const void *data, size_t len);
/* As that node would send it: incarnation and config_digest are filled in where they are 0. */
void fx_message(struct fx *fx, uint32_t nodeid, struct msg msg);
void fx_hello(struct fx *fx, uint32_t nodeid, uint32_t hello_seq);
/* Delivers what the core sent, in order, and what it then sends, until nothing is left. */
void fx_own(struct fx *fx);
void fx_exchange(struct fx *a, struct fx *b); /* likewise, between two: all to both */
void fx_own_lost(struct fx *fx);              /* what it sent reaches nobody */
void fx_timer(struct fx *fx, enum core_timer timer);
/* Seconds pass, with a tick at the end of each. */
void fx_seconds(struct fx *fx, unsigned seconds);
void fx_done(struct fx *fx, const char *resource, enum core_op op, int rc, const char *text);
void fx_admin(struct fx *fx, uint64_t id, enum core_verb verb, const char *name, const char *to,
	bool wait);
void fx_simple(struct fx *fx, enum core_event_type type); /* CORE_EV_LEAVE, CORE_EV_LOST */
void fx_resource(struct fx *fx, enum core_event_type type, const char *resource, bool unfit,
	const char *text);

/* All nodes of the config are there, quorate, and have just formed the cluster. Only where the core
 * is the node that forms it: the lowest. */
void fx_form(struct fx *fx);
/* Every operation that the core has asked for since fx_forget ends well, and so does what it asks
 * for then, until nothing is under way. The others hear of it. */
void fx_all_done(struct fx *fx);

/* The story's lines that begin with the word ("note "), without it; of several words, parted by
 * "|", the whole lines. Valid until the next call. fx_forget ends what was told so far. */
const char *fx_lines(struct fx *fx, const char *words);
void fx_forget(struct fx *fx);
/* Among what was told: the timer was armed for so much later than now; 0: it was disarmed. */
void fx_assert_timer(struct fx *fx, const char *timer, int64_t after_ms);
void fx_assert_said(struct fx *fx, const char *words, const char *expected); /* and forget */

const struct group_rec *fx_group_rec(const struct fx *fx, uint32_t group);
/* Digest of the replicated state without its count of events. */
uint64_t fx_digest(const struct fx *fx);

#endif
