/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Starts, stops and put-backs of all virtual IPs of the daemon, in batches.
 *
 * A few jobs are done within the call that asks for them; what follows in the same turn of the loop
 * is gathered and worked off in batches of one sendmsg each, in slices that leave the loop its
 * turn. Invariants: an address is announced only after the kernel has acknowledged it; a stop
 * succeeds only when the kernel has acknowledged the deletion of every place it was known at.
 * Called by vip.c.
 */
#include "resources/vip_engine.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clusterd/loop.h"

#define VIP_BURST_MAX 8      /* jobs done at once */
#define VIP_SLICE_NS 8000000 /* then the loop has its turn */
#define VIP_CREATE_GROW 64
/* The kernel's cost of one IPv6 address grows with the multicast groups on the link (each
 * RTM_NEWADDR walks them all), so a batch is as long as lately measured costs allow. */
#define VIP_BATCH_NS 3000000
#define VIP_COST_IPV4_NS 20000
#define VIP_COST_IPV6_NS 300000
#define VIP_COST_MIN_NS 5000
#define VIP_COST_MAX_NS VIP_BATCH_NS

static void engine_flush(void *ctx);

static size_t bucket_of(const struct ip_address *address)
{
	return core_digest(address->bytes, sizeof(address->bytes)) % VIP_BUCKETS;
}

struct vip *vip_engine_find(struct vip_engine *engine, const struct ip_address *address)
{
	struct vip *vip = engine->buckets[bucket_of(address)];

	while (vip && !address_is_equal(&vip->address, address))
		vip = vip->next;
	return vip;
}

