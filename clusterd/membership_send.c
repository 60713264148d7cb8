/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Own messages: queued, packed into frames, sent, confirmed by self-delivery.
 *
 * Invariant: at most MEMBERSHIP_UNCONFIRMED_MAX messages are under way, so a corosync that is
 * stopped finds few requests unread (libqb spins at about 280); the rest waits here. Frames come
 * back as they were sent, or we give up: a gap means that corosync dropped one.
 *
 * What is known of loss (exec/ of v3.1.7, and tried): a ring change loses nothing. What was queued
 * waits for its end (waiting_trans_ack in totemsrp.c), IPC is closed meanwhile, and CPG is first
 * in, first out for one sender. But a request that finds too little room in totem's queue is
 * dropped with a line in corosync's log, though its sender was told CS_OK (cs_ipcs_msg_process in
 * ipc_glue.c): seen with 1,047,552 bytes. The door is shut at 75 % of that queue of 4 MiB, so
 * messages of up to MEMBERSHIP_MESSAGE_MAX always fit. Hence nothing is ever sent again, but the
 * gap would be noticed. Called by membership.c.
 */
#include "clusterd/membership_internal.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/uio.h>
#include <unistd.h>

#include "clusterd/loop.h"

#define FRAME_MAGIC 0x436c5564u /* "ClUd" */
#define FRAME_VERSION_NUMBER 1
#define FRAME_SOFT_MAX (64u << 10) /* bytes; a larger message travels alone */
#define RETRY_FIRST_NS 1000000     /* after TRY_AGAIN; doubles to */
#define RETRY_MAX_NS 50000000

enum frame_kind { KIND_MESSAGES = 1, KIND_LEAVE = 2 };

/* All little-endian. The lengths of the messages follow, 32 bit each, then the messages. */
struct frame_header {
	uint32_t magic;
	uint16_t version;
	uint16_t kind;
	uint64_t incarnation; /* of the sending process */
	uint64_t seq;         /* of the frame: 1, 2, 3 and so on */
	uint32_t pid;
	uint32_t count; /* messages */
};

struct queued {
	struct queued *next;
	uint32_t len;
	uint8_t data[];
};

struct sender {
	struct loop *loop;
	cpg_handle_t cpg;
	void (*failed)(void *ctx, cs_error_t err);
	void *ctx;
	uint32_t own_nodeid, own_pid;
	uint64_t incarnation;
	bool started, stopped;
	bool leaving, leave_sent;

	struct queued *head, **tail;
	size_t bytes; /* of the queue, with its overhead */

	struct queued *next;      /* the first one that was not sent yet; NULL: all were */
	uint32_t n_sent;          /* messages under way: the first ones of the queue */
	uint64_t next_seq;        /* of the next frame */
	uint64_t unconfirmed_seq; /* of the oldest frame under way */
	int64_t retry_ns;
	struct loop_timer *flush_timer;
};

static void flush_arm(struct sender *sender, int64_t delay_ns);

int sender_new(struct loop *loop, cpg_handle_t cpg, uint32_t own_nodeid,
	void (*failed)(void *ctx, cs_error_t err), void *ctx, struct sender **ret_sender)
{
	struct sender *sender = calloc(1, sizeof(*sender));

	if (!sender)
		return -ENOMEM;
	if (getrandom(&sender->incarnation, sizeof(sender->incarnation), GRND_NONBLOCK) !=
		(ssize_t)sizeof(sender->incarnation))
		sender->incarnation = (uint64_t)clock_boottime_ns();
	sender->loop = loop;
	sender->cpg = cpg;
	sender->failed = failed;
	sender->ctx = ctx;
	sender->own_nodeid = own_nodeid;
	sender->own_pid = (uint32_t)getpid();
	sender->tail = &sender->head;
	sender->retry_ns = RETRY_FIRST_NS;
	sender->next_seq = 1;
	sender->unconfirmed_seq = 1;
	*ret_sender = sender;
	return 0;
}

static void queue_pop(struct sender *sender)
{
	struct queued *first = sender->head;

	sender->head = first->next;
	if (!sender->head)
		sender->tail = &sender->head;
	if (sender->next == first)
		sender->next = first->next;
	sender->bytes -= sizeof(*first) + first->len;
	free(first);
}

