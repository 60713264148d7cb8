/* SPDX-License-Identifier: GPL-2.0-or-later */
/* clusterd's command line; see clusterd(8). */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "clusterd/daemon.h"
#include "clusterd/log.h"

#define EXIT_USAGE 2
#define FILES_WANTED 4096 /* RUNNER_CHILDREN_MAX children, and what else there is */

struct options {
	const char *config_file, *state_dir;
	bool foreground, check, verbose;
};

static void usage(FILE *file)
{
	fputs("usage: clusterd [-f] [-v] [-c FILE] [-s STATEDIR]\n"
	      "       clusterd -n [-v] [-c FILE]\n"
	      "  -f  stay in the foreground, log to standard error\n"
	      "  -c  the config file (default " SYSCONFDIR "/clusterd/clusterd.conf)\n"
	      "  -s  the state folder (default " LOCALSTATEDIR "/lib/clusterd)\n"
	      "  -n  check the config and exit; with -v print it in canonical form\n"
	      "  -v  log more\n"
	      "  -V  print the version\n",
		file);
}

/* -1: go on; else the exit status. */
static int read_options(int argc, char **argv, struct options *options)
{
	static const struct option longs[] = {
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},
		{0},
	};
	int option;

	while ((option = getopt_long(argc, argv, "fc:s:nvhV", longs, NULL)) != -1) {
		switch (option) {
		case 'f': options->foreground = true; break;
		case 'c': options->config_file = optarg; break;
		case 's': options->state_dir = optarg; break;
		case 'n': options->check = true; break;
		case 'v': options->verbose = true; break;
		case 'h': usage(stdout); return 0;
		case 'V': puts("clusterd " PACKAGE_VERSION); return 0;
		default: usage(stderr); return EXIT_USAGE;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "clusterd: unexpected argument \"%s\"\n", argv[optind]);
		usage(stderr);
		return EXIT_USAGE;
	}
	return -1;
}

static int check(const struct options *options, const struct config *config)
{
	char *text;

	if (!options->verbose) {
		printf("%s: fine: %u nodes, %u groups\n", options->config_file,
			config->core.n_nodes, config->core.n_groups);
		return 0;
	}
	text = config_print(config);
	if (!text)
		return 1;
	fputs(text, stdout);
	free(text);
	return 0;
}

/* As corosync does: a busy machine must not delay a takeover. The runner makes its children
 * ordinary processes; each of them needs two descriptors. */
static void claim_resources(void)
{
	struct sched_param param = {.sched_priority = sched_get_priority_min(SCHED_RR) + 1};
	struct rlimit files;

	if (sched_setscheduler(0, SCHED_RR, &param) < 0)
		log_info("no real-time priority: %s; takeovers may be slower under load",
			strerror(errno));
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		/* No more than that: the services that are started here inherit it, and some of
		 * them go through all numbers up to it. */
		rlim_t wanted = files.rlim_max < FILES_WANTED ? files.rlim_max : FILES_WANTED;

		if (files.rlim_cur < wanted)
			files.rlim_cur = wanted;
		setrlimit(RLIMIT_NOFILE, &files);
	}
}

/* In the background the working folder is "/": relative paths must hold there as well. */
static void make_absolute(const char *path, char *ret_path, size_t size)
{
	char folder[PATH_MAX];
	bool is_relative = path[0] != '/' && getcwd(folder, sizeof(folder));

	snprintf(ret_path, size, "%s%s%s", is_relative ? folder : "", is_relative ? "/" : "", path);
}

int main(int argc, char **argv)
{
	struct options options = {
		.config_file = SYSCONFDIR "/clusterd/clusterd.conf",
		.state_dir = LOCALSTATEDIR "/lib/clusterd",
	};
	char config_file[2 * PATH_MAX], state_dir[2 * PATH_MAX];
	struct config_report report = {0};
	struct config *config;
	int rc = read_options(argc, argv, &options);

	if (rc >= 0)
		return rc;
	report.file = options.config_file;
	rc = config_load(options.config_file, &config, &report);
	if (rc == 0 && options.check)
		config_check_names(config, &report);
	if (report.text)
		fputs(report.text, stderr);
	config_report_fini(&report);
	if (rc < 0)
		return EXIT_USAGE;
	if (options.check) {
		rc = check(&options, config);
		config_free(config);
		return rc;
	}
	if (geteuid() != 0) {
		fputs("clusterd: must be run as root\n", stderr);
		config_free(config);
		return 1;
	}
	if (!options.foreground) {
		make_absolute(options.config_file, config_file, sizeof(config_file));
		make_absolute(options.state_dir, state_dir, sizeof(state_dir));
		options.config_file = config_file;
		options.state_dir = state_dir;
	}
	if (!options.foreground && daemon(0, 0) < 0) {
		fprintf(stderr, "clusterd: cannot go to the background: %s\n", strerror(errno));
		config_free(config);
		return 1;
	}
	log_init("clusterd", options.foreground, options.verbose);
	claim_resources();
	rc = daemon_run(options.config_file, options.state_dir, config);
	log_fini();
	return rc;
}
