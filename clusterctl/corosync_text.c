/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The text of a corosync.conf for the nodes of a clusterd config. Called by corosync_conf.c and the
 * unit tests. Each value that departs from corosync's default says why in the file itself.
 */
#include "clusterctl/corosync_text.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "clusterctl/takeover.h"

#define KNET_PING_INTERVAL_MS 200
#define KNET_PING_TIMEOUT_MS 600

const struct corosync_profile corosync_profiles[] = {
	{"default", "for machines and virtual machines on a LAN", 500, 0},
	{"fast", "for a quiet LAN of physical hosts", 100, 3},
	{"wan", "for sites far apart; it does not meet two seconds", 5000, 0},
	{0},
};

const struct corosync_profile *corosync_profile_find(const char *name)
{
	for (const struct corosync_profile *profile = corosync_profiles; profile->name; profile++)
		if (strcmp(profile->name, name) == 0)
			return profile;
	return NULL;
}

unsigned corosync_profile_takeover_ms(const struct corosync_profile *profile)
{
	struct takeover_facts facts = {
		.token_ms = profile->token_ms,
		.consensus_ms = profile->token_ms * 6 / 5, /* corosync's default */
	};

	return (unsigned)takeover_estimate(&facts).max_ms;
}

/* ---- addresses ---- */

static bool is_literal(const char *text)
{
	unsigned char buffer[sizeof(struct in6_addr)];

	return inet_pton(AF_INET, text, buffer) == 1 || inet_pton(AF_INET6, text, buffer) == 1;
}

static bool is_ipv6(const char *literal)
{
	return strchr(literal, ':') != NULL;
}

static bool is_loopback(const char *literal)
{
	return strncmp(literal, "127.", 4) == 0 || strcmp(literal, "::1") == 0;
}

/* The first address of the name, in ret_text. NULL, or why not. */
static const char *resolve(const char *name, char ret_text[static INET6_ADDRSTRLEN])
{
	struct addrinfo hints = {.ai_socktype = SOCK_DGRAM}, *found = NULL;
	int rc = getaddrinfo(name, NULL, &hints, &found);

	if (rc != 0)
		return gai_strerror(rc);
	rc = getnameinfo(found->ai_addr, found->ai_addrlen, ret_text, INET6_ADDRSTRLEN, NULL, 0,
		NI_NUMERICHOST);
	freeaddrinfo(found);
	return rc == 0 ? NULL : gai_strerror(rc);
}

struct finder {
	const struct config *config;
	const char *file;
	struct corosync_addresses *addresses;
	FILE *errors;
	unsigned n_errors;
};

static void __attribute__((format(printf, 3, 4)))
complain(struct finder *finder, unsigned node, const char *fmt, ...)
{
	va_list args;

	fprintf(finder->errors, "%s:%d: node %s: ", finder->file, finder->config->nodes[node].line,
		finder->config->core.nodes[node].name);
	va_start(args, fmt);
	vfprintf(finder->errors, fmt, args);
	va_end(args);
	fputc('\n', finder->errors);
	finder->n_errors++;
}

static void find_link(struct finder *finder, unsigned node, unsigned link, const char *name)
{
	char *text = finder->addresses->text[node][link];
	const char *why;

	if (is_literal(name)) {
		snprintf(text, INET6_ADDRSTRLEN, "%s", name);
		return;
	}
	why = resolve(name, text);
	if (why)
		complain(finder, node,
			"the name '%s' does not resolve here (%s): add it to /etc/hosts, or give "
			"the "
			"node 'address = [ \"192.0.2.1\" ]' with its own address",
			name, why);
	else if (is_loopback(text))
		complain(finder, node,
			"the name '%s' resolves to %s, which other machines can't reach: correct "
			"/etc/hosts, or give the node 'address = [ \"192.0.2.1\" ]' with its own "
			"address",
			name, text);
}

static void find_node(struct finder *finder, unsigned node)
{
	const struct config_node *conf = &finder->config->nodes[node];

	if (conf->n_addresses == 0)
		find_link(finder, node, 0, finder->config->core.nodes[node].name);
	for (unsigned link = 0; link < conf->n_addresses; link++)
		find_link(finder, node, link, conf->addresses[link]);
}

static unsigned links_of(const struct config *config, unsigned node)
{
	return config->nodes[node].n_addresses ? config->nodes[node].n_addresses : 1;
}

/* Against the first node, which says how many links there are and of which kind. */
static void compare_node(struct finder *finder, unsigned node)
{
	const struct corosync_addresses *addresses = finder->addresses;
	const struct core_node *nodes = finder->config->core.nodes;

	if (links_of(finder->config, node) != addresses->n_links) {
		complain(finder, node,
			"has %u address%s, but node %s has %u: give each node one for each link, "
			"in "
			"the same order",
			links_of(finder->config, node),
			links_of(finder->config, node) == 1 ? "" : "es", nodes[0].name,
			addresses->n_links);
		return;
	}
	for (unsigned link = 0; link < addresses->n_links; link++) {
		const char *text = addresses->text[node][link];

		if (is_ipv6(text) != is_ipv6(addresses->text[0][link]))
			complain(finder, node,
				"%s and node %s's %s are of different kinds: a link is IPv4 or "
				"IPv6 on "
				"all nodes",
				text, nodes[0].name, addresses->text[0][link]);
		for (unsigned other = 0; other < node; other++)
			if (strcmp(text, addresses->text[other][link]) == 0)
				complain(finder, node, "has the same address as node %s: %s",
					nodes[other].name, text);
	}
}