void sender_stop(struct sender *sender)
{
	sender->stopped = true;
	loop_timer_del(sender->loop, &sender->flush_timer);
}

void sender_free(struct sender *sender)
{
	if (!sender)
		return;
	sender_stop(sender);
	while (sender->head)
		queue_pop(sender);
	free(sender);
}

int sender_queue(struct sender *sender, const void *data, size_t len)
{
	struct queued *entry;

	if (len > MEMBERSHIP_MESSAGE_MAX)
		return -EMSGSIZE;
	if (sender->stopped || sender->leave_sent)
		return -ESHUTDOWN;
	if (sender->bytes + sizeof(*entry) + len > MEMBERSHIP_QUEUE_MAX)
		return -ENOBUFS;
	entry = malloc(sizeof(*entry) + len);
	if (!entry)
		return -ENOBUFS;
	entry->next = NULL;
	entry->len = (uint32_t)len;
	if (len > 0)
		memcpy(entry->data, data, len);
	*sender->tail = entry;
	sender->tail = &entry->next;
	sender->bytes += sizeof(*entry) + len;
	if (!sender->next)
		sender->next = entry;
	/* Not at once: what one step of the caller has to say goes as one frame. */
	flush_arm(sender, 0);
	return 0;
}

bool sender_is_idle(const struct sender *sender)
{
	return !sender->head;
}

static void flush_timer_fn(void *ctx)
{
	sender_flush(ctx);
}

/* Without memory for a timer nothing would ever be sent again. */
static void flush_arm(struct sender *sender, int64_t delay_ns)
{
	if (sender->flush_timer || sender->stopped)
		return;
	if (loop_timer_add(sender->loop, delay_ns, flush_timer_fn, sender, "membership send",
		    &sender->flush_timer) < 0)
		abort();
}

static cs_error_t frame_send(struct sender *sender, enum frame_kind kind)
{
	struct frame_header header = {.magic = htole32(FRAME_MAGIC),
		.version = htole16(FRAME_VERSION_NUMBER),
		.kind = htole16((uint16_t)kind),
		.incarnation = htole64(sender->incarnation),
		.seq = htole64(sender->next_seq),
		.pid = htole32(sender->own_pid)};
	uint32_t lengths[MEMBERSHIP_UNCONFIRMED_MAX];
	struct iovec iov[2 + MEMBERSHIP_UNCONFIRMED_MAX];
	const struct queued *entry = kind == KIND_MESSAGES ? sender->next : NULL;
	uint32_t count = 0, room = MEMBERSHIP_UNCONFIRMED_MAX - sender->n_sent;
	size_t bytes = 0;
	cs_error_t err;

	for (; entry && count < room; entry = entry->next) {
		if (count > 0 && bytes + entry->len > FRAME_SOFT_MAX)
			break;
		bytes += entry->len;
		lengths[count] = htole32(entry->len);
		iov[2 + count] = (struct iovec){(void *)(uintptr_t)entry->data, entry->len};
		count++;
	}
	header.count = htole32(count);
	iov[0] = (struct iovec){&header, sizeof(header)};
	iov[1] = (struct iovec){lengths, count * sizeof(lengths[0])};
	err = cpg_mcast_joined(sender->cpg, CPG_TYPE_AGREED, iov, 2 + count);
	if (err == CS_OK) {
		sender->n_sent += count;
		sender->next_seq++;
		if (kind == KIND_MESSAGES)
			sender->next = (struct queued *)(uintptr_t)entry;
	}
	return err;
}

/* True if corosync took it, or was told to be asked again. */
static bool sent_or_retry(struct sender *sender, cs_error_t err)
{
	if (err == CS_OK) {
		sender->retry_ns = RETRY_FIRST_NS;
		return true;
	}
	if (err != CS_ERR_TRY_AGAIN && err != CS_ERR_INTERRUPT) {
		sender->failed(sender->ctx, err);
		return false;
	}
	flush_arm(sender, sender->retry_ns);
	sender->retry_ns *= 2;
	if (sender->retry_ns > RETRY_MAX_NS)
		sender->retry_ns = RETRY_MAX_NS;
	return true;
}

