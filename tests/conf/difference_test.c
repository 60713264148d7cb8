/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The difference between two configs in words: what a node that may not join is told.
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

#define NODES "nodes = ( { name = \"n1\"; }, { name = \"n2\"; }, { name = \"n3\"; } );\n"
#define HEAD "cluster = { name = \"lab\"; };\n" NODES
#define EXEC                                                                            \
	"type = \"exec\"; start = \"/bin/true\"; stop = \"/bin/true\"; on_node_loss = " \
	"\"takeover\";"

#define GROUP(name, more, resources) \
	"{ name = \"" name "\"; " more " resources = ( " resources " ); }"
#define SRV(name, more) "{ name = \"" name "\"; " EXEC more " }"
#define WEB "groups = ( " GROUP("web", "", SRV("srv", "")) " );"

static const struct {
	const char *theirs, *ours, *words;
} cases[] = {
	{HEAD WEB, HEAD WEB, ""},
	{"cluster = { name = \"prod\"; };" NODES WEB, HEAD WEB,
		"cluster: name = \"prod\" in the cluster, \"lab\" in the node's file"},
	{"cluster = { name = \"lab\"; unsafe_without_fencing = true; };" NODES WEB, HEAD WEB,
		"cluster: unsafe_without_fencing = true in the cluster, false in the node's file"},
	{HEAD "groups = ( " GROUP("web", "failback = true;", SRV("srv", "")) " );", HEAD WEB,
		"group web: failback = true in the cluster, false in the node's file"},
	{HEAD WEB, HEAD "groups = ( " GROUP("web", "failback = true;", SRV("srv", "")) " );",
		"group web: failback = false in the cluster, true in the node's file"},
	{HEAD "groups = ( " GROUP(
		 "web", "preferred_owners = [ \"n1\", \"n2\" ];", SRV("srv", "")) " );",
		HEAD "groups = ( " GROUP("web", "preferred_owners = [ \"n2\" ]; failback = true;",
			SRV("srv", "")) " );",
		"group web: preferred_owners = [ \"n1\", \"n2\" ] in the cluster, [ \"n2\" ] in "
		"the node's file"},
	{HEAD "groups = ( " GROUP("web", "preferred_owners = [ \"n1\" ];", SRV("srv", "")) " );",
		HEAD WEB,
		"group web: preferred_owners = [ \"n1\" ] in the cluster, not set in the node's "
		"file"},
	{HEAD "groups = ( " GROUP("web", "", SRV("srv", "")) ", " GROUP(
		 "db", "", SRV("db1", "")) " );",
		HEAD WEB, "group db: only in the cluster"},
	{HEAD WEB,
		HEAD "groups = ( " GROUP("db", "", SRV("db1", "")) ", " GROUP(
			"web", "", SRV("srv", "")) " );",
		"group db: only in the node's file"},
	{HEAD WEB, HEAD "groups = ( " GROUP("db", "", SRV("srv", "")) " );",
		"group web: only in the cluster; group db: only in the node's file"},
	{HEAD "groups = ( " GROUP("a", "", SRV("a1", "")) ", " GROUP("b", "", SRV("b1", "")) " );",
		HEAD "groups = ( " GROUP("b", "", SRV("b1", "")) ", " GROUP(
			"a", "", SRV("a1", "")) " );",
		"the order differs: group a in the cluster, where group b stands in the node's "
		"file"},
	{HEAD "groups = ( " GROUP("web", "", SRV("srv", "") ", " SRV("two", "")) " );", HEAD WEB,
		"resource two of group web: only in the cluster"},
	{HEAD "groups = ( " GROUP("web", "", SRV("srv", "")) ", " GROUP(
		 "x", "", SRV("x1", "")) " );",
		HEAD "groups = ( " GROUP("web", "", SRV("srv", "") ", " SRV("two", "")) ", " GROUP(
			"x", "", SRV("x1", "")) " );",
		"resource two of group web: only in the node's file"},
	{HEAD "groups = ( " GROUP("web", "", SRV("srv", "interval_ms = 500;")) " );", HEAD WEB,
		"resource srv of group web: interval_ms = 500 in the cluster, not set in the "
		"node's file"},
	{HEAD "groups = ( " GROUP("web", "", SRV("srv", "interval_ms = 500;")) " );",
		HEAD "groups = ( " GROUP("web", "", SRV("srv", "interval_ms = 501;")) " );",
		"resource srv of group web: interval_ms = 500 in the cluster, 501 in the node's "
		"file"},
	{HEAD,
		"cluster = { name = \"lab\"; };"
		"nodes = ( { name = \"n1\"; }, { name = \"n2\"; }, { name = \"n4\"; } );",
		"node n3: only in the cluster; node n4: only in the node's file"},
	{HEAD,
		"cluster = { name = \"lab\"; };"
		"nodes = ( { name = \"n2\"; }, { name = \"n1\"; }, { name = \"n3\"; } );",
		"the order differs: node n1 in the cluster, where node n2 stands in the node's "
		"file"},
	{"cluster = { name = \"lab\"; }; nodes = ( { name = \"n1\"; } );", HEAD,
		"node n2: only in the node's file"},
};

