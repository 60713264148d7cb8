/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The event loop: libqb's, with a stopwatch on every callback.
 *
 * Invariant: a callback is called only for a watch or timer that exists at that moment. libqb takes
 * a pending event off its job list when the watch is removed, so a record can be freed at once,
 * also from within its own callback: whoever dispatches copies what it needs first. libqb's
 * dispatch functions must return 0 here (less than 0 forgets an fd without taking it out of epoll,
 * anything else forgets a signal). All run at one priority, so that none starves another.
 *
 * Timers are our own heap over one timerfd: libqb's round the time left down to milliseconds, and
 * spin for the rest of each. At a beat each 50 ms that alone would be 1 % of a core.
 * Called by every part of the daemon.
 */
#include "clusterd/loop.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define LOOP_PRIORITY QB_LOOP_HIGH
#define LOOP_FDS_MIN 64
#define LOOP_SIGNALS_MAX 16
#define LOOP_TIMERS_MIN 64
#define LOOP_DELAY_MAX_NS (INT64_MAX / 2) /* 146 years: sums do not overflow */
#define LOOP_TIMERS_PER_ROUND 16          /* then others have their turn */

struct loop_fd {
	struct loop *loop;
	int events;
	loop_fd_fn fn;
	void *ctx;
	const char *label;
};

struct loop_timer {
	int64_t due_ns; /* CLOCK_BOOTTIME */
	size_t pos;     /* in the heap */
	loop_fn fn;
	void *ctx;
	const char *label;
	struct loop_timer **ret; /* the caller's pointer, or NULL */
};

struct loop_signal {
	struct loop *loop;
	qb_loop_signal_handle handle;
	loop_signal_fn fn;
	void *ctx;
};

struct loop {
	qb_loop_t *qb;
	bool running, stopped;
	struct loop_fd **fds; /* by file descriptor */
	int n_fds;
	int timer_fd;
	int64_t armed_ns;         /* what timer_fd waits for; 0: nothing */
	struct loop_timer **heap; /* the earliest first */
	size_t n_timers, heap_size;
	struct loop_signal signals[LOOP_SIGNALS_MAX];
	int n_signals;
	struct loop_stats stats;
};

static int64_t timespec_ns(const struct timespec *ts)
{
	return (int64_t)ts->tv_sec * 1000000000 + ts->tv_nsec;
}

int64_t clock_boottime_ns(void)
{
	struct timespec ts;
	int rc = clock_gettime(CLOCK_BOOTTIME, &ts);

	assert(rc == 0);
	return timespec_ns(&ts);
}

int64_t clock_realtime_ms(void)
{
	struct timespec ts;
	int rc = clock_gettime(CLOCK_REALTIME, &ts);

	assert(rc == 0);
	return timespec_ns(&ts) / 1000000;
}

/* Not boottime: a suspended machine is not a slow callback. */
int64_t loop_clock_enter(void)
{
	struct timespec ts;
	int rc = clock_gettime(CLOCK_MONOTONIC, &ts);

	assert(rc == 0);
	return timespec_ns(&ts);
}

void loop_clock_leave(struct loop *loop, int64_t entered_ns, const char *label)
{
	int64_t took_ns = loop_clock_enter() - entered_ns;

	if (took_ns > loop->stats.longest_ns) {
		loop->stats.longest_ns = took_ns;
		loop->stats.longest_label = label;
	}
	if (took_ns > LOOP_BUDGET_NS)
		loop->stats.over_budget++;
}

const struct loop_stats *loop_stats(const struct loop *loop)
{
	return &loop->stats;
}

qb_loop_t *loop_qb(struct loop *loop)
{
	return loop->qb;
}

static int32_t loop_timers_dispatch(int32_t fd, int32_t revents, void *data);

int loop_new(struct loop **ret_loop)
{
	struct loop *loop = calloc(1, sizeof(*loop));
	int rc = -ENOMEM;

	if (!loop)
		return -ENOMEM;
	loop->stats.longest_label = "";
	loop->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
	if (loop->timer_fd < 0) {
		rc = -errno;
		goto fail;
	}
	loop->qb = qb_loop_create();
	if (!loop->qb)
		goto fail_fd;
	rc = qb_loop_poll_add(
		loop->qb, LOOP_PRIORITY, loop->timer_fd, POLLIN, loop, loop_timers_dispatch);
	if (rc < 0)
		goto fail_qb;
	*ret_loop = loop;
	return 0;

fail_qb:
	qb_loop_destroy(loop->qb);
fail_fd:
	close(loop->timer_fd);
fail:
	free(loop);
	return rc;
}

