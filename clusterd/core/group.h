/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The life of a group: one table of (state, event) pairs, and the rule who may start it.
 */
#ifndef CLUSTERD_CORE_GROUP_H
#define CLUSTERD_CORE_GROUP_H

#include "clusterd/core/state.h"

enum group_event {
	GROUP_EV_START, /* policy chose a node, and the group may start there */
	GROUP_EV_STARTED,
	GROUP_EV_START_FAILED, /* and all of it is stopped again */
	GROUP_EV_STOP,         /* policy wants it elsewhere, or nowhere */
	GROUP_EV_FAILED,       /* a resource failed */
	GROUP_EV_STOPPED,
	GROUP_EV_STOP_FAILED,
	GROUP_EV_OWNER_LOST, /* and proven not to run there */
	GROUP_EV_ADOPTED,    /* found running on a node that joined */
	GROUP_EV_NOWHERE,    /* no node can run it */
	GROUP_EV_GIVEN_UP,   /* set offline while failed */
	GROUP_EVENTS
};

/* false: impossible in this state, nothing changed. node: the owner of what begins. */
bool group_apply(struct group_rec *group, enum group_event event, uint8_t node);

/* The rule of "never served twice": nothing of the group may be running on another node. */
bool may_start_on(const struct group_rec *group, uint8_t node);

#endif
