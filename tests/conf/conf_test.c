/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The config reader against files: good/NAME.conf prints as good/NAME.print, bad/NAME.conf is
 * refused with bad/NAME.expect, every line of it. All expectations were written by hand; a missing
 * one fails. Then what files can't show: digests, limits, speed.
 *
 * Runs in the source folder (srcdir), so that places read "bad/NAME.conf:3".
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "clusterd/config.h"
#include "tests/conf/fixture.h"

#define GOOD_MIN 9 /* so many files there are at least: an empty folder proves nothing */
#define BAD_MIN 46
#define PARSE_LIMIT_MS                                                             \
	20000 /* for sanitizers on a busy machine; quadratic would take far longer \
	       */

#define NODES "nodes = ( { name = \"n1\"; }, { name = \"n2\"; }, { name = \"n3\"; } );\n"
#define HEAD "cluster = { name = \"lab\"; };\n" NODES
#define EXEC                                                                            \
	"type = \"exec\"; start = \"/bin/true\"; stop = \"/bin/true\"; on_node_loss = " \
	"\"takeover\";"

/* Findings without warnings: these depend on the machine. */
static char *errors_of(const struct config_report *report)
{
	char *errors = calloc(1, report->len + 1), *to = errors;

	assert_non_null(errors);
	for (const char *line = report->text; line && *line;) {
		size_t len = strcspn(line, "\n") + 1;
		const char *warning = strstr(line, ": warning: ");

		if (!warning || warning > line + len) {
			memcpy(to, line, len);
			to += len;
		}
		line += len;
	}
	*to = '\0';
	return errors;
}

static void refused(const char *text, const char *expect)
{
	struct config_report report = {0};
	struct config *config;
	char *errors;

	assert_int_equal(config_parse("text", text, &config, &report), -EINVAL);
	errors = errors_of(&report);
	assert_string_equal(errors, expect);
	free(errors);
	config_report_fini(&report);
}

static void assert_same_digests(const struct config *a, const struct config *b)
{
	assert_string_equal(a->core.text, b->core.text);
	assert_int_equal(a->core.text_len, strlen(a->core.text));
	assert_true(a->core.digest == b->core.digest);
	assert_int_equal(a->core.n_groups, b->core.n_groups);
	for (uint32_t i = 0; i < a->core.n_groups; i++)
		assert_true(a->core.groups[i].digest == b->core.groups[i].digest);
}

static void check_good(const char *path)
{
	char file[520], *expect, *print, *again;
	struct config_report report = {0};
	struct config *config, *reparsed;

	snprintf(file, sizeof(file), "%s.conf", path);
	if (config_load(file, &config, &report) < 0)
		fail_msg("%s was refused:\n%s", file, report.text);
	config_report_fini(&report);
	snprintf(file, sizeof(file), "%s.print", path);
	expect = fixture_slurp(file);
	print = config_print(config);
	if (strcmp(print, expect) != 0)
		fail_msg("%s.conf prints as\n%s", path, print);

	reparsed = fixture_parse(print);
	again = config_print(reparsed);
	assert_string_equal(again, print);
	assert_same_digests(config, reparsed);
	config_free(reparsed);
	reparsed = fixture_parse(config->core.text);
	assert_same_digests(config, reparsed);
	config_free(reparsed);
	config_free(config);
	free(again);
	free(print);
	free(expect);
}

static void test_good(void **state)
{
	(void)state;
	assert_true(fixture_each_conf("good", check_good) >= GOOD_MIN);
}

static void check_bad(const char *path)
{
	struct config_report report = {0};
	struct config *config = (struct config *)&report; /* must not be written */
	char file[520], *expect, *errors;

	snprintf(file, sizeof(file), "%s.conf", path);
	assert_int_equal(config_load(file, &config, &report), -EINVAL);
	assert_ptr_equal(config, &report);
	snprintf(file, sizeof(file), "%s.expect", path);
	expect = fixture_slurp(file);
	errors = errors_of(&report);
	assert_true(report.n_errors > 0);
	if (strcmp(errors, expect) != 0)
		fail_msg("%s.conf: expected\n%sbut found\n%s", path, expect, errors);
	free(errors);
	free(expect);
	config_report_fini(&report);
}

