/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The event loop: timers in order and never early, watches that vanish while their event is
 * pending.
 *
 * Every test that waits ends by a guard timer, which fails it. Run by `make check`.
 */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "clusterd/loop.h"

#define MS 1000000LL
#define GUARD_NS (20000 * MS)

static void guard_fired(void *ctx)
{
	(void)ctx;
	fail_msg("the loop was not stopped in time");
}

static void stop_loop(void *ctx)
{
	loop_stop(ctx);
}

static void run_guarded(struct loop *loop)
{
	struct loop_timer *guard;

	assert_int_equal(loop_timer_add(loop, GUARD_NS, guard_fired, NULL, "guard", &guard), 0);
	loop_run(loop);
	loop_timer_del(loop, &guard);
}

static void run_for(struct loop *loop, int64_t ns)
{
	assert_int_equal(loop_timer_add(loop, ns, stop_loop, loop, "stop", NULL), 0);
	run_guarded(loop);
}

static int setup(void **state)
{
	return loop_new((struct loop **)state);
}

static int teardown(void **state)
{
	loop_free(*state);
	return 0;
}

static int64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return ts.tv_sec * 1000 * MS + ts.tv_nsec;
}

/* ---- timers ---- */

#define N_RANDOM 2000

struct random_timer {
	struct random_timers *all;
	struct loop_timer *timer;
	int64_t due_ns;
	int fired, deleted;
};

struct random_timers {
	struct loop *loop;
	struct random_timer timers[N_RANDOM];
	int64_t last_due_ns;
	int n_left;
};

static void random_delete_one(struct random_timers *all)
{
	struct random_timer *other = &all->timers[rand() % N_RANDOM];

	if (!other->timer)
		return;
	loop_timer_del(all->loop, &other->timer);
	assert_null(other->timer);
	other->deleted = 1;
	all->n_left--;
}

static void random_fired(void *ctx)
{
	struct random_timer *timer = ctx;
	struct random_timers *all = timer->all;

	assert_null(timer->timer);
	assert_false(timer->deleted);
	assert_true(clock_boottime_ns() >= timer->due_ns);
	/* due_ns was taken before each add, and a busy machine may have paused us between. */
	assert_true(timer->due_ns >= all->last_due_ns - 20 * MS);
	all->last_due_ns = timer->due_ns;
	timer->fired++;
	all->n_left--;
	random_delete_one(all);
	if (all->n_left == 0)
		loop_stop(all->loop);
}

static void test_timers_fire_once_in_order(void **state)
{
	struct random_timers *all = calloc(1, sizeof(*all));
	int n_fired = 0, n_deleted = 0;

	assert_non_null(all);
	srand(4711);
	all->loop = *state;
	all->n_left = N_RANDOM;
	for (int i = 0; i < N_RANDOM; i++) {
		int64_t delay_ns = (rand() % 300) * MS;

		all->timers[i].all = all;
		all->timers[i].due_ns = clock_boottime_ns() + delay_ns;
		assert_int_equal(loop_timer_add(all->loop, delay_ns, random_fired, &all->timers[i],
					 "random", &all->timers[i].timer),
			0);
		assert_non_null(all->timers[i].timer);
	}
	for (int i = 0; i < N_RANDOM / 4; i++)
		random_delete_one(all);
	run_guarded(all->loop);
	for (int i = 0; i < N_RANDOM; i++) {
		n_fired += all->timers[i].fired;
		n_deleted += all->timers[i].deleted;
		assert_int_equal(all->timers[i].fired + all->timers[i].deleted, 1);
	}
	assert_int_equal(n_fired + n_deleted, N_RANDOM);
	assert_true(n_fired > 100 && n_deleted > 100);
	free(all);
}

struct sequence {
	struct loop *loop;
	int next;
	struct step {
		struct sequence *sequence;
		int number;
	} steps[40];
};

static void step_fired(void *ctx)
{
	struct step *step = ctx;

	assert_int_equal(step->number, step->sequence->next++);
	if (step->sequence->next == 40)
		loop_stop(step->sequence->loop);
}

/* 40: more than one round of the loop serves. */
static void test_timers_of_no_delay_keep_their_order(void **state)
{
	struct sequence sequence = {.loop = *state};

	for (int i = 0; i < 40; i++) {
		sequence.steps[i] = (struct step){&sequence, i};
		loop_timer_add(sequence.loop, i % 2 ? 0 : -5, step_fired, &sequence.steps[i],
			"step", NULL);
	}
	run_guarded(sequence.loop);
	assert_int_equal(sequence.next, 40);
}

