/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The core: every decision of the cluster, without I/O, clock or randomness.
 *
 * core_step takes one event and appends what is to be done to the effects. It is the only function
 * that changes anything. The daemon (clusterd/daemon.c), the scenarios and the simulator all drive
 * this one entry point.
 */
#ifndef CLUSTERD_CORE_CORE_H
#define CLUSTERD_CORE_CORE_H

#include "clusterd/core/state.h"
#include "clusterd/core/types.h"

#define CORE_PROTOCOL 1            /* of messages; others are refused in words */
#define CORE_FROZEN_MAX (4u << 20) /* bytes of messages held while quorum is not known */
#define CORE_REQUESTS_MAX 64       /* administrators' requests waiting for their end */

/* ---- events ---- */

enum core_event_type {
	CORE_EV_VIEW,
	CORE_EV_QUORUM,
	CORE_EV_MESSAGE,
	CORE_EV_TIMER,
	CORE_EV_OP_DONE,
	CORE_EV_RESOURCE_FAILED,
	CORE_EV_RESOURCE_FIT,
	CORE_EV_ADMIN,
	CORE_EV_ADMIN_GONE, /* nobody waits for the answer any more */
	CORE_EV_CONFIG,     /* a newly loaded config */
	CORE_EV_COMPARED,   /* answer to CORE_DO_COMPARE */
	CORE_EV_LEAVE,      /* stop in order */
	CORE_EV_LOST,       /* corosync has gone: let go of everything */
};

struct core_view {
	struct ring_id ring;
	bool self_left;
	uint32_t n_members; /* daemons */
	struct {
		uint32_t nodeid;
		bool fresh;
	} members[CORE_MAX_NODES];
	uint32_t n_ring; /* machines */
	uint32_t ring_nodes[CORE_MAX_NODES];
};

enum core_timer { CORE_TIMER_HELLO, CORE_TIMER_FORM, CORE_TIMER_TICK, CORE_TIMERS };

/* ADOPT: it runs already, watch it; it has no result. CANCEL: the result of the operation under way
 * comes soon, with -ECANCELED. */
enum core_op { CORE_OP_START, CORE_OP_STOP, CORE_OP_CANCEL, CORE_OP_ADOPT };

enum core_verb { CORE_FAILOVER, CORE_ONLINE, CORE_OFFLINE, CORE_VERBS };

struct core_event {
	enum core_event_type type;
	int64_t now_us;  /* CLOCK_BOOTTIME */
	int64_t wall_ms; /* for history only */
	union {
		struct core_view view;
		struct {
			struct ring_id ring;
			bool quorate;
		} quorum;
		struct {
			uint32_t nodeid;
			const void *data;
			size_t len;
		} message;
		enum core_timer timer;
		struct {
			uint32_t group, resource;
			enum core_op op;
			int rc; /* 0 or -errno; -ENETDOWN: this node is unfit until it says fit */
			const char *text;
			int64_t set_us, announced_us; /* 0: not measured */
		} op_done;
		struct {
			uint32_t group, resource;
			bool unfit; /* RESOURCE_FAILED */
			const char *text;
		} resource;
		struct {
			uint64_t request_id;
			enum core_verb verb;
			const char *name; /* a group, or a resource of it */
			const char *to;   /* CORE_FAILOVER: a node, or NULL */
			bool wait;
		} admin;
		uint64_t gone_request_id; /* CORE_EV_ADMIN_GONE */
		const char *compared;     /* how the cluster's config differs from ours, in words */
		const struct core_config *config; /* CORE_EV_CONFIG: borrowed, see CORE_DO_SWITCH */
	};
};

/* ---- effects ---- */

enum core_effect_type {
	CORE_DO_SEND,
	CORE_DO_OP,
	CORE_DO_TIMER,
	CORE_DO_NOTE,
	CORE_DO_REPLY,
	CORE_DO_RECORD,  /* a line of the history */
	CORE_DO_SAVE,    /* which groups are offline by order has changed */
	CORE_DO_SWITCH,  /* the config loaded last is the active one now; free the one before */
	CORE_DO_COMPARE, /* say in words how the cluster's config differs from ours */
	CORE_DO_LEFT,    /* the orderly stop is done */
};

enum core_note_level { CORE_NOTE_INFO, CORE_NOTE_WARNING, CORE_NOTE_ERROR };

enum core_reply_code {
	CORE_REPLY_OK,
	CORE_REPLY_NOT_FOUND,
	CORE_REPLY_REFUSED,
	CORE_REPLY_NO_QUORUM,
	CORE_REPLY_FAILED,
};

