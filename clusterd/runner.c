/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The process runner: everything slow is a child of it.
 *
 * Invariants: a group is signalled only while its leader is not reaped, for a zombie keeps the pid,
 * and with it the group's number, from being given to somebody else. Every child that was started
 * gets exactly one result, unless it was forgotten, and is reaped however late it ends.
 * Called by resource types; children are told apart by their own watches, there is no SIGCHLD.
 */
#include "clusterd/runner.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clusterd/log.h"
#include "clusterd/loop.h"

#define NS_PER_MS 1000000
#define READ_SIZE 16384
#define READS_AT_END 8    /* more than a pipe holds; who still writes then is not the child */
#define REAP_RETRY_MS 100 /* for a child that ended, but can't be reaped, or has no pidfd */
#define FREE_WAIT_MS 200  /* runner_free, after SIGKILL */
#define DEFAULT_PATH "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

enum child_phase {
	CHILD_RUNNING,
	CHILD_TERMINATING, /* SIGTERM was sent to the group */
	CHILD_KILLED,      /* SIGKILL was sent to the group */
	CHILD_ABANDONED,   /* and it is still there, reported; to be reaped */
};

struct runner_child {
	struct runner *runner;
	struct runner_child *prev, *next;
	enum child_phase phase;
	enum runner_end cause; /* from CHILD_TERMINATING on */
	pid_t pid;
	int pidfd;                /* -1: not watched */
	int out;                  /* read end of the pipe; -1: closed */
	struct loop_timer *timer; /* of the phase */
	struct loop_timer *reap_timer;
	runner_fn fn; /* NULL: forgotten or reported */
	void *ctx;
	int64_t started_ns;
	char *ring;     /* the last output, RUNNER_OUTPUT_MAX bytes; NULL: none so far */
	uint64_t n_out; /* bytes ever written to it */
};

struct runner {
	struct loop *loop;
	struct runner_child *children;
	unsigned n_children;
	char **env;
};

static void child_ended(void *ctx, int fd, int revents);

/* Systemd's words for this daemon are not for its children. */
static bool env_is_private(const char *var)
{
	static const char *const names[] = {"NOTIFY_SOCKET=", "WATCHDOG_USEC=", "WATCHDOG_PID=",
		"LISTEN_FDS=", "LISTEN_PID=", "LISTEN_FDNAMES="};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strncmp(var, names[i], strlen(names[i])) == 0)
			return true;
	}
	return false;
}

static int env_copy(char ***ret_env)
{
	size_t n = 0, kept = 0;
	bool has_path = false;
	char **env;

	while (environ && environ[n])
		n++;
	env = calloc(n + 2, sizeof(*env));
	if (!env)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		if (env_is_private(environ[i]))
			continue;
		has_path = has_path || strncmp(environ[i], "PATH=", 5) == 0;
		env[kept] = strdup(environ[i]);
		if (!env[kept++])
			goto fail;
	}
	if (!has_path) {
		env[kept] = strdup(DEFAULT_PATH);
		if (!env[kept])
			goto fail;
	}
	*ret_env = env;
	return 0;

fail:
	for (size_t i = 0; i < n; i++)
		free(env[i]);
	free(env);
	return -ENOMEM;
}

int runner_new(struct loop *loop, struct runner **ret_runner)
{
	const struct sigaction dfl = {.sa_handler = SIG_DFL};
	struct runner *runner = calloc(1, sizeof(*runner));
	int rc;

	if (!runner)
		return -ENOMEM;
	rc = env_copy(&runner->env);
	if (rc < 0) {
		free(runner);
		return rc;
	}
	/* An ignored SIGCHLD, as some shells leave it, reaps children behind our back. */
	sigaction(SIGCHLD, &dfl, NULL);
	runner->loop = loop;
	*ret_runner = runner;
	return 0;
}

static void child_link(struct runner_child *child)
{
	struct runner *runner = child->runner;

	child->next = runner->children;
	if (child->next)
		child->next->prev = child;
	runner->children = child;
	runner->n_children++;
}

static void child_close_output(struct runner_child *child)
{
	if (child->out < 0)
		return;
	loop_fd_del(child->runner->loop, child->out);
	close(child->out);
	child->out = -1;
}

static void child_close_pidfd(struct runner_child *child)
{
	if (child->pidfd < 0)
		return;
	loop_fd_del(child->runner->loop, child->pidfd);
	close(child->pidfd);
	child->pidfd = -1;
}