static void test_bad(void **state)
{
	(void)state;
	assert_true(fixture_each_conf("bad", check_bad) >= BAD_MIN);
}

static void test_core(void **state)
{
	struct config *config = fixture_parse(HEAD
		"groups = ( { name = \"web\"; preferred_owners = [ \"n3\", \"n1\" ]; failback = "
		"true;\n"
		"  resources = ( { name = \"ip\"; type = \"vip\"; address = \"10.0.0.9/24\"; },\n"
		"    { name = \"srv\"; " EXEC "\n"
		"      interval_ms = 250; } ); } );\n");
	const struct core_group *group = &config->core.groups[0];
	const struct config_resource *srv = &config->groups[0].resources[1];

	(void)state;
	assert_string_equal(config->core.cluster_name, "lab");
	assert_int_equal(config->core.n_nodes, 3);
	assert_string_equal(config->core.nodes[2].name, "n3");
	assert_int_equal(config->core.nodes[2].nodeid, 0);
	assert_int_equal(config->core.n_groups, 1);
	assert_int_equal(group->n_preferred, 2);
	assert_int_equal(group->preferred[0], 2);
	assert_int_equal(group->preferred[1], 0);
	assert_true(group->failback);
	assert_int_equal(group->n_resources, 2);
	assert_string_equal(group->resources[0].name, "ip");
	assert_true(group->resources[0].pipelined);
	assert_false(group->resources[1].pipelined);
	assert_true(group->resources[1].stateless);
	assert_string_equal(srv->name, "srv");
	assert_int_equal(srv->line, 5);
	assert_ptr_equal(srv->type, resource_type_find("exec"));
	assert_string_equal(config_param(srv, "stop")->str, "/bin/true");
	assert_int_equal(config_param(srv, "interval_ms")->num, 250);
	assert_int_equal(config_param(srv, "interval_ms")->line, 6);
	assert_true(config_param(srv, "interval_ms")->set);
	assert_int_equal(config_param(srv, "timeout_ms")->num, 20000);
	assert_false(config_param(srv, "timeout_ms")->set);
	assert_null(config_param(srv, "monitor")->str);
	config_free(config);
}

/* What must and must not change the digest that nodes compare. */
static void test_digest(void **state)
{
	static const char base[] =
		HEAD "groups = ( { name = \"a\"; resources = ( { name = \"s\"; " EXEC " } ); } );";
	static const char *const same[] = {
		"# with defaults\n" HEAD
		"groups = ( { name = \"a\"; failback = false; preferred_owners = [];"
		"resources = ( { name = \"s\"; " EXEC " timeout_ms = 20000; } ); } );",
		"cluster = { name = \"lab\"; };\n"
		"nodes = ( { name = \"n1\"; address = \"10.0.0.1\"; }, { name = \"n2\"; }, { name "
		"= \"n3\"; } );"
		"groups = ( { name = \"a\"; resources = ( { name = \"s\"; " EXEC " } ); } );",
	};
	static const char *const other[] = {
		HEAD
		"groups = ( { name = \"a\"; failback = true; resources = ( { name = \"s\"; " EXEC
		" } ); } );",
		HEAD "groups = ( { name = \"a\"; preferred_owners = [ \"n1\", \"n2\", \"n3\" ];"
		     "resources = ( { name = \"s\"; " EXEC " } ); } );",
		HEAD "groups = ( { name = \"a\"; resources = ( { name = \"s\"; " EXEC
		     " timeout_ms = 20001; } ); } );",
	};
	struct config *a = fixture_parse(base);

	(void)state;
	assert_true(a->core.digest == core_digest(a->core.text, strlen(a->core.text)));
	for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
		struct config *b = fixture_parse(same[i]);

		assert_same_digests(a, b);
		config_free(b);
	}
	for (size_t i = 0; i < sizeof(other) / sizeof(other[0]); i++) {
		struct config *b = fixture_parse(other[i]);

		assert_false(a->core.digest == b->core.digest);
		assert_false(a->core.groups[0].digest == b->core.groups[0].digest);
		config_free(b);
	}
	config_free(a);
}

