/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * clusterctl status: the cluster as the local node sees it, a table or the document itself.
 */
#include "clusterctl/clusterctl.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "clusterctl/print.h"

static const char status_help[] =
	"Usage: clusterctl status [--json]\n\n"
	"Shows the nodes, the groups with their resources, and what is wrong, in words.\n\n"
	"  --json          the whole document (docs/control-protocol.md tells every field)\n"
	"  -h, --help      this text\n\n"
	"Exit status: 0 when clusterd answered, whatever it says; else as in clusterctl(8).\n";

/* What each phase but "member" means to the user. */
static const char *phase_problem(const char *phase)
{
	static const char *const table[][2] = {
		{"waiting-for-corosync", "clusterd waits for corosync: 'systemctl status corosync' "
					 "tells whether it runs"},
		{"joining", "this node is joining the cluster; it takes part in a moment"},
		{"no-quorum",
			"this node has no quorum: nothing may be started here until more nodes "
			"are reachable; 'corosync-quorumtool' lists them"},
		{"differs",
			"this node's config differs from the cluster's: it takes part in nothing "
			"until they agree; copy the config of the others here, then 'systemctl "
			"reload clusterd'"},
		{"leaving", "clusterd on this node is stopping"},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (strcmp(phase, table[i][0]) == 0)
			return table[i][1];
	return NULL;
}

static void print_head(const json_t *doc, const struct style *style)
{
	int quorate = json_is_true(json_object_get(doc, "quorate"));
	const char *ring = text_of(doc, "ring");

	printf("%sCluster %s%s, seen from %s: %s%s%s", style->bold, text_of(doc, "cluster"),
		style->off, text_of(doc, "node"), quorate ? style->good : style->bad,
		quorate ? "quorate" : "NO QUORUM", style->off);
	if (*ring)
		printf(", ring %s", ring);
	printf("\n");
}

static void print_nodes(const json_t *doc, const struct style *style)
{
	const json_t *nodes = json_object_get(doc, "nodes");
	int name_width = width_of(nodes, "name", 2), state_width = width_of(nodes, "state", 6);
	size_t i;
	json_t *node;

	printf("\n%sNodes%s\n", style->bold, style->off);
	json_array_foreach(nodes, i, node)
	{
		const char *name = text_of(node, "name"), *state = text_of(node, "state");
		int is_own = strcmp(name, text_of(doc, "node")) == 0;

		printf("  %-*s  %s%-*s%s%s\n", name_width, name, style_of_state(style, state),
			is_own ? state_width : 0, state, style->off, is_own ? "  (this node)" : "");
	}
}

static void print_resources(const json_t *group, const struct style *style)
{
	const json_t *resources = json_object_get(group, "resources");
	int name_width = width_of(resources, "name", 2),
	    type_width = width_of(resources, "type", 4);
	int state_width = width_of(resources, "state", 7);
	size_t i;
	json_t *res;

	json_array_foreach(resources, i, res)
	{
		const char *state = text_of(res, "state");

		printf("    %-*s  %s%-*s%s  %-*s  %s\n", name_width, text_of(res, "name"),
			style_of_state(style, state), state_width, state, style->off, type_width,
			text_of(res, "type"), text_of(res, "what"));
	}
}

static void print_groups(const json_t *doc, const struct style *style)
{
	const json_t *groups = json_object_get(doc, "groups");
	int name_width = width_of(groups, "name", 4);
	size_t i;
	json_t *group;

	printf("\n%sGroups%s\n", style->bold, style->off);
	if (json_array_size(groups) == 0)
		printf("  none in the config\n");
	json_array_foreach(groups, i, group)
	{
		const char *state = text_of(group, "state");
		const char *owner = text_of(group, "owner"), *target = text_of(group, "target");

		printf("  %s%-*s%s  %s%s%s", style->bold, name_width, text_of(group, "name"),
			style->off, style_of_state(style, state), state, style->off);
		if (*owner)
			printf(" on %s", owner);
		if (*target && strcmp(owner, target) != 0)
			printf(", %s to %s", *owner ? "moving" : "going", target);
		if (!json_is_true(json_object_get(group, "enabled")))
			printf(" (taken offline by an administrator)");
		printf("%s  preferred: ", style->faint);
		print_list(json_object_get(group, "preferred_owners"), "any node");
		printf("%s\n", style->off);
		print_resources(group, style);
	}
}

/* One line below the heading that the first one brings. */
static void print_problem(
	int *n, const struct style *style, const char *what, const char *name, const char *text)
{
	if ((*n)++ == 0)
		printf("\n%s%sProblems%s\n", style->bold, style->bad, style->off);
	printf("  %s%s%s%s\n", what, name, *what || *name ? ": " : "", text);
}

static void print_node_problems(const json_t *doc, const struct style *style, int *n)
{
	size_t i;
	json_t *node;

	json_array_foreach(json_object_get(doc, "nodes"), i, node)
	{
		const char *state = text_of(node, "state"), *note = text_of(node, "note");

		if (strcmp(state, "differs") == 0)
			print_problem(n, style, "node ", text_of(node, "name"),
				*note ? note : "its config differs from the cluster's");
		else if (strcmp(state, "offline") == 0)
			print_problem(n, style, "node ", text_of(node, "name"),
				"offline: its machine, its corosync or its clusterd does not run, "
				"or "
				"the network to it is cut");
		else if (*note)
			print_problem(n, style, "node ", text_of(node, "name"), note);
	}
}

static void print_group_problems(const json_t *doc, const struct style *style, int *n)
{
	size_t i;
	json_t *group;

	json_array_foreach(json_object_get(doc, "groups"), i, group)
	{
		const char *state = text_of(group, "state"), *problem = text_of(group, "problem");

		if (!*problem && (strcmp(state, "failed") == 0 || strcmp(state, "blocked") == 0))
			problem = text_of(group, "why");
		if (*problem)
			print_problem(n, style, "group ", text_of(group, "name"), problem);
	}
}

static void print_status(const json_t *doc)
{
	struct style style = style_get();
	const char *phase = phase_problem(text_of(doc, "phase"));
	int n_problems = 0;

	print_head(doc, &style);
	print_nodes(doc, &style);
	print_groups(doc, &style);
	if (phase)
		print_problem(&n_problems, &style, "", "", phase);
	if (*text_of(doc, "difference"))
		print_problem(
			&n_problems, &style, "the difference", "", text_of(doc, "difference"));
	if (*text_of(doc, "reload"))
		print_problem(&n_problems, &style, "", "", text_of(doc, "reload"));
	print_node_problems(doc, &style, &n_problems);
	print_group_problems(doc, &style, &n_problems);
}

static enum ctl_exit status_run(int argc, char **argv)
{
	static const struct option options[] = {
		{"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'}, {0}};
	int opt, as_json = 0;
	json_t *doc = NULL;
	enum ctl_exit status;

	while ((opt = getopt_long(argc, argv, "h", options, NULL)) != -1)
		switch (opt) {
		case 'j': as_json = 1; break;
		case 'h': return ctl_help(&verb_status);
		default: return ctl_usage(&verb_status, NULL);
		}
	if (optind < argc)
		return ctl_usage(&verb_status, "'%s' is one argument too many", argv[optind]);
	status = client_ask(json_pack("{s:s}", "verb", "status"), CLIENT_TIMEOUT_MS, &doc);
	if (status != CTL_DONE)
		return status;
	if (as_json)
		print_json(doc);
	else
		print_status(doc);
	json_decref(doc);
	return CTL_DONE;
}

const struct verb verb_status = {
	"status", "nodes, groups and resources, and what is wrong", status_help, status_run};
