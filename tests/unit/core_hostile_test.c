/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the scenarios cannot show of the core: hostile messages, the limits of its queues, the words
 * of its answers. One core, n1; n2 is played by hand.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "clusterd/core/core.h"
#include "clusterd/core/message.h"

#define OTHER_INCARNATION 22
#define HOLDOFF_MS 2000
#define SENDS_MAX 64

struct fixture {
	struct core_config config;
	struct core_group group;
	struct core_resource resources[2];
	struct core *core;
	struct core_effects effects;
	int64_t now_us;
	bool is_mute; /* what n1 sends is lost */

	/* Of the latest feed. */
	unsigned n_ops, n_notes, n_replies, n_sends, n_records;
	enum core_reply_code code;
	char reply[2 * CORE_TEXT_SIZE], note[2 * CORE_TEXT_SIZE];
	struct core_record record;
	struct buf sent[SENDS_MAX];
};

static void feed(struct fixture *fixture, struct core_event event);

static void effect_see(struct fixture *fixture, const struct core_effect *effect)
{
	switch (effect->type) {
	case CORE_DO_SEND:
		assert_true(fixture->n_sends < SENDS_MAX);
		buf_fini(&fixture->sent[fixture->n_sends]);
		buf_bytes(&fixture->sent[fixture->n_sends++], effect->send.data, effect->send.len);
		break;
	case CORE_DO_OP: fixture->n_ops++; break;
	case CORE_DO_NOTE:
		fixture->n_notes++;
		strncpy(fixture->note, effect->note.text, sizeof(fixture->note) - 1);
		break;
	case CORE_DO_REPLY:
		fixture->n_replies++;
		fixture->code = effect->reply.code;
		strncpy(fixture->reply, effect->reply.text ? effect->reply.text : "",
			sizeof(fixture->reply) - 1);
		break;
	case CORE_DO_RECORD:
		fixture->n_records++;
		fixture->record = *effect->record;
		break;
	default: break;
	}
}

/* One step, its effects counted. */
static void feed(struct fixture *fixture, struct core_event event)
{
	fixture->n_ops = fixture->n_notes = fixture->n_replies = 0;
	fixture->n_sends = fixture->n_records = 0;
	event.now_us = fixture->now_us;
	event.wall_ms = fixture->now_us / 1000;
	core_step(fixture->core, &event, &fixture->effects);
	for (uint32_t i = 0; i < fixture->effects.n; i++)
		effect_see(fixture, &fixture->effects.list[i]);
	core_effects_clear(&fixture->effects);
}

static void deliver_bytes(struct fixture *fixture, uint32_t nodeid, const void *data, size_t len)
{
	struct core_event event = {.type = CORE_EV_MESSAGE};

	event.message.nodeid = nodeid;
	event.message.data = data;
	event.message.len = len;
	feed(fixture, event);
}

/* What n1 has just sent comes back to it, and what that makes it send too. */
static void come_back(struct fixture *fixture)
{
	struct buf sent[SENDS_MAX];
	unsigned n = fixture->n_sends;

	memcpy(sent, fixture->sent, sizeof(sent));
	memset(fixture->sent, 0, sizeof(fixture->sent));
	fixture->n_sends = 0;
	for (unsigned i = 0; i < n; i++) {
		deliver_bytes(fixture, 1, sent[i].data, sent[i].len);
		if (fixture->n_sends > 0)
			come_back(fixture);
	}
	for (unsigned i = 0; i < SENDS_MAX; i++)
		buf_fini(&sent[i]);
}

/* From n2, with its incarnation and our config unless the message says otherwise. */
static void deliver(struct fixture *fixture, struct msg msg)
{
	struct buf buf = {0};

	if (!msg.incarnation)
		msg.incarnation = OTHER_INCARNATION;
	if (!msg.config_digest)
		msg.config_digest = fixture->config.digest;
	msg_encode(&msg, &buf);
	deliver_bytes(fixture, 2, buf.data, buf.len);
	buf_fini(&buf);
}

