/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reading and checking the config file: the cluster and its nodes, and what holds over all of it.
 *
 * A config leaves this file whole and checked, or not at all. Nothing here depends on the machine
 * it runs on, so all nodes agree on whether a file is right. Called at start, at a reload, and by
 * `clusterd -n`.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "clusterd/config_reader.h"

const struct param_value *config_param(const struct config_resource *conf, const char *key)
{
	size_t i = 0;

	while (conf->type->params[i].key && strcmp(conf->type->params[i].key, key) != 0)
		i++;
	assert(conf->type->params[i].key);
	return &conf->params[i];
}

static void resource_fini(struct config_resource *res)
{
	if (!res->params)
		return;
	for (size_t i = 0; res->type->params[i].key; i++)
		free(res->params[i].str);
	free(res->params);
}

void config_free(struct config *config)
{
	if (!config)
		return;
	for (uint32_t i = 0; i < config->core.n_nodes; i++) {
		for (uint32_t j = 0; j < config->nodes[i].n_addresses; j++)
			free(config->nodes[i].addresses[j]);
	}
	for (uint32_t i = 0; i < config->core.n_groups; i++) {
		for (uint32_t j = 0; j < config->core.groups[i].n_resources; j++)
			resource_fini(&config->groups[i].resources[j]);
		free(config->groups[i].resources);
		free(config->core.groups[i].resources);
	}
	free(config->groups);
	free(config->core.groups);
	free(config->core.text);
	free(config);
}

