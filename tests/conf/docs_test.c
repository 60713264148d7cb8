/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What people copy from is right: the example configs of etc/ and of the man page are accepted, and
 * the man page explains every key, with its range and default, and none that there is not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "clusterd/config.h"
#include "tests/conf/fixture.h"

static void check_example(const char *path)
{
	struct config_report report = {0};
	struct config *config;
	char file[520];

	snprintf(file, sizeof(file), "%s.conf", path);
	if (config_load(file, &config, &report) < 0)
		fail_msg("%s", report.text);
	config_report_fini(&report);
	config_free(config);
}

static void test_examples(void **state)
{
	(void)state;
	assert_true(fixture_each_conf("../../etc", check_example) >= 2);
}

/* A literal block of the man page, up to its end, which is returned. */
static char *check_man_example(char *block)
{
	char *end = strstr(block, "\n.Ed");

	assert_non_null(end);
	*end = '\0';
	config_free(fixture_parse(strchr(block, '\n') + 1));
	return end + 1;
}

static void check_man_keys(const char *man)
{
	for (const struct resource_type *const *type = resource_types(); *type; type++) {
		char line[128];

		snprintf(line, sizeof(line), "\n.Ss %s: ", (*type)->name);
		if (!strstr(man, line))
			fail_msg("clusterd.conf.5 has no section \"%s\"", line + 1);
		for (const struct param_spec *spec = (*type)->params; spec->key; spec++) {
			const char *section = strstr(man, line);

			if (spec->kind == PARAM_INT)
				snprintf(line, sizeof(line),
					"\n.It Ic %s No (number, %lld to %lld, default %lld)\n",
					spec->key, (long long)spec->min, (long long)spec->max,
					(long long)spec->def);
			else
				snprintf(line, sizeof(line), "\n.It Ic %s No (%s%s", spec->key,
					spec->kind == PARAM_BOOL ? "truth value" : "text",
					spec->required ? ", required" : "");
			if (!section || !strstr(section, line))
				fail_msg("clusterd.conf.5 lacks \"%s\"", line + 1);
			snprintf(line, sizeof(line), "\n.Ss %s: ", (*type)->name);
		}
	}
}

/* Every key that the man page explains is accepted: its unknown keys would be errors. */
static void check_man_is_current(const char *man)
{
	static const char core[] = " name unsafe_without_fencing address preferred_owners failback "
				   "resources type ";

	for (const char *p = man; (p = strstr(p, "\n.It Ic ")); p++) {
		char key[64], word[66];
		bool is_known;

		assert_int_equal(sscanf(p, "\n.It Ic %63s", key), 1);
		snprintf(word, sizeof(word), " %.63s ", key);
		is_known = strstr(core, word);
		for (const struct resource_type *const *type = resource_types(); *type; type++) {
			for (const struct param_spec *spec = (*type)->params; spec->key; spec++)
				is_known |= strcmp(spec->key, key) == 0;
		}
		if (!is_known)
			fail_msg("clusterd.conf.5 explains \"%s\", which is no key", key);
	}
}

static void test_man(void **state)
{
	char *man = fixture_slurp("../../docs/clusterd.conf.5"), *p = man;
	unsigned examples = 0;

	(void)state;
	check_man_keys(man);
	check_man_is_current(man);
	for (; (p = strstr(p, "\n.Bd -literal\n")); examples++)
		p = check_man_example(p + 1);
	assert_int_equal(examples, 2);
	free(man);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_examples),
		cmocka_unit_test(test_man),
	};

	fixture_enter();
	return cmocka_run_group_tests_name("docs", tests, NULL, NULL);
}
