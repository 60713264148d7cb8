/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Message bytes. A row of `layouts` names the fields that a type carries, in one fixed order, so
 * that encoder and decoder cannot drift apart. Called by the core's send and receive paths.
 */
#include <errno.h>
#include <string.h>

#include "clusterd/core/message.h"

enum field {
	F_GROUP = 1 << 0,  /* group, gen */
	F_RESULT = 1 << 1, /* resource, text, wall_ms */
	F_FLAGS = 1 << 2,  /* has_state, unfit, is_clean, all_stopped */
	F_NODE = 1 << 3,   /* node, node_incarnation, nodeid */
	F_HELLO = 1 << 4,  /* hello_seq, version, loaded */
	F_ADMIN = 1 << 5,  /* verb, request_id */
	F_RING = 1 << 6,   /* ring */
	F_PHASES = 1 << 7, /* phase_us */
	F_TEXT = 1 << 8,   /* text */
	F_BLOB = 1 << 9,   /* the rest of the message */
};

static const unsigned layouts[MSG_TYPES] = {
	[MSG_HELLO] = F_FLAGS | F_HELLO | F_BLOB,
	[MSG_SNAPSHOT] = F_NODE | F_HELLO | F_BLOB,
	[MSG_FORM] = F_HELLO | F_RING | F_BLOB,
	[MSG_CONFIG] = F_BLOB,
	[MSG_DIFFERS] = F_FLAGS | F_TEXT,
	[MSG_STARTED] = F_GROUP | F_RESULT | F_PHASES,
	[MSG_START_FAILED] = F_GROUP | F_RESULT | F_FLAGS,
	[MSG_FAILED] = F_GROUP | F_RESULT | F_FLAGS,
	[MSG_STOPPED] = F_GROUP | F_PHASES,
	[MSG_STOP_FAILED] = F_GROUP | F_RESULT,
	[MSG_FIT] = F_GROUP,
	[MSG_ADMIN] = F_GROUP | F_NODE | F_ADMIN,
	[MSG_LEAVING] = F_FLAGS,
	[MSG_HOLDOFF_OVER] = F_NODE,
	[MSG_FORGET] = F_GROUP,
	[MSG_LOADED] = F_HELLO,
};

static void flags_encode(const struct msg *msg, struct buf *buf)
{
	buf_u8(buf, (uint8_t)(msg->has_state | msg->unfit << 1 | msg->is_clean << 2 |
			      msg->all_stopped << 3));
}

void msg_encode(const struct msg *msg, struct buf *buf)
{
	unsigned layout = layouts[msg->type];

	buf_u8(buf, (uint8_t)msg->type);
	buf_u8(buf, CORE_PROTOCOL);
	buf_u64(buf, msg->incarnation);
	buf_u64(buf, msg->config_digest);
	if (layout & F_GROUP) {
		buf_u32(buf, msg->group);
		buf_u32(buf, msg->gen);
	}
	if (layout & F_RESULT) {
		buf_u32(buf, msg->resource);
		buf_u64(buf, (uint64_t)msg->wall_ms);
	}
	if (layout & F_FLAGS)
		flags_encode(msg, buf);
	if (layout & F_NODE) {
		buf_u8(buf, msg->node);
		buf_u64(buf, msg->node_incarnation);
		buf_u32(buf, msg->nodeid);
	}
	if (layout & F_HELLO) {
		buf_u32(buf, msg->hello_seq);
		buf_u64(buf, msg->version);
		buf_u64(buf, msg->loaded);
	}
	if (layout & F_ADMIN) {
		buf_u8(buf, (uint8_t)msg->verb);
		buf_u64(buf, msg->request_id);
	}
	if (layout & F_RING) {
		buf_u32(buf, msg->ring.nodeid);
		buf_u64(buf, msg->ring.seq);
	}
	if (layout & F_PHASES) {
		for (unsigned i = 0; i < PHASES; i++)
			buf_u64(buf, (uint64_t)msg->phase_us[i]);
	}
	if (layout & (F_TEXT | F_RESULT))
		buf_str(buf, msg->text);
	if (layout & F_BLOB)
		buf_bytes(buf, msg->blob, msg->blob_len);
}

static void flags_decode(struct msg *msg, struct reader *reader)
{
	uint8_t flags = reader_u8(reader);

	msg->has_state = flags & 1;
	msg->unfit = flags & 2;
	msg->is_clean = flags & 4;
	msg->all_stopped = flags & 8;
}

static void fields_decode(struct msg *msg, unsigned layout, struct reader *reader)
{
	if (layout & F_GROUP) {
		msg->group = reader_u32(reader);
		msg->gen = reader_u32(reader);
	}
	if (layout & F_RESULT) {
		msg->resource = reader_u32(reader);
		msg->wall_ms = (int64_t)reader_u64(reader);
	}
	if (layout & F_FLAGS)
		flags_decode(msg, reader);
	if (layout & F_NODE) {
		msg->node = reader_u8(reader);
		msg->node_incarnation = reader_u64(reader);
		msg->nodeid = reader_u32(reader);
	}
	if (layout & F_HELLO) {
		msg->hello_seq = reader_u32(reader);
		msg->version = reader_u64(reader);
		msg->loaded = reader_u64(reader);
	}
	if (layout & F_ADMIN) {
		msg->verb = reader_u8(reader);
		msg->request_id = reader_u64(reader);
	}
	if (layout & F_RING) {
		msg->ring.nodeid = reader_u32(reader);
		msg->ring.seq = reader_u64(reader);
	}
	if (layout & F_PHASES) {
		for (unsigned i = 0; i < PHASES; i++)
			msg->phase_us[i] = (int64_t)reader_u64(reader);
	}
	if (layout & (F_TEXT | F_RESULT))
		reader_str(reader, msg->text, sizeof(msg->text));
	if (layout & F_BLOB) {
		msg->blob_len = reader->len - reader->pos;
		msg->blob = reader_bytes(reader, msg->blob_len);
	}
}

int msg_decode(struct msg *ret_msg, const void *data, size_t len)
{
	struct reader reader;
	struct msg msg = {0};

	reader_init(&reader, data, len);
	msg.type = reader_u8(&reader);
	msg.protocol = reader_u8(&reader);
	msg.incarnation = reader_u64(&reader);
	msg.config_digest = reader_u64(&reader);
	if (!reader_ok(&reader))
		return -EPROTO;
	if (msg.protocol != CORE_PROTOCOL) {
		*ret_msg = msg;
		return -EPROTONOSUPPORT;
	}
	if (msg.type >= MSG_TYPES || layouts[msg.type] == 0)
		return -EPROTO;
	fields_decode(&msg, layouts[msg.type], &reader);
	if (!reader_at_end(&reader) || msg.verb >= CORE_VERBS)
		return -EPROTO;
	*ret_msg = msg;
	return 0;
}
