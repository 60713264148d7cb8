/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The process runner with real children: ends, output, deadlines, and what is left behind.
 *
 * A child that must vanish is waited for as long as GUARD_NS; a missing result fails the test the
 * same way. Processes are ended by the ids they print. Run by `make check`.
 */

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "clusterd/loop.h"
#include "clusterd/runner.h"

#define MS 1000000LL
#define GUARD_NS (20000 * MS)
#define LONG_MS 15000 /* a deadline that is not meant to pass */

struct fixture {
	struct loop *loop;
	struct runner *runner;
	int pending; /* results to come; at 0 the loop stops */
};

struct outcome {
	struct fixture *f;
	int n_calls;
	enum runner_end end;
	int code;
	char output[RUNNER_OUTPUT_MAX + 1];
	size_t output_len;
	int64_t took_ns;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	if (!f || loop_new(&f->loop) < 0 || runner_new(f->loop, &f->runner) < 0)
		return -1;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	runner_free(f->runner);
	loop_free(f->loop);
	free(f);
	return 0;
}

static void guard_fired(void *ctx)
{
	(void)ctx;
	fail_msg("no result in time");
}

static void run_guarded(struct fixture *f)
{
	struct loop_timer *guard;

	assert_int_equal(loop_timer_add(f->loop, GUARD_NS, guard_fired, NULL, "guard", &guard), 0);
	loop_run(f->loop);
	loop_timer_del(f->loop, &guard);
}

static void stop_loop(void *ctx)
{
	loop_stop(ctx);
}

static void run_for(struct fixture *f, int64_t ns)
{
	assert_int_equal(loop_timer_add(f->loop, ns, stop_loop, f->loop, "stop", NULL), 0);
	run_guarded(f);
}

static void ended(void *ctx, const struct runner_result *result)
{
	struct outcome *outcome = ctx;

	outcome->n_calls++;
	outcome->end = result->end;
	outcome->code = result->code;
	outcome->took_ns = result->took_ns;
	outcome->output_len = result->output_len;
	assert_true(result->output_len <= RUNNER_OUTPUT_MAX);
	assert_int_equal(strlen(result->output), result->output_len);
	strcpy(outcome->output, result->output);
	if (--outcome->f->pending == 0)
		loop_stop(outcome->f->loop);
}

static struct runner_child *start(
	struct fixture *f, struct outcome *outcome, int timeout_ms, const char *script)
{
	const char *const argv[] = {"/bin/sh", "-c", script, NULL};
	struct runner_child *child;

	*outcome = (struct outcome){.f = f};
	assert_int_equal(runner_start(f->runner, argv, timeout_ms, ended, outcome, &child), 0);
	assert_int_equal(outcome->n_calls, 0);
	f->pending++;
	return child;
}

static void run(struct fixture *f, struct outcome *outcome, int timeout_ms, const char *script)
{
	start(f, outcome, timeout_ms, script);
	run_guarded(f);
	assert_int_equal(outcome->n_calls, 1);
}

/* Running, or stopped; a zombie does not count. */
static int is_alive(pid_t pid)
{
	char path[64], line[512];
	const char *state;
	FILE *file;
	size_t len;

	assert_true(pid > 1);
	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	file = fopen(path, "r");
	if (!file)
		return 0;
	len = fread(line, 1, sizeof(line) - 1, file);
	fclose(file);
	line[len] = '\0';
	state = strrchr(line, ')');
	return state && state[1] == ' ' && !strchr("ZX", state[2]);
}

static void assert_dies(struct fixture *f, pid_t pid)
{
	int64_t until_ns = clock_boottime_ns() + GUARD_NS;

	while (is_alive(pid)) {
		assert_true(clock_boottime_ns() < until_ns);
		run_for(f, 2 * MS);
	}
}

static int64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return ts.tv_sec * 1000 * MS + ts.tv_nsec;
}