static void give_view(struct fixture *fixture, uint64_t seq, bool with_other, bool fresh)
{
	struct core_event event = {.type = CORE_EV_VIEW};
	struct core_view *view = &event.view;

	view->ring = (struct ring_id){1, seq};
	view->n_members = view->n_ring = with_other ? 2 : 1;
	for (uint32_t i = 0; i < view->n_members; i++) {
		view->members[i].nodeid = view->ring_nodes[i] = i + 1;
		view->members[i].fresh = fresh;
	}
	feed(fixture, event);
}

static void give_quorum(struct fixture *fixture, uint64_t seq, bool quorate)
{
	struct core_event event = {.type = CORE_EV_QUORUM};

	event.quorum.ring = (struct ring_id){1, seq};
	event.quorum.quorate = quorate;
	feed(fixture, event);
}

static void op_done(
	struct fixture *fixture, uint32_t resource, enum core_op op, int rc, const char *text)
{
	struct core_event event = {.type = CORE_EV_OP_DONE};

	fixture->now_us += 1000;
	event.op_done.resource = resource;
	event.op_done.op = op;
	event.op_done.rc = rc;
	event.op_done.text = text;
	event.op_done.set_us = fixture->now_us - 300;
	event.op_done.announced_us = fixture->now_us - 200;
	feed(fixture, event);
}

static const struct group_rec *web(const struct fixture *fixture)
{
	return &core_state(fixture->core)->groups[0];
}

/* n1 and n2 are members, web is online on n1. */
static int setup(void **ret_fixture)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	struct core_setup core_setup = {
		.config = &fixture->config,
		.own_nodeid = 1,
		.incarnation = 11,
		.holdoff_ms = HOLDOFF_MS,
	};
	uint8_t found = CORE_FOUND_NOTHING;

	fixture->config = (struct core_config){
		.n_nodes = 2,
		.nodes = {{"n1", 1}, {"n2", 2}},
		.n_groups = 1,
		.groups = &fixture->group,
		.text = (char *)"text",
		.text_len = 4,
		.digest = 33,
	};
	fixture->group = (struct core_group){
		.name = "web", .n_resources = 2, .resources = fixture->resources, .digest = 44};
	fixture->resources[0] = (struct core_resource){.name = "web-ip", .pipelined = true};
	fixture->resources[1] = (struct core_resource){.name = "web-srv"};
	fixture->now_us = 1000000;
	if (core_new(&core_setup, &fixture->core) < 0)
		return -1;
	give_view(fixture, 8, true, true);
	come_back(fixture);
	give_quorum(fixture, 8, true);
	deliver(fixture, (struct msg){.type = MSG_HELLO,
				 .hello_seq = 1,
				 .loaded = 33,
				 .blob = &found,
				 .blob_len = 1});
	come_back(fixture);
	/* Its own hello again: the answer to the first was a new state. */
	assert_int_equal(core_phase(fixture->core), CORE_MEMBER);
	op_done(fixture, 0, CORE_OP_START, 0, NULL);
	op_done(fixture, 1, CORE_OP_START, 0, NULL);
	come_back(fixture);
	assert_int_equal(web(fixture)->state, GROUP_ONLINE);
	*ret_fixture = fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	core_free(fixture->core);
	core_effects_fini(&fixture->effects);
	for (unsigned i = 0; i < SENDS_MAX; i++)
		buf_fini(&fixture->sent[i]);
	free(fixture);
	return 0;
}

/* ---- what is measured ---- */

