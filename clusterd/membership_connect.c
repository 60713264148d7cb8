/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Opening and closing the connections to corosync.
 *
 * Invariant: no call here waits for a corosync that hangs, though libcorosync's own would: before
 * the first of them corosync is seen to answer. Called by membership.c.
 */
#include "clusterd/membership_internal.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <corosync/cfg.h>
#include <qb/qbipcc.h>

#include "clusterd/loop.h"

#define ANSWER_MAX_MS 100 /* for corosync's first answer */

int membership_complain(char *reterr, int rc, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(reterr, CORE_TEXT_SIZE, fmt, ap);
	va_end(ap);
	return rc;
}

static int connect_error(const char *service, cs_error_t err, char *reterr)
{
	switch (err) {
	case CS_OK: return 0;
	case CS_ERR_ACCESS:
		return membership_complain(reterr, -EACCES,
			"corosync does not let us in (%s): run clusterd as root", service);
	case CS_ERR_LIBRARY: /* nobody listens */
	case CS_ERR_TRY_AGAIN:
	case CS_ERR_NOT_EXIST:
		return membership_complain(reterr, -EAGAIN,
			"corosync is not running (%s); start it: systemctl start corosync",
			service);
	default:
		return membership_complain(reterr, -EIO, "corosync's %s service can't be used (%s)",
			service, cs_strerror(err));
	}
}

/* libcorosync's own connects wait for a corosync that hangs; so see first that it answers. */
static int corosync_answers(char *reterr)
{
	struct pollfd answer = {.fd = -1, .events = POLLIN};
	/* The size only has to be one that corosync accepts. */
	qb_ipcc_connection_t *connection = qb_ipcc_connect_async("cpg", 8192, &answer.fd);
	int n;

	if (!connection)
		return connect_error("cpg", CS_ERR_LIBRARY, reterr);
	n = poll(&answer, 1, ANSWER_MAX_MS);
	if (n != 1) {
		/* There is no way back from here but to go on; that needs an answer or an end. */
		shutdown(answer.fd, SHUT_RDWR);
	}
	if (qb_ipcc_connect_continue(connection) == 0)
		qb_ipcc_disconnect(connection);
	else if (n == 1)
		return connect_error("cpg", CS_ERR_TRY_AGAIN, reterr);
	if (n != 1)
		return membership_complain(reterr, -EAGAIN,
			"corosync does not answer; is it stopped or starved? See systemctl status "
			"corosync");
	return 0;
}

static void connection_init(struct membership *m, int which,
	cs_error_t (*dispatch)(uint64_t, cs_dispatch_flags_t), cs_error_t (*finalize)(uint64_t),
	const char *label)
{
	m->connections[which] = (struct connection){.membership = m,
		.fd = -1,
		.dispatch = dispatch,
		.finalize = finalize,
		.label = label};
}

static int connection_ready(struct membership *m, int which, cs_error_t err, int fd, char *reterr)
{
	struct connection *connection = &m->connections[which];

	if (err != CS_OK)
		return connect_error(connection->label, err, reterr);
	connection->fd = fd;
	return 0;
}

/* All at once: nobody is told anything before everything is there. */
static int connections_watch(struct membership *m, char *reterr)
{
	for (int i = 0; i < CONNECTIONS; i++) {
		struct connection *connection = &m->connections[i];
		int rc = loop_fd_add(m->loop, connection->fd, POLLIN, membership_on_ready,
			connection, connection->label);

		if (rc < 0)
			return membership_complain(reterr, rc, "%s: can't be watched: %s",
				connection->label, strerror(-rc));
	}
	return 0;
}

static int open_cpg(struct membership *m, char *reterr)
{
	cpg_model_v1_data_t model = {.model = CPG_MODEL_V1,
		.cpg_deliver_fn = membership_on_deliver,
		.cpg_confchg_fn = membership_on_confchg,
		.cpg_totem_confchg_fn = membership_on_totem_confchg,
		.flags = CPG_MODEL_V1_DELIVER_INITIAL_TOTEM_CONF};
	struct connection *connection = &m->connections[CONNECTION_CPG];
	struct ucred peer = {.pid = 0};
	socklen_t len = sizeof(peer);
	uint32_t atomic_max = 0;
	cs_error_t err;
	int fd = -1;

	err = cpg_model_initialize(
		&connection->handle, CPG_MODEL_V1, (cpg_model_data_t *)&model, m);
	connection->is_open = err == CS_OK;
	if (err == CS_OK)
		err = cpg_fd_get(connection->handle, &fd);
	if (err == CS_OK)
		err = cpg_max_atomic_msgsize_get(connection->handle, &atomic_max);
	if (err == CS_OK && getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0)
		m->corosync_pid = peer.pid;
	/* Larger ones would be cut in pieces by libcpg, which waits for each: 1 MiB as of 3.1.7. */
	if (err == CS_OK && atomic_max < MEMBERSHIP_MESSAGE_MAX + 1024)
		return membership_complain(reterr, -EMSGSIZE,
			"corosync takes messages of %u bytes at most, %u are needed; use corosync "
			"3.1 "
			"or newer",
			atomic_max, MEMBERSHIP_MESSAGE_MAX + 1024);
	return connection_ready(m, CONNECTION_CPG, err, fd, reterr);
}

