/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * clusterctl complete: names for the shell's completion, one a line. Not listed in the help.
 */
#include "clusterctl/clusterctl.h"

#include <stdio.h>
#include <string.h>

#include "clusterctl/print.h"

#define COMPLETE_TIMEOUT_MS 1000 /* somebody waits at the Tab key */

static const char complete_help[] = "Usage: clusterctl complete groups|nodes|resources\n\n"
				    "Prints names, one a line, for the shell's completion.\n";

static void print_names(const json_t *array)
{
	size_t i;
	json_t *item;

	json_array_foreach(array, i, item) puts(text_of(item, "name"));
}

static enum ctl_exit complete_run(int argc, char **argv)
{
	const char *what = argc == 2 ? argv[1] : "";
	json_t *doc = NULL, *group;
	enum ctl_exit status;
	size_t i;

	if (strcmp(what, "--help") == 0 || strcmp(what, "-h") == 0)
		return ctl_help(&verb_complete);
	if (strcmp(what, "groups") != 0 && strcmp(what, "nodes") != 0 &&
		strcmp(what, "resources") != 0)
		return ctl_usage(&verb_complete, "say groups, nodes or resources");
	status = client_ask(json_pack("{s:s}", "verb", "status"), COMPLETE_TIMEOUT_MS, &doc);
	if (status != CTL_DONE)
		return status;
	if (strcmp(what, "resources") != 0)
		print_names(json_object_get(doc, what));
	else
		json_array_foreach(json_object_get(doc, "groups"), i, group)
			print_names(json_object_get(group, "resources"));
	json_decref(doc);
	return CTL_DONE;
}

const struct verb verb_complete = {"complete", NULL, complete_help, complete_run};
