/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Plays scenarios and compares what is said with what stands in `expect`. It writes no expectation:
 * a missing one is a failure, and --print shows what to read before one is stored by hand.
 *
 *   runner [--print] [NAME...]    in $srcdir/tests/scenarios; all of them without a name
 */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/scenarios/story.h"

#define MAX_STORIES 512

static char *file_read(const char *dir, const char *name)
{
	char path[4096], *text = NULL;
	size_t len = 0;
	FILE *copy, *file;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	file = fopen(path, "r");
	if (!file)
		return NULL;
	copy = open_memstream(&text, &len);
	for (int c = getc(file); c != EOF; c = getc(file))
		putc(c, copy);
	fclose(copy);
	fclose(file);
	return text;
}

/* The first line that differs, with the two before it. */
static void difference_print(const char *expected, const char *got)
{
	const char *shown = got;
	unsigned line = 1, at = 0;

	while (expected[at] && expected[at] == got[at]) {
		if (got[at++] == '\n') {
			line++;
			shown = got + at;
		}
	}
	expected += shown - got;
	printf("#   line %u\n#   expected: %.*s\n#   got:      %.*s\n", line,
		(int)strcspn(expected, "\n"), expected, (int)strcspn(shown, "\n"), shown);
}

static bool play(struct story *story, const char *dir)
{
	char path[8192], text[512] = "";
	FILE *script;
	bool is_good;

	snprintf(path, sizeof(path), "%s/script", dir);
	script = fopen(path, "r");
	if (!script) {
		story_fail(story, "there is no script");
		return false;
	}
	is_good = script_play(story, script);
	fclose(script);
	if (is_good && !story->may_end_unsettled &&
		!world_is_settled(&story->world, false, text, sizeof(text))) {
		story_fail(story, "has not come to rest in the end: %s", text);
		is_good = false;
	}
	return is_good;
}

static bool run(const char *dir, bool prints)
{
	struct story *story = calloc(1, sizeof(*story));
	char *expected = file_read(dir, "expect"), *readme = file_read(dir, "README");
	bool is_good = story_init(story, dir) == 0 && play(story, dir);

	story_flush(story);
	fflush(story->log);
	if (prints)
		fputs(story->log_text, stdout);
	if (!is_good) {
		printf("#   %s\n", story->error);
	} else if (!readme || !expected) {
		printf("#   there is no %s\n", readme ? "expect" : "README");
		is_good = false;
	} else if (strcmp(expected, story->log_text) != 0) {
		difference_print(expected, story->log_text);
		is_good = false;
	}
	story_fini(story);
	free(story);
	free(expected);
	free(readme);
	return is_good;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static unsigned find_all(const char *top, char **ret_names)
{
	DIR *dir = opendir(top);
	unsigned n = 0;

	for (struct dirent *entry = dir ? readdir(dir) : NULL; entry && n < MAX_STORIES;
		entry = readdir(dir)) {
		char path[4096];
		struct stat status;

		snprintf(path, sizeof(path), "%s/%s", top, entry->d_name);
		if (entry->d_name[0] != '.' && stat(path, &status) == 0 && S_ISDIR(status.st_mode))
			ret_names[n++] = strdup(entry->d_name);
	}
	if (dir)
		closedir(dir);
	qsort(ret_names, n, sizeof(*ret_names), by_name);
	return n;
}

int main(int argc, char **argv)
{
	const char *srcdir = getenv("srcdir");
	char *names[MAX_STORIES], top[2048];
	bool prints = argc > 1 && strcmp(argv[1], "--print") == 0;
	unsigned n = 0, n_failed = 0;

	snprintf(top, sizeof(top), "%s/tests/scenarios", srcdir ? srcdir : ".");
	for (int i = prints ? 2 : 1; i < argc && n < MAX_STORIES; i++)
		names[n++] = strdup(argv[i]);
	if (n == 0)
		n = find_all(top, names);
	for (unsigned i = 0; i < n; i++) {
		char dir[4096];
		bool is_good;

		snprintf(dir, sizeof(dir), "%s/%s", top, names[i]);
		is_good = run(dir, prints);
		n_failed += !is_good;
		printf("%s %u - %s\n", is_good ? "ok" : "not ok", i + 1, names[i]);
		free(names[i]);
	}
	printf("# %u scenarios, %u failed\n", n, n_failed);
	return n == 0 || n_failed ? 1 : 0;
}