static void test_exit_codes(void **state)
{
	struct outcome outcome;

	run(*state, &outcome, LONG_MS, "exit 0");
	assert_int_equal(outcome.end, RUNNER_EXITED);
	assert_int_equal(outcome.code, 0);
	assert_string_equal(outcome.output, "");
	assert_true(outcome.took_ns > 0 && outcome.took_ns < 5000 * MS);

	run(*state, &outcome, LONG_MS, "echo out; echo err >&2; exit 7");
	assert_int_equal(outcome.end, RUNNER_EXITED);
	assert_int_equal(outcome.code, 7);
	assert_string_equal(outcome.output, "out\nerr");

	run(*state, &outcome, LONG_MS, "kill -USR1 $$");
	assert_int_equal(outcome.end, RUNNER_SIGNALED);
	assert_int_equal(outcome.code, SIGUSR1);
}

static void test_what_cannot_be_run(void **state)
{
	struct fixture *f = *state;
	char script[] = "/tmp/clusterd-runner-XXXXXX";
	int fd = mkstemp(script);
	struct outcome outcome = {.f = f};
	const struct {
		const char *file;
		int timeout_ms, rc;
	} cases[] = {
		{"/nonexistent/program", 100, -ENOENT}, {"/etc/passwd", 100, -EACCES},
		{"/etc", 100, -EACCES}, {"bin/true", 100, -EINVAL}, {"/bin/true", 0, -EINVAL},
		{NULL, 100, -EINVAL}, {script, 100, -ENOEXEC}, /* neither a program nor "#!" */
	};

	assert_true(fd >= 0);
	assert_int_equal(write(fd, "hello\n", 6), 6);
	assert_int_equal(fchmod(fd, 0700), 0);
	close(fd);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *const argv[] = {cases[i].file, NULL};

		assert_int_equal(
			runner_start(f->runner, argv, cases[i].timeout_ms, ended, &outcome, NULL),
			cases[i].rc);
	}
	unlink(script);
	run_for(f, 10 * MS);
	assert_int_equal(outcome.n_calls, 0);
}

static void test_nothing_is_inherited(void **state)
{
	struct outcome outcome;
	struct fixture *f = *state;
	sigset_t set, old;
	int fd = fcntl(STDERR_FILENO, F_DUPFD, 200), len = 0; /* without FD_CLOEXEC */
	unsigned long long blocked, ignored;

	assert_true(fd >= 200 && fd < 210);
	setenv("NOTIFY_SOCKET", "/run/systemd/notify", 1);
	runner_free(f->runner);
	assert_int_equal(runner_new(f->loop, &f->runner), 0);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, &old);
	signal(SIGPIPE, SIG_IGN);
	run(f, &outcome, LONG_MS,
		"for i in 3 4 5 6 7 8 9 200 201 202 203 204 205 206 207 208 209; do"
		"  test -e /proc/$$/fd/$i && test $i -gt 10 && echo fd $i; done\n"
		"readlink /proc/$$/fd/0; test /proc/$$/fd/1 -ef /proc/$$/fd/2 && echo same\n"
		/* of grep itself, for dash blocks signals while it forks */
		"grep SigBlk /proc/self/status; grep SigIgn /proc/self/status;"
		"pwd; echo notify=$NOTIFY_SOCKET\n"
		"read pid comm state parent group session rest </proc/$$/stat\n"
		"test $pid = $$ -a $group = $$ -a $session = $$ && echo leader");
	signal(SIGPIPE, SIG_DFL);
	sigprocmask(SIG_SETMASK, &old, NULL);
	unsetenv("NOTIFY_SOCKET");
	close(fd);
	assert_int_equal(sscanf(outcome.output, "/dev/null\nsame\nSigBlk: %llx\nSigIgn: %llx%n",
				 &blocked, &ignored, &len),
		2);
	assert_int_equal(blocked, 0);
	/* posix_spawn leaves the C library's own two signals ignored. */
	assert_int_equal(ignored & ~0x180000000ULL, 0);
	assert_string_equal(outcome.output + len, "\n/\nnotify=\nleader");
}

/* ---- output ---- */

