/* SPDX-License-Identifier: GPL-2.0-or-later */
/* systemd's notification protocol, spoken to a real datagram socket. Run by `make check`. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "clusterd/daemon.h"

struct fixture {
	char dir[64], path[128];
	int fd;
};

static int setup_at(void **state, bool is_abstract)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct fixture *f = calloc(1, sizeof(*f));
	socklen_t size;

	if (!f)
		return -1;
	strcpy(f->dir, "/tmp/clusterd-notify-XXXXXX");
	if (!mkdtemp(f->dir))
		return -1;
	snprintf(f->path, sizeof(f->path), "%s%s/socket", is_abstract ? "@" : "", f->dir);
	strcpy(address.sun_path, f->path);
	size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(f->path));
	if (is_abstract)
		address.sun_path[0] = '\0';
	f->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (f->fd < 0 || bind(f->fd, (struct sockaddr *)&address, size) < 0)
		return -1;
	setenv("NOTIFY_SOCKET", f->path, 1);
	*state = f;
	return 0;
}

static int setup(void **state)
{
	return setup_at(state, false);
}

static int setup_abstract(void **state)
{
	return setup_at(state, true);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
	close(f->fd);
	unlink(f->path);
	rmdir(f->dir);
	free(f);
	return 0;
}

static void expect_heard(struct fixture *f, const char *expected)
{
	char text[256];
	ssize_t len = recv(f->fd, text, sizeof(text) - 1, 0);

	assert_true(len > 0);
	text[len] = '\0';
	assert_string_equal(text, expected);
}

static void expect_silence(struct fixture *f)
{
	char text[256];

	assert_int_equal(recv(f->fd, text, sizeof(text), 0), -1);
	assert_int_equal(errno, EAGAIN);
}

static void test_words(void **state)
{
	struct fixture *f = *state;

	notify_ready();
	expect_heard(f, "READY=1\nSTATUS=running");
	notify_stopping();
	expect_heard(f, "STOPPING=1\nSTATUS=handing its groups over");
	notify_watchdog();
	expect_heard(f, "WATCHDOG=1");
	expect_silence(f);
}

/* systemd measures a reload from this time on. */
static void test_reloading(void **state)
{
	struct fixture *f = *state;
	struct timespec before, after;
	char text[256];
	long long usec;
	ssize_t len;

	clock_gettime(CLOCK_MONOTONIC, &before);
	notify_reloading();
	clock_gettime(CLOCK_MONOTONIC, &after);
	len = recv(f->fd, text, sizeof(text) - 1, 0);
	assert_true(len > 0);
	text[len] = '\0';
	assert_int_equal(sscanf(text, "RELOADING=1\nMONOTONIC_USEC=%lld", &usec), 1);
	assert_in_range(usec, before.tv_sec * 1000000 + before.tv_nsec / 1000,
		after.tv_sec * 1000000 + after.tv_nsec / 1000);
}

/* Nobody there, nobody wanted, or no address: nothing happens, nothing is waited for. */
static void test_nobody(void **state)
{
	struct fixture *f = *state;
	char large[256];

	unsetenv("NOTIFY_SOCKET");
	notify_ready();
	setenv("NOTIFY_SOCKET", "", 1);
	notify_ready();
	setenv("NOTIFY_SOCKET", "relative", 1);
	notify_ready();
	memset(large, '/', sizeof(large) - 1);
	large[sizeof(large) - 1] = '\0';
	setenv("NOTIFY_SOCKET", large, 1);
	notify_ready();
	setenv("NOTIFY_SOCKET", "/nobody/listens", 1);
	notify_ready();
	expect_silence(f);
	setenv("NOTIFY_SOCKET", f->path, 1);
	for (int i = 0; i < 10000; i++) /* systemd hangs: the socket's queue is full */
		notify_watchdog();
	expect_heard(f, "WATCHDOG=1");
}

static int64_t interval_ns(const char *usec, const char *pid)
{
	if (usec)
		setenv("WATCHDOG_USEC", usec, 1);
	else
		unsetenv("WATCHDOG_USEC");
	if (pid)
		setenv("WATCHDOG_PID", pid, 1);
	else
		unsetenv("WATCHDOG_PID");
	return notify_watchdog_interval_ns();
}

static void test_watchdog(void **state)
{
	char own[16], other[16];

	(void)state;
	snprintf(own, sizeof(own), "%d", (int)getpid());
	snprintf(other, sizeof(other), "%d", (int)getppid());
	assert_int_equal(interval_ns("10000000", own), 5000000000);
	assert_int_equal(interval_ns("10000000", NULL), 5000000000);
	assert_int_equal(interval_ns("10000000", other), 0);
	assert_int_equal(interval_ns(NULL, own), 0);
	assert_int_equal(interval_ns("", own), 0);
	assert_int_equal(interval_ns("0", own), 0);
	assert_int_equal(interval_ns("-5", own), 0);
	assert_int_equal(interval_ns("10s", own), 0);
	assert_int_equal(interval_ns("99999999999999999999", own), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_words, setup, teardown),
		{"test_words_abstract", test_words, setup_abstract, teardown, NULL},
		cmocka_unit_test_setup_teardown(test_reloading, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nobody, setup, teardown),
		cmocka_unit_test_setup_teardown(test_watchdog, setup, teardown),
	};

	return cmocka_run_group_tests_name("notify", tests, NULL, NULL);
}
