/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The client's side of the control protocol over libqb IPC.
 *
 * Invariant: each wait has a deadline. qb_ipcc_connect would wait for ever for a daemon that is
 * stopped, so the connection is made in its two asynchronous halves, and in between the socket's
 * owner is looked at: anybody may take the name while no daemon runs.
 */

#include "clusterctl/client.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "clusterd/protocol.h"

#define SLICE_MS 200 /* libqb notices a daemon that died only between waits */

struct client {
	qb_ipcc_connection_t *conn;
};

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static int left_ms(int64_t deadline_ms)
{
	int64_t left = deadline_ms - now_ms();

	return left < 0 ? 0 : (int)left;
}

static int slice_ms(int64_t deadline_ms)
{
	int left = left_ms(deadline_ms);

	return left < SLICE_MS ? left : SLICE_MS;
}

/* libqb gives the one or the other for "nothing yet". */
static int is_nothing_yet(ssize_t rc)
{
	return rc == -EAGAIN || rc == -ETIMEDOUT;
}

int client_connect(int timeout_ms, struct client **ret_client, pid_t *ret_pid)
{
	struct client *client = calloc(1, sizeof(*client));
	struct pollfd ready = {.fd = -1, .events = POLLIN};
	struct ucred peer;
	socklen_t len = sizeof(peer);
	int64_t deadline_ms = now_ms() + timeout_ms;
	int rc;

	if (ret_pid)
		*ret_pid = 0;
	if (!client)
		return -ENOMEM;
	client->conn = qb_ipcc_connect_async(PROTOCOL_SERVICE, PROTOCOL_BUFFER_SIZE, &ready.fd);
	if (!client->conn) {
		/* EAGAIN here is connect(2)'s: nobody has accepted a connection for long. */
		rc = errno == EAGAIN ? -ETIMEDOUT : -errno;
		free(client);
		return rc;
	}
	if (getsockopt(ready.fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		rc = -errno;
	else if (peer.uid != 0)
		rc = -EPERM;
	else {
		if (ret_pid)
			*ret_pid = peer.pid;
		do
			rc = poll(&ready, 1, left_ms(deadline_ms));
		while (rc < 0 && errno == EINTR);
		rc = rc < 0 ? -errno : rc == 0 ? -ETIMEDOUT : 0;
	}
	if (rc < 0) {
		qb_ipcc_disconnect(client->conn); /* half open: leaves the descriptor alone */
		close(ready.fd);
		free(client);
		return rc;
	}
	rc = qb_ipcc_connect_continue(client->conn); /* frees conn when it fails */
	if (rc != 0) {
		free(client);
		return rc < 0 ? rc : -EPROTO;
	}
	*ret_client = client;
	return 0;
}

void client_free(struct client *client)
{
	if (!client)
		return;
	qb_ipcc_disconnect(client->conn);
	free(client);
}

/* 0 or the error with which the daemon acknowledges. */
static int client_send(struct client *client, const void *frame, size_t size, int64_t deadline_ms)
{
	union {
		struct qb_ipc_response_header ack;
		char bytes[PROTOCOL_BUFFER_SIZE];
	} buffer;
	ssize_t rc = qb_ipcc_send(client->conn, frame, size);

	if (rc < 0)
		return (int)rc;
	do
		rc = qb_ipcc_recv(client->conn, &buffer, sizeof(buffer), slice_ms(deadline_ms));
	while (is_nothing_yet(rc) && left_ms(deadline_ms) > 0);
	if (is_nothing_yet(rc))
		return -ETIMEDOUT;
	if (rc < 0)
		return (int)rc;
	if ((size_t)rc < sizeof(buffer.ack) || buffer.ack.error > 0)
		return -EPROTO;
	return buffer.ack.error;
}

/* One event into buffer. */
static int client_event(
	struct client *client, struct protocol_event *event, size_t size, int64_t deadline_ms)
{
	ssize_t rc;

	do
		rc = qb_ipcc_event_recv(client->conn, event, size, slice_ms(deadline_ms));
	while (is_nothing_yet(rc) && left_ms(deadline_ms) > 0);
	if (is_nothing_yet(rc))
		return -ETIMEDOUT;
	if (rc < 0)
		return (int)rc;
	if ((size_t)rc < sizeof(*event) || event->len > (size_t)rc - sizeof(*event))
		return -EPROTO;
	return 0;
}

int client_call_frame(
	struct client *client, const void *frame, size_t size, int timeout_ms, json_t **ret_reply)
{
	union {
		struct protocol_event event;
		char bytes[PROTOCOL_BUFFER_SIZE];
	} buffer;
	int64_t deadline_ms = now_ms() + timeout_ms;
	char *text = NULL;
	size_t len = 0;
	json_t *reply = NULL;
	int rc = client_send(client, frame, size, deadline_ms);

	buffer.event.is_last = 0;
	while (rc == 0 && !buffer.event.is_last) {
		char *more = NULL;

		rc = client_event(client, &buffer.event, sizeof(buffer), deadline_ms);
		if (rc == 0 && len + buffer.event.len > CLIENT_REPLY_MAX)
			rc = -EPROTO;
		if (rc == 0 && !(more = realloc(text, len + buffer.event.len + 1)))
			rc = -ENOMEM;
		if (rc == 0) {
			text = more;
			memcpy(text + len, buffer.event.json, buffer.event.len);
			len += buffer.event.len;
		}
	}
	if (rc == 0) {
		reply = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
		rc = json_is_object(reply) ? 0 : -EPROTO;
	}
	if (rc == 0)
		*ret_reply = reply;
	else
		json_decref(reply);
	free(text);
	return rc;
}

int client_call(struct client *client, const json_t *request, int timeout_ms, json_t **ret_reply)
{
	union {
		struct protocol_request request;
		char bytes[sizeof(struct protocol_request) + PROTOCOL_REQUEST_MAX];
	} frame = {.request.header.id = PROTOCOL_REQUEST_ID};
	size_t len = json_dumpb(request, frame.request.json, PROTOCOL_REQUEST_MAX, JSON_COMPACT);
	size_t size = sizeof(frame.request) + len;

	if (len == 0)
		return -EINVAL;
	if (len > PROTOCOL_REQUEST_MAX)
		return -EMSGSIZE;
	frame.request.header.size = (int32_t)size;
	return client_call_frame(client, &frame, size, timeout_ms, ret_reply);
}