static void test_output_keeps_the_last_lines(void **state)
{
	struct outcome outcome;
	const char *line = outcome.output;
	int number, next;

	run(*state, &outcome, LONG_MS, "seq 1 20000; echo; echo");
	assert_int_equal(outcome.code, 0);
	assert_true(outcome.output_len > RUNNER_OUTPUT_MAX - 16);
	number = atoi(line);
	assert_true(number > 19000 && number < 20000);
	for (; (line = strchr(line, '\n')); number = next) {
		next = atoi(++line);
		assert_int_equal(next, number + 1);
	}
	assert_int_equal(number, 20000);
}

static void test_output_is_printable(void **state)
{
	struct outcome outcome;

	run(*state, &outcome, LONG_MS, "printf 'a\\033[1mb\\tc\\377\\000d\\r\\n'");
	assert_string_equal(outcome.output, "a?[1mb c??d");
	run(*state, &outcome, LONG_MS, "head -c 10000 /dev/zero | tr '\\0' x; echo end");
	assert_int_equal(outcome.output_len, RUNNER_OUTPUT_MAX - 1); /* one long line: its end */
	assert_string_equal(outcome.output + outcome.output_len - 5, "xxend");
}

static void test_output_closed_early(void **state)
{
	struct outcome outcome;
	int64_t before_ns = cpu_ns();

	run(*state, &outcome, LONG_MS, "echo first; exec >&- 2>&-; sleep 0.5; exit 4");
	assert_int_equal(outcome.end, RUNNER_EXITED);
	assert_int_equal(outcome.code, 4);
	assert_true(cpu_ns() - before_ns < 200 * MS); /* the hangup is not told for ever */
}

struct ticker {
	struct loop *loop;
	int n;
};

static void tick(void *ctx)
{
	struct ticker *ticker = ctx;

	ticker->n++;
	loop_timer_add(ticker->loop, 10 * MS, tick, ticker, "tick", NULL);
}

static void test_flood_neither_grows_nor_blocks(void **state)
{
	struct fixture *f = *state;
	struct outcome outcomes[3];
	struct ticker ticker = {.loop = f->loop};
	struct rusage before, after;

	tick(&ticker);
	getrusage(RUSAGE_SELF, &before);
	for (int i = 0; i < 3; i++)
		start(f, &outcomes[i], 600, "trap '' TERM; yes; sleep 1000");
	run_guarded(f);
	getrusage(RUSAGE_SELF, &after);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(outcomes[i].end, RUNNER_TIMED_OUT);
		assert_true(outcomes[i].output_len > RUNNER_OUTPUT_MAX - 8);
		assert_memory_equal(outcomes[i].output, "y\ny\ny\n", 6);
	}
	assert_true(after.ru_maxrss - before.ru_maxrss < 2048); /* KiB */
	assert_true(ticker.n >= 30);
	/* Our own time for one read; the rest is what a busy machine may take away. */
	assert_true(loop_stats(f->loop)->longest_ns < 100 * MS);
}

/* ---- deadline, cancel, forget ---- */

static void test_deadline_kills_the_group(void **state)
{
	int stubborn, own_session;
	struct outcome outcome;

	run(*state, &outcome, 300,
		"(trap 'echo grandchild says bye; exit 0' TERM; while :; do sleep 0.1; done) &"
		"trap '' TERM; (while :; do sleep 1; done) & echo $!;"
		"setsid sleep 1000 & echo $!; wait");
	assert_int_equal(outcome.end, RUNNER_TIMED_OUT);
	assert_true(outcome.took_ns >= (300 + RUNNER_GRACE_MS) * MS);
	assert_true(outcome.took_ns < 5000 * MS);
	assert_int_equal(sscanf(outcome.output, "%d\n%d", &stubborn, &own_session), 2);
	assert_non_null(strstr(outcome.output, "grandchild says bye"));
	assert_dies(*state, stubborn);
	assert_true(is_alive(own_session)); /* as the header says: out of reach */
	kill(own_session, SIGKILL);
}

