/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The real control server in this process, and clients as its children.
 *
 * Invariant: no test waits without a limit, and no child outlives it. The server has a network
 * namespace of its own, so a clusterd of this machine is not in the way.
 */
#ifndef TESTS_UNIT_CONTROL_FIXTURE_H
#define TESTS_UNIT_CONTROL_FIXTURE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <jansson.h>

#include "clusterd/control.h"

#define FIXTURE_LIMIT_S 60

struct fixture {
	struct loop *loop;
	struct control *control;
	/* What the handler does with a request: set by the test. */
	void (*answer)(struct fixture *fixture, uint64_t id, const json_t *request);
	uint64_t held_id; /* a test's own: a request to be answered later */
	unsigned n_requests;
	json_t *last_request; /* a copy */
	const char *document; /* a test's own: what to answer */
};

/* Once in a program: a network namespace of our own. false: not root, the tests must be skipped. */
bool fixture_prepare(void);

/* cmocka's setup and teardown; *state is the fixture. */
int fixture_setup(void **state);
int fixture_teardown(void **state);

/* The child runs fn and exits with what it returns. */
pid_t fixture_fork(struct fixture *fixture, int (*fn)(void *arg), void *arg);
/* Serves until the child has ended; its exit status, or 128 + the signal that killed it. */
int fixture_wait(struct fixture *fixture, pid_t pid);
int fixture_run(struct fixture *fixture, int (*fn)(void *arg), void *arg);
/* Serves until is_done says so. */
void fixture_until(struct fixture *fixture, bool (*is_done)(void *ctx), void *ctx);
void fixture_serve(struct fixture *fixture, int for_ms);

/* Folders that libqb has in /dev/shm for clients of the server. */
unsigned fixture_shm_folders(pid_t server);
/* Removes them; they must be empty. */
void fixture_shm_clean(pid_t server);

/* For children, which have no cmocka: says what is wrong and exits. */
#define CHECK(condition)                                                                 \
	do {                                                                             \
		if (!(condition)) {                                                      \
			fprintf(stderr, "%s:%d: in the child: %s\n", __FILE__, __LINE__, \
				#condition);                                             \
			_exit(99);                                                       \
		}                                                                        \
	} while (0)

#endif
