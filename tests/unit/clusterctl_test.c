/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * clusterctl as its user sees it: the built program against the real control server, whose handler
 * gives documents as docs/control-protocol.md has them. Run in the top build folder, or with
 * CLUSTERCTL naming the program.
 */

#include "tests/unit/control_fixture.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define ARGS_MAX 12
#define OUTPUT_MAX 65536

static const char status_document[] =
	"{'ok':true,'cluster':'lab','node':'n1','version':'0.1.0','phase':'member','difference':'',"
	"'quorate':true,'ring':'1.2c','config_digest':'0123456789abcdef',"
	"'state_digest':'0123456789abcdef','state_version':17,'uptime_s':12.5,"
	"'loop':{'longest_ms':0.25,'longest_in':'cpg','over_budget':0},'rss_kib':4096,"
	"'nodes':[{'name':'n1','nodeid':1,'state':'online','note':''},"
	"{'name':'node-2','nodeid':2,'state':'offline','note':''},"
	"{'name':'n3','nodeid':3,'state':'differs','note':'theirs: failback = true; here: false'}],"
	"'groups':[{'name':'web','state':'stopping','enabled':true,'owner':'n1','target':'n3',"
	"'preferred_owners':['n3','n1'],'failback':false,'may_run_on':['n1'],'why':'asked for',"
	"'since_ms':1700000000000,'problem':'','failed_on':[],"
	"'resources':[{'name':'web-ip','type':'vip','state':'online','what':'10.77.0.50/24 on "
	"eth0'},"
	"{'name':'web-srv','type':'exec','state':'stopping','what':'/usr/local/lib/web start'}]},"
	"{'name':'db','state':'failed','enabled':true,'owner':null,'target':null,"
	"'preferred_owners':[],'failback':true,'may_run_on':['n1'],'why':'no node is left',"
	"'since_ms':null,'problem':'db-ip: no interface on n1: give it one','failed_on':['n1'],"
	"'resources':[{'name':'db-ip','type':'vip','state':'failed','what':'10.77.0.51/24'}]},"
	"{'name':'off','state':'offline','enabled':false,'owner':null,'target':null,"
	"'preferred_owners':['n1'],'failback':true,'may_run_on':[],'why':'taken offline',"
	"'since_ms':null,'problem':'','failed_on':[],'resources':[]}]}";

static const char status_text[] =
	"Cluster lab, seen from n1: quorate, ring 1.2c\n"
	"\n"
	"Nodes\n"
	"  n1      online   (this node)\n"
	"  node-2  offline\n"
	"  n3      differs\n"
	"\n"
	"Groups\n"
	"  web   stopping on n1, moving to n3  preferred: n3, n1\n"
	"    web-ip   online    vip   10.77.0.50/24 on eth0\n"
	"    web-srv  stopping  exec  /usr/local/lib/web start\n"
	"  db    failed  preferred: any node\n"
	"    db-ip  failed   vip   10.77.0.51/24\n"
	"  off   offline (taken offline by an administrator)  preferred: n1\n"
	"\n"
	"Problems\n"
	"  node node-2: offline: its machine, its corosync or its clusterd does not run, or the "
	"network to it is cut\n"
	"  node n3: theirs: failback = true; here: false\n"
	"  group db: db-ip: no interface on n1: give it one\n";

static const char alone_document[] =
	"{'ok':true,'cluster':'lab','node':'n1','phase':'no-quorum','quorate':false,'ring':'',"
	"'nodes':[{'name':'n1','nodeid':0,'state':'unknown','note':''}],'groups':[]}";

static const char alone_text[] =
	"Cluster lab, seen from n1: NO QUORUM\n"
	"\n"
	"Nodes\n"
	"  n1  unknown  (this node)\n"
	"\n"
	"Groups\n"
	"  none in the config\n"
	"\n"
	"Problems\n"
	"  this node has no quorum: nothing may be started here until more nodes are reachable; "
	"'corosync-quorumtool' lists them\n";

static const char history_document[] =
	"{'ok':true,'history':["
	"{'time_ms':1700000000123,'group':'web','from':null,'to':'n1','kind':'start',"
	"'cause':'the cluster started','result':'online','phases_ms':{'release':null,'quorum':0.5,"
	"'decided':1,'address':1.25,'announced':1.5,'online':30.125}},"
	"{'time_ms':1700000001456,'group':'db','from':'n1','to':'n2','kind':'failover',"
	"'cause':'n1 left the cluster','result':'failed','phases_ms':{'release':null,'quorum':null,"
	"'decided':null,'address':null,'announced':null,'online':null}}]}";

