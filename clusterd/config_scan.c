/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A look at the config's text before libconfig reads it.
 *
 * libconfig 1.5 ends the whole process when an included "file" is a directory, lets numbers wrap
 * around (4294972296 becomes 5000), and takes a comment without end for the end of the file. Each
 * of these is an error here. Reads the same tokens as libconfig's scanner, follows @include, and is
 * bounded by CONFIG_FILE_MAX over all files. Called by config.c alone.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clusterd/config_reader.h"

#define INCLUDE_DEPTH_MAX 10 /* libconfig's limit */

struct scan {
	struct config_report *report;
	const char *file, *dir;
	size_t budget; /* bytes that may still be read */
	unsigned depth;
	bool is_bad;
	const char *p;
	int line;
};

static void scan_text(struct scan *scan, const char *text);

int config_slurp(const char *file, size_t max, char **ret_text, size_t *ret_len)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC), rc = 0;
	size_t len = 0, size = 0;
	char *text = NULL;

	if (fd < 0)
		return -errno;
	for (;;) {
		ssize_t got;

		if (len + 1 >= size) {
			char *more;

			size = size ? 2 * size : 65536;
			more = realloc(text, size);
			if (!more) {
				rc = -ENOMEM;
				break;
			}
			text = more;
		}
		got = read(fd, text + len, size - len - 1);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0) {
			rc = got < 0 ? -errno : 0;
			break;
		}
		len += (size_t)got;
		if (len > max) {
			rc = -EFBIG;
			break;
		}
	}
	close(fd);
	if (rc < 0) {
		free(text);
		return rc;
	}
	text[len] = '\0';
	*ret_text = text;
	*ret_len = len;
	return 0;
}

const char *config_join(const char *dir, const char *name, char *buf, size_t size)
{
	size_t len = dir ? strlen(dir) : 0;

	/* Later versions of libconfig put the folder before the name themselves. */
	if (!dir || name[0] == '/' || strcmp(dir, ".") == 0 ||
		(strncmp(name, dir, len) == 0 && name[len] == '/'))
		snprintf(buf, size, "%s", name);
	else
		snprintf(buf, size, "%s/%s", dir, name);
	return buf;
}

static void __attribute__((format(printf, 3, 4)))
bad(struct scan *scan, int line, const char *fmt, ...)
{
	va_list args;

	scan->is_bad = true;
	va_start(args, fmt);
	config_report_vadd(scan->report, false, line, NULL, fmt, args);
	va_end(args);
}

/* Reads an included file; NULL after an error was reported. */
static char *read_included(struct scan *scan, const char *name, const char *path)
{
	struct stat st;
	char *text;
	size_t len;
	int rc;

	rc = stat(path, &st) < 0 ? -errno : 0;
	if (rc == 0 && !S_ISREG(st.st_mode)) {
		bad(scan, scan->line, "@include \"%s\": %s is not a file; name a file", name, path);
		return NULL;
	}
	if (rc == 0)
		rc = config_slurp(path, scan->budget, &text, &len);
	if (rc == -EFBIG) {
		bad(scan, scan->line,
			"@include \"%s\": the config is larger than %d MiB with this file; "
			"make it smaller",
			name, CONFIG_FILE_MAX >> 20);
		scan->budget = 0;
		return NULL;
	}
	if (rc < 0) {
		bad(scan, scan->line,
			"@include \"%s\": %s cannot be read: %s; mend the name (it is looked up in "
			"the folder of the config) or create the file",
			name, path, strerror(-rc));
		return NULL;
	}
	scan->budget -= len < scan->budget ? len : scan->budget;
	if (strlen(text) == len)
		return text;
	bad(scan, scan->line, "@include \"%s\": %s is no text file, it holds a NUL byte", name,
		path);
	free(text);
	return NULL;
}

static void follow(struct scan *scan, const char *name)
{
	char path[PATH_MAX], *text;
	struct scan inner;

	if (!scan->dir) {
		bad(scan, scan->line, "@include \"%s\": only a file can include others", name);
		return;
	}
	if (name[0] == '/') {
		bad(scan, scan->line,
			"@include \"%s\": write the path as seen from the folder of the config, "
			"without a leading /",
			name);
		return;
	}
	if (scan->depth >= INCLUDE_DEPTH_MAX) {
		bad(scan, scan->line,
			"@include \"%s\": more than %d files deep; does a file include itself?",
			name, INCLUDE_DEPTH_MAX);
		return;
	}
	if (strlen(scan->dir) + strlen(name) + 2 > sizeof(path)) {
		bad(scan, scan->line, "@include: the path is too long; shorten it");
		return;
	}
	config_join(scan->dir, name, path, sizeof(path));
	text = read_included(scan, name, path);
	if (!text)
		return;
	inner = *scan;
	inner.file = path;
	inner.depth++;
	scan_text(&inner, text);
	free(text);
	scan->report->file = scan->file;
	scan->budget = inner.budget;
	scan->is_bad = inner.is_bad;
}

