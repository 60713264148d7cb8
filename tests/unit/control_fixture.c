/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The real control server in this process, and clients as its children. Called by control_test.c
 * and clusterctl_test.c.
 */

#include "tests/unit/control_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clusterd/loop.h"

#define NS_PER_MS INT64_C(1000000)

bool fixture_prepare(void)
{
	if (geteuid() != 0) {
		printf("needs root: the control socket is for root only\n");
		return false;
	}
	if (unshare(CLONE_NEWNET) < 0) {
		perror("unshare");
		exit(1);
	}
	return true;
}

static void on_request(void *ctx, uint64_t id, const json_t *request)
{
	struct fixture *fixture = ctx;

	fixture->n_requests++;
	json_decref(fixture->last_request);
	fixture->last_request = json_deep_copy(request);
	assert_non_null(fixture->answer);
	fixture->answer(fixture, id, request);
}

int fixture_setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	assert_non_null(fixture);
	assert_int_equal(loop_new(&fixture->loop), 0);
	assert_int_equal(control_new(fixture->loop, on_request, fixture, &fixture->control), 0);
	*state = fixture;
	return 0;
}

int fixture_teardown(void **state)
{
	struct fixture *fixture = *state;

	control_free(fixture->control);
	loop_free(fixture->loop);
	json_decref(fixture->last_request);
	free(fixture);
	return 0;
}

pid_t fixture_fork(struct fixture *fixture, int (*fn)(void *arg), void *arg)
{
	pid_t pid;

	(void)fixture;
	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(fn(arg));
	}
	return pid;
}

struct child {
	struct fixture *fixture;
	pid_t pid;
	int status;
	bool has_ended;
};

static void on_child(void *ctx, int fd, int revents)
{
	struct child *child = ctx;

	(void)revents;
	assert_int_equal(waitpid(child->pid, &child->status, 0), child->pid);
	child->has_ended = true;
	loop_fd_del(child->fixture->loop, fd);
	loop_stop(child->fixture->loop);
}

static void on_limit(void *ctx)
{
	struct child *child = ctx;

	fprintf(stderr, "the child has not ended for %d s\n", FIXTURE_LIMIT_S);
	kill(child->pid, SIGKILL);
}

int fixture_wait(struct fixture *fixture, pid_t pid)
{
	struct child child = {.fixture = fixture, .pid = pid};
	struct loop_timer *limit = NULL;
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	assert_true(fd >= 0);
	assert_int_equal(loop_fd_add(fixture->loop, fd, POLLIN, on_child, &child, "child"), 0);
	assert_int_equal(loop_timer_add(fixture->loop, FIXTURE_LIMIT_S * 1000 * NS_PER_MS, on_limit,
				 &child, "limit", &limit),
		0);
	while (!child.has_ended)
		loop_run(fixture->loop);
	loop_timer_del(fixture->loop, &limit);
	close(fd);
	return WIFEXITED(child.status) ? WEXITSTATUS(child.status) : 128 + WTERMSIG(child.status);
}

int fixture_run(struct fixture *fixture, int (*fn)(void *arg), void *arg)
{
	return fixture_wait(fixture, fixture_fork(fixture, fn, arg));
}

static void on_time(void *ctx)
{
	loop_stop(ctx);
}

void fixture_serve(struct fixture *fixture, int for_ms)
{
	assert_int_equal(loop_timer_add(fixture->loop, for_ms * NS_PER_MS, on_time, fixture->loop,
				 "serve", NULL),
		0);
	loop_run(fixture->loop);
}

void fixture_until(struct fixture *fixture, bool (*is_done)(void *ctx), void *ctx)
{
	for (int i = 0; !is_done(ctx); i++) {
		assert_true(i < FIXTURE_LIMIT_S * 100);
		fixture_serve(fixture, 10);
	}
}

static unsigned shm_folders(pid_t server, bool are_to_go)
{
	char prefix[32];
	struct dirent *entry;
	unsigned n = 0;
	DIR *dir = opendir("/dev/shm");

	assert_non_null(dir);
	snprintf(prefix, sizeof(prefix), "qb-%d-", (int)server);
	while ((entry = readdir(dir))) {
		if (strncmp(entry->d_name, prefix, strlen(prefix)) != 0)
			continue;
		n++;
		if (are_to_go)
			assert_int_equal(unlinkat(dirfd(dir), entry->d_name, AT_REMOVEDIR), 0);
	}
	closedir(dir);
	return n;
}

unsigned fixture_shm_folders(pid_t server)
{
	return shm_folders(server, false);
}

void fixture_shm_clean(pid_t server)
{
	shm_folders(server, true);
}
