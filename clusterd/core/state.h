/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The replicated state: equal on every member after the same ordered messages and views.
 *
 * Nothing local ever enters it: no clock, no pointer value, no order of a hash. It is changed by
 * core_step alone, through group.c for groups.
 */
#ifndef CLUSTERD_CORE_STATE_H
#define CLUSTERD_CORE_STATE_H

#include "clusterd/core/buf.h"
#include "clusterd/core/types.h"

enum node_state {
	NODE_OFFLINE, /* not in the group of daemons */
	NODE_JOINING, /* its daemon is there and has not got the cluster's state yet */
	NODE_DIFFERS, /* it runs another config and takes part in nothing */
	NODE_ONLINE,
	NODE_LEAVING, /* stops in order: hands its groups over */
	NODE_LOST,    /* its daemon is gone, its machine is in the ring: hold-off runs */
	NODE_STATES
};

enum group_state {
	GROUP_OFFLINE,
	GROUP_STARTING, /* on owner */
	GROUP_ONLINE,   /* on owner */
	GROUP_STOPPING, /* on owner */
	GROUP_FAILED,   /* wanted online, and no node can run it */
	GROUP_BLOCKED,  /* its stop failed on owner: unknown is never stopped */
	GROUP_STATES
};

/* Why a group last changed hands; the words are in note.c. */
enum cause {
	CAUSE_FIRST_START,
	CAUSE_CLUSTER_BACK, /* nobody had quorum, or all were down */
	CAUSE_NODE_LEFT,
	CAUSE_DAEMON_GONE,
	CAUSE_NODE_STOPS,
	CAUSE_RESOURCE_FAILED,
	CAUSE_START_FAILED,
	CAUSE_FAILOVER,
	CAUSE_OPERATOR, /* online, offline */
	CAUSE_FAILBACK,
	CAUSE_RETRY,
	CAUSE_ADOPTED,
	CAUSE_NOT_FOUND, /* the owner came back without it */
	CAUSE_CONFIG,
	CAUSES
};

struct node_rec {
	enum node_state state;
	uint64_t incarnation;
	uint64_t loaded;                 /* digest of the config it has loaded */
	uint32_t hello_seq;              /* its latest hello's: what an answer must be for */
	bool is_returning;               /* NODE_JOINING: it was away, and not only asked anew */
	char difference[CORE_TEXT_SIZE]; /* NODE_DIFFERS: in words */
};

struct group_rec {
	bool enabled;
	enum group_state state;
	uint8_t owner;        /* of STARTING, ONLINE, STOPPING, BLOCKED; else CORE_NO_NODE */
	uint8_t origin;       /* where it was last online */
	uint8_t target;       /* where a move under way goes; CORE_NO_NODE: policy decides */
	uint8_t restarts;     /* on this owner, since the last forget */
	uint8_t backoff;      /* retries so far while FAILED */
	node_mask may_run_on; /* nodes on which something of it may be running */
	node_mask failed_on;  /* not chosen until forgotten */
	node_mask unfit_on;   /* not chosen until the node says that it is fit */
	uint32_t gen;         /* counts transitions; results of another gen are stale */
	enum cause cause;
	uint8_t cause_node; /* or CORE_NO_NODE */
	char *problem;      /* latest failure in words, or NULL */
};

struct core_state {
	uint64_t version; /* ordered events applied since the cluster was first formed */
	uint32_t n_nodes, n_groups;
	struct node_rec nodes[CORE_MAX_NODES];
	struct group_rec *groups;
};

/* All offline, all groups enabled. 0 or -ENOMEM. */
int state_init(struct core_state *state, const struct core_config *config);
void state_fini(struct core_state *state);

void state_encode(const struct core_state *state, struct buf *buf);
/* Into a fresh state, sized as the config says. 0, -EPROTO or -ENOMEM; *ret_state untouched then.
 */
int state_decode(
	struct core_state *ret_state, const struct core_config *config, struct reader *reader);
uint64_t state_digest(const struct core_state *state);

/* text is copied and cut at CORE_TEXT_SIZE; NULL: none. */
void group_set_problem(struct group_rec *group, const char *text);

const char *node_state_name(enum node_state state);
const char *group_state_name(enum group_state state);

#endif
