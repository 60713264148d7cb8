/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Single values of a config file: where they stand, whether they are of the wanted type and within
 * their bounds, and what a misspelt key was probably meant to be.
 *
 * Every getter reports what is wrong itself and returns false; called by the config reader alone.
 */
#include <stdlib.h>
#include <string.h>

#include "clusterd/config_reader.h"

#define WORD_MAX 64

static const char *place_file(
	const struct config_reader *reader, const config_setting_t *at, char *buf, size_t size)
{
	const char *file = config_setting_source_file(at);

	return file ? config_join(reader->dir, file, buf, size) : reader->file;
}

const char *config_place(
	struct config_reader *reader, const config_setting_t *at, char *buf, size_t size)
{
	char file[PATH_MAX];
	const char *name = place_file(reader, at, file, sizeof(file));

	if (name == reader->file)
		snprintf(buf, size, "line %u", at->line);
	else
		snprintf(buf, size, "%s:%u", name, at->line);
	return buf;
}

void config_set_place(struct config_reader *reader, const config_setting_t *at)
{
	reader->report->file = place_file(reader, at, reader->included, sizeof(reader->included));
}

void config_error_at(struct config_reader *reader, const config_setting_t *at, const char *object,
	const char *fmt, ...)
{
	const char *file = reader->report->file;
	char buf[PATH_MAX];
	va_list args;

	reader->report->file = place_file(reader, at, buf, sizeof(buf));
	va_start(args, fmt);
	config_report_vadd(reader->report, false, (int)at->line, object, fmt, args);
	va_end(args);
	reader->report->file = file;
}

static const char *type_name(const config_setting_t *setting)
{
	switch (config_setting_type(setting)) {
	case CONFIG_TYPE_GROUP: return "a group in { }";
	case CONFIG_TYPE_INT:
	case CONFIG_TYPE_INT64: return "a number";
	case CONFIG_TYPE_FLOAT: return "a number with a decimal point";
	case CONFIG_TYPE_STRING: return "a text";
	case CONFIG_TYPE_BOOL: return "true or false";
	case CONFIG_TYPE_ARRAY: return "an array in [ ]";
	case CONFIG_TYPE_LIST: return "a list in ( )";
	default: return "empty";
	}
}

void config_wrong_type(struct config_reader *reader, const config_setting_t *setting,
	const char *object, const char *wanted)
{
	const char *name = config_setting_name(setting);

	if (!name && setting->parent)
		name = config_setting_name(setting->parent);
	config_error_at(reader, setting, object, "%s%s is %s; write %s",
		config_setting_name(setting) ? "" : "an entry of ", name ? name : "the config",
		type_name(setting), wanted);
}

/* Edit distance where a swap of neighbours is one step (Damerau, optimal alignment). Both words are
 * shorter than WORD_MAX. */
static unsigned distance(const char *a, const char *b)
{
	unsigned rows[3][WORD_MAX], *before = rows[0], *last = rows[1], *now = rows[2];
	size_t len = strlen(b);

	for (unsigned j = 0; j <= len; j++)
		last[j] = j;
	for (unsigned i = 1; a[i - 1]; i++) {
		unsigned *spare = before;

		now[0] = i;
		for (unsigned j = 1; j <= len; j++) {
			unsigned best = last[j - 1] + (a[i - 1] != b[j - 1]);

			if (last[j] + 1 < best)
				best = last[j] + 1;
			if (now[j - 1] + 1 < best)
				best = now[j - 1] + 1;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
				before[j - 2] + 1 < best)
				best = before[j - 2] + 1;
			now[j] = best;
		}
		before = last;
		last = now;
		now = spare;
	}
	return last[len];
}

/* The word that was probably meant, NULL if none is near. Ends with NULL. */
const char *config_nearest(const char *word, const char *const *words)
{
	const char *nearest = NULL;
	size_t len = strlen(word);
	unsigned best = len < 3 ? 2 : (unsigned)len / 3 + 2; /* first distance that is too far */

	if (len >= WORD_MAX)
		return NULL;
	for (; *words; words++) {
		unsigned d;

		if (strlen(*words) >= WORD_MAX || strcmp(*words, word) == 0)
			continue;
		d = distance(word, *words);
		if (d < best) {
			best = d;
			nearest = *words;
		}
	}
	return nearest;
}

static bool is_among(const char *word, const char *const *words)
{
	for (; *words; words++) {
		if (strcmp(*words, word) == 0)
			return true;
	}
	return false;
}