static char *many_groups(unsigned n_groups, unsigned n_resources)
{
	size_t size;
	char *text;
	FILE *file = open_memstream(&text, &size);

	assert_non_null(file);
	fputs(HEAD "groups = (\n", file);
	for (unsigned i = 0; i < n_groups; i++) {
		fprintf(file,
			"%s{ name = \"g%u\"; preferred_owners = [ \"n%u\", \"n2\" ];\nresources = "
			"(\n",
			i ? "," : "", i, i % 2 ? 1 : 3);
		for (unsigned j = 0; j < n_resources; j++)
			fprintf(file,
				"%s{ name = \"r%u.%u\"; type = \"vip\";\naddress = "
				"\"fd00::%x:%x/64\";\n"
				"interface = \"lo\"; }\n",
				j ? "," : "", i, j, i + 1, j);
		fputs("); }\n", file);
	}
	fputs(");\n", file);
	assert_int_equal(fclose(file), 0);
	return text;
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void test_scale(void **state)
{
	static const struct {
		unsigned groups, resources;
	} sizes[] = {{10000, 1}, {CORE_MAX_GROUPS, 1}, {1, CORE_MAX_RESOURCES}, {1000, 40}};

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		char *text = many_groups(sizes[i].groups, sizes[i].resources), *print, words[255];
		int64_t start = now_ms(), parsed, compared;
		struct config *config = fixture_parse(text), *again;

		parsed = now_ms();
		assert_int_equal(config->core.n_groups, sizes[i].groups);
		print = config_print(config);
		again = fixture_parse(print);
		assert_same_digests(config, again);
		/* The last resource's last key. */
		strrchr(again->core.text, '"')[-1] = 'x';
		compared = now_ms();
		config_difference(again->core.text, config->core.text, words, sizeof(words));
		assert_non_null(strstr(
			words, "interface = \"lx\" in the cluster, \"lo\" in the node's file"));
		print_message("%u groups of %u: %zu bytes parsed in %lld ms, compared in %lld ms\n",
			sizes[i].groups, sizes[i].resources, strlen(text),
			(long long)(parsed - start), (long long)(now_ms() - compared));
		assert_true(parsed - start < PARSE_LIMIT_MS);
		config_free(config);
		config_free(again);
		free(print);
		free(text);
	}
}

static void test_limits(void **state)
{
	char *text = many_groups(CORE_MAX_GROUPS + 1, 1);

	(void)state;
	refused(text, "text:3: groups: 16385 groups are more than the 16384 a cluster may have\n");
	free(text);
	text = many_groups(1, CORE_MAX_RESOURCES + 1);
	refused(text, "text:5: group g0: 4097 resources are more than the 4096 a group may have; "
		      "split the group\n");
	free(text);
	text = malloc(CONFIG_FILE_MAX + 2);
	assert_non_null(text);
	memset(text, ' ', CONFIG_FILE_MAX + 1);
	text[CONFIG_FILE_MAX + 1] = '\0';
	refused(text, "text: is larger than 16 MiB; make it smaller\n");
	free(text);
	refused("@include \"x\"\n", "text:1: @include \"x\": only a file can include others\n");
}

/* Same names 10,000 times over: the errors are counted, and not all of them shown. */
static void test_many_errors(void **state)
{
	char *text = many_groups(10000, 1), *p = text;
	struct config_report report = {0};
	struct config *config;
	unsigned lines = 0;

	(void)state;
	while ((p = strstr(p, "type = \"vip\""))) {
		memcpy(p, "tipe", 4);
		p += 4;
	}
	assert_int_equal(config_parse("text", text, &config, &report), -EINVAL);
	assert_int_equal(report.n_errors, 10000);
	for (p = report.text; (p = strchr(p, '\n')); p++)
		lines++;
	assert_int_equal(lines, CONFIG_REPORT_ERRORS_MAX + 1);
	assert_non_null(
		strstr(report.text, "\ntext: 9800 more errors are not shown; mend these first\n"));
	config_report_fini(&report);
	free(text);
}

static void load_refused(const char *file, const char *expect)
{
	struct config_report report = {0};
	struct config *config;

	assert_int_equal(config_load(file, &config, &report), -EINVAL);
	assert_string_equal(report.text, expect);
	config_report_fini(&report);
}