int corosync_addresses_find(const struct config *config, const char *file,
	struct corosync_addresses *ret_addresses, FILE *errors)
{
	struct corosync_addresses addresses = {.n_links = links_of(config, 0)};
	struct finder finder = {config, file, &addresses, errors, 0};

	for (unsigned node = 0; node < config->core.n_nodes; node++)
		find_node(&finder, node);
	if (finder.n_errors == 0)
		for (unsigned node = 1; node < config->core.n_nodes; node++)
			compare_node(&finder, node);
	if (finder.n_errors)
		return -EINVAL;
	*ret_addresses = addresses;
	return 0;
}

/* ---- the file ---- */

static void write_totem(FILE *out, const struct config *config,
	const struct corosync_addresses *addresses, const struct corosync_profile *profile)
{
	fprintf(out,
		"totem {\n"
		"\tversion: 2\n"
		"\tcluster_name: %s\n"
		"\ttransport: knet\n"
		"\tcrypto_cipher: aes256\n"
		"\tcrypto_hash: sha256\n\n"
		"\t# A dead node's groups are served elsewhere within %u ms: token, consensus (1.2 "
		"x\n"
		"\t# token), and what clusterd needs.\n"
		"\ttoken: %u\n",
		config->core.cluster_name, corosync_profile_takeover_ms(profile),
		profile->token_ms);
	if (profile->token_retransmits)
		fprintf(out,
			"\t# Below 126 ms corosync takes a token only with 3 retransmits or "
			"fewer.\n"
			"\ttoken_retransmits_before_loss_const: %u\n",
			profile->token_retransmits);
	fprintf(out,
		"\t# The default adds 650 ms to the token for each node above two.\n"
		"\ttoken_coefficient: 0\n"
		"\t# Hold the token sooner when nothing is sent: halves the processor time of an "
		"idle ring.\n"
		"\tseqno_unchanged_const: 3\n\n"
		"\t# knet looks at its links each 200 ms; the default time-out, half the token, "
		"is too\n"
		"\t# short for that when the token is below 400 ms, and links break at any "
		"load.\n");
	if (addresses->n_links > 1 && profile->token_ms < KNET_PING_TIMEOUT_MS + 400)
		fprintf(out,
			"\t# With this token a dead link is noticed after the token is lost: it "
			"costs a ring\n"
			"\t# change. With token 1000 or more it costs nothing, but a dead node "
			"more "
			"than 2 s.\n");
	for (unsigned link = 0; link < addresses->n_links; link++)
		fprintf(out,
			"\tinterface {\n"
			"\t\tlinknumber: %u\n"
			"\t\tknet_ping_interval: %d\n"
			"\t\tknet_ping_timeout: %d\n"
			"\t}\n",
			link, KNET_PING_INTERVAL_MS, KNET_PING_TIMEOUT_MS);
	fputs("}\n\n", out);
}

static void write_quorum(FILE *out, const struct config *config)
{
	fputs("quorum {\n\tprovider: corosync_votequorum\n", out);
	if (config->core.n_nodes == 2)
		fputs("\t# Not 'two_node: 1': with it both nodes stay quorate when the link "
		      "between "
		      "them is cut,\n"
		      "\t# and both would serve the same addresses. Without it two nodes run only "
		      "together: add a\n"
		      "\t# third node, or a quorum device (corosync-qdevice(8)), so that one may "
		      "fail.\n",
			out);
	fputs("}\n\n", out);
}

static void write_nodelist(
	FILE *out, const struct config *config, const struct corosync_addresses *addresses)
{
	fputs("nodelist {\n", out);
	for (unsigned node = 0; node < config->core.n_nodes; node++) {
		fprintf(out, "\tnode {\n\t\tname: %s\n\t\tnodeid: %u\n",
			config->core.nodes[node].name, node + 1);
		for (unsigned link = 0; link < addresses->n_links; link++)
			fprintf(out, "\t\tring%u_addr: %s\n", link, addresses->text[node][link]);
		fputs("\t}\n", out);
	}
	fputs("}\n\n", out);
}

char *corosync_text(const struct config *config, const struct corosync_addresses *addresses,
	const struct corosync_profile *profile)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return NULL;
	fprintf(out,
		"# Written by 'clusterctl corosync-conf', profile %s: %s.\n"
		"# The same file, and the same authkey, on all nodes. See corosync.conf(5).\n\n",
		profile->name, profile->what);
	write_totem(out, config, addresses, profile);
	write_quorum(out, config);
	write_nodelist(out, config, addresses);
	fputs("logging {\n\tto_syslog: yes\n\tto_stderr: no\n\ttimestamp: hires\n}\n", out);
	if (fclose(out) != 0) {
		free(text);
		return NULL;
	}
	return text;
}

bool corosync_text_is_example(const char *text)
{
	static const char key[] = "ring0_addr:";
	bool has_loopback = false;

	for (const char *line = text; line; line = strchr(line, '\n')) {
		char value[INET6_ADDRSTRLEN];

		line += strspn(line, " \t\n");
		if (strncmp(line, key, sizeof(key) - 1) != 0)
			continue;
		if (sscanf(line + sizeof(key) - 1, "%45s", value) != 1 || !is_loopback(value))
			return false;
		has_loopback = true;
	}
	return has_loopback;
}
