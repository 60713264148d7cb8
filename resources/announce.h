/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The Ethernet frames that tell neighbours who holds an address. Pure: bytes in, bytes out.
 *
 * Gratuitous ARP: RFC 826 layout, RFC 5227 section 3 on the request form. Unsolicited Neighbour
 * Advertisement: RFC 4861 sections 4.4 and 7.2.6.
 */
#ifndef RESOURCES_ANNOUNCE_H
#define RESOURCES_ANNOUNCE_H

#include <stddef.h>
#include <stdint.h>

#include "resources/address.h"

#define ANNOUNCE_MAC_LEN 6
#define ANNOUNCE_ARP_LEN 42 /* Ethernet 14, ARP 28; drivers pad it */
#define ANNOUNCE_NA_LEN 86  /* Ethernet 14, IPv6 40, NA 24, target link-layer option 8 */
#define ANNOUNCE_FRAME_MAX ANNOUNCE_NA_LEN
#define ANNOUNCE_FRAMES_MAX 2 /* for one address */

struct announce_frame {
	size_t len;
	uint8_t bytes[ANNOUNCE_FRAME_MAX];
};

/* Writes the address's frames in the order they must be sent; returns how many: IPv4 two (request
 * form, then reply form), IPv6 one. */
size_t announce_build(const struct ip_address *address, const uint8_t mac[ANNOUNCE_MAC_LEN],
	struct announce_frame ret_frames[ANNOUNCE_FRAMES_MAX]);

#endif
