/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The control socket: the real server of clusterd, the real client of clusterctl, libqb in between.
 */

#include "tests/unit/control_fixture.h"

#include <errno.h>
#include <glob.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <qb/qbrb.h>

#include "clusterctl/client.h"
#include "clusterd/loop.h"
#include "clusterd/protocol.h"

#define ANSWER_MS 10000 /* far more than any answer needs */
#define BIG_ITEMS 20000 /* about 2.6 MB of JSON: some eighty events */

static int64_t now_ms(void)
{
	return clock_boottime_ns() / 1000000;
}

/* ---- what the handler may do ---- */

static void answer_echo(struct fixture *fixture, uint64_t id, const json_t *request)
{
	control_reply(fixture->control, id,
		json_pack("{s:b, s:O}", "ok", 1, "echo", json_object_get(request, "text")));
}

static json_t *big_document(void)
{
	json_t *items = json_array();

	for (int i = 0; i < BIG_ITEMS; i++) {
		char text[160];

		snprintf(text, sizeof(text), "item %d: %0120d", i, i);
		json_array_append_new(items, json_string(text));
	}
	return json_pack("{s:b, s:o}", "ok", 1, "items", items);
}

static void answer_big(struct fixture *fixture, uint64_t id, const json_t *request)
{
	if (strcmp(json_string_value(json_object_get(request, "verb")), "big") == 0)
		control_reply(fixture->control, id, big_document());
	else
		answer_echo(fixture, id, request);
}

static void answer_never(struct fixture *fixture, uint64_t id, const json_t *request)
{
	(void)request;
	fixture->held_id = id;
}

/* ---- what children do ---- */

static json_t *echo_request(void)
{
	return json_pack("{s:s, s:s}", "verb", "echo", "text", "gr\xc3\xbc\xc3\x9f dich");
}

static void check_echo(struct client *client)
{
	json_t *request = echo_request(), *reply = NULL;

	CHECK(client_call(client, request, ANSWER_MS, &reply) == 0);
	CHECK(json_equal(json_object_get(reply, "echo"), json_object_get(request, "text")));
	json_decref(request);
	json_decref(reply);
}

static int child_echo(void *arg)
{
	struct client *client;
	pid_t pid = 0;

	(void)arg;
	CHECK(client_connect(ANSWER_MS, &client, &pid) == 0);
	CHECK(pid == getppid());
	for (int i = 0; i < 100; i++)
		check_echo(client);
	client_free(client);
	return 0;
}

static int child_big(void *arg)
{
	json_t *request = json_pack("{s:s}", "verb", "big"), *reply = NULL,
	       *expected = big_document();
	struct client *client;

	(void)arg;
	CHECK(client_connect(ANSWER_MS, &client, NULL) == 0);
	CHECK(client_call(client, request, ANSWER_MS, &reply) == 0);
	CHECK(json_equal(reply, expected));
	check_echo(client); /* and the connection is good for another */
	client_free(client);
	return 0;
}

/* Sends the bytes as a request of the given id and claimed size; the reply's "code" must be code.
 */
static void check_frame(struct client *client, const char *json, size_t len, int id, int claims,
	int expected_rc, const char *code)
{
	union {
		struct protocol_request request;
		char bytes[PROTOCOL_BUFFER_SIZE];
	} frame = {.request.header.id = id};
	json_t *reply = NULL;

	frame.request.header.size = claims;
	memcpy(frame.request.json, json, len);
	CHECK(client_call_frame(client, &frame, sizeof(frame.request) + len, ANSWER_MS, &reply) ==
		expected_rc);
	if (code) {
		CHECK(json_is_false(json_object_get(reply, "ok")));
		CHECK(strcmp(json_string_value(json_object_get(reply, "code")), code) == 0);
		CHECK(strlen(json_string_value(json_object_get(reply, "error"))) > 10);
	}
	json_decref(reply);
}

static void check_text(struct client *client, const char *text, size_t len, const char *code)
{
	check_frame(client, text, len, PROTOCOL_REQUEST_ID,
		(int)(sizeof(struct protocol_request) + len), 0, code);
}

