/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * clusterctl corosync-conf: writes corosync.conf and authkey for the nodes of the clusterd config.
 *
 * The one verb that doesn't ask clusterd, which can't run before corosync does. Invariant: a file
 * is there whole or not at all, nothing is replaced unasked, and the key is never readable by
 * others.
 */

#include "clusterctl/clusterctl.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clusterctl/corosync_text.h"
#include "clusterctl/takeover.h"
#include "clusterd/config.h"

#define CONFIG_FILE SYSCONFDIR "/clusterd/clusterd.conf"
#define OUTPUT_DIR "/etc/corosync"
#define KEY_BYTES 256
#define PATH_SIZE 4096
#define EXAMPLE_MAX 65536 /* bytes looked at of an existing corosync.conf */

static const char corosync_conf_help[] =
	"Usage: clusterctl corosync-conf [--config FILE] [--profile default|fast|wan]\n"
	"                                [--output DIR] [--force] [--new-key]\n\n"
	"Writes corosync.conf and authkey for the nodes of a clusterd config: encrypted traffic, "
	"and\n"
	"time-outs with which a takeover meets two seconds. Copy both files to all nodes.\n\n"
	"  --config FILE   the clusterd config (" CONFIG_FILE ")\n"
	"  --profile NAME  default: token 500 ms, for machines and virtual machines on a LAN;\n"
	"                  fast: token 100 ms, for a quiet LAN of physical hosts;\n"
	"                  wan: token 5000 ms, for sites far apart, does not meet two seconds\n"
	"  --output DIR    where to write (" OUTPUT_DIR ")\n"
	"  --force         replace an existing corosync.conf; it is kept as corosync.conf.old\n"
	"  --new-key       replace an existing authkey, which is kept otherwise\n"
	"  -h, --help      this text\n\n"
	"A corosync.conf with nodes on loopback addresses only, the example that comes with the\n"
	"package, is replaced (and kept as corosync.conf.old) without --force.\n\n"
	"Exit status: 0 written; 1 not written; 2 wrong command line.\n";

struct target {
	const char *dir;
	char conf[PATH_SIZE], old[PATH_SIZE], key[PATH_SIZE];
	bool has_conf, has_key;
};

struct choice {
	const char *config_file, *output;
	const struct corosync_profile *profile;
	bool force, new_key;
};