struct chain {
	struct loop *loop;
	int left;
	int64_t delay_ns;
};

static void chain_fired(void *ctx)
{
	struct chain *chain = ctx;

	if (--chain->left == 0)
		loop_stop(chain->loop);
	else
		assert_int_equal(loop_timer_add(chain->loop, chain->delay_ns, chain_fired, chain,
					 "chain", NULL),
			0);
}

/* libqb's own timers would spin 0.9 ms before each of these: 90 ms of processor time. */
static void test_waiting_for_a_timer_takes_no_processor_time(void **state)
{
	struct chain chain = {.loop = *state, .left = 100, .delay_ns = 19 * MS / 10};
	int64_t before_ns = cpu_ns(), began_ns = clock_boottime_ns();

	chain_fired(&chain);
	run_guarded(chain.loop);
	assert_true(clock_boottime_ns() - began_ns >= 99 * chain.delay_ns);
	assert_true(cpu_ns() - before_ns < 45 * MS);
}

static void must_not_fire(void *ctx)
{
	(void)ctx;
	fail_msg("a deleted timer fired");
}

struct pair {
	struct loop *loop;
	struct loop_timer *a, *b;
	int fired;
};

static void pair_a_fired(void *ctx)
{
	struct pair *pair = ctx;

	pair->fired++;
	loop_timer_del(pair->loop, &pair->b);
	loop_timer_del(pair->loop, &pair->b); /* none: ignored */
}

/* Both are due in the same round. */
static void test_timer_deleted_while_due(void **state)
{
	struct pair pair = {.loop = *state};

	loop_timer_add(pair.loop, 0, pair_a_fired, &pair, "a", &pair.a);
	loop_timer_add(pair.loop, 0, must_not_fire, NULL, "b", &pair.b);
	run_for(pair.loop, 20 * MS);
	assert_int_equal(pair.fired, 1);
	assert_null(pair.a);
	assert_null(pair.b);
}

static void test_free_clears_pending_timers(void **state)
{
	struct loop *loop;
	struct loop_timer *timer;

	(void)state;
	assert_int_equal(loop_new(&loop), 0);
	assert_int_equal(loop_timer_add(loop, INT64_MAX, guard_fired, NULL, "far", &timer), 0);
	run_for(loop, 5 * MS);
	assert_non_null(timer);
	loop_free(loop);
	assert_null(timer);
}

/* ---- file descriptors ---- */

struct victim {
	struct loop *loop;
	struct victim **other; /* where the other one's pointer is kept */
	struct victim **own;
	int fds[2], *n_calls;
};

static void victim_free(struct victim *victim)
{
	loop_fd_del(victim->loop, victim->fds[0]);
	close(victim->fds[0]);
	close(victim->fds[1]);
	*victim->own = NULL;
	free(victim);
}

/* Whoever comes first removes the other, then itself. */
static void victim_ready(void *ctx, int fd, int revents)
{
	struct victim *victim = ctx;

	assert_int_equal(fd, victim->fds[0]);
	assert_int_equal(revents, POLLIN);
	(*victim->n_calls)++;
	if (*victim->other)
		victim_free(*victim->other);
	loop_stop(victim->loop);
	victim_free(victim);
}

static struct victim *victim_new(
	struct loop *loop, struct victim **own, struct victim **other, int *n_calls)
{
	struct victim *victim = malloc(sizeof(*victim));

	assert_non_null(victim);
	*victim = (struct victim){.loop = loop, .own = own, .other = other, .n_calls = n_calls};
	assert_int_equal(pipe(victim->fds), 0);
	assert_int_equal(write(victim->fds[1], "x", 1), 1);
	assert_int_equal(
		loop_fd_add(loop, victim->fds[0], POLLIN, victim_ready, victim, "victim"), 0);
	return victim;
}

static void test_fd_removed_while_its_event_is_pending(void **state)
{
	for (int i = 0; i < 50; i++) {
		struct victim *a, *b;
		int n_calls = 0;

		a = victim_new(*state, &a, &b, &n_calls);
		b = victim_new(*state, &b, &a, &n_calls);
		run_guarded(*state);
		run_for(*state, MS);
		assert_int_equal(n_calls, 1);
		assert_null(a);
		assert_null(b);
	}
}

struct reuse {
	struct loop *loop;
	int fds[2], n_old, n_new;
};

static void reuse_new_ready(void *ctx, int fd, int revents)
{
	struct reuse *reuse = ctx;

	assert_int_equal(fd, reuse->fds[0]);
	assert_int_equal(revents, POLLIN);
	reuse->n_new++;
	loop_stop(reuse->loop);
}

