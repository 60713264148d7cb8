/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The vip type against the real kernel, in network namespaces of its own. Needs root; without it,
 * or without the right to make namespaces, it is skipped (exit 77).
 */
#include <arpa/inet.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/live/vip_lab.h"

#define VIP4 "10.77.0.50"
#define VIP6 "fd77::50"

/* When each announcement of the kind came, in ms since the first one of it. */
static unsigned frame_times(const struct lab *lab, const char *address, enum frame_kind kind,
	int ret_ms[], unsigned max)
{
	int64_t first_ns = 0;
	unsigned n = 0;

	for (unsigned i = 0; i < lab->n_frames && n < max; i++) {
		if (lab_frame_kind(&lab->frames[i], address) != kind)
			continue;
		if (n == 0)
			first_ns = lab->frames[i].at_ns;
		ret_ms[n++] = (int)((lab->frames[i].at_ns - first_ns) / 1000000);
	}
	return n;
}

static bool is_set(const char *address)
{
	char text[64];

	snprintf(text, sizeof(text), " %s/", address);
	return lab_shows("ip -o address show", text);
}

static bool is_vip4_set(struct lab *lab)
{
	(void)lab;
	return is_set(VIP4);
}

static bool has_announced(struct lab *lab)
{
	return lab_frames_of(lab, VIP4, FRAME_ARP_REPLY) >= lab->wanted;
}

static bool has_noted(struct lab *lab)
{
	return lab->n_notes >= lab->wanted;
}

static bool has_failed(struct lab *lab)
{
	return lab->of->n_failed >= lab->wanted;
}

static bool is_fit(struct lab *lab)
{
	return lab->of->n_fit >= lab->wanted;
}

static void assert_fit_follows(struct lab *lab, struct lab_vip *vip, unsigned n)
{
	lab->of = vip;
	lab->wanted = n;
	assert_true(lab_wait(lab, is_fit, LAB_LIMIT_MS));
	assert_int_equal(vip->n_fit, n);
}

static void assert_fails(struct lab *lab, struct lab_vip *vip, const char *text)
{
	lab->of = vip;
	lab->wanted = 1;
	assert_true(lab_wait(lab, has_failed, LAB_LIMIT_MS));
	assert_int_equal(vip->n_failed, 1);
	assert_int_equal(vip->n_unfit, 1);
	assert_non_null(strstr(vip->text, text));
}

static void assert_repeats(const struct lab *lab, const char *address, enum frame_kind kind)
{
	static const int due_ms[] = {0, 100, 300, 1000, 3000};
	int at_ms[8] = {0};

	assert_int_equal(frame_times(lab, address, kind, at_ms, 8), 5);
	for (int i = 0; i < 5; i++)
		assert_in_range(at_ms[i], due_ms[i] - (i > 0), due_ms[i] + 250);
}

static void test_start_announces_repeats_and_stop_removes(void **state)
{
	struct lab *lab = *state;
	struct lab_vip *v4 = lab_vip_new(lab, VIP4 "/24", "lan0");
	struct lab_vip *v6 = lab_vip_new(lab, VIP6 "/64", "lan0");
	int64_t before_ns = clock_boottime_ns();
	unsigned i = 0;

	assert_int_equal(lab_start(lab, v4), 0);
	assert_int_equal(lab_start(lab, v6), 0);
	assert_true(before_ns < v4->res->set_ns);
	assert_true(v4->res->set_ns <= v4->res->announced_ns);
	assert_true(v6->res->set_ns <= v6->res->announced_ns);
	assert_true(is_set(VIP4) && is_set(VIP6));
	assert_true(lab_shows("ip -o -6 address show deprecated", VIP6 "/64"));
	assert_true(lab_shows("ip -o -6 address show nodad", VIP6 "/64"));
	assert_true(lab_shows("cat /proc/sys/net/ipv4/conf/lan0/arp_ignore", "1"));
	assert_true(lab_shows("cat /proc/sys/net/ipv4/conf/lan0/arp_announce", "2"));
	assert_int_equal(lab_probe(lab, v4), PROBE_RUNNING);

	lab_turn(lab, 4000);
	assert_repeats(lab, VIP4, FRAME_ARP_REQUEST);
	assert_repeats(lab, VIP4, FRAME_ARP_REPLY);
	assert_repeats(lab, VIP6, FRAME_NA);
	while (lab_frame_kind(&lab->frames[i], VIP4) == FRAME_OTHER)
		i++;
	assert_int_equal(lab_frame_kind(&lab->frames[i], VIP4), FRAME_ARP_REQUEST);
	lab_run_peer(lab, "ping -c 1 -W 2 " VIP4 " >/dev/null");
	lab_run_peer(lab, "ping -c 1 -W 2 " VIP6 " >/dev/null");

	assert_int_equal(lab_stop(lab, v4), 0);
	assert_int_equal(lab_stop(lab, v6), 0);
	assert_false(is_set(VIP4) || is_set(VIP6));
	assert_int_equal(lab_probe(lab, v4), PROBE_STOPPED);
	assert_int_equal(lab_stop(lab, v4), 0);
	lab_turn(lab, 300);
	assert_int_equal(lab->n_notes, 0);
	assert_int_equal(v4->n_failed, 0);
	assert_false(is_set(VIP4));
}

