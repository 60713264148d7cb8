/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Byte buffers for messages and state. Used by message.c and state.c. */
#include <stdlib.h>
#include <string.h>

#include "clusterd/core/buf.h"

void buf_fini(struct buf *buf)
{
	free(buf->data);
	*buf = (struct buf){0};
}

bool buf_ok(const struct buf *buf)
{
	return !buf->failed;
}

void buf_bytes(struct buf *buf, const void *data, size_t len)
{
	if (buf->failed || len == 0)
		return;
	if (buf->size - buf->len < len) {
		size_t size = (buf->len + len) * 2;
		unsigned char *grown = realloc(buf->data, size);

		if (!grown) {
			buf->failed = true;
			return;
		}
		buf->data = grown;
		buf->size = size;
	}
	memcpy(buf->data + buf->len, data, len);
	buf->len += len;
}

void buf_u8(struct buf *buf, uint8_t value)
{
	buf_bytes(buf, &value, 1);
}

static void put_le(struct buf *buf, uint64_t value, unsigned bytes)
{
	unsigned char le[8];

	for (unsigned i = 0; i < bytes; i++)
		le[i] = (unsigned char)(value >> (8 * i));
	buf_bytes(buf, le, bytes);
}

void buf_u32(struct buf *buf, uint32_t value)
{
	put_le(buf, value, 4);
}

void buf_u64(struct buf *buf, uint64_t value)
{
	put_le(buf, value, 8);
}

void buf_str(struct buf *buf, const char *str)
{
	size_t len = str ? strlen(str) : 0;

	buf_u32(buf, (uint32_t)len);
	buf_bytes(buf, str, len);
}

void reader_init(struct reader *reader, const void *data, size_t len)
{
	*reader = (struct reader){.data = data, .len = len};
}

bool reader_ok(const struct reader *reader)
{
	return !reader->failed;
}

bool reader_at_end(const struct reader *reader)
{
	return !reader->failed && reader->pos == reader->len;
}

const void *reader_bytes(struct reader *reader, size_t len)
{
	const void *at;

	if (reader->failed || reader->len - reader->pos < len) {
		reader->failed = true;
		return NULL;
	}
	at = reader->data + reader->pos;
	reader->pos += len;
	return at;
}

static uint64_t get_le(struct reader *reader, unsigned bytes)
{
	const unsigned char *le = reader_bytes(reader, bytes);
	uint64_t value = 0;

	if (!le)
		return 0;
	for (unsigned i = 0; i < bytes; i++)
		value |= (uint64_t)le[i] << (8 * i);
	return value;
}

uint8_t reader_u8(struct reader *reader)
{
	return (uint8_t)get_le(reader, 1);
}

uint32_t reader_u32(struct reader *reader)
{
	return (uint32_t)get_le(reader, 4);
}

uint64_t reader_u64(struct reader *reader)
{
	return get_le(reader, 8);
}

void reader_str(struct reader *reader, char *ret_str, size_t size)
{
	uint32_t len = reader_u32(reader);
	const unsigned char *bytes = reader_bytes(reader, len);

	ret_str[0] = '\0';
	if (!bytes)
		return;
	if (len >= size) {
		reader->failed = true;
		return;
	}
	for (uint32_t i = 0; i < len; i++) {
		if (bytes[i] < ' ' || bytes[i] == 0x7f) {
			reader->failed = true;
			return;
		}
	}
	memcpy(ret_str, bytes, len);
	ret_str[len] = '\0';
}
