/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Checks a vip's keys: what no machine could serve is an error, what this machine lacks a warning.
 *
 * Needs no cluster and no privileges. A config may hold thousands of addresses and is checked on
 * the loop at a reload, so the kernel is asked for a route, which is quick, and not for all
 * addresses.
 */
#include "resources/vip_check.h"

#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>

#include "clusterd/config.h"
#include "resources/address.h"

#define VIP_CHECK_NEIGHBOURS 4 /* other addresses of the subnet that are tried */
#define VIP_CHECK_ANSWER_SIZE 4096

static bool interface_name_is_valid(const char *name)
{
	size_t len = strlen(name);

	return len > 0 && len < IF_NAMESIZE && strpbrk(name, "/ \t\n:") == NULL &&
	       strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

/* The route that the kernel finds: its type, or -errno; is_connected: it is the subnet's own. */
static int route_ask(int fd, const struct ip_address *address, bool *ret_is_connected)
{
	struct {
		struct nlmsghdr header;
		struct rtmsg route;
		struct nlattr attr;
		uint8_t bytes[16];
	} ask = {.header = {.nlmsg_type = RTM_GETROUTE, .nlmsg_flags = NLM_F_REQUEST},
		.route = {.rtm_family = address->family,
			.rtm_dst_len = (uint8_t)(address_len(address) * 8),
			.rtm_flags = RTM_F_FIB_MATCH},
		.attr = {.nla_type = RTA_DST}};
	union {
		struct nlmsghdr header;
		char bytes[VIP_CHECK_ANSWER_SIZE];
	} answer;
	const struct rtmsg *route;
	ssize_t len;

	ask.attr.nla_len = (uint16_t)(sizeof(ask.attr) + address_len(address));
	memcpy(ask.bytes, address->bytes, address_len(address));
	ask.header.nlmsg_len = (uint32_t)(sizeof(ask) - sizeof(ask.bytes) + address_len(address));
	if (send(fd, &ask, ask.header.nlmsg_len, MSG_DONTWAIT) < 0)
		return -errno;
	len = recv(fd, &answer, sizeof(answer), MSG_DONTWAIT);
	if (len < 0)
		return -errno;
	if (!nlmsg_ok(&answer.header, (int)len))
		return -EPROTO;
	if (answer.header.nlmsg_type == NLMSG_ERROR) {
		const struct nlmsgerr *err = nlmsg_data(&answer.header);

		return err->error < 0 ? err->error : -EPROTO;
	}
	if (answer.header.nlmsg_type != RTM_NEWROUTE ||
		!nlmsg_valid_hdr(&answer.header, sizeof(*route)))
		return -EPROTO;
	route = nlmsg_data(&answer.header);
	*ret_is_connected = route->rtm_dst_len == address->prefix_len &&
			    !nlmsg_find_attr(&answer.header, sizeof(*route), RTA_GATEWAY);
	return route->rtm_type;
}

/* False only if the kernel is sure that the subnet is not connected to this machine. */
static bool subnet_may_be_here(const struct ip_address *address)
{
	size_t last = address_len(address) - 1, bits = address_len(address) * 8;
	bool may_be = false, is_connected = false;
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	if (fd < 0)
		return true;
	/* The address itself tells nothing where this node serves it. */
	for (unsigned i = 1; i <= VIP_CHECK_NEIGHBOURS && !may_be; i++) {
		struct ip_address neighbour = *address;
		int type;

		if (bits - address->prefix_len < 4 && i >> (bits - address->prefix_len) != 0)
			break;
		neighbour.bytes[last] ^= (uint8_t)i;
		type = route_ask(fd, &neighbour, &is_connected);
		if (type == -ENETUNREACH || type == -EHOSTUNREACH)
			continue;
		may_be = type != RTN_UNICAST || is_connected;
	}
	close(fd);
	return may_be;
}

static void check_interface(const struct config_resource *conf, const char *object,
	const struct param_value *value, struct config_report *report)
{
	if (!interface_name_is_valid(value->str))
		config_report_add(report, false, value->line, object,
			"interface: \"%s\" is not an interface name; write one as `ip link` shows "
			"it, such as \"eth0\"",
			value->str);
	else if (if_nametoindex(value->str) == 0)
		config_report_add(report, true, value->line, object,
			"interface: this machine has no interface \"%s\"; it can't serve %s until "
			"it has one",
			value->str, config_param(conf, "address")->str);
}

void vip_check(const struct config_resource *conf, struct config_report *report)
{
	const struct param_value *address_value = config_param(conf, "address");
	const struct param_value *interface = config_param(conf, "interface");
	char object[CORE_NAME_SIZE + 16], text[CORE_TEXT_SIZE], print[ADDRESS_TEXT_SIZE];
	struct ip_address address, subnet;

	snprintf(object, sizeof(object), "resource %s", conf->name);
	if (address_parse(address_value->str, &address, text, sizeof(text)) < 0) {
		config_report_add(report, false, address_value->line, object, "address: %s", text);
		return;
	}
	if (interface->str) {
		check_interface(conf, object, interface, report);
		return;
	}
	if (address_is_link_local(&address)) {
		config_report_add(report, false, address_value->line, object,
			"address: every interface has the subnet of the link-local address %s; "
			"name one with interface = \"...\"",
			address_value->str);
	} else if (!subnet_may_be_here(&address)) {
		subnet = address_subnet(&address);
		config_report_add(report, true, address_value->line, object,
			"address: no interface of this machine has an address in %s; give one such "
			"an address, or name one with interface = \"...\"",
			address_print(&subnet, print));
	}
}
