/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * clusterctl's side of the control socket when there is no daemon, one that hangs or dies, or
 * something else in its place: never a wait without an end.
 */

#include "tests/unit/control_fixture.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "clusterctl/client.h"
#include "clusterd/loop.h"
#include "clusterd/protocol.h"

#define ANSWER_MS 10000 /* far more than any answer needs */

static int64_t now_ms(void)
{
	return clock_boottime_ns() / 1000000;
}

static void answer_never(struct fixture *fixture, uint64_t id, const json_t *request)
{
	(void)fixture;
	(void)id;
	(void)request;
}

static void handle_nothing(void *ctx, uint64_t id, const json_t *request)
{
	(void)ctx;
	(void)id;
	(void)request;
}

static int serve_for_ever(void *arg)
{
	fixture_serve(arg, FIXTURE_LIMIT_S * 1000);
	return 1;
}

static int serve_new(void *arg)
{
	struct fixture *fixture;
	void *state;

	(void)arg;
	fixture_setup(&state);
	fixture = state;
	fixture->answer = answer_never;
	return serve_for_ever(fixture);
}

static void test_daemon_hangs(void **state)
{
	pid_t pid = fixture_fork(NULL, serve_new, NULL), seen = 0;
	int64_t limit_ms = now_ms() + ANSWER_MS, start_ms;
	json_t *request = json_pack("{s:s}", "verb", "status"), *reply = NULL;
	struct client *client = NULL, *other = NULL;
	int rc;

	(void)state;
	while ((rc = client_connect(ANSWER_MS, &client, &seen)) == -ECONNREFUSED &&
		now_ms() < limit_ms)
		;
	assert_int_equal(rc, 0);
	assert_int_equal(seen, pid);
	assert_int_equal(kill(pid, SIGSTOP), 0);
	start_ms = now_ms();
	assert_int_equal(client_connect(300, &other, &seen), -ETIMEDOUT);
	assert_int_equal(seen, pid);
	assert_int_equal(client_call(client, request, 300, &reply), -ETIMEDOUT);
	assert_in_range(now_ms() - start_ms, 600, ANSWER_MS);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	start_ms = now_ms();
	assert_int_equal(client_call(client, request, FIXTURE_LIMIT_S * 1000, &reply), -ENOTCONN);
	assert_true(now_ms() - start_ms < ANSWER_MS);
	assert_int_equal(client_connect(ANSWER_MS, &other, &seen), -ECONNREFUSED);
	client_free(client);
	fixture_shm_clean(pid); /* libqb leaves a killed server's folders */
	json_decref(request);
}

static int impostor(void *arg)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	int *pipe_fds = arg, fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strcpy(name.sun_path + 1, PROTOCOL_SERVICE);
	CHECK(setgid(65534) == 0 && setuid(65534) == 0);
	CHECK(bind(fd, (struct sockaddr *)&name, sizeof(name)) == 0 && listen(fd, 5) == 0);
	CHECK(write(pipe_fds[1], "x", 1) == 1);
	pause();
	return 0;
}

static void test_impostor(void **state)
{
	struct client *client = NULL;
	struct control *control = NULL;
	struct loop *loop = NULL;
	int pipe_fds[2];
	char byte;
	pid_t pid;

	(void)state;
	assert_int_equal(pipe(pipe_fds), 0);
	pid = fixture_fork(NULL, impostor, pipe_fds);
	close(pipe_fds[1]);
	assert_int_equal(read(pipe_fds[0], &byte, 1), 1);
	close(pipe_fds[0]);
	assert_int_equal(client_connect(ANSWER_MS, &client, NULL), -EPERM);
	assert_int_equal(loop_new(&loop), 0);
	assert_int_equal(control_new(loop, handle_nothing, NULL, &control), -EADDRINUSE);
	loop_free(loop);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_daemon_hangs),
		cmocka_unit_test(test_impostor),
	};

	if (!fixture_prepare())
		return 77;
	alarm(4 * FIXTURE_LIMIT_S);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
