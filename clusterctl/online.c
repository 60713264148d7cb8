/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * clusterctl online and offline: whether a group should run at all.
 */
#include <getopt.h>

#include "clusterctl/order.h"

static const char online_help[] =
	"Usage: clusterctl online GROUP [--wait[=SECONDS]]\n\n"
	"Lets a group run again: after 'offline', or after it failed (the nodes where it failed "
	"are\n"
	"tried again).\n\n"
	"  --wait[=SECONDS]\n"
	"                  come back when it runs, or failed, or after so long (60)\n"
	"  -h, --help      this text\n\n"
	"Exit status: 0 decided (with --wait: it runs); 1 refused or failed; 4 no quorum;\n"
	"5 --wait ran out.\n";

static const char offline_help[] =
	"Usage: clusterctl offline GROUP [--wait[=SECONDS]]\n\n"
	"Stops a group, and keeps it stopped until 'clusterctl online GROUP'.\n\n"
	"  --wait[=SECONDS]\n"
	"                  come back when it has stopped, or failed, or after so long (60)\n"
	"  -h, --help      this text\n\n"
	"Exit status: 0 decided (with --wait: it has stopped); 1 refused or failed; 4 no quorum;\n"
	"5 --wait ran out.\n";

static enum ctl_exit order_run(const struct verb *verb, int argc, char **argv)
{
	static const struct option options[] = {
		{"wait", optional_argument, NULL, 'w'}, {"help", no_argument, NULL, 'h'}, {0}};
	struct order order = {.verb = verb->name};
	int opt;

	while ((opt = getopt_long(argc, argv, "h", options, NULL)) != -1)
		switch (opt) {
		case 'w':
			if (order_parse_wait(optarg, &order.wait_s) < 0)
				return ctl_usage(verb,
					"--wait=%s: say 1 to %d seconds, or --wait alone", optarg,
					ORDER_WAIT_MAX_S);
			break;
		case 'h': return ctl_help(verb);
		default: return ctl_usage(verb, NULL);
		}
	if (optind + 1 != argc)
		return ctl_usage(verb, "give the name of one group (and seconds as --wait=5)");
	order.name = argv[optind];
	return order_send(&order);
}

static enum ctl_exit online_run(int argc, char **argv)
{
	return order_run(&verb_online, argc, argv);
}

static enum ctl_exit offline_run(int argc, char **argv)
{
	return order_run(&verb_offline, argc, argv);
}

const struct verb verb_online = {"online", "let a group run again", online_help, online_run};
const struct verb verb_offline = {
	"offline", "stop a group, and keep it stopped", offline_help, offline_run};
