/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The config reader with resource types of its own, for what no present type uses: every kind of
 * key, defaults of every kind, a type without optional operations. And without memory: each
 * allocation fails once, and nothing may crash, leak, or pass for a config.
 *
 * Defines the registry itself; linked with --wrap for the allocations.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "clusterd/config.h"

#define HEAD "cluster = { name = \"lab\"; };\nnodes = ( { name = \"n1\"; } );\n"
#define GROUP(resource) HEAD "groups = ( { name = \"g\"; resources = (\n" resource "\n); } );\n"

/* ---- the types ---- */

static void color_check(const struct config_resource *conf, struct config_report *report)
{
	const struct param_value *color = config_param(conf, "color");

	config_report_add(report, true, color->line, conf->name, "looks at this machine");
	if (strcmp(color->str, "pink") == 0)
		config_report_add(report, false, color->line, conf->name, "pink is no color");
}

static bool color_is_stateless(const struct config_resource *conf)
{
	return config_param(conf, "harmless")->num;
}

static const struct resource_type color_type = {
	.name = "color",
	.pipelined = true,
	.params =
		(const struct param_spec[]){
			{.key = "color", .kind = PARAM_STRING, .def_str = "red"},
			{.key = "harmless", .kind = PARAM_BOOL, .def = true},
			{.key = "loud",
				.kind = PARAM_BOOL,
				.required = true,
				.expects = "true or false"},
			{.key = "far",
				.kind = PARAM_INT,
				.min = -(1LL << 40),
				.max = 1LL << 40,
				.def = -5},
			{.key = "near", .kind = PARAM_INT, .required = true, .min = -1, .max = 1},
			{0},
		},
	.check = color_check,
	.is_stateless = color_is_stateless,
};

static const struct resource_type bare_type = {
	.name = "bare",
	.params = (const struct param_spec[]){{0}},
};

const struct resource_type *const *resource_types(void)
{
	static const struct resource_type *const types[] = {&color_type, &bare_type, NULL};

	return types;
}

const struct resource_type *resource_type_find(const char *name)
{
	for (const struct resource_type *const *type = resource_types(); *type; type++) {
		if (strcmp((*type)->name, name) == 0)
			return *type;
	}
	return NULL;
}

/* ---- allocations that fail ---- */

static long fail_at = -1, n_allocations;

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
char *__real_strdup(const char *s);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
char *__wrap_strdup(const char *s);

static bool is_failing(void)
{
	if (n_allocations++ != fail_at)
		return false;
	errno = ENOMEM;
	return true;
}

void *__wrap_malloc(size_t size)
{
	return is_failing() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return is_failing() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size)
{
	return is_failing() ? NULL : __real_realloc(p, size);
}

char *__wrap_strdup(const char *s)
{
	return is_failing() ? NULL : __real_strdup(s);
}

/* libconfig 1.5 loses the text it has just read when a syntax error follows. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:libconfig.so";
}

/* ---- tests ---- */

static void check_print(const char *text, const char *expect_resource)
{
	struct config_report report = {0}, again = {0};
	struct config *config, *reparsed;
	char *print, *reprint;

	if (config_parse("text", text, &config, &report) < 0)
		fail_msg("%s", report.text);
	print = config_print(config);
	if (!strstr(print, expect_resource))
		fail_msg("printed\n%s", print);
	assert_int_equal(config_parse("print", print, &reparsed, &again), 0);
	reprint = config_print(reparsed);
	assert_string_equal(print, reprint);
	free(print);
	free(reprint);
	config_free(config);
	config_free(reparsed);
	config_report_fini(&report);
	config_report_fini(&again);
}

static void test_kinds(void **state)
{
	(void)state;
	check_print(GROUP("{ name = \"r\"; type = \"color\"; near = 0; loud = false; }"),
		"\t\t\t{\n"
		"\t\t\t\tname = \"r\";\n"
		"\t\t\t\ttype = \"color\";\n"
		"\t\t\t\tloud = false;\n"
		"\t\t\t\tnear = 0;\n"
		"\t\t\t}\n");
	check_print(GROUP("{ name = \"r\"; type = \"color\"; near = -1; loud = true; far = -5;\n"
			  "color = \"red\"; harmless = true; }"),
		"\t\t\t\ttype = \"color\";\n"
		"\t\t\t\tloud = true;\n"
		"\t\t\t\tnear = -1;\n"
		"\t\t\t}\n");
	check_print(GROUP("{ far = 1099511627776L; name = \"r\"; type = \"color\"; near = 1;\n"
			  "loud = true; color = \"blue\"; harmless = false; }"),
		"\t\t\t\ttype = \"color\";\n"
		"\t\t\t\tcolor = \"blue\";\n"
		"\t\t\t\tharmless = false;\n"
		"\t\t\t\tloud = true;\n"
		"\t\t\t\tfar = 1099511627776L;\n"
		"\t\t\t\tnear = 1;\n"
		"\t\t\t}\n");
	/* Quotes, backslashes, a tab, and what looks like an escape and is none. */
	check_print(GROUP("{ name = \"r\"; type = \"color\"; near = 1; loud = true;\n"
			  "color = \"a \\\"b\\\" \\\\x41 \\t\\\\\"; }"),
		"\t\t\t\tcolor = \"a \\\"b\\\" \\\\x41 \\t\\\\\";\n");
	check_print(
		GROUP("{ name = \"r\"; type = \"bare\"; }"), "\t\t\t\ttype = \"bare\";\n\t\t\t}\n");
}

