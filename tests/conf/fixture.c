/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See fixture.h. */
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "clusterd/config.h"
#include "tests/conf/fixture.h"

/* libconfig 1.5 loses the text it has just read when a syntax error follows. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:libconfig.so";
}

void fixture_enter(void)
{
	const char *srcdir = getenv("srcdir");
	char folder[4096];

	snprintf(folder, sizeof(folder), "%s/tests/conf", srcdir ? srcdir : ".");
	if (chdir(folder) < 0) {
		fprintf(stderr, "%s: %s; run it in the top of the source tree\n", folder,
			strerror(errno));
		exit(1);
	}
}

char *fixture_slurp(const char *path)
{
	FILE *file = fopen(path, "r");
	char *text = NULL;
	size_t size = 0;

	if (!file)
		fail_msg("%s: %s", path, strerror(errno));
	if (getdelim(&text, &size, EOF, file) < 0) {
		free(text);
		text = strdup("");
	}
	fclose(file);
	return text;
}

struct config *fixture_parse(const char *text)
{
	struct config_report report = {0};
	struct config *config;

	if (config_parse("text", text, &config, &report) < 0)
		fail_msg("%s", report.text);
	config_report_fini(&report);
	return config;
}

static int is_conf(const struct dirent *entry)
{
	size_t len = strlen(entry->d_name);

	return len > 5 && strcmp(entry->d_name + len - 5, ".conf") == 0;
}

/* Calls check with the path without ".conf", for each file. */
unsigned fixture_each_conf(const char *folder, void (*check)(const char *path))
{
	struct dirent **entries;
	int n = scandir(folder, &entries, is_conf, alphasort);

	if (n < 0)
		fail_msg("%s: %s", folder, strerror(errno));
	for (int i = 0; i < n; i++) {
		char path[512];

		snprintf(path, sizeof(path), "%s/%.*s", folder, (int)strlen(entries[i]->d_name) - 5,
			entries[i]->d_name);
		check(path);
		free(entries[i]);
	}
	free(entries);
	return (unsigned)n;
}