/* Closes its fd and watches a new one that has the same number. */
static void reuse_old_ready(void *ctx, int fd, int revents)
{
	struct reuse *reuse = ctx;

	(void)revents;
	reuse->n_old++;
	loop_fd_del(reuse->loop, fd);
	close(fd);
	close(reuse->fds[1]);
	assert_int_equal(pipe(reuse->fds), 0);
	assert_int_equal(reuse->fds[0], fd);
	assert_int_equal(loop_fd_add(reuse->loop, fd, POLLIN, reuse_new_ready, reuse, "reuse"), 0);
	assert_int_equal(write(reuse->fds[1], "x", 1), 1);
}

static void test_fd_number_reused_in_its_own_callback(void **state)
{
	struct reuse reuse = {.loop = *state};

	assert_int_equal(pipe(reuse.fds), 0);
	assert_int_equal(write(reuse.fds[1], "x", 1), 1);
	loop_fd_add(reuse.loop, reuse.fds[0], POLLIN, reuse_old_ready, &reuse, "reuse");
	run_guarded(reuse.loop);
	assert_int_equal(reuse.n_old, 1);
	assert_int_equal(reuse.n_new, 1);
	loop_fd_del(reuse.loop, reuse.fds[0]);
	close(reuse.fds[0]);
	close(reuse.fds[1]);
}

static void hangup(void *ctx, int fd, int revents)
{
	struct loop *loop = ctx;

	assert_int_equal(revents, POLLHUP);
	loop_fd_del(loop, fd);
	loop_stop(loop);
}

static void test_hangup_is_told_unasked(void **state)
{
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	assert_int_equal(loop_fd_add(*state, fds[0], 0, hangup, *state, "hangup"), 0);
	close(fds[1]);
	run_guarded(*state);
	close(fds[0]);
}

struct mods {
	struct loop *loop;
	int fds[2], n_calls;
};

static void mods_ready(void *ctx, int fd, int revents)
{
	struct mods *mods = ctx;

	assert_int_equal(revents, POLLOUT);
	mods->n_calls++;
	/* The other one's POLLOUT is pending: it must not be told any more. */
	assert_int_equal(loop_fd_mod(mods->loop, mods->fds[0], POLLIN), 0);
	assert_int_equal(loop_fd_mod(mods->loop, mods->fds[1], POLLIN), 0);
	(void)fd;
}

static void test_event_that_mod_no_longer_wants(void **state)
{
	struct mods mods = {.loop = *state};

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, mods.fds), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(
			loop_fd_add(mods.loop, mods.fds[i], POLLOUT, mods_ready, &mods, "mods"), 0);
	run_for(mods.loop, 20 * MS);
	assert_int_equal(mods.n_calls, 1);
	for (int i = 0; i < 2; i++) {
		loop_fd_del(mods.loop, mods.fds[i]);
		close(mods.fds[i]);
	}
}

static void test_wrong_fds(void **state)
{
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	assert_int_equal(loop_fd_add(*state, -1, POLLIN, hangup, NULL, "wrong"), -EBADF);
	assert_int_equal(loop_fd_add(*state, 19999, POLLIN, hangup, NULL, "wrong"), -EBADF);
	assert_int_equal(loop_fd_mod(*state, fds[0], POLLIN), -ENOENT);
	loop_fd_del(*state, fds[0]);
	loop_fd_del(*state, -1);
	loop_fd_del(*state, INT32_MAX);
	assert_int_equal(loop_fd_add(*state, fds[0], POLLIN, hangup, NULL, "wrong"), 0);
	assert_int_equal(loop_fd_add(*state, fds[0], POLLIN, hangup, NULL, "wrong"), -EEXIST);
	loop_fd_del(*state, fds[0]);
	close(fds[0]);
	close(fds[1]);
}

/* ---- the rest ---- */

struct busy {
	struct loop *loop;
	int left, n_timers, fds[2];
};

static void busy_fd_ready(void *ctx, int fd, int revents)
{
	struct busy *busy = ctx;

	(void)fd, (void)revents;
	if (--busy->left == 0)
		loop_stop(busy->loop);
}

static void busy_timer_fired(void *ctx)
{
	struct busy *busy = ctx;

	busy->n_timers++;
	loop_timer_add(busy->loop, 0, busy_timer_fired, busy, "busy", NULL);
}

/* A timer that comes back at once for ever, and an fd that is always ready: both have their turn.
 */
