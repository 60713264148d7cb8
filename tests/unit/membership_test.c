/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The corosync adapter where real corosyncs can't be made to misbehave at will: ghosts, nodes that
 * come back within one ring change, frames that are lost or forged.
 *
 * The real files are under test. cpg_mcast_joined stands here in place of libcpg's: it keeps the
 * frames that were sent, and the test delivers them. Run by `make check`.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "clusterd/loop.h"
#include "clusterd/membership_internal.h"

#define FRAMES_MAX 64
#define OWN_PID 100

struct frame {
	void *data;
	size_t len;
};

static struct {
	struct frame frames[FRAMES_MAX];
	unsigned n, taken; /* taken: refuse with TRY_AGAIN from here on */
} wire;

cs_error_t cpg_mcast_joined(
	cpg_handle_t handle, cpg_guarantee_t guarantee, const struct iovec *iovec, unsigned iov_len)
{
	struct frame *frame = &wire.frames[wire.n];
	size_t at = 0;

	(void)handle;
	assert_int_equal(guarantee, CPG_TYPE_AGREED);
	if (wire.n >= wire.taken)
		return CS_ERR_TRY_AGAIN;
	assert_in_range(iov_len, 1, 63); /* libcpg's array has 64 */
	frame->len = 0;
	for (unsigned i = 0; i < iov_len; i++)
		frame->len += iovec[i].iov_len;
	frame->data = malloc(frame->len);
	assert_non_null(frame->data);
	for (unsigned i = 0; i < iov_len; i++) {
		memcpy((char *)frame->data + at, iovec[i].iov_base, iovec[i].iov_len);
		at += iovec[i].iov_len;
	}
	wire.n++;
	return CS_OK;
}

static struct cpg_address at(uint32_t nodeid, uint32_t pid, uint32_t reason)
{
	return (struct cpg_address){.nodeid = nodeid, .pid = pid, .reason = reason};
}

static void ring(struct tracker *tracker, uint64_t seq, const uint32_t *nodes, uint32_t n)
{
	assert_true(tracker_ring(tracker, (struct ring_id){.nodeid = 1, .seq = seq}, nodes, n));
}

static bool is_member(const struct membership_view *view, uint32_t nodeid, bool fresh)
{
	for (uint32_t i = 0; i < view->n_members; i++) {
		if (view->members[i].nodeid == nodeid)
			return view->members[i].fresh == fresh;
	}
	return false;
}

/* Node 1 is ours; 1, 2 and 3 have settled, all told. */
static void settle(struct tracker *tracker)
{
	const struct cpg_address members[] = {at(1, OWN_PID, 0), at(2, 200, 0), at(3, 300, 0)};
	const struct cpg_address joined = at(1, OWN_PID, CPG_REASON_JOIN);
	const uint32_t nodes[] = {3, 1, 2};
	struct membership_view view;

	tracker_init(tracker, 1, OWN_PID);
	assert_false(tracker_confchg(tracker, members, 3, NULL, 0, &joined, 1));
	ring(tracker, 4, nodes, 3);
	tracker_view(tracker, &view);
	assert_int_equal(view.n_members, 3);
	assert_int_equal(view.ring_nodes[0], 1);
	assert_int_equal(view.ring_nodes[2], 3);
	assert_true(is_member(&view, 1, true) && is_member(&view, 2, false));
	assert_true(is_member(&view, 3, false) && !view.self_left);
}

static void test_ring_before_own_join(void **state)
{
	const struct cpg_address self = at(1, OWN_PID, CPG_REASON_JOIN);
	const uint32_t nodes[] = {1};
	struct tracker tracker;

	(void)state;
	tracker_init(&tracker, 1, OWN_PID);
	assert_false(tracker_ring(&tracker, (struct ring_id){1, 4}, nodes, 1));
	assert_true(tracker_confchg(&tracker, &self, 1, NULL, 0, &self, 1));
}

static void test_left_and_back_in_one_ring_change(void **state)
{
	const struct cpg_address without[] = {at(1, OWN_PID, 0), at(3, 300, 0)};
	const struct cpg_address with[] = {at(1, OWN_PID, 0), at(2, 200, 0), at(3, 300, 0)};
	const struct cpg_address left = at(2, 200, CPG_REASON_NODEDOWN);
	const struct cpg_address joined = at(2, 200, CPG_REASON_NODEUP);
	const uint32_t nodes[] = {1, 2, 3};
	struct membership_view view;
	struct tracker tracker;

	(void)state;
	settle(&tracker);
	assert_false(tracker_confchg(&tracker, without, 2, &left, 1, NULL, 0));
	assert_false(tracker_confchg(&tracker, with, 3, NULL, 0, &joined, 1));
	ring(&tracker, 8, nodes, 3);
	tracker_view(&tracker, &view);
	assert_int_equal(view.ring.seq, 8);
	assert_true(is_member(&view, 1, false) && is_member(&view, 2, true));
	assert_true(is_member(&view, 3, false));
	/* Told once. */
	ring(&tracker, 12, nodes, 3);
	tracker_view(&tracker, &view);
	assert_true(is_member(&view, 2, false));
}

