/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From corosync's lists to views: who is in the group, on which ring, who is fresh. Pure.
 *
 * Invariant: the view of a new ring is told once, with the totem membership. corosync sends left
 * list, join list and totem membership of a ring change in one go (cpg_sync_activate in exec/cpg.c,
 * v3.1.7), so no message can stand between them; nodes come and go with reason NODEUP or NODEDOWN,
 * processes alone with JOIN, LEAVE or PROCDOWN. A PROCDOWN can also end the lists of a ring change
 * (a process that left while the ring was cut). The totem membership comes at every ring change,
 * also when nobody of our group came or went.
 *
 * Of two processes on one node the one that came first is the member. Called by membership.c.
 */
#include "clusterd/membership_view.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void tracker_init(struct tracker *tracker, uint32_t own_nodeid, uint32_t own_pid)
{
	memset(tracker, 0, sizeof(*tracker));
	tracker->own_nodeid = own_nodeid;
	tracker->own_pid = own_pid;
}

static bool is_own(const struct tracker *tracker, uint32_t nodeid, uint32_t pid)
{
	return nodeid == tracker->own_nodeid && pid == tracker->own_pid;
}

static bool is_listed(const struct cpg_address *list, size_t n, uint32_t nodeid, uint32_t pid)
{
	for (size_t i = 0; i < n; i++) {
		if (list[i].nodeid == nodeid && list[i].pid == pid)
			return true;
	}
	return false;
}

static const struct tracker_member *member_find(
	const struct tracker *tracker, uint32_t nodeid, uint32_t pid)
{
	for (uint32_t i = 0; i < tracker->n_members; i++) {
		const struct tracker_member *member = &tracker->members[i];

		if (member->nodeid == nodeid && member->pid == pid)
			return member;
	}
	return NULL;
}

static void member_remove(struct tracker *tracker, uint32_t nodeid, uint32_t pid)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < tracker->n_members; i++) {
		const struct tracker_member member = tracker->members[i];

		if (member.nodeid != nodeid || member.pid != pid)
			tracker->members[kept++] = member;
	}
	tracker->n_members = kept;
}

static void member_add(struct tracker *tracker, uint32_t nodeid, uint32_t pid, bool joined)
{
	/* libcpg's own lists hold no more either. */
	if (tracker->n_members == CPG_MEMBERS_MAX)
		return;
	tracker->members[tracker->n_members++] =
		(struct tracker_member){.nodeid = nodeid, .pid = pid, .joined = joined};
}

/* What corosync lists is true, whatever its left and join lists made us believe. */
static void members_reconcile(struct tracker *tracker, const struct cpg_address *members, size_t n)
{
	bool is_first = !tracker->has_told;

	for (uint32_t i = tracker->n_members; i-- > 0;) {
		const struct tracker_member member = tracker->members[i];

		if (!is_listed(members, n, member.nodeid, member.pid))
			member_remove(tracker, member.nodeid, member.pid);
	}
	for (size_t i = 0; i < n; i++) {
		if (!member_find(tracker, members[i].nodeid, members[i].pid))
			member_add(tracker, members[i].nodeid, members[i].pid, !is_first);
	}
}

static void own_join(struct tracker *tracker, const struct cpg_address *members, size_t n)
{
	tracker->is_joined = true;
	tracker->self_left = false;
	for (size_t i = 0; i < n; i++) {
		if (members[i].nodeid == tracker->own_nodeid && members[i].pid != tracker->own_pid)
			tracker->other_pid = members[i].pid;
	}
}

bool tracker_confchg(struct tracker *tracker, const struct cpg_address *members, size_t n_members,
	const struct cpg_address *left, size_t n_left, const struct cpg_address *joined,
	size_t n_joined)
{
	for (size_t i = 0; i < n_left; i++) {
		member_remove(tracker, left[i].nodeid, left[i].pid);
		if (is_own(tracker, left[i].nodeid, left[i].pid))
			tracker->self_left = true;
		if (left[i].reason == CPG_REASON_NODEDOWN)
			tracker->is_changing = true;
	}
	for (size_t i = 0; i < n_joined; i++) {
		member_remove(tracker, joined[i].nodeid, joined[i].pid);
		member_add(tracker, joined[i].nodeid, joined[i].pid, true);
		if (is_own(tracker, joined[i].nodeid, joined[i].pid))
			own_join(tracker, members, n_members);
		if (joined[i].reason == CPG_REASON_NODEUP)
			tracker->is_changing = true;
	}
	members_reconcile(tracker, members, n_members);
	return tracker->is_joined && tracker->has_ring && !tracker->is_changing;
}

static int compare_nodeid(const void *a, const void *b)
{
	uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

	return (left > right) - (left < right);
}

bool tracker_ring(
	struct tracker *tracker, struct ring_id ring, const uint32_t *nodes, uint32_t n_nodes)
{
	assert(n_nodes <= CORE_MAX_NODES);
	tracker->ring = ring;
	tracker->n_ring = n_nodes;
	memcpy(tracker->ring_nodes, nodes, n_nodes * sizeof(*nodes));
	qsort(tracker->ring_nodes, n_nodes, sizeof(*tracker->ring_nodes), compare_nodeid);
	tracker->has_ring = true;
	tracker->is_changing = false;
	return tracker->is_joined;
}

/* The process that is the member of this node, or NULL. */
static struct tracker_member *member_of_node(struct tracker *tracker, uint32_t nodeid)
{
	for (uint32_t i = 0; i < tracker->n_members; i++) {
		if (tracker->members[i].nodeid == nodeid)
			return &tracker->members[i];
	}
	return NULL;
}

bool tracker_may_speak(const struct tracker *tracker, uint32_t nodeid, uint32_t pid)
{
	for (uint32_t i = 0; i < tracker->n_told; i++) {
		if (tracker->told[i].nodeid == nodeid)
			return tracker->told[i].pid == pid;
	}
	return false;
}

/* Fresh is also who was not in the view before: a ghost that is back, a second process that stays
 * after the first. Not so in our first view: there is none before it. */
static bool is_fresh(const struct tracker *tracker, const struct tracker_member *member)
{
	return member->joined ||
	       (tracker->has_told && !tracker_may_speak(tracker, member->nodeid, member->pid));
}

void tracker_view(struct tracker *tracker, struct membership_view *ret_view)
{
	struct tracker_member told[CORE_MAX_NODES];
	uint32_t n_told = 0;
	bool self_is_in = false;

	memset(ret_view, 0, sizeof(*ret_view));
	ret_view->ring = tracker->ring;
	ret_view->n_ring = tracker->n_ring;
	memcpy(ret_view->ring_nodes, tracker->ring_nodes, sizeof(ret_view->ring_nodes));
	/* By ring node: whoever is in no ring (a ghost) is left out. */
	for (uint32_t i = 0; i < tracker->n_ring; i++) {
		struct tracker_member *member = member_of_node(tracker, tracker->ring_nodes[i]);

		if (!member)
			continue;
		if (is_own(tracker, member->nodeid, member->pid)) {
			self_is_in = !tracker->self_left;
			if (tracker->self_left)
				continue;
		}
		ret_view->members[n_told] = (struct membership_member){
			.nodeid = member->nodeid, .fresh = is_fresh(tracker, member)};
		member->joined = false;
		told[n_told++] = *member;
	}
	ret_view->n_members = n_told;
	ret_view->self_left = !self_is_in;
	memcpy(tracker->told, told, n_told * sizeof(*told));
	tracker->n_told = n_told;
	tracker->has_told = true;
}
