/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * rtnetlink messages to and from plain structs, by libnl. Called by netlink.c.
 */
#include "resources/netlink_message.h"

#include <errno.h>
#include <net/if_arp.h>
#include <string.h>
#include <sys/socket.h>
#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>

#define NETLINK_MESSAGE_SIZE 128 /* bytes of a request */
/* Who made the address, for `ip addr show proto`; below are the kernel's own (IFAPROT_KERNEL_*).
 * Kernels before 5.18 ignore it. */
#define NETLINK_ADDRESS_PROTO 118

int netlink_parse_link(struct nlmsghdr *msg, struct netlink_link *ret_link)
{
	const struct ifinfomsg *info = nlmsg_data(msg);
	struct nlattr *attrs[IFLA_MAX + 1];

	if (!nlmsg_valid_hdr(msg, sizeof(*info)) ||
		nlmsg_parse(msg, sizeof(*info), attrs, IFLA_MAX, NULL) < 0)
		return -EPROTO;
	*ret_link = (struct netlink_link){.index = info->ifi_index, .hw_type = info->ifi_type};
	if (attrs[IFLA_IFNAME])
		(void)nla_strlcpy(ret_link->name, attrs[IFLA_IFNAME], sizeof(ret_link->name));
	if (attrs[IFLA_ADDRESS] && nla_len(attrs[IFLA_ADDRESS]) == sizeof(ret_link->mac))
		memcpy(ret_link->mac, nla_data(attrs[IFLA_ADDRESS]), sizeof(ret_link->mac));
	ret_link->has_neighbours =
		info->ifi_type == ARPHRD_ETHER && !(info->ifi_flags & (IFF_NOARP | IFF_LOOPBACK));
	ret_link->is_up = (info->ifi_flags & IFF_UP) && (info->ifi_flags & IFF_LOWER_UP) &&
			  (info->ifi_flags & IFF_RUNNING);
	ret_link->seen = true;
	return 0;
}

int netlink_parse_address(struct nlmsghdr *msg, struct ip_address *ret_address, int *ret_ifindex,
	bool *ret_is_primary)
{
	const struct ifaddrmsg *info = nlmsg_data(msg);
	struct nlattr *attrs[IFA_MAX + 1], *attr;
	struct ip_address address = {0};

	if (!nlmsg_valid_hdr(msg, sizeof(*info)) ||
		nlmsg_parse(msg, sizeof(*info), attrs, IFA_MAX, NULL) < 0)
		return -EPROTO;
	if (info->ifa_family != AF_INET && info->ifa_family != AF_INET6)
		return -EPROTO;
	address.family = info->ifa_family;
	address.prefix_len = info->ifa_prefixlen;
	/* With a peer, IFA_ADDRESS is the peer's. */
	attr = attrs[IFA_LOCAL] ? attrs[IFA_LOCAL] : attrs[IFA_ADDRESS];
	if (!attr || (size_t)nla_len(attr) != address_len(&address))
		return -EPROTO;
	memcpy(address.bytes, nla_data(attr), address_len(&address));
	*ret_address = address;
	*ret_ifindex = (int)info->ifa_index;
	*ret_is_primary = info->ifa_family == AF_INET && !(info->ifa_flags & IFA_F_SECONDARY);
	return 0;
}

struct nl_msg *netlink_build_change(const struct netlink_change *change)
{
	const struct ip_address *address = &change->address;
	struct ifaddrmsg info = {.ifa_family = address->family,
		.ifa_prefixlen = address->prefix_len,
		.ifa_scope = address_is_link_local(address) ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE,
		.ifa_index = (uint32_t)change->ifindex};
	struct nl_msg *msg = nlmsg_alloc_size(NETLINK_MESSAGE_SIZE);
	int len = (int)address_len(address);

	if (!msg || !nlmsg_put(msg, 0, 0, change->add ? RTM_NEWADDR : RTM_DELADDR, 0,
			    NLM_F_REQUEST | NLM_F_ACK |
				    (change->add ? NLM_F_CREATE | NLM_F_REPLACE : 0)))
		goto fail;
	if (nlmsg_append(msg, &info, sizeof(info), NLMSG_ALIGNTO) < 0 ||
		nla_put(msg, IFA_LOCAL, len, address->bytes) < 0 ||
		nla_put(msg, IFA_ADDRESS, len, address->bytes) < 0)
		goto fail;
	if (change->add && nla_put_u8(msg, IFA_PROTO, NETLINK_ADDRESS_PROTO) < 0)
		goto fail;
	if (change->add && address->family == AF_INET6) {
		/* No duplicate detection: it would keep the address silent for a second, and the
		 * cluster knows that it is free. Deprecated from the start (RFC 4862 section
		 * 5.5.4): it serves whoever connects to it, but the node never chooses it as the
		 * source of its own connections, which would break when the address moves. An
		 * IPv4 address needs no such mark: it is added behind the node's own. */
		struct ifa_cacheinfo life = {.ifa_prefered = 0, .ifa_valid = UINT32_MAX};

		if (nla_put_u32(msg, IFA_FLAGS, IFA_F_NODAD) < 0 ||
			nla_put(msg, IFA_CACHEINFO, sizeof(life), &life) < 0)
			goto fail;
	}
	return msg;
fail:
	nlmsg_free(msg);
	return NULL;
}

struct nl_msg *netlink_build_dump(uint16_t type)
{
	struct nl_msg *msg = nlmsg_alloc_size(NETLINK_MESSAGE_SIZE);
	struct ifinfomsg link = {.ifi_family = AF_UNSPEC};
	struct ifaddrmsg address = {.ifa_family = AF_UNSPEC};
	bool is_links = type == RTM_GETLINK;

	if (!msg || !nlmsg_put(msg, 0, 0, type, 0, NLM_F_REQUEST | NLM_F_DUMP))
		goto fail;
	if (nlmsg_append(msg, is_links ? (void *)&link : &address,
		    is_links ? sizeof(link) : sizeof(address), NLMSG_ALIGNTO) < 0)
		goto fail;
	if (is_links && nla_put_u32(msg, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS) < 0)
		goto fail;
	return msg;
fail:
	nlmsg_free(msg);
	return NULL;
}
