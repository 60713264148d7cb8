/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Bytes of messages and of the state: what goes in comes out, and whatever else comes in is refused
 * without harm. The mutations come from a fixed seed.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "clusterd/core/message.h"
#include "clusterd/core/state.h"

#define MUTATIONS 150000

static uint64_t rng_next(uint64_t *rng)
{
	uint64_t z = *rng += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

/* Every field set, so that what a type does not carry shows too. */
static struct msg full_message(enum msg_type type)
{
	struct msg msg = {
		.type = type,
		.protocol = CORE_PROTOCOL,
		.incarnation = 0x1122334455667788,
		.config_digest = 0x99aabbccddeeff00,
		.group = 7,
		.gen = 8,
		.resource = 9,
		.node = 3,
		.node_incarnation = 0xfedcba9876543210,
		.nodeid = 4,
		.hello_seq = 5,
		.has_state = true,
		.version = UINT64_MAX,
		.loaded = 6,
		.unfit = true,
		.is_clean = true,
		.all_stopped = true,
		.verb = CORE_OFFLINE,
		.request_id = 10,
		.ring = {11, 12},
		.wall_ms = -13,
		.text = "why it failed: \xc3\xa9",
		.blob = "blob",
		.blob_len = 4,
	};

	for (unsigned i = 0; i < PHASES; i++)
		msg.phase_us[i] = (int64_t)i * 1000 - 1;
	return msg;
}

static void encode(const struct msg *msg, struct buf *buf)
{
	*buf = (struct buf){0};
	msg_encode(msg, buf);
	assert_true(buf_ok(buf));
}

static void test_messages_round_trip(void **state)
{
	(void)state;
	for (enum msg_type type = MSG_HELLO; type < MSG_TYPES; type++) {
		struct msg in = full_message(type), out;
		struct buf first, second;

		encode(&in, &first);
		assert_int_equal(msg_decode(&out, first.data, first.len), 0);
		assert_int_equal(out.type, type);
		assert_true(out.incarnation == in.incarnation);
		assert_true(out.config_digest == in.config_digest);
		encode(&out, &second);
		assert_int_equal(first.len, second.len);
		assert_memory_equal(first.data, second.data, first.len);
		buf_fini(&first);
		buf_fini(&second);
	}
}

static void test_fields_arrive(void **state)
{
	struct msg in = full_message(MSG_START_FAILED), out;
	struct buf buf;

	(void)state;
	encode(&in, &buf);
	assert_int_equal(msg_decode(&out, buf.data, buf.len), 0);
	assert_int_equal(out.group, 7);
	assert_int_equal(out.gen, 8);
	assert_int_equal(out.resource, 9);
	assert_true(out.wall_ms == -13);
	assert_true(out.unfit && out.is_clean);
	assert_string_equal(out.text, in.text);
	buf_fini(&buf);

	in = full_message(MSG_STARTED);
	encode(&in, &buf);
	assert_int_equal(msg_decode(&out, buf.data, buf.len), 0);
	assert_true(out.phase_us[0] == -1 && out.phase_us[PHASES - 1] == (PHASES - 1) * 1000 - 1);
	buf_fini(&buf);

	in = full_message(MSG_FORM);
	encode(&in, &buf);
	assert_int_equal(msg_decode(&out, buf.data, buf.len), 0);
	assert_true(out.ring.nodeid == 11 && out.ring.seq == 12 && out.hello_seq == 5);
	assert_int_equal(out.blob_len, 4);
	assert_memory_equal(out.blob, "blob", 4);
	buf_fini(&buf);

	in = full_message(MSG_ADMIN);
	encode(&in, &buf);
	assert_int_equal(msg_decode(&out, buf.data, buf.len), 0);
	assert_true(out.verb == CORE_OFFLINE && out.request_id == 10 && out.node == 3);
	buf_fini(&buf);
}

static void test_every_truncation_is_refused(void **state)
{
	(void)state;
	for (enum msg_type type = MSG_HELLO; type < MSG_TYPES; type++) {
		struct msg in = full_message(type), out;
		struct buf buf;

		in.blob_len = 0; /* a blob is the rest, however long */
		encode(&in, &buf);
		for (size_t len = 0; len < buf.len; len++) {
			memset(&out, 0x5a, sizeof(out));
			assert_int_equal(msg_decode(&out, buf.data, len), -EPROTO);
			assert_int_equal(out.group, 0x5a5a5a5a);
		}
		buf_fini(&buf);
	}
}

static void test_other_versions_and_types(void **state)
{
	struct msg in = full_message(MSG_LEAVING), out;
	struct buf buf;

	(void)state;
	encode(&in, &buf);
	buf.data[1] = CORE_PROTOCOL + 1;
	assert_int_equal(msg_decode(&out, buf.data, buf.len), -EPROTONOSUPPORT);
	assert_int_equal(out.protocol, CORE_PROTOCOL + 1);
	buf.data[1] = CORE_PROTOCOL;
	buf.data[0] = 0;
	assert_int_equal(msg_decode(&out, buf.data, buf.len), -EPROTO);
	buf.data[0] = MSG_TYPES;
	assert_int_equal(msg_decode(&out, buf.data, buf.len), -EPROTO);
	buf.data[0] = MSG_LEAVING;
	buf_u8(&buf, 0); /* a byte too many */
	assert_int_equal(msg_decode(&out, buf.data, buf.len), -EPROTO);
	buf_fini(&buf);
	assert_int_equal(msg_decode(&out, NULL, 0), -EPROTO);
}

static void test_text_is_checked(void **state)
{
	struct msg in = full_message(MSG_DIFFERS), out;
	struct buf buf;

	(void)state;
	memcpy(in.text, "line\nbreak", 11);
	encode(&in, &buf);
	assert_int_equal(msg_decode(&out, buf.data, buf.len), -EPROTO);
	buf_fini(&buf);
	memset(in.text, 'x', sizeof(in.text));
	in.text[sizeof(in.text) - 1] = '\0';
	encode(&in, &buf);
	assert_int_equal(msg_decode(&out, buf.data, buf.len), 0);
	assert_int_equal(strlen(out.text), CORE_TEXT_SIZE - 1);
	buf_fini(&buf);
	memcpy(in.text, "del\x7f", 5);
	encode(&in, &buf);
	assert_int_equal(msg_decode(&out, buf.data, buf.len), -EPROTO);
	buf_fini(&buf);
}

/* The length of a text is the sender's word only: none is believed beyond what is there, nor beyond
 * what there is room for. */
static void test_hostile_sizes(void **state)
{
	static const uint32_t sizes[] = {CORE_TEXT_SIZE, CORE_TEXT_SIZE + 1, 0x7fffffff, 0x80000000,
		UINT32_MAX - 1, UINT32_MAX};
	struct msg in = full_message(MSG_DIFFERS), out;
	char text[CORE_TEXT_SIZE + 1];

	(void)state;
	in.text[0] = '\0';
	memset(text, 'x', sizeof(text));
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		size_t len = sizes[i] < sizeof(text) ? sizes[i] : sizeof(text);
		struct buf buf;

		encode(&in, &buf);
		buf.len -= 4; /* the text's length, which is the last */
		buf_u32(&buf, sizes[i]);
		buf_bytes(&buf, text, len);
		memset(&out, 0x5a, sizeof(out));
		assert_int_equal(msg_decode(&out, buf.data, buf.len), -EPROTO);
		assert_int_equal(out.group, 0x5a5a5a5a);
		buf_fini(&buf);
	}
}

