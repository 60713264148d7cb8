/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Makes views of corosync's lists: pure, so that what corosync does once a year can be tested.
 *
 * Part of the corosync adapter; membership.c alone uses it.
 */
#ifndef CLUSTERD_MEMBERSHIP_VIEW_H
#define CLUSTERD_MEMBERSHIP_VIEW_H

#include <corosync/cpg.h>

#include "clusterd/membership.h"

struct tracker_member {
	uint32_t nodeid, pid;
	bool joined; /* stood in a join list since it was last told */
};

/* The group and the ring as corosync last told them, and what of it was passed on. */
struct tracker {
	uint32_t own_nodeid, own_pid;
	bool is_joined;   /* our own join was delivered */
	bool self_left;   /* we stood in a left list after that */
	bool has_ring;    /* a totem membership was delivered */
	bool is_changing; /* nodes came or went: the totem membership ends it */
	bool has_told;
	uint32_t other_pid; /* a second process of this node, here before us; 0: none */
	struct ring_id ring;
	uint32_t n_ring, n_members, n_told;
	uint32_t ring_nodes[CORE_MAX_NODES];
	struct tracker_member members[CPG_MEMBERS_MAX]; /* by arrival */
	struct tracker_member told[CORE_MAX_NODES];     /* of the view told last */
};

void tracker_init(struct tracker *tracker, uint32_t own_nodeid, uint32_t own_pid);
/* Both: true when a view is to be told now. */
bool tracker_confchg(struct tracker *tracker, const struct cpg_address *members, size_t n_members,
	const struct cpg_address *left, size_t n_left, const struct cpg_address *joined,
	size_t n_joined);
bool tracker_ring(
	struct tracker *tracker, struct ring_id ring, const uint32_t *nodes, uint32_t n_nodes);
/* The view to tell; it counts as told. */
void tracker_view(struct tracker *tracker, struct membership_view *ret_view);
/* Does that process speak for a member of the view told last? */
bool tracker_may_speak(const struct tracker *tracker, uint32_t nodeid, uint32_t pid);

#endif
