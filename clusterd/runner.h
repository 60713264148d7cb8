/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The process runner: everything slow is a child of it.
 *
 * Each child has its own session and process group, "/" as its directory, stdin from /dev/null, no
 * other inherited descriptor, default signals, a deadline, and a cap on its output. At the
 * deadline, or on cancel, the whole group is killed: SIGTERM, and SIGKILL RUNNER_GRACE_MS later or
 * when the child itself has ended. A process that moved to a session of its own is out of reach.
 * After a normal end nothing is killed: a server that a start script left behind stays. Its stdout
 * is then a pipe that nobody reads, so the script must send the server's output elsewhere.
 * Results come through the loop, never from within runner_start, and always: for a child that even
 * SIGKILL does not end (a dead disk) 2 * RUNNER_GRACE_MS after the deadline.
 */
#ifndef CLUSTERD_RUNNER_H
#define CLUSTERD_RUNNER_H

#include <stddef.h>
#include <stdint.h>

struct loop;
struct runner;
struct runner_child;

#define RUNNER_GRACE_MS 500
#define RUNNER_OUTPUT_MAX 4096 /* bytes of stdout and stderr kept; the rest is read and dropped */
#define RUNNER_CHILDREN_MAX 1024

enum runner_end { RUNNER_EXITED, RUNNER_SIGNALED, RUNNER_TIMED_OUT, RUNNER_CANCELED };

struct runner_result {
	enum runner_end end;
	int code;           /* exit status (RUNNER_EXITED) or signal (RUNNER_SIGNALED); else 0 */
	const char *output; /* the last lines, printable ASCII, NUL-terminated; until fn returns */
	size_t output_len;
	int64_t took_ns;
};

typedef void (*runner_fn)(void *ctx, const struct runner_result *result);

int runner_new(struct loop *loop, struct runner **ret_runner);
/* Kills what is still running, calls no fn. */
void runner_free(struct runner *runner);

/* argv ends with NULL; argv[0] is an absolute path. 0 or -errno (-ENOENT, -EACCES, -ENOEXEC: it
 * can't be executed; -EAGAIN: too many children; -EINVAL: argv[0] or timeout_ms). *ret_child is
 * valid until fn is called, which must forget it; ret_child may be NULL. */
int runner_start(struct runner *runner, const char *const *argv, int timeout_ms, runner_fn fn,
	void *ctx, struct runner_child **ret_child);
/* fn follows, with RUNNER_CANCELED, even if the child has just ended by itself. */
void runner_cancel(struct runner_child *child);
/* The caller is going away: kill it, never call fn. */
void runner_forget(struct runner_child *child);

#endif