static void test_words(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct config *theirs = fixture_parse(cases[i].theirs),
			      *ours = fixture_parse(cases[i].ours);
		char words[255];

		config_difference(theirs->core.text, ours->core.text, words, sizeof(words));
		assert_string_equal(words, cases[i].words);
		config_free(theirs);
		config_free(ours);
	}
}

/* What came from another machine may be anything. */
static void test_hostile(void **state)
{
	static const char *const theirs[] = {"", "\n", "name = ", "=", "a = b", " = ;",
		"groups = (", "nodes = (\n\t{\n\t\tname = \"",
		"cluster = {\n\tname = \"\x1b[31m\xff\";\n"};
	struct config *ours = fixture_parse(HEAD WEB);
	char words[64], *longest = malloc(100001);

	(void)state;
	for (size_t i = 0; i < sizeof(theirs) / sizeof(theirs[0]); i++) {
		config_difference(theirs[i], ours->core.text, words, sizeof(words));
		assert_true(*words);
		assert_null(strpbrk(words, "\x1b\xff\n"));
		config_difference(ours->core.text, theirs[i], words, sizeof(words));
		assert_true(*words);
		assert_null(strpbrk(words, "\x1b\xff\n"));
	}
	memset(longest, '=', 100000);
	memcpy(longest, "cluster = {\n\tname = ", 20);
	longest[100000] = '\0';
	config_difference(longest, ours->core.text, words, sizeof(words));
	assert_true(strncmp(words, "cluster: name = ====", 20) == 0);
	assert_true(strlen(words) < sizeof(words));
	free(longest);
	config_free(ours);
}

/* A long value is shown where it differs. */
static void test_long(void **state)
{
	char text[2][700], words[255];
	struct config *config[2];

	(void)state;
	for (int i = 0; i < 2; i++) {
		snprintf(text[i], sizeof(text[i]),
			HEAD
			"groups = ( { name = \"a\"; resources = ( { name = \"s\"; type = \"exec\";"
			"start = \"/bin/%0200d %s\"; stop = \"/bin/true\"; "
			"on_node_loss = \"takeover\"; } ); } );",
			0, i == 0 ? "left" : "right");
		config[i] = fixture_parse(text[i]);
	}
	config_difference(config[0]->core.text, config[1]->core.text, words, sizeof(words));
	assert_non_null(strstr(words, "0 left\" in the cluster"));
	assert_non_null(strstr(words, "0 right\" in the node's file"));
	assert_non_null(strstr(words, "start = ...000"));
	config_free(config[0]);
	config_free(config[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_long),
	};

	return cmocka_run_group_tests_name("difference", tests, NULL, NULL);
}