static void test_unreadable(void **state)
{
	(void)state;
	load_refused("bad/no-such-file.conf", "bad/no-such-file.conf: cannot be read: No such file "
					      "or directory; mend that, or name "
					      "another file\n");
	load_refused(
		"bad", "bad: cannot be read: Is a directory; mend that, or name another file\n");
	load_refused("/dev/zero", "/dev/zero: is larger than 16 MiB; make it smaller\n");
}

/* Included files count too: 17 of 1 MiB are too much together. */
static void test_include_size(void **state)
{
	char folder[] = "/tmp/clusterd-conf-XXXXXX", path[2][64], *megabyte = malloc(1 << 20);
	struct config_report report = {0};
	struct config *config;
	FILE *file;

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(path[0], sizeof(path[0]), "%s/main.conf", folder);
	snprintf(path[1], sizeof(path[1]), "%s/part", folder);
	assert_non_null(file = fopen(path[1], "w"));
	memset(megabyte, '\n', 1 << 20);
	assert_int_equal(fwrite(megabyte, 1, 1 << 20, file), 1 << 20);
	fclose(file);
	assert_non_null(file = fopen(path[0], "w"));
	for (int i = 0; i < 17; i++)
		fputs("@include \"part\"\n", file);
	fclose(file);

	assert_int_equal(config_load(path[0], &config, &report), -EINVAL);
	assert_non_null(strstr(report.text,
		"main.conf:16: @include \"part\": the config is larger than 16 MiB with this file; "
		"make it smaller\n"));
	config_report_fini(&report);
	free(megabyte);
	assert_int_equal(unlink(path[0]), 0);
	assert_int_equal(unlink(path[1]), 0);
	assert_int_equal(rmdir(folder), 0);
}

/* A warning is no error, and findings come in the order of the file. */
static void test_report(void **state)
{
	struct config_report report = {.file = "a.conf"};

	(void)state;
	config_report_add(&report, true, 7, "node n1", "its %s is odd", "hat");
	assert_int_equal(report.n_errors, 0);
	assert_int_equal(report.n_warnings, 1);
	config_report_add(&report, false, 0, NULL, "bad \x1b[1m\xc3\xa9\xff\n");
	assert_int_equal(report.n_errors, 1);
	assert_string_equal(report.text,
		"a.conf:7: warning: node n1: its hat is odd\na.conf: bad ?[1m\xc3\xa9??\n");
	assert_int_equal(report.len, strlen(report.text));
	config_report_fini(&report);
	assert_null(report.text);

	for (int i = 0; i < CONFIG_REPORT_WARNINGS_MAX + 5; i++)
		config_report_add(&report, true, 1, "node n1", "%02000d", i);
	assert_int_equal(report.n_warnings, CONFIG_REPORT_WARNINGS_MAX + 5);
	assert_int_equal(report.len, CONFIG_REPORT_WARNINGS_MAX * 1024);
	assert_string_equal(report.text + report.len - 8, "0000...\n");
	config_report_add(&report, false, 1, "node n1", "an error still fits");
	assert_non_null(strstr(report.text, "\na.conf:1: node n1: an error still fits\n"));
	config_report_fini(&report);
	assert_int_equal(report.n_errors, 0);
}

static void test_names_resolve(void **state)
{
	struct config *config =
		fixture_parse("cluster = { name = \"lab\"; };\n"
			      "nodes = ( { name = \"localhost\"; },\n"
			      "  { name = \"no.such.host.invalid\"; },\n"
			      "  { name = \"n3.invalid\"; address = \"10.0.0.1\"; } );");
	struct config_report report = {.file = "text"};

	(void)state;
	config_check_names(config, &report);
	assert_int_equal(report.n_errors, 0);
	assert_int_equal(report.n_warnings, 1);
	assert_true(strncmp(report.text,
			    "text:3: warning: node no.such.host.invalid: its name does not resolve "
			    "here (",
			    76) == 0);
	config_report_fini(&report);
	config_free(config);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_core),
		cmocka_unit_test(test_digest),
		cmocka_unit_test(test_scale),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_many_errors),
		cmocka_unit_test(test_unreadable),
		cmocka_unit_test(test_include_size),
		cmocka_unit_test(test_report),
		cmocka_unit_test(test_names_resolve),
	};
	fixture_enter();
	return cmocka_run_group_tests_name("conf", tests, NULL, NULL);
}
