/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The connections to corosync: CPG, quorum, cmap and cfg, on our loop.
 *
 * Invariant: once membership_connect has returned 0, nothing here waits for corosync. libcorosync's
 * calls that have an answer wait for it for ever, so after start only calls without one are made;
 * what else must be said is said by closing a connection, or right after corosync has just
 * delivered something of ours (leaving). What corosync says is read in bounded portions.
 *
 * Order: corosync tells CPG's part of a ring change before the quorum of that ring, and takes no
 * message before all of it is done. So quorum notifications are read before each message is passed
 * on: a message never overtakes the quorum of the ring that it was sent in. Called by the daemon.
 */
#include "clusterd/membership_internal.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clusterd/log.h"
#include "clusterd/loop.h"

#define DISPATCH_MAX 64         /* events read in one go, and */
#define DISPATCH_MAX_NS 5000000 /* not longer than this */
#define JOIN_RETRY_NS 20000000
#define SHUTDOWN_GRACE_NS 10000000000 /* corosync must have stopped by then */
#define BURIAL_RETRY_NS 50000000
#define BURIAL_RETRIES_MAX 40

static void membership_free(struct membership *m);

static bool is_over(const struct membership *m)
{
	return m->is_closed || m->is_lost;
}

static void enter(struct membership *m)
{
	m->depth++;
}

/* The owner may have closed us from within a call of ours. */
static void leave(struct membership *m)
{
	assert(m->depth > 0);
	if (--m->depth == 0 && m->is_closed)
		membership_free(m);
}

static void loop_forget(struct membership *m)
{
	for (int i = 0; i < CONNECTIONS; i++) {
		struct connection *connection = &m->connections[i];

		if (connection->fd >= 0)
			loop_fd_del(m->loop, connection->fd);
		connection->fd = -1;
	}
	loop_timer_del(m->loop, &m->join_timer);
	loop_timer_del(m->loop, &m->shutdown_timer);
	if (m->sender)
		sender_stop(m->sender);
}

