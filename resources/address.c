/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Addresses with a prefix length: reading, comparing, printing. Pure; called by the vip files.
 */
#include "resources/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define EXAMPLE "write it as in 10.77.0.50/24 or fd77::50/64"

bool address_is_equal(const struct ip_address *a, const struct ip_address *b)
{
	return a->family == b->family && memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

struct ip_address address_subnet(const struct ip_address *address)
{
	struct ip_address subnet = *address;

	for (size_t i = 0; i < address_len(address); i++) {
		size_t bits = i * 8 >= subnet.prefix_len ? 0 : subnet.prefix_len - i * 8;

		if (bits < 8)
			subnet.bytes[i] &= (uint8_t)(0xff00u >> bits);
	}
	return subnet;
}

bool address_is_same_subnet(const struct ip_address *a, const struct ip_address *b)
{
	struct ip_address a_net, b_net;

	if (a->family != b->family || a->prefix_len != b->prefix_len)
		return false;
	a_net = address_subnet(a);
	b_net = address_subnet(b);
	return address_is_equal(&a_net, &b_net);
}

bool address_is_link_local(const struct ip_address *address)
{
	return address->family == AF_INET6 && address->bytes[0] == 0xfe &&
	       (address->bytes[1] & 0xc0) == 0x80;
}

const char *address_print_bare(const struct ip_address *address, char text[ADDRESS_TEXT_SIZE])
{
	if (!inet_ntop(address->family, address->bytes, text, ADDRESS_TEXT_SIZE))
		text[0] = '\0';
	return text;
}

const char *address_print(const struct ip_address *address, char text[ADDRESS_TEXT_SIZE])
{
	size_t len = strlen(address_print_bare(address, text));

	snprintf(text + len, ADDRESS_TEXT_SIZE - len, "/%u", address->prefix_len);
	return text;
}

static int parse_bytes(const char *text, size_t len, struct ip_address *ret_address)
{
	char bare[INET6_ADDRSTRLEN];

	if (len == 0 || len >= sizeof(bare))
		return -EINVAL;
	memcpy(bare, text, len);
	bare[len] = '\0';
	*ret_address = (struct ip_address){.family = AF_INET};
	if (inet_pton(AF_INET, bare, ret_address->bytes) == 1)
		return 0;
	ret_address->family = AF_INET6;
	return inet_pton(AF_INET6, bare, ret_address->bytes) == 1 ? 0 : -EINVAL;
}

/* Digits only: strtol would take blanks and signs. -1: not a number up to max. */
static int parse_prefix(const char *text, int max)
{
	int prefix_len = 0;

	if (text[0] == '\0')
		return -1;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return -1;
		prefix_len = prefix_len * 10 + (*text - '0');
		if (prefix_len > max)
			return -1;
	}
	return prefix_len;
}

/* What makes an address unfit for a host, whatever its prefix; NULL: nothing. */
static const char *unusable_kind(const struct ip_address *address)
{
	static const uint8_t zero[16], v6_loopback[16] = {[15] = 1};
	static const uint8_t v4_mapped[12] = {[10] = 0xff, [11] = 0xff};
	const uint8_t *b = address->bytes;

	if (memcmp(b, zero, sizeof(zero)) == 0)
		return "the unspecified address";
	if (address->family == AF_INET) {
		if (b[0] == 0)
			return "an address of \"this network\" (0.0.0.0/8)";
		if (b[0] == 127)
			return "a loopback address";
		if ((b[0] & 0xf0) == 0xe0)
			return "a multicast address";
		return (b[0] & 0xf0) == 0xf0 ? "a reserved address (240.0.0.0/4)" : NULL;
	}
	if (memcmp(b, v6_loopback, sizeof(v6_loopback)) == 0)
		return "the loopback address";
	if (b[0] == 0xff)
		return "a multicast address";
	if (memcmp(b, v4_mapped, sizeof(v4_mapped)) == 0)
		return "an IPv4 address in IPv6 notation";
	return NULL;
}

/* The first and, with IPv4, the last address of a subnet mean the subnet (RFC 919, RFC 4291 section
 * 2.6.1), but for the smallest ones (RFC 3021, RFC 6164). */
static const char *unusable_in_subnet(const struct ip_address *address)
{
	size_t bits = address_len(address) * 8;
	struct ip_address subnet = address_subnet(address), inverse = *address;

	if (address->prefix_len + 1u >= bits)
		return NULL;
	if (address_is_equal(address, &subnet))
		return address->family == AF_INET ? "the network address of its subnet"
						  : "the router anycast address of its subnet";
	if (address->family == AF_INET6)
		return NULL;
	for (size_t i = 0; i < 4; i++)
		inverse.bytes[i] = (uint8_t)~inverse.bytes[i];
	subnet = address_subnet(&inverse);
	return address_is_equal(&inverse, &subnet) ? "the broadcast address of its subnet" : NULL;
}

int address_parse(const char *text, struct ip_address *ret_address, char *reterr, size_t size)
{
	const char *slash = strchr(text, '/'), *why;
	struct ip_address address;
	int max, prefix_len;

	if (parse_bytes(text, slash ? (size_t)(slash - text) : strlen(text), &address) < 0) {
		snprintf(reterr, size,
			"\"%.80s\" is not an IP address with a prefix length; " EXAMPLE, text);
		return -EINVAL;
	}
	max = (int)address_len(&address) * 8;
	if (!slash) {
		snprintf(reterr, size,
			"\"%.80s\" has no prefix length; append that of its subnet, such as /%d",
			text, max == 32 ? 24 : 64);
		return -EINVAL;
	}
	prefix_len = parse_prefix(slash + 1, max);
	if (prefix_len < 1) {
		snprintf(reterr, size, "\"%.80s\": the prefix length must be a number from 1 to %d",
			text, max);
		return -EINVAL;
	}
	address.prefix_len = (uint8_t)prefix_len;
	why = unusable_kind(&address);
	if (!why)
		why = unusable_in_subnet(&address);
	if (why) {
		snprintf(reterr, size,
			"\"%.80s\" is %s, which no host can serve; give a free address of the "
			"subnet",
			text, why);
		return -EINVAL;
	}
	*ret_address = address;
	return 0;
}
