/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * clusterctl history: each takeover with its cause and its measured phases.
 */
#include "clusterctl/clusterctl.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "clusterctl/print.h"

#define HISTORY_LIMIT_MAX 1000000

static const char history_help[] =
	"Usage: clusterctl history [--limit N] [--json]\n\n"
	"Lists the takeovers and moves that this node knows of, oldest first, each with its cause\n"
	"and its phases: milliseconds since the last proof that the start needed (the ring "
	"change,\n"
	"or the old holder's word that it let go; 'release' is how long that took).\n\n"
	"  --limit N       only the newest N\n"
	"  --json          the document (docs/control-protocol.md tells every field)\n"
	"  -h, --help      this text\n";

static void print_time(json_int_t time_ms)
{
	time_t seconds = (time_t)(time_ms / 1000);
	struct tm tm;
	char text[32];

	if (localtime_r(&seconds, &tm) && strftime(text, sizeof(text), "%F %T", &tm))
		printf("%s.%03d", text, (int)(time_ms % 1000));
	else
		printf("%lld", (long long)time_ms);
}

static void print_phases(const json_t *phases, const struct style *style)
{
	static const char *const names[] = {
		"release", "quorum", "decided", "address", "announced", "online"};
	int n = 0;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		const json_t *phase = json_object_get(phases, names[i]);

		if (json_is_number(phase))
			printf("%s%s%s %.2f", n ? "" : style->faint,
				n ? ", " : "    ms: ", names[i], json_number_value(phase));
		n += json_is_number(phase);
	}
	if (n)
		printf("%s\n", style->off);
}

static void print_history(const json_t *entries)
{
	struct style style = style_get();
	int group_width = width_of(entries, "group", 4), kind_width = width_of(entries, "kind", 5);
	size_t i;
	json_t *entry;

	if (json_array_size(entries) == 0)
		printf("nothing has moved yet\n");
	json_array_foreach(entries, i, entry)
	{
		const char *from = text_of(entry, "from"), *to = text_of(entry, "to");
		const char *result = text_of(entry, "result");

		print_time(json_integer_value(json_object_get(entry, "time_ms")));
		printf("  %s%-*s%s  %-*s  %s -> %s  %s%s%s  %s\n", style.bold, group_width,
			text_of(entry, "group"), style.off, kind_width, text_of(entry, "kind"),
			*from ? from : "nobody", *to ? to : "nobody",
			style_of_state(&style, result), result, style.off, text_of(entry, "cause"));
		print_phases(json_object_get(entry, "phases_ms"), &style);
	}
}

static int parse_limit(const char *text, json_int_t *ret_limit)
{
	char *end;
	long limit;

	errno = 0;
	limit = strtol(text, &end, 10);
	if (errno || end == text || *end || limit < 1 || limit > HISTORY_LIMIT_MAX)
		return -EINVAL;
	*ret_limit = limit;
	return 0;
}

static enum ctl_exit history_run(int argc, char **argv)
{
	static const struct option options[] = {{"limit", required_argument, NULL, 'l'},
		{"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'}, {0}};
	json_int_t limit = 0;
	json_t *request, *doc = NULL;
	int opt, as_json = 0;
	enum ctl_exit status;

	while ((opt = getopt_long(argc, argv, "h", options, NULL)) != -1)
		switch (opt) {
		case 'l':
			if (parse_limit(optarg, &limit) < 0)
				return ctl_usage(
					&verb_history, "--limit %s: say a number from 1", optarg);
			break;
		case 'j': as_json = 1; break;
		case 'h': return ctl_help(&verb_history);
		default: return ctl_usage(&verb_history, NULL);
		}
	if (optind < argc)
		return ctl_usage(&verb_history, "'%s' is one argument too many", argv[optind]);
	request = limit ? json_pack("{s:s, s:I}", "verb", "history", "limit", limit)
			: json_pack("{s:s}", "verb", "history");
	status = client_ask(request, CLIENT_TIMEOUT_MS, &doc);
	if (status != CTL_DONE)
		return status;
	if (as_json)
		print_json(doc);
	else
		print_history(json_object_get(doc, "history"));
	json_decref(doc);
	return CTL_DONE;
}

const struct verb verb_history = {
	"history", "what moved when, why, and how fast", history_help, history_run};
