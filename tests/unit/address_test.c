/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Addresses with prefix: which are taken, which are refused and with what words.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "resources/address.h"

static void test_good(void **state)
{
	static const struct {
		const char *text, *printed;
	} good[] = {
		{"10.77.0.50/24", "10.77.0.50/24"},
		{"10.0.0.1/1", "10.0.0.1/1"},
		{"10.77.0.0/31", "10.77.0.0/31"},
		{"10.77.0.255/32", "10.77.0.255/32"},
		{"10.77.0.255/23", NULL},
		{"192.0.2.254/24", "192.0.2.254/24"},
		{"FD77:0::50/64", "fd77::50/64"},
		{"fd77::/128", "fd77::/128"},
		{"fd77::/127", "fd77::/127"},
		{"fe80::1/64", "fe80::1/64"},
	};
	char reterr[256], print[ADDRESS_TEXT_SIZE];
	struct ip_address address;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(address_parse(good[i].text, &address, reterr, sizeof(reterr)), 0);
		assert_string_equal(address_print(&address, print),
			good[i].printed ? good[i].printed : good[i].text);
	}
}

static void test_bad(void **state)
{
	static const struct {
		const char *text, *word;
	} bad[] = {
		{"", "is not an IP address"},
		{"web", "is not an IP address"},
		{"10.77.0/24", "is not an IP address"},
		{"10.77.0.256/24", "is not an IP address"},
		{"fd77:::1/64", "is not an IP address"},
		{"/24", "is not an IP address"},
		{"10.77.0.50", "append that of its subnet, such as /24"},
		{"fd77::50", "append that of its subnet, such as /64"},
		{"10.77.0.50/", "a number from 1 to 32"},
		{"10.77.0.50/0", "a number from 1 to 32"},
		{"10.77.0.50/33", "a number from 1 to 32"},
		{"10.77.0.50/ 24", "a number from 1 to 32"},
		{"10.77.0.50/+24", "a number from 1 to 32"},
		{"10.77.0.50/4294967320", "a number from 1 to 32"},
		{"fd77::50/129", "a number from 1 to 128"},
		{"0.0.0.0/24", "the unspecified address"},
		{"::/64", "the unspecified address"},
		{"0.1.2.3/8", "this network"},
		{"127.0.0.5/8", "a loopback address"},
		{"::1/128", "the loopback address"},
		{"224.0.0.18/24", "a multicast address"},
		{"ff02::1/64", "a multicast address"},
		{"255.255.255.255/32", "a reserved address"},
		{"::ffff:10.0.0.1/96", "an IPv4 address in IPv6 notation"},
		{"10.77.0.0/24", "the network address"},
		{"10.77.0.255/24", "the broadcast address"},
		{"10.77.1.255/23", "the broadcast address"},
		{"fd77::/64", "the router anycast address"},
	};
	char reterr[256];
	struct ip_address address;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		reterr[0] = '\0';
		assert_true(address_parse(bad[i].text, &address, reterr, sizeof(reterr)) < 0);
		if (!strstr(reterr, bad[i].word))
			fail_msg("%s: \"%s\" lacks \"%s\"", bad[i].text, reterr, bad[i].word);
	}
}

static struct ip_address parse(const char *text)
{
	char reterr[256];
	struct ip_address address;

	assert_int_equal(address_parse(text, &address, reterr, sizeof(reterr)), 0);
	return address;
}

static void test_subnets(void **state)
{
	struct ip_address a = parse("10.77.0.50/23"), b = parse("10.77.1.7/23");
	struct ip_address other = parse("10.77.2.7/23"), longer = parse("10.77.0.51/24");
	struct ip_address v6 = parse("fd77::50/61"), v6_same = parse("fd77:0:0:7::1/61");
	struct ip_address v6_other = parse("fd77:0:0:8::1/61");

	(void)state;
	assert_true(address_is_same_subnet(&a, &b));
	assert_false(address_is_same_subnet(&a, &other));
	assert_false(address_is_same_subnet(&a, &longer));
	assert_true(address_is_same_subnet(&v6, &v6_same));
	assert_false(address_is_same_subnet(&v6, &v6_other));
	assert_false(address_is_same_subnet(&a, &v6));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_subnets),
	};

	return cmocka_run_group_tests_name("address", tests, NULL, NULL);
}