static void test_stop_drops_repeats(void **state)
{
	struct lab *lab = *state;
	struct lab_vip *vip = lab_vip_new(lab, VIP4 "/24", "lan0");

	assert_int_equal(lab_start(lab, vip), 0);
	lab->wanted = 2;
	assert_true(lab_wait(lab, has_announced, LAB_LIMIT_MS));
	assert_int_equal(lab_stop(lab, vip), 0);
	lab_turn(lab, 1200);
	assert_in_range(lab_frames_of(lab, VIP4, FRAME_ARP_REPLY), 2, 3);
}

/* What all of it is for: a neighbour that believes somebody else learns better at once. */
static void test_neighbour_learns(void **state)
{
	struct lab *lab = *state;
	char command[96];

	lab_run_peer(
		lab, "ip neigh replace " VIP4 " lladdr 02:00:00:00:00:99 dev peer0 nud reachable");
	lab_run_peer(
		lab, "ip neigh replace " VIP6 " lladdr 02:00:00:00:00:99 dev peer0 nud reachable");
	assert_int_equal(lab_start(lab, lab_vip_new(lab, VIP4 "/24", "lan0")), 0);
	assert_int_equal(lab_start(lab, lab_vip_new(lab, VIP6 "/64", "lan0")), 0);
	snprintf(command, sizeof(command), "nsenter -t %d -n ip neigh show", (int)lab->peer);
	assert_true(lab_shows(command, VIP4 " dev peer0 lladdr"));
	assert_true(lab_shows(command, VIP6 " dev peer0 lladdr"));
	assert_false(lab_shows(command, ":99 "));
}

static void test_start_of_existing_and_adopt(void **state)
{
	struct lab *lab = *state;
	struct lab_vip *v4 = lab_vip_new(lab, VIP4 "/24", "lan0");
	struct lab_vip *v6 = lab_vip_new(lab, VIP6 "/64", "lan0");

	lab_run("ip address add " VIP4 "/24 dev lan0");
	lab_run("ip address add " VIP6 "/64 dev lan0");
	assert_int_equal(lab_probe(lab, v4), PROBE_RUNNING);
	assert_int_equal(lab_probe(lab, v6), PROBE_RUNNING);
	assert_int_equal(lab_start(lab, v6), 0);
	vip_type.adopt(v4->res);
	lab->wanted = 1;
	assert_true(lab_wait(lab, has_announced, LAB_LIMIT_MS));
	assert_int_equal(lab->n_notes, 0);
	lab_run("ip address del " VIP4 "/24 dev lan0");
	assert_true(lab_wait(lab, is_vip4_set, 1000));
	assert_int_equal(lab_stop(lab, v4), 0);
	assert_int_equal(lab_stop(lab, v6), 0);
	assert_false(is_set(VIP4) || is_set(VIP6));
}

/* Wherever it is: on another link, with another prefix length. */
static void test_stop_removes_it_everywhere(void **state)
{
	struct lab *lab = *state;
	struct lab_vip *vip = lab_vip_new(lab, VIP4 "/24", "lan0");

	lab_run("ip address add " VIP4 "/32 dev lo");
	assert_int_equal(lab_start(lab, vip), 0);
	lab_run("ip address add " VIP4 "/25 dev lan0");
	assert_int_equal(lab_stop(lab, vip), 0);
	assert_false(is_set(VIP4));
	lab_run("ip address add " VIP4 "/24 dev lan0");
	assert_int_equal(lab_probe(lab, vip), PROBE_RUNNING);
	assert_int_equal(lab_stop(lab, vip), 0);
	assert_false(is_set(VIP4));
}

