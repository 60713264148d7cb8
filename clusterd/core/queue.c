/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Messages held back: by a member whose view is not decided, and by a joiner between its own hello
 * and the snapshot for it. Bounded; who overflows asks for the state anew.
 */
#include <stdlib.h>
#include <string.h>

#include "clusterd/core/internal.h"

bool queue_add(struct core *core, uint8_t node, const void *data, size_t len)
{
	struct queued *item;

	if (core->queue_bytes + len > CORE_FROZEN_MAX)
		return false;
	if (core->n_queue == core->queue_size) {
		uint32_t size = core->queue_size ? core->queue_size * 2 : 32;
		struct queued *queue = realloc(core->queue, size * sizeof(*queue));

		if (!queue)
			return false;
		core->queue = queue;
		core->queue_size = size;
	}
	item = &core->queue[core->n_queue];
	item->nodeid = core->config->nodes[node].nodeid;
	item->len = len;
	item->data = malloc(len ? len : 1);
	if (!item->data)
		return false;
	memcpy(item->data, data, len);
	core->queue_bytes += len;
	core->n_queue++;
	return true;
}

void queue_clear(struct core *core)
{
	for (uint32_t i = 0; i < core->n_queue; i++)
		free(core->queue[i].data);
	core->n_queue = 0;
	core->queue_bytes = 0;
}

void queue_drain(struct core *core)
{
	struct queued *queue = core->queue;
	uint32_t n = core->n_queue;

	/* A message may end our membership and begin a new queue: work on the old one apart. */
	core->queue = NULL;
	core->n_queue = core->queue_size = 0;
	core->queue_bytes = 0;
	for (uint32_t i = 0; i < n; i++) {
		uint8_t node = node_of(core, queue[i].nodeid); /* a new config may be in force */

		if (core->phase == CORE_MEMBER && node != CORE_NO_NODE)
			message_apply(core, node, queue[i].data, queue[i].len);
		free(queue[i].data);
	}
	free(queue);
}
