/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What cmap knows: the names, nodes and timings that corosync runs with.
 *
 * Invariant: facts are read once, at start; later only corosync's notifications change them, so
 * that no call waits for corosync. Called by membership.c.
 */
#include "clusterd/membership_internal.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOTEM_RUNTIME "runtime.config.totem."

/* A number of whatever width; other when there is none. */
static uint32_t get_number(cmap_handle_t cmap, const char *key, uint32_t other)
{
	union {
		uint8_t u8;
		uint16_t u16;
		uint32_t u32;
		uint64_t u64;
	} value = {.u64 = 0};
	size_t len = sizeof(value);
	cmap_value_types_t type;

	if (cmap_get(cmap, key, &value, &len, &type) != CS_OK)
		return other;
	switch (type) {
	case CMAP_VALUETYPE_INT8:
	case CMAP_VALUETYPE_UINT8: return value.u8;
	case CMAP_VALUETYPE_INT16:
	case CMAP_VALUETYPE_UINT16: return value.u16;
	case CMAP_VALUETYPE_INT32:
	case CMAP_VALUETYPE_UINT32: return value.u32;
	default: return other;
	}
}

/* False if there is none, or it is too long. */
static bool get_text(cmap_handle_t cmap, const char *key, char *ret_text, size_t size)
{
	char *value = NULL;
	bool fits;

	if (cmap_get_string(cmap, key, &value) != CS_OK)
		return false;
	fits = strlen(value) < size && value[0] != '\0';
	if (fits)
		memcpy(ret_text, value, strlen(value) + 1);
	free(value);
	return fits;
}

static int read_node(
	cmap_handle_t cmap, unsigned place, struct membership_node *ret_node, char *reterr)
{
	char key[CMAP_KEYNAME_MAXLEN + 1];

	snprintf(key, sizeof(key), "nodelist.node.%u.nodeid", place);
	ret_node->nodeid = get_number(cmap, key, 0);
	if (ret_node->nodeid == 0)
		return -ENOENT;
	snprintf(key, sizeof(key), "nodelist.node.%u.name", place);
	if (!get_text(cmap, key, ret_node->name, sizeof(ret_node->name)))
		return membership_complain(reterr, -EINVAL,
			"corosync: node %u of the nodelist has no name (or a name of %d bytes or "
			"more): "
			"set 'name' for each node in corosync.conf and reload with "
			"corosync-cfgtool -R",
			ret_node->nodeid, CORE_NAME_SIZE);
	snprintf(key, sizeof(key), "nodelist.node.%u.ring0_addr", place);
	if (!get_text(cmap, key, ret_node->address, sizeof(ret_node->address)))
		ret_node->address[0] = '\0';
	return 0;
}

static int read_nodes(cmap_handle_t cmap, struct membership_facts *facts, char *reterr)
{
	char key[CMAP_KEYNAME_MAXLEN + 1];
	struct membership_node node;
	unsigned place = 0;
	int rc;

	for (;; place++) {
		memset(&node, 0, sizeof(node));
		rc = read_node(cmap, place, &node, reterr);
		if (rc == -ENOENT)
			break;
		if (rc < 0)
			return rc;
		if (place == CORE_MAX_NODES)
			return membership_complain(reterr, -EINVAL,
				"corosync: the nodelist has more than %d nodes, the most that "
				"clusterd "
				"takes",
				CORE_MAX_NODES);
		facts->nodes[place] = node;
		snprintf(key, sizeof(key), "nodelist.node.%u.quorum_votes", place);
		facts->expected_votes += get_number(cmap, key, 1);
	}
	facts->expected_votes += get_number(cmap, "quorum.device.votes", 0);
	facts->n_nodes = place;
	if (place == 0)
		return membership_complain(reterr, -EINVAL,
			"corosync: there is no nodelist; write one with a name, a nodeid and an "
			"address "
			"for each node (clusterctl corosync-conf does)");
	return 0;
}

/* As totemconfig.c does: secauth gives a cipher unless crypto_cipher says otherwise. */
static bool is_encrypted(cmap_handle_t cmap)
{
	char text[CORE_NAME_SIZE];

	if (get_text(cmap, "totem.crypto_cipher", text, sizeof(text)))
		return strcmp(text, "none") != 0;
	return get_text(cmap, "totem.secauth", text, sizeof(text)) && strcmp(text, "on") == 0;
}