static void test_record_of_a_start(void **state)
{
	struct fixture *fixture = *state;

	/* From setup: decided at once, the operations took 1 ms each. */
	assert_int_equal(fixture->n_records, 1);
	assert_true(fixture->record.is_online);
	assert_int_equal(fixture->record.to, 0);
	assert_int_equal(fixture->record.from, CORE_NO_NODE);
	assert_string_equal(fixture->record.cause_text, "first start");
	assert_int_equal(fixture->record.phase_us[PHASE_RELEASE], -1);
	assert_int_equal(fixture->record.phase_us[PHASE_DECIDED], 0);
	assert_int_equal(fixture->record.phase_us[PHASE_ADDRESS], 1700);
	assert_int_equal(fixture->record.phase_us[PHASE_ANNOUNCED], 1800);
	assert_int_equal(fixture->record.phase_us[PHASE_ALL], 2000);
}

/* ---- hostile messages ---- */

/* The state but for its version, which counts every ordered message. */
static uint64_t digest_of(const struct fixture *fixture)
{
	struct buf buf = {0};
	uint64_t digest;

	state_encode(core_state(fixture->core), &buf);
	digest = core_digest(buf.data + 8, buf.len - 8);
	buf_fini(&buf);
	return digest;
}

static void assert_harmless(struct fixture *fixture, struct msg msg)
{
	uint64_t before = digest_of(fixture);

	deliver(fixture, msg);
	assert_true(digest_of(fixture) == before);
	assert_int_equal(fixture->n_ops, 0);
	assert_int_equal(fixture->n_sends, 0);
	assert_int_equal(fixture->n_replies, 0);
	assert_int_equal(core_phase(fixture->core), CORE_MEMBER);
}

static void test_messages_that_change_nothing(void **state)
{
	struct fixture *fixture = *state;
	uint32_t gen = web(fixture)->gen;

	/* Of a group that is not there, of another generation, of a node that does not hold it. */
	assert_harmless(fixture, (struct msg){.type = MSG_FAILED, .group = 1, .gen = 0});
	assert_harmless(fixture, (struct msg){.type = MSG_FAILED, .group = UINT32_MAX});
	assert_harmless(fixture, (struct msg){.type = MSG_FAILED, .gen = gen + 1});
	assert_harmless(fixture, (struct msg){.type = MSG_FAILED, .gen = gen});
	assert_harmless(fixture, (struct msg){.type = MSG_STARTED, .gen = gen});
	assert_harmless(fixture, (struct msg){.type = MSG_START_FAILED, .gen = gen});
	assert_harmless(fixture, (struct msg){.type = MSG_STOPPED, .gen = gen});
	/* Of an earlier daemon, and of one with another config. */
	assert_harmless(fixture, (struct msg){.type = MSG_LEAVING, .incarnation = 21});
	assert_harmless(fixture,
		(struct msg){
			.type = MSG_ADMIN, .verb = CORE_OFFLINE, .gen = gen, .incarnation = 21});
	assert_harmless(fixture,
		(struct msg){
			.type = MSG_ADMIN, .verb = CORE_OFFLINE, .gen = gen, .config_digest = 34});
	/* About nodes that are not there, or not in question. */
	assert_harmless(fixture, (struct msg){.type = MSG_HOLDOFF_OVER, .node = 255});
	assert_harmless(fixture, (struct msg){.type = MSG_HOLDOFF_OVER, .node = 2});
	assert_harmless(
		fixture, (struct msg){.type = MSG_HOLDOFF_OVER, .node = 0, .node_incarnation = 11});
	assert_harmless(
		fixture, (struct msg){.type = MSG_ADMIN, .verb = CORE_FAILOVER, .node = 200});
	assert_harmless(fixture, (struct msg){.type = MSG_DIFFERS, .all_stopped = true});
	/* A state for somebody else, for another ring, for another hello. */
	assert_harmless(fixture,
		(struct msg){.type = MSG_SNAPSHOT, .nodeid = 1, .blob = "x", .blob_len = 1});
	assert_harmless(fixture,
		(struct msg){.type = MSG_FORM, .ring = {1, 4}, .blob = "x", .blob_len = 1});
	assert_harmless(fixture,
		(struct msg){.type = MSG_FORM, .ring = {1, 8}, .blob = "x", .blob_len = 1});
	assert_harmless(fixture, (struct msg){.type = MSG_CONFIG, .blob = "x", .blob_len = 1});
}