static void test_nobody_starves(void **state)
{
	struct busy busy = {.loop = *state, .left = 500};

	assert_int_equal(pipe(busy.fds), 0);
	assert_int_equal(write(busy.fds[1], "x", 1), 1);
	loop_fd_add(busy.loop, busy.fds[0], POLLIN, busy_fd_ready, &busy, "busy fd");
	busy_timer_fired(&busy);
	run_guarded(busy.loop);
	assert_true(busy.n_timers >= 100);
	loop_fd_del(busy.loop, busy.fds[0]);
	close(busy.fds[0]);
	close(busy.fds[1]);
}

struct crowd {
	struct loop *loop;
	int n_fired, n_fired_before_fd, fds[2];
};

static void crowd_fired(void *ctx)
{
	struct crowd *crowd = ctx;

	if (++crowd->n_fired == 200)
		loop_stop(crowd->loop);
}

static void crowd_fd_ready(void *ctx, int fd, int revents)
{
	struct crowd *crowd = ctx;

	(void)revents;
	crowd->n_fired_before_fd = crowd->n_fired;
	loop_fd_del(crowd->loop, fd);
}

/* The timers are ready first, yet the fd does not wait for all of them. */
static void test_a_crowd_of_timers_lets_others_in(void **state)
{
	struct crowd crowd = {.loop = *state, .n_fired_before_fd = -1};

	assert_int_equal(pipe(crowd.fds), 0);
	loop_fd_add(crowd.loop, crowd.fds[0], POLLIN, crowd_fd_ready, &crowd, "crowd fd");
	for (int i = 0; i < 200; i++)
		loop_timer_add(crowd.loop, 0, crowd_fired, &crowd, "crowd", NULL);
	usleep(2000);
	assert_int_equal(write(crowd.fds[1], "x", 1), 1);
	run_guarded(crowd.loop);
	assert_int_equal(crowd.n_fired, 200);
	assert_in_range(crowd.n_fired_before_fd, 0, 100);
	close(crowd.fds[0]);
	close(crowd.fds[1]);
}

static void signal_came(void *ctx, int signal)
{
	assert_int_equal(signal, SIGUSR1);
	loop_stop(ctx);
}

static void raise_usr1(void *ctx)
{
	(void)ctx;
	raise(SIGUSR1);
}

static void test_signal(void **state)
{
	assert_int_equal(loop_signal_add(*state, SIGUSR1, signal_came, *state), 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(loop_timer_add(*state, 0, raise_usr1, NULL, "raise", NULL), 0);
		run_guarded(*state);
	}
}

static void test_stop_before_run(void **state)
{
	loop_stop(*state);
	run_guarded(*state); /* returns at once, or the guard fails it */
	run_for(*state, MS);
}

static void burn(void *ctx)
{
	int64_t until_ns = clock_boottime_ns() + LOOP_BUDGET_NS + 5 * MS;

	while (clock_boottime_ns() < until_ns)
		;
	loop_stop(ctx);
}

static void test_stopwatch_names_the_slow_one(void **state)
{
	const struct loop_stats *stats = loop_stats(*state);
	int64_t entered_ns;

	assert_int_equal(stats->longest_ns, 0);
	assert_int_equal(loop_timer_add(*state, 0, burn, *state, "burn", NULL), 0);
	run_guarded(*state);
	assert_true(stats->longest_ns >= LOOP_BUDGET_NS + 5 * MS - MS);
	assert_string_equal(stats->longest_label, "burn");
	assert_int_equal(stats->over_budget, 1);
	entered_ns = loop_clock_enter() - 3600 * 1000 * MS;
	loop_clock_leave(*state, entered_ns, "theirs");
	assert_string_equal(stats->longest_label, "theirs");
	assert_int_equal(stats->over_budget, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(test_timers_fire_once_in_order),
		TEST(test_timers_of_no_delay_keep_their_order),
		TEST(test_waiting_for_a_timer_takes_no_processor_time),
		TEST(test_timer_deleted_while_due),
		TEST(test_free_clears_pending_timers),
		TEST(test_fd_removed_while_its_event_is_pending),
		TEST(test_fd_number_reused_in_its_own_callback),
		TEST(test_hangup_is_told_unasked),
		TEST(test_event_that_mod_no_longer_wants),
		TEST(test_wrong_fds),
		TEST(test_nobody_starves),
		TEST(test_a_crowd_of_timers_lets_others_in),
		TEST(test_signal),
		TEST(test_stop_before_run),
		TEST(test_stopwatch_names_the_slow_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