static void test_deadline_is_gentle_first(void **state)
{
	struct outcome outcome;
	int stubborn;

	run(*state, &outcome, 300,
		"(trap '' TERM; while :; do sleep 1; done) & echo $!;"
		"trap 'echo bye; exit 0' TERM; sleep 1000 & wait");
	assert_int_equal(outcome.end, RUNNER_TIMED_OUT);
	assert_int_equal(outcome.code, 0);
	assert_true(outcome.took_ns >= 300 * MS);
	assert_true(outcome.took_ns < (300 + RUNNER_GRACE_MS) * MS);
	assert_non_null(strstr(outcome.output, "\nbye"));
	assert_int_equal(sscanf(outcome.output, "%d", &stubborn), 1);
	assert_dies(*state, stubborn); /* the leader went at once: the others are not spared */
}

static void test_normal_end_leaves_servers_alone(void **state)
{
	struct outcome outcome;
	int server;

	run(*state, &outcome, LONG_MS, "sleep 1000 & echo $!"); /* it holds the pipe, too */
	assert_int_equal(outcome.end, RUNNER_EXITED);
	assert_true(outcome.took_ns < 5000 * MS);
	assert_int_equal(sscanf(outcome.output, "%d", &server), 1);
	run_for(*state, (RUNNER_GRACE_MS + 100) * MS);
	assert_true(is_alive(server));
	kill(server, SIGKILL);
}

static void cancel_child(void *ctx)
{
	runner_cancel(ctx);
}

static void test_cancel(void **state)
{
	struct fixture *f = *state;
	struct runner_child *child;
	struct outcome outcome;
	int stubborn;

	child = start(f, &outcome, LONG_MS,
		"(trap '' TERM; while :; do sleep 1; done) & echo $!; sleep 1000");
	loop_timer_add(f->loop, 200 * MS, cancel_child, child, "cancel", NULL);
	run_guarded(f);
	assert_int_equal(outcome.end, RUNNER_CANCELED);
	assert_true(outcome.took_ns < 5000 * MS);
	assert_int_equal(sscanf(outcome.output, "%d", &stubborn), 1);
	assert_dies(f, stubborn);

	/* It has ended, but nobody looked yet. */
	child = start(f, &outcome, LONG_MS, "exit 0");
	usleep(100000);
	runner_cancel(child);
	runner_cancel(child); /* twice is once */
	assert_int_equal(outcome.n_calls, 0);
	run_guarded(f);
	assert_int_equal(outcome.n_calls, 1);
	assert_int_equal(outcome.end, RUNNER_CANCELED);
}

static pid_t pid_from_file(struct fixture *f, const char *path)
{
	int64_t until_ns = clock_boottime_ns() + GUARD_NS;
	int pid = 0;

	while (pid == 0) {
		FILE *file = fopen(path, "r");

		if (file && fscanf(file, "%d\n", &pid) != 1)
			pid = 0;
		if (file)
			fclose(file);
		assert_true(clock_boottime_ns() < until_ns);
		run_for(f, 2 * MS);
	}
	return pid;
}

static void test_forget(void **state)
{
	struct fixture *f = *state;
	struct runner_child *child;
	struct outcome outcome;
	char path[] = "/tmp/clusterd-runner-XXXXXX", script[128];
	int fd = mkstemp(path);
	pid_t pid;

	assert_true(fd >= 0);
	close(fd);
	snprintf(script, sizeof(script), "trap '' TERM; echo $$ >%s; while :; do sleep 1; done",
		path);
	child = start(f, &outcome, LONG_MS, script);
	pid = pid_from_file(f, path);
	runner_forget(child);
	assert_dies(f, pid);
	run_for(f, 100 * MS);
	assert_int_equal(outcome.n_calls, 0);
	f->pending = 0;
	unlink(path);
}

static void test_200_at_once(void **state)
{
	enum { N = 200 };
	struct fixture *f = *state;
	struct outcome *outcomes = calloc(N, sizeof(*outcomes));
	char script[64];

	assert_non_null(outcomes);
	for (int i = 0; i < N; i++) {
		snprintf(script, sizeof(script), "sleep 0.2; echo child %d; exit %d", i, i);
		start(f, &outcomes[i], LONG_MS, script);
	}
	run_guarded(f);
	for (int i = 0; i < N; i++) {
		snprintf(script, sizeof(script), "child %d", i);
		assert_int_equal(outcomes[i].n_calls, 1);
		assert_int_equal(outcomes[i].end, RUNNER_EXITED);
		assert_int_equal(outcomes[i].code, i);
		assert_string_equal(outcomes[i].output, script);
	}
	free(outcomes);
}

