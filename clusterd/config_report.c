/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Findings about a config file, collected for people.
 *
 * Invariant: n_errors counts every error, also those whose text was left out because there were too
 * many or no memory; so "no errors" is never a mistake. Called by the config reader and by the
 * resource types' checks.
 */
#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>

#include "clusterd/config_reader.h"

#define FINDING_MAX 1024 /* bytes of one line */

struct config_finding {
	size_t offset, len;
	size_t file_len; /* the line starts with the file's name */
	int line;
	uint32_t order;
	bool is_main; /* of the file itself, not of an included one */
};

/* Length of the valid UTF-8 sequence at s, 0 if it is none. */
static size_t utf8_len(const unsigned char *s)
{
	size_t len = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;

	if (s[0] > 0xf4)
		return 0;
	for (size_t i = 1; i < len; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	}
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
		(s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return len;
}

void config_text_clean(char *text)
{
	unsigned char *s = (unsigned char *)text;

	while (*s) {
		size_t len = utf8_len(s);

		if (len == 0 || *s < 0x20 || *s == 0x7f) {
			*s = '?';
			len = 1;
		}
		s += len;
	}
}

static bool make_room(struct config_report *report, size_t len)
{
	struct config_finding *findings;
	size_t size = report->size;
	char *text;

	if ((report->n_findings & (report->n_findings - 1)) == 0) { /* 0, 1, 2, 4, 8, ... */
		size_t n = report->n_findings ? 2 * (size_t)report->n_findings : 1;

		findings = realloc(report->findings, n * sizeof(*findings));
		if (!findings)
			return false;
		report->findings = findings;
	}
	if (report->len + len + 1 <= size)
		return true;
	size = 2 * size + len + 1;
	text = realloc(report->text, size);
	if (!text)
		return false;
	report->text = text;
	report->size = size;
	return true;
}

static void add_line(struct config_report *report, const char *line_text, size_t file_len, int line)
{
	size_t len = strlen(line_text);

	if (!make_room(report, len + 1))
		return;
	report->findings[report->n_findings] = (struct config_finding){
		.offset = report->len,
		.len = len + 1,
		.file_len = file_len,
		.line = line,
		.order = report->n_findings,
	};
	report->n_findings++;
	memcpy(report->text + report->len, line_text, len);
	report->len += len;
	report->text[report->len++] = '\n';
	report->text[report->len] = '\0';
}

void config_report_vadd(struct config_report *report, bool is_warning, int line, const char *object,
	const char *fmt, va_list args)
{
	char text[FINDING_MAX], place[16] = "";
	const char *file = report->file ? report->file : "config";
	int used;

	if (is_warning ? report->n_warnings++ >= CONFIG_REPORT_WARNINGS_MAX
		       : report->n_errors++ >= CONFIG_REPORT_ERRORS_MAX)
		return;
	if (line > 0)
		snprintf(place, sizeof(place), ":%d", line);
	used = snprintf(text, sizeof(text), "%s%s: %s%s%s", file, place,
		is_warning ? "warning: " : "", object ? object : "", object ? ": " : "");
	if (used >= 0 && (size_t)used < sizeof(text)) {
		int more = vsnprintf(text + used, sizeof(text) - (size_t)used, fmt, args);

		if (more >= 0 && (size_t)more >= sizeof(text) - (size_t)used)
			memcpy(text + sizeof(text) - 4, "...", 4);
	}
	config_text_clean(text);
	add_line(report, text, strlen(file), line);
}

void config_report_add(struct config_report *report, bool is_warning, int line, const char *object,
	const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	config_report_vadd(report, is_warning, line, object, fmt, args);
	va_end(args);
}

static int compare(const void *a, const void *b, void *text)
{
	const struct config_finding *x = a, *y = b;
	int rc;

	if (x->is_main != y->is_main)
		return x->is_main ? -1 : 1;
	if (x->file_len != y->file_len)
		return x->file_len < y->file_len ? -1 : 1;
	rc = memcmp((char *)text + x->offset, (char *)text + y->offset, x->file_len);
	if (rc != 0)
		return rc;
	if (x->line != y->line)
		return x->line < y->line ? -1 : 1;
	return x->order < y->order ? -1 : x->order > y->order;
}

static void sort_findings(struct config_report *report)
{
	size_t file_len = strlen(report->file), len = 0;
	char *sorted = malloc(report->size);

	if (!sorted)
		return; /* the order of reading is good enough */
	for (uint32_t i = 0; i < report->n_findings; i++) {
		struct config_finding *finding = &report->findings[i];

		finding->is_main =
			finding->file_len == file_len &&
			memcmp(report->text + finding->offset, report->file, file_len) == 0;
	}
	qsort_r(report->findings, report->n_findings, sizeof(*report->findings), compare,
		report->text);
	for (uint32_t i = 0; i < report->n_findings; i++) {
		struct config_finding *finding = &report->findings[i];

		memcpy(sorted + len, report->text + finding->offset, finding->len);
		finding->offset = len;
		finding->order = i;
		len += finding->len;
	}
	sorted[len] = '\0';
	free(report->text);
	report->text = sorted;
}

void config_report_finish(struct config_report *report)
{
	char text[FINDING_MAX];

	if (report->n_findings > 0)
		sort_findings(report);
	if (report->n_errors > CONFIG_REPORT_ERRORS_MAX) {
		snprintf(text, sizeof(text), "%s: %u more errors are not shown; mend these first",
			report->file, report->n_errors - CONFIG_REPORT_ERRORS_MAX);
		add_line(report, text, strlen(report->file), INT_MAX);
	}
	if (report->n_warnings > CONFIG_REPORT_WARNINGS_MAX) {
		snprintf(text, sizeof(text), "%s: warning: %u more warnings are not shown",
			report->file, report->n_warnings - CONFIG_REPORT_WARNINGS_MAX);
		add_line(report, text, strlen(report->file), INT_MAX);
	}
}

void config_report_fini(struct config_report *report)
{
	free(report->text);
	free(report->findings);
	*report = (struct config_report){.file = report->file};
}

void config_check_names(const struct config *config, struct config_report *report)
{
	for (uint32_t i = 0; i < config->core.n_nodes; i++) {
		const char *name = config->core.nodes[i].name;
		char object[CONFIG_OBJECT_SIZE];
		struct addrinfo *found;
		int rc;

		if (config->nodes[i].n_addresses > 0)
			continue;
		rc = getaddrinfo(name, NULL, NULL, &found);
		if (rc == 0) {
			freeaddrinfo(found);
			continue;
		}
		snprintf(object, sizeof(object), "node %s", name);
		config_report_add(report, true, config->nodes[i].line, object,
			"its name does not resolve here (%s); write its address, or add it to "
			"/etc/hosts",
			rc == EAI_SYSTEM ? strerror(errno) : gai_strerror(rc));
	}
}
