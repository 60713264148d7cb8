/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Text for people as JSON. Whatever it holds, the result is a string: one odd byte of a script, a
 * path or another node must not cost the whole answer. Called by status.c, history.c, requests.c.
 */
#include <stdlib.h>
#include <string.h>

#include "clusterd/daemon.h"

/* Bytes of the UTF-8 character at text, by jansson's own rules; 0: it is none. */
static size_t character_len(const char *text)
{
	for (size_t len = 1; len <= 4 && text[len - 1]; len++) {
		json_t *character = json_stringn(text, len);

		if (character) {
			json_decref(character);
			return len;
		}
	}
	return 0;
}

json_t *json_text(const char *text)
{
	json_t *json = json_string(text);
	char *copy = json ? NULL : strdup(text);

	for (size_t i = 0; copy && copy[i];) {
		size_t len = character_len(copy + i);

		if (len == 0)
			copy[i] = '?';
		i += len ? len : 1;
	}
	if (copy)
		json = json_string(copy);
	free(copy);
	return json;
}