static int open_quorum(struct membership *m, char *reterr)
{
	quorum_model_v1_data_t model = {
		.model = QUORUM_MODEL_V1, .quorum_notify_fn = membership_on_quorum};
	struct connection *connection = &m->connections[CONNECTION_QUORUM];
	uint32_t type = QUORUM_FREE;
	cs_error_t err;
	int fd = -1;

	err = quorum_model_initialize(
		&connection->handle, QUORUM_MODEL_V1, (quorum_model_data_t *)&model, &type, m);
	connection->is_open = err == CS_OK;
	if (err == CS_OK && type == QUORUM_FREE)
		return membership_complain(reterr, -EINVAL,
			"corosync has no quorum provider: without one both halves of a split "
			"cluster "
			"would go on; set 'quorum { provider: corosync_votequorum }'");
	if (err == CS_OK)
		err = quorum_fd_get(connection->handle, &fd);
	if (err == CS_OK)
		err = quorum_trackstart(connection->handle, CS_TRACK_CURRENT | CS_TRACK_CHANGES);
	return connection_ready(m, CONNECTION_QUORUM, err, fd, reterr);
}

static int open_cmap(struct membership *m, char *reterr)
{
	struct connection *connection = &m->connections[CONNECTION_CMAP];
	cs_error_t err;
	int fd = -1, rc;

	err = cmap_initialize(&connection->handle);
	connection->is_open = err == CS_OK;
	if (err == CS_OK)
		err = cmap_fd_get(connection->handle, &fd);
	if (err == CS_OK) {
		rc = facts_read(connection->handle, &m->facts, reterr);
		if (rc < 0)
			return rc;
		rc = facts_track(connection->handle, &m->facts, reterr);
		if (rc < 0)
			return rc;
	}
	return connection_ready(m, CONNECTION_CMAP, err, fd, reterr);
}

static int open_cfg(struct membership *m, char *reterr)
{
	struct connection *connection = &m->connections[CONNECTION_CFG];
	cs_error_t err;
	int fd = -1;

	err = corosync_cfg_initialize(&connection->handle, NULL);
	connection->is_open = err == CS_OK;
	if (err == CS_OK)
		err = corosync_cfg_fd_get(connection->handle, &fd);
	if (err == CS_OK)
		err = corosync_cfg_trackstart(connection->handle, 0);
	return connection_ready(m, CONNECTION_CFG, err, fd, reterr);
}

int connections_open(struct membership *m, char *reterr)
{
	connection_init(m, CONNECTION_CPG, cpg_dispatch, cpg_finalize, "corosync cpg");
	connection_init(m, CONNECTION_QUORUM, quorum_dispatch, quorum_finalize, "corosync quorum");
	connection_init(m, CONNECTION_CMAP, cmap_dispatch, cmap_finalize, "corosync cmap");
	connection_init(
		m, CONNECTION_CFG, corosync_cfg_dispatch, corosync_cfg_finalize, "corosync cfg");
	return corosync_answers(reterr);
}

/* corosync maps and clears megabytes for each connection: some 4 ms, with time enough to starve in.
 */
int connections_step(struct membership *m, char *reterr)
{
	static int (*const steps[])(struct membership * m, char *reterr) = {
		open_cmap, open_quorum, open_cfg, open_cpg};
	int rc = steps[m->n_steps](m, reterr);

	if (rc < 0)
		return rc;
	if (++m->n_steps < sizeof(steps) / sizeof(steps[0]))
		return 1;
	return connections_watch(m, reterr);
}

/* cpg_finalize has an answer, too; a socket that is shut makes it fail instead of wait. */
void connections_close(struct membership *m)
{
	struct connection *cpg = &m->connections[CONNECTION_CPG];
	int fd;

	if (cpg->is_open && !m->has_left && cpg_fd_get(cpg->handle, &fd) == CS_OK)
		shutdown(fd, SHUT_RDWR);
	for (int i = 0; i < CONNECTIONS; i++) {
		struct connection *connection = &m->connections[i];

		if (connection->is_open)
			(void)connection->finalize(connection->handle);
		connection->is_open = false;
	}
}
