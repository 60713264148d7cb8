/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Logging over libqb, so that what libqb and corosync's libraries have to say comes the same way.
 *
 * Invariant: a line is never waited for. A terminal, pipe or syslog that takes nothing loses lines,
 * and the next line that gets through tells how many. syslog(3) would block the event loop with a
 * journald that hangs on a dead disk, which is when a cluster is needed most; hence the own socket.
 * Called by every part of the daemon.
 */
#include "clusterd/log.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <qb/qblog.h>

#define LOG_TEXT_MAX 2048 /* bytes of one message; less than PIPE_BUF with its head */
#define LOG_LINE_MAX (LOG_TEXT_MAX + 128)
#define LOG_SOCKET "/dev/log"
#define LOG_SOURCE "clusterd" /* libqb's name for the file of our own messages */

/* What libqb keeps for the one target we open. */
struct log_sink {
	const char *name; /* a program's name for syslog */
	int fd;           /* of syslog's socket; -1: not connected */
	bool is_journal;  /* standard error leads to journald */
	uint64_t lost;    /* lines since the last one that got through */
};

static const char *priority_name(unsigned priority)
{
	static const char *const names[] = {
		"emerg", "alert", "crit", "error", "warning", "notice", "info", "debug"};

	return priority < sizeof(names) / sizeof(names[0]) ? names[priority] : "trace";
}

static int terminal_write(const char *line, size_t len)
{
	struct pollfd out = {.fd = STDERR_FILENO, .events = POLLOUT};

	if (poll(&out, 1, 0) != 1 || !(out.revents & POLLOUT))
		return -EAGAIN;
	return write(STDERR_FILENO, line, len) < 0 ? -errno : 0;
}

/* journald dates lines itself, and takes their priority from such a head; see sd-daemon(3). */
static void terminal_head(const struct log_sink *sink, const struct qb_log_callsite *site,
	const struct timespec *when, char *ret_head, size_t size)
{
	char date[32] = "";
	struct tm tm;

	if (sink->is_journal) {
		snprintf(ret_head, size, "<%d>",
			site->priority < LOG_DEBUG ? site->priority : LOG_DEBUG);
		return;
	}
	if (localtime_r(&when->tv_sec, &tm))
		strftime(date, sizeof(date), "%F %T", &tm);
	snprintf(ret_head, size, "%s.%03d %s: ", date, (int)(when->tv_nsec / 1000000),
		priority_name(site->priority));
}

static void terminal_line(
	int32_t target, struct qb_log_callsite *site, struct timespec *when, const char *text)
{
	struct log_sink *sink = qb_log_target_user_data_get(target);
	char head[64], lost[48] = "", line[LOG_LINE_MAX];
	int len;

	terminal_head(sink, site, when, head, sizeof(head));
	if (sink->lost > 0)
		snprintf(lost, sizeof(lost), "(%" PRIu64 " lines lost) ", sink->lost);
	len = snprintf(line, sizeof(line), "%s%s%s\n", head, lost, text);
	if (len >= (int)sizeof(line))
		len = (int)sizeof(line) - 1;
	if (terminal_write(line, (size_t)len) < 0)
		sink->lost++;
	else
		sink->lost = 0;
}

static int syslog_connect(struct log_sink *sink)
{
	const struct sockaddr_un addr = {.sun_family = AF_UNIX, .sun_path = LOG_SOCKET};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int rc;

	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0) {
		rc = -errno;
		close(fd);
		return rc;
	}
	sink->fd = fd;
	return 0;
}

static int syslog_send(struct log_sink *sink, const char *line, size_t len)
{
	int rc;

	if (sink->fd < 0) {
		rc = syslog_connect(sink);
		if (rc < 0)
			return rc;
	}
	if (send(sink->fd, line, len, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
		return 0;
	rc = -errno;
	if (rc != -EAGAIN) {
		close(sink->fd);
		sink->fd = -1;
	}
	return rc;
}

static void syslog_line(
	int32_t target, struct qb_log_callsite *site, struct timespec *when, const char *text)
{
	struct log_sink *sink = qb_log_target_user_data_get(target);
	char date[32] = "", lost[48] = "", line[LOG_LINE_MAX];
	struct tm tm;
	int len, rc;

	if (localtime_r(&when->tv_sec, &tm))
		strftime(date, sizeof(date), "%b %e %T", &tm);
	if (sink->lost > 0)
		snprintf(lost, sizeof(lost), "(%" PRIu64 " lines lost) ", sink->lost);
	len = snprintf(line, sizeof(line), "<%d>%s %s[%d]: %s%s",
		LOG_DAEMON | (site->priority < LOG_DEBUG ? site->priority : LOG_DEBUG), date,
		sink->name, (int)getpid(), lost, text);
	if (len >= (int)sizeof(line))
		len = (int)sizeof(line) - 1;
	rc = syslog_send(sink, line, (size_t)len);
	if (rc < 0 && rc != -EAGAIN) /* syslog was restarted: its socket is a new one */
		rc = syslog_send(sink, line, (size_t)len);
	if (rc < 0)
		sink->lost++;
	else
		sink->lost = 0;
}

static void sink_close(int32_t target)
{
	struct log_sink *sink = qb_log_target_user_data_get(target);

	if (sink->fd >= 0)
		close(sink->fd);
	free(sink);
}

/* $JOURNAL_STREAM is "device:inode" of what systemd connected, see systemd.exec(5). */
static bool stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long device, inode;
	struct stat st;

	return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
	       fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

void log_init(const char *name, bool foreground, bool verbose)
{
	uint8_t own = verbose ? LOG_DEBUG : LOG_INFO;
	struct log_sink *sink = calloc(1, sizeof(*sink));
	int32_t target = QB_LOG_STDERR;

	/* libqb opens its own syslog here; a connection is made only with its first line. */
	qb_log_init(name, LOG_DAEMON, LOG_EMERG);
	qb_log_ctl(QB_LOG_SYSLOG, QB_LOG_CONF_ENABLED, QB_FALSE);
	if (sink) {
		sink->name = name;
		sink->fd = -1;
		sink->is_journal = stderr_is_journal();
		target = qb_log_custom_open(
			foreground ? terminal_line : syslog_line, sink_close, NULL, sink);
		if (target < 0) {
			free(sink);
			target = QB_LOG_STDERR;
		}
	}
	qb_log_ctl(target, QB_LOG_CONF_MAX_LINE_LEN, LOG_TEXT_MAX);
	qb_log_filter_ctl(target, QB_LOG_FILTER_ADD, QB_LOG_FILTER_FILE, LOG_SOURCE, own);
	/* The libraries tell every connection at info and below. */
	qb_log_filter_ctl(target, QB_LOG_FILTER_ADD, QB_LOG_FILTER_FILE, "*", LOG_WARNING);
	qb_log_ctl(target, QB_LOG_CONF_ENABLED, QB_TRUE);
}

void log_fini(void)
{
	qb_log_fini();
}

void log_write(int priority, const char *fmt, ...)
{
	char text[LOG_TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	/* One message is one line, whatever a script's output put into it. */
	for (char *c = text; *c; c++) {
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = ' ';
	}
	/* libqb looks at the last byte of a text without asking whether there is one. */
	if (text[0] == '\0')
		return;
	qb_log_from_external_source(
		__func__, LOG_SOURCE, "%s", (uint8_t)priority, __LINE__, 0, text);
}