static void test_process_alone_is_told_at_once(void **state)
{
	const struct cpg_address without[] = {at(1, OWN_PID, 0), at(2, 200, 0)};
	const struct cpg_address with[] = {at(1, OWN_PID, 0), at(2, 200, 0), at(3, 301, 0)};
	const struct cpg_address left = at(3, 300, CPG_REASON_PROCDOWN);
	const struct cpg_address joined = at(3, 301, CPG_REASON_JOIN);
	struct membership_view view;
	struct tracker tracker;

	(void)state;
	settle(&tracker);
	assert_true(tracker_confchg(&tracker, without, 2, &left, 1, NULL, 0));
	tracker_view(&tracker, &view);
	assert_int_equal(view.ring.seq, 4);
	assert_int_equal(view.n_members, 2);
	assert_int_equal(view.n_ring, 3);
	assert_false(tracker_may_speak(&tracker, 3, 300));
	assert_true(tracker_confchg(&tracker, with, 3, NULL, 0, &joined, 1));
	assert_false(tracker_may_speak(&tracker, 3, 301)); /* not told yet */
	tracker_view(&tracker, &view);
	assert_true(is_member(&view, 3, true));
	assert_true(tracker_may_speak(&tracker, 3, 301));
}

static void test_ghost_is_left_out_and_fresh_when_back(void **state)
{
	const uint32_t two[] = {1, 2}, three[] = {1, 2, 3};
	struct membership_view view;
	struct tracker tracker;

	(void)state;
	settle(&tracker);
	ring(&tracker, 8, two, 2); /* no NODEDOWN for 3 */
	tracker_view(&tracker, &view);
	assert_int_equal(view.n_members, 2);
	assert_false(tracker_may_speak(&tracker, 3, 300));
	ring(&tracker, 12, three, 3);
	tracker_view(&tracker, &view);
	assert_true(is_member(&view, 3, true) && is_member(&view, 2, false));
}

static void test_second_process_of_another_node(void **state)
{
	const struct cpg_address both[] = {
		at(1, OWN_PID, 0), at(2, 150, 0), at(2, 200, 0), at(3, 300, 0)};
	const struct cpg_address second[] = {at(1, OWN_PID, 0), at(2, 150, 0), at(3, 300, 0)};
	const struct cpg_address joined = at(2, 150, CPG_REASON_JOIN);
	const struct cpg_address left = at(2, 200, CPG_REASON_PROCDOWN);
	struct membership_view view;
	struct tracker tracker;

	(void)state;
	settle(&tracker);
	/* The first one stays the member, though its pid is the higher one. */
	assert_true(tracker_confchg(&tracker, both, 4, NULL, 0, &joined, 1));
	tracker_view(&tracker, &view);
	assert_int_equal(view.n_members, 3);
	assert_true(is_member(&view, 2, false));
	assert_true(tracker_may_speak(&tracker, 2, 200) && !tracker_may_speak(&tracker, 2, 150));
	/* When it has gone, whoever is left is somebody new. */
	assert_true(tracker_confchg(&tracker, second, 3, &left, 1, NULL, 0));
	tracker_view(&tracker, &view);
	assert_true(is_member(&view, 2, true));
	assert_true(tracker_may_speak(&tracker, 2, 150));
}

static void test_second_process_of_our_node(void **state)
{
	const struct cpg_address members[] = {at(1, 90, 0), at(1, OWN_PID, 0)};
	const struct cpg_address joined = at(1, OWN_PID, CPG_REASON_JOIN);
	struct tracker tracker;

	(void)state;
	tracker_init(&tracker, 1, OWN_PID);
	(void)tracker_confchg(&tracker, members, 2, NULL, 0, &joined, 1);
	assert_int_equal(tracker.other_pid, 90);
}

static void test_self_left(void **state)
{
	const struct cpg_address others[] = {at(2, 200, 0), at(3, 300, 0)};
	const struct cpg_address all[] = {at(1, OWN_PID, 0), at(2, 200, 0), at(3, 300, 0)};
	const struct cpg_address left = at(1, OWN_PID, CPG_REASON_PROCDOWN);
	const uint32_t foreign[] = {2, 3};
	struct membership_view view;
	struct tracker tracker;

	(void)state;
	settle(&tracker);
	assert_true(tracker_confchg(&tracker, others, 2, &left, 1, NULL, 0));
	tracker_view(&tracker, &view);
	assert_true(view.self_left);
	assert_int_equal(view.n_members, 2);
	/* Still in the member list, but it said that we left. */
	settle(&tracker);
	assert_true(tracker_confchg(&tracker, all, 3, &left, 1, NULL, 0));
	tracker_view(&tracker, &view);
	assert_true(view.self_left && view.n_members == 2);
	/* A ring without us. */
	settle(&tracker);
	ring(&tracker, 8, foreign, 2);
	tracker_view(&tracker, &view);
	assert_true(view.self_left && view.n_members == 2);
}