static void test_deleted_is_put_back(void **state)
{
	struct lab *lab = *state;
	struct lab_vip *v4 = lab_vip_new(lab, VIP4 "/24", "lan0");
	struct lab_vip *v6 = lab_vip_new(lab, VIP6 "/64", "lan0");
	int64_t began_ns = clock_boottime_ns();
	unsigned at_most;

	assert_int_equal(lab_start(lab, v4), 0);
	assert_int_equal(lab_start(lab, v6), 0);
	lab_run("ip address flush dev lan0 to " VIP4);
	lab_run("ip address flush dev lan0 to " VIP6);
	lab->wanted = 2;
	assert_true(lab_wait(lab, has_noted, 1000));
	assert_true(is_set(VIP4) && is_set(VIP6));
	assert_int_equal(lab_notes_with(lab, VIP4 "/24 was deleted from lan0 by somebody"), 1);
	assert_int_equal(lab_notes_with(lab, VIP6 "/64 was deleted from lan0 by somebody"), 1);

	/* Again and again: put back each time, but not at any rate. */
	for (unsigned i = 0; i < 10; i++) {
		lab_run("ip address flush dev lan0 to " VIP4);
		assert_true(lab_wait(lab, is_vip4_set, 1000));
	}
	lab_turn(lab, 50);
	at_most = (unsigned)((clock_boottime_ns() - began_ns) / 200000000) + 1;
	assert_in_range(lab_notes_with(lab, VIP4), 11, at_most);
	assert_int_equal(v4->n_failed + v6->n_failed, 0);
}

/* Stops and starts that follow each other at once leave events behind that are already obsolete. */
static void test_own_deletions_are_not_mistaken(void **state)
{
	struct lab *lab = *state;
	struct lab_vip *v4 = lab_vip_new(lab, VIP4 "/24", "lan0");

	for (unsigned i = 0; i < 50; i++) {
		assert_int_equal(lab_start(lab, v4), 0);
		assert_int_equal(lab_stop(lab, v4), 0);
	}
	assert_int_equal(lab_start(lab, v4), 0);
	lab_turn(lab, 300);
	assert_true(is_set(VIP4));
	assert_int_equal(lab_stop(lab, v4), 0);
	lab_turn(lab, 300);
	assert_false(is_set(VIP4));
	assert_int_equal(lab->n_notes, 0);
	assert_int_equal(v4->n_failed, 0);
}

static void test_carrier_lost_and_back(void **state)
{
	struct lab *lab = *state;
	struct lab_vip *vip = lab_vip_new(lab, VIP6 "/64", "lan0");
	struct lab_vip *standby = lab_vip_new(lab, VIP4 "/24", "lan0");

	assert_int_equal(lab_start(lab, vip), 0);
	lab_run_peer(lab, "ip link set peer0 down");
	assert_fails(lab, vip, "interface lan0 is down or has no carrier");
	assert_int_equal(lab_stop(lab, vip), 0);
	assert_int_equal(lab_start(lab, standby), -ENETDOWN);
	assert_non_null(strstr(standby->text, "no carrier"));
	assert_false(is_set(VIP4) || is_set(VIP6));

	lab_run_peer(lab, "ip link set peer0 up");
	assert_fit_follows(lab, vip, 1);
	assert_fit_follows(lab, standby, 1);
	assert_int_equal(lab_start(lab, standby), 0);
	assert_int_equal(lab_start(lab, vip), 0);
	assert_int_equal(standby->n_failed, 0);
}

/* Nobody stops it meanwhile: it must serve again, also where the kernel has dropped the address. */
static void test_admin_down_and_up(void **state)
{
	struct lab *lab = *state;
	struct lab_vip *vip = lab_vip_new(lab, VIP6 "/64", "lan0");

	assert_int_equal(lab_start(lab, vip), 0);
	lab_run("ip link set lan0 down");
	assert_fails(lab, vip, "interface lan0 is down");
	lab_turn(lab, 300);
	assert_false(is_set(VIP6));
	lab_run("ip link set lan0 up");
	assert_fit_follows(lab, vip, 1);
	lab_turn(lab, 300);
	assert_true(is_set(VIP6));
	assert_int_equal(vip->n_failed, 1);
}

static bool is_group_joined(void)
{
	return lab_shows("ip maddress show dev lan0", "ff02::1:ff00:50");
}

