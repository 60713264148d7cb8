/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * corosync as the daemon sees it: views, quorum and ordered messages of one closed process group.
 *
 * Facts of corosync that this module hides: at a ring change CPG delivers the left list, then the
 * join list, then the totem membership with the ring id, so a view of a new ring is complete, and
 * told, only with the last of them; a join or leave of a process alone is told at once, with the
 * ring unchanged. A member that is not in the ring (a ghost) is left out. Quorum is told apart:
 * match the ring ids. The quorum of a ring may come before its view, but never after a message that
 * was sent in that ring. After membership_connect no call here waits for corosync, but for one that
 * comes right after corosync has answered (leaving).
 */
#ifndef CLUSTERD_MEMBERSHIP_H
#define CLUSTERD_MEMBERSHIP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "clusterd/core/types.h"

struct loop;
struct membership;

#define MEMBERSHIP_UNCONFIRMED_MAX 32        /* own messages sent and not yet delivered back */
#define MEMBERSHIP_QUEUE_MAX (16u << 20)     /* bytes waiting to be sent */
#define MEMBERSHIP_MESSAGE_MAX (1000u << 10) /* one message */

struct membership_member {
	uint32_t nodeid;
	bool fresh; /* joined since the view before, even if it left and came back */
};

struct membership_view {
	struct ring_id ring;
	bool self_left; /* we stood in a left list: what we hold is no longer ours */
	uint32_t n_members;
	struct membership_member members[CORE_MAX_NODES]; /* daemons, by ascending nodeid */
	uint32_t n_ring;
	uint32_t ring_nodes[CORE_MAX_NODES]; /* machines in the ring, by ascending nodeid */
};

struct membership_ops {
	void (*view)(void *ctx, const struct membership_view *view);
	void (*quorum)(void *ctx, struct ring_id ring, bool quorate);
	void (*message)(void *ctx, uint32_t nodeid, const void *data, size_t len);
	/* corosync has gone or refused us; nothing is delivered any more. */
	void (*lost)(void *ctx, const char *why);
	/* corosync wants to stop (corosync-cfgtool -H): release, then membership_allow_shutdown. */
	void (*shutdown)(void *ctx);
};

struct membership_node {
	uint32_t nodeid;
	char name[CORE_NAME_SIZE];
	char address[CORE_NAME_SIZE]; /* ring0_addr */
};

/* From cmap at start; the timings follow a reload of corosync's config. */
struct membership_facts {
	char cluster_name[CORE_NAME_SIZE];
	uint32_t own_nodeid;
	uint32_t token_ms, consensus_ms; /* runtime.config.totem.* */
	uint32_t token_retransmits, hold_ms;
	uint32_t knet_ping_interval_ms, knet_ping_timeout_ms; /* of link 0; 0: not known */
	bool two_node, secauth;                               /* secauth: traffic is encrypted */
	uint32_t expected_votes;
	uint32_t n_nodes;
	struct membership_node nodes[CORE_MAX_NODES];
};

/* Sees whether corosync answers. 0, or -errno with reterr (CORE_TEXT_SIZE bytes) saying what to do;
 * -EAGAIN: corosync is not (yet) running. */
int membership_open(struct loop *loop, const struct membership_ops *ops, void *ctx,
	struct membership **ret_membership, char *reterr);
/* Connects to CPG, quorum, cmap and cfg, reads the facts; nothing is joined yet. In steps of some
 * milliseconds: to be called until it returns 0, each time in another turn of the loop. 1: there is
 * more to do; -errno as above, then only membership_close is left. */
int membership_connect(struct membership *membership, char *reterr);
/* Joins the group "clusterd:<cluster>"; views follow, and messages queued before go out after the
 * first of them. 0 or -errno. A second daemon of this node is told ops->lost. */
int membership_join(struct membership *membership, char *reterr);
/* Also from within a call of ops. What libqb keeps of a lost connection is given back a little
 * later, by a timer, when corosync's process has ended: the loop must outlive it or never run. */
void membership_close(struct membership *membership);

const struct membership_facts *membership_facts(const struct membership *membership);

/* Queues one message for ordered delivery to all, ourselves included. 0, -EMSGSIZE, or -ENOBUFS
 * when MEMBERSHIP_QUEUE_MAX is reached: the caller must leave and rejoin. -ESHUTDOWN once we have
 * left. What one callback queues travels together. */
int membership_send(struct membership *membership, const void *data, size_t len);
bool membership_is_idle(const struct membership *membership); /* all sent came back */
/* Leaves the group after what was queued; a view with self_left follows. Nothing may follow if
 * corosync hangs or no view was told yet: then close. */
void membership_leave(struct membership *membership);
/* corosync gives up stopping 5 s after ops->shutdown (cfg.shutdown_timeout), with --force it stops
 * then. ops->lost follows in any case, if not for its end then because it runs on. */
void membership_allow_shutdown(struct membership *membership);

#endif
