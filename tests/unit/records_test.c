/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What outlives the daemon: the groups that were set offline (saved.c) and the history (history.c),
 * with files that are damaged, hostile or torn. A real config, a real core, real files. Run by
 * `make check`.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "clusterd/daemon.h"

#define SAVED "groups.json"
#define HISTORY "history.jsonl"
#define N_GROUPS 3

#define GROUP(name, address)                                                              \
	"{ name = \"" name "\"; resources = ( { name = \"" name "-ip\"; type = \"vip\"; " \
	"address = \"" address "\"; } ); }"

static const char config_text[] =
	"cluster = { name = \"lab\"; };\n"
	"nodes = ( { name = \"n1\"; }, { name = \"n2\"; }, { name = \"n3\"; } );\n"
	"groups = ( " GROUP("web", "10.0.0.1/24") ", " GROUP("mail", "10.0.0.2/24") ", " GROUP(
		"db", "10.0.0.3/24") " );\n";

struct fixture {
	char dir[64], path[128];
	struct daemon daemon;
};

static const char *path_of(struct fixture *f, const char *name)
{
	snprintf(f->path, sizeof(f->path), "%s/%s", f->dir, name);
	return f->path;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct config_report report = {.file = "test.conf"};
	struct core_setup core = {.own_nodeid = 1, .incarnation = 1};

	if (!f)
		return -1;
	strcpy(f->dir, "/tmp/clusterd-records-XXXXXX");
	if (!mkdtemp(f->dir) || statefile_new(f->dir, &f->daemon.statefile) < 0)
		return -1;
	f->daemon.state_dir = f->dir;
	if (config_parse("test.conf", config_text, &f->daemon.config, &report) < 0) {
		print_error("%s", report.text);
		return -1;
	}
	config_report_fini(&report);
	for (uint32_t i = 0; i < 3; i++)
		f->daemon.config->core.nodes[i].nodeid = i + 1;
	core.config = &f->daemon.config->core;
	if (core_new(&core, &f->daemon.core) < 0)
		return -1;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	static const char *const names[] = {SAVED, HISTORY, HISTORY ".1"};
	struct fixture *f = *state;

	history_free(f->daemon.history);
	core_free(f->daemon.core);
	config_free(f->daemon.config);
	statefile_free(f->daemon.statefile);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		unlink(path_of(f, names[i]));
	rmdir(f->dir);
	free(f);
	return 0;
}

static void flush(struct fixture *f)
{
	history_free(f->daemon.history);
	f->daemon.history = NULL;
	statefile_free(f->daemon.statefile);
	assert_int_equal(statefile_new(f->dir, &f->daemon.statefile), 0);
}