/* When each phase of a takeover ended, in microseconds after the last proof that it needed was
 * delivered here; -1: no such phase. release_us is the old holder's own duration. */
enum core_phase_of_takeover {
	PHASE_RELEASE,
	PHASE_QUORUM,
	PHASE_DECIDED,
	PHASE_ADDRESS,
	PHASE_ANNOUNCED,
	PHASE_ALL,
	PHASES
};

struct core_record {
	int64_t wall_ms;
	uint32_t group;
	uint8_t from, to; /* CORE_NO_NODE: none */
	enum cause cause;
	bool is_online; /* false: the start failed */
	int64_t phase_us[PHASES];
	char cause_text[CORE_TEXT_SIZE];
};

struct core_effect {
	enum core_effect_type type;
	union {
		struct {
			void *data; /* owned by the effects */
			size_t len;
		} send;
		struct {
			enum core_op op;
			uint32_t group, resource;
		} op;
		struct {
			enum core_timer timer;
			int64_t at_us; /* replaces the one before; 0: disarm */
		} timer;
		struct {
			enum core_note_level level;
			bool is_replicated; /* every member says the same at this point */
			char *text;         /* owned by the effects */
		} note;
		struct {
			uint64_t request_id;
			enum core_reply_code code;
			uint32_t group; /* UINT32_MAX: none; in the config before a later SWITCH */
			uint8_t owner;  /* as it was when this was said, and */
			enum group_state state; /* of the group */
			char *text;             /* owned; NULL with CORE_REPLY_OK */
		} reply;
		struct core_record *record; /* owned */
		struct {
			char *text; /* owned: the cluster's canonical config, or "": too long to
				       send */
		} compare;
	};
};

struct core_effects {
	struct core_effect *list;
	uint32_t n, size;
};

/* Frees what the effects own and empties them; keeps the list's memory. */
void core_effects_clear(struct core_effects *effects);
void core_effects_fini(struct core_effects *effects);

/* ---- the core ---- */

enum core_phase {
	CORE_OUT,       /* no view yet, or corosync gone: holds nothing */
	CORE_JOINING,   /* in a view, without the cluster's state */
	CORE_MEMBER,    /* has the state */
	CORE_NO_QUORUM, /* has a state that may be stale: holds nothing */
	CORE_DIFFERS,   /* its config is not the cluster's: holds nothing */
	CORE_LEFT,      /* stopped in order */
	CORE_PHASES
};

struct core;

struct core_setup {
	const struct core_config *config; /* borrowed; nodeids filled in */
	uint32_t own_nodeid;
	uint64_t incarnation;   /* differs at each start of a daemon on this node */
	uint32_t holdoff_ms;    /* for a daemon that went while its machine stayed in the ring */
	uint64_t saved_version; /* from the state folder, 0: none */
	const bool *offline;    /* by group, from the state folder; NULL: none */
};

/* What the daemon found on this machine at its start. */
enum core_found { CORE_FOUND_NOTHING, CORE_FOUND_SOMETHING, CORE_FOUND_ALL };

/* 0, -ENOMEM, or -EINVAL: own_nodeid is not among the config's nodes. */
int core_new(const struct core_setup *setup, struct core **ret_core);
void core_free(struct core *core);
/* Before the first event: result of the probe at start, by resource (true: runs or not known). */
void core_found(struct core *core, uint32_t group, const bool *resource_runs);

/* Appends to effects. */
void core_step(struct core *core, const struct core_event *event, struct core_effects *effects);

/* ---- looking in, for status and tests ---- */

enum local_res {
	LOCAL_RES_STOPPED,
	LOCAL_RES_STARTING,
	LOCAL_RES_RUNNING,
	LOCAL_RES_STOPPING,
	LOCAL_RES_FAILED,
	LOCAL_RES_UNKNOWN
};

enum core_phase core_phase(const struct core *core);
const char *core_phase_name(enum core_phase phase);
bool core_is_quorate(const struct core *core); /* quorate, in the ring of the latest view */
bool core_is_frozen(const struct core *core);  /* waits for corosync to say whether it is */
struct ring_id core_ring(const struct core *core);
const struct core_config *core_config(const struct core *core);
const struct core_state *core_state(const struct core *core);
uint8_t core_own_node(const struct core *core);
enum local_res core_local_resource(const struct core *core, uint32_t group, uint32_t resource);
int64_t core_group_changed_ms(const struct core *core, uint32_t group); /* wall clock; 0: never */
const char *core_difference(const struct core *core);                   /* CORE_DIFFERS: in words */

#endif
