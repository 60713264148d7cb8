/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * clusterctl corosync-conf: addresses, the text, the files; and corosync itself must take them. Run
 * in the top build folder, or with CLUSTERCTL naming the program.
 */

#include <errno.h>
#include <ftw.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "clusterctl/corosync_text.h"

#define CLUSTER "cluster = { name = \"lab\"; unsafe_without_fencing = true; };\n"
#define COROSYNC "/usr/sbin/corosync"

static const char three_nodes[] =
	CLUSTER "nodes = ( { name = \"n1\"; address = [ \"10.77.3.1\" ]; },\n"
		"{ name = \"n2\"; address = [ \"10.77.3.2\" ]; },\n"
		"{ name = \"n3\"; address = [ \"10.77.3.3\" ]; } );\n";
static const char two_links[] =
	CLUSTER "nodes = ( { name = \"n1\"; address = [ \"10.77.3.1\", \"fd77::1\" ]; },\n"
		"{ name = \"n2\"; address = [ \"10.77.3.2\", \"fd77::2\" ]; } );\n";

static struct config *parse(const char *text)
{
	struct config_report report = {.file = "test.conf"};
	struct config *config = NULL;

	if (config_parse("test.conf", text, &config, &report) != 0)
		fail_msg("%s", report.text);
	config_report_fini(&report);
	return config;
}

static char *text_of(const char *conf, const char *profile)
{
	struct corosync_addresses addresses;
	struct config *config = parse(conf);
	char *text;

	assert_int_equal(corosync_addresses_find(config, "test.conf", &addresses, stderr), 0);
	text = corosync_text(config, &addresses, corosync_profile_find(profile));
	assert_non_null(text);
	config_free(config);
	return text;
}

static void expect_in(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("'%s' is not in:\n%s", part, text);
}

static unsigned count(const char *text, const char *part)
{
	unsigned n = 0;

	for (; (text = strstr(text, part)); text += strlen(part))
		n++;
	return n;
}

static void test_text(void **state)
{
	static const char *const always[] = {"\n\tcluster_name: lab\n", "\n\ttransport: knet\n",
		"\n\tcrypto_cipher: aes256\n", "\n\tcrypto_hash: sha256\n",
		"\n\ttoken_coefficient: 0\n", "\n\tseqno_unchanged_const: 3\n",
		"\n\t\tknet_ping_interval: 200\n\t\tknet_ping_timeout: 600\n",
		"\n\tprovider: corosync_votequorum\n", "\n\tto_syslog: yes\n",
		"\n\ttimestamp: hires\n",
		"\n\t\tname: n1\n\t\tnodeid: 1\n\t\tring0_addr: 10.77.3.1\n",
		"\n\t\tname: n2\n\t\tnodeid: 2\n\t\tring0_addr: 10.77.3.2\n"};
	char *three = text_of(three_nodes, "default"), *fast = text_of(three_nodes, "fast");
	char *wan = text_of(three_nodes, "wan"), *two = text_of(two_links, "default");

	(void)state;
	for (size_t i = 0; i < sizeof(always) / sizeof(always[0]); i++) {
		expect_in(three, always[i]);
		expect_in(fast, always[i]);
		expect_in(wan, always[i]);
		expect_in(two, always[i]);
	}
	expect_in(three, "\n\ttoken: 500\n");
	assert_null(strstr(three, "token_retransmits"));
	assert_null(strstr(three, "two_node"));
	expect_in(fast, "\n\ttoken: 100\n");
	expect_in(fast, "\n\ttoken_retransmits_before_loss_const: 3\n");
	expect_in(wan, "does not meet two seconds");
	expect_in(two, "\n\t\tring1_addr: fd77::2\n");
	expect_in(two, "# Not 'two_node: 1'");
	assert_null(strstr(two, "\n\ttwo_node"));
	assert_int_equal(count(three, "interface {"), 1);
	assert_int_equal(count(two, "interface {"), 2);
	assert_int_equal(count(two, "linknumber: 1\n"), 1);
	assert_int_equal(count(three, "{"), count(three, "}"));
	free(three);
	free(fast);
	free(wan);
	free(two);
}

static void test_profiles(void **state)
{
	(void)state;
	assert_null(corosync_profile_find("slow"));
	assert_true(corosync_profile_takeover_ms(corosync_profile_find("default")) < 2000);
	assert_true(corosync_profile_takeover_ms(corosync_profile_find("fast")) < 500);
	assert_true(corosync_profile_takeover_ms(corosync_profile_find("wan")) > 2000);
}

