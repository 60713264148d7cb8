/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The sending half of announcements: first round unpaced, repeats paced, nothing blocks.
 *
 * Invariant: `pending` holds exactly the announcements with a round left, each once. A queue that
 * is full (or a filter that drops) shows as ENOBUFS: the first round is then tried again each
 * millisecond for a while, a repeat is left to the next repeat. Called by vip_engine.c.
 */
#include "resources/announcer.h"

#include <errno.h>
#include <net/ethernet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <linux/if_packet.h>

#include "clusterd/loop.h"

#define ANNOUNCER_BATCH 64            /* frames in one sendmmsg */
#define ANNOUNCER_BURST 20            /* frames of repeats at a time */
#define ANNOUNCER_RETRY_NS 1000000    /* of the first round */
#define ANNOUNCER_FIRST_TRIES_MAX 100 /* then it counts as a lost frame */
#define ANNOUNCER_SEND_BUFFER (4 << 20)
/* A frame costs 5 to 15 us, so a thousand second frames would keep the last address waiting. */
#define ANNOUNCER_SPLIT_MIN 9          /* addresses in one start */
#define ANNOUNCER_SPLIT_NS 50000000    /* between the two frames */
#define ANNOUNCER_SECONDS_PER_TURN 128 /* then the loop has its turn */

#define MS 1000000LL
static const int64_t repeat_ns[ANNOUNCER_REPEATS] = {100 * MS, 300 * MS, 1000 * MS, 3000 * MS};

TAILQ_HEAD(announcement_list, announcement);

struct announcer {
	struct loop *loop;
	int fd;
	struct loop_timer *timer;
	int64_t timer_due_ns;
	int64_t repeat_after_ns; /* the pace allows no repeat before */
	struct announcement_list pending;
	/* One batch: */
	size_t n_frames, n_batch;
	struct announcement *batch[ANNOUNCER_BATCH];
	struct announce_frame frames[ANNOUNCER_BATCH];
	struct mmsghdr packets[ANNOUNCER_BATCH];
	struct iovec parts[ANNOUNCER_BATCH];
	struct sockaddr_ll links[ANNOUNCER_BATCH];
	uint8_t owner[ANNOUNCER_BATCH]; /* of each frame, its place in batch */
};

static void on_timer(void *ctx);

static void wake_at(struct announcer *announcer, int64_t due_ns)
{
	if (announcer->timer && announcer->timer_due_ns <= due_ns)
		return;
	loop_timer_del(announcer->loop, &announcer->timer);
	announcer->timer_due_ns = due_ns;
	/* Without memory no repeat is sent; the first round did its work. */
	(void)loop_timer_add(announcer->loop, due_ns - clock_boottime_ns(), on_timer, announcer,
		"announcer: repeat", &announcer->timer);
}

void announcer_drop(struct announcer *announcer, struct announcement *announcement)
{
	if (!announcement->is_pending)
		return;
	TAILQ_REMOVE(&announcer->pending, announcement, link);
	announcement->is_pending = false;
}

static void put_pending(struct announcer *announcer, struct announcement *announcement)
{
	announcer_drop(announcer, announcement);
	TAILQ_INSERT_TAIL(&announcer->pending, announcement, link);
	announcement->is_pending = true;
	wake_at(announcer, announcement->due_ns);
}

/* After a round was sent (or given up): repeats that are overdue by now are left out. */
static void next_round(
	struct announcer *announcer, struct announcement *announcement, int64_t now_ns)
{
	if (announcement->round == 0 && !announcement->is_second)
		announcement->first_ns = now_ns;
	if (announcement->is_split && !announcement->is_second) {
		announcement->is_second = true;
		announcement->tries = 0;
		announcement->due_ns = now_ns + ANNOUNCER_SPLIT_NS;
		put_pending(announcer, announcement);
		return;
	}
	announcement->is_split = announcement->is_second = false;
	do {
		if (announcement->round == ANNOUNCER_REPEATS) {
			announcer_drop(announcer, announcement);
			return;
		}
		announcement->due_ns = announcement->first_ns + repeat_ns[announcement->round++];
	} while (announcement->due_ns <= now_ns);
	put_pending(announcer, announcement);
}

static void batch_add(struct announcer *announcer, struct announcement *announcement)
{
	struct announce_frame *frames = &announcer->frames[announcer->n_frames];
	size_t n = announce_build(&announcement->address, announcement->mac, frames);

	if (announcement->is_split) {
		if (announcement->is_second)
			frames[0] = frames[1];
		n = 1;
	}
	for (size_t i = announcer->n_frames; i < announcer->n_frames + n; i++) {
		struct announce_frame *frame = &announcer->frames[i];

		announcer->links[i] = (struct sockaddr_ll){.sll_family = AF_PACKET,
			.sll_ifindex = announcement->ifindex,
			.sll_halen = ETH_ALEN};
		memcpy(announcer->links[i].sll_addr, frame->bytes, ETH_ALEN);
		memcpy(&announcer->links[i].sll_protocol, frame->bytes + 2 * ETH_ALEN, 2);
		announcer->parts[i] = (struct iovec){frame->bytes, frame->len};
		announcer->packets[i] =
			(struct mmsghdr){.msg_hdr = {.msg_name = &announcer->links[i],
						 .msg_namelen = sizeof(announcer->links[i]),
						 .msg_iov = &announcer->parts[i],
						 .msg_iovlen = 1}};
		announcer->owner[i] = (uint8_t)announcer->n_batch;
	}
	announcer->batch[announcer->n_batch++] = announcement;
	announcer->n_frames += n;
}

/* Full up to the next address that may need two frames? */
static bool batch_is_full(const struct announcer *announcer)
{
	return announcer->n_frames + ANNOUNCE_FRAMES_MAX > ANNOUNCER_BATCH;
}

