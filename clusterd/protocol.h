/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The control protocol between clusterctl and clusterd: JSON over libqb IPC, root only.
 *
 * A client sends one request {"verb": "…", …}; the daemon acknowledges it with a bare
 * qb_ipc_response_header (error 0 or -errno) and answers with one or more events whose chunks,
 * joined, are one JSON object:
 *   {"ok": true, …}                                    done
 *   {"ok": false, "code": CODE, "error": "for people"}  not done, nothing changed
 * CODE: "invalid" (the request), "not-found", "refused" (the cluster's rules), "no-quorum",
 * "timeout" (--wait ran out), "failed" (done, but the group did not come up), "internal".
 *
 * Verbs:
 *   {"verb":"status"}                    the document that `clusterctl status --json` prints
 *   {"verb":"failover","name":N,"to":NODE?,"wait":BOOL?}   N: a group, or a resource of it
 *   {"verb":"online","name":N,"wait":BOOL?}, {"verb":"offline","name":N,"wait":BOOL?}
 *   {"verb":"history","limit":N?}        {"ok":true,"history":[…]} oldest first
 *   {"verb":"facts"}                     corosync's running values, for `clusterctl check`
 * docs/control-protocol.md documents every field.
 */
#ifndef CLUSTERD_PROTOCOL_H
#define CLUSTERD_PROTOCOL_H

#include <qb/qbipcc.h>

#define PROTOCOL_SERVICE "clusterd"
#define PROTOCOL_REQUEST_ID 1
#define PROTOCOL_REQUEST_MAX 8192 /* bytes of JSON */
#define PROTOCOL_CHUNK_MAX 32768  /* bytes of JSON in one event */
#define PROTOCOL_BUFFER_SIZE (PROTOCOL_CHUNK_MAX + 1024)

/* The JSON text follows, header.size counts it; no NUL at its end. */
struct protocol_request {
	struct qb_ipc_request_header header;
	char json[];
};

struct protocol_event {
	struct qb_ipc_response_header header;
	uint32_t is_last; /* 1: the JSON object is complete */
	uint32_t len;     /* bytes of json */
	char json[];
};

#endif
