/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The messages between cores: what each carries, to bytes and back.
 *
 * Every message starts with type, protocol, the sender's incarnation and its config's digest. A
 * message of another config is only understood as far as HELLO, CONFIG and DIFFERS.
 */
#ifndef CLUSTERD_CORE_MESSAGE_H
#define CLUSTERD_CORE_MESSAGE_H

#include "clusterd/core/core.h"

enum msg_type {
	MSG_HELLO = 1,    /* I am here, with this config, and hold this */
	MSG_SNAPSHOT,     /* the state, for one node that said hello */
	MSG_FORM,         /* the state, for all that said hello in this ring: nobody had one */
	MSG_CONFIG,       /* the cluster's config, for a node whose own differs */
	MSG_DIFFERS,      /* in which words it differs */
	MSG_STARTED,      /* group is up here */
	MSG_START_FAILED, /* and what was started of it is stopped again, or not */
	MSG_FAILED,       /* a resource of a group that was up has failed */
	MSG_STOPPED,      /* nothing of group runs here */
	MSG_STOP_FAILED,
	MSG_FIT, /* what made this node unfit for group has gone */
	MSG_ADMIN,
	MSG_LEAVING,
	MSG_HOLDOFF_OVER, /* a daemon that went has not come back in time */
	MSG_FORGET,       /* failures of group are old enough */
	MSG_LOADED,       /* I have loaded this config */
	MSG_TYPES
};

struct msg {
	enum msg_type type;
	uint8_t protocol;
	uint64_t incarnation;   /* the sender's */
	uint64_t config_digest; /* the sender's active config */

	/* the rest as the type needs it */
	uint32_t group, gen, resource;
	uint8_t node;              /* HOLDOFF_OVER: whose; ADMIN: where to, or CORE_NO_NODE */
	uint64_t node_incarnation; /* HOLDOFF_OVER, SNAPSHOT: whose */
	uint32_t nodeid;           /* SNAPSHOT: for whom */
	uint32_t hello_seq;        /* HELLO, SNAPSHOT; FORM: answers seen in this view before */
	bool has_state;            /* HELLO: state is that of a quorate ring */
	uint64_t version;          /* HELLO: of the state that it had; SNAPSHOT: at the view */
	uint64_t loaded;           /* HELLO, LOADED */
	bool unfit;                /* FAILED, START_FAILED */
	bool is_clean;             /* START_FAILED: nothing of it runs any more */
	bool all_stopped;          /* DIFFERS */
	enum core_verb verb;       /* ADMIN */
	uint64_t request_id;       /* ADMIN */
	struct ring_id ring;       /* FORM */
	int64_t wall_ms;           /* STARTED, START_FAILED */
	int64_t phase_us[PHASES];  /* STARTED, STOPPED (release only) */
	char text[CORE_TEXT_SIZE];
	/* HELLO: enum core_found by group; SNAPSHOT, FORM: state; CONFIG: text. Borrowed. */
	const void *blob;
	size_t blob_len;
};

void msg_encode(const struct msg *msg, struct buf *buf);
/* 0 or -EPROTO; a protocol other than ours gives -EPROTONOSUPPORT with type and protocol set. The
 * blob points into data. */
int msg_decode(struct msg *ret_msg, const void *data, size_t len);

#endif
