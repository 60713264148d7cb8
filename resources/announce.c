/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Frames of gratuitous ARP and of unsolicited Neighbour Advertisements. Pure; called by
 * announcer.c.
 */
#include "resources/announce.h"

#include <arpa/inet.h>
#include <net/ethernet.h>
#include <net/if_arp.h>
#include <netinet/icmp6.h>
#include <netinet/ip6.h>
#include <stddef.h>
#include <string.h>

struct arp_frame {
	struct ether_header eth;
	struct arphdr arp;
	uint8_t sha[6], spa[4], tha[6], tpa[4];
} __attribute__((packed));

struct na_frame {
	struct ether_header eth;
	struct ip6_hdr ip6;
	struct nd_neighbor_advert na;
	struct nd_opt_hdr option;
	uint8_t lladdr[6];
} __attribute__((packed));

_Static_assert(sizeof(struct arp_frame) == ANNOUNCE_ARP_LEN, "ARP frame");
_Static_assert(sizeof(struct na_frame) == ANNOUNCE_NA_LEN, "NA frame");

/*
 * The request form leaves tha zero, as every stack sends it. The reply form repeats the sender in
 * tha: Linux counts a reply as gratuitous, and lets it override an entry younger than its locktime,
 * only then.
 */
static void build_arp(
	const uint8_t ip[4], const uint8_t mac[6], uint16_t op, struct announce_frame *ret_frame)
{
	struct arp_frame frame = {
		.eth.ether_type = htons(ETHERTYPE_ARP),
		.arp = {.ar_hrd = htons(ARPHRD_ETHER),
			.ar_pro = htons(ETHERTYPE_IP),
			.ar_hln = 6,
			.ar_pln = 4,
			.ar_op = htons(op)},
	};

	memset(frame.eth.ether_dhost, 0xff, 6);
	memcpy(frame.eth.ether_shost, mac, 6);
	memcpy(frame.sha, mac, 6);
	memcpy(frame.spa, ip, 4);
	memcpy(frame.tpa, ip, 4);
	if (op == ARPOP_REPLY)
		memcpy(frame.tha, mac, 6);
	memcpy(ret_frame->bytes, &frame, sizeof(frame));
	ret_frame->len = sizeof(frame);
}

/* RFC 1071, over big-endian 16-bit words. len is even here. */
static uint32_t sum_words(const void *data, size_t len, uint32_t sum)
{
	const uint8_t *bytes = data;

	for (size_t i = 0; i < len; i += 2)
		sum += (uint32_t)bytes[i] << 8 | bytes[i + 1];
	return sum;
}

/* Over the pseudo header of RFC 8200 section 8.1: addresses, upper-layer length, next header. */
static uint16_t icmp6_checksum(const struct na_frame *frame)
{
	const size_t len = sizeof(*frame) - offsetof(struct na_frame, na);
	uint32_t sum = (uint32_t)len + IPPROTO_ICMPV6;

	sum = sum_words(&frame->ip6.ip6_src, 32, sum);
	sum = sum_words((const uint8_t *)frame + offsetof(struct na_frame, na), len, sum);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

/* Not marked as a router's: a host that wrongly says so would be taken for a default router, while
 * a router that does not say so here loses nothing of its router advertisements. */
static void build_na(const uint8_t ip[16], const uint8_t mac[6], struct announce_frame *ret_frame)
{
	static const uint8_t all_nodes[16] = {0xff, 0x02, [15] = 0x01};
	static const uint8_t all_nodes_mac[6] = {0x33, 0x33, 0, 0, 0, 0x01};
	struct na_frame frame = {
		.eth.ether_type = htons(ETHERTYPE_IPV6),
		.na.nd_na_hdr.icmp6_type = ND_NEIGHBOR_ADVERT,
		.option = {.nd_opt_type = ND_OPT_TARGET_LINKADDR, .nd_opt_len = 1},
	};

	memcpy(frame.eth.ether_dhost, all_nodes_mac, 6);
	memcpy(frame.eth.ether_shost, mac, 6);
	frame.ip6.ip6_flow = htonl(6u << 28);
	frame.ip6.ip6_plen = htons(sizeof(frame) - offsetof(struct na_frame, na));
	frame.ip6.ip6_nxt = IPPROTO_ICMPV6;
	frame.ip6.ip6_hlim = 255;
	memcpy(&frame.ip6.ip6_src, ip, 16);
	memcpy(&frame.ip6.ip6_dst, all_nodes, 16);
	frame.na.nd_na_hdr.icmp6_dataun.icmp6_un_data32[0] = ND_NA_FLAG_OVERRIDE;
	memcpy(&frame.na.nd_na_target, ip, 16);
	memcpy(frame.lladdr, mac, 6);
	frame.na.nd_na_hdr.icmp6_cksum = htons(icmp6_checksum(&frame));
	memcpy(ret_frame->bytes, &frame, sizeof(frame));
	ret_frame->len = sizeof(frame);
}

size_t announce_build(const struct ip_address *address, const uint8_t mac[ANNOUNCE_MAC_LEN],
	struct announce_frame ret_frames[ANNOUNCE_FRAMES_MAX])
{
	if (address->family == AF_INET6) {
		build_na(address->bytes, mac, &ret_frames[0]);
		return 1;
	}
	build_arp(address->bytes, mac, ARPOP_REQUEST, &ret_frames[0]);
	build_arp(address->bytes, mac, ARPOP_REPLY, &ret_frames[1]);
	return 2;
}
