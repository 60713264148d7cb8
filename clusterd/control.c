/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The control socket's server: libqb IPC in, JSON requests to the handler, answers back in chunks.
 *
 * Invariant: a client slot has at most one request under way, and a slot's connection is closed by
 * us only from the timer, never from within libqb's own callbacks, which go on using it. What a
 * client writes is in memory that it shares with us: it is copied before it is looked at.
 * Called by daemon.c. The poll handlers carry no context in libqb, so the connections are watched
 * through libqb's default loop: a process has one loop and one control server.
 */

#include "clusterd/control.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <qb/qbipcs.h>
#include <qb/qbloop.h>

#include "clusterd/log.h"
#include "clusterd/loop.h"
#include "clusterd/protocol.h"

#define NS_PER_MS INT64_C(1000000)
#define RETRY_MIN_NS NS_PER_MS
#define RETRY_MAX_NS (50 * NS_PER_MS)
#define REAL_DIGITS 12 /* of a number with a fraction */

struct client {
	qb_ipcs_connection_t *conn; /* NULL: the slot is free */
	uint64_t request_id;        /* 0: nothing asked */
	char *out;                  /* the answer under way, or NULL */
	size_t out_len, out_sent;
	int64_t progress_ns; /* CLOCK_BOOTTIME at which the client last took something */
	bool is_doomed;      /* to be disconnected */
};

struct control {
	struct loop *loop;
	qb_ipcs_service_t *service;
	control_fn fn;
	void *ctx;
	uint64_t last_request_id;
	struct loop_timer *timer; /* set while an answer is under way or a client is doomed */
	struct client clients[CONTROL_CLIENTS_MAX];
};

static void control_tick(void *ctx);

/* ---- libqb's poll handlers ---- */

/* A user other than root gets not even a descriptor of ours: any number of connections that never
 * authenticate would use them all up. */
static bool is_allowed(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);
	int is_listening = 0;
	socklen_t int_len = sizeof(is_listening);

	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &int_len) == 0 && is_listening)
		return true;
	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 && peer.uid == 0;
}

static int32_t poll_add(enum qb_loop_priority priority, int32_t fd, int32_t events, void *data,
	qb_ipcs_dispatch_fn_t fn)
{
	if (!is_allowed(fd))
		return -EACCES;
	return qb_loop_poll_add(NULL, priority, fd, events, data, fn);
}

static int32_t poll_mod(enum qb_loop_priority priority, int32_t fd, int32_t events, void *data,
	qb_ipcs_dispatch_fn_t fn)
{
	return qb_loop_poll_mod(NULL, priority, fd, events, data, fn);
}

static int32_t poll_del(int32_t fd)
{
	return qb_loop_poll_del(NULL, fd);
}

static int32_t job_add(enum qb_loop_priority priority, void *data, qb_loop_job_dispatch_fn fn)
{
	return qb_loop_job_add(NULL, priority, data, fn);
}

/* ---- sending ---- */

static void client_forget_answer(struct client *client)
{
	free(client->out);
	client->out = NULL;
	client->out_len = client->out_sent = 0;
	client->request_id = 0;
}

/* Sends as much as the client's ring takes. */
static void client_flush(struct client *client)
{
	while (client->out && !client->is_doomed) {
		size_t left = client->out_len - client->out_sent;
		size_t len = left < PROTOCOL_CHUNK_MAX ? left : PROTOCOL_CHUNK_MAX;
		size_t size = offsetof(struct protocol_event, json) + len;
		struct protocol_event event = {
			.header = {.id = PROTOCOL_REQUEST_ID, .size = (int32_t)size},
			.is_last = len == left,
			.len = (uint32_t)len,
		};
		struct iovec iov[2] = {
			{.iov_base = &event, .iov_len = offsetof(struct protocol_event, json)},
			{.iov_base = client->out + client->out_sent, .iov_len = len},
		};
		ssize_t rc = qb_ipcs_event_sendv(client->conn, iov, 2);

		if (rc == -EAGAIN || rc == -ETIMEDOUT)
			return;
		if (rc != (ssize_t)size) {
			client->is_doomed = true;
			return;
		}
		client->progress_ns = clock_boottime_ns();
		client->out_sent += len;
		if (event.is_last)
			client_forget_answer(client);
	}
}

static int64_t client_stalled_ns(const struct client *client)
{
	return clock_boottime_ns() - client->progress_ns;
}