/* Named once, not for each: a mad neighbour must not fill the log. */
static void test_garbage_is_named_once(void **state)
{
	struct fixture *fixture = *state;
	uint64_t before = digest_of(fixture);

	deliver_bytes(fixture, 2, "GET / HTTP/1.1\r\n", 16);
	assert_int_equal(fixture->n_notes, 1);
	assert_non_null(strstr(fixture->note, "node n2 sent a message that is not well-formed"));
	deliver_bytes(fixture, 2, "", 0);
	assert_int_equal(fixture->n_notes, 0);
	assert_true(digest_of(fixture) == before);
	assert_int_equal(fixture->n_ops, 0);
}

static void test_other_version_is_named(void **state)
{
	struct fixture *fixture = *state;
	uint64_t before = digest_of(fixture);
	unsigned char other_version[18] = {MSG_LEAVING, CORE_PROTOCOL + 1};

	deliver_bytes(fixture, 2, other_version, sizeof(other_version));
	assert_int_equal(fixture->n_notes, 1);
	assert_non_null(strstr(fixture->note, "node n2 speaks version 2 of the protocol"));
	assert_true(digest_of(fixture) == before);
}

static void test_unknown_sender(void **state)
{
	struct fixture *fixture = *state;
	uint64_t version = core_state(fixture->core)->version;

	deliver_bytes(fixture, 99, "GET / HTTP/1.1\r\n", 16);
	assert_int_equal(fixture->n_notes, 0);
	assert_true(core_state(fixture->core)->version == version);
}