static void child_free(struct runner_child *child)
{
	struct runner *runner = child->runner;

	if (child->prev)
		child->prev->next = child->next;
	else
		runner->children = child->next;
	if (child->next)
		child->next->prev = child->prev;
	runner->n_children--;
	loop_timer_del(runner->loop, &child->timer);
	loop_timer_del(runner->loop, &child->reap_timer);
	child_close_output(child);
	child_close_pidfd(child);
	free(child->ring);
	free(child);
}

void runner_free(struct runner *runner)
{
	int64_t until_ns = clock_boottime_ns() + FREE_WAIT_MS * (int64_t)NS_PER_MS;

	if (!runner)
		return;
	for (struct runner_child *child = runner->children; child; child = child->next)
		kill(-child->pid, SIGKILL);
	while (runner->children) {
		struct runner_child *child = runner->children;
		struct pollfd end = {.fd = child->pidfd, .events = POLLIN};
		int64_t left_ms = (until_ns - clock_boottime_ns()) / NS_PER_MS;

		if (child->pidfd >= 0)
			poll(&end, 1, left_ms > 0 ? (int)left_ms : 0);
		waitid(P_PID, (id_t)child->pid, &(siginfo_t){0}, WEXITED | WNOHANG);
		child_free(child);
	}
	for (char **var = runner->env; *var; var++)
		free(*var);
	free(runner->env);
	free(runner);
}

static void child_keep(struct runner_child *child, const char *data, size_t len)
{
	size_t pos, first;

	if (!child->fn)
		return;
	if (!child->ring) {
		child->ring = malloc(RUNNER_OUTPUT_MAX);
		if (!child->ring)
			return; /* the output is for people, the result stands without */
	}
	if (len > RUNNER_OUTPUT_MAX) {
		child->n_out += len - RUNNER_OUTPUT_MAX;
		data += len - RUNNER_OUTPUT_MAX;
		len = RUNNER_OUTPUT_MAX;
	}
	pos = child->n_out % RUNNER_OUTPUT_MAX;
	first = len < RUNNER_OUTPUT_MAX - pos ? len : RUNNER_OUTPUT_MAX - pos;
	memcpy(child->ring + pos, data, first);
	memcpy(child->ring, data + first, len - first);
	child->n_out += len;
}

/* One read; false when there is nothing more to read now. At the pipe's end it is closed. */
static bool child_read(struct runner_child *child)
{
	char data[READ_SIZE];
	ssize_t len = read(child->out, data, sizeof(data));

	if (len > 0) {
		child_keep(child, data, (size_t)len);
		return true;
	}
	if (len < 0 && errno == EINTR)
		return true;
	if (len == 0 || errno != EAGAIN)
		child_close_output(child);
	return false;
}

static void child_output(void *ctx, int fd, int revents)
{
	(void)fd;
	(void)revents;
	child_read(ctx);
}

/* The kept output for people: printable, whole lines as far as there are any. */
static size_t child_text(const struct runner_child *child, char text[static RUNNER_OUTPUT_MAX + 1])
{
	bool is_cut = child->n_out > RUNNER_OUTPUT_MAX;
	size_t n = is_cut ? RUNNER_OUTPUT_MAX : (size_t)child->n_out, len = 0;
	size_t from = is_cut ? child->n_out % RUNNER_OUTPUT_MAX : 0;

	for (size_t i = 0; i < n; i++) {
		char c = child->ring[(from + i) % RUNNER_OUTPUT_MAX];

		if (is_cut && c == '\n' && i + 1 < n) {
			len = 0; /* the first line has lost its head */
			is_cut = false;
			continue;
		}
		if (c == '\t' || c == '\r')
			c = ' ';
		text[len++] = (c >= ' ' && c <= '~') || c == '\n' ? c : '?';
	}
	while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == ' '))
		len--;
	text[len] = '\0';
	return len;
}

static void child_report(struct runner_child *child, enum runner_end end, int code)
{
	char text[RUNNER_OUTPUT_MAX + 1];
	struct runner_result result = {.end = end, .code = code, .output = text};
	runner_fn fn = child->fn;

	if (!fn)
		return;
	child->fn = NULL;
	result.output_len = child_text(child, text);
	result.took_ns = clock_boottime_ns() - child->started_ns;
	fn(child->ctx, &result);
}

