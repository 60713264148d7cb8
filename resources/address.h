/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An IP address with its prefix length, as the config writes it: "10.77.0.50/24", "fd77::50/64".
 */
#ifndef RESOURCES_ADDRESS_H
#define RESOURCES_ADDRESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ADDRESS_TEXT_SIZE (INET6_ADDRSTRLEN + 4) /* "ADDR/len" */

struct ip_address {
	uint8_t family;     /* AF_INET or AF_INET6 */
	uint8_t prefix_len; /* bits */
	uint8_t bytes[16];  /* network order; AF_INET uses four, the rest is 0 */
};

/* 0, or -EINVAL with reterr (size bytes): what is wrong and what to write. Refuses every address
 * that a host on a subnet can't have: multicast, loopback, a subnet's network or broadcast address.
 */
int address_parse(const char *text, struct ip_address *ret_address, char *reterr, size_t size);

static inline size_t address_len(const struct ip_address *address)
{
	return address->family == AF_INET ? 4 : 16;
}

/* Family and bytes; the prefix does not count. */
bool address_is_equal(const struct ip_address *a, const struct ip_address *b);
/* Same prefix length, same network. */
bool address_is_same_subnet(const struct ip_address *a, const struct ip_address *b);
bool address_is_link_local(const struct ip_address *address);
/* The address with its host bits cleared. */
struct ip_address address_subnet(const struct ip_address *address);

/* With "/len", without it. Both return text. */
const char *address_print(const struct ip_address *address, char text[ADDRESS_TEXT_SIZE]);
const char *address_print_bare(const struct ip_address *address, char text[ADDRESS_TEXT_SIZE]);

#endif