static bool is_queue_full(int err)
{
	return err == EAGAIN || err == ENOBUFS || err == ENOMEM;
}

/* Sends frames [0, n_frames); returns how many addresses of the batch are done with: sent, or on a
 * link that does not take any (down, gone: whoever owns the address learns that from netlink). */
static size_t batch_send(struct announcer *announcer)
{
	size_t sent = 0;

	while (sent < announcer->n_frames) {
		int n = sendmmsg(announcer->fd, &announcer->packets[sent],
			(unsigned)(announcer->n_frames - sent), MSG_DONTWAIT);

		if (n > 0)
			sent += (size_t)n;
		else if (is_queue_full(errno))
			return announcer->owner[sent];
		else
			sent++;
	}
	return announcer->n_batch;
}

static void batch_flush(struct announcer *announcer)
{
	size_t done = batch_send(announcer);
	int64_t now_ns = clock_boottime_ns();

	for (size_t i = 0; i < announcer->n_batch; i++) {
		struct announcement *announcement = announcer->batch[i];

		if (i < done && announcement->round == 0 && !announcement->is_second &&
			announcement->ret_sent_ns)
			*announcement->ret_sent_ns = now_ns;
		if (i < done || announcement->round > 0 ||
			++announcement->tries >= ANNOUNCER_FIRST_TRIES_MAX) {
			next_round(announcer, announcement, now_ns);
		} else {
			announcement->due_ns = now_ns + ANNOUNCER_RETRY_NS;
			put_pending(announcer, announcement);
		}
	}
	announcer->n_batch = announcer->n_frames = 0;
}

void announcer_start(struct announcer *announcer, struct announcement *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		announcer_drop(announcer, list[i]);
		list[i]->round = 0;
		list[i]->tries = 0;
		list[i]->is_split = n >= ANNOUNCER_SPLIT_MIN && list[i]->address.family == AF_INET;
		list[i]->is_second = false;
		batch_add(announcer, list[i]);
		if (batch_is_full(announcer))
			batch_flush(announcer);
	}
	if (announcer->n_batch > 0)
		batch_flush(announcer);
}

/* One call of on_timer. */
struct turn {
	int64_t now_ns, wake_ns; /* wake_ns: when to look again */
	size_t repeated;         /* frames */
	size_t seconds;          /* second frames of the first round */
};

/* Is its turn now? If not, turn->wake_ns becomes the time to look again, if that is earlier. */
static bool is_due(const struct announcer *announcer, const struct announcement *announcement,
	struct turn *turn)
{
	int64_t due_ns = announcement->due_ns;

	if (announcement->round > 0) {
		if (due_ns < announcer->repeat_after_ns)
			due_ns = announcer->repeat_after_ns;
		if (due_ns <= turn->now_ns && turn->repeated >= ANNOUNCER_BURST)
			/* The pace, set after this burst, decides. */
			due_ns = turn->now_ns +
				 1000000000 / ANNOUNCER_REPEAT_FRAMES_PER_S * ANNOUNCER_BURST;
	} else if (announcement->is_second && due_ns <= turn->now_ns &&
		   turn->seconds >= ANNOUNCER_SECONDS_PER_TURN) {
		due_ns = turn->now_ns + 1;
	}
	if (due_ns <= turn->now_ns)
		return true;
	if (due_ns < turn->wake_ns)
		turn->wake_ns = due_ns;
	return false;
}

/* Sends what is due: the first round at once, repeats as the pace allows. What was sent moves
 * to the list's end, so no address waits longer than the others. */
static void on_timer(void *ctx)
{
	struct announcer *announcer = ctx;
	struct announcement *announcement, *next, *last;
	struct turn turn = {.now_ns = clock_boottime_ns(), .wake_ns = INT64_MAX};

	last = TAILQ_LAST(&announcer->pending, announcement_list);
	for (announcement = TAILQ_FIRST(&announcer->pending); announcement; announcement = next) {
		next = announcement == last ? NULL : TAILQ_NEXT(announcement, link);
		if (!is_due(announcer, announcement, &turn))
			continue;
		if (announcement->round > 0)
			turn.repeated += announcement->address.family == AF_INET ? 2 : 1;
		else
			turn.seconds += announcement->is_second;
		batch_add(announcer, announcement);
		if (batch_is_full(announcer))
			batch_flush(announcer);
	}
	if (announcer->n_batch > 0)
		batch_flush(announcer);
	if (turn.repeated > 0)
		announcer->repeat_after_ns =
			turn.now_ns +
			(int64_t)turn.repeated * (1000000000 / ANNOUNCER_REPEAT_FRAMES_PER_S);
	if (turn.wake_ns != INT64_MAX)
		wake_at(announcer, turn.wake_ns);
}

int announcer_new(struct loop *loop, struct announcer **ret_announcer)
{
	struct announcer *announcer = calloc(1, sizeof(*announcer));
	int size = ANNOUNCER_SEND_BUFFER;

	if (!announcer)
		return -ENOMEM;
	announcer->loop = loop;
	TAILQ_INIT(&announcer->pending);
	/* Protocol 0: it receives nothing. */
	announcer->fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (announcer->fd < 0) {
		int rc = -errno;

		free(announcer);
		return rc;
	}
	/* The default holds some 250 frames; more are then sent in steps of 1 ms. */
	(void)setsockopt(announcer->fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
	*ret_announcer = announcer;
	return 0;
}

void announcer_free(struct announcer *announcer)
{
	if (!announcer)
		return;
	loop_timer_del(announcer->loop, &announcer->timer);
	close(announcer->fd);
	free(announcer);
}
