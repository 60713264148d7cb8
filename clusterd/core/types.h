/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The nouns of the cluster: limits, nodes, groups and resources as the core sees them.
 *
 * The core knows a resource only by its name and by what its type promises; addresses, command
 * lines and interfaces stay with the daemon (clusterd/config.h).
 */
#ifndef CLUSTERD_CORE_TYPES_H
#define CLUSTERD_CORE_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CORE_MAX_NODES 32
#define CORE_MAX_GROUPS 16384
#define CORE_MAX_RESOURCES 4096 /* in one group */
#define CORE_NAME_SIZE 64       /* with the terminating NUL */
#define CORE_TEXT_SIZE 256      /* with the terminating NUL */

/* A node is its place in the config's list of nodes; equal configs give equal places. */
#define CORE_NO_NODE UINT8_MAX
typedef uint32_t node_mask; /* bit i: node i */

static inline node_mask node_bit(unsigned node)
{
	return (node_mask)1 << node;
}

struct core_resource {
	char name[CORE_NAME_SIZE];
	bool pipelined; /* its start and stop need not wait for the previous one's result */
	bool stateless; /* on_node_loss = "takeover", or a kind that needs no proof of its stop */
};

struct core_group {
	char name[CORE_NAME_SIZE];
	uint8_t preferred[CORE_MAX_NODES]; /* places of the preferred owners, best first */
	uint8_t n_preferred;
	bool failback;
	uint32_t n_resources;
	struct core_resource *resources;
	uint64_t digest; /* of the group's canonical text */
};

struct core_node {
	char name[CORE_NAME_SIZE];
	uint32_t nodeid; /* corosync's; 0 while not known */
};

struct core_config {
	char cluster_name[CORE_NAME_SIZE];
	uint32_t n_nodes;
	struct core_node nodes[CORE_MAX_NODES];
	uint32_t n_groups;
	struct core_group *groups;
	char *text; /* canonical form, as clusterd -nv prints it */
	size_t text_len;
	uint64_t digest; /* core_digest() of text */
};

/* A ring as corosync names it: cpg_ring_id, or the quorum_ring_id of quorum model v1. */
struct ring_id {
	uint32_t nodeid;
	uint64_t seq;
};

/* FNV-1a, 64 bit. */
uint64_t core_digest(const void *data, size_t len);

#endif
