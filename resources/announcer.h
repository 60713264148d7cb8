/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sends announcements: the first at once, repeats after 0.1, 0.3, 1 and 3 s, paced over all
 * addresses. Of many addresses at once, each one's second frame waits until the others have had
 * their first.
 *
 * One packet socket for all links. The frames go the ordinary way through the queueing discipline,
 * so what filters egress filters them too.
 */
#ifndef RESOURCES_ANNOUNCER_H
#define RESOURCES_ANNOUNCER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "resources/announce.h"

struct loop;
struct announcer;

#define ANNOUNCER_REPEAT_FRAMES_PER_S 2000
#define ANNOUNCER_REPEATS 4

/* Embedded in whoever has an address; zeroed before first use. */
struct announcement {
	struct ip_address address;
	uint8_t mac[ANNOUNCE_MAC_LEN];
	int ifindex;
	int64_t *ret_sent_ns; /* CLOCK_BOOTTIME when it was first announced */

	/* announcer.c's own */
	TAILQ_ENTRY(announcement) link;
	bool is_pending;
	bool is_split;  /* the first round goes frame by frame */
	bool is_second; /* and the first frame was sent */
	uint8_t round;  /* the next one: 0 the first, then the repeats */
	uint8_t tries;  /* of the first round */
	int64_t first_ns, due_ns;
};

int announcer_new(struct loop *loop, struct announcer **ret_announcer);
void announcer_free(struct announcer *announcer);

/* The first announcement of each, now, and its repeats later; what was pending of them is replaced.
 */
void announcer_start(struct announcer *announcer, struct announcement *const *list, size_t n);
/* Nothing more is sent for it. */
void announcer_drop(struct announcer *announcer, struct announcement *announcement);

#endif
