/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Single rtnetlink messages: reading and building. Pure; called by netlink.c.
 */
#ifndef RESOURCES_NETLINK_MESSAGE_H
#define RESOURCES_NETLINK_MESSAGE_H

#include <netlink/msg.h>

#include "resources/netlink.h"

/* 0 or -EPROTO: not one, or not of a kind we know. */
int netlink_parse_link(struct nlmsghdr *msg, struct netlink_link *ret_link);
int netlink_parse_address(struct nlmsghdr *msg, struct ip_address *ret_address, int *ret_ifindex,
	bool *ret_is_primary);

/* NULL: no memory. The sequence number is the caller's to set; nlmsg_free. */
struct nl_msg *netlink_build_change(const struct netlink_change *change);
struct nl_msg *netlink_build_dump(uint16_t type); /* RTM_GETLINK or RTM_GETADDR */

#endif