static void test_interface_deleted_and_recreated(void **state)
{
	struct lab *lab = *state;
	struct lab_vip *v4 = lab_vip_new(lab, VIP4 "/24", "lan0");
	struct lab_vip *standby6 = lab_vip_new(lab, VIP6 "/64", "lan0");

	lab_turn(lab, 50);
	assert_true(is_group_joined());
	assert_int_equal(lab_start(lab, v4), 0);
	lab_run("ip link del lan0");
	assert_fails(lab, v4, "interface lan0 does not exist");
	assert_int_equal(lab_stop(lab, v4), 0);
	assert_int_equal(lab_start(lab, v4), -ENETDOWN);
	lab_run("ip link add lan0 type veth peer name peer0 netns %d && ip link set lan0 up",
		(int)lab->peer);
	assert_int_equal(v4->n_fit, 0);
	lab_run_peer(lab, "ip link set peer0 up");
	assert_fit_follows(lab, v4, 1);
	assert_int_equal(lab_start(lab, v4), 0);
	assert_true(is_group_joined());
	assert_true(is_set(VIP4));
	assert_int_equal(standby6->n_failed + standby6->n_fit, 0);
	lab_vip_free(standby6);
	assert_false(is_group_joined());
}

static void test_interface_by_subnet(void **state)
{
	struct lab *lab = *state;
	struct lab_vip *v4 = lab_vip_new(lab, VIP4 "/24", NULL);
	struct lab_vip *v6 = lab_vip_new(lab, VIP6 "/64", NULL);
	struct lab_vip *elsewhere = lab_vip_new(lab, "10.88.0.50/24", NULL);

	assert_int_equal(lab_start(lab, v4), 0);
	assert_int_equal(lab_start(lab, v6), 0);
	assert_true(lab_shows("ip -o address show dev lan0", VIP4));
	assert_true(lab_shows("ip -o address show dev lan0", VIP6));
	assert_int_equal(lab_start(lab, elsewhere), -ENETDOWN);
	assert_non_null(strstr(elsewhere->text, "no interface has an address in 10.88.0.0/24"));

	/* It stays where it is without the node's own address, but is not started there again. */
	lab_run("ip address del 10.77.0.1/24 dev lan0");
	lab_turn(lab, 300);
	assert_true(is_set(VIP4));
	assert_int_equal(v4->n_failed, 0);
	assert_int_equal(lab_stop(lab, v4), 0);
	assert_int_equal(lab_start(lab, v4), -ENETDOWN);
	lab_run("ip address add 10.77.0.1/24 dev lan0");
	assert_fit_follows(lab, v4, 1);
	lab_run("ip address add 10.77.0.9/24 dev lo");
	assert_int_equal(lab_start(lab, v4), -ENETDOWN);
	assert_non_null(strstr(v4->text, "name one of them with interface"));
	lab_run("ip address del 10.77.0.9/24 dev lo");
	assert_fit_follows(lab, v4, 2);
	assert_int_equal(lab_start(lab, v4), 0);
}

static void test_primary_deleted_leaves_ours(void **state)
{
	struct lab *lab = *state;
	struct lab_vip *vip = lab_vip_new(lab, VIP4 "/24", "lan0");

	assert_true(lab_shows("cat /proc/sys/net/ipv4/conf/lan0/promote_secondaries", "0"));
	assert_int_equal(lab_start(lab, vip), 0);
	lab_run("ip address del 10.77.0.1/24 dev lan0");
	assert_true(is_set(VIP4));
	lab_turn(lab, 300);
	assert_true(is_set(VIP4));
	assert_int_equal(lab->n_notes, 0);
}

/* A gratuitous ARP or an advertisement of our address by somebody else. */
static void inject_rival(struct lab *lab, bool is_v6, uint8_t last)
{
	uint8_t arp[42] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, last, 0x08, 0x06, 0,
		1, 0x08, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, last, 10, 77, 0, 50, 0, 0, 0, 0, 0, 0, 10,
		77, 0, 50};
	uint8_t na[86] = {0x33, 0x33, 0, 0, 0, 1, 2, 0, 0, 0, 0, last, 0x86, 0xdd, 0x60, [19] = 32,
		58, 255, 0xfd, 0x77, [37] = 0x50, 0xff, 2, [53] = 1, 136, [58] = 0x20, [62] = 0xfd,
		0x77, [77] = 0x50, 2, 1, 2, 0, 0, 0, 0, last};

	if (is_v6)
		lab_inject(lab, na, sizeof(na));
	else
		lab_inject(lab, arp, sizeof(arp));
}