/* A network address in its one spelling, or a host name, which is taken as it is. */
static const char *check_address(struct config_reader *reader, const config_setting_t *setting,
	const char *object, char buf[static INET6_ADDRSTRLEN])
{
	static const char host_chars[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
					 "0123456789.-_";
	unsigned char raw[sizeof(struct in6_addr)];
	const char *text;

	if (!config_get_string(reader, setting, object, &text))
		return NULL;
	if (inet_pton(AF_INET, text, raw) == 1)
		return inet_ntop(AF_INET, raw, buf, INET6_ADDRSTRLEN);
	if (inet_pton(AF_INET6, text, raw) == 1)
		return inet_ntop(AF_INET6, raw, buf, INET6_ADDRSTRLEN);
	if (*text && strlen(text) <= 253 && text[strspn(text, host_chars)] == '\0' &&
		text[strspn(text, "0123456789.")] != '\0')
		return text;
	config_error_at(reader, setting, object,
		"address \"%.80s\" is no address; write it without a prefix length, such as "
		"10.0.0.1 or fd00::1",
		text);
	return NULL;
}

static void read_address(struct config_reader *reader, const config_setting_t *setting,
	const char *object, uint32_t index)
{
	struct config_node *node = &reader->config->nodes[index];
	char buf[INET6_ADDRSTRLEN];
	const char *address = check_address(reader, setting, object, buf);

	if (!address)
		return;
	node->addresses[node->n_addresses] = strdup(address);
	if (!node->addresses[node->n_addresses]) {
		reader->no_memory = true;
		return;
	}
	node->n_addresses++;
	config_hold_copy(reader, &reader->address_holders, "node", reader->node_names[index],
		address, setting);
}

static void read_addresses(struct config_reader *reader, const config_setting_t *setting,
	const char *object, uint32_t index)
{
	int type = config_setting_type(setting), n = config_setting_length(setting);

	if (type == CONFIG_TYPE_STRING) {
		read_address(reader, setting, object, index);
		return;
	}
	if (type != CONFIG_TYPE_ARRAY && type != CONFIG_TYPE_LIST) {
		config_wrong_type(reader, setting, object,
			"an address in quotes, or several in brackets: [ \"10.0.0.1\", "
			"\"10.1.0.1\" ]");
		return;
	}
	if (n == 0 || n > CONFIG_MAX_LINKS) {
		config_error_at(reader, setting, object,
			"has %d addresses; write 1 to %d, one for each link, or leave the key out",
			n, CONFIG_MAX_LINKS);
		return;
	}
	for (int i = 0; i < n; i++)
		read_address(reader, config_setting_get_elem(setting, (unsigned)i), object, index);
}

static void read_node(struct config_reader *reader, const config_setting_t *node, uint32_t index)
{
	static const char *const keys[] = {"name", "address", NULL};
	const config_setting_t *setting;
	char object[CONFIG_OBJECT_SIZE];
	const char *name;

	reader->config->nodes[index].line = (int)node->line;
	if (config_setting_type(node) != CONFIG_TYPE_GROUP) {
		snprintf(object, sizeof(object), "node #%u", index + 1);
		config_wrong_type(reader, node, object, "{ name = \"...\"; }");
		return;
	}
	name = config_get_name(reader, node, "node", index, object);
	if (name) {
		reader->node_names[index] = name;
		snprintf(reader->config->core.nodes[index].name, CORE_NAME_SIZE, "%s", name);
		config_hold(reader, &reader->node_holders, "node", name, name, node, 0);
	}
	config_check_keys(reader, node, object, keys);
	setting = config_setting_get_member(node, "address");
	if (setting)
		read_addresses(reader, setting, object, index);
}

/* corosync refuses a nodelist whose nodes differ in their number of links. */
static void check_links(struct config_reader *reader, const config_setting_t *nodes)
{
	const struct config *config = reader->config;
	uint32_t first = config->nodes[0].n_addresses ? config->nodes[0].n_addresses : 1;

	for (uint32_t i = 1; i < config->core.n_nodes; i++) {
		uint32_t n = config->nodes[i].n_addresses ? config->nodes[i].n_addresses : 1;
		char object[CONFIG_OBJECT_SIZE];

		if (n == first)
			continue;
		snprintf(object, sizeof(object), "node %s", config->core.nodes[i].name);
		config_error_at(reader, config_setting_get_elem(nodes, i), object,
			"has %u link%s, but node %s has %u; give all nodes an address on each link",
			n, n == 1 ? "" : "s", config->core.nodes[0].name, first);
	}
}

static void read_nodes(struct config_reader *reader, const config_setting_t *nodes)
{
	uint32_t errors_before = reader->report->n_errors, n;

	if (config_setting_type(nodes) != CONFIG_TYPE_LIST) {
		config_wrong_type(
			reader, nodes, NULL, "a list: ( { name = \"n1\"; }, { name = \"n2\"; } )");
		return;
	}
	n = (uint32_t)config_setting_length(nodes);
	if (n == 0) {
		config_error_at(reader, nodes, NULL,
			"nodes: the list is empty; add the nodes of corosync's nodelist");
		return;
	}
	if (n > CORE_MAX_NODES) {
		config_error_at(reader, nodes, NULL,
			"nodes: %u nodes are more than the %d a cluster may have", n,
			CORE_MAX_NODES);
		return;
	}
	reader->config->core.n_nodes = n;
	reader->nodes_known = true;
	for (uint32_t i = 0; i < n; i++) {
		read_node(reader, config_setting_get_elem(nodes, i), i);
		reader->nodes_known &= reader->node_names[i] != NULL;
	}
	if (reader->report->n_errors == errors_before)
		check_links(reader, nodes);
}

static void read_cluster(struct config_reader *reader, const config_setting_t *cluster)
{
	static const char *const keys[] = {"name", "unsafe_without_fencing", NULL};
	struct config *config = reader->config;
	const config_setting_t *setting;
	const char *name;

	if (config_setting_type(cluster) != CONFIG_TYPE_GROUP) {
		config_wrong_type(reader, cluster, NULL, "{ name = \"...\"; }");
		return;
	}
	config_check_keys(reader, cluster, "cluster", keys);
	setting = config_setting_get_member(cluster, "name");
	if (!setting)
		config_error_at(reader, cluster, "cluster",
			"has no name; add name = \"...\", the cluster_name of corosync.conf");
	else if (config_get_valid_name(reader, setting, "cluster", &name))
		snprintf(config->core.cluster_name, CORE_NAME_SIZE, "%s", name);
	setting = config_setting_get_member(cluster, "unsafe_without_fencing");
	if (setting)
		config_get_bool(reader, setting, "cluster", &config->unsafe_without_fencing);
}

/* With two nodes corosync either keeps both halves of a cut cluster quorate, or neither. */
static void check_two_nodes(struct config_reader *reader, const config_setting_t *nodes)
{
	if (reader->config->core.n_nodes != 2 || reader->config->unsafe_without_fencing)
		return;
	config_error_at(reader, nodes, "cluster",
		"of two nodes neither can tell a dead partner from a cut link, so after a cut both "
		"would serve the same addresses; add a third node (a small one that serves "
		"nothing will do), or accept this with unsafe_without_fencing = true in cluster");
}

static void read_root(struct config_reader *reader, const config_setting_t *root)
{
	static const char *const keys[] = {"cluster", "nodes", "groups", NULL};
	const config_setting_t *setting;

	config_check_keys(reader, root, NULL, keys);
	setting = config_setting_get_member(root, "cluster");
	if (setting)
		read_cluster(reader, setting);
	else
		config_report_add(reader->report, false, 0, NULL,
			"cluster is missing; add cluster = { name = \"...\"; };");
	setting = config_setting_get_member(root, "nodes");
	if (setting) {
		read_nodes(reader, setting);
		check_two_nodes(reader, setting);
	} else {
		config_report_add(reader->report, false, 0, NULL,
			"nodes is missing; add nodes = ( { name = \"n1\"; }, { name = \"n2\"; } "
			");");
	}
	setting = config_setting_get_member(root, "groups");
	if (setting)
		config_read_groups(reader, setting);
	config_check_unique(reader);
}

static void report_syntax(struct config_reader *reader)
{
	const char *text = config_error_text(&reader->lib), *file = config_error_file(&reader->lib);
	char buf[PATH_MAX];
	const char *hint;

	if (strstr(text, "duplicate"))
		hint = "this key stands twice in its group; take one out";
	else if (strstr(text, "mismatched"))
		hint = "an array in [ ] holds values of one type only; write all of them alike";
	else
		hint = "look here and a line above: settings read `key = value;`, and a comma "
		       "stands between the entries of a list, none after the last";
	if (file)
		reader->report->file = config_join(reader->dir, file, buf, sizeof(buf));
	config_report_add(
		reader->report, false, config_error_line(&reader->lib), NULL, "%s; %s", text, hint);
	reader->report->file = reader->file;
}

static int read_text(struct config_reader *reader, const char *text, struct config **ret_config)
{
	struct config_report *report = reader->report;
	uint32_t errors_before = report->n_errors;

	config_init(&reader->lib);
	if (reader->dir)
		config_set_include_dir(&reader->lib, reader->dir);
	reader->config = calloc(1, sizeof(*reader->config));
	reader->no_memory = !reader->config;
	if (reader->config && config_scan(reader->file, reader->dir, text, report)) {
		if (config_read_string(&reader->lib, text) == CONFIG_TRUE)
			read_root(reader, config_root_setting(&reader->lib));
		else
			report_syntax(reader);
	}
	if (!reader->no_memory && report->n_errors == errors_before)
		reader->no_memory = config_fill_digests(reader->config) < 0;
	if (reader->no_memory)
		config_report_add(report, false, 0, NULL, "out of memory; free some and try again");
	config_report_finish(report);

	config_holders_fini(&reader->node_holders);
	config_holders_fini(&reader->name_holders);
	config_holders_fini(&reader->address_holders);
	config_destroy(&reader->lib);
	if (report->n_errors > errors_before) {
		config_free(reader->config);
		return -EINVAL;
	}
	*ret_config = reader->config;
	return 0;
}

int config_parse(const char *file, const char *text, struct config **ret_config,
	struct config_report *report)
{
	struct config_reader reader = {.file = file, .report = report};

	report->file = file;
	if (strlen(text) > CONFIG_FILE_MAX) {
		config_report_add(report, false, 0, NULL, "is larger than %d MiB; make it smaller",
			CONFIG_FILE_MAX >> 20);
		return -EINVAL;
	}
	return read_text(&reader, text, ret_config);
}

static int read_failed(struct config_report *report, int rc)
{
	if (rc == -EFBIG)
		config_report_add(report, false, 0, NULL, "is larger than %d MiB; make it smaller",
			CONFIG_FILE_MAX >> 20);
	else
		config_report_add(report, false, 0, NULL,
			"cannot be read: %s; mend that, or name another file", strerror(-rc));
	return -EINVAL;
}

int config_load(const char *file, struct config **ret_config, struct config_report *report)
{
	struct config_reader reader = {.file = file, .report = report};
	const char *slash = strrchr(file, '/');
	char *text;
	size_t len;
	int rc;

	report->file = file;
	rc = config_slurp(file, CONFIG_FILE_MAX, &text, &len);
	if (rc < 0)
		return read_failed(report, rc);
	if (strlen(text) != len) {
		config_report_add(report, false, 0, NULL,
			"is no text file, it holds a NUL byte; name the right one with -c");
		free(text);
		return -EINVAL;
	}
	reader.dir = slash ? strndup(file, (size_t)(slash - file)) : strdup(".");
	if (reader.dir) {
		rc = read_text(&reader, text, ret_config);
	} else {
		config_report_add(report, false, 0, NULL, "out of memory");
		rc = -EINVAL;
	}
	free(reader.dir);
	free(text);
	return rc;
}