/* ---- the state ---- */

static void config_make(struct core_config *config, struct core_group *groups)
{
	*config = (struct core_config){.n_nodes = 5, .n_groups = 3, .groups = groups};
	for (uint32_t i = 0; i < 3; i++)
		groups[i] = (struct core_group){.n_resources = 1};
}

static void state_make(struct core_state *state, const struct core_config *config)
{
	assert_int_equal(state_init(state, config), 0);
	state->version = 0x123456789;
	for (uint32_t i = 0; i < config->n_nodes; i++) {
		state->nodes[i].state = (enum node_state)(i % NODE_STATES);
		state->nodes[i].incarnation = 1000 + i;
		state->nodes[i].loaded = 2000 + i;
		state->nodes[i].hello_seq = i;
		state->nodes[i].is_returning = i % 2;
	}
	memcpy(state->nodes[2].difference, "group web", 10);
	state->groups[0].state = GROUP_ONLINE;
	state->groups[0].owner = state->groups[0].origin = 1;
	state->groups[0].may_run_on = 0x12;
	state->groups[0].gen = 77;
	state->groups[1].state = GROUP_FAILED;
	state->groups[1].failed_on = 0x1f;
	state->groups[1].cause = CAUSE_START_FAILED;
	state->groups[1].cause_node = 4;
	group_set_problem(&state->groups[1], "web-srv on n2: exit 1");
	state->groups[2].enabled = false;
	state->groups[2].unfit_on = 1;
}