static const char history_text[] =
	"2023-11-14 22:13:20.123  web   start     nobody -> n1  online  the cluster started\n"
	"    ms: quorum 0.50, decided 1.00, address 1.25, announced 1.50, online 30.12\n"
	"2023-11-14 22:13:21.456  db    failover  n1 -> n2  failed  n1 left the cluster\n";

static const char good_facts[] =
	"{'ok':true,'cluster':'lab','token_ms':500,'consensus_ms':600,'token_retransmits':4,"
	"'hold_ms':85,'knet_ping_interval_ms':200,'knet_ping_timeout_ms':600,'two_node':false,"
	"'encrypted':true,'expected_votes':3,'n_nodes':3}";

static const char good_check[] =
	"Cluster lab: 3 nodes; corosync runs with token 500 ms, consensus 600 ms\n"
	"\n"
	"When a node dies, its virtual IPs are back after 1.02 to 1.16 s:\n"
	"  its token is missed          415 to   500 ms\n"
	"  a ring forms without it      600 ms more\n"
	"  clusterd takes over            5 to    60 ms more\n"
	"What else a group starts, such as a service, comes on top.\n"
	"\n"
	"This meets two seconds.\n";

/* What corosync gives without any setting, on three nodes. */
static const char stock_facts[] =
	"{'ok':true,'cluster':'lab','token_ms':3650,'consensus_ms':4380,'token_retransmits':4,"
	"'hold_ms':685,'knet_ping_interval_ms':912,'knet_ping_timeout_ms':1825,'two_node':false,"
	"'encrypted':false,'expected_votes':3,'n_nodes':3}";

/* ---- running it ---- */

struct call {
	const char *args[ARGS_MAX];
	bool is_not_root, is_bash; /* is_bash: run bash with these arguments instead */
	int out, err;              /* memory files */
	int status;
	char stdout_text[OUTPUT_MAX], stderr_text[OUTPUT_MAX];
};

static int child_exec(void *arg)
{
	struct call *call = arg;
	const char *program = getenv("CLUSTERCTL");
	const char *argv[ARGS_MAX + 2] = {"clusterctl"};

	for (unsigned i = 0; call->args[i]; i++)
		argv[i + 1] = call->args[i];
	dup2(open("/dev/null", O_RDONLY), STDIN_FILENO);
	dup2(call->out, STDOUT_FILENO);
	dup2(call->err, STDERR_FILENO);
	setenv("TZ", "UTC", 1);
	if (call->is_not_root && (setgid(65534) != 0 || setuid(65534) != 0))
		return 98;
	if (call->is_bash)
		execv("/bin/bash", (char **)argv);
	else
		execv(program ? program : "clusterctl/clusterctl", (char **)argv);
	perror("execv");
	return 98;
}

static void read_back(int fd, char *ret_text)
{
	ssize_t n = pread(fd, ret_text, OUTPUT_MAX - 1, 0);

	assert_true(n >= 0);
	ret_text[n] = '\0';
	close(fd);
}

static void clusterctl(struct fixture *fixture, struct call *call)
{
	call->out = memfd_create("stdout", MFD_CLOEXEC);
	call->err = memfd_create("stderr", MFD_CLOEXEC);
	assert_true(call->out >= 0 && call->err >= 0);
	call->status = fixture_run(fixture, child_exec, call);
	read_back(call->out, call->stdout_text);
	read_back(call->err, call->stderr_text);
}

/* A document in the test's own spelling, ' for ". */
static json_t *document(const char *text)
{
	char *json = strdup(text);
	json_t *doc;

	assert_non_null(json);
	for (char *at = json; (at = strchr(at, '\''));)
		*at = '"';
	doc = json_loads(json, 0, NULL);
	assert_non_null(doc);
	free(json);
	return doc;
}

static void answer_document(struct fixture *fixture, uint64_t id, const json_t *request)
{
	(void)request;
	control_reply(fixture->control, id, document(fixture->document));
}

/* clusterctl with these arguments gets this answer: what it prints and how it exits. */
static void expect(struct fixture *fixture, struct call *call, const char *answer, int status,
	const char *stdout_text, const char *stderr_part)
{
	fixture->answer = answer_document;
	fixture->document = answer;
	clusterctl(fixture, call);
	if (stderr_part)
		assert_non_null(strstr(call->stderr_text, stderr_part));
	else
		assert_string_equal(call->stderr_text, "");
	if (stdout_text)
		assert_string_equal(call->stdout_text, stdout_text);
	assert_int_equal(call->status, status);
}

static void expect_request(struct fixture *fixture, const char *text)
{
	json_t *expected = document(text);

	if (!json_equal(fixture->last_request, expected)) {
		char *got = json_dumps(fixture->last_request, 0);

		fail_msg("it asked %s", got);
	}
	json_decref(expected);
}