static void count_end(void *ctx, const struct runner_result *result)
{
	(void)result;
	(*(int *)ctx)++;
}

/* Our children, by the kernel's count; zombies too. */
static int count_children(void)
{
	char path[64];
	FILE *file;
	int n = 0, pid;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
	file = fopen(path, "r");
	assert_non_null(file);
	while (fscanf(file, "%d", &pid) == 1)
		n++;
	fclose(file);
	return n;
}

static void test_too_many_and_free(void **state)
{
	const char *const argv[] = {"/bin/sleep", "1000", NULL};
	struct fixture *f = *state;
	struct rlimit limit;
	int n_ended = 0, n_before = count_children();

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	for (int i = 0; i < RUNNER_CHILDREN_MAX; i++)
		assert_int_equal(
			runner_start(f->runner, argv, LONG_MS, count_end, &n_ended, NULL), 0);
	assert_int_equal(
		runner_start(f->runner, argv, LONG_MS, count_end, &n_ended, NULL), -EAGAIN);
	assert_int_equal(count_children(), n_before + RUNNER_CHILDREN_MAX);
	runner_free(f->runner);
	assert_int_equal(count_children(), n_before);
	assert_int_equal(n_ended, 0);
	assert_int_equal(runner_new(f->loop, &f->runner), 0);
}

/* ---- a child that SIGKILL does not get rid of ---- */

/* Holds its parent: a traced process that dies is not reaped before its tracer lets it go. */
static int be_tracer(void)
{
	if (setsid() < 0 || ptrace(PTRACE_SEIZE, getppid(), 0, 0) < 0)
		return 1;
	printf("%d\n", (int)getpid());
	fflush(stdout);
	for (;;)
		pause();
}

static void test_held_by_a_tracer(void **state)
{
	struct fixture *f = *state;
	struct outcome outcome;
	char self[256], script[512];
	int64_t before_ns = cpu_ns(), until_ns;
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
	int tracer, n_before = count_children();

	assert_true(len > 0);
	self[len] = '\0';
	/* The first fork is in the shell's session, so that its setsid may succeed. */
	snprintf(script, sizeof(script), "'%s' tracer & wait", self);
	run(f, &outcome, 400, script);
	assert_int_equal(sscanf(outcome.output, "%d", &tracer), 1);
	assert_true(is_alive(tracer));
	assert_int_equal(outcome.end, RUNNER_TIMED_OUT);
	assert_true(outcome.took_ns >= (400 + 2 * RUNNER_GRACE_MS) * MS);
	assert_true(outcome.took_ns < 5000 * MS);
	assert_int_equal(count_children(), n_before + 1); /* dead, and still to be reaped */
	assert_true(cpu_ns() - before_ns < 300 * MS);     /* waiting for that costs little */

	kill(tracer, SIGKILL);
	for (until_ns = clock_boottime_ns() + GUARD_NS; count_children() > n_before;) {
		assert_true(clock_boottime_ns() < until_ns);
		run_for(f, 2 * MS);
	}
	assert_int_equal(outcome.n_calls, 1);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(test_exit_codes),
		TEST(test_what_cannot_be_run),
		TEST(test_nothing_is_inherited),
		TEST(test_output_keeps_the_last_lines),
		TEST(test_output_is_printable),
		TEST(test_output_closed_early),
		TEST(test_flood_neither_grows_nor_blocks),
		TEST(test_deadline_kills_the_group),
		TEST(test_deadline_is_gentle_first),
		TEST(test_normal_end_leaves_servers_alone),
		TEST(test_cancel),
		TEST(test_forget),
		TEST(test_held_by_a_tracer),
		TEST(test_200_at_once),
		TEST(test_too_many_and_free),
	};

	if (argc == 2 && strcmp(argv[1], "tracer") == 0)
		return be_tracer();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