/* The config is fine; its addresses are not, and each part is in what it says. */
static void expect_errors(const char *conf, const char *const *parts)
{
	struct corosync_addresses addresses;
	struct config *config = parse(conf);
	char *text = NULL;
	size_t len;
	FILE *errors = open_memstream(&text, &len);

	assert_int_equal(corosync_addresses_find(config, "test.conf", &addresses, errors), -EINVAL);
	fclose(errors);
	for (; *parts; parts++)
		expect_in(text, *parts);
	free(text);
	config_free(config);
}

static void test_addresses(void **state)
{
	static const char *const unresolved[] = {
		"test.conf:3: node no-such-node: the name 'no-such-node' does not resolve here",
		"test.conf:4: node localhost: the name 'localhost' resolves to ",
		"address = [ \"192.0.2.1\" ]", NULL};
	static const char *const kinds[] = {
		"test.conf:3: node n2: fd77::2 and node n1's 10.77.3.1 are of different kinds",
		NULL};

	(void)state;
	expect_errors(CLUSTER "nodes = ( { name = \"n1\"; address = [ \"10.77.3.1\" ]; },\n"
			      "{ name = \"no-such-node\"; },\n{ name = \"localhost\"; } );\n",
		unresolved);
	expect_errors(CLUSTER "nodes = ( { name = \"n1\"; address = [ \"10.77.3.1\" ]; },\n"
			      "{ name = \"n2\"; address = [ \"fd77::2\" ]; } );\n",
		kinds);
}

static void test_example(void **state)
{
	char *ours = text_of(three_nodes, "default");

	(void)state;
	assert_true(
		corosync_text_is_example("# ring0_addr: 10.0.0.1\nnodelist {\n\tnode {\n\t\tname: "
					 "node1\n\t\tring0_addr: 127.0.0.1\n\t}\n}\n"));
	assert_false(
		corosync_text_is_example("\t\tring0_addr: 127.0.0.1\n\t\tring0_addr: 10.0.0.1\n"));
	assert_false(
		corosync_text_is_example("totem {\n\tinterface {\n\t\tbindnetaddr: 10.0.0.0\n"));
	assert_false(corosync_text_is_example("ring0_addr:"));
	assert_false(corosync_text_is_example(""));
	assert_false(corosync_text_is_example(ours));
	free(ours);
}

/* ---- the program and its files ---- */

struct folder {
	char path[64], conf[96], out[96];
};

