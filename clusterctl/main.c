/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * clusterctl: the command line of clusterd. One file for each verb; this one finds it.
 */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "clusterctl/clusterctl.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct verb *const verbs[] = {
	&verb_status,
	&verb_failover,
	&verb_online,
	&verb_offline,
	&verb_history,
	&verb_check,
	&verb_corosync_conf,
	&verb_complete,
};
#define N_VERBS (sizeof(verbs) / sizeof(verbs[0]))

void ctl_error(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	fputs("clusterctl: ", stderr);
	vfprintf(stderr, fmt, args);
	fputc('\n', stderr);
	va_end(args);
}

enum ctl_exit ctl_usage(const struct verb *verb, const char *fmt, ...)
{
	va_list args;

	if (fmt) {
		va_start(args, fmt);
		fprintf(stderr, "clusterctl %s: ", verb->name);
		vfprintf(stderr, fmt, args);
		fputc('\n', stderr);
		va_end(args);
	}
	fprintf(stderr, "'clusterctl %s --help' tells how it is used.\n", verb->name);
	return CTL_USAGE;
}

enum ctl_exit ctl_help(const struct verb *verb)
{
	fputs(verb->help, stdout);
	return CTL_DONE;
}

static void print_help(FILE *out)
{
	fputs("Usage: clusterctl VERB [OPTION]…\n\n"
	      "Looks at the cluster and gives it orders, through the clusterd of this machine.\n\n",
		out);
	for (size_t i = 0; i < N_VERBS; i++)
		if (verbs[i]->summary)
			fprintf(out, "  %-15s %s\n", verbs[i]->name, verbs[i]->summary);
	fputs("\n"
	      "  --help          this text; 'clusterctl VERB --help' tells about a verb\n"
	      "  --version       the version\n\n"
	      "Exit status: 0 done; 1 refused or failed; 2 wrong command line; 3 clusterd can't "
	      "be\n"
	      "reached; 4 no quorum; 5 --wait ran out. More in clusterctl(8).\n",
		out);
}

/* A full disk or a closed pipe must not look like success. */
static enum ctl_exit finish(enum ctl_exit status)
{
	int failed = fflush(stdout) != 0;

	if ((failed || ferror(stdout)) && status == CTL_DONE) {
		ctl_error("the output could not be written");
		return CTL_REFUSED;
	}
	return status;
}

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : NULL;

	if (!name) {
		print_help(stderr);
		return CTL_USAGE;
	}
	if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
		print_help(stdout);
		return finish(CTL_DONE);
	}
	if (strcmp(name, "--version") == 0) {
		printf("clusterctl %s\n", PACKAGE_VERSION);
		return finish(CTL_DONE);
	}
	for (size_t i = 0; i < N_VERBS; i++)
		if (strcmp(name, verbs[i]->name) == 0)
			return finish(verbs[i]->run(argc - 1, argv + 1));
	ctl_error("there is no verb '%s'; 'clusterctl --help' lists them", name);
	return CTL_USAGE;
}
