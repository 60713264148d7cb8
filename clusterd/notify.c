/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The notification protocol of systemd, see sd_notify(3): one datagram to $NOTIFY_SOCKET.
 * Without that variable nothing is sent.
 */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "clusterd/daemon.h"
#include "clusterd/log.h"

static void send_state(const char *text)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t len = path ? strlen(path) : 0;
	socklen_t size;
	int fd;

	if (len < 2 || len >= sizeof(address.sun_path) || (path[0] != '/' && path[0] != '@'))
		return;
	memcpy(address.sun_path, path, len);
	if (path[0] == '@')
		address.sun_path[0] = '\0';
	size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return;
	if (sendto(fd, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&address, size) < 0)
		log_debug("systemd was not told \"%s\": %s", text, strerror(errno));
	close(fd);
}

void notify_ready(void)
{
	send_state("READY=1\nSTATUS=running");
}

void notify_reloading(void)
{
	struct timespec now;
	char text[64];

	clock_gettime(CLOCK_MONOTONIC, &now);
	snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%lld",
		(long long)now.tv_sec * 1000000 + now.tv_nsec / 1000);
	send_state(text);
}

void notify_stopping(void)
{
	send_state("STOPPING=1\nSTATUS=handing its groups over");
}

void notify_watchdog(void)
{
	send_state("WATCHDOG=1");
}

int64_t notify_watchdog_interval_ns(void)
{
	const char *usec = getenv("WATCHDOG_USEC");
	const char *pid = getenv("WATCHDOG_PID");
	char *end;
	long long value;

	if (!usec || (pid && strtol(pid, NULL, 10) != getpid()))
		return 0;
	value = strtoll(usec, &end, 10);
	if (*end != '\0' || value <= 0 || value > INT64_MAX / 1000)
		return 0;
	return value * 1000 / 2;
}