void loop_free(struct loop *loop)
{
	if (!loop)
		return;
	assert(!loop->running);
	while (loop->n_timers > 0) {
		struct loop_timer *timer = loop->heap[loop->n_timers - 1];

		loop_timer_del(loop, &timer);
	}
	for (int fd = 0; fd < loop->n_fds; fd++)
		loop_fd_del(loop, fd);
	for (int i = 0; i < loop->n_signals; i++)
		(void)qb_loop_signal_del(loop->qb, loop->signals[i].handle);
	(void)qb_loop_poll_del(loop->qb, loop->timer_fd);
	close(loop->timer_fd);
	qb_loop_destroy(loop->qb);
	free(loop->heap);
	free(loop->fds);
	free(loop);
}

void loop_run(struct loop *loop)
{
	assert(!loop->running);
	/* qb_loop_run forgets a stop that was asked for before it. */
	if (!loop->stopped) {
		loop->running = true;
		qb_loop_run(loop->qb);
		loop->running = false;
	}
	loop->stopped = false;
}

void loop_stop(struct loop *loop)
{
	loop->stopped = true;
	qb_loop_stop(loop->qb);
}

static int32_t loop_fd_dispatch(int32_t fd, int32_t revents, void *data)
{
	const struct loop_fd watch = *(struct loop_fd *)data;
	/* The event may be older than a loop_fd_mod that no longer asks for it. */
	int wanted = revents & (watch.events | POLLERR | POLLHUP | POLLNVAL);
	int64_t entered_ns;

	if (wanted == 0)
		return 0;
	entered_ns = loop_clock_enter();
	watch.fn(watch.ctx, fd, wanted);
	loop_clock_leave(watch.loop, entered_ns, watch.label);
	return 0;
}

static int loop_fds_grow(struct loop *loop, int fd)
{
	int n = loop->n_fds > 0 ? loop->n_fds : LOOP_FDS_MIN;
	struct loop_fd **fds;

	if (fd < loop->n_fds)
		return 0;
	while (n <= fd)
		n *= 2; /* the kernel's limit of descriptors bounds it */
	fds = realloc(loop->fds, (size_t)n * sizeof(*fds));
	if (!fds)
		return -ENOMEM;
	for (int i = loop->n_fds; i < n; i++)
		fds[i] = NULL;
	loop->fds = fds;
	loop->n_fds = n;
	return 0;
}

int loop_fd_add(struct loop *loop, int fd, int events, loop_fd_fn fn, void *ctx, const char *label)
{
	struct loop_fd *watch;
	int rc;

	if (fd < 0)
		return -EBADF;
	if (fd < loop->n_fds && loop->fds[fd])
		return -EEXIST;
	rc = loop_fds_grow(loop, fd);
	if (rc < 0)
		return rc;
	watch = malloc(sizeof(*watch));
	if (!watch)
		return -ENOMEM;
	*watch = (struct loop_fd){
		.loop = loop, .events = events, .fn = fn, .ctx = ctx, .label = label};
	rc = qb_loop_poll_add(loop->qb, LOOP_PRIORITY, fd, events, watch, loop_fd_dispatch);
	if (rc < 0) {
		free(watch);
		return rc;
	}
	loop->fds[fd] = watch;
	return 0;
}

int loop_fd_mod(struct loop *loop, int fd, int events)
{
	struct loop_fd *watch = fd >= 0 && fd < loop->n_fds ? loop->fds[fd] : NULL;
	int rc;

	if (!watch)
		return -ENOENT;
	if (watch->events == events)
		return 0;
	rc = qb_loop_poll_mod(loop->qb, LOOP_PRIORITY, fd, events, watch, loop_fd_dispatch);
	if (rc < 0)
		return rc;
	watch->events = events;
	return 0;
}

void loop_fd_del(struct loop *loop, int fd)
{
	if (fd < 0 || fd >= loop->n_fds || !loop->fds[fd])
		return;
	/* Fails only for an fd that was closed before: then epoll has dropped it already. */
	(void)qb_loop_poll_del(loop->qb, fd);
	free(loop->fds[fd]);
	loop->fds[fd] = NULL;
}

static bool timer_is_before(const struct loop_timer *a, const struct loop_timer *b)
{
	return a->due_ns < b->due_ns;
}

static void heap_put(struct loop *loop, size_t pos, struct loop_timer *timer)
{
	loop->heap[pos] = timer;
	timer->pos = pos;
}

/* Finds the place of a timer that may go into pos; what stands there is overwritten. */
static void heap_settle(struct loop *loop, size_t pos, struct loop_timer *timer)
{
	while (pos > 0 && timer_is_before(timer, loop->heap[(pos - 1) / 2])) {
		heap_put(loop, pos, loop->heap[(pos - 1) / 2]);
		pos = (pos - 1) / 2;
	}
	for (;;) {
		size_t child = 2 * pos + 1;

		if (child + 1 < loop->n_timers &&
			timer_is_before(loop->heap[child + 1], loop->heap[child]))
			child++;
		if (child >= loop->n_timers || !timer_is_before(loop->heap[child], timer))
			break;
		heap_put(loop, pos, loop->heap[child]);
		pos = child;
	}
	heap_put(loop, pos, timer);
}