static void test_state_round_trips(void **unused)
{
	struct core_config config;
	struct core_group groups[3];
	struct core_state in, out;
	struct buf buf = {0};
	struct reader reader;

	(void)unused;
	config_make(&config, groups);
	state_make(&in, &config);
	state_encode(&in, &buf);
	reader_init(&reader, buf.data, buf.len);
	assert_int_equal(state_decode(&out, &config, &reader), 0);
	assert_true(state_digest(&in) == state_digest(&out));
	assert_true(out.version == in.version);
	assert_string_equal(out.nodes[2].difference, "group web");
	assert_int_equal(out.nodes[3].hello_seq, 3);
	assert_true(out.nodes[3].is_returning);
	assert_string_equal(out.groups[1].problem, "web-srv on n2: exit 1");
	assert_int_equal(out.groups[1].failed_on, 0x1f);
	assert_int_equal(out.groups[2].unfit_on, 1);
	assert_false(out.groups[2].enabled);
	assert_int_equal(out.groups[0].may_run_on, 0x12);
	in.groups[0].gen++;
	assert_true(state_digest(&in) != state_digest(&out));
	state_fini(&in);
	state_fini(&out);
	buf_fini(&buf);
}

static void assert_state_refused(const struct core_config *config, const struct core_state *bad)
{
	struct core_state out;
	struct buf buf = {0};
	struct reader reader;

	memset(&out, 0x5a, sizeof(out));
	state_encode(bad, &buf);
	reader_init(&reader, buf.data, buf.len);
	assert_int_equal(state_decode(&out, config, &reader), -EPROTO);
	assert_int_equal(out.n_nodes, 0x5a5a5a5a);
	buf_fini(&buf);
}

/* Each soundness rule on its own. */
static void test_unsound_states_are_refused(void **unused)
{
	struct core_config config;
	struct core_group groups[3];
	struct core_state state;
	struct group_rec good;

	(void)unused;
	config_make(&config, groups);
	state_make(&state, &config);
	good = state.groups[0];
#define REFUSED(change)                                \
	do {                                           \
		change;                                \
		assert_state_refused(&config, &state); \
		state.groups[0] = good;                \
	} while (0)
	REFUSED(state.groups[0].owner = CORE_NO_NODE);
	REFUSED(state.groups[0].owner = 5);
	REFUSED(state.groups[0].state = GROUP_OFFLINE);
	REFUSED(state.groups[0].state = GROUP_STATES);
	REFUSED(state.groups[0].origin = 5);
	REFUSED(state.groups[0].target = 5);
	REFUSED(state.groups[0].cause_node = 200);
	REFUSED(state.groups[0].cause = CAUSES);
	REFUSED(state.groups[0].may_run_on |= node_bit(5));
	REFUSED(state.groups[0].failed_on |= node_bit(31));
	REFUSED(state.groups[0].unfit_on |= node_bit(31));
#undef REFUSED
	state.nodes[0].state = NODE_STATES;
	assert_state_refused(&config, &state);
	state.nodes[0].state = NODE_OFFLINE;
	state.n_nodes = 4;
	assert_state_refused(&config, &state);
	state.n_nodes = 5;
	state_fini(&state);
}

