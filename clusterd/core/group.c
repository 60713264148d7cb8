/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of a group's states. Called by plan.c and apply.c; nothing else changes a state. */
#include "clusterd/core/group.h"

/* One more than the enum, so that an empty cell means: impossible. */
#define TO(state) ((state) + 1)

static const unsigned char transitions[GROUP_STATES][GROUP_EVENTS] = {
	[GROUP_OFFLINE] =
		{
			[GROUP_EV_START] = TO(GROUP_STARTING),
			[GROUP_EV_ADOPTED] = TO(GROUP_ONLINE),
			[GROUP_EV_NOWHERE] = TO(GROUP_FAILED),
		},
	[GROUP_STARTING] =
		{
			[GROUP_EV_STARTED] = TO(GROUP_ONLINE),
			[GROUP_EV_START_FAILED] = TO(GROUP_OFFLINE),
			[GROUP_EV_STOP] = TO(GROUP_STOPPING),
			[GROUP_EV_STOP_FAILED] = TO(GROUP_BLOCKED),
			[GROUP_EV_OWNER_LOST] = TO(GROUP_OFFLINE),
		},
	[GROUP_ONLINE] =
		{
			[GROUP_EV_STOP] = TO(GROUP_STOPPING),
			[GROUP_EV_FAILED] = TO(GROUP_STOPPING),
			[GROUP_EV_OWNER_LOST] = TO(GROUP_OFFLINE),
		},
	[GROUP_STOPPING] =
		{
			[GROUP_EV_STOPPED] = TO(GROUP_OFFLINE),
			[GROUP_EV_STOP_FAILED] = TO(GROUP_BLOCKED),
			[GROUP_EV_OWNER_LOST] = TO(GROUP_OFFLINE),
		},
	[GROUP_FAILED] =
		{
			[GROUP_EV_START] = TO(GROUP_STARTING),
			[GROUP_EV_ADOPTED] = TO(GROUP_ONLINE),
			[GROUP_EV_GIVEN_UP] = TO(GROUP_OFFLINE),
		},
	[GROUP_BLOCKED] =
		{
			[GROUP_EV_STOPPED] = TO(GROUP_OFFLINE),
			[GROUP_EV_STOP_FAILED] = TO(GROUP_BLOCKED),
			[GROUP_EV_OWNER_LOST] = TO(GROUP_OFFLINE),
		},
};

bool may_start_on(const struct group_rec *group, uint8_t node)
{
	return (group->may_run_on & ~node_bit(node)) == 0;
}

bool group_apply(struct group_rec *group, enum group_event event, uint8_t node)
{
	unsigned char cell = transitions[group->state][event];

	if (cell == 0)
		return false;
	if (event == GROUP_EV_START && !may_start_on(group, node))
		return false;
	group->state = cell - 1u;
	group->gen++;
	switch (event) {
	case GROUP_EV_START:
	case GROUP_EV_ADOPTED:
		if (group->owner != node && group->origin != node)
			group->restarts = 0;
		group->owner = node;
		group->may_run_on |= node_bit(node);
		break;
	case GROUP_EV_STOPPED:
	case GROUP_EV_START_FAILED:
	case GROUP_EV_OWNER_LOST:
		group->may_run_on &= ~node_bit(group->owner);
		group->owner = CORE_NO_NODE;
		break;
	default: break;
	}
	/* Set offline, it is nobody's: the next start is no move. */
	if (group->state == GROUP_OFFLINE && !group->enabled)
		group->origin = CORE_NO_NODE;
	if (group->state == GROUP_ONLINE) {
		group->origin = group->owner;
		group->target = CORE_NO_NODE;
	}
	return true;
}