/* At the start of a line: libconfig sees the directive nowhere else. */
static void scan_include(struct scan *scan)
{
	const char *p = scan->p + strspn(scan->p, " \t");
	char name[PATH_MAX];
	size_t len = 0;

	if (strncmp(p, "@include", 8) != 0)
		return;
	p += 8;
	if (p[strspn(p, " \t")] != '"' || (*p != ' ' && *p != '\t'))
		return; /* libconfig's syntax error */
	for (p += strspn(p, " \t") + 1; *p != '"'; p++) {
		if (p[0] == '\\' && (p[1] == '\\' || p[1] == '"'))
			p++;
		if (*p == '\0' || *p == '\n') {
			bad(scan, scan->line, "@include: the name is never closed; add the quote");
			scan->p = p;
			return;
		}
		if (len + 1 < sizeof(name))
			name[len++] = *p;
	}
	name[len] = '\0';
	follow(scan, name);
	scan->p = p + 1;
}

static void scan_string(struct scan *scan)
{
	int line = scan->line;

	for (scan->p++; *scan->p != '"'; scan->p++) {
		if (scan->p[0] == '\\' && scan->p[1] == 'x' && scan->p[2] == '0' &&
			scan->p[3] == '0')
			bad(scan, scan->line, "\\x00 cannot be part of a text; take it out");
		if (scan->p[0] == '\\' && scan->p[1] != '\0')
			scan->p++;
		if (*scan->p == '\n')
			scan->line++;
		if (*scan->p == '\0') {
			bad(scan, line, "a text that begins here is never closed; add the quote");
			return;
		}
	}
	scan->p++;
}

static void scan_comment(struct scan *scan)
{
	const char *end = strstr(scan->p + 2, "*/");

	if (!end) {
		bad(scan, scan->line, "a comment that begins here is never closed; add */");
		scan->p += strlen(scan->p);
		return;
	}
	for (; scan->p < end + 2; scan->p++)
		scan->line += *scan->p == '\n';
}

static void scan_number(struct scan *scan)
{
	const char *start = scan->p, *digits = start + (*start == '-' || *start == '+');
	bool is_hex = digits[0] == '0' && (digits[1] == 'x' || digits[1] == 'X');
	char *end;
	long long value;
	int len;

	errno = 0;
	value = strtoll(start, &end, is_hex ? 16 : 10);
	if (errno == 0 && *end != 'L' && (value > INT32_MAX || value < INT32_MIN))
		errno = ERANGE;
	scan->p = end + strspn(end, "0123456789abcdefABCDEF.+-xXL");
	len = (int)(end - start);
	/* A float keeps its size; that a whole number is wanted is said later. */
	if (errno == ERANGE && *end != '.' && *end != 'e' && *end != 'E')
		bad(scan, scan->line, "%.*s is too large a number; write a smaller one",
			len < 40 ? len : 40, start);
}

static void scan_text(struct scan *scan, const char *text)
{
	static const char letters[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_*-";

	scan->report->file = scan->file;
	scan->p = text;
	scan->line = 1;
	scan_include(scan);
	while (*scan->p) {
		char c = *scan->p;

		if (c == '\n') {
			scan->line++;
			scan->p++;
			scan_include(scan);
		} else if (c == '"') {
			scan_string(scan);
		} else if (c == '#' || (c == '/' && scan->p[1] == '/')) {
			scan->p += strcspn(scan->p, "\n");
		} else if (c == '/' && scan->p[1] == '*') {
			scan_comment(scan);
		} else if ((c >= '0' && c <= '9') ||
			   ((c == '-' || c == '+') && scan->p[1] >= '0' && scan->p[1] <= '9')) {
			scan_number(scan);
		} else {
			size_t len = strspn(scan->p, letters);

			scan->p += len ? len : 1;
		}
	}
}

bool config_scan(const char *file, const char *dir, const char *text, struct config_report *report)
{
	size_t len = strlen(text);
	struct scan scan = {
		.report = report,
		.file = file,
		.dir = dir,
		.budget = len < CONFIG_FILE_MAX ? CONFIG_FILE_MAX - len : 0,
	};

	scan_text(&scan, text);
	report->file = file;
	return !scan.is_bad;
}