static int child_invalid(void *arg)
{
	static const char *const texts[] = {"", "{", "nonsense", "[]", "[{\"verb\":\"x\"}]",
		"\"verb\"", "{\"verb\":1}", "{\"Verb\":\"status\"}",
		"{\"verb\":\"a\",\"verb\":\"b\"}", "{\"verb\":\"\xff\xfe\"}",
		"{\"verb\":\"status\"} and more"};
	char huge[PROTOCOL_REQUEST_MAX + 1], deep[PROTOCOL_REQUEST_MAX];
	struct client *client;

	(void)arg;
	CHECK(client_connect(ANSWER_MS, &client, NULL) == 0);
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		check_text(client, texts[i], strlen(texts[i]), "invalid");
	check_text(client, "{\"verb\":\"a\0b\"}", 14, "invalid");
	memset(deep, '[', sizeof(deep));
	check_text(client, deep, sizeof(deep), "invalid");
	memset(huge, ' ', sizeof(huge));
	check_frame(client, huge, sizeof(huge), PROTOCOL_REQUEST_ID,
		(int)(sizeof(struct protocol_request) + sizeof(huge)), -EMSGSIZE, NULL);
	check_frame(client, "{}", 2, PROTOCOL_REQUEST_ID, INT32_MAX, -EMSGSIZE, NULL);
	check_frame(client, "{}", 2, PROTOCOL_REQUEST_ID, -1, -EPROTO, NULL);
	check_frame(client, "{}", 2, PROTOCOL_REQUEST_ID, 3, -EPROTO, NULL);
	check_frame(client, "{}", 2, 77, (int)sizeof(struct protocol_request) + 2, -EPROTO, NULL);
	check_echo(client);
	client_free(client);
	return 0;
}

/* Asks, and does not wait for the answer. */
static struct client *ask_and_leave(void)
{
	json_t *request = echo_request(), *reply = NULL;
	struct client *client;

	CHECK(client_connect(ANSWER_MS, &client, NULL) == 0);
	CHECK(client_call(client, request, 50, &reply) == -ETIMEDOUT);
	json_decref(request);
	return client;
}

static int child_busy(void *arg)
{
	struct client *client = ask_and_leave();
	json_t *request = echo_request(), *reply = NULL;

	(void)arg;
	CHECK(client_call(client, request, ANSWER_MS, &reply) == -EBUSY);
	client_free(client);
	json_decref(request);
	return 0;
}

static int child_gone(void *arg)
{
	(void)arg;
	ask_and_leave();
	raise(SIGKILL);
	return 0;
}

static int child_many(void *arg)
{
	struct client *clients[CONTROL_CLIENTS_MAX], *more;
	int64_t limit_ms = now_ms() + ANSWER_MS;
	int rc;

	(void)arg;
	for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++)
		CHECK(client_connect(ANSWER_MS, &clients[i], NULL) == 0);
	CHECK(client_connect(ANSWER_MS, &more, NULL) == -EAGAIN);
	check_echo(clients[0]);
	check_echo(clients[CONTROL_CLIENTS_MAX - 1]);
	client_free(clients[3]);
	while ((rc = client_connect(ANSWER_MS, &more, NULL)) == -EAGAIN && now_ms() < limit_ms)
		;
	CHECK(rc == 0);
	check_echo(more);
	return 0; /* without closing any */
}

static int child_not_root(void *arg)
{
	struct client *client;
	int rc;

	(void)arg;
	CHECK(setgid(65534) == 0 && setuid(65534) == 0);
	rc = client_connect(ANSWER_MS, &client, NULL);
	/* Closed at once, whatever step it was at; -EACCES would mean that it got a slot. */
	CHECK(rc == -ENOTCONN || rc == -ECONNRESET || rc == -EPIPE);
	return 0;
}

/* libqb's first message on a new connection, and the head of what it answers. */
struct authenticate {
	struct qb_ipc_request_header header;
	uint32_t max_msg_size __attribute__((aligned(8)));
};
#define AUTHENTICATE_ID (-1)

/* A connection that root opened, used by somebody else. */
static int child_root_no_more(void *arg)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	struct authenticate auth = {.header = {.id = AUTHENTICATE_ID, .size = sizeof(auth)},
		.max_msg_size = PROTOCOL_BUFFER_SIZE};
	struct qb_ipc_response_header response;
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strcpy(name.sun_path + 1, PROTOCOL_SERVICE);
	CHECK(connect(fd, (struct sockaddr *)&name, sizeof(name)) == 0);
	if (!arg)
		CHECK(setgid(65534) == 0 && setuid(65534) == 0);
	CHECK(send(fd, &auth, sizeof(auth), 0) == sizeof(auth));
	CHECK(recv(fd, &response, sizeof(response), MSG_WAITALL) == sizeof(response));
	CHECK(response.id == AUTHENTICATE_ID);
	CHECK(response.error == (arg ? 0 : -EACCES));
	return 0;
}

static int child_wrong_size(void *arg)
{
	(void)arg;
	errno = 0;
	CHECK(!qb_ipcc_connect(PROTOCOL_SERVICE, 512 << 20));
	CHECK(errno == EMSGSIZE);
	return 0;
}

