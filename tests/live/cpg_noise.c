/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A stranger in a CPG group: joins it and sends noise, broken and forged frames, other versions,
 * and what it has heard from others, as it was and altered. Nothing of it may change anything.
 *
 * usage: cpg_noise GROUP COUNT SEED [--no-replays]
 * Prints "joined", waits for a frame of another process (for replays; at most HEAR_MAX_NS), sends
 * COUNT messages, waits until the last was delivered, and says what it sent. It knows the frame's
 * header and the first bytes of a message (membership_send.c, core/message.c), and no more.
 * Called by live_daemon.py.
 */
#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <corosync/cpg.h>
#include <corosync/corotypes.h>

#define FRAME_MAGIC 0x436c5564u
#define SIZE_MAX_BYTES 6000
#define HEARD_MAX 16
#define HEAR_MAX_NS 5000000000
#define SEND_MAX_NS 20000000000
#define MESSAGE_HEAD 18 /* type, protocol, incarnation, config digest */

struct header {
	uint32_t magic;
	uint16_t version, kind;
	uint64_t incarnation, seq;
	uint32_t pid, count;
};

enum noise {
	NOISE_BYTES,
	NOISE_VERSION,
	NOISE_KIND,
	NOISE_COUNT,
	NOISE_INNER,
	NOISE_MESSAGE,
	NOISE_PROTOCOL,
	NOISE_REPLAY,
	NOISE_REPLAY_AS_OURS,
	NOISE_REPLAY_ALTERED,
	NOISES
};

struct state {
	cpg_handle_t cpg;
	uint64_t random;
	uint32_t own_pid;
	unsigned n_heard, n_delivered;
	bool is_joined;
	struct {
		uint8_t data[SIZE_MAX_BYTES];
		size_t len;
	} heard[HEARD_MAX];
	uint8_t out[SIZE_MAX_BYTES];
};

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static void pause_ms(long ms)
{
	struct timespec pause = {.tv_nsec = ms * 1000000};

	nanosleep(&pause, NULL);
}

/* xorshift64: the same seed, the same noise. */
static uint64_t next(struct state *state)
{
	state->random ^= state->random << 13;
	state->random ^= state->random >> 7;
	state->random ^= state->random << 17;
	return state->random;
}

static void fill(struct state *state, uint8_t *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		data[i] = (uint8_t)next(state);
}

static void deliver(cpg_handle_t handle, const struct cpg_name *group, uint32_t nodeid,
	uint32_t pid, void *data, size_t len)
{
	void *context = NULL;
	struct state *state;

	(void)group;
	(void)nodeid;
	if (cpg_context_get(handle, &context) != CS_OK)
		return;
	state = context;
	if (pid == state->own_pid) {
		state->n_delivered++;
	} else if (len <= SIZE_MAX_BYTES) {
		memcpy(state->heard[state->n_heard % HEARD_MAX].data, data, len);
		state->heard[state->n_heard++ % HEARD_MAX].len = len;
	}
}

static void confchg(cpg_handle_t handle, const struct cpg_name *group,
	const struct cpg_address *members, size_t n_members, const struct cpg_address *left,
	size_t n_left, const struct cpg_address *joined, size_t n_joined)
{
	void *context = NULL;

	(void)group;
	(void)members;
	(void)n_members;
	(void)left;
	(void)n_left;
	if (cpg_context_get(handle, &context) != CS_OK)
		return;
	for (size_t i = 0; i < n_joined; i++) {
		if (joined[i].pid == (uint32_t)getpid())
			((struct state *)context)->is_joined = true;
	}
}

static void die(const char *what, cs_error_t err)
{
	printf("%s: %s\n", what, cs_strerror(err));
	exit(1);
}

static void dispatch(struct state *state)
{
	cs_error_t err = cpg_dispatch(state->cpg, CS_DISPATCH_ALL);

	if (err != CS_OK && err != CS_ERR_TRY_AGAIN)
		die("cpg_dispatch", err);
}

/* A frame that is sound as far as the header goes, with one message of inner_len bytes. */
static size_t frame(
	struct state *state, uint16_t version, uint16_t kind, uint32_t count, size_t inner_len)
{
	struct header header = {
		.magic = htole32(FRAME_MAGIC),
		.version = htole16(version),
		.kind = htole16(kind),
		.incarnation = next(state),
		.seq = next(state),
		.pid = htole32(state->own_pid),
		.count = htole32(count),
	};
	uint32_t len = htole32((uint32_t)inner_len);

	memcpy(state->out, &header, sizeof(header));
	memcpy(state->out + sizeof(header), &len, sizeof(len));
	fill(state, state->out + sizeof(header) + sizeof(len), inner_len);
	return sizeof(header) + sizeof(len) + inner_len;
}

static size_t message(struct state *state, uint8_t protocol)
{
	size_t len = frame(state, 1, 1, 1, MESSAGE_HEAD + next(state) % 200);

	state->out[sizeof(struct header) + sizeof(uint32_t)] = (uint8_t)(next(state) % 20);
	state->out[sizeof(struct header) + sizeof(uint32_t) + 1] = protocol;
	return len;
}

