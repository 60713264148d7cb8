/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * clusterctl check: does a takeover with corosync's running values meet two seconds?
 */
#include "clusterctl/clusterctl.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>

#include "clusterctl/print.h"
#include "clusterctl/takeover.h"

static const char check_help[] =
	"Usage: clusterctl check [--json]\n\n"
	"Tells how long a dead node's groups are down, from the token and consensus time-outs "
	"that\n"
	"corosync runs with, whether that meets two seconds, and what else in corosync's settings\n"
	"is not as it should be.\n\n"
	"  --json          the same as a document\n"
	"  -h, --help      this text\n\n"
	"Exit status: 0 it meets two seconds; 1 it doesn't; else as in clusterctl(8).\n";

static int64_t integer_of(const json_t *doc, const char *key)
{
	return json_integer_value(json_object_get(doc, key));
}

static struct takeover_facts facts_of(const json_t *doc)
{
	return (struct takeover_facts){
		.token_ms = integer_of(doc, "token_ms"),
		.consensus_ms = integer_of(doc, "consensus_ms"),
		.hold_ms = integer_of(doc, "hold_ms"),
		.token_retransmits = integer_of(doc, "token_retransmits"),
		.knet_ping_interval_ms = integer_of(doc, "knet_ping_interval_ms"),
		.knet_ping_timeout_ms = integer_of(doc, "knet_ping_timeout_ms"),
		.expected_votes = integer_of(doc, "expected_votes"),
		.n_nodes = integer_of(doc, "n_nodes"),
		.two_node = json_is_true(json_object_get(doc, "two_node")),
		.encrypted = json_is_true(json_object_get(doc, "encrypted")),
	};
}

static void print_check(const char *cluster, const struct takeover_facts *facts)
{
	struct takeover_estimate estimate = takeover_estimate(facts);
	char warnings[TAKEOVER_WARNINGS_MAX][TAKEOVER_WARNING_SIZE];
	size_t n_warnings = takeover_warnings(facts, warnings);
	struct style style = style_get();

	printf("%sCluster %s%s: %" PRId64 " node%s; corosync runs with token %" PRId64
	       " ms, consensus %" PRId64 " ms\n\n",
		style.bold, cluster, style.off, facts->n_nodes, facts->n_nodes == 1 ? "" : "s",
		facts->token_ms, facts->consensus_ms);
	printf("When a node dies, its virtual IPs are back after %.2f to %.2f s:\n",
		(double)estimate.min_ms / 1000, (double)estimate.max_ms / 1000);
	printf("  its token is missed        %5" PRId64 " to %5" PRId64 " ms\n",
		estimate.ring_min_ms - facts->consensus_ms, facts->token_ms);
	printf("  a ring forms without it    %5" PRId64 " ms more\n", facts->consensus_ms);
	printf("  clusterd takes over        %5d to %5d ms more\n", TAKEOVER_OWN_MIN_MS,
		TAKEOVER_OWN_MAX_MS);
	printf("What else a group starts, such as a service, comes on top.\n\n");
	if (estimate.is_met)
		printf("%sThis meets two seconds.%s\n", style.good, style.off);
	else
		printf("%sThis does NOT meet two seconds.%s The token may be %" PRId64
		       " ms at most. 'clusterctl corosync-conf'\nwrites a corosync.conf that meets "
		       "them: "
		       "install it on all nodes, and restart corosync there.\n",
			style.bad, style.off, estimate.token_limit_ms);
	for (size_t i = 0; i < n_warnings; i++)
		printf("%s%swarning:%s %s\n", i ? "" : "\n", style.busy, style.off, warnings[i]);
}

static int print_check_json(const json_t *doc, const struct takeover_facts *facts)
{
	struct takeover_estimate estimate = takeover_estimate(facts);
	char warnings[TAKEOVER_WARNINGS_MAX][TAKEOVER_WARNING_SIZE];
	size_t n_warnings = takeover_warnings(facts, warnings);
	json_t *texts = json_array(), *result;

	for (size_t i = 0; i < n_warnings; i++)
		json_array_append_new(texts, json_string(warnings[i]));
	result = json_pack("{s:b, s:b, s:I, s:I, s:I, s:I, s:o, s:O}", "ok", 1, "meets_two_seconds",
		estimate.is_met, "limit_ms", (json_int_t)TAKEOVER_LIMIT_MS, "takeover_min_ms",
		(json_int_t)estimate.min_ms, "takeover_max_ms", (json_int_t)estimate.max_ms,
		"token_limit_ms", (json_int_t)estimate.token_limit_ms, "warnings", texts,
		"corosync", doc);
	if (!result) {
		ctl_error("out of memory");
		return -1;
	}
	json_object_del(json_object_get(result, "corosync"), "ok");
	print_json(result);
	json_decref(result);
	return 0;
}

static enum ctl_exit check_run(int argc, char **argv)
{
	static const struct option options[] = {
		{"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'}, {0}};
	int opt, as_json = 0;
	struct takeover_facts facts;
	json_t *doc = NULL;
	enum ctl_exit status;

	while ((opt = getopt_long(argc, argv, "h", options, NULL)) != -1)
		switch (opt) {
		case 'j': as_json = 1; break;
		case 'h': return ctl_help(&verb_check);
		default: return ctl_usage(&verb_check, NULL);
		}
	if (optind < argc)
		return ctl_usage(&verb_check, "'%s' is one argument too many", argv[optind]);
	status = client_ask(json_pack("{s:s}", "verb", "facts"), CLIENT_TIMEOUT_MS, &doc);
	if (status != CTL_DONE)
		return status;
	facts = facts_of(doc);
	status = takeover_estimate(&facts).is_met ? CTL_DONE : CTL_REFUSED;
	if (!as_json)
		print_check(text_of(doc, "cluster"), &facts);
	else if (print_check_json(doc, &facts) < 0)
		status = CTL_REFUSED;
	json_decref(doc);
	return status;
}

const struct verb verb_check = {
	"check", "how fast a takeover is with corosync's running values", check_help, check_run};