/* Looks again soon at a client that reads, and ever less often at one that doesn't. */
static void control_arm(struct control *control)
{
	int64_t delay_ns = INT64_MAX;

	for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++) {
		const struct client *client = &control->clients[i];
		int64_t wish_ns = INT64_MAX;

		if (!client->conn)
			continue;
		if (client->is_doomed)
			wish_ns = 0;
		else if (client->out)
			wish_ns = client_stalled_ns(client) / 8 + RETRY_MIN_NS;
		if (wish_ns < delay_ns)
			delay_ns = wish_ns;
	}
	if (delay_ns == INT64_MAX)
		return;
	if (delay_ns > RETRY_MAX_NS)
		delay_ns = RETRY_MAX_NS;
	loop_timer_del(control->loop, &control->timer);
	if (loop_timer_add(control->loop, delay_ns, control_tick, control, "control socket",
		    &control->timer) < 0)
		log_error("control socket: out of memory: answers are delayed");
}

static void control_tick(void *ctx)
{
	struct control *control = ctx;

	for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++) {
		struct client *client = &control->clients[i];

		if (!client->conn)
			continue;
		client_flush(client);
		if (client->out && client_stalled_ns(client) > CONTROL_STALLED_MS * NS_PER_MS) {
			log_warning("control socket: a client has read nothing for %d ms: dropped",
				CONTROL_STALLED_MS);
			client->is_doomed = true;
		}
		if (client->is_doomed)
			qb_ipcs_disconnect(client->conn); /* connection_closed empties the slot */
	}
	control_arm(control);
}

static struct client *control_find(struct control *control, uint64_t request_id)
{
	for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++) {
		struct client *client = &control->clients[i];

		if (client->conn && client->request_id == request_id && !client->out)
			return client;
	}
	return NULL;
}

bool control_awaits(struct control *control, uint64_t request_id)
{
	return request_id != 0 && control_find(control, request_id);
}

void control_reply(struct control *control, uint64_t request_id, json_t *reply)
{
	struct client *client = request_id ? control_find(control, request_id) : NULL;

	assert(json_is_object(reply));
	if (!client) {
		json_decref(reply);
		return;
	}
	client->out = json_dumps(reply, JSON_COMPACT | JSON_REAL_PRECISION(REAL_DIGITS));
	json_decref(reply);
	if (!client->out) {
		log_error("control socket: out of memory, or text that is not UTF-8, in an answer");
		client->out = strdup("{\"ok\":false,\"code\":\"internal\",\"error\":\"clusterd "
				     "could not write its answer: look at its log\"}");
	}
	client->is_doomed = !client->out;
	client->out_len = client->out ? strlen(client->out) : 0;
	client->out_sent = 0;
	client->progress_ns = clock_boottime_ns();
	client_flush(client);
	control_arm(control);
}

void control_reply_error(
	struct control *control, uint64_t request_id, const char *code, const char *text)
{
	json_t *reply = json_pack("{s:b, s:s, s:s}", "ok", 0, "code", code, "error", text);

	if (!reply) /* text isn't UTF-8 */
		reply = json_pack("{s:b, s:s, s:s}", "ok", 0, "code", code, "error", code);
	if (reply)
		control_reply(control, request_id, reply);
	else
		log_error("control socket: out of memory: a client gets no answer");
}

/* ---- receiving ---- */

static void client_ack(struct client *client, int error)
{
	struct qb_ipc_response_header ack = {
		.id = PROTOCOL_REQUEST_ID, .size = sizeof(ack), .error = error};

	/* Its ring is full of acknowledgements that it has not read. */
	if (qb_ipcs_response_send(client->conn, &ack, sizeof(ack)) != (ssize_t)sizeof(ack))
		client->is_doomed = true;
}

/* 0, or the error of the acknowledgement. size is what the client claims; libqb doesn't check it,
 * but maps each ring twice in a row, so that less than a ring's size can be read from anywhere. */
static int request_copy(const void *data, size_t size, char *ret_json, size_t *ret_len)
{
	struct protocol_request head;
	size_t len;

	if (size < sizeof(head) || size > INT32_MAX)
		return -EPROTO;
	len = size - sizeof(head);
	if (len > PROTOCOL_REQUEST_MAX)
		return -EMSGSIZE;
	memcpy(&head, data, sizeof(head));
	if (head.header.id != PROTOCOL_REQUEST_ID)
		return -EPROTO;
	memcpy(ret_json, (const char *)data + sizeof(head), len);
	*ret_len = len;
	return 0;
}

