/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What only one object may have: names and addresses.
 *
 * `clusterctl failover NAME` takes a group or a resource, so these share one space of names; only a
 * group and its own resource may be called the same. Sorted, not searched, so that 10,000 groups
 * take no longer than they must. Called by the config reader.
 */
#include <stdlib.h>
#include <string.h>

#include "clusterd/config_reader.h"

static struct config_holder *add(struct config_reader *reader, struct config_holders *holders)
{
	if (holders->n == holders->size) {
		uint32_t size = holders->size ? 2 * holders->size : 64;
		struct config_holder *list = realloc(holders->list, size * sizeof(*list));

		if (!list) {
			reader->no_memory = true;
			return NULL;
		}
		holders->list = list;
		holders->size = size;
	}
	return &holders->list[holders->n++];
}

void config_hold(struct config_reader *reader, struct config_holders *holders, const char *kind,
	const char *name, const char *key, const config_setting_t *at, uint32_t group)
{
	struct config_holder *holder = add(reader, holders);

	if (!holder)
		return;
	*holder = (struct config_holder){
		.key = key,
		.kind = kind,
		.name = name,
		.at = at,
		.order = holders->n,
		.group = group,
	};
}

void config_hold_copy(struct config_reader *reader, struct config_holders *holders,
	const char *kind, const char *name, const char *key, const config_setting_t *at)
{
	char *owned = strdup(key);
	uint32_t n = holders->n;

	if (!owned) {
		reader->no_memory = true;
		return;
	}
	config_hold(reader, holders, kind, name, owned, at, 0);
	if (holders->n > n)
		holders->list[n].owned = owned;
	else
		free(owned);
}

void config_holders_fini(struct config_holders *holders)
{
	for (uint32_t i = 0; i < holders->n; i++)
		free(holders->list[i].owned);
	free(holders->list);
}

static int compare(const void *a, const void *b)
{
	const struct config_holder *x = a, *y = b;
	int rc = strcmp(x->key, y->key);

	return rc != 0 ? rc : (x->order > y->order) - (x->order < y->order);
}

/* "node n2 (line 7)" */
static const char *describe(
	struct config_reader *reader, const struct config_holder *holder, char *buf, size_t size)
{
	char place[PATH_MAX];

	snprintf(buf, size, "%s%s%s (%s)", holder->kind, holder->name ? " " : "",
		holder->name ? holder->name : "",
		config_place(reader, holder->at, place, sizeof(place)));
	return buf;
}

static void name_taken(struct config_reader *reader, const struct config_holder *holder,
	const struct config_holder *first)
{
	char object[CONFIG_OBJECT_SIZE], buf[CORE_TEXT_SIZE];

	snprintf(object, sizeof(object), "%s %s", holder->kind, holder->name);
	if (strcmp(holder->kind, first->kind) == 0)
		config_error_at(reader, holder->at, object,
			"the name is already that of %s; give each %s its own name",
			describe(reader, first, buf, sizeof(buf)), holder->kind);
	else
		config_error_at(reader, holder->at, object,
			"the name is already that of %s, and `clusterctl failover %s` could mean "
			"either; a resource may share its name with its own group only, rename one",
			describe(reader, first, buf, sizeof(buf)), holder->name);
}

static void address_taken(struct config_reader *reader, const struct config_holder *holder,
	const struct config_holder *first)
{
	char object[CONFIG_OBJECT_SIZE], buf[CORE_TEXT_SIZE];

	snprintf(object, sizeof(object), "%s %s", holder->kind, holder->name ? holder->name : "?");
	config_error_at(reader, holder->at, object,
		"%s is already the address of %s; each address belongs to one object alone, change "
		"one of them",
		holder->key, describe(reader, first, buf, sizeof(buf)));
}

typedef void (*taken_fn)(struct config_reader *reader, const struct config_holder *holder,
	const struct config_holder *first);

/* list[0..n) has one key, in the order of reading. Only a group and one resource of it may share a
 * name; a group comes before its resources. */
static void check_run(
	struct config_reader *reader, const struct config_holder *list, uint32_t n, taken_fn taken)
{
	const struct config_holder *first[2] = {&list[0], NULL}; /* of each kind */

	for (uint32_t i = 1; i < n; i++) {
		const struct config_holder *holder = &list[i];

		if (taken == address_taken || strcmp(holder->kind, first[0]->kind) == 0 ||
			holder->group != first[0]->group)
			taken(reader, holder, first[0]);
		else if (first[1])
			taken(reader, holder, first[1]);
		else
			first[1] = holder;
	}
}

static void check(struct config_reader *reader, struct config_holders *holders, taken_fn taken)
{
	uint32_t start = 0;

	if (holders->n == 0)
		return;
	qsort(holders->list, holders->n, sizeof(*holders->list), compare);
	for (uint32_t i = 1; i <= holders->n; i++) {
		if (i < holders->n && strcmp(holders->list[i].key, holders->list[start].key) == 0)
			continue;
		check_run(reader, &holders->list[start], i - start, taken);
		start = i;
	}
}

void config_check_unique(struct config_reader *reader)
{
	check(reader, &reader->node_holders, name_taken);
	check(reader, &reader->name_holders, name_taken);
	check(reader, &reader->address_holders, address_taken);
}