static size_t replay(struct state *state, bool as_ours, bool altered)
{
	unsigned n = state->n_heard < HEARD_MAX ? state->n_heard : HEARD_MAX;
	uint32_t pid = htole32(state->own_pid);
	unsigned i;
	size_t len;

	if (n == 0)
		return 0;
	i = (unsigned)(next(state) % n);
	len = state->heard[i].len;
	memcpy(state->out, state->heard[i].data, len);
	if (as_ours && len >= sizeof(struct header))
		memcpy(state->out + offsetof(struct header, pid), &pid, sizeof(pid));
	if (altered && len > sizeof(struct header))
		state->out[sizeof(struct header) + next(state) % (len - sizeof(struct header))] ^=
			(uint8_t)(1 + next(state) % 255);
	return len;
}

static size_t make(struct state *state, enum noise noise)
{
	size_t len;

	switch (noise) {
	case NOISE_VERSION: return frame(state, 2, 1, 1, 40);
	case NOISE_KIND: return frame(state, 1, (uint16_t)(4 + next(state) % 60000), 1, 40);
	case NOISE_COUNT: return frame(state, 1, 1, (uint32_t)next(state) | 0x80000000u, 40);
	case NOISE_INNER: return frame(state, 1, 1, 1, next(state) % 500);
	case NOISE_MESSAGE: return message(state, 1);
	case NOISE_PROTOCOL: return message(state, 2);
	case NOISE_REPLAY: return replay(state, false, false);
	case NOISE_REPLAY_AS_OURS: return replay(state, true, false);
	case NOISE_REPLAY_ALTERED: return replay(state, true, true);
	case NOISE_BYTES:
	case NOISES: break;
	}
	len = next(state) % SIZE_MAX_BYTES;
	fill(state, state->out, len);
	return len;
}

static void send_one(struct state *state, size_t len, int64_t deadline_ns)
{
	struct iovec iov = {.iov_base = state->out, .iov_len = len};
	cs_error_t err;

	while ((err = cpg_mcast_joined(state->cpg, CPG_TYPE_AGREED, &iov, 1)) == CS_ERR_TRY_AGAIN) {
		if (now_ns() > deadline_ns)
			die("cpg_mcast_joined", err);
		dispatch(state);
		pause_ms(1);
	}
	if (err != CS_OK)
		die("cpg_mcast_joined", err);
}

static void join(struct state *state, const char *name)
{
	static cpg_callbacks_t callbacks = {.cpg_deliver_fn = deliver, .cpg_confchg_fn = confchg};
	int64_t deadline_ns = now_ns() + HEAR_MAX_NS;
	struct cpg_name group = {0};
	cs_error_t err = cpg_initialize(&state->cpg, &callbacks);

	if (err != CS_OK)
		die("cpg_initialize", err);
	err = cpg_context_set(state->cpg, state);
	if (err != CS_OK)
		die("cpg_context_set", err);
	group.length = (uint32_t)strlen(name);
	memcpy(group.value, name, group.length);
	err = cpg_join(state->cpg, &group);
	if (err != CS_OK)
		die("cpg_join", err);
	while (!state->is_joined && now_ns() < deadline_ns) {
		dispatch(state);
		pause_ms(1);
	}
	printf("joined\n");
	fflush(stdout);
	deadline_ns = now_ns() + HEAR_MAX_NS;
	while (state->n_heard == 0 && now_ns() < deadline_ns) {
		dispatch(state);
		pause_ms(1);
	}
}

int main(int argc, char **argv)
{
	static struct state state;
	int64_t deadline_ns;
	unsigned kinds, count, n_sent = 0, n_replayed = 0;

	if (argc < 4 || strlen(argv[1]) >= CPG_MAX_NAME_LENGTH ||
		(argc > 4 && strcmp(argv[4], "--no-replays") != 0)) {
		fprintf(stderr, "usage: cpg_noise GROUP COUNT SEED [--no-replays]\n");
		return 2;
	}
	kinds = argc > 4 ? NOISE_REPLAY : NOISES;
	count = (unsigned)strtoul(argv[2], NULL, 10);
	state.random = strtoull(argv[3], NULL, 10) | 1;
	state.own_pid = (uint32_t)getpid();
	join(&state, argv[1]);
	deadline_ns = now_ns() + SEND_MAX_NS;
	for (unsigned i = 0; i < count; i++) {
		enum noise noise = (enum noise)(i % kinds);
		size_t len = make(&state, noise);

		if (noise >= NOISE_REPLAY && len == 0)
			continue;
		send_one(&state, len, deadline_ns);
		n_sent++;
		n_replayed += noise >= NOISE_REPLAY;
		dispatch(&state);
	}
	while (state.n_delivered < n_sent && now_ns() < deadline_ns) {
		dispatch(&state);
		pause_ms(1);
	}
	printf("sent %u, of these %u replays; %u delivered\n", n_sent, n_replayed,
		state.n_delivered);
	return state.n_delivered == n_sent ? 0 : 1;
}