static void request_handle(struct control *control, uint64_t id, const char *json, size_t len)
{
	json_error_t error;
	json_t *request = json_loadb(json, len, JSON_REJECT_DUPLICATES, &error);
	char text[JSON_ERROR_TEXT_LENGTH + 64] = "";

	if (!request)
		snprintf(text, sizeof(text), "the request is not JSON: %s (byte %d)", error.text,
			error.position);
	else if (!json_is_object(request))
		snprintf(text, sizeof(text), "the request is not a JSON object");
	else if (!json_is_string(json_object_get(request, "verb")))
		snprintf(text, sizeof(text), "the request has no \"verb\", a string");
	if (*text)
		control_reply_error(control, id, "invalid", text);
	else
		control->fn(control->ctx, id, request);
	json_decref(request);
}

static int32_t on_message(qb_ipcs_connection_t *conn, void *data, size_t size)
{
	struct control *control = qb_ipcs_connection_service_context_get(conn);
	struct client *client = qb_ipcs_context_get(conn);
	int64_t entered_ns = loop_clock_enter();
	char json[PROTOCOL_REQUEST_MAX];
	size_t len = 0;
	int rc;

	if (client->is_doomed)
		return 0;
	rc = client->request_id ? -EBUSY : request_copy(data, size, json, &len);
	client_ack(client, rc);
	if (rc == 0 && !client->is_doomed) {
		client->request_id = ++control->last_request_id;
		request_handle(control, client->request_id, json, len);
	}
	if (client->is_doomed)
		control_arm(control);
	loop_clock_leave(control->loop, entered_ns, "control request");
	return 0;
}

/* ---- connections ---- */

static struct client *control_free_slot(struct control *control)
{
	for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++)
		if (!control->clients[i].conn)
			return &control->clients[i];
	return NULL;
}

/* The user is the one that sent the first message: not always the one that connected. */
static int32_t on_accept(qb_ipcs_connection_t *conn, uid_t uid, gid_t gid)
{
	(void)gid;
	if (uid != 0)
		return -EACCES;
	/* libqb would clear three rings of whatever size the client wishes. */
	if (qb_ipcs_connection_get_buffer_size(conn) != PROTOCOL_BUFFER_SIZE)
		return -EMSGSIZE;
	return control_free_slot(qb_ipcs_connection_service_context_get(conn)) ? 0 : -EAGAIN;
}

static void on_created(qb_ipcs_connection_t *conn)
{
	struct client *client = control_free_slot(qb_ipcs_connection_service_context_get(conn));

	assert(client); /* on_accept was called just before */
	*client = (struct client){.conn = conn};
	qb_ipcs_context_set(conn, client);
}

static int32_t on_closed(qb_ipcs_connection_t *conn)
{
	struct client *client = qb_ipcs_context_get(conn);

	client_forget_answer(client);
	client->conn = NULL;
	return 0;
}

/* ---- */

int control_new(struct loop *loop, control_fn fn, void *ctx, struct control **ret_control)
{
	struct qb_ipcs_service_handlers handlers = {
		.connection_accept = on_accept,
		.connection_created = on_created,
		.connection_closed = on_closed,
		.msg_process = on_message,
	};
	struct qb_ipcs_poll_handlers poll_handlers = {
		.job_add = job_add,
		.dispatch_add = poll_add,
		.dispatch_mod = poll_mod,
		.dispatch_del = poll_del,
	};
	struct control *control = calloc(1, sizeof(*control));
	int rc;

	if (!control)
		return -ENOMEM;
	control->loop = loop;
	control->fn = fn;
	control->ctx = ctx;
	control->service = qb_ipcs_create(PROTOCOL_SERVICE, 0, QB_IPC_NATIVE, &handlers);
	if (!control->service) {
		free(control);
		return -ENOMEM;
	}
	qb_ipcs_service_context_set(control->service, control);
	qb_ipcs_poll_handlers_set(control->service, &poll_handlers);
	qb_ipcs_enforce_buffer_size(control->service, PROTOCOL_BUFFER_SIZE);
	/* libqb waits for the wake-up byte of each request that it took. One request at a time, as
	 * this sets, takes no more of them than have come: a stopped client can't stop us. */
	qb_ipcs_request_rate_limit(control->service, QB_IPCS_RATE_SLOW);
	rc = qb_ipcs_run(control->service); /* frees the service when it fails */
	if (rc < 0) {
		free(control);
		return rc;
	}
	*ret_control = control;
	return 0;
}

void control_free(struct control *control)
{
	if (!control)
		return;
	loop_timer_del(control->loop, &control->timer);
	qb_ipcs_destroy(control->service);
	free(control);
}
