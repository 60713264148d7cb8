/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the verbs that change something share: --wait, the request, the line that tells the result.
 */
#ifndef CLUSTERCTL_ORDER_H
#define CLUSTERCTL_ORDER_H

#include "clusterctl/clusterctl.h"

#define ORDER_WAIT_DEFAULT_S 60
#define ORDER_WAIT_MAX_S 3600
#define ORDER_MARGIN_MS 15000 /* the daemon's own time-outs come first: it says what goes on */

struct order {
	const char *verb; /* of the control protocol */
	const char *name; /* a group, or a resource of it */
	const char *to;   /* a node, or NULL */
	int wait_s;       /* 0: don't wait */
};

/* The argument of --wait, NULL without one. 0 or -EINVAL. */
int order_parse_wait(const char *text, int *ret_wait_s);

enum ctl_exit order_send(const struct order *order);

#endif
