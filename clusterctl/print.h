/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Printing of documents: colours where they help, and fields that may be missing.
 */
#ifndef CLUSTERCTL_PRINT_H
#define CLUSTERCTL_PRINT_H

#include <jansson.h>

/* Escape sequences, each "" where there should be no colour. */
struct style {
	const char *bold, *good, *bad, *busy, *faint, *off;
};

/* Colours only on a terminal, and never with NO_COLOR (no-color.org). */
struct style style_get(void);
/* The colour of a node's or group's state. */
const char *style_of_state(const struct style *style, const char *state);

/* "" for what is missing, null, or not a string. */
const char *text_of(const json_t *object, const char *key);
/* Width of the longest string at key in an array of objects, at least min. */
int width_of(const json_t *array, const char *key, int min);
/* "n1, n2" of an array of strings, or the word for none. */
void print_list(const json_t *array, const char *none);
/* As `--json` does. */
void print_json(const json_t *document);

#endif