/* Sending */

struct fixture {
	struct loop *loop;
	struct sender *sender;
	unsigned n_failed;
};

static void on_failed(void *ctx, cs_error_t err)
{
	struct fixture *fixture = ctx;

	(void)err;
	fixture->n_failed++;
}

static int sender_setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	memset(&wire, 0, sizeof(wire));
	wire.taken = FRAMES_MAX;
	if (!fixture || loop_new(&fixture->loop) < 0)
		return -1;
	*state = fixture;
	return sender_new(fixture->loop, 0, 1, on_failed, fixture, &fixture->sender);
}

static int sender_teardown(void **state)
{
	struct fixture *fixture = *state;

	sender_free(fixture->sender);
	loop_free(fixture->loop);
	for (unsigned i = 0; i < wire.n; i++)
		free(wire.frames[i].data);
	free(fixture);
	return 0;
}

static void stop_loop(void *ctx)
{
	loop_stop(ctx);
}

static void run_for(struct fixture *fixture, int64_t ms)
{
	assert_int_equal(
		loop_timer_add(fixture->loop, ms * 1000000, stop_loop, fixture->loop, "stop", NULL),
		0);
	loop_run(fixture->loop);
}

static void queue(struct fixture *fixture, uint32_t first, uint32_t last)
{
	for (uint32_t i = first; i <= last; i++)
		assert_int_equal(sender_queue(fixture->sender, &i, sizeof(i)), 0);
}

static enum frame_use deliver(struct fixture *fixture, unsigned i, struct frame_reader *reader)
{
	return sender_delivered(fixture->sender, 1, (uint32_t)getpid(), wire.frames[i].data,
		wire.frames[i].len, reader);
}

static uint32_t next_number(struct frame_reader *reader)
{
	const void *data;
	uint32_t number;
	size_t len;

	if (!frame_next(reader, &data, &len))
		return 0;
	assert_int_equal(len, sizeof(number));
	memcpy(&number, data, len);
	return number;
}

static void test_nothing_is_sent_before_the_first_view(void **state)
{
	struct fixture *fixture = *state;

	queue(fixture, 1, 3);
	run_for(fixture, 5);
	assert_int_equal(wire.n, 0);
	sender_start(fixture->sender);
	run_for(fixture, 5);
	assert_int_equal(wire.n, 1); /* what was said together goes together */
}

static void test_bounded_and_in_order(void **state)
{
	struct fixture *fixture = *state;
	uint32_t expected = 1;

	sender_start(fixture->sender);
	queue(fixture, 1, 1000);
	run_for(fixture, 60);
	assert_int_equal(wire.n, 1);
	for (unsigned i = 0; i < wire.n; i++) {
		struct frame_reader reader;
		uint32_t number, n = 0;

		assert_false(sender_is_idle(fixture->sender));
		assert_int_equal(deliver(fixture, i, &reader), FRAME_MESSAGES);
		for (; (number = next_number(&reader)) != 0; n++)
			assert_int_equal(number, expected++);
		assert_in_range(n, 1, MEMBERSHIP_UNCONFIRMED_MAX);
		sender_flush(fixture->sender);
		assert_true(wire.n <= i + 2);
	}
	assert_int_equal(expected, 1001);
	assert_true(sender_is_idle(fixture->sender));
	assert_int_equal(fixture->n_failed, 0);
}

static void test_bounded_over_frames(void **state)
{
	struct fixture *fixture = *state;
	struct frame_reader reader;
	uint32_t n = 0;

	sender_start(fixture->sender);
	queue(fixture, 1, 1);
	run_for(fixture, 5);
	queue(fixture, 2, 50);
	run_for(fixture, 5);
	assert_int_equal(wire.n, 2);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(deliver(fixture, i, &reader), FRAME_MESSAGES);
		while (next_number(&reader) != 0)
			n++;
	}
	assert_int_equal(n, MEMBERSHIP_UNCONFIRMED_MAX);
}

static void test_try_again_keeps_the_order(void **state)
{
	struct fixture *fixture = *state;
	struct frame_reader reader;

	wire.taken = 0;
	sender_start(fixture->sender);
	queue(fixture, 1, 2);
	run_for(fixture, 30);
	queue(fixture, 3, 3);
	wire.taken = FRAMES_MAX;
	run_for(fixture, 200);
	assert_int_equal(wire.n, 1);
	assert_int_equal(deliver(fixture, 0, &reader), FRAME_MESSAGES);
	for (uint32_t i = 1; i <= 3; i++)
		assert_int_equal(next_number(&reader), i);
	assert_true(sender_is_idle(fixture->sender));
}

