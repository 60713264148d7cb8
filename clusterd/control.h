/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The control socket's server: accepts root only, frames JSON in and out (clusterd/protocol.h).
 *
 * It knows nothing of verbs: each well-formed request goes to the handler, which answers it at once
 * or later with control_reply. A client that never reads is disconnected.
 */
#ifndef CLUSTERD_CONTROL_H
#define CLUSTERD_CONTROL_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

struct loop;
struct control;

#define CONTROL_CLIENTS_MAX 32
#define CONTROL_STALLED_MS 5000 /* a client that reads nothing for so long is dropped */

/* request: a JSON object with a string "verb"; borrowed. The handler may answer from within. */
typedef void (*control_fn)(void *ctx, uint64_t request_id, const json_t *request);

/* 0 or -errno; -EADDRINUSE: another daemon serves this machine (or network namespace). The loop
 * must be the process's first, and outlive the server. */
int control_new(struct loop *loop, control_fn fn, void *ctx, struct control **ret_control);
void control_free(struct control *control);

/* Is a client still there that waits for this request's answer? */
bool control_awaits(struct control *control, uint64_t request_id);
/* Takes over the reference of an object. Ignored if the client has gone. */
void control_reply(struct control *control, uint64_t request_id, json_t *reply);
void control_reply_error(
	struct control *control, uint64_t request_id, const char *code, const char *text);

#endif