/* Makes timer_fd ready when the earliest timer is due. */
static void loop_timers_arm(struct loop *loop)
{
	int64_t due_ns = loop->n_timers > 0 ? loop->heap[0]->due_ns : 0;
	struct itimerspec when = {
		.it_value = {.tv_sec = due_ns / 1000000000, .tv_nsec = due_ns % 1000000000}};
	int rc = timerfd_settime(loop->timer_fd, TFD_TIMER_ABSTIME, &when, NULL);

	assert(rc == 0);
	loop->armed_ns = due_ns;
}

/* Takes it out of the heap, clears the caller's pointer, frees it. */
static void loop_timer_release(struct loop *loop, struct loop_timer *timer)
{
	struct loop_timer *last = loop->heap[--loop->n_timers];

	if (last != timer)
		heap_settle(loop, timer->pos, last);
	if (timer->ret)
		*timer->ret = NULL;
	free(timer);
}

static int32_t loop_timers_dispatch(int32_t fd, int32_t revents, void *data)
{
	struct loop *loop = data;
	int64_t now_ns = clock_boottime_ns();

	(void)fd;
	(void)revents;
	for (int i = 0; i < LOOP_TIMERS_PER_ROUND && loop->n_timers > 0; i++) {
		const struct loop_timer timer = *loop->heap[0];
		int64_t entered_ns;

		if (timer.due_ns > now_ns || loop->stopped)
			break;
		loop_timer_release(loop, loop->heap[0]);
		entered_ns = loop_clock_enter();
		timer.fn(timer.ctx);
		loop_clock_leave(loop, entered_ns, timer.label);
	}
	/* A time that has passed makes it ready again at once; setting it clears what it said. */
	loop_timers_arm(loop);
	return 0;
}

int loop_timer_add(struct loop *loop, int64_t delay_ns, loop_fn fn, void *ctx, const char *label,
	struct loop_timer **ret_timer)
{
	struct loop_timer *timer;

	if (delay_ns < 0)
		delay_ns = 0;
	if (delay_ns > LOOP_DELAY_MAX_NS)
		delay_ns = LOOP_DELAY_MAX_NS;
	if (loop->n_timers == loop->heap_size) {
		size_t size = loop->heap_size > 0 ? loop->heap_size * 2 : LOOP_TIMERS_MIN;
		struct loop_timer **heap = realloc(loop->heap, size * sizeof(*heap));

		if (!heap)
			return -ENOMEM;
		loop->heap = heap;
		loop->heap_size = size;
	}
	timer = malloc(sizeof(*timer));
	if (!timer)
		return -ENOMEM;
	*timer = (struct loop_timer){.due_ns = clock_boottime_ns() + delay_ns,
		.fn = fn,
		.ctx = ctx,
		.label = label,
		.ret = ret_timer};
	loop->n_timers++;
	heap_settle(loop, loop->n_timers - 1, timer);
	if (loop->armed_ns == 0 || timer->due_ns < loop->armed_ns)
		loop_timers_arm(loop);
	if (ret_timer)
		*ret_timer = timer;
	return 0;
}

void loop_timer_del(struct loop *loop, struct loop_timer **timer)
{
	struct loop_timer *gone = *timer;

	if (!gone)
		return;
	assert(gone->pos < loop->n_timers && loop->heap[gone->pos] == gone);
	*timer = NULL;
	/* timer_fd stays armed: it may wake once for nothing. */
	loop_timer_release(loop, gone);
}

static int32_t loop_signal_dispatch(int32_t signal, void *data)
{
	const struct loop_signal *watch = data;
	int64_t entered_ns = loop_clock_enter();

	watch->fn(watch->ctx, signal);
	loop_clock_leave(watch->loop, entered_ns, "signal");
	return 0;
}

int loop_signal_add(struct loop *loop, int signal, loop_signal_fn fn, void *ctx)
{
	struct loop_signal *watch;
	int rc;

	if (loop->n_signals == LOOP_SIGNALS_MAX)
		return -ENOSPC;
	watch = &loop->signals[loop->n_signals];
	*watch = (struct loop_signal){.loop = loop, .fn = fn, .ctx = ctx};
	rc = qb_loop_signal_add(
		loop->qb, LOOP_PRIORITY, signal, watch, loop_signal_dispatch, &watch->handle);
	if (rc < 0)
		return rc;
	loop->n_signals++;
	return 0;
}
