/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of the corosync adapter share; nobody else includes it.
 *
 * membership.c passes on what corosync says, membership_connect.c opens and closes the connections,
 * membership_view.c (with its own header) makes views, membership_send.c queues and confirms own
 * messages, membership_facts.c reads cmap.
 */
#ifndef CLUSTERD_MEMBERSHIP_INTERNAL_H
#define CLUSTERD_MEMBERSHIP_INTERNAL_H

#include <sys/types.h>

#include <corosync/cmap.h>
#include <corosync/cpg.h>
#include <corosync/quorum.h>

#include "clusterd/membership_view.h"

/* membership_facts.c */

int facts_read(cmap_handle_t cmap, struct membership_facts *ret_facts, char *reterr);
/* Keeps the timings up to date from cmap's notifications; facts must outlive the handle. */
int facts_track(cmap_handle_t cmap, struct membership_facts *facts, char *reterr);
const char *facts_node_name(const struct membership_facts *facts, uint32_t nodeid);

/* membership_send.c */

struct sender;

/* What a frame that was delivered is to us. */
enum frame_use {
	FRAME_MESSAGES, /* read them with frame_next */
	FRAME_NOTHING,  /* the adapter's own business */
	FRAME_LEAVE,    /* ours, and everything before it was confirmed: leave now */
	FRAME_GAP,      /* ours, but one before it never came: corosync dropped it */
	FRAME_FOREIGN,  /* of another program, or broken */
	FRAME_VERSION,  /* of another version of this adapter */
};

struct frame_reader {
	const uint8_t *lengths, *data;
	uint32_t left; /* messages */
};

/* failed is called at most once, from the loop, when corosync refuses to take messages. */
int sender_new(struct loop *loop, cpg_handle_t cpg, uint32_t own_nodeid,
	void (*failed)(void *ctx, cs_error_t err), void *ctx, struct sender **ret_sender);
void sender_free(struct sender *sender);
int sender_queue(struct sender *sender, const void *data, size_t len);
/* Sends what may be sent now; never from within a call of the owner. */
void sender_flush(struct sender *sender);
/* Corosync may take messages again: forget the waiting time, and flush soon. */
void sender_kick(struct sender *sender);
void sender_start(struct sender *sender); /* the first view was told */
void sender_stop(struct sender *sender);  /* nothing is sent any more */
void sender_leave(struct sender *sender); /* after the queue: a frame that returns FRAME_LEAVE */
bool sender_is_idle(const struct sender *sender);
/* Looks at a delivered frame; confirms own ones. */
enum frame_use sender_delivered(struct sender *sender, uint32_t nodeid, uint32_t pid,
	const void *frame, size_t len, struct frame_reader *ret_reader);
bool frame_next(struct frame_reader *reader, const void **ret_data, size_t *ret_len);

/* membership_connect.c */

#define MEMBERSHIP_STRANGERS_MAX 64 /* senders that were complained about */

enum { CONNECTION_CPG, CONNECTION_QUORUM, CONNECTION_CMAP, CONNECTION_CFG, CONNECTIONS };

/* corosync's four handles are all uint64_t. */
struct connection {
	struct membership *membership;
	bool is_open;
	uint64_t handle;
	int fd; /* on the loop; -1: not */
	cs_error_t (*dispatch)(uint64_t handle, cs_dispatch_flags_t flags);
	cs_error_t (*finalize)(uint64_t handle);
	const char *label;
};

struct membership {
	struct loop *loop;
	struct membership_ops ops;
	void *ctx;
	struct membership_facts facts;
	struct connection connections[CONNECTIONS];
	struct cpg_name group;
	struct tracker tracker;
	struct sender *sender;
	struct loop_timer *join_timer, *shutdown_timer, *burial_timer;
	pid_t corosync_pid;
	unsigned depth; /* of our own calls on the stack: freed only at 0 */
	unsigned burial_retries;
	unsigned n_steps; /* of connecting, that are done */
	bool is_closed, is_lost, is_leaving, has_left;
	bool leave_now;      /* corosync has just answered: cpg_leave will not wait */
	bool shutdown_asked; /* the owner knows */
	uint32_t n_strangers;
	struct {
		uint32_t nodeid, pid;
	} strangers[MEMBERSHIP_STRANGERS_MAX];
};

int connections_open(struct membership *membership, char *reterr);
int connections_step(struct membership *membership, char *reterr); /* 1: more to do */
void connections_close(struct membership *membership);
/* Writes the text for people; returns rc. */
int membership_complain(char *reterr, int rc, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* membership.c: what corosync calls */

void membership_on_ready(void *ctx, int fd, int revents);
void membership_on_confchg(cpg_handle_t handle, const struct cpg_name *group,
	const struct cpg_address *members, size_t n_members, const struct cpg_address *left,
	size_t n_left, const struct cpg_address *joined, size_t n_joined);
void membership_on_totem_confchg(
	cpg_handle_t handle, struct cpg_ring_id ring, uint32_t n_nodes, const uint32_t *nodes);
void membership_on_deliver(cpg_handle_t handle, const struct cpg_name *group, uint32_t nodeid,
	uint32_t pid, void *data, size_t len);
void membership_on_quorum(quorum_handle_t handle, uint32_t quorate, struct quorum_ring_id ring,
	uint32_t n_members, const uint32_t *members);

#endif