void config_check_keys(struct config_reader *reader, const config_setting_t *group,
	const char *object, const char *const *keys)
{
	for (int i = 0; i < config_setting_length(group); i++) {
		const config_setting_t *child = config_setting_get_elem(group, (unsigned)i);
		const char *key = config_setting_name(child), *nearest;
		char known[512] = "";

		if (is_among(key, keys))
			continue;
		nearest = config_nearest(key, keys);
		if (nearest) {
			config_error_at(reader, child, object,
				"unknown key \"%s\"; did you mean \"%s\"?", key, nearest);
			continue;
		}
		for (const char *const *k = keys; *k; k++) {
			size_t used = strlen(known);

			snprintf(known + used, sizeof(known) - used, "%s%s", used ? ", " : "", *k);
		}
		config_error_at(reader, child, object,
			"unknown key \"%s\"; take it out (known keys: %s)", key, known);
	}
}

bool config_get_string(struct config_reader *reader, const config_setting_t *setting,
	const char *object, const char **ret)
{
	const char *text, *name = config_setting_name(setting);
	char *clean;
	bool is_clean;

	if (config_setting_type(setting) != CONFIG_TYPE_STRING) {
		config_wrong_type(reader, setting, object, "a text in \"quotes\"");
		return false;
	}
	text = config_setting_get_string(setting);
	if (!text)
		text = ""; /* libconfig's for "" */
	if (strlen(text) > CONFIG_STRING_MAX) {
		config_error_at(reader, setting, object, "%s is longer than %d bytes; shorten it",
			name ? name : "an entry", CONFIG_STRING_MAX);
		return false;
	}
	clean = strdup(text);
	if (!clean) {
		reader->no_memory = true;
		return false;
	}
	config_text_clean(clean);
	is_clean = true;
	for (size_t i = 0; text[i]; i++)
		is_clean &= clean[i] == text[i] || text[i] == '\t';
	free(clean);
	if (!is_clean) {
		config_error_at(reader, setting, object,
			"%s has control characters or is not UTF-8; write plain text: \"%s\"",
			name ? name : "an entry", text);
		return false;
	}
	*ret = text;
	return true;
}

bool config_get_bool(struct config_reader *reader, const config_setting_t *setting,
	const char *object, bool *ret)
{
	if (config_setting_type(setting) != CONFIG_TYPE_BOOL) {
		config_wrong_type(reader, setting, object, "true or false, without quotes");
		return false;
	}
	*ret = config_setting_get_bool(setting) == CONFIG_TRUE;
	return true;
}

bool config_get_int(struct config_reader *reader, const config_setting_t *setting,
	const char *object, int64_t min, int64_t max, int64_t *ret)
{
	long long value;

	if (config_setting_type(setting) == CONFIG_TYPE_INT)
		value = config_setting_get_int(setting);
	else if (config_setting_type(setting) == CONFIG_TYPE_INT64)
		value = config_setting_get_int64(setting);
	else {
		config_wrong_type(reader, setting, object, "a whole number, without quotes");
		return false;
	}
	if (value < min || value > max) {
		config_error_at(reader, setting, object,
			"%s = %lld is out of range; write a number from %lld to %lld",
			config_setting_name(setting), value, (long long)min, (long long)max);
		return false;
	}
	*ret = value;
	return true;
}

static bool is_name(const char *name)
{
	static const char alnum[] = "0123456789"
				    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
	size_t len = strlen(name);

	if (len == 0 || len >= CORE_NAME_SIZE || !strchr(alnum, name[0]))
		return false;
	while (*name && (strchr(alnum, *name) || strchr("._-", *name)))
		name++;
	return *name == '\0';
}

bool config_get_valid_name(struct config_reader *reader, const config_setting_t *setting,
	const char *object, const char **ret)
{
	const char *name;

	if (!config_get_string(reader, setting, object, &name))
		return false;
	if (!is_name(name)) {
		config_error_at(reader, setting, object,
			"\"%.80s\" is no valid name; write 1 to %d letters, digits, dots, dashes "
			"or "
			"underscores, a letter or digit first",
			name, CORE_NAME_SIZE - 1);
		return false;
	}
	*ret = name;
	return true;
}

const char *config_get_name(struct config_reader *reader, const config_setting_t *group,
	const char *kind, unsigned index, char object[static CONFIG_OBJECT_SIZE])
{
	const config_setting_t *setting = config_setting_get_member(group, "name");
	const char *name;

	snprintf(object, CONFIG_OBJECT_SIZE, "%s #%u", kind, index + 1);
	if (!setting) {
		config_error_at(reader, group, object, "has no name; add name = \"...\"");
		return NULL;
	}
	if (!config_get_valid_name(reader, setting, object, &name))
		return NULL;
	snprintf(object, CONFIG_OBJECT_SIZE, "%s %s", kind, name);
	return name;
}
