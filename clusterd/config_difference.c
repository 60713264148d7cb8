/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What differs first between two canonical texts, in words.
 *
 * Walks both texts line by line, as config_print wrote them: one key a line, an object's name
 * first. theirs came from another machine: any bytes do, the answer is then only less telling. One
 * pass up to the first difference and two more at most; no memory. Called when a node joins with a
 * config that is not ours.
 */
#include <stdio.h>
#include <string.h>

#include "clusterd/config_reader.h"

#define VALUE_MAX 72 /* bytes of a value that are shown */

enum section { SECTION_NONE, SECTION_CLUSTER, SECTION_NODES, SECTION_GROUPS, SECTION_RESOURCES };

/* Part of a text, not NUL-terminated. */
struct part {
	const char *s;
	size_t len;
};

/* Stands on one "key = value;" line and knows which object it belongs to. */
struct walk {
	const char *next; /* the line after */
	enum section section;
	struct part group;    /* its name, of a group or the resource's group */
	struct part name;     /* of the node or resource */
	struct part key, val; /* key.len 0: the end */
};

static bool is_equal(struct part a, struct part b)
{
	return a.len == b.len && memcmp(a.s, b.s, a.len) == 0;
}

static bool is_word(struct part a, const char *word)
{
	return a.len == strlen(word) && memcmp(a.s, word, a.len) == 0;
}

/* A line like "groups = (" opens a section, true; the name of the section's objects is not known
 * yet. */
static bool enter_section(struct walk *walk)
{
	static const struct {
		const char *key, *opener;
		enum section section;
	} sections[] = {
		{"cluster", "{", SECTION_CLUSTER},
		{"nodes", "(", SECTION_NODES},
		{"groups", "(", SECTION_GROUPS},
		{"resources", "(", SECTION_RESOURCES},
	};

	for (size_t i = 0; i < sizeof(sections) / sizeof(sections[0]); i++) {
		if (!is_word(walk->key, sections[i].key) || !is_word(walk->val, sections[i].opener))
			continue;
		walk->section = sections[i].section;
		walk->name = (struct part){"", 0};
		return true;
	}
	return false;
}

/* To the next "key = value;", or to the end. */
static void advance(struct walk *walk)
{
	while (*walk->next) {
		const char *line = walk->next + strspn(walk->next, "\t");
		size_t len = strcspn(line, "\n");
		const char *equals = memchr(line, '=', len);

		walk->next = line + len + (line[len] == '\n');
		if (len == 2 && memcmp(line, ");", 2) == 0 && walk->section == SECTION_RESOURCES)
			walk->section = SECTION_GROUPS;
		if (!equals || equals - line < 2 || (size_t)(equals - line) + 2 > len)
			continue;
		walk->key = (struct part){line, (size_t)(equals - line) - 1};
		walk->val = (struct part){equals + 2, len - (size_t)(equals - line) - 2};
		if (enter_section(walk))
			continue;
		if (walk->val.len > 0 && walk->val.s[walk->val.len - 1] == ';')
			walk->val.len--;
		if (is_word(walk->key, "name"))
			*(walk->section == SECTION_GROUPS ? &walk->group : &walk->name) = walk->val;
		return;
	}
	walk->key = walk->val = (struct part){"", 0};
	walk->section = SECTION_NONE;
}

static struct walk begin(const char *text)
{
	struct walk walk = {
		.next = text,
		.group = {"", 0},
		.name = {"", 0},
	};

	advance(&walk);
	return walk;
}

static bool is_same_object(const struct walk *a, const struct walk *b)
{
	if (a->section != b->section)
		return false;
	switch (a->section) {
	case SECTION_NODES: return is_equal(a->name, b->name);
	case SECTION_GROUPS: return is_equal(a->group, b->group);
	case SECTION_RESOURCES: return is_equal(a->group, b->group) && is_equal(a->name, b->name);
	default: return true;
	}
}

static bool is_in(const struct walk *object, const char *text)
{
	for (struct walk walk = begin(text); walk.key.len > 0; advance(&walk)) {
		if (is_same_object(object, &walk))
			return true;
	}
	return false;
}

/* Is the key of a in the same object further on in b? */
static bool has_key_later(const struct walk *a, struct walk b)
{
	for (; b.key.len > 0 && is_same_object(a, &b); advance(&b)) {
		if (is_equal(a->key, b.key))
			return true;
	}
	return false;
}

static struct part unquoted(struct part name)
{
	if (name.len >= 2 && name.s[0] == '"' && name.s[name.len - 1] == '"')
		return (struct part){name.s + 1, name.len - 2};
	return name;
}

