/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of the core share: the core itself, and each file's entry points.
 */
#ifndef CLUSTERD_CORE_INTERNAL_H
#define CLUSTERD_CORE_INTERNAL_H

#include "clusterd/core/core.h"
#include "clusterd/core/group.h"
#include "clusterd/core/message.h"
#include "clusterd/core/policy.h"

enum local_state {
	LOCAL_IDLE, /* nothing of the group runs here */
	LOCAL_STARTING,
	LOCAL_RUNNING,
	LOCAL_STOPPING, /* also the clean-up after a failed start */
	LOCAL_DIRTY,    /* something may run, and nothing is under way */
};

/* What this node does for a group. It is never replicated. */
struct local_group {
	enum local_state state;
	uint8_t *res;    /* enum local_res by resource */
	bool *unfit_res; /* resources that make this node unfit */
	uint32_t next;   /* starting: the next one to start; stopping: how many are still to stop */
	uint32_t in_flight; /* operations without a result */
	bool is_serial;     /* the one in flight must be waited for */
	uint32_t n_unfit;   /* set in unfit_res */
	uint32_t start_gen; /* what the latest start was for */
	bool is_found;      /* found running, not adopted yet */
	bool stop_failed;
	bool cancel_sent;

	bool has_failed; /* since the last start began; the rest tells how */
	bool unfit;
	uint32_t failed_resource;
	char *failed_text;

	enum msg_type reported; /* latest result sent, 0: none */
	uint32_t reported_gen;
	int64_t reported_us, fit_said_us;

	uint8_t retries; /* of a stop */
	int64_t retry_us;
	int64_t changed_us, changed_wall_ms; /* the group's latest transition, as seen here */
	int64_t proof_us, quorum_us, decided_us, set_us, announced_us, stop_begun_us;
	int64_t release_us; /* the old holder's, from its STOPPED */
};

struct hello_rec {
	bool seen; /* in this view */
	struct msg msg;
	uint8_t *found;
	size_t n_found;
};

struct waiter {
	uint64_t request_id;
	uint32_t group;
	enum core_verb verb;
	uint8_t to;
	bool wait, is_sent;
};

struct queued {
	uint32_t nodeid;
	size_t len;
	unsigned char *data;
};

struct core {
	const struct core_config *config;
	const struct core_config *loaded; /* read, and not (yet) the cluster's; NULL: config is */
	uint8_t self;
	uint64_t incarnation;
	int64_t holdoff_us;

	enum core_phase phase;
	struct core_state state;
	bool has_state; /* state is of a quorate ring, perhaps stale */
	uint64_t saved_version;
	bool *saved_offline;

	struct core_view view;
	node_mask machines; /* in the ring, by the latest view applied */
	int64_t view_us;    /* when it came */
	struct ring_id quorum_ring;
	bool quorum;
	int64_t quorum_us;
	bool is_frozen;        /* member, but the view's quorum is not known: messages are held */
	bool view_pending;     /* the frozen view is not applied yet */
	int64_t keep_until_us; /* how long what runs may go on without a state */
	int64_t lost_us[CORE_MAX_NODES]; /* when a daemon went, 0: it did not */

	uint64_t view_version; /* of the state when somebody last came: histories are compared by it
				*/
	node_mask foreign_said; /* in this view: whose strange messages were named */
	struct hello_rec hello[CORE_MAX_NODES]; /* in this view, whatever phase we are in */
	uint32_t n_answers; /* snapshots and new states delivered in this view */
	uint32_t hello_seq;
	bool hello_sent, is_buffering; /* our own hello was delivered: hold what follows */
	bool form_forced;              /* no longer wait for silent members */
	char difference[CORE_TEXT_SIZE];
	bool difference_said, difference_all_stopped;

	struct queued *queue; /* frozen or buffered, in order */
	uint32_t n_queue, queue_size;
	size_t queue_bytes;

	struct local_group *local;
	uint8_t *plan_touched, *sync_touched; /* by group */
	bool any_plan, any_sync;
	uint32_t n_snapshots;
	struct {
		uint32_t nodeid, hello_seq;
		uint64_t incarnation;
	} snapshots[CORE_MAX_NODES]; /* to send when the step is settled */
	bool config_wanted;

	struct waiter waiters[CORE_REQUESTS_MAX];
	uint32_t n_waiters;
	bool is_leaving, leave_sent;
	int64_t tick_us; /* armed for; 0: not armed */

	/* of the step under way */
	bool in_view; /* a view is being applied: it is the proof that takeovers wait for */
	const struct core_event *event;
	struct core_effects *effects;
};

/* effects.c */
struct core_effect *effect_add(struct core *core, enum core_effect_type type);
void effect_send(struct core *core, struct msg *msg); /* fills in the header */
void effect_op(struct core *core, enum core_op op, uint32_t group, uint32_t resource);
void effect_timer(struct core *core, enum core_timer timer, int64_t at_us);
void effect_note(struct core *core, enum core_note_level level, bool is_replicated, const char *fmt,
	...) __attribute__((format(printf, 4, 5)));
