/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Joins the cluster's process group as clusterd does, and prints what the corosync adapter tells:
 * one line an event, first the CLOCK_BOOTTIME in nanoseconds. Commands come on stdin, one a line.
 *
 * Invariant: nothing is decided here; what is printed is what the daemon would have been told.
 * Called by tests/live/membership_test.py; useful by hand to record a trace of a real cluster.
 *
 *   facts             corosync's running values
 *   send N [SIZE]     N messages, with the time of sending and a number of their own each
 *   count             from now on count messages instead of printing them
 *   stats             the loop's stopwatch
 *   leave             leave the group in order (after what was sent)
 *   allow             let corosync stop
 *   quit              end, in whatever state
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clusterd/log.h"
#include "clusterd/loop.h"
#include "clusterd/membership.h"

#define LINE_MAX_SIZE 256

struct trace {
	struct loop *loop;
	struct membership *membership;
	uint64_t sent, received;
	bool counts_only;
	uint64_t last[CORE_MAX_NODES + 1]; /* number of each sender, by node id */
	uint64_t out_of_order;
	char line[LINE_MAX_SIZE];
	size_t line_len;
};

struct payload {
	uint64_t number;
	int64_t sent_ns;
};

static void stamp(const char *event)
{
	printf("%" PRId64 " %s", clock_boottime_ns(), event);
}

static void on_view(void *ctx, const struct membership_view *view)
{
	(void)ctx;
	stamp("view");
	printf(" ring=%" PRIu32 ".%" PRIx64 " members=", view->ring.nodeid, view->ring.seq);
	for (uint32_t i = 0; i < view->n_members; i++)
		printf("%s%" PRIu32 "%s", i > 0 ? "," : "", view->members[i].nodeid,
			view->members[i].fresh ? "*" : "");
	printf(" nodes=");
	for (uint32_t i = 0; i < view->n_ring; i++)
		printf("%s%" PRIu32, i > 0 ? "," : "", view->ring_nodes[i]);
	printf(" self_left=%d\n", view->self_left);
}

static void on_quorum(void *ctx, struct ring_id ring, bool quorate)
{
	(void)ctx;
	stamp("quorum");
	printf(" ring=%" PRIu32 ".%" PRIx64 " quorate=%d\n", ring.nodeid, ring.seq, quorate);
}

static void on_message(void *ctx, uint32_t nodeid, const void *data, size_t len)
{
	struct trace *trace = ctx;
	struct payload payload = {.number = 0};
	int64_t now_ns = clock_boottime_ns();

	if (len < sizeof(payload)) {
		stamp("message");
		printf(" node=%" PRIu32 " len=%zu\n", nodeid, len);
		return;
	}
	memcpy(&payload, data, sizeof(payload));
	trace->received++;
	if (nodeid <= CORE_MAX_NODES) {
		if (trace->last[nodeid] > 0 && payload.number != trace->last[nodeid] + 1)
			trace->out_of_order++;
		trace->last[nodeid] = payload.number;
	}
	if (trace->counts_only)
		return;
	printf("%" PRId64 " message node=%" PRIu32 " len=%zu number=%" PRIu64 " latency_ns=%" PRId64
	       "\n",
		now_ns, nodeid, len, payload.number, now_ns - payload.sent_ns);
}

static void on_lost(void *ctx, const char *why)
{
	struct trace *trace = ctx;

	stamp("lost");
	printf(" why=%s\n", why);
	membership_close(trace->membership);
	trace->membership = NULL;
}

static void on_shutdown(void *ctx)
{
	(void)ctx;
	stamp("shutdown");
	printf("\n");
}

static void print_facts(const struct membership_facts *facts)
{
	stamp("facts");
	printf(" cluster=%s own=%" PRIu32 " token=%" PRIu32 " consensus=%" PRIu32
	       " retransmits=%" PRIu32 " hold=%" PRIu32 " ping_interval=%" PRIu32
	       " ping_timeout=%" PRIu32 " two_node=%d secauth=%d expected_votes=%" PRIu32 " nodes=",
		facts->cluster_name, facts->own_nodeid, facts->token_ms, facts->consensus_ms,
		facts->token_retransmits, facts->hold_ms, facts->knet_ping_interval_ms,
		facts->knet_ping_timeout_ms, facts->two_node, facts->secauth,
		facts->expected_votes);
	for (uint32_t i = 0; i < facts->n_nodes; i++)
		printf("%s%" PRIu32 ":%s:%s", i > 0 ? "," : "", facts->nodes[i].nodeid,
			facts->nodes[i].name, facts->nodes[i].address);
	printf("\n");
}

