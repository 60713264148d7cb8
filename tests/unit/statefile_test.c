/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The state folder with real files: what is written, what a crash leaves, and a disk that hangs (a
 * pipe that nobody reads). Run by `make check`.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "clusterd/loop.h"
#include "clusterd/statefile.h"

#define LINES "lines"
#define WHOLE "whole"
#define NS_PER_S 1000000000LL

struct fixture {
	char dir[64], path[128];
	struct statefile *statefile;
};

static const char *path_of(struct fixture *f, const char *name)
{
	snprintf(f->path, sizeof(f->path), "%s/%s", f->dir, name);
	return f->path;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	if (!f)
		return -1;
	strcpy(f->dir, "/tmp/clusterd-statefile-XXXXXX");
	if (!mkdtemp(f->dir) || statefile_new(f->dir, &f->statefile) < 0)
		return -1;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	static const char *const names[] = {LINES, LINES ".1", WHOLE, WHOLE ".new"};
	struct fixture *f = *state;

	statefile_free(f->statefile);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		unlink(path_of(f, names[i]));
	rmdir(f->dir);
	free(f);
	return 0;
}

/* What waits is on the disk afterwards. */
static void flush(struct fixture *f)
{
	statefile_free(f->statefile);
	assert_int_equal(statefile_new(f->dir, &f->statefile), 0);
}

static void put(struct fixture *f, const char *name, const char *text, size_t len)
{
	int fd = open(path_of(f, name), O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, len), len);
	close(fd);
}

static void expect_text(struct fixture *f, const char *name, const char *expected)
{
	char *text = statefile_read(f->statefile, name);

	assert_non_null(text);
	assert_string_equal(text, expected);
	free(text);
}

static void expect_unreadable(struct fixture *f, const char *name, int error)
{
	errno = 0;
	assert_null(statefile_read(f->statefile, name));
	assert_int_equal(errno, error);
}

static void test_replace(void **state)
{
	struct fixture *f = *state;
	struct stat st;

	expect_unreadable(f, WHOLE, ENOENT);
	statefile_replace(f->statefile, WHOLE, "one, and long enough to be seen if it stayed");
	flush(f);
	for (int i = 0; i < 1000; i++) {
		char text[32];

		snprintf(text, sizeof(text), "number %d", i);
		statefile_replace(f->statefile, WHOLE, text);
	}
	flush(f);
	expect_text(f, WHOLE, "number 999");
	assert_int_equal(stat(path_of(f, WHOLE), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(access(path_of(f, WHOLE ".new"), F_OK), -1);
}

static void test_append(void **state)
{
	struct fixture *f = *state;

	statefile_append(f->statefile, LINES, "one");
	statefile_append(f->statefile, LINES, "two");
	flush(f);
	statefile_append(f->statefile, LINES, "three");
	flush(f);
	expect_text(f, LINES, "one\ntwo\nthree\n");
}

static void test_torn(void **state)
{
	struct fixture *f = *state;

	put(f, LINES, "one\ntw", 6);
	statefile_append(f->statefile, LINES, "three");
	flush(f);
	expect_text(f, LINES, "one\ntw\nthree\n");
}

static void test_begun_anew(void **state)
{
	static char large[STATEFILE_APPEND_MAX + 1];
	struct fixture *f = *state;
	struct stat st;

	memset(large, 'x', sizeof(large));
	put(f, LINES, large, sizeof(large));
	statefile_append(f->statefile, LINES, "new");
	flush(f);
	expect_text(f, LINES, "new\n");
	assert_int_equal(stat(path_of(f, LINES ".1"), &st), 0);
	assert_int_equal(st.st_size, sizeof(large));
}

static void test_unreadable(void **state)
{
	struct fixture *f = *state;

	put(f, WHOLE, "a\0b", 3); /* text ends at a NUL */
	expect_text(f, WHOLE, "a");
	assert_int_equal(truncate(path_of(f, WHOLE), STATEFILE_READ_MAX + 1), 0);
	expect_unreadable(f, WHOLE, EFBIG);
	assert_int_equal(unlink(path_of(f, WHOLE)), 0);
	assert_int_equal(mkdir(path_of(f, WHOLE), 0700), 0);
	expect_unreadable(f, WHOLE, EINVAL);
	assert_int_equal(rmdir(path_of(f, WHOLE)), 0);
	assert_int_equal(mkfifo(path_of(f, WHOLE), 0600), 0);
	expect_unreadable(f, WHOLE, EINVAL); /* and does not wait for a writer */
}

static void test_no_folder(void **state)
{
	struct fixture *f = *state;
	struct statefile *statefile;

	snprintf(f->path, sizeof(f->path), "%s/not/there", f->dir);
	assert_int_equal(statefile_new(f->path, &statefile), 0);
	statefile_replace(statefile, WHOLE, "text");
	statefile_append(statefile, LINES, "text");
	assert_null(statefile_read(statefile, WHOLE));
	statefile_free(statefile);
}

/* The writer hangs; nobody waits for it, and what waits for it is bounded. */
static void test_hanging_disk(void **state)
{
	struct fixture *f = *state;
	static char line[4096];
	int64_t begun_ns = clock_boottime_ns();
	int fd;

	assert_int_equal(mkfifo(path_of(f, LINES), 0600), 0);
	fd = open(path_of(f, LINES), O_RDONLY | O_NONBLOCK);
	assert_true(fd >= 0);
	memset(line, 'x', sizeof(line) - 1);
	for (int i = 0; i < 4 * STATEFILE_JOBS_MAX; i++) {
		statefile_append(f->statefile, LINES, line);
		statefile_replace(f->statefile, WHOLE, line);
	}
	assert_true(clock_boottime_ns() - begun_ns < NS_PER_S);
	begun_ns = clock_boottime_ns();
	statefile_free(f->statefile);
	f->statefile = NULL; /* still the thread's */
	assert_in_range(clock_boottime_ns() - begun_ns, 1 * NS_PER_S, 4 * NS_PER_S);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_replace, setup, teardown),
		cmocka_unit_test_setup_teardown(test_append, setup, teardown),
		cmocka_unit_test_setup_teardown(test_torn, setup, teardown),
		cmocka_unit_test_setup_teardown(test_begun_anew, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unreadable, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_folder, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hanging_disk, setup, teardown),
	};

	return cmocka_run_group_tests_name("statefile", tests, NULL, NULL);
}
