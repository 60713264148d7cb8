/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The one hash of the core: compares configs and states between nodes, protects from nobody. */
#include "clusterd/core/types.h"

uint64_t core_digest(const void *data, size_t len)
{
	const unsigned char *p = data;
	uint64_t hash = 0xcbf29ce484222325u;

	for (size_t i = 0; i < len; i++) {
		hash ^= p[i];
		hash *= 0x100000001b3u;
	}
	return hash;
}