static void write_file(const char *path, const char *text)
{
	FILE *file = fopen(path, "we");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static int folder_setup(void **state)
{
	struct folder *folder = calloc(1, sizeof(*folder));

	assert_non_null(folder);
	strcpy(folder->path, "/tmp/corosync_conf_test.XXXXXX");
	assert_non_null(mkdtemp(folder->path));
	snprintf(folder->conf, sizeof(folder->conf), "%s/clusterd.conf", folder->path);
	snprintf(folder->out, sizeof(folder->out), "%s/out", folder->path);
	assert_int_equal(mkdir(folder->out, 0755), 0);
	write_file(folder->conf, three_nodes);
	*state = folder;
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static int folder_teardown(void **state)
{
	struct folder *folder = *state;

	assert_int_equal(nftw(folder->path, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
	free(folder);
	return 0;
}

/* The exit status of `clusterctl corosync-conf` with these options. */
static int run(const struct folder *folder, const char *options)
{
	const char *program = getenv("CLUSTERCTL");
	char command[1024];
	int status;

	snprintf(command, sizeof(command),
		"%s corosync-conf --config %s --output %s %s >%s/printed 2>&1",
		program ? program : "clusterctl/clusterctl", folder->conf, folder->out, options,
		folder->path);
	fflush(NULL);
	status = system(command);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static size_t read_file(const struct folder *folder, const char *name, char *ret_text, size_t size)
{
	char path[160];
	FILE *file;
	size_t n;

	snprintf(path, sizeof(path), "%s/%s", folder->path, name);
	file = fopen(path, "re");
	if (!file)
		fail_msg("%s is missing", path);
	n = fread(ret_text, 1, size - 1, file);
	fclose(file);
	ret_text[n] = '\0';
	return n;
}

static void expect_mode(const struct folder *folder, const char *name, mode_t mode)
{
	struct stat st;
	char path[160];

	snprintf(path, sizeof(path), "%s/%s", folder->path, name);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, mode);
}

static void test_files(void **state)
{
	struct folder *folder = *state;
	char key[512], key2[512], text[4096], text2[4096];

	assert_int_equal(run(folder, ""), 0);
	expect_mode(folder, "out/authkey", 0400);
	expect_mode(folder, "out/corosync.conf", 0644);
	assert_int_equal(read_file(folder, "out/authkey", key, sizeof(key)), 256);
	read_file(folder, "out/corosync.conf", text, sizeof(text));

	assert_int_equal(run(folder, "--profile fast"), 1); /* it exists */
	read_file(folder, "printed", text2, sizeof(text2));
	expect_in(text2, "--force");
	read_file(folder, "out/corosync.conf", text2, sizeof(text2));
	assert_string_equal(text, text2);

	assert_int_equal(run(folder, "--profile fast --force"), 0);
	assert_int_equal(read_file(folder, "out/authkey", key2, sizeof(key2)), 256);
	assert_memory_equal(key, key2, 256);
	read_file(folder, "out/corosync.conf.old", text2, sizeof(text2));
	assert_string_equal(text, text2);
	read_file(folder, "out/corosync.conf", text2, sizeof(text2));
	expect_in(text2, "token: 100\n");

	assert_int_equal(run(folder, "--force --new-key"), 0);
	assert_int_equal(read_file(folder, "out/authkey", key2, sizeof(key2)), 256);
	assert_memory_not_equal(key, key2, 256);
	expect_mode(folder, "out/authkey", 0400);
}

static void test_file_errors(void **state)
{
	struct folder *folder = *state;
	char path[128], text[4096];

	snprintf(path, sizeof(path), "%s/corosync.conf", folder->out);
	write_file(path, "nodelist {\n\tnode {\n\t\tring0_addr: 127.0.0.1\n\t}\n}\n");
	assert_int_equal(run(folder, ""), 0); /* a distribution's example */
	read_file(folder, "out/corosync.conf.old", text, sizeof(text));
	expect_in(text, "127.0.0.1");

	write_file(folder->conf, "cluster = { name = \"lab\" };\n");
	assert_int_equal(run(folder, "--force"), 1);
	read_file(folder, "printed", text, sizeof(text));
	expect_in(text, "clusterd.conf:");
	assert_int_equal(run(folder, "--config /nonexistent"), 1);
	write_file(folder->conf, three_nodes);
	assert_int_equal(run(folder, "--output /nonexistent"), 1);
	read_file(folder, "printed", text, sizeof(text));
	expect_in(text, "/nonexistent is not a folder");
}

/* In namespaces of its own: the folder is /etc/corosync, and this is node n1. */
static int corosync_accepts(const struct folder *folder)
{
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		if (unshare(CLONE_NEWNS | CLONE_NEWNET) < 0 ||
			mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
			mount(folder->out, "/etc/corosync", NULL, MS_BIND, NULL) < 0 ||
			system("ip link set lo up && ip addr add 10.77.3.1/24 dev lo && "
			       "ip addr add fd77::1/64 dev lo nodad") != 0)
			_exit(99);
		execl(COROSYNC, "corosync", "-t", NULL);
		_exit(98);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void test_corosync(void **state)
{
	static const char *const profiles[] = {"default", "fast", "wan"};
	struct folder *folder = *state;
	char options[64], path[128];

	if (geteuid() != 0 || access(COROSYNC, X_OK) != 0) {
		print_message("needs root and " COROSYNC " (package corosync)\n");
		skip();
	}
	for (unsigned i = 0; i < 6; i++) {
		write_file(folder->conf, i < 3 ? three_nodes : two_links);
		snprintf(options, sizeof(options), "--force --profile %s", profiles[i % 3]);
		assert_int_equal(run(folder, options), 0);
		assert_int_equal(corosync_accepts(folder), 0);
	}
	snprintf(path, sizeof(path), "%s/authkey", folder->out);
	assert_int_equal(unlink(path), 0);
	assert_int_not_equal(corosync_accepts(folder), 0); /* it did look at what we wrote */
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, folder_setup, folder_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_profiles),
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_example),
		WITH_FOLDER(test_files),
		WITH_FOLDER(test_file_errors),
		WITH_FOLDER(test_corosync),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
