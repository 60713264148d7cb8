/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The announcement frames, byte by byte against the layouts of RFC 826 and RFC 4861.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "resources/announce.h"

static const uint8_t mac[ANNOUNCE_MAC_LEN] = {0x02, 0x11, 0x22, 0x33, 0x44, 0x55};

static struct ip_address parse(const char *text)
{
	char reterr[256];
	struct ip_address address;

	assert_int_equal(address_parse(text, &address, reterr, sizeof(reterr)), 0);
	return address;
}

static void assert_frame(const struct announce_frame *frame, const uint8_t *bytes, size_t len)
{
	assert_int_equal(frame->len, len);
	assert_memory_equal(frame->bytes, bytes, len);
}

/* clang-format off */
static void test_arp_request_form_then_reply_form(void **state)
{
	static const uint8_t request[] = {
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0x11, 0x22, 0x33, 0x44, 0x55, 0x08, 0x06,
		0x00, 0x01, 0x08, 0x00, 6, 4, 0x00, 0x01, /* Ethernet, IPv4, lengths, request */
		0x02, 0x11, 0x22, 0x33, 0x44, 0x55, 10, 77, 0, 50, /* sender */
		0, 0, 0, 0, 0, 0, 10, 77, 0, 50,                   /* target */
	};
	static const uint8_t reply[] = {
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0x11, 0x22, 0x33, 0x44, 0x55, 0x08, 0x06,
		0x00, 0x01, 0x08, 0x00, 6, 4, 0x00, 0x02, /* reply */
		0x02, 0x11, 0x22, 0x33, 0x44, 0x55, 10, 77, 0, 50,
		0x02, 0x11, 0x22, 0x33, 0x44, 0x55, 10, 77, 0, 50,
	};
	struct announce_frame frames[ANNOUNCE_FRAMES_MAX];
	struct ip_address address = parse("10.77.0.50/24");

	(void)state;
	assert_int_equal(announce_build(&address, mac, frames), 2);
	assert_frame(&frames[0], request, sizeof(request));
	assert_frame(&frames[1], reply, sizeof(reply));
}

static void test_neighbour_advertisement(void **state)
{
	static const uint8_t na[] = {
		0x33, 0x33, 0, 0, 0, 1, 0x02, 0x11, 0x22, 0x33, 0x44, 0x55, 0x86, 0xdd,
		0x60, 0, 0, 0, 0, 32, 58, 255, /* version, payload length, ICMPv6, hop limit */
		0xfd, 0x77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, /* source: the address */
		0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,    /* all nodes */
		136, 0, 0xf2, 0x76, /* type, code, checksum (worked out apart from this code) */
		0x20, 0, 0, 0,       /* Override alone */
		0xfd, 0x77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, /* target */
		2, 1, 0x02, 0x11, 0x22, 0x33, 0x44, 0x55, /* target link-layer address */
	};
	struct announce_frame frames[ANNOUNCE_FRAMES_MAX];
	struct ip_address address = parse("fd77::50/64");

	(void)state;
	assert_int_equal(announce_build(&address, mac, frames), 1);
	assert_frame(&frames[0], na, sizeof(na));
}
/* clang-format on */

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_arp_request_form_then_reply_form),
		cmocka_unit_test(test_neighbour_advertisement),
	};

	return cmocka_run_group_tests_name("announce", tests, NULL, NULL);
}