/* All are 32-bit numbers under TOTEM_RUNTIME. */
static const struct {
	const char *key;
	size_t offset;
} timings[] = {
	{TOTEM_RUNTIME "token", offsetof(struct membership_facts, token_ms)},
	{TOTEM_RUNTIME "consensus", offsetof(struct membership_facts, consensus_ms)},
	{TOTEM_RUNTIME "token_retransmits_before_loss_const",
		offsetof(struct membership_facts, token_retransmits)},
	{TOTEM_RUNTIME "hold", offsetof(struct membership_facts, hold_ms)},
	{TOTEM_RUNTIME "interface.0.knet_ping_interval",
		offsetof(struct membership_facts, knet_ping_interval_ms)},
	{TOTEM_RUNTIME "interface.0.knet_ping_timeout",
		offsetof(struct membership_facts, knet_ping_timeout_ms)},
};

static void timing_set(struct membership_facts *facts, size_t i, uint32_t value)
{
	memcpy((char *)facts + timings[i].offset, &value, sizeof(value));
}

int facts_read(cmap_handle_t cmap, struct membership_facts *ret_facts, char *reterr)
{
	struct membership_facts facts = {.n_nodes = 0};
	uint32_t place;
	int rc;

	if (!get_text(cmap, "totem.cluster_name", facts.cluster_name, sizeof(facts.cluster_name)))
		return membership_complain(reterr, -EINVAL,
			"corosync: totem.cluster_name is not set (or has %d bytes or more): set "
			"'cluster_name' in corosync.conf, the same as cluster.name of clusterd's "
			"config",
			CORE_NAME_SIZE);
	rc = read_nodes(cmap, &facts, reterr);
	if (rc < 0)
		return rc;
	place = get_number(cmap, "nodelist.local_node_pos", facts.n_nodes);
	if (place >= facts.n_nodes)
		return membership_complain(reterr, -EINVAL,
			"corosync: this node is not in the nodelist; add it to corosync.conf");
	facts.own_nodeid = facts.nodes[place].nodeid;
	facts.two_node = get_number(cmap, "runtime.votequorum.two_node", 0) != 0;
	facts.expected_votes = get_number(cmap, "quorum.expected_votes", facts.expected_votes);
	facts.secauth = is_encrypted(cmap);
	for (size_t i = 0; i < sizeof(timings) / sizeof(timings[0]); i++)
		timing_set(&facts, i, get_number(cmap, timings[i].key, 0));
	*ret_facts = facts;
	return 0;
}

static void timing_changed(cmap_handle_t cmap, cmap_track_handle_t track, int32_t event,
	const char *key, struct cmap_notify_value new_value, struct cmap_notify_value old_value,
	void *user_data)
{
	uint32_t value;

	(void)cmap;
	(void)track;
	(void)event;
	(void)old_value;
	if (new_value.type != CMAP_VALUETYPE_UINT32 || new_value.len != sizeof(value))
		return;
	memcpy(&value, new_value.data, sizeof(value));
	for (size_t i = 0; i < sizeof(timings) / sizeof(timings[0]); i++) {
		if (strcmp(timings[i].key, key) == 0)
			timing_set(user_data, i, value);
	}
}

int facts_track(cmap_handle_t cmap, struct membership_facts *facts, char *reterr)
{
	cmap_track_handle_t track;
	cs_error_t err = cmap_track_add(cmap, TOTEM_RUNTIME,
		CMAP_TRACK_ADD | CMAP_TRACK_MODIFY | CMAP_TRACK_PREFIX, timing_changed, facts,
		&track);

	if (err != CS_OK)
		return membership_complain(reterr, -EIO,
			"corosync: its settings can't be followed (%s)", cs_strerror(err));
	return 0;
}

const char *facts_node_name(const struct membership_facts *facts, uint32_t nodeid)
{
	for (uint32_t i = 0; i < facts->n_nodes; i++) {
		if (facts->nodes[i].nodeid == nodeid)
			return facts->nodes[i].name;
	}
	return NULL;
}
