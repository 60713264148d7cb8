/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A small deterministic world for cores: machines, their daemons, a bus that behaves like corosync,
 * resources with a ground truth of what runs where, and virtual time.
 *
 * Nothing happens by itself: the caller breaks and mends things, then lets time pass. After every
 * event the invariants of check.c are looked at; the first one broken is kept in `violation`. Used
 * by the scenario runner and by the simulator; it knows nothing of the daemon but the core.
 */
#ifndef TESTS_SIM_WORLD_H
#define TESTS_SIM_WORLD_H

#include "clusterd/core/core.h"

struct world;
struct item;

struct world_op_result {
	int64_t took_us;
	int rc;
	const char *text;
};

/* What the world asks its owner. All but `log` may be NULL. */
struct world_ops {
	void (*log)(void *ctx, int node, bool is_replicated, const char *text);
	void (*difference)(void *ctx, int node, const char *theirs, char *ret_text, size_t size);
	/* How an operation ends, asked when it begins. */
	struct world_op_result (*op)(
		void *ctx, int node, const char *group, const char *resource, enum core_op op);
	/* Added to a message's or notification's time of delivery; 0 without. */
	int64_t (*jitter)(void *ctx, int64_t max_us);
	/* The token is lost: is this message still ordered in the old ring, for whoever sees the
	 * sender? At times that is the sender alone. */
	bool (*is_recovered)(void *ctx, int node);
};

enum truth_state { TRUTH_STOPPED, TRUTH_STARTING, TRUTH_RUNNING, TRUTH_STOPPING };

/* A resource on a node, by names: a new config moves indices. */
struct truth {
	char group[CORE_NAME_SIZE], resource[CORE_NAME_SIZE];
	enum truth_state state;
	bool is_serving; /* something of it is there; only a stop that worked ends that */
	bool is_excused; /* a start elsewhere was allowed despite it, see check.c */
	bool is_left;    /* by a daemon that was killed or frozen, and not taken up again */
	int64_t left_us; /* since when */
	uint64_t op;     /* under way, 0: none */
};

struct machine {
	char name[CORE_NAME_SIZE];
	bool is_on;
	int side; /* machines of one side see each other */

	bool has_daemon, is_frozen;
	uint32_t instance; /* of the daemon; 0: never */
	int64_t thawed_us, last_sent_us;
	int64_t last_view_us; /* inbox order */
	int64_t last_quorum_us;
	struct core *core;
	const struct core_config *config, *loaded;
	struct core_effects effects;
	int64_t timer_us[CORE_TIMERS];

	uint64_t saved_version;
	char (*saved_offline)[CORE_NAME_SIZE];
	uint32_t n_saved;

	/* The bus: the ring it is in, who was in the last view that was put on its way to it. */
	uint64_t ring_seq;
	uint32_t ring_nodeid;
	int torn_side; /* 0: the ring is not torn, see bus.c */
	bool had_token;
	bool is_in_group, is_change_pending;
	bool is_deaf; /* corosync went away under the daemon, which has not been restarted since */
	uint32_t seen_instance[CORE_MAX_NODES]; /* 0: not in the view */
	struct item *outbox, **outbox_end;      /* held while the token is lost */
	uint32_t n_outbox;
	struct item *backlog, **backlog_end; /* what came while the daemon was frozen */

	/* As delivered to the core, for the checks. */
	struct core_view view;
	struct ring_id quorum_ring;
	bool quorum, was_member;
	uint64_t history;

	struct truth *truths;
	uint32_t n_truths;
};

struct world {
	/* Settings; world_init gives the defaults. */
	int64_t latency_us, jitter_us, quorum_delay_us; /* negative: quorum comes before the view */
	int64_t loss_delay_us, join_delay_us; /* from a fault, from a new link, to the ring */
	int64_t op_us;
	uint32_t holdoff_ms;
	bool is_verbose;     /* log operations too */
	bool is_half_enough; /* each side of two keeps quorum */

	const struct world_ops *ops;
	void *ctx;

	int64_t now_us, cut_us; /* cut_us: of the latest loss of a link or a machine */
	uint64_t seq, ring_seq, op_seq;
	uint32_t instance_seq;
	uint32_t n_machines;
	struct machine machines[CORE_MAX_NODES];
	struct item **heap;
	uint32_t n_heap, heap_size;
	bool had_two_quorate; /* at the same time: their histories differ */
	uint64_t n_events;

	/* Digests seen by (history, ring, version): a cluster formed anew begins a history. */
	uint64_t history;
	struct digest_seen {
		uint64_t history, ring_seq, version, digest;
		int node;
	} * digests;

	char violation[512]; /* empty: none */
};

/* Machines off, all with this config, borrowed (nodeids are i + 1). */
void world_init(struct world *world, const struct core_config *config, const struct world_ops *ops,
	void *ctx);
void world_fini(struct world *world);

void world_power_on(struct world *world, int node);
void world_power_off(struct world *world, int node);
void world_daemon_start(struct world *world, int node);
void world_daemon_kill(struct world *world, int node);
void world_daemon_leave(struct world *world, int node); /* asks it to stop in order */
void world_daemon_freeze(struct world *world, int node);
void world_daemon_thaw(struct world *world, int node);
void world_corosync_stop(struct world *world, int node); /* tells the daemon that it has gone */
/* side[i] says who sees whom from now on. */
void world_connect(struct world *world, const int *side);
/* Corosync's opinion of the ring that the node is in changes without a new ring. */
void world_quorum(struct world *world, int node, bool quorate);
void world_admin(struct world *world, int node, uint64_t request_id, enum core_verb verb,
	const char *name, const char *to, bool wait);
void world_resource(struct world *world, int node, const char *resource, enum core_event_type type,
	bool unfit, const char *text);
void world_reload(struct world *world, int node, const struct core_config *config);
/* Starts something behind the daemon's back. */
void world_start_by_hand(struct world *world, int node, const char *group);

/* False: an invariant was broken. */
bool world_run_until(struct world *world, int64_t until_us);

/* Has all come to rest as it should? If not, ret_text says what has not. must_run: no excuse for a
 * group that is enabled and not online. */
bool world_is_settled(const struct world *world, bool must_run, char *ret_text, size_t size);

/* What really runs: the node on which all of the group is up, -1: none, -2: more than one. */
int world_runs_on(const struct world *world, const char *group);

#endif