static uint64_t rng_next(uint64_t *rng)
{
	uint64_t z = *rng += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static void assert_state_sound(const struct core_state *state)
{
	for (uint32_t i = 0; i < state->n_nodes; i++)
		assert_true(state->nodes[i].state < NODE_STATES);
	for (uint32_t i = 0; i < state->n_groups; i++) {
		const struct group_rec *group = &state->groups[i];

		assert_true(group->state < GROUP_STATES);
		assert_true(group->owner < state->n_nodes || group->owner == CORE_NO_NODE);
		assert_true((group->may_run_on & ~3u) == 0);
	}
}

/* n2 has gone mad: well-formed messages with random fields. n1 may believe them, within reason. */
static void test_mad_neighbour(void **state)
{
	struct fixture *fixture = *state;
	uint64_t rng = 7;

	for (unsigned i = 0; i < 20000; i++) {
		unsigned char blob[64];
		struct msg msg = {
			.type = (enum msg_type)(1 + rng_next(&rng) % (MSG_TYPES - 1)),
			.incarnation = OTHER_INCARNATION + rng_next(&rng) % 2,
			.config_digest = rng_next(&rng) % 16 ? 33 : 34,
			.group = (uint32_t)(rng_next(&rng) % 3),
			.gen = web(fixture)->gen + (uint32_t)(rng_next(&rng) % 2),
			.resource = (uint32_t)(rng_next(&rng) % 4),
			.node = (uint8_t)(rng_next(&rng) % 4),
			.node_incarnation = 10 + rng_next(&rng) % 14,
			.nodeid = (uint32_t)(rng_next(&rng) % 4),
			.hello_seq = (uint32_t)(rng_next(&rng) % 4),
			.has_state = rng_next(&rng) % 2,
			.version = rng_next(&rng) % 64,
			.unfit = rng_next(&rng) % 2,
			.is_clean = rng_next(&rng) % 2,
			.all_stopped = rng_next(&rng) % 2,
			.verb = (enum core_verb)(rng_next(&rng) % CORE_VERBS),
			.ring = {1, 8},
			.blob = blob,
			.blob_len = rng_next(&rng) % 3 ? 1 : rng_next(&rng) % sizeof(blob),
		};

		for (unsigned j = 0; j < sizeof(blob); j++)
			blob[j] = (unsigned char)(rng_next(&rng) % 4);
		fixture->now_us += 1000;
		deliver(fixture, msg);
		assert_state_sound(core_state(fixture->core));
		if (rng_next(&rng) % 4)
			come_back(fixture);
		if (rng_next(&rng) % 4 == 0)
			op_done(fixture, (uint32_t)(rng_next(&rng) % 2),
				rng_next(&rng) % 2 ? CORE_OP_START : CORE_OP_STOP, 0, NULL);
	}
}

/* ---- requests ---- */

static void ask(
	struct fixture *fixture, enum core_verb verb, const char *name, const char *to, bool wait)
{
	struct core_event event = {.type = CORE_EV_ADMIN};

	event.admin.request_id = 5;
	event.admin.verb = verb;
	event.admin.name = name;
	event.admin.to = to;
	event.admin.wait = wait;
	feed(fixture, event);
}

static void assert_answer(struct fixture *fixture, enum core_reply_code code, const char *text)
{
	assert_int_equal(fixture->n_replies, 1);
	assert_int_equal(fixture->code, code);
	assert_string_equal(fixture->reply, text);
}

static void test_requests_refused(void **state)
{
	struct fixture *fixture = *state;

	ask(fixture, CORE_FAILOVER, "nonsense", NULL, false);
	assert_answer(fixture, CORE_REPLY_NOT_FOUND,
		"there is no group or resource \"nonsense\" in the config");
	ask(fixture, CORE_FAILOVER, "web", "n9", false);
	assert_answer(fixture, CORE_REPLY_NOT_FOUND, "there is no node \"n9\" in the config");
	ask(fixture, CORE_OFFLINE, "web-ip", NULL, false);
	assert_answer(fixture, CORE_REPLY_REFUSED,
		"\"web-ip\" is a resource of group web; name the group");
	assert_int_equal(fixture->n_sends, 0);
}

static void test_request_without_quorum(void **state)
{
	struct fixture *fixture = *state;

	ask(fixture, CORE_OFFLINE, "web", NULL, true);
	assert_int_equal(fixture->n_replies, 0);
	give_view(fixture, 12, false, false);
	give_quorum(fixture, 12, false);
	assert_answer(
		fixture, CORE_REPLY_NO_QUORUM, "not known whether it was done: quorum was lost");
	ask(fixture, CORE_OFFLINE, "web", NULL, false);
	assert_answer(fixture, CORE_REPLY_NO_QUORUM,
		"this node has no quorum: it can decide nothing until enough nodes are up and "
		"connected; see clusterctl status");
}

static void test_request_while_leaving(void **state)
{
	struct fixture *fixture = *state;

	feed(fixture, (struct core_event){.type = CORE_EV_LEAVE});
	ask(fixture, CORE_FAILOVER, "web", NULL, false);
	assert_answer(fixture, CORE_REPLY_NO_QUORUM,
		"clusterd on this node is being stopped; ask another node");
}

/* An answer without waiting comes when the order is in force, not before. */
static void test_request_is_answered_by_the_order(void **state)
{
	struct fixture *fixture = *state;

	ask(fixture, CORE_OFFLINE, "web", NULL, false);
	assert_int_equal(fixture->n_replies, 0);
	assert_true(web(fixture)->enabled);
	come_back(fixture);
	assert_answer(fixture, CORE_REPLY_OK, "");
	assert_false(web(fixture)->enabled);
}

static void test_waiting_requests_are_limited(void **state)
{
	struct fixture *fixture = *state;

	for (unsigned i = 0; i < CORE_REQUESTS_MAX; i++) {
		ask(fixture, CORE_OFFLINE, "web", NULL, true);
		assert_int_equal(fixture->n_replies, 0);
	}
	ask(fixture, CORE_OFFLINE, "web", NULL, true);
	assert_answer(
		fixture, CORE_REPLY_REFUSED, "too many requests are under way; try again later");
}

/* ---- limits ---- */

static void test_frozen_queue_is_bounded(void **state)
{
	struct fixture *fixture = *state;
	static unsigned char big[1u << 20];

	give_view(fixture, 12, true, false);
	assert_true(core_is_frozen(fixture->core));
	for (unsigned i = 0; i < CORE_FROZEN_MAX / sizeof(big); i++)
		deliver_bytes(fixture, 2, big, sizeof(big));
	assert_int_equal(core_phase(fixture->core), CORE_MEMBER);
	deliver_bytes(fixture, 2, big, 1);
	assert_int_equal(core_phase(fixture->core), CORE_JOINING);
	assert_int_equal(fixture->n_sends, 1); /* a hello */
	assert_int_equal(fixture->n_ops, 0);   /* what runs goes on meanwhile */
}

/* Held messages count when quorum is known: in order, and not a moment before. */
static void test_frozen_messages_wait(void **state)
{
	struct fixture *fixture = *state;
	uint64_t before = digest_of(fixture);

	give_view(fixture, 12, true, false);
	deliver(fixture,
		(struct msg){.type = MSG_ADMIN, .verb = CORE_OFFLINE, .node = CORE_NO_NODE});
	assert_true(digest_of(fixture) == before);
	assert_int_equal(fixture->n_ops, 0);
	give_quorum(fixture, 12, true);
	assert_false(web(fixture)->enabled);
	assert_int_equal(fixture->n_ops, 1); /* web-srv's stop, web-ip's after it */
}

static void test_results_nobody_asked_for(void **state)
{
	struct fixture *fixture = *state;
	uint64_t before = digest_of(fixture);

	op_done(fixture, 0, CORE_OP_STOP, 0, NULL);
	op_done(fixture, 1, CORE_OP_START, -EIO, "no");
	assert_int_equal(fixture->n_sends, 0);
	assert_int_equal(fixture->n_ops, 0);
	assert_true(digest_of(fixture) == before);
	assert_int_equal(core_local_resource(fixture->core, 0, 0), LOCAL_RES_RUNNING);
}

static void test_new_refuses_a_stranger(void **state)
{
	struct fixture *fixture = *state;
	struct core_setup core_setup = {.config = &fixture->config, .own_nodeid = 9};
	struct core *core = NULL;

	assert_int_equal(core_new(&core_setup, &core), -EINVAL);
	assert_null(core);
}

/* After a failed stop: blocked, and the other node does not start it. */
static void test_failed_stop_blocks(void **state)
{
	struct fixture *fixture = *state;

	ask(fixture, CORE_FAILOVER, "web", "n2", true);
	come_back(fixture);
	assert_int_equal(web(fixture)->state, GROUP_STOPPING);
	op_done(fixture, 1, CORE_OP_STOP, -EIO, "it\nhangs");
	op_done(fixture, 0, CORE_OP_STOP, 0, NULL);
	come_back(fixture);
	assert_int_equal(web(fixture)->state, GROUP_BLOCKED);
	assert_int_equal(web(fixture)->may_run_on, node_bit(0));
	assert_string_equal(web(fixture)->problem, "web-srv on n1: it hangs");
	assert_answer(fixture, CORE_REPLY_FAILED, "group web is blocked: web-srv on n1: it hangs");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_record_of_a_start),
		TEST(test_messages_that_change_nothing),
		TEST(test_garbage_is_named_once),
		TEST(test_other_version_is_named),
		TEST(test_unknown_sender),
		TEST(test_mad_neighbour),
		TEST(test_requests_refused),
		TEST(test_request_without_quorum),
		TEST(test_request_while_leaving),
		TEST(test_request_is_answered_by_the_order),
		TEST(test_waiting_requests_are_limited),
		TEST(test_frozen_queue_is_bounded),
		TEST(test_frozen_messages_wait),
		TEST(test_results_nobody_asked_for),
		TEST(test_new_refuses_a_stranger),
		TEST(test_failed_stop_blocks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