int vip_engine_add(struct vip_engine *engine, struct vip *vip)
{
	size_t bucket = bucket_of(&vip->address);

	if (vip_engine_find(engine, &vip->address))
		return -EEXIST;
	if (engine->n_vips == engine->vips_size) {
		size_t size = engine->vips_size + VIP_CREATE_GROW;
		struct vip **grown = realloc(engine->vips, size * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		engine->vips = grown;
		engine->vips_size = size;
	}
	vip->engine = engine;
	vip->slot = engine->n_vips;
	engine->vips[engine->n_vips++] = vip;
	vip->next = engine->buckets[bucket];
	engine->buckets[bucket] = vip;
	engine->n_by_subnet += vip->interface == NULL;
	engine->judge = true;
	/* It may exist already; and if so, its subnet no longer counts as the link's own. */
	netlink_invalidate(engine->netlink);
	return 0;
}

static void job_drop(struct vip *vip)
{
	if (vip->job != VIP_IDLE)
		TAILQ_REMOVE(&vip->engine->queue, vip, link);
	vip->job = VIP_IDLE;
}

/* We no longer hold it: nothing more is said or put back. */
static void release(struct vip *vip)
{
	vip->running = false;
	announcer_drop(vip->engine->announcer, &vip->announcement);
	if (vip->is_watched)
		duplicates_unwatch(
			vip->engine->duplicates, vip->watched_ifindex, vip->address.family);
	vip->is_watched = false;
}

void vip_engine_remove(struct vip *vip)
{
	struct vip_engine *engine = vip->engine;
	struct vip **place = &engine->buckets[bucket_of(&vip->address)];

	job_drop(vip);
	release(vip);
	vip_watch_leave(vip);
	for (size_t i = 0; i < engine->n_tasks; i++)
		if (engine->tasks[i].vip == vip)
			engine->tasks[i].vip = NULL;
	while (*place != vip)
		place = &(*place)->next;
	*place = vip->next;
	engine->vips[vip->slot] = engine->vips[--engine->n_vips];
	engine->vips[vip->slot]->slot = vip->slot;
	engine->n_by_subnet -= vip->interface == NULL;
	engine->judge = true; /* whoever walks the list may have missed the one that moved */
	netlink_invalidate(engine->netlink);
	free(vip->rivals);
}

/* IPv4 settings of the link, once for each link; what can't be set is noted. */
static void link_prepare(struct vip *vip, const struct netlink_link *link)
{
	struct vip_engine *engine = vip->engine;
	const struct resource_host *host = vip->res.host;
	char text[VIP_TEXT_SIZE];

	if (vip->address.family != AF_INET)
		return;
	for (size_t i = 0; i < engine->n_prepared; i++)
		if (engine->prepared[i] == link->index)
			return;
	/* With more links than places the settings are only looked at more often. */
	if (engine->n_prepared < VIP_LINKS_PREPARED_MAX)
		engine->prepared[engine->n_prepared++] = link->index;
	if (link_setup_ipv4(link->name, text, sizeof(text)) < 0)
		host->note(host->ctx, &vip->res, text);
}

static struct netlink_change *change_new(
	struct vip_engine *engine, const struct vip *vip, bool add, int ifindex, uint8_t prefix_len)
{
	struct netlink_change *change = &engine->changes[engine->n_changes++];

	assert(engine->n_changes <= NETLINK_CHANGES_MAX);
	*change = (struct netlink_change){.add = add, .address = vip->address, .ifindex = ifindex};
	change->address.prefix_len = prefix_len;
	return change;
}

static void plan_add(struct vip_engine *engine, struct vip_task *task)
{
	struct vip *vip = task->vip;

	task->rc = vip_watch_resolve(vip, &task->netlink_link, task->text, sizeof(task->text));
	if (task->rc < 0)
		return;
	link_prepare(vip, &task->netlink_link);
	change_new(engine, vip, true, task->netlink_link.index, vip->address.prefix_len);
}

/* Every place where it is, on whichever link. */
static void plan_delete(struct vip_engine *engine, struct vip_task *task)
{
	struct vip *vip = task->vip;

	for (unsigned i = 0; i < vip->n_places; i++) {
		const struct netlink_link *link =
			netlink_link(engine->netlink, vip->places[i].ifindex);

		if (link)
			link_prepare(vip, link); /* others on it must survive the deletion */
		change_new(engine, vip, false, vip->places[i].ifindex, vip->places[i].prefix_len);
	}
}

static int64_t *cost_of(struct vip_engine *engine, const struct vip *vip)
{
	return &engine->cost_ns[vip->address.family == AF_INET6];
}

/* Learns from a batch what changes cost: both kinds share the blame by what was expected of them.
 */
static void costs_update(struct vip_engine *engine, int64_t expected_ns, int64_t took_ns)
{
	if (took_ns > 4 * expected_ns)
		took_ns =
			4 * expected_ns; /* a moment without a processor is not the kernel's cost */
	for (size_t i = 0; i < 2; i++) {
		bool is_in = false;

		for (size_t change = 0; change < engine->n_changes && !is_in; change++)
			is_in = (engine->changes[change].address.family == AF_INET6) == (i == 1);
		if (!is_in)
			continue;
		engine->cost_ns[i] = engine->cost_ns[i] * took_ns / expected_ns;
		if (engine->cost_ns[i] < VIP_COST_MIN_NS)
			engine->cost_ns[i] = VIP_COST_MIN_NS;
		if (engine->cost_ns[i] > VIP_COST_MAX_NS)
			engine->cost_ns[i] = VIP_COST_MAX_NS;
	}
}

static bool is_primary(const struct vip *vip)
{
	for (unsigned i = 0; i < vip->n_places; i++)
		if (vip->places[i].is_primary)
			return true;
	return false;
}

/* With a primary the kernel deletes and adds each of its secondaries: those go first. */
static bool defer(struct vip_engine *engine, struct vip *vip)
{
	if (vip->job != VIP_STOP || vip->is_deferred || !is_primary(vip))
		return false;
	vip->is_deferred = true;
	TAILQ_REMOVE(&engine->queue, vip, link);
	TAILQ_INSERT_TAIL(&engine->queue, vip, link);
	return true;
}

/* Takes jobs off the queue until a batch is full; returns how long it should take. */
static int64_t plan_batch(struct vip_engine *engine, int sync_rc)
{
	int64_t expected_ns = 0;
	struct vip *vip;

	engine->n_tasks = engine->n_changes = 0;
	while ((vip = TAILQ_FIRST(&engine->queue)) && engine->n_tasks < NETLINK_CHANGES_MAX &&
		engine->n_changes + VIP_PLACES_MAX <= NETLINK_CHANGES_MAX &&
		expected_ns < VIP_BATCH_NS) {
		struct vip_task *task = &engine->tasks[engine->n_tasks];

		if (defer(engine, vip))
			continue;
		if (vip->is_deferred && engine->n_tasks > 0)
			break; /* alone, as it may take long */
		engine->n_tasks++;
		*task = (struct vip_task){.vip = vip,
			.job = vip->job,
			.op = vip->op,
			.first_change = engine->n_changes,
			.rc = sync_rc};
		job_drop(vip);
		if (sync_rc < 0)
			snprintf(task->text, sizeof(task->text),
				"the kernel's list of addresses could not be read: %s",
				strerror(-sync_rc));
		else if (task->job == VIP_STOP)
			plan_delete(engine, task);
		else
			plan_add(engine, task);
		task->n_changes = engine->n_changes - task->first_change;
		expected_ns += *cost_of(engine, vip) * (int64_t)task->n_changes;
	}
	return expected_ns;
}

static void task_failed(struct vip_task *task, const struct netlink_change *change)
{
	struct vip_engine *engine = task->vip->engine;
	const struct netlink_link *link = netlink_link(engine->netlink, change->ifindex);
	char address[ADDRESS_TEXT_SIZE];

	task->rc = change->rc == -ENODEV && change->add ? -ENETDOWN : change->rc;
	snprintf(task->text, sizeof(task->text), "%s could not be %s interface %s: %s%s%s",
		address_print(&change->address, address), change->add ? "set on" : "deleted from",
		link ? link->name : "(gone)", strerror(-change->rc), change->text[0] ? ": " : "",
		change->text);
}

static void task_deleted(struct vip_engine *engine, struct vip_task *task)
{
	for (size_t i = task->first_change; i < task->first_change + task->n_changes; i++) {
		const struct netlink_change *change = &engine->changes[i];

		if (change->rc < 0 && change->rc != -EADDRNOTAVAIL && change->rc != -ENODEV)
			task_failed(task, change);
		else
			vip_watch_place_del(task->vip, change->ifindex, change->address.prefix_len);
	}
	if (task->rc == 0 && task->vip->has_more_places) {
		task->rc = -EEXIST;
		snprintf(task->text, sizeof(task->text),
			"the address is also set on further interfaces; delete it there");
	}
}

static void task_added(struct vip_engine *engine, struct vip_task *task, int64_t now_ns)
{
	const struct netlink_change *change = &engine->changes[task->first_change];
	struct vip *vip = task->vip;
	int ifindex = change->ifindex;

	if (change->rc < 0) {
		task_failed(task, change);
		return;
	}
	/* An event tells later whether it is a primary. */
	vip_watch_place_add(vip,
		&(struct vip_place){.ifindex = ifindex, .prefix_len = change->address.prefix_len});
	vip->running = true;
	vip->ifindex = ifindex;
	if (task->job != VIP_PUT_BACK)
		vip->held_since_ns = now_ns;
	if (task->job == VIP_START)
		vip->res.set_ns = vip->res.announced_ns = now_ns;
	if (vip->is_watched && vip->watched_ifindex != ifindex) {
		duplicates_unwatch(engine->duplicates, vip->watched_ifindex, vip->address.family);
		vip->is_watched = false;
	}
	/* Without ears the address serves all the same. */
	if (!vip->is_watched && task->netlink_link.has_neighbours)
		vip->is_watched =
			duplicates_watch(engine->duplicates, ifindex, vip->address.family) == 0;
	vip->watched_ifindex = ifindex;
}

static void announce_batch(struct vip_engine *engine)
{
	struct announcement *list[NETLINK_CHANGES_MAX];
	size_t n = 0;

	for (size_t i = 0; i < engine->n_tasks; i++) {
		struct vip_task *task = &engine->tasks[i];

		if (!task->vip || task->job == VIP_STOP || task->rc < 0)
			continue;
		if (!vip_watch_announcement(task->vip, &task->netlink_link))
			continue;
		task->vip->announcement.ret_sent_ns = NULL;
		if (task->job == VIP_START) {
			task->vip->res.announced_ns = 0;
			task->vip->announcement.ret_sent_ns = &task->vip->res.announced_ns;
		}
		list[n++] = &task->vip->announcement;
	}
	announcer_start(engine->announcer, list, n);
}

/* A put-back or adoption that failed: the host believes that the resource runs. */
static void task_lost(struct vip_task *task)
{
	const struct resource_host *host = task->vip->res.host;

	if (task->rc == -ENETDOWN) {
		vip_watch_unfit(task->vip, task->text);
		return;
	}
	release(task->vip);
	host->failed(host->ctx, &task->vip->res, false, task->text);
}

static void task_finish(struct vip_task *task)
{
	struct vip *vip = task->vip;
	const struct resource_host *host = vip->res.host;
	char text[VIP_TEXT_SIZE], address[ADDRESS_TEXT_SIZE];

	if (task->job == VIP_START || task->job == VIP_STOP) {
		if (task->job == VIP_START && task->rc == -ENETDOWN)
			vip->is_unfit = true;
		host->done(host->ctx, &vip->res, task->op, task->rc, task->text);
	} else if (task->rc < 0) {
		task_lost(task);
	} else if (task->job == VIP_PUT_BACK) {
		snprintf(text, sizeof(text), "%s was deleted from %s by somebody; put back",
			address_print(&vip->address, address), task->netlink_link.name);
		host->note(host->ctx, &vip->res, text);
	}
}

static void run_batch(struct vip_engine *engine)
{
	int64_t began_ns, now_ns, expected_ns;

	engine->is_busy = true;
	expected_ns = plan_batch(engine, netlink_sync(engine->netlink));
	began_ns = clock_boottime_ns();
	if (engine->n_changes > 0)
		(void)netlink_apply(engine->netlink, engine->changes, engine->n_changes);
	now_ns = clock_boottime_ns();
	if (engine->n_changes > 0)
		costs_update(engine, expected_ns, now_ns - began_ns);
	for (size_t i = 0; i < engine->n_tasks; i++) {
		struct vip_task *task = &engine->tasks[i];

		if (!task->vip || task->rc < 0)
			continue;
		if (task->job == VIP_STOP)
			task_deleted(engine, task);
		else
			task_added(engine, task, now_ns);
	}
	announce_batch(engine);
	for (size_t i = 0; i < engine->n_tasks; i++)
		if (engine->tasks[i].vip)
			task_finish(&engine->tasks[i]);
	engine->n_tasks = engine->n_changes = 0;
	engine->is_busy = false;
}

/* Without memory for a timer the jobs wait for the next submit. */
static void flush_soon(struct vip_engine *engine)
{
	if (!engine->flush)
		(void)loop_timer_add(
			engine->loop, 0, engine_flush, engine, "vip: flush", &engine->flush);
}

static void engine_flush(void *ctx)
{
	struct vip_engine *engine = ctx;
	int64_t began_ns = clock_boottime_ns();

	engine->burst = 0;
	while (!TAILQ_EMPTY(&engine->queue) && clock_boottime_ns() - began_ns < VIP_SLICE_NS)
		run_batch(engine);
	if (!TAILQ_EMPTY(&engine->queue))
		flush_soon(engine);
}

void vip_engine_submit(struct vip *vip, enum vip_job job, uint64_t op)
{
	struct vip_engine *engine = vip->engine;
	bool at_once = !engine->is_busy && TAILQ_EMPTY(&engine->queue) &&
		       engine->burst < VIP_BURST_MAX &&
		       (job == VIP_START || (job == VIP_STOP && !is_primary(vip)));

	job_drop(vip); /* a put-back that is no longer wanted */
	vip->is_deferred = false;
	if (job == VIP_STOP)
		release(vip);
	if (job == VIP_START)
		vip->res.set_ns = vip->res.announced_ns = 0;
	if (job == VIP_ADOPT)
		vip->running = true;
	vip->job = job;
	vip->op = op;
	TAILQ_INSERT_TAIL(&engine->queue, vip, link);
	/* Also after the last one: the loop's next turn begins a new burst. */
	flush_soon(engine);
	if (at_once) {
		engine->burst++;
		run_batch(engine);
	}
}

bool vip_engine_cancel(struct vip *vip)
{
	if (vip->job != VIP_START && vip->job != VIP_STOP)
		return false;
	job_drop(vip);
	return true;
}

int vip_engine_probe(struct vip *vip)
{
	int rc = netlink_sync(vip->engine->netlink);

	if (rc < 0)
		return rc;
	return vip->n_places > 0 ? PROBE_RUNNING : PROBE_STOPPED;
}

struct netlink *vip_engine_netlink(struct vip_engine *engine)
{
	return engine->netlink;
}

int vip_engine_new(struct loop *loop, struct vip_engine **ret_engine)
{
	struct vip_engine *engine = calloc(1, sizeof(*engine));
	int rc;

	if (!engine)
		return -ENOMEM;
	engine->loop = loop;
	engine->cost_ns[0] = VIP_COST_IPV4_NS;
	engine->cost_ns[1] = VIP_COST_IPV6_NS;
	TAILQ_INIT(&engine->queue);
	rc = netlink_new(loop, &vip_watch_ops, engine, &engine->netlink);
	if (rc == 0)
		rc = announcer_new(loop, &engine->announcer);
	if (rc == 0)
		rc = duplicates_new(loop, vip_watch_heard, engine, &engine->duplicates);
	if (rc == 0)
		rc = solicited_new(&engine->solicited);
	if (rc < 0) {
		vip_engine_free(engine);
		return rc;
	}
	*ret_engine = engine;
	return 0;
}

void vip_engine_free(struct vip_engine *engine)
{
	if (!engine)
		return;
	assert(engine->n_vips == 0);
	loop_timer_del(engine->loop, &engine->flush);
	loop_timer_del(engine->loop, &engine->judge_later);
	solicited_free(engine->solicited);
	duplicates_free(engine->duplicates);
	announcer_free(engine->announcer);
	netlink_free(engine->netlink);
	free(engine->vips);
	free(engine);
}