/* ---- the tests ---- */

static void test_status(void **state)
{
	struct fixture *fixture = *state;
	struct call call = {.args = {"status"}}, json = {.args = {"status", "--json"}};
	json_t *printed, *doc = document(status_document);

	expect(fixture, &call, status_document, 0, status_text, NULL);
	expect_request(fixture, "{'verb':'status'}");
	expect(fixture, &call, alone_document, 0, alone_text, NULL);
	expect(fixture, &json, status_document, 0, NULL, NULL);
	printed = json_loads(json.stdout_text, 0, NULL);
	assert_true(json_equal(printed, doc));
	json_decref(printed);
	json_decref(doc);
}

static void test_orders(void **state)
{
	static const char done[] =
		"{'ok':true,'group':'web','owner':'n2','state':'online','took_ms':12.34}";
	static const char decided[] =
		"{'ok':true,'group':'web','owner':'n1','state':'stopping','took_ms':null}";
	static const char stopped[] =
		"{'ok':true,'group':'web','owner':null,'state':'offline','took_ms':5}";
	struct fixture *fixture = *state;
	struct call wait = {.args = {"failover", "web-ip", "--to", "n2", "--wait"}};
	struct call go = {.args = {"failover", "web"}};
	struct call online = {.args = {"online", "--wait=7", "web"}};
	struct call offline = {.args = {"offline", "web", "--wait"}};

	expect(fixture, &wait, done, 0, "group web: online on n2 after 12.3 ms\n", NULL);
	expect_request(fixture,
		"{'verb':'failover','name':'web-ip','to':'n2','wait':true,'timeout_ms':60000}");
	expect(fixture, &go, decided, 0, "group web: decided; now stopping on n1\n", NULL);
	expect_request(fixture, "{'verb':'failover','name':'web','wait':false}");
	expect(fixture, &online, done, 0, NULL, NULL);
	expect_request(fixture, "{'verb':'online','name':'web','wait':true,'timeout_ms':7000}");
	expect(fixture, &offline, stopped, 0, "group web: offline after 5.0 ms\n", NULL);
	expect_request(fixture, "{'verb':'offline','name':'web','wait':true,'timeout_ms':60000}");
}

static void test_refusals(void **state)
{
	static const struct {
		const char *code;
		int status;
	} table[] = {{"invalid", 1}, {"not-found", 1}, {"refused", 1}, {"failed", 1},
		{"internal", 1}, {"a-code-of-tomorrow", 1}, {"no-quorum", 4}, {"timeout", 5}};
	struct fixture *fixture = *state;
	struct call call = {.args = {"failover", "web"}};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		char answer[128];

		snprintf(answer, sizeof(answer), "{'ok':false,'code':'%s','error':'no, because'}",
			table[i].code);
		expect(fixture, &call, answer, table[i].status, "", "clusterctl: no, because\n");
	}
}

static void test_history(void **state)
{
	struct fixture *fixture = *state;
	struct call call = {.args = {"history"}}, few = {.args = {"history", "--limit", "3"}};

	expect(fixture, &call, history_document, 0, history_text, NULL);
	expect_request(fixture, "{'verb':'history'}");
	expect(fixture, &few, "{'ok':true,'history':[]}", 0, "nothing has moved yet\n", NULL);
	expect_request(fixture, "{'verb':'history','limit':3}");
}

static void test_check(void **state)
{
	struct fixture *fixture = *state;
	struct call call = {.args = {"check"}}, json = {.args = {"check", "--json"}};
	json_t *doc;

	expect(fixture, &call, good_facts, 0, good_check, NULL);
	expect_request(fixture, "{'verb':'facts'}");
	expect(fixture, &call, stock_facts, 1, NULL, NULL);
	assert_non_null(strstr(call.stdout_text, "back after 7.35 to 8.09 s"));
	assert_non_null(strstr(call.stdout_text, "does NOT meet two seconds"));
	assert_non_null(strstr(call.stdout_text, "token_coefficient: 0"));
	assert_non_null(strstr(call.stdout_text, "neither encrypted"));
	expect(fixture, &json, stock_facts, 1, NULL, NULL);
	doc = json_loads(json.stdout_text, 0, NULL);
	assert_true(json_is_false(json_object_get(doc, "meets_two_seconds")));
	assert_int_equal(json_integer_value(json_object_get(doc, "takeover_max_ms")), 8090);
	assert_int_equal(json_array_size(json_object_get(doc, "warnings")), 2);
	assert_int_equal(
		json_integer_value(json_object_get(json_object_get(doc, "corosync"), "token_ms")),
		3650);
	json_decref(doc);
}

