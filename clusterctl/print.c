/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Printing of documents: colours where they help, and fields that may be missing. Called by the
 * verbs.
 */
#include "clusterctl/print.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REAL_DIGITS 12 /* of a number with a fraction */

struct style style_get(void)
{
	const char *no_color = getenv("NO_COLOR");
	const char *term = getenv("TERM");

	if (!isatty(STDOUT_FILENO) || (no_color && *no_color) || !term || strcmp(term, "dumb") == 0)
		return (struct style){"", "", "", "", "", ""};
	return (struct style){"\033[1m", "\033[32m", "\033[31m", "\033[33m", "\033[2m", "\033[0m"};
}

const char *style_of_state(const struct style *style, const char *state)
{
	static const char *const bad[] = {"failed", "blocked", "differs"};
	static const char *const busy[] = {"starting", "stopping", "joining", "leaving", "unknown"};

	if (strcmp(state, "online") == 0)
		return style->good;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (strcmp(state, bad[i]) == 0)
			return style->bad;
	for (size_t i = 0; i < sizeof(busy) / sizeof(busy[0]); i++)
		if (strcmp(state, busy[i]) == 0)
			return style->busy;
	return style->faint;
}

const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

int width_of(const json_t *array, const char *key, int min)
{
	size_t i, width = (size_t)min;
	json_t *object;

	json_array_foreach(array, i, object)
	{
		size_t len = strlen(text_of(object, key));

		if (len > width)
			width = len;
	}
	return (int)width;
}

void print_list(const json_t *array, const char *none)
{
	size_t i;
	json_t *item;

	if (json_array_size(array) == 0)
		fputs(none, stdout);
	json_array_foreach(array, i, item)
	{
		const char *text = json_string_value(item);

		printf("%s%s", i ? ", " : "", text ? text : "?");
	}
}

void print_json(const json_t *document)
{
	json_dumpf(document, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(REAL_DIGITS));
	putchar('\n');
}