/* Neither a byte less nor one more. */
static void test_states_of_another_length_are_refused(void **unused)
{
	struct core_config config;
	struct core_group groups[3];
	struct core_state state, out;
	struct buf buf = {0};
	struct reader reader;

	(void)unused;
	config_make(&config, groups);
	state_make(&state, &config);
	state_encode(&state, &buf);
	for (size_t len = 0; len < buf.len; len++) {
		reader_init(&reader, buf.data, len);
		assert_int_equal(state_decode(&out, &config, &reader), -EPROTO);
	}
	buf_u8(&buf, 0);
	reader_init(&reader, buf.data, buf.len);
	assert_int_equal(state_decode(&out, &config, &reader), -EPROTO);
	buf_fini(&buf);
	state_fini(&state);
}

/* ---- mutations ---- */

#define CORPUS_MAX 32

struct corpus {
	struct buf items[CORPUS_MAX];
	unsigned n;
};

static void corpus_make(struct corpus *corpus, const struct core_state *state)
{
	*corpus = (struct corpus){.n = 0};
	for (enum msg_type type = MSG_HELLO; type < MSG_TYPES; type++) {
		struct msg msg = full_message(type);

		encode(&msg, &corpus->items[corpus->n++]);
	}
	state_encode(state, &corpus->items[corpus->n++]);
}

/* Into exact memory, so that a byte read too far is seen by the sanitizer. */
static unsigned char *mutate(const struct buf *buf, uint64_t *rng, size_t *ret_len)
{
	size_t len = rng_next(rng) % 4 == 0 ? rng_next(rng) % (buf->len + 1) : buf->len;
	unsigned char *copy = malloc(len ? len : 1);
	unsigned flips = (unsigned)(rng_next(rng) % 5);

	assert_non_null(copy);
	memcpy(copy, buf->data, len);
	for (unsigned i = 0; i < flips && len > 0; i++) {
		size_t at = rng_next(rng) % len;

		if (rng_next(rng) % 2)
			copy[at] = (unsigned char)rng_next(rng);
		else
			copy[at] ^= (unsigned char)(1u << rng_next(rng) % 8);
	}
	*ret_len = len;
	return copy;
}

static void test_mutations_do_no_harm(void **unused)
{
	struct core_config config;
	struct core_group groups[3];
	struct core_state state;
	struct corpus corpus;
	uint64_t rng = 2024;
	unsigned n_refused = 0, n_taken = 0;

	(void)unused;
	config_make(&config, groups);
	state_make(&state, &config);
	corpus_make(&corpus, &state);
	for (unsigned i = 0; i < MUTATIONS; i++) {
		size_t len;
		unsigned char *data = mutate(&corpus.items[i % corpus.n], &rng, &len);
		struct msg msg;
		struct core_state decoded;
		struct reader reader;
		int rc = msg_decode(&msg, data, len);

		assert_true(rc == 0 || rc == -EPROTO || rc == -EPROTONOSUPPORT);
		n_refused += rc != 0;
		n_taken += rc == 0;
		if (rc == 0)
			assert_true(msg.verb < CORE_VERBS && msg.type < MSG_TYPES);
		reader_init(&reader, data, len);
		rc = state_decode(&decoded, &config, &reader);
		assert_true(rc == 0 || rc == -EPROTO);
		if (rc == 0)
			state_fini(&decoded);
		free(data);
	}
	/* Both ways were taken often, or the mutations mutate nothing. */
	assert_true(n_refused > MUTATIONS / 20 && n_taken > MUTATIONS / 20);
	for (unsigned i = 0; i < corpus.n; i++)
		buf_fini(&corpus.items[i]);
	state_fini(&state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_messages_round_trip),
		cmocka_unit_test(test_fields_arrive),
		cmocka_unit_test(test_every_truncation_is_refused),
		cmocka_unit_test(test_other_versions_and_types),
		cmocka_unit_test(test_text_is_checked),
		cmocka_unit_test(test_hostile_sizes),
		cmocka_unit_test(test_state_round_trips),
		cmocka_unit_test(test_unsound_states_are_refused),
		cmocka_unit_test(test_states_of_another_length_are_refused),
		cmocka_unit_test(test_mutations_do_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