static void test_complete(void **state)
{
	struct fixture *fixture = *state;
	struct call groups = {.args = {"complete", "groups"}};
	struct call nodes = {.args = {"complete", "nodes"}};
	struct call resources = {.args = {"complete", "resources"}};

	expect(fixture, &groups, status_document, 0, "web\ndb\noff\n", NULL);
	expect(fixture, &nodes, status_document, 0, "n1\nnode-2\nn3\n", NULL);
	expect(fixture, &resources, status_document, 0, "web-ip\nweb-srv\ndb-ip\n", NULL);
}

/* What bash offers for a line whose last word is being typed. */
static void expect_completion(struct fixture *fixture, const char *words, const char *offers)
{
	const char *program = getenv("CLUSTERCTL"), *srcdir = getenv("srcdir");
	char script[1024];
	struct call call = {.args = {"-c", script}, .is_bash = true};

	snprintf(script, sizeof(script),
		". %s/etc/clusterctl.bash-completion; COMP_WORDS=(%s %s); "
		"COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _clusterctl; echo \"${COMPREPLY[*]}\"",
		srcdir ? srcdir : ".", program ? program : "clusterctl/clusterctl", words);
	expect(fixture, &call, status_document, 0, offers, NULL);
}

static void test_bash(void **state)
{
	struct fixture *fixture = *state;

	expect_completion(fixture, "f", "failover\n");
	expect_completion(fixture, "failover w", "web web-ip web-srv\n");
	expect_completion(fixture, "failover web --t", "--to\n");
	expect_completion(fixture, "failover web --to n", "n1 node-2 n3\n");
	expect_completion(fixture, "offline ''", "web db off\n");
	expect_completion(fixture, "corosync-conf --profile d", "default\n");
	expect_completion(fixture, "status x", "\n");
}

static void test_usage(void **state)
{
	static const struct call calls[] = {
		{.args = {NULL}},
		{.args = {"stauts"}},
		{.args = {"status", "web"}},
		{.args = {"status", "--jason"}},
		{.args = {"failover"}},
		{.args = {"failover", "a", "b"}},
		{.args = {"failover", "a", "--to"}},
		{.args = {"failover", "a", "--wait=0"}},
		{.args = {"failover", "a", "--wait=1h"}},
		{.args = {"online", "a", "--wait=99999999999999999999"}},
		{.args = {"offline"}},
		{.args = {"history", "--limit", "-1"}},
		{.args = {"history", "--limit", ""}},
		{.args = {"check", "now"}},
		{.args = {"corosync-conf", "--profile", "slow"}},
		{.args = {"complete", "words"}},
		{.args = {"failover", "\xff\xfe"}},
	};
	struct fixture *fixture = *state;

	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		struct call call = calls[i];

		clusterctl(fixture, &call);
		assert_string_equal(call.stdout_text, "");
		assert_true(strlen(call.stderr_text) > 20);
		assert_int_equal(call.status, 2);
	}
	assert_int_equal(fixture->n_requests, 0);
}

static void test_help(void **state)
{
	static const char *const verbs[] = {
		"status", "failover", "online", "offline", "history", "check", "corosync-conf"};
	struct fixture *fixture = *state;
	struct call all = {.args = {"--help"}};

	clusterctl(fixture, &all);
	assert_int_equal(all.status, 0);
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		struct call call = {.args = {verbs[i], "--help"}};
		char head[64];

		assert_non_null(strstr(all.stdout_text, verbs[i]));
		clusterctl(fixture, &call);
		assert_int_equal(call.status, 0);
		snprintf(head, sizeof(head), "Usage: clusterctl %s", verbs[i]);
		assert_memory_equal(call.stdout_text, head, strlen(head));
	}
}

static void test_unreachable(void **state)
{
	struct fixture *fixture = *state;
	struct call not_root = {.args = {"status"}, .is_not_root = true};
	struct call nobody = {.args = {"status"}};

	clusterctl(fixture, &not_root);
	assert_int_equal(not_root.status, 3);
	assert_non_null(strstr(not_root.stderr_text, "only root"));
	control_free(fixture->control);
	fixture->control = NULL;
	clusterctl(fixture, &nobody);
	assert_int_equal(nobody.status, 3);
	assert_non_null(strstr(nobody.stderr_text, "systemctl start clusterd"));
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_status),
		TEST(test_orders),
		TEST(test_refusals),
		TEST(test_history),
		TEST(test_check),
		TEST(test_complete),
		TEST(test_bash),
		TEST(test_usage),
		TEST(test_help),
		TEST(test_unreachable),
	};

	if (!fixture_prepare())
		return 77;
	alarm(4 * FIXTURE_LIMIT_S);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