static int child_stalled(void *arg)
{
	struct client *client;
	json_t *request = json_pack("{s:s}", "verb", "big"), *reply = NULL;

	(void)arg;
	CHECK(client_connect(ANSWER_MS, &client, NULL) == 0);
	CHECK(client_call(client, request, 0, &reply) == -ETIMEDOUT);
	raise(SIGSTOP);
	CHECK(client_call(client, request, ANSWER_MS, &reply) == -ENOTCONN);
	return 0;
}

#define FRAME_SIZE (sizeof(struct qb_ipc_request_header) + 22)

/* Stopped in the middle of libqb's work: two requests in the ring, and the wake-up byte of one. */
static int child_half_sent(void *arg)
{
	qb_ipcc_connection_t *conn = qb_ipcc_connect(PROTOCOL_SERVICE, PROTOCOL_BUFFER_SIZE);
	struct {
		struct qb_ipc_request_header header;
		char json[22] __attribute__((nonstring));
	} request = {{PROTOCOL_REQUEST_ID, FRAME_SIZE},
		"{\"verb\":\"x\",\"text\":\"\"}"}; /* 22 bytes, no NUL */
	char pattern[64], ring_name[PATH_MAX];
	qb_ringbuffer_t *ring;
	int32_t fd;
	glob_t found;

	(void)arg;
	CHECK(conn && qb_ipcc_fd_get(conn, &fd) == 0);
	snprintf(pattern, sizeof(pattern), "/dev/shm/qb-%d-%d-*", (int)getppid(), (int)getpid());
	CHECK(glob(pattern, 0, NULL, &found) == 0 && found.gl_pathc == 1);
	snprintf(ring_name, sizeof(ring_name), "%s/qb-request-%s", found.gl_pathv[0],
		PROTOCOL_SERVICE);
	ring = qb_rb_open(
		ring_name, PROTOCOL_BUFFER_SIZE, QB_RB_FLAG_SHARED_PROCESS, sizeof(int32_t));
	CHECK(ring);
	for (int i = 0; i < 2; i++)
		CHECK(qb_rb_chunk_write(ring, &request, FRAME_SIZE) == FRAME_SIZE);
	CHECK(send(fd, "x", 1, 0) == 1);
	raise(SIGSTOP);
	return 0;
}

/* ---- the tests ---- */

static bool has_no_client(void *ctx)
{
	(void)ctx;
	return fixture_shm_folders(getpid()) == 0;
}

static void test_echo(void **state)
{
	struct fixture *fixture = *state;

	fixture->answer = answer_echo;
	assert_int_equal(fixture_run(fixture, child_echo, NULL), 0);
	assert_int_equal(fixture->n_requests, 100);
	fixture_until(fixture, has_no_client, NULL);
}

static void test_big(void **state)
{
	struct fixture *fixture = *state;

	fixture->answer = answer_big;
	assert_int_equal(fixture_run(fixture, child_big, NULL), 0);
}

static void test_invalid(void **state)
{
	struct fixture *fixture = *state;

	fixture->answer = answer_echo;
	assert_int_equal(fixture_run(fixture, child_invalid, NULL), 0);
	assert_int_equal(fixture->n_requests, 1); /* the handler has seen the good one only */
}

static int child_left(void *arg)
{
	json_t *request = echo_request(), *reply = NULL;
	struct client *client;

	(void)arg;
	CHECK(client_connect(ANSWER_MS, &client, NULL) == 0);
	CHECK(client_call(client, request, ANSWER_MS, &reply) == -ENOTCONN);
	client_free(client);
	return 0;
}

static bool is_held(void *ctx)
{
	return ((struct fixture *)ctx)->held_id != 0;
}

static void test_late(void **state)
{
	struct fixture *fixture = *state;
	uint64_t gone_id = 0;
	pid_t pid;

	fixture->answer = answer_never;
	for (int i = 0; i < 2; i++) {
		fixture->held_id = 0;
		pid = fixture_fork(fixture, child_busy, NULL);
		fixture_until(fixture, is_held, fixture);
		/* The first one's answer goes nowhere, and not to the second in the same slot. */
		control_reply(fixture->control, gone_id, json_pack("{s:b}", "ok", 1));
		control_reply_error(fixture->control, gone_id, "internal", "text");
		assert_int_equal(fixture_wait(fixture, pid), 0);
		fixture_until(fixture, has_no_client, NULL);
		gone_id = fixture->held_id;
	}
	control_reply(fixture->control, 0, json_pack("{s:b}", "ok", 1));
	control_reply(fixture->control, UINT64_MAX, json_pack("{s:b}", "ok", 1));
}