void sender_flush(struct sender *sender)
{
	cs_error_t err = CS_OK;

	if (!sender->started || sender->stopped || sender->flush_timer)
		return;
	while (err == CS_OK && sender->next && sender->n_sent < MEMBERSHIP_UNCONFIRMED_MAX) {
		err = frame_send(sender, KIND_MESSAGES);
		if (!sent_or_retry(sender, err))
			return;
	}
	if (err == CS_OK && sender->leaving && !sender->leave_sent && !sender->head) {
		err = frame_send(sender, KIND_LEAVE);
		sender->leave_sent = err == CS_OK;
		(void)sent_or_retry(sender, err);
	}
}

void sender_start(struct sender *sender)
{
	if (sender->started)
		return;
	sender->started = true;
	flush_arm(sender, 0);
}

void sender_kick(struct sender *sender)
{
	sender->retry_ns = RETRY_FIRST_NS;
	if (!sender->flush_timer)
		return;
	loop_timer_del(sender->loop, &sender->flush_timer);
	flush_arm(sender, 0);
}

void sender_leave(struct sender *sender)
{
	sender->leaving = true;
	sender->leave_sent = false;
	flush_arm(sender, 0);
}

static enum frame_use own_delivered(
	struct sender *sender, enum frame_kind kind, uint64_t seq, uint32_t count)
{
	if (seq != sender->unconfirmed_seq || count > sender->n_sent)
		return FRAME_GAP;
	sender->unconfirmed_seq++;
	sender->n_sent -= count;
	for (; count > 0; count--)
		queue_pop(sender);
	return kind == KIND_LEAVE ? FRAME_LEAVE : FRAME_MESSAGES;
}

/* Do the lengths add up to what follows them? */
static bool frame_is_whole(const struct frame_reader *reader, size_t len)
{
	struct frame_reader copy = *reader;
	size_t sum = 0;

	for (; copy.left > 0; copy.left--) {
		uint32_t one;

		memcpy(&one, copy.lengths, sizeof(one));
		copy.lengths += sizeof(one);
		sum += le32toh(one);
	}
	return sum == len;
}

enum frame_use sender_delivered(struct sender *sender, uint32_t nodeid, uint32_t pid,
	const void *frame, size_t len, struct frame_reader *ret_reader)
{
	struct frame_header header;
	struct frame_reader reader;
	enum frame_kind kind;
	size_t head_len;

	if (len < sizeof(header))
		return FRAME_FOREIGN;
	memcpy(&header, frame, sizeof(header));
	if (le32toh(header.magic) != FRAME_MAGIC)
		return FRAME_FOREIGN;
	if (le16toh(header.version) != FRAME_VERSION_NUMBER)
		return FRAME_VERSION;
	kind = (enum frame_kind)le16toh(header.kind);
	reader.left = le32toh(header.count);
	if (kind < KIND_MESSAGES || kind > KIND_LEAVE || le32toh(header.pid) != pid ||
		reader.left > MEMBERSHIP_UNCONFIRMED_MAX ||
		(kind == KIND_MESSAGES) != (reader.left > 0))
		return FRAME_FOREIGN;
	head_len = sizeof(header) + reader.left * sizeof(uint32_t);
	if (len < head_len)
		return FRAME_FOREIGN;
	reader.lengths = (const uint8_t *)frame + sizeof(header);
	reader.data = (const uint8_t *)frame + head_len;
	if (!frame_is_whole(&reader, len - head_len))
		return FRAME_FOREIGN;
	*ret_reader = reader;
	if (nodeid != sender->own_nodeid || pid != sender->own_pid)
		return kind == KIND_MESSAGES ? FRAME_MESSAGES : FRAME_NOTHING;
	/* An earlier process with our pid. */
	if (le64toh(header.incarnation) != sender->incarnation)
		return FRAME_NOTHING;
	return own_delivered(sender, kind, le64toh(header.seq), reader.left);
}

bool frame_next(struct frame_reader *reader, const void **ret_data, size_t *ret_len)
{
	uint32_t len;

	if (reader->left == 0)
		return false;
	memcpy(&len, reader->lengths, sizeof(len));
	reader->lengths += sizeof(len);
	reader->left--;
	*ret_data = reader->data;
	*ret_len = le32toh(len);
	reader->data += *ret_len;
	return true;
}