static void test_a_lost_frame_is_noticed(void **state)
{
	struct fixture *fixture = *state;
	struct frame_reader reader;

	sender_start(fixture->sender);
	queue(fixture, 1, 1);
	run_for(fixture, 5);
	queue(fixture, 2, 2);
	run_for(fixture, 5);
	assert_int_equal(wire.n, 2);
	assert_int_equal(deliver(fixture, 1, &reader), FRAME_GAP);
}

static void test_leave_comes_last(void **state)
{
	struct fixture *fixture = *state;
	struct frame_reader reader;

	sender_start(fixture->sender);
	queue(fixture, 1, 40);
	sender_leave(fixture->sender);
	run_for(fixture, 5);
	assert_int_equal(wire.n, 1);
	assert_int_equal(deliver(fixture, 0, &reader), FRAME_MESSAGES);
	sender_flush(fixture->sender);
	assert_int_equal(deliver(fixture, 1, &reader), FRAME_MESSAGES);
	sender_flush(fixture->sender);
	assert_int_equal(wire.n, 3);
	assert_int_equal(sender_queue(fixture->sender, "x", 1), -ESHUTDOWN);
	assert_int_equal(deliver(fixture, 2, &reader), FRAME_LEAVE);
}

static void test_limits(void **state)
{
	struct fixture *fixture = *state;
	char *large = calloc(1, MEMBERSHIP_MESSAGE_MAX + 1);
	size_t queued = 0;
	int rc;

	assert_non_null(large);
	assert_int_equal(
		sender_queue(fixture->sender, large, MEMBERSHIP_MESSAGE_MAX + 1), -EMSGSIZE);
	while ((rc = sender_queue(fixture->sender, large, MEMBERSHIP_MESSAGE_MAX)) == 0)
		queued += MEMBERSHIP_MESSAGE_MAX;
	assert_int_equal(rc, -ENOBUFS);
	assert_in_range(
		queued, MEMBERSHIP_QUEUE_MAX - 2 * MEMBERSHIP_MESSAGE_MAX, MEMBERSHIP_QUEUE_MAX);
	free(large);
}

/* Every frame cut at every length, and with every byte changed: read within its bounds, or not. */
static void test_forged_frames(void **state)
{
	struct fixture *fixture = *state;
	struct frame_reader reader;
	unsigned n_refused = 0;

	sender_start(fixture->sender);
	queue(fixture, 1, 5);
	run_for(fixture, 5);
	assert_int_equal(wire.n, 1);
	for (size_t len = 0; len < wire.frames[0].len; len++) {
		char *copy = malloc(len > 0 ? len : 1);

		assert_non_null(copy);
		memcpy(copy, wire.frames[0].data, len);
		assert_int_equal(sender_delivered(fixture->sender, 2, (uint32_t)getpid(), copy, len,
					 &reader),
			FRAME_FOREIGN);
		free(copy);
	}
	for (size_t i = 0; i < wire.frames[0].len * 256; i++) {
		size_t len = wire.frames[0].len;
		char *copy = malloc(len);

		assert_non_null(copy);
		memcpy(copy, wire.frames[0].data, len);
		copy[i / 256] = (char)(i % 256);
		if (sender_delivered(fixture->sender, 2, (uint32_t)getpid(), copy, len, &reader) ==
			FRAME_MESSAGES) {
			const void *data;
			size_t data_len;

			while (frame_next(&reader, &data, &data_len))
				assert_true((const char *)data + data_len <= copy + len);
		} else {
			n_refused++;
		}
		free(copy);
	}
	assert_true(n_refused > 255 * 8); /* magic, version, kind and more */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ring_before_own_join),
		cmocka_unit_test(test_left_and_back_in_one_ring_change),
		cmocka_unit_test(test_process_alone_is_told_at_once),
		cmocka_unit_test(test_ghost_is_left_out_and_fresh_when_back),
		cmocka_unit_test(test_second_process_of_another_node),
		cmocka_unit_test(test_second_process_of_our_node),
		cmocka_unit_test(test_self_left),
#define TEST(name) cmocka_unit_test_setup_teardown(name, sender_setup, sender_teardown)
		TEST(test_nothing_is_sent_before_the_first_view),
		TEST(test_bounded_and_in_order),
		TEST(test_bounded_over_frames),
		TEST(test_try_again_keeps_the_order),
		TEST(test_a_lost_frame_is_noticed),
		TEST(test_leave_comes_last),
		TEST(test_limits),
		TEST(test_forged_frames),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