static void test_core(void **state)
{
	struct config_report report = {0};
	struct config *config;
	const struct core_resource *core;

	(void)state;
	assert_int_equal(
		config_parse("text",
			GROUP("{ name = \"a\"; type = \"color\"; near = 0; loud = true; },\n"
			      "{ name = \"b\"; type = \"bare\"; },\n"
			      "{ name = \"c\"; type = \"color\"; near = 0; loud = true;\n"
			      "harmless = false; }"),
			&config, &report),
		0);
	core = config->core.groups[0].resources;
	assert_true(core[0].pipelined && core[0].stateless);
	assert_false(core[1].pipelined || core[1].stateless);
	assert_true(core[2].pipelined && !core[2].stateless);
	assert_string_equal(config_param(&config->groups[0].resources[0], "color")->str, "red");
	assert_int_equal(config_param(&config->groups[0].resources[0], "color")->line, 4);
	assert_int_equal(config_param(&config->groups[0].resources[0], "far")->num, -5);
	assert_int_equal(report.n_warnings, 2);
	assert_int_equal(report.n_errors, 0);
	assert_string_equal(report.text, "text:4: warning: a: looks at this machine\n"
					 "text:6: warning: c: looks at this machine\n");
	config_report_fini(&report);
	config_free(config);
}

static void test_errors(void **state)
{
	struct config_report report = {0};
	struct config *config;

	(void)state;
	assert_int_equal(config_parse("text",
				 GROUP("{ name = \"a\"; type = \"color\"; near = 2;\n"
				       "  harmless = 1; },\n"
				       "{ name = \"b\"; type = \"bare\"; near = 0; },\n"
				       "{ name = \"c\"; type = \"color\"; near = 0; loud = true;\n"
				       "  color = \"pink\"; }"),
				 &config, &report),
		-EINVAL);
	assert_string_equal(report.text,
		"text:4: resource a: loud is missing; add loud: true or false\n"
		"text:4: resource a: near = 2 is out of range; write a number from -1 to 1\n"
		"text:5: resource a: harmless is a number; write true or false, without quotes\n"
		"text:6: resource b: unknown key \"near\"; take it out (known keys: name, type)\n"
		"text:8: warning: c: looks at this machine\n"
		"text:8: c: pink is no color\n");
	config_report_fini(&report);
}

#define NOMEM_TEXT                                                                       \
	"cluster = { name = \"lab\"; };\n"                                               \
	"nodes = ( { name = \"n1\"; address = [ \"10.0.0.1\", \"10.1.0.1\" ]; } );\n"    \
	"groups = ( { name = \"g\"; preferred_owners = [ \"n1\" ]; resources = (\n"      \
	"  { name = \"r\"; type = \"color\"; near = 0; loud = true; color = \"x\"; },\n" \
	"  { name = \"s\"; type = \"bare\"; } ); } );\n"

/* libconfig's own allocations are left alone. */
static void test_no_memory(void **state)
{
	struct config *config;
	unsigned failed = 0;
	long i = -1, n;

	(void)state;
	do {
		struct config_report report = {0};
		int rc;

		n_allocations = 0;
		fail_at = ++i;
		rc = config_parse("text", NOMEM_TEXT, &config, &report);
		fail_at = -1;
		n = n_allocations;
		assert_true(rc == 0 || (rc == -EINVAL && report.n_errors > 0));
		if (rc == 0) {
			char *print = config_print(config);

			assert_non_null(strstr(print, "color = \"x\";\n"));
			assert_non_null(strstr(print, "address = [ \"10.0.0.1\", \"10.1.0.1\" ];"));
			assert_true(config->core.digest ==
				    core_digest(config->core.text, strlen(config->core.text)));
			free(print);
			config_free(config);
		} else {
			failed++;
		}
		config_report_fini(&report);
	} while (i < n); /* the last run had all its memory */
	/* Only the report's own text may be missing without harm. */
	assert_true(failed >= 20 && failed + 4 >= (unsigned)i);
	print_message("%u of %ld failed allocations were refused\n", failed, i);
}

static void test_no_memory_print(void **state)
{
	struct config_report report = {0};
	struct config *config;
	char *print = NULL;
	unsigned failed = 0;

	(void)state;
	assert_int_equal(config_parse("text", NOMEM_TEXT, &config, &report), 0);
	for (long i = 0; !print; i++) {
		n_allocations = 0;
		fail_at = i;
		print = config_print(config);
		fail_at = -1;
		failed += !print;
		assert_true(i < 100);
	}
	assert_true(failed > 0);
	free(print);
	config_free(config);
	config_report_fini(&report);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kinds),
		cmocka_unit_test(test_core),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_no_memory_print),
	};

	return cmocka_run_group_tests_name("params", tests, NULL, NULL);
}
