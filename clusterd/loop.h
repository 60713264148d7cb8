/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The event loop: libqb's, with a stopwatch on every callback.
 *
 * Nothing may block it longer than LOOP_BUDGET_NS; the stopwatch tells what did.
 */
#ifndef CLUSTERD_LOOP_H
#define CLUSTERD_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include <qb/qbloop.h>

#define LOOP_BUDGET_NS 20000000 /* 20 ms */

struct loop;
struct loop_timer;

/* revents: POLLIN and so on, as poll(2). */
typedef void (*loop_fd_fn)(void *ctx, int fd, int revents);
typedef void (*loop_fn)(void *ctx);
typedef void (*loop_signal_fn)(void *ctx, int signal);

struct loop_stats {
	int64_t longest_ns;        /* the longest callback since start */
	const char *longest_label; /* and whose it was; a string literal */
	uint64_t over_budget;      /* callbacks longer than LOOP_BUDGET_NS */
};

int loop_new(struct loop **ret_loop);
void loop_free(struct loop *loop);
void loop_run(struct loop *loop); /* until loop_stop, also one from before the call */
void loop_stop(struct loop *loop);

/* label: a string literal, kept. 0, -EEXIST (one watch per fd) or -errno. As in poll(2), revents
 * may hold POLLERR and POLLHUP unasked, and again each round until the fd is deleted. */
int loop_fd_add(struct loop *loop, int fd, int events, loop_fd_fn fn, void *ctx, const char *label);
int loop_fd_mod(struct loop *loop, int fd, int events);
/* Before the fd is closed. From any callback, also for an fd whose event is pending: it is dropped.
 * An fd that is not watched is ignored. */
void loop_fd_del(struct loop *loop, int fd);

/* One shot, never early; delay_ns of 0 or less: as soon as the loop turns. The timer is freed
 * before fn is called, and *ret_timer (may be NULL to forget it) set to NULL, so the address must
 * outlive the timer. Time that the machine was suspended counts. */
int loop_timer_add(struct loop *loop, int64_t delay_ns, loop_fn fn, void *ctx, const char *label,
	struct loop_timer **ret_timer);
void loop_timer_del(struct loop *loop, struct loop_timer **timer); /* *timer may be NULL */

int loop_signal_add(struct loop *loop, int signal, loop_signal_fn fn, void *ctx);

const struct loop_stats *loop_stats(const struct loop *loop);
/* For callbacks that libqb calls itself (its IPC server): time them all the same. */
int64_t loop_clock_enter(void);
void loop_clock_leave(struct loop *loop, int64_t entered_ns, const char *label);

/* The raw libqb loop, for libqb's own IPC server. */
qb_loop_t *loop_qb(struct loop *loop);

int64_t clock_boottime_ns(void);
int64_t clock_realtime_ms(void);

#endif
