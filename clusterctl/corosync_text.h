/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The text of a corosync.conf for the nodes of a clusterd config.
 */
#ifndef CLUSTERCTL_COROSYNC_TEXT_H
#define CLUSTERCTL_COROSYNC_TEXT_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>

#include "clusterd/config.h"

struct corosync_profile {
	const char *name;
	const char *what; /* for people */
	unsigned token_ms;
	unsigned token_retransmits; /* 0: corosync's default, 4 */
};

/* The profiles, best known first; ends with a NULL name. */
extern const struct corosync_profile corosync_profiles[];
/* NULL: no such profile. */
const struct corosync_profile *corosync_profile_find(const char *name);
/* The longest time from a node's death to its addresses being served elsewhere. */
unsigned corosync_profile_takeover_ms(const struct corosync_profile *profile);

struct corosync_addresses {
	unsigned n_links;
	char text[CORE_MAX_NODES][CONFIG_MAX_LINKS][INET6_ADDRSTRLEN]; /* [node][link] */
};

/* The nodes' addresses, as configured or as the names resolve here (may wait for the resolver). 0,
 * or -EINVAL with all that is wrong in errors, "FILE:LINE: node NAME: what and what to do" a line.
 */
int corosync_addresses_find(const struct config *config, const char *file,
	struct corosync_addresses *ret_addresses, FILE *errors);

/* malloc'd; NULL without memory. */
char *corosync_text(const struct config *config, const struct corosync_addresses *addresses,
	const struct corosync_profile *profile);

/* Is it the example that a distribution installs: nodes on a loopback address only? */
bool corosync_text_is_example(const char *text);

#endif