/* The daemon ends while a client waits. */
static void test_server_ends(void **state)
{
	struct fixture *fixture = *state;
	pid_t pid;

	fixture->answer = answer_never;
	pid = fixture_fork(fixture, child_left, NULL);
	fixture_until(fixture, is_held, fixture);
	control_free(fixture->control);
	fixture->control = NULL;
	assert_int_equal(fixture_wait(fixture, pid), 0);
	assert_int_equal(fixture_shm_folders(getpid()), 0);
}

static void test_client_killed(void **state)
{
	struct fixture *fixture = *state;

	fixture->answer = answer_never;
	assert_int_equal(fixture_run(fixture, child_gone, NULL), 128 + SIGKILL);
	fixture_until(fixture, has_no_client, NULL);
	fixture->answer = answer_echo;
	assert_int_equal(fixture_run(fixture, child_echo, NULL), 0);
}

static void test_many(void **state)
{
	struct fixture *fixture = *state;

	fixture->answer = answer_echo;
	assert_int_equal(fixture_run(fixture, child_many, NULL), 0);
	assert_int_equal(fixture_run(fixture, child_many, NULL), 0);
	fixture_until(fixture, has_no_client, NULL);
}

static void test_refused(void **state)
{
	struct fixture *fixture = *state;

	fixture->answer = answer_echo;
	assert_int_equal(fixture_run(fixture, child_not_root, NULL), 0);
	assert_int_equal(fixture_run(fixture, child_root_no_more, NULL), 0);
	assert_int_equal(fixture_run(fixture, child_root_no_more, ""), 0); /* still root: let in */
	assert_int_equal(fixture_run(fixture, child_wrong_size, NULL), 0);
	assert_int_equal(fixture->n_requests, 0);
	assert_int_equal(fixture_run(fixture, child_echo, NULL), 0);
	fixture_until(fixture, has_no_client, NULL);
}

static void handle_nothing(void *ctx, uint64_t id, const json_t *request)
{
	(void)ctx;
	(void)id;
	(void)request;
}

static void test_second_daemon(void **state)
{
	struct fixture *fixture = *state;
	struct control *second = NULL;

	assert_int_equal(control_new(fixture->loop, handle_nothing, NULL, &second), -EADDRINUSE);
	assert_null(second);
	fixture->answer = answer_echo;
	assert_int_equal(fixture_run(fixture, child_echo, NULL), 0);
}

static bool is_stopped(void *ctx)
{
	siginfo_t info = {0};

	return waitid(P_PID, (id_t) * (pid_t *)ctx, &info, WSTOPPED | WNOHANG | WNOWAIT) == 0 &&
	       info.si_pid != 0;
}

static void test_stalled(void **state)
{
	struct fixture *fixture = *state;
	int64_t start_ms, took_ms;
	pid_t pid;

	fixture->answer = answer_big;
	pid = fixture_fork(fixture, child_stalled, NULL);
	fixture_until(fixture, is_stopped, &pid);
	start_ms = now_ms();
	/* Others are served meanwhile, as if nothing were wrong. */
	assert_int_equal(fixture_run(fixture, child_echo, NULL), 0);
	took_ms = now_ms() - start_ms;
	assert_true(took_ms < CONTROL_STALLED_MS);
	fixture_until(fixture, has_no_client, NULL);
	took_ms = now_ms() - start_ms;
	assert_in_range(took_ms, CONTROL_STALLED_MS - 1000, CONTROL_STALLED_MS * 3);
	kill(pid, SIGCONT);
	assert_int_equal(fixture_wait(fixture, pid), 0);
}

static void test_half_sent(void **state)
{
	struct fixture *fixture = *state;
	pid_t pid;

	fixture->answer = answer_echo;
	pid = fixture_fork(fixture, child_half_sent, NULL);
	fixture_until(fixture, is_stopped, &pid);
	assert_int_equal(fixture_run(fixture, child_echo, NULL), 0);
	assert_in_range(fixture->n_requests, 101, 102);
	kill(pid, SIGKILL);
	assert_int_equal(fixture_wait(fixture, pid), 128 + SIGKILL);
	fixture_until(fixture, has_no_client, NULL);
}

#define WITH_SERVER(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_SERVER(test_echo),
		WITH_SERVER(test_big),
		WITH_SERVER(test_invalid),
		WITH_SERVER(test_late),
		WITH_SERVER(test_server_ends),
		WITH_SERVER(test_client_killed),
		WITH_SERVER(test_many),
		WITH_SERVER(test_refused),
		WITH_SERVER(test_second_daemon),
		WITH_SERVER(test_stalled),
		WITH_SERVER(test_half_sent),
	};

	if (!fixture_prepare())
		return 77;
	alarm(4 * FIXTURE_LIMIT_S); /* a server that blocks can't keep the other limits */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