static void lost(struct membership *m, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void lost(struct membership *m, const char *fmt, ...)
{
	char why[CORE_TEXT_SIZE];
	va_list ap;

	if (is_over(m))
		return;
	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	m->is_lost = true;
	loop_forget(m);
	m->ops.lost(m->ctx, why);
}

static void tell_view(struct membership *m)
{
	struct membership_view view;

	tracker_view(&m->tracker, &view);
	if (view.self_left) {
		m->has_left = true;
		sender_stop(m->sender);
	} else {
		sender_start(m->sender);
	}
	m->ops.view(m->ctx, &view);
}

/* A process of our own node that joined before us: two daemons would undo each other's work. */
static bool is_alone(struct membership *m)
{
	uint32_t pid = m->tracker.other_pid;

	if (pid == 0)
		return true;
	if (kill((pid_t)pid, 0) < 0 && errno == ESRCH)
		lost(m,
			"corosync still lists process %u of this node, which has ended; if this "
			"stays, restart corosync on this node",
			pid);
	else
		lost(m, "another clusterd runs on this node (process %u); stop one of them", pid);
	return false;
}

static struct membership *cpg_owner(cpg_handle_t handle)
{
	void *ctx = NULL;
	cs_error_t err = cpg_context_get(handle, &ctx);

	assert(err == CS_OK && ctx);
	return ctx;
}

void membership_on_confchg(cpg_handle_t handle, const struct cpg_name *group,
	const struct cpg_address *members, size_t n_members, const struct cpg_address *left,
	size_t n_left, const struct cpg_address *joined, size_t n_joined)
{
	struct membership *m = cpg_owner(handle);
	bool tell;

	(void)group;
	if (is_over(m) || m->has_left)
		return;
	tell = tracker_confchg(&m->tracker, members, n_members, left, n_left, joined, n_joined);
	if (is_alone(m) && tell)
		tell_view(m);
}

void membership_on_totem_confchg(
	cpg_handle_t handle, struct cpg_ring_id ring, uint32_t n_nodes, const uint32_t *nodes)
{
	struct membership *m = cpg_owner(handle);

	if (is_over(m) || m->has_left)
		return;
	if (n_nodes > CORE_MAX_NODES) {
		lost(m, "corosync's ring has %u nodes, more than the %d that clusterd takes",
			n_nodes, CORE_MAX_NODES);
		return;
	}
	if (tracker_ring(&m->tracker, (struct ring_id){.nodeid = ring.nodeid, .seq = ring.seq},
		    nodes, n_nodes))
		tell_view(m);
}

/* A CPG message of another program or version changes nothing; it is named once a sender. */
static void stranger(struct membership *m, uint32_t nodeid, uint32_t pid, bool is_other_version)
{
	const char *name = facts_node_name(&m->facts, nodeid);

	for (uint32_t i = 0; i < m->n_strangers; i++) {
		if (m->strangers[i].nodeid == nodeid && m->strangers[i].pid == pid)
			return;
	}
	if (m->n_strangers == MEMBERSHIP_STRANGERS_MAX)
		return;
	m->strangers[m->n_strangers].nodeid = nodeid;
	m->strangers[m->n_strangers++].pid = pid;
	log_warning("node %s (id %u): messages of process %u are ignored: %s",
		name ? name : "unknown", nodeid, pid,
		is_other_version ? "another version of clusterd; install the same on all nodes"
				 : "no clusterd; which program uses its CPG group?");
}

/* True when there was something. */
static bool dispatch_one(struct connection *connection)
{
	struct membership *m = connection->membership;
	cs_error_t err;

	if (is_over(m) || !connection->is_open)
		return false;
	err = connection->dispatch(connection->handle, CS_DISPATCH_ONE_NONBLOCKING);
	if (err == CS_ERR_TRY_AGAIN)
		return false;
	/* cfg tells nothing but that corosync wants to stop, and has no context for callbacks. */
	if (err == CS_OK && connection == &m->connections[CONNECTION_CFG]) {
		if (!m->shutdown_asked) {
			m->shutdown_asked = true;
			m->ops.shutdown(m->ctx);
		}
		return true;
	}
	if (err != CS_OK && err != CS_ERR_INTERRUPT)
		lost(m, "the connection to corosync broke (%s)", cs_strerror(err));
	return err == CS_OK;
}

static void read_quorum(struct membership *m)
{
	for (int i = 0; i < DISPATCH_MAX; i++) {
		if (!dispatch_one(&m->connections[CONNECTION_QUORUM]))
			break;
	}
}

void membership_on_deliver(cpg_handle_t handle, const struct cpg_name *group, uint32_t nodeid,
	uint32_t pid, void *data, size_t len)
{
	struct membership *m = cpg_owner(handle);
	struct frame_reader reader;
	const void *message;
	enum frame_use use;
	size_t message_len;

	(void)group;
	if (is_over(m))
		return;
	read_quorum(m);
	if (is_over(m) || m->has_left)
		return;
	use = sender_delivered(m->sender, nodeid, pid, data, len, &reader);
	if (use == FRAME_FOREIGN || use == FRAME_VERSION) {
		stranger(m, nodeid, pid, use == FRAME_VERSION);
	} else if (use == FRAME_GAP) {
		lost(m, "corosync dropped a message of ours; see its log for what floods it");
	} else if (use == FRAME_LEAVE) {
		m->leave_now = true;
	} else if (use == FRAME_MESSAGES && tracker_may_speak(&m->tracker, nodeid, pid)) {
		while (!is_over(m) && frame_next(&reader, &message, &message_len))
			m->ops.message(m->ctx, nodeid, message, message_len);
	}
}

void membership_on_quorum(quorum_handle_t handle, uint32_t quorate, struct quorum_ring_id ring,
	uint32_t n_members, const uint32_t *members)
{
	const void *ctx = NULL;
	cs_error_t err = quorum_context_get(handle, &ctx);
	struct membership *m = (struct membership *)(uintptr_t)ctx;

	(void)n_members;
	(void)members;
	assert(err == CS_OK && m);
	if (is_over(m))
		return;
	m->ops.quorum(
		m->ctx, (struct ring_id){.nodeid = ring.nodeid, .seq = ring.seq}, quorate != 0);
	/* The ring change is as good as over: corosync takes messages again. */
	if (!is_over(m))
		sender_kick(m->sender);
}

/* Has an answer, but corosync was alive a moment ago. */
static void leave_group(struct membership *m)
{
	cs_error_t err;

	m->leave_now = false;
	if (is_over(m) || m->has_left)
		return;
	err = cpg_leave(m->connections[CONNECTION_CPG].handle, &m->group);
	if (err == CS_ERR_TRY_AGAIN || err == CS_ERR_INTERRUPT)
		sender_leave(m->sender);
	else if (err != CS_OK)
		lost(m, "corosync does not let us leave the group (%s)", cs_strerror(err));
}

void membership_on_ready(void *ctx, int fd, int revents)
{
	struct connection *connection = ctx;
	struct membership *m = connection->membership;
	int64_t start_ns = clock_boottime_ns();

	(void)fd;
	enter(m);
	if (revents & (POLLHUP | POLLERR | POLLNVAL)) {
		lost(m, "corosync has stopped or crashed");
	} else {
		for (int i = 0; i < DISPATCH_MAX; i++) {
			if (!dispatch_one(connection) ||
				clock_boottime_ns() - start_ns > DISPATCH_MAX_NS)
				break;
		}
		if (m->leave_now)
			leave_group(m);
		if (!is_over(m))
			sender_flush(m->sender);
	}
	leave(m);
}

static void on_send_failed(void *ctx, cs_error_t err)
{
	struct membership *m = ctx;

	enter(m);
	lost(m, "corosync takes no messages (%s)", cs_strerror(err));
	leave(m);
}

/* Calls of the owner */

int membership_open(struct loop *loop, const struct membership_ops *ops, void *ctx,
	struct membership **ret_membership, char *reterr)
{
	struct membership *m;
	int rc;

	m = calloc(1, sizeof(*m));
	if (!m)
		return membership_complain(reterr, -ENOMEM, "out of memory");
	m->loop = loop;
	m->ops = *ops;
	m->ctx = ctx;
	rc = connections_open(m, reterr);
	if (rc < 0) {
		membership_close(m);
		return rc;
	}
	*ret_membership = m;
	return 0;
}

int membership_connect(struct membership *m, char *reterr)
{
	int rc = connections_step(m, reterr);

	if (rc != 0)
		return rc;
	rc = sender_new(m->loop, m->connections[CONNECTION_CPG].handle, m->facts.own_nodeid,
		on_send_failed, m, &m->sender);
	if (rc < 0)
		return membership_complain(reterr, rc, "out of memory");
	tracker_init(&m->tracker, m->facts.own_nodeid, (uint32_t)getpid());
	return 0;
}

static void join_timer_fn(void *ctx);

static int join_now(struct membership *m, char *reterr)
{
	cs_error_t err = cpg_join(m->connections[CONNECTION_CPG].handle, &m->group);

	if (err == CS_OK)
		return 0;
	/* A ring change, or an earlier process with our pid whose leave is still under way. */
	if (err == CS_ERR_TRY_AGAIN || err == CS_ERR_INTERRUPT)
		return loop_timer_add(m->loop, JOIN_RETRY_NS, join_timer_fn, m, "membership join",
			&m->join_timer);
	return membership_complain(reterr, -EIO,
		"corosync does not let us join the group \"%.*s\" (%s)", (int)m->group.length,
		m->group.value, cs_strerror(err));
}

static void join_timer_fn(void *ctx)
{
	struct membership *m = ctx;
	char why[CORE_TEXT_SIZE] = "out of memory";

	enter(m);
	if (!is_over(m) && join_now(m, why) < 0)
		lost(m, "%s", why);
	leave(m);
}

int membership_join(struct membership *m, char *reterr)
{
	char name[sizeof(m->facts.cluster_name) + sizeof("clusterd:")];
	size_t len;

	snprintf(name, sizeof(name), "clusterd:%s", m->facts.cluster_name);
	len = strlen(name);
	if (len > CPG_MAX_NAME_LENGTH - 1)
		len = CPG_MAX_NAME_LENGTH - 1;
	m->group.length = (uint32_t)len;
	memcpy(m->group.value, name, len);
	(void)membership_complain(reterr, 0, "out of memory");
	return join_now(m, reterr);
}

/* Closing */

static void burial_timer_fn(void *ctx)
{
	membership_free(ctx);
}

/* libqb, when the other side is gone, sleeps until the process has ended, 40 ms for each of the
 * connections: so wait for its end on the loop, and only then let libqb clean up. */
static void membership_free(struct membership *m)
{
	assert(m->depth == 0);
	if (m->is_lost && m->corosync_pid > 0 && kill(m->corosync_pid, 0) == 0 &&
		m->burial_retries++ < BURIAL_RETRIES_MAX &&
		loop_timer_add(m->loop, BURIAL_RETRY_NS, burial_timer_fn, m, "membership close",
			&m->burial_timer) == 0)
		return;
	connections_close(m);
	sender_free(m->sender);
	free(m);
}

void membership_close(struct membership *m)
{
	if (!m || m->is_closed)
		return;
	m->is_closed = true;
	loop_forget(m);
	if (m->depth == 0)
		membership_free(m);
}

const struct membership_facts *membership_facts(const struct membership *m)
{
	return &m->facts;
}

int membership_send(struct membership *m, const void *data, size_t len)
{
	return sender_queue(m->sender, data, len);
}

bool membership_is_idle(const struct membership *m)
{
	return sender_is_idle(m->sender);
}

void membership_leave(struct membership *m)
{
	if (is_over(m) || m->has_left || m->is_leaving)
		return;
	m->is_leaving = true;
	sender_leave(m->sender);
}

static void shutdown_timer_fn(void *ctx)
{
	struct membership *m = ctx;

	enter(m);
	lost(m, "corosync wanted to stop, but runs on; joining again");
	leave(m);
}

/* Who closes its cfg connection agrees (remove_ci_from_shutdown in exec/cfg.c, v3.1.7); the call
 * that says so has an answer to wait for. */
void membership_allow_shutdown(struct membership *m)
{
	struct connection *cfg = &m->connections[CONNECTION_CFG];

	if (is_over(m) || !cfg->is_open)
		return;
	loop_fd_del(m->loop, cfg->fd);
	cfg->fd = -1;
	cfg->is_open = false;
	(void)cfg->finalize(cfg->handle);
	if (loop_timer_add(m->loop, SHUTDOWN_GRACE_NS, shutdown_timer_fn, m, "corosync stop",
		    &m->shutdown_timer) < 0)
		log_error("out of memory: if corosync does not stop, restart clusterd");
}
