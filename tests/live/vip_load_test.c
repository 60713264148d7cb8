/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How quick the vip type is with one address and with a thousand. The figures are printed; the
 * bounds asserted are those that a loaded machine keeps too. Needs root, else it is skipped (exit
 * 77).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/live/vip_lab.h"

static int compare_int64(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

/* A bound that a loaded machine keeps; the figures are for reading. */
static void test_one_address_is_quick(void **state)
{
	struct lab *lab = *state;
	struct lab_vip *vip = lab_vip_new(lab, "10.77.0.50/24", "lan0");
	int64_t took_ns[101];

	for (unsigned i = 0; i < 101; i++) {
		int64_t began_ns = clock_boottime_ns();

		assert_int_equal(lab_start(lab, vip), 0);
		took_ns[i] = vip->res->announced_ns - began_ns;
		assert_true(took_ns[i] > 0);
		assert_int_equal(lab_stop(lab, vip), 0);
		lab_turn(lab, 5);
	}
	qsort(took_ns, 101, sizeof(took_ns[0]), compare_int64);
	print_message("one address, start to announced: median %.3f ms, p90 %.3f ms, max %.3f ms\n",
		(double)took_ns[50] / 1e6, (double)took_ns[90] / 1e6, (double)took_ns[100] / 1e6);
	assert_in_range(took_ns[50], 1, 5000000);
}

static bool are_all_done(struct lab *lab)
{
	return lab->n_done == lab->wanted;
}

static long rss_kib(void)
{
	char line[128];
	FILE *file = fopen("/proc/self/status", "r");
	long kib = 0;

	assert_non_null(file);
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "VmRSS: %ld", &kib) == 1)
			break;
	fclose(file);
	return kib;
}

static void start_a_thousand(struct lab *lab, bool is_v6)
{
	int64_t began_ns, last_ns = 0;
	char address[64];
	long before_kib = rss_kib();

	for (unsigned i = 0; i < LAB_VIPS_MAX; i++) {
		if (is_v6)
			snprintf(address, sizeof(address), "fd77::1:%x/64", i + 1);
		else
			snprintf(address, sizeof(address), "10.77.%u.%u/16", 1 + i / 250,
				1 + i % 250);
		lab_vip_new(lab, address, "lan0");
	}
	lab_turn(lab, 200);
	print_message("1,000 %s addresses created: %ld KiB more\n", is_v6 ? "IPv6" : "IPv4",
		rss_kib() - before_kib);
	lab->wanted = LAB_VIPS_MAX;
	lab->n_done = 0;
	began_ns = clock_boottime_ns();
	for (unsigned i = 0; i < LAB_VIPS_MAX; i++)
		vip_type.start(lab->vips[i].res, i);
	assert_true(lab_wait(lab, are_all_done, LAB_LIMIT_MS));
	for (unsigned i = 0; i < LAB_VIPS_MAX; i++) {
		assert_int_equal(lab->vips[i].rc, 0);
		assert_true(lab->vips[i].res->announced_ns > 0);
		if (lab->vips[i].res->announced_ns > last_ns)
			last_ns = lab->vips[i].res->announced_ns;
	}
	print_message("the last one announced after %.1f ms; longest callback %.1f ms (%s)\n",
		(double)(last_ns - began_ns) / 1e6, (double)loop_stats(lab->loop)->longest_ns / 1e6,
		loop_stats(lab->loop)->longest_label);
	assert_in_range(last_ns - began_ns, 1, 5000000000);
}

static void stop_a_thousand(struct lab *lab)
{
	int64_t began_ns = clock_boottime_ns();

	lab->n_done = 0;
	for (unsigned i = 0; i < LAB_VIPS_MAX; i++)
		vip_type.stop(lab->vips[i].res, i);
	assert_true(lab_wait(lab, are_all_done, LAB_LIMIT_MS));
	for (unsigned i = 0; i < LAB_VIPS_MAX; i++)
		assert_int_equal(lab->vips[i].rc, 0);
	print_message("all stopped after %.1f ms; longest callback so far %.1f ms (%s)\n",
		(double)(clock_boottime_ns() - began_ns) / 1e6,
		(double)loop_stats(lab->loop)->longest_ns / 1e6,
		loop_stats(lab->loop)->longest_label);
}

static void test_a_thousand_ipv4(void **state)
{
	struct lab *lab = *state;
	unsigned n;

	start_a_thousand(lab, false);
	lab_turn(lab, 500);
	for (unsigned i = 0; i < LAB_VIPS_MAX; i += 37) {
		char address[64];

		snprintf(address, sizeof(address), "10.77.%u.%u", 1 + i / 250, 1 + i % 250);
		assert_true(lab_frames_of(lab, address, FRAME_ARP_REQUEST) >= 1);
		assert_true(lab_frames_of(lab, address, FRAME_ARP_REPLY) >= 1);
	}
	/* 2,000 at once, then repeats at the pace, and what the kernel says by itself. */
	n = lab->n_frames;
	assert_in_range(n, 2000, 2000 + 2000 + 200);
	lab_turn(lab, 1000);
	assert_in_range(lab->n_frames - n, 1000, 2400);
	stop_a_thousand(lab);
	assert_false(lab_shows("ip -o address show dev lan0", "/16"));
	assert_int_equal(lab->n_notes, 0);
}

static void test_a_thousand_ipv6(void **state)
{
	struct lab *lab = *state;

	start_a_thousand(lab, true);
	lab_turn(lab, 500);
	assert_true(lab_frames_of(lab, "fd77::1:1", FRAME_NA) >= 1);
	assert_true(lab_frames_of(lab, "fd77::1:3e8", FRAME_NA) >= 1);
	stop_a_thousand(lab);
	assert_false(lab_shows("ip -o address show dev lan0", "fd77::1:"));
	assert_int_equal(lab->n_notes, 0);
}

#define LAB_TEST(test) cmocka_unit_test_setup_teardown(test, lab_setup, lab_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		LAB_TEST(test_one_address_is_quick),
		LAB_TEST(test_a_thousand_ipv4),
		LAB_TEST(test_a_thousand_ipv6),
	};

	if (!lab_is_possible())
		return LAB_SKIPPED;
	return cmocka_run_group_tests_name("vip load", tests, NULL, NULL);
}