void effect_reply(struct core *core, uint64_t request_id, enum core_reply_code code, uint32_t group,
	const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/* note.c */
const char *core_cause_text(
	const struct core *core, enum cause cause, uint8_t node, char *buf, size_t size);
void note_transition(struct core *core, uint32_t group, enum group_event event,
	enum group_state from, uint8_t owner_before);

/* core.c */
void core_touch(struct core *core, uint32_t group); /* plan it, and look at it locally */
void core_touch_all(struct core *core);
void core_sync_all(struct core *core); /* locally only: never a reason to plan */
void core_touch_local(struct core *core, uint32_t group);
void core_ordered_done(struct core *core);  /* after each ordered event, before the next */
bool core_may_act(const struct core *core); /* member, quorate in this ring, not frozen */

/* view.c: membership and quorum */
void view_step(struct core *core, const struct core_view *view);
void quorum_step(struct core *core, struct ring_id ring, bool quorate);
void lost_step(struct core *core);
void keep_for_a_while(struct core *core); /* what runs, without a state */
bool quorum_is_known(const struct core *core);
bool quorum_holds(const struct core *core);
uint8_t node_of(const struct core *core, uint32_t nodeid); /* or CORE_NO_NODE */
bool view_has_machine(const struct core_view *view, uint32_t nodeid);
bool view_has_daemon(const struct core_view *view, uint32_t nodeid);
void machines_note(struct core *core);
void node_hold_all(struct core *core, uint8_t node); /* it may run anything, for the hold-off */
void phase_set(struct core *core, enum core_phase phase, const char *why);
void clear_node(struct core *core, uint8_t node, enum cause cause); /* nothing runs there */
void holdoff_tick(struct core *core);

/* join.c: hello, snapshot, form */
void join_begin(struct core *core);
void join_say_hello(struct core *core, bool has_state);
void join_timer(struct core *core, enum core_timer timer);
bool join_overhear(struct core *core, uint8_t node, const struct msg *msg);
void join_message(
	struct core *core, uint8_t node, const struct msg *msg, const void *data, size_t len);
void join_answer(struct core *core); /* snapshots wanted by the step just settled */
void snapshot_apply(struct core *core, const struct msg *msg);
void hello_apply(struct core *core, uint8_t node, uint32_t nodeid, const struct msg *msg);
void join_compared(struct core *core, const char *text);
void join_say_difference(struct core *core);
bool queue_add(struct core *core, uint8_t node, const void *data, size_t len);
void queue_clear(struct core *core);
void queue_drain(struct core *core); /* applies what was held, in order */

/* also for form.c */
void hello_take(struct core *core, uint8_t node, uint64_t incarnation, uint64_t loaded,
	const uint8_t *found); /* it said hello: what runs there is known */
void node_joined(struct core *core, uint8_t node);
void become_member(struct core *core, struct core_state *state); /* takes the state */

/* form.c: a state from nothing */
void join_try_form(struct core *core);
void join_form(struct core *core, const struct msg *msg);

/* apply.c: ordered messages that change the state */
void message_deliver(struct core *core, uint32_t nodeid, const void *data, size_t len);
void message_apply(struct core *core, uint8_t node, const void *data, size_t len);
void group_move(struct core *core, uint32_t group, enum group_event event, uint8_t node,
	enum cause cause, uint8_t cause_node);
/* A line of the history about the group as it is now; phase_us may be NULL. */
void record_add(struct core *core, uint32_t group, uint8_t from, bool is_online, int64_t wall_ms,
	const int64_t *phase_us);

/* plan.c */
void plan_touched(struct core *core);
void forget_tick(struct core *core);

/* local.c: what this node runs */
void local_sync(struct core *core, uint32_t group);
void local_op_done(struct core *core, const struct core_event *event);
void local_resource_failed(struct core *core, const struct core_event *event);
void local_resource_fit(struct core *core, const struct core_event *event);
void local_tick(struct core *core);
bool local_all_idle(const struct core *core);
enum core_found local_found(const struct core *core, uint32_t group);
int local_init(struct core *core);
void local_fini(struct core *core);
void local_forget_reports(struct core *core);

/* admin.c */
void admin_step(struct core *core, const struct core_event *event);
void admin_apply(struct core *core, uint8_t node, const struct msg *msg);
void admin_settle(struct core *core);
void admin_forget(struct core *core, uint64_t request_id);
void admin_fail_all(struct core *core, const char *why);

/* reload.c */
void reload_step(struct core *core, const struct core_config *config);
void reload_apply(struct core *core, uint8_t node, const struct msg *msg);
void reload_settle(struct core *core);

#endif
