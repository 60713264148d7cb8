/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a virtual IP needs of its link besides the address: kernel settings, multicast groups.
 */
#ifndef RESOURCES_LINK_SETUP_H
#define RESOURCES_LINK_SETUP_H

#include <stddef.h>

#include "resources/address.h"

struct solicited;

/* IPv4 settings of one link; they are raised and never put back, as others may rely on them by
 * then. promote_secondaries  removing the node's own address leaves the virtual ones arp_ignore
 * only the link that has an address answers for it arp_announce         a virtual address is not
 * used as the sender of ARP requests 0, or -errno with the setting that could not be written in
 * reterr. */
int link_setup_ipv4(const char *name, char *reterr, size_t size);

/* Memberships in solicited-node groups (RFC 4291 section 2.7.1): with them a standby's switch
 * forwards neighbour solicitations to it before it has the address. */
int solicited_new(struct solicited **ret_solicited);
void solicited_free(struct solicited *solicited);
/* *ret_socket: to be handed to solicited_leave. 0 or -errno. Joining twice counts once. */
int solicited_join(struct solicited *solicited, int ifindex, const struct ip_address *address,
	int *ret_socket);
void solicited_leave(int socket, int ifindex, const struct ip_address *address);
bool solicited_is_same_group(const struct ip_address *a, const struct ip_address *b);

#endif