static void name_object(const struct walk *walk, char buf[static CONFIG_OBJECT_SIZE + 80])
{
	struct part name = unquoted(walk->name), group = unquoted(walk->group);
	int name_len = name.len < CORE_NAME_SIZE ? (int)name.len : CORE_NAME_SIZE - 1;
	int group_len = group.len < CORE_NAME_SIZE ? (int)group.len : CORE_NAME_SIZE - 1;
	size_t size = CONFIG_OBJECT_SIZE + 80;

	switch (walk->section) {
	case SECTION_NODES: snprintf(buf, size, "node %.*s", name_len, name.s); return;
	case SECTION_GROUPS: snprintf(buf, size, "group %.*s", group_len, group.s); return;
	case SECTION_RESOURCES:
		snprintf(buf, size, "resource %.*s of group %.*s", name_len, name.s, group_len,
			group.s);
		return;
	default: snprintf(buf, size, "cluster"); return;
	}
}

/* A long value is shown from a little before where it differs from the other. */
static void show_value(struct part value, struct part other, char buf[static VALUE_MAX + 8])
{
	size_t from = 0, n = value.len < other.len ? value.len : other.len;
	bool is_cut;

	while (from < n && value.s[from] == other.s[from])
		from++;
	if (value.len <= VALUE_MAX || from < VALUE_MAX / 2)
		from = 0;
	else
		from -= VALUE_MAX / 4;
	while (from > 0 && ((unsigned char)value.s[from] & 0xc0) == 0x80)
		from--;
	n = value.len - from;
	is_cut = n > VALUE_MAX;
	if (is_cut)
		n = VALUE_MAX;
	while (is_cut && n > 0 && ((unsigned char)value.s[from + n] & 0xc0) == 0x80)
		n--;
	snprintf(buf, VALUE_MAX + 8, "%s%.*s%s", from ? "..." : "", (int)n, value.s + from,
		is_cut ? "..." : "");
}

static void say_values(const struct walk *a, const struct walk *b, char *ret_text, size_t size)
{
	char object[CONFIG_OBJECT_SIZE + 80], theirs[VALUE_MAX + 8], ours[VALUE_MAX + 8];

	name_object(a, object);
	show_value(a->val, b->val, theirs);
	show_value(b->val, a->val, ours);
	snprintf(ret_text, size, "%s: %.*s = %s in the cluster, %s in the node's file", object,
		a->key.len < CORE_NAME_SIZE ? (int)a->key.len : CORE_NAME_SIZE - 1, a->key.s,
		theirs, ours);
}

/* A key is only in one text: a truth value is then the other one elsewhere, as only what differs
 * from the default is printed. */
static void say_extra(const struct walk *walk, bool is_theirs, char *ret_text, size_t size)
{
	char object[CONFIG_OBJECT_SIZE + 80], value[VALUE_MAX + 8];
	const char *rest = is_word(walk->val, "true")    ? "false"
			   : is_word(walk->val, "false") ? "true"
							 : "not set";

	name_object(walk, object);
	show_value(walk->val, walk->val, value);
	snprintf(ret_text, size, "%s: %.*s = %s in the cluster, %s in the node's file", object,
		walk->key.len < CORE_NAME_SIZE ? (int)walk->key.len : CORE_NAME_SIZE - 1,
		walk->key.s, is_theirs ? value : rest, is_theirs ? rest : value);
}

static void say_objects(const struct walk *a, const char *theirs, const struct walk *b,
	const char *ours, char *ret_text, size_t size)
{
	char there[CONFIG_OBJECT_SIZE + 80], here[CONFIG_OBJECT_SIZE + 80];
	bool a_is_missing = a->key.len > 0 && !is_in(a, ours);
	bool b_is_missing = b->key.len > 0 && !is_in(b, theirs);

	name_object(a, there);
	name_object(b, here);
	if (a_is_missing && b_is_missing && a->section == b->section)
		snprintf(ret_text, size, "%s: only in the cluster; %s: only in the node's file",
			there, here);
	else if (a_is_missing)
		snprintf(ret_text, size, "%s: only in the cluster", there);
	else if (b_is_missing)
		snprintf(ret_text, size, "%s: only in the node's file", here);
	else
		snprintf(ret_text, size,
			"the order differs: %s in the cluster, where %s stands in the node's file",
			there, here);
}

void config_difference(const char *theirs, const char *ours, char *ret_text, size_t size)
{
	struct walk a = begin(theirs), b = begin(ours), last = a;

	while (a.key.len > 0 && is_same_object(&a, &b) && is_equal(a.key, b.key) &&
		is_equal(a.val, b.val)) {
		last = a;
		advance(&a);
		advance(&b);
	}
	if (strcmp(theirs, ours) == 0)
		snprintf(ret_text, size, "%s", "");
	else if (a.key.len == 0 && b.key.len == 0)
		snprintf(ret_text, size, "the configs are written in another form");
	else if (a.key.len > 0 && is_same_object(&a, &last) && !has_key_later(&a, b))
		say_extra(&a, true, ret_text, size);
	else if (b.key.len > 0 && is_same_object(&b, &last) && !has_key_later(&b, a))
		say_extra(&b, false, ret_text, size);
	else if (is_same_object(&a, &b))
		say_values(&a, &b, ret_text, size);
	else
		say_objects(&a, theirs, &b, ours, ret_text, size);
	config_text_clean(ret_text);
}
