/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Bytes out and bytes in: little-endian, length-checked. Whatever is read may be hostile.
 */
#ifndef CLUSTERD_CORE_BUF_H
#define CLUSTERD_CORE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Grows as needed; a failed allocation is remembered and makes buf_ok() false. */
struct buf {
	unsigned char *data;
	size_t len, size;
	bool failed;
};

void buf_fini(struct buf *buf);
bool buf_ok(const struct buf *buf);
void buf_u8(struct buf *buf, uint8_t value);
void buf_u32(struct buf *buf, uint32_t value);
void buf_u64(struct buf *buf, uint64_t value);
void buf_bytes(struct buf *buf, const void *data, size_t len);
void buf_str(struct buf *buf, const char *str); /* u32 length and bytes; NULL like "" */

/* Reads past the end give zeros and make reader_ok() false for good. */
struct reader {
	const unsigned char *data;
	size_t len, pos;
	bool failed;
};

void reader_init(struct reader *reader, const void *data, size_t len);
bool reader_ok(const struct reader *reader);
bool reader_at_end(const struct reader *reader); /* ok, and nothing left */
uint8_t reader_u8(struct reader *reader);
uint32_t reader_u32(struct reader *reader);
uint64_t reader_u64(struct reader *reader);
const void *reader_bytes(struct reader *reader, size_t len); /* NULL when too short */
/* Into ret_str with a NUL; too long, or with a control byte in it: fails. */
void reader_str(struct reader *reader, char *ret_str, size_t size);

#endif