static void child_reap_later(void *ctx)
{
	child_ended(ctx, -1, 0);
}

/* For a child that has no watch, or whose watch says it ended while a tracer still holds it. */
static void child_retry_reap(struct runner_child *child)
{
	struct loop *loop = child->runner->loop;

	if (!child->reap_timer &&
		loop_timer_add(loop, REAP_RETRY_MS * (int64_t)NS_PER_MS, child_reap_later, child,
			"runner reap", &child->reap_timer) < 0) {
		log_error("runner: out of memory to wait for process %d", (int)child->pid);
		return;
	}
	child_close_pidfd(child);
}

static void child_ended(void *ctx, int fd, int revents)
{
	struct runner_child *child = ctx;
	siginfo_t info = {0};
	enum runner_end end;
	int code;

	(void)fd;
	(void)revents;
	if (waitid(P_PID, (id_t)child->pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0 ||
		info.si_pid == 0) {
		child_retry_reap(child);
		return;
	}
	/* While the zombie still holds the group's number. */
	if (child->phase != CHILD_RUNNING)
		kill(-child->pid, SIGKILL);
	for (int i = 0; i < READS_AT_END && child->out >= 0 && child_read(child); i++)
		;
	waitid(P_PID, (id_t)child->pid, &info, WEXITED | WNOHANG);

	if (child->phase != CHILD_RUNNING) {
		end = child->cause;
		code = 0;
	} else {
		end = info.si_code == CLD_EXITED ? RUNNER_EXITED : RUNNER_SIGNALED;
		code = info.si_status;
	}
	/* fn may start others or free what the child's pointer was kept in: first forget it. */
	loop_timer_del(child->runner->loop, &child->timer);
	child_close_output(child);
	child_close_pidfd(child);
	child_report(child, end, code);
	child_free(child);
}

static void child_next_phase(void *ctx);

static void child_arm(struct runner_child *child, int64_t delay_ms)
{
	if (loop_timer_add(child->runner->loop, delay_ms * NS_PER_MS, child_next_phase, child,
		    "runner deadline", &child->timer) == 0)
		return;
	/* No memory for a gentle end. */
	kill(-child->pid, SIGKILL);
	child->phase = CHILD_KILLED;
}

/* The deadline, the grace, and the time to die have passed, in that order. */
static void child_next_phase(void *ctx)
{
	struct runner_child *child = ctx;

	switch (child->phase) {
	case CHILD_RUNNING:
		child->phase = CHILD_TERMINATING;
		child->cause = RUNNER_TIMED_OUT;
		kill(-child->pid, SIGTERM);
		child_arm(child, RUNNER_GRACE_MS);
		break;
	case CHILD_TERMINATING:
		child->phase = CHILD_KILLED;
		kill(-child->pid, SIGKILL);
		child_arm(child, RUNNER_GRACE_MS);
		break;
	case CHILD_KILLED:
		child->phase = CHILD_ABANDONED;
		log_warning("runner: process %d does not end on SIGKILL", (int)child->pid);
		child_close_output(child);
		child_report(child, child->cause, 0);
		break;
	case CHILD_ABANDONED: assert(!"an abandoned child has no deadline");
	}
}

static void child_terminate(struct runner_child *child)
{
	if (child->phase != CHILD_RUNNING)
		return;
	loop_timer_del(child->runner->loop, &child->timer);
	child_next_phase(child);
}

void runner_cancel(struct runner_child *child)
{
	child_terminate(child);
	child->cause = RUNNER_CANCELED;
}

void runner_forget(struct runner_child *child)
{
	child->fn = NULL;
	child_terminate(child);
}

/* In posix_spawn's child; 0 or an errno. */
static int spawn_actions(posix_spawn_file_actions_t *actions, int out)
{
	int rc = posix_spawn_file_actions_addopen(actions, 0, "/dev/null", O_RDONLY, 0);

	if (rc == 0)
		rc = posix_spawn_file_actions_adddup2(actions, out, 1);
	if (rc == 0)
		rc = posix_spawn_file_actions_adddup2(actions, out, 2);
	if (rc == 0)
		rc = posix_spawn_file_actions_addclosefrom_np(actions, 3);
	if (rc == 0)
		rc = posix_spawn_file_actions_addchdir_np(actions, "/");
	return rc;
}

/* posix_spawn returns when the child has begun its program. A daemon that runs in real time must
 * not wait on a busy machine for an ordinary process to get that far (113 ms were measured, 3 ms
 * so): until then the child runs in real time as well, a step below. True if it does. */
static bool spawn_priority(posix_spawnattr_t *attr)
{
	int policy = sched_getscheduler(0);
	struct sched_param param = {0};

	if (policy == SCHED_RR && sched_getparam(0, &param) == 0) {
		if (param.sched_priority > sched_get_priority_min(SCHED_RR))
			param.sched_priority--;
	} else {
		policy = SCHED_OTHER;
		param.sched_priority = 0;
	}
	posix_spawnattr_setschedpolicy(attr, policy);
	posix_spawnattr_setschedparam(attr, &param);
	return policy == SCHED_RR;
}

static int spawn(struct runner *runner, const char *const *argv, int out, pid_t *ret_pid)
{
	const struct sched_param ordinary = {.sched_priority = 0};
	const short flags = POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
			    POSIX_SPAWN_SETSCHEDULER;
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	bool is_raised;
	sigset_t none, all;
	int rc;

	sigemptyset(&none);
	sigfillset(&all);
	rc = posix_spawn_file_actions_init(&actions);
	if (rc != 0)
		return -rc;
	rc = posix_spawnattr_init(&attr);
	if (rc != 0)
		goto out_actions;
	posix_spawnattr_setflags(&attr, flags);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	is_raised = spawn_priority(&attr);
	rc = spawn_actions(&actions, out);
	if (rc == 0)
		rc = posix_spawn(
			ret_pid, argv[0], &actions, &attr, (char *const *)argv, runner->env);
	if (rc == 0 && is_raised && sched_setscheduler(*ret_pid, SCHED_OTHER, &ordinary) < 0)
		log_warning("runner: process %d stays in real time: %s", (int)*ret_pid,
			strerror(errno));
	posix_spawnattr_destroy(&attr);
out_actions:
	posix_spawn_file_actions_destroy(&actions);
	return -rc;
}

/* Watches a child that has been started; the caller kills it on failure. */
static int child_watch(struct runner_child *child, int timeout_ms)
{
	struct loop *loop = child->runner->loop;
	int rc;

	child->pidfd = pidfd_open(child->pid, 0);
	if (child->pidfd < 0)
		return -errno;
	rc = loop_fd_add(loop, child->pidfd, POLLIN, child_ended, child, "runner end");
	if (rc == 0)
		rc = loop_fd_add(loop, child->out, POLLIN, child_output, child, "runner output");
	if (rc == 0)
		rc = loop_timer_add(loop, timeout_ms * (int64_t)NS_PER_MS, child_next_phase, child,
			"runner deadline", &child->timer);
	return rc;
}

int runner_start(struct runner *runner, const char *const *argv, int timeout_ms, runner_fn fn,
	void *ctx, struct runner_child **ret_child)
{
	struct runner_child *child;
	int fds[2], rc;

	if (!argv[0] || argv[0][0] != '/' || timeout_ms <= 0)
		return -EINVAL;
	if (runner->n_children >= RUNNER_CHILDREN_MAX)
		return -EAGAIN;
	child = malloc(sizeof(*child));
	if (!child)
		return -ENOMEM;
	if (pipe2(fds, O_CLOEXEC) < 0) {
		rc = -errno;
		free(child);
		return rc;
	}
	*child = (struct runner_child){.runner = runner,
		.pidfd = -1,
		.out = fds[0],
		.fn = fn,
		.ctx = ctx,
		.started_ns = clock_boottime_ns()};
	/* Our end only: the child's writes block as everybody's do. */
	rc = fcntl(fds[0], F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
	if (rc == 0)
		rc = spawn(runner, argv, fds[1], &child->pid);
	close(fds[1]);
	if (rc < 0) {
		close(fds[0]);
		free(child);
		return rc;
	}
	child_link(child);
	rc = child_watch(child, timeout_ms);
	if (rc < 0) {
		kill(-child->pid, SIGKILL);
		child->phase = CHILD_ABANDONED;
		child->fn = NULL;
		loop_timer_del(runner->loop, &child->timer);
		child_close_output(child);
		child_retry_reap(child);
		return rc;
	}
	if (ret_child)
		*ret_child = child;
	return 0;
}
