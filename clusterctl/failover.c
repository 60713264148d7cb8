/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * clusterctl failover: moves a group now. It leaves nothing behind: no ban, no pin.
 */
#include <getopt.h>

#include "clusterctl/order.h"

static const char failover_help[] =
	"Usage: clusterctl failover NAME [--to NODE] [--wait[=SECONDS]]\n\n"
	"Moves a group to another node. NAME is a group, or a resource of it. Nothing is left\n"
	"behind: no ban, no pin; and failback does not undo it.\n\n"
	"  --to NODE       to this node; without it, to the one the policy likes next\n"
	"  --wait[=SECONDS]\n"
	"                  come back when it is done, or failed, or after so long (60)\n"
	"  -h, --help      this text\n\n"
	"Exit status: 0 decided (with --wait: done); 1 refused or failed; 4 no quorum;\n"
	"5 --wait ran out, the move goes on.\n";

static enum ctl_exit failover_run(int argc, char **argv)
{
	static const struct option options[] = {{"to", required_argument, NULL, 't'},
		{"wait", optional_argument, NULL, 'w'}, {"help", no_argument, NULL, 'h'}, {0}};
	struct order order = {.verb = "failover"};
	int opt;

	while ((opt = getopt_long(argc, argv, "h", options, NULL)) != -1)
		switch (opt) {
		case 't': order.to = optarg; break;
		case 'w':
			if (order_parse_wait(optarg, &order.wait_s) < 0)
				return ctl_usage(&verb_failover,
					"--wait=%s: say 1 to %d seconds, or --wait alone", optarg,
					ORDER_WAIT_MAX_S);
			break;
		case 'h': return ctl_help(&verb_failover);
		default: return ctl_usage(&verb_failover, NULL);
		}
	if (optind + 1 != argc)
		return ctl_usage(&verb_failover,
			"give the name of one group or resource (and seconds as --wait=5)");
	order.name = argv[optind];
	return order_send(&order);
}

const struct verb verb_failover = {
	"failover", "move a group to another node", failover_help, failover_run};
