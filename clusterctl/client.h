/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The client's side of the control protocol (clusterd/protocol.h), without a word to the user.
 *
 * Nothing here waits longer than it is told, whatever the daemon does. Called by client_ask and by
 * the tests.
 */
#ifndef CLUSTERCTL_CLIENT_H
#define CLUSTERCTL_CLIENT_H

#include <sys/types.h>

#include <jansson.h>

#define CLIENT_REPLY_MAX (64u << 20) /* bytes of JSON */

struct client;

/* 0, or -errno:
 * -ECONNREFUSED  no daemon runs here
 * -EACCES, -ENOTCONN  it refuses us
 * -EAGAIN        it has too many clients
 * -EPERM         the socket isn't root's: some other program took the name
 * -ETIMEDOUT     it doesn't answer
 * *ret_pid (may be NULL) is the daemon's as soon as it is known, else 0. */
int client_connect(int timeout_ms, struct client **ret_client, pid_t *ret_pid);
void client_free(struct client *client);

/* One request and its whole answer, an object. 0, or -errno: -ETIMEDOUT, -ENOTCONN (the daemon has
 * gone), -EPROTO (its answer makes no sense), -EBUSY, -EMSGSIZE (see docs/control-protocol.md). */
int client_call(struct client *client, const json_t *request, int timeout_ms, json_t **ret_reply);

/* The same with the request's whole frame (struct protocol_request) as it is to go over the wire.
 */
int client_call_frame(
	struct client *client, const void *frame, size_t size, int timeout_ms, json_t **ret_reply);

#endif
