/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of the world share: things to come, and each file's entry points. */
#ifndef TESTS_SIM_INSIDE_H
#define TESTS_SIM_INSIDE_H

#include "tests/sim/world.h"

#define WORLD_MAX_ITEMS 20000
#define WORLD_DIGESTS 4096

enum item_kind { ITEM_VIEW, ITEM_QUORUM, ITEM_MESSAGE, ITEM_TIMER, ITEM_OP, ITEM_RING, ITEM_EVENT };

struct item {
	enum item_kind kind;
	int64_t at_us;
	uint64_t seq;
	int node;
	uint32_t instance; /* of the daemon that it is for; of another: dropped */
	struct item *next;
	struct core_event event;
	uint64_t op;
	int64_t sent_us;                                      /* ITEM_MESSAGE */
	bool is_seen;                                         /* ITEM_OP: the truth has it */
	int64_t armed_us;                                     /* ITEM_TIMER */
	char group[CORE_NAME_SIZE], resource[CORE_NAME_SIZE]; /* ITEM_OP */
	void *data;                                           /* owned: message or text */
};

struct item *item_new(enum item_kind kind, int node);
void item_free(struct item *item);
void world_schedule(struct world *world, struct item *item, int64_t at_us);
int64_t world_jitter(struct world *world);

void bus_send(struct world *world, int node, void *data, size_t len); /* takes data */
void bus_send_item(struct world *world, struct item *item);
void bus_changed(struct world *world, int64_t delay_us); /* links or machines changed */
void bus_form_rings(struct world *world);
void bus_group_changed(struct world *world, int node);  /* a daemon came or went */
void bus_join(struct world *world, int node);           /* a daemon wants to be in the group */
bool bus_is_whole(const struct world *world, int node); /* its ring has its token */
bool bus_ring_quorate(const struct world *world, uint64_t ring_seq);

void machine_step(struct world *world, int node, struct core_event *event);
void machine_item(struct world *world, struct item *item);
void world_daemon_left(struct world *world, int node);
void machine_op_done(struct world *world, struct item *item);

struct truth *truth_find(
	struct world *world, int node, const char *group, const char *resource, bool create);
bool truth_serves(const struct world *world, int node, const char *group);
void check_start(struct world *world, int node, const char *group);
void check_all(struct world *world, int node);
void world_violated(struct world *world, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

#endif
