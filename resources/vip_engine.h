/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The engine's view of one virtual IP. Between vip.c (the operations of the type), vip_engine.c
 * (jobs) and vip_watch.c (what happens to addresses and links); nobody else includes it.
 */
#ifndef RESOURCES_VIP_ENGINE_H
#define RESOURCES_VIP_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "clusterd/core/types.h"
#include "resources/address.h"
#include "resources/announcer.h"
#include "resources/duplicate.h"
#include "resources/link_setup.h"
#include "resources/netlink.h"
#include "resources/resource.h"
#include "resources/vip.h"

#define VIP_PLACES_MAX 4
#define VIP_RIVALS_MAX 4
#define VIP_TEXT_SIZE 256
#define VIP_BUCKETS 1024
#define VIP_LINKS_PREPARED_MAX 256

enum vip_job {
	VIP_IDLE,
	VIP_START,
	VIP_STOP,
	VIP_ADOPT,    /* found running: set it again, which changes nothing, and announce */
	VIP_PUT_BACK, /* somebody deleted it */
};

/* The address exists on this link with this prefix length, whoever set it. */
struct vip_place {
	int ifindex;
	uint8_t prefix_len;
	bool is_primary; /* to delete it while it has secondaries is slow */
};

struct vip_rival {
	uint8_t mac[6];
	int64_t noted_ns;
};

struct vip {
	struct resource res; /* first: vip.c casts */
	struct vip_engine *engine;
	struct ip_address address;
	char *interface;  /* NULL: by subnet */
	size_t slot;      /* in engine->vips */
	struct vip *next; /* of the same bucket */

	enum vip_job job; /* queued while not VIP_IDLE */
	bool is_deferred; /* its stop was moved behind the others */
	uint64_t op;
	TAILQ_ENTRY(vip) link;

	bool running;  /* we hold it: watch it, put it back, announce it */
	bool is_unfit; /* the host was told so and waits for fit() */
	int ifindex;   /* while running: where it is set */
	struct vip_place places[VIP_PLACES_MAX];
	uint8_t n_places;
	bool has_more_places;
	int64_t held_since_ns, put_back_ns;

	bool is_watched; /* for duplicates, on watched_ifindex */
	int watched_ifindex;
	int joined_ifindex, joined_socket; /* solicited-node group; 0: not joined */
	struct announcement announcement;
	struct vip_rival *rivals; /* VIP_RIVALS_MAX of them, once one was heard */
};

/* A job while it is worked off. vip becomes NULL if the resource is freed meanwhile. */
struct vip_task {
	struct vip *vip;
	enum vip_job job;
	uint64_t op;
	struct netlink_link netlink_link; /* of an add */
	size_t first_change, n_changes;
	int rc;
	char text[VIP_TEXT_SIZE];
};

TAILQ_HEAD(vip_queue, vip);

struct vip_engine {
	struct loop *loop;
	struct netlink *netlink;
	struct announcer *announcer;
	struct duplicates *duplicates;
	struct solicited *solicited;

	struct vip **vips;
	size_t n_vips, vips_size, n_by_subnet;
	struct vip *buckets[VIP_BUCKETS];

	struct vip_queue queue;
	struct loop_timer *flush, *judge_later;
	unsigned burst;     /* jobs done at once since the loop last turned */
	bool is_busy;       /* in host callbacks or a batch: only queue */
	int64_t cost_ns[2]; /* of one change, as it was lately: IPv4, IPv6 */
	bool judge;         /* an address of ours may have to be put back */

	int prepared[VIP_LINKS_PREPARED_MAX]; /* links whose settings are made */
	size_t n_prepared;

	struct vip_task tasks[NETLINK_CHANGES_MAX];
	struct netlink_change changes[NETLINK_CHANGES_MAX];
	size_t n_tasks, n_changes;
};

/* vip_engine.c */
/* 0, -EEXIST (another resource has the address) or -ENOMEM. */
int vip_engine_add(struct vip_engine *engine, struct vip *vip);
void vip_engine_remove(struct vip *vip);
/* host->done comes for VIP_START and VIP_STOP, possibly from within. */
void vip_engine_submit(struct vip *vip, enum vip_job job, uint64_t op);
/* False: there was nothing to cancel. */
bool vip_engine_cancel(struct vip *vip);
/* enum probe_result or -errno. */
int vip_engine_probe(struct vip *vip);
struct vip *vip_engine_find(struct vip_engine *engine, const struct ip_address *address);

/* vip_watch.c */
extern const struct netlink_ops vip_watch_ops;
/* duplicate_fn; ctx is the engine. */
void vip_watch_heard(
	void *ctx, const struct ip_address *address, const uint8_t mac[6], int ifindex);
/* Where the vip belongs. 0, or -ENETDOWN with why: the vip is not fit for now. */
int vip_watch_resolve(struct vip *vip, struct netlink_link *ret_link, char *reterr, size_t size);
bool vip_watch_is_at(const struct vip *vip, int ifindex);
void vip_watch_place_add(struct vip *vip, const struct vip_place *place);
void vip_watch_place_del(struct vip *vip, int ifindex, uint8_t prefix_len);
/* Tells the host that the node can't hold it, once until it can. */
void vip_watch_unfit(struct vip *vip, const char *text);
/* The solicited-node group. */
void vip_watch_leave(struct vip *vip);
/* Fills in what to announce; false: the link has no neighbours to tell. */
bool vip_watch_announcement(struct vip *vip, const struct netlink_link *link);

#endif