static void send_many(struct trace *trace, unsigned long n, size_t size)
{
	char *data = calloc(1, size);
	int rc = data ? 0 : -ENOMEM;
	int64_t start_ns = clock_boottime_ns();

	for (unsigned long i = 0; rc == 0 && i < n; i++) {
		struct payload payload = {.number = ++trace->sent, .sent_ns = clock_boottime_ns()};

		memcpy(data, &payload, sizeof(payload));
		rc = membership_send(trace->membership, data, size);
	}
	free(data);
	stamp("sent");
	printf(" last=%" PRIu64 " rc=%d took_ns=%" PRId64 "\n", trace->sent, rc,
		clock_boottime_ns() - start_ns);
}

static void command(struct trace *trace, const char *line)
{
	const struct loop_stats *stats = loop_stats(trace->loop);
	unsigned long n, size = sizeof(struct payload);

	if (strcmp(line, "quit") == 0) {
		loop_stop(trace->loop);
	} else if (strcmp(line, "stats") == 0) {
		stamp("stats");
		printf(" longest_ns=%" PRId64 " longest=%s over_budget=%" PRIu64
		       " received=%" PRIu64 " out_of_order=%" PRIu64 " idle=%d\n",
			stats->longest_ns, stats->longest_label, stats->over_budget,
			trace->received, trace->out_of_order,
			trace->membership ? membership_is_idle(trace->membership) : -1);
	} else if (strcmp(line, "count") == 0) {
		trace->counts_only = true;
	} else if (!trace->membership) {
		stamp("error");
		printf(" not connected\n");
	} else if (strcmp(line, "facts") == 0) {
		print_facts(membership_facts(trace->membership));
	} else if (strcmp(line, "leave") == 0) {
		membership_leave(trace->membership);
	} else if (strcmp(line, "allow") == 0) {
		membership_allow_shutdown(trace->membership);
	} else if (sscanf(line, "send %lu %lu", &n, &size) >= 1) {
		send_many(trace, n, size < sizeof(struct payload) ? sizeof(struct payload) : size);
	} else {
		stamp("error");
		printf(" unknown command %s\n", line);
	}
}

static void on_stdin(void *ctx, int fd, int revents)
{
	struct trace *trace = ctx;
	char *end;
	ssize_t n =
		read(fd, trace->line + trace->line_len, sizeof(trace->line) - 1 - trace->line_len);

	(void)revents;
	if (n <= 0) {
		loop_stop(trace->loop);
		return;
	}
	trace->line_len += (size_t)n;
	trace->line[trace->line_len] = '\0';
	while ((end = strchr(trace->line, '\n'))) {
		*end = '\0';
		command(trace, trace->line);
		trace->line_len -= (size_t)(end + 1 - trace->line);
		memmove(trace->line, end + 1, trace->line_len + 1);
	}
	if (trace->line_len == sizeof(trace->line) - 1)
		trace->line_len = 0;
}

int main(void)
{
	static const struct membership_ops ops = {.view = on_view,
		.quorum = on_quorum,
		.message = on_message,
		.lost = on_lost,
		.shutdown = on_shutdown};
	struct trace trace = {.loop = NULL};
	char why[CORE_TEXT_SIZE] = "";
	int64_t start_ns = clock_boottime_ns();
	int rc;

	setvbuf(stdout, NULL, _IOLBF, 0);
	log_init("membership_trace", true, true);
	if (loop_new(&trace.loop) < 0)
		return 1;
	rc = membership_open(trace.loop, &ops, &trace, &trace.membership, why);
	if (rc == 0)
		while ((rc = membership_connect(trace.membership, why)) > 0)
			continue;
	if (rc == 0) {
		stamp("open");
		printf(" pid=%d took_ns=%" PRId64 "\n", (int)getpid(),
			clock_boottime_ns() - start_ns);
		rc = membership_join(trace.membership, why);
	}
	if (rc < 0) {
		stamp("error");
		printf(" rc=%d took_ns=%" PRId64 " why=%s\n", rc, clock_boottime_ns() - start_ns,
			why);
		return 1;
	}
	rc = loop_fd_add(trace.loop, STDIN_FILENO, POLLIN, on_stdin, &trace, "stdin");
	if (rc == 0)
		loop_run(trace.loop);
	membership_close(trace.membership);
	loop_free(trace.loop);
	log_fini();
	return rc == 0 ? 0 : 1;
}
