/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The resource types there are: one line each.
 *
 * Called by the config reader, which finds a type by its name, and by whatever prints the list.
 */
#include <string.h>

#include "resources/resource.h"

#define RESOURCE_TYPES(type) type(vip_type) type(exec_type)

#define TYPE_DECLARE(type) extern const struct resource_type type;
#define TYPE_ENTRY(type) &type,

RESOURCE_TYPES(TYPE_DECLARE)

const struct resource_type *const *resource_types(void)
{
	static const struct resource_type *const types[] = {RESOURCE_TYPES(TYPE_ENTRY) NULL};

	return types;
}

const struct resource_type *resource_type_find(const char *name)
{
	for (const struct resource_type *const *type = resource_types(); *type; type++) {
		if (strcmp((*type)->name, name) == 0)
			return *type;
	}
	return NULL;
}