static void test_foreign_duplicate_is_noted_once(void **state)
{
	struct lab *lab = *state;

	assert_int_equal(lab_start(lab, lab_vip_new(lab, VIP4 "/24", "lan0")), 0);
	assert_int_equal(lab_start(lab, lab_vip_new(lab, VIP6 "/64", "lan0")), 0);
	/* The previous holder's last frames. */
	inject_rival(lab, false, 0x66);
	inject_rival(lab, true, 0x66);
	lab_turn(lab, 1200);
	assert_int_equal(lab->n_notes, 0);
	for (unsigned i = 0; i < 200; i++) {
		inject_rival(lab, false, 0x66);
		inject_rival(lab, true, 0x66);
		lab_turn(lab, 1);
	}
	lab->wanted = 2;
	assert_true(lab_wait(lab, has_noted, LAB_LIMIT_MS));
	inject_rival(lab, false, 0x67);
	lab->wanted = 3;
	assert_true(lab_wait(lab, has_noted, LAB_LIMIT_MS));
	lab_turn(lab, 300);
	assert_int_equal(lab->n_notes, 3);
	assert_int_equal(
		lab_notes_with(lab, VIP4 " is also used by MAC 02:00:00:00:00:66, seen on lan0"),
		1);
	assert_int_equal(lab_notes_with(lab, VIP6 " is also used by MAC 02:00:00:00:00:66"), 1);
	assert_int_equal(lab_notes_with(lab, VIP4 " is also used by MAC 02:00:00:00:00:67"), 1);
	assert_true(is_set(VIP4) && is_set(VIP6));
	/* No war: the repeats of the first second, and nothing on top of them. */
	assert_in_range(lab_frames_of(lab, VIP4, FRAME_ARP_REPLY), 1, 5);
}

static void test_lost_events_are_read_again(void **state)
{
	struct lab *lab = *state;
	struct lab_vip *vip = lab_vip_new(lab, VIP4 "/24", "lan0");
	struct netlink *netlink = vip_engine_netlink(lab->engine);

	assert_int_equal(lab_start(lab, vip), 0);
	lab_turn(lab, 50);
	assert_int_equal(netlink_set_event_buffer(netlink, 4096), 0);
	lab_run("for i in $(seq 100); do echo address add 10.99.0.$i/32 dev lo; done | "
		"ip -batch - && ip address flush dev lan0 to " VIP4);
	assert_false(is_set(VIP4));
	assert_true(lab_wait(lab, is_vip4_set, 1000));
	assert_true(netlink_rereads(netlink) >= 1);
	lab_turn(lab, 50);
	assert_int_equal(lab_notes_with(lab, VIP4), 1);
	assert_int_equal(vip->n_failed, 0);
}

static void test_cancel(void **state)
{
	struct lab *lab = *state;
	struct lab_vip *first = NULL, *last = NULL;
	char address[32];

	for (unsigned i = 0; i < 20; i++) {
		snprintf(address, sizeof(address), "10.77.0.%u/24", 100 + i);
		last = lab_vip_new(lab, address, "lan0");
		first = first ? first : last;
		vip_type.start(last->res, ++lab->next_op);
	}
	/* The first is done within its call, the last waits for the loop. */
	assert_int_equal(first->n_done, 1);
	vip_type.cancel(first->res);
	assert_int_equal(first->n_done, 1);
	assert_int_equal(last->n_done, 0);
	vip_type.cancel(last->res);
	assert_int_equal(last->n_done, 1);
	assert_int_equal(last->rc, -ECANCELED);
	lab_vip_free(&lab->vips[18]);
	lab_turn(lab, 200);
	assert_int_equal(lab->n_done, 19);
	assert_true(is_set("10.77.0.117"));
	assert_false(is_set("10.77.0.118") || is_set("10.77.0.119"));
}

#define LAB_TEST(test) cmocka_unit_test_setup_teardown(test, lab_setup, lab_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		LAB_TEST(test_start_announces_repeats_and_stop_removes),
		LAB_TEST(test_stop_drops_repeats),
		LAB_TEST(test_neighbour_learns),
		LAB_TEST(test_start_of_existing_and_adopt),
		LAB_TEST(test_stop_removes_it_everywhere),
		LAB_TEST(test_deleted_is_put_back),
		LAB_TEST(test_own_deletions_are_not_mistaken),
		LAB_TEST(test_carrier_lost_and_back),
		LAB_TEST(test_admin_down_and_up),
		LAB_TEST(test_interface_deleted_and_recreated),
		LAB_TEST(test_interface_by_subnet),
		LAB_TEST(test_primary_deleted_leaves_ours),
		LAB_TEST(test_foreign_duplicate_is_noted_once),
		LAB_TEST(test_lost_events_are_read_again),
		LAB_TEST(test_cancel),
	};

	if (!lab_is_possible())
		return LAB_SKIPPED;
	return cmocka_run_group_tests_name("vip", tests, NULL, NULL);
}