static void put(struct fixture *f, const char *name, const char *text)
{
	int fd = open(path_of(f, name), O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

/* ---- saved ---- */

static void expect_saved(struct fixture *f, uint64_t version, const char *offline)
{
	bool is_offline[N_GROUPS] = {false};
	uint64_t found = 77;

	saved_load(&f->daemon, &found, is_offline);
	assert_int_equal(found, version);
	for (unsigned i = 0; i < N_GROUPS; i++)
		assert_int_equal(is_offline[i], offline[i] == '1');
}

static void test_saved(void **state)
{
	struct fixture *f = *state;
	/* What an order, or a snapshot, does in the core. */
	struct core_state *core = (struct core_state *)(uintptr_t)core_state(f->daemon.core);

	expect_saved(f, 0, "000");
	core->groups[1].enabled = false;
	core->version = 42;
	saved_write(&f->daemon);
	flush(f);
	expect_saved(f, 42, "010");
	core->groups[1].enabled = true;
	core->version = 43;
	saved_write(&f->daemon);
	flush(f);
	expect_saved(f, 43, "000");
}

static void test_saved_hostile(void **state)
{
	static const char *const damaged[] = {"", "{", "[]", "null", "{\"version\":1}",
		"{\"version\":-1,\"offline\":[]}", "{\"version\":\"1\",\"offline\":[]}",
		"{\"version\":1,\"offline\":{}}", "{\"version\":1.5,\"offline\":[]}",
		"{\"version\":99999999999999999999,\"offline\":[\"web\"]}",
		"{\"version\":1,\"offline\":[\"\xff\"]}", "{\"version\":1,\"offline\":[\"web\"]"};
	struct fixture *f = *state;
	char *deep = malloc(100001);

	for (size_t i = 0; i < sizeof(damaged) / sizeof(damaged[0]); i++) {
		put(f, SAVED, damaged[i]);
		expect_saved(f, 0, "000");
	}
	assert_non_null(deep);
	memset(deep, '[', 100000);
	deep[100000] = '\0';
	put(f, SAVED, deep);
	expect_saved(f, 0, "000");
	free(deep);
	/* Groups that are no more, and what is no name, are passed over. */
	put(f, SAVED, "{\"version\":5,\"offline\":[1,null,\"gone\",[\"web\"],\"db\",\"db\"]}");
	expect_saved(f, 5, "001");
}

/* ---- history ---- */

static void load(struct fixture *f)
{
	history_free(f->daemon.history);
	f->daemon.history = NULL;
	assert_int_equal(history_new(f->daemon.statefile, &f->daemon.history), 0);
}

static void add(struct fixture *f, int64_t wall_ms, const char *cause)
{
	struct core_record record = {.wall_ms = wall_ms,
		.group = 1,
		.from = 0,
		.to = 2,
		.cause = CAUSE_NODE_LEFT,
		.is_online = true,
		.phase_us = {-1, 0, 1500, 2, 3, 4}};

	snprintf(record.cause_text, sizeof(record.cause_text), "%s", cause);
	history_add(f->daemon.history, &f->daemon, &record);
}

static json_t *entries(struct fixture *f, size_t limit, size_t expected)
{
	json_t *document = history_json(f->daemon.history, limit);
	json_t *list = json_incref(json_object_get(document, "history"));

	assert_non_null(document);
	json_decref(document);
	assert_int_equal(json_array_size(list), expected);
	return list;
}

static const char *text_of(const json_t *list, size_t i, const char *key)
{
	return json_string_value(json_object_get(json_array_get(list, i), key));
}

static void test_history(void **state)
{
	struct fixture *f = *state;
	const json_t *phases;
	json_t *list;

	load(f);
	add(f, 1000, "n1 left");
	add(f, 2000, "n1 left again");
	flush(f);
	load(f);
	list = entries(f, 0, 2);
	assert_string_equal(text_of(list, 0, "group"), "mail");
	assert_string_equal(text_of(list, 0, "from"), "n1");
	assert_string_equal(text_of(list, 0, "to"), "n3");
	assert_string_equal(text_of(list, 0, "kind"), "failover");
	assert_string_equal(text_of(list, 0, "cause"), "n1 left");
	assert_string_equal(text_of(list, 1, "cause"), "n1 left again");
	phases = json_object_get(json_array_get(list, 0), "phases_ms");
	assert_true(json_is_null(json_object_get(phases, "release")));
	assert_true(json_real_value(json_object_get(phases, "decided")) == 1.5);
	json_decref(list);
	list = entries(f, 1, 1);
	assert_string_equal(text_of(list, 0, "cause"), "n1 left again");
	json_decref(list);
	json_decref(entries(f, SIZE_MAX, 2));
}

/* Text that comes from a script or another node, cut in the middle of a character. */
static void test_history_odd_text(void **state)
{
	struct fixture *f = *state;
	json_t *list;

	load(f);
	add(f, 1, "gr\xc3\xbc\xc3");
	add(f, 2, "\xff\xc0\x80\xed\xa0\x80\xf4\x90\x80\x80 ok \xf0\x9f\x98\x80");
	flush(f);
	load(f);
	list = entries(f, 0, 2);
	assert_string_equal(text_of(list, 0, "cause"), "gr\xc3\xbc?");
	assert_string_equal(text_of(list, 1, "cause"), "?????????? ok \xf0\x9f\x98\x80");
	json_decref(list);
}

static void test_history_damaged(void **state)
{
	struct fixture *f = *state;
	json_t *list;

	put(f, HISTORY ".1", "{\"cause\":\"old\"}\n");
	put(f, HISTORY, "{\"cause\":\"one\"}\n\n[1]\n\xff\xfe\nnull\n{\"cause\":\"two\"}\n{\"cau");
	load(f);
	add(f, 3, "three");
	flush(f);
	load(f);
	list = entries(f, 0, 4);
	assert_string_equal(text_of(list, 0, "cause"), "old");
	assert_string_equal(text_of(list, 1, "cause"), "one");
	assert_string_equal(text_of(list, 2, "cause"), "two");
	assert_string_equal(text_of(list, 3, "cause"), "three");
	json_decref(list);
}

static void test_history_bounded(void **state)
{
	struct fixture *f = *state;
	json_t *list;
	char text[16];

	load(f);
	for (int i = 0; i < 500; i++) {
		snprintf(text, sizeof(text), "%d", i);
		add(f, i, text);
	}
	list = entries(f, 0, 200);
	assert_string_equal(text_of(list, 0, "cause"), "300");
	json_decref(list);
	flush(f);
	load(f);
	list = entries(f, 0, 200);
	assert_string_equal(text_of(list, 199, "cause"), "499");
	json_decref(list);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_saved, setup, teardown),
		cmocka_unit_test_setup_teardown(test_saved_hostile, setup, teardown),
		cmocka_unit_test_setup_teardown(test_history, setup, teardown),
		cmocka_unit_test_setup_teardown(test_history_odd_text, setup, teardown),
		cmocka_unit_test_setup_teardown(test_history_damaged, setup, teardown),
		cmocka_unit_test_setup_teardown(test_history_bounded, setup, teardown),
	};

	return cmocka_run_group_tests_name("records", tests, NULL, NULL);
}