static int write_all(int fd, const void *data, size_t size)
{
	const char *at = data;

	while (size > 0) {
		ssize_t n = write(fd, at, size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		at += n;
		size -= (size_t)n;
	}
	return 0;
}

/* Whole or not at all; -EEXIST when there is one and it may not be replaced. */
static int file_write(
	const char *path, const void *data, size_t size, mode_t mode, bool may_replace)
{
	char temp[PATH_SIZE + 8];
	int fd, rc;

	snprintf(temp, sizeof(temp), "%s.XXXXXX", path);
	fd = mkostemp(temp, O_CLOEXEC);
	if (fd < 0)
		return -errno;
	rc = write_all(fd, data, size);
	if (rc == 0 && (fchmod(fd, mode) < 0 || fsync(fd) < 0))
		rc = -errno;
	if (close(fd) < 0 && rc == 0)
		rc = -errno;
	if (rc == 0 &&
		renameat2(AT_FDCWD, temp, AT_FDCWD, path, may_replace ? 0 : RENAME_NOREPLACE) < 0)
		rc = -errno;
	if (rc < 0)
		unlink(temp);
	return rc;
}

static int key_write(const char *path, bool may_replace)
{
	unsigned char key[KEY_BYTES];
	size_t n = 0;
	int rc;

	while (n < sizeof(key)) {
		ssize_t got = getrandom(key + n, sizeof(key) - n, 0);

		if (got < 0 && errno != EINTR)
			return -errno;
		if (got > 0)
			n += (size_t)got;
	}
	rc = file_write(path, key, sizeof(key), 0400, may_replace);
	explicit_bzero(key, sizeof(key));
	return rc;
}

static bool is_example(const char *path)
{
	char text[EXAMPLE_MAX];
	FILE *file = fopen(path, "re");
	size_t n = file ? fread(text, 1, sizeof(text) - 1, file) : 0;
	bool is_whole = file && feof(file);

	if (file)
		fclose(file);
	text[n] = '\0';
	return is_whole && corosync_text_is_example(text);
}

static int target_init(struct target *target, const struct choice *choice)
{
	struct stat st;

	if (strlen(choice->output) > PATH_SIZE - 64 || stat(choice->output, &st) < 0 ||
		!S_ISDIR(st.st_mode)) {
		ctl_error("%s is not a folder: make it, or install corosync, or name another with "
			  "--output",
			choice->output);
		return -ENOTDIR;
	}
	target->dir = choice->output;
	snprintf(target->conf, PATH_SIZE, "%s/corosync.conf", choice->output);
	snprintf(target->old, PATH_SIZE, "%s/corosync.conf.old", choice->output);
	snprintf(target->key, PATH_SIZE, "%s/authkey", choice->output);
	target->has_conf = lstat(target->conf, &st) == 0;
	target->has_key = lstat(target->key, &st) == 0;
	if (target->has_conf && !choice->force && !is_example(target->conf)) {
		ctl_error("%s exists: say --force to replace it (it is kept as corosync.conf.old), "
			  "or "
			  "--output DIR to write elsewhere",
			target->conf);
		return -EEXIST;
	}
	return 0;
}

static enum ctl_exit cannot_write(const char *path, int rc)
{
	ctl_error("%s: %s%s", path, strerror(-rc),
		rc == -EACCES || rc == -EPERM ? ": run clusterctl as root, or say --output DIR"
					      : "");
	return CTL_REFUSED;
}

/* The key first: corosync doesn't start without, and a key alone changes nothing. */
static enum ctl_exit target_write(
	const struct target *target, const struct choice *choice, const char *text)
{
	bool makes_key = !target->has_key || choice->new_key;
	int rc = makes_key ? key_write(target->key, choice->new_key) : 0;

	if (rc < 0)
		return cannot_write(target->key, rc);
	if (target->has_conf) {
		if ((unlink(target->old) < 0 && errno != ENOENT) ||
			link(target->conf, target->old) < 0)
			return cannot_write(target->old, -errno);
	}
	rc = file_write(target->conf, text, strlen(text), 0644, target->has_conf);
	if (rc < 0)
		return cannot_write(target->conf, rc);
	printf("wrote %s%s\n", target->conf,
		target->has_conf ? " (what was there is now corosync.conf.old)" : "");
	if (makes_key)
		printf("wrote %s, a new key: keep it secret\n", target->key);
	else
		printf("kept %s as it is\n", target->key);
	return CTL_DONE;
}

static void print_next(const struct config *config, const struct choice *choice)
{
	unsigned takeover_ms = corosync_profile_takeover_ms(choice->profile);

	printf("%u node%s, token %u ms: a dead node's addresses are back within %.2f s%s\n",
		config->core.n_nodes, config->core.n_nodes == 1 ? "" : "s",
		choice->profile->token_ms, takeover_ms / 1000.0,
		takeover_ms < TAKEOVER_LIMIT_MS ? "" : ", which does NOT meet two seconds");
	if (config->core.n_nodes == 2)
		printf("two nodes run only together: add a third, or a quorum device, so that one "
		       "may "
		       "fail\n");
	printf("Copy both files to %s of each node, then 'systemctl restart corosync' there.\n",
		OUTPUT_DIR);
}

static enum ctl_exit generate(const struct choice *choice, const struct config *config)
{
	struct corosync_addresses *addresses = calloc(1, sizeof(*addresses));
	struct target target = {0};
	char *text = NULL;
	enum ctl_exit status = CTL_REFUSED;

	if (!addresses)
		ctl_error("out of memory");
	else if (corosync_addresses_find(config, choice->config_file, addresses, stderr) == 0 &&
		 target_init(&target, choice) == 0) {
		text = corosync_text(config, addresses, choice->profile);
		if (text)
			status = target_write(&target, choice, text);
		else
			ctl_error("out of memory");
	}
	if (status == CTL_DONE)
		print_next(config, choice);
	free(text);
	free(addresses);
	return status;
}

static enum ctl_exit parse(int argc, char **argv, struct choice *choice, bool *ret_is_help)
{
	static const struct option options[] = {{"config", required_argument, NULL, 'c'},
		{"profile", required_argument, NULL, 'p'}, {"output", required_argument, NULL, 'o'},
		{"force", no_argument, NULL, 'f'}, {"new-key", no_argument, NULL, 'k'},
		{"help", no_argument, NULL, 'h'}, {0}};
	int opt;

	while ((opt = getopt_long(argc, argv, "h", options, NULL)) != -1)
		switch (opt) {
		case 'c': choice->config_file = optarg; break;
		case 'o': choice->output = optarg; break;
		case 'f': choice->force = true; break;
		case 'k': choice->new_key = true; break;
		case 'p':
			choice->profile = corosync_profile_find(optarg);
			if (!choice->profile)
				return ctl_usage(&verb_corosync_conf,
					"there is no profile '%s': say default, fast or wan",
					optarg);
			break;
		case 'h': *ret_is_help = true; return ctl_help(&verb_corosync_conf);
		default: return ctl_usage(&verb_corosync_conf, NULL);
		}
	if (optind < argc)
		return ctl_usage(
			&verb_corosync_conf, "'%s' is one argument too many", argv[optind]);
	return CTL_DONE;
}

static enum ctl_exit corosync_conf_run(int argc, char **argv)
{
	struct choice choice = {
		.config_file = CONFIG_FILE, .output = OUTPUT_DIR, .profile = &corosync_profiles[0]};
	struct config_report report = {0};
	struct config *config = NULL;
	bool is_help = false;
	enum ctl_exit status = parse(argc, argv, &choice, &is_help);

	if (status != CTL_DONE || is_help)
		return status;
	report.file = choice.config_file;
	status = CTL_REFUSED;
	if (config_load(choice.config_file, &config, &report) == 0)
		status = generate(&choice, config);
	/* Warnings are about this machine as a member: clusterd -n tells them. */
	else if (report.text)
		fputs(report.text, stderr);
	config_report_fini(&report);
	config_free(config);
	return status;
}

const struct verb verb_corosync_conf = {"corosync-conf",
	"write corosync.conf and authkey for the nodes in the config", corosync_conf_help,
	corosync_conf_run};
