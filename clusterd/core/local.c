/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What this node runs: brings each group here to what the replicated state wants of this node, and
 * says the results.
 *
 * Both are driven by level, not by edge: local_sync compares what is wanted with what is, and sends
 * a result as long as the state does not show it. So a lost result, a snapshot in between or a
 * change of mind half-way need no case of their own. Starts go in the order of the config, stops in
 * reverse; pipelined neighbours do not wait for each other, and without quorum for nobody.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "clusterd/core/internal.h"

#define REPORT_AGAIN_US 2000000
#define STOP_RETRY_US 1000000
#define STOP_RETRY_DOUBLINGS 5 /* at most every 32 s */

enum want { WANT_STOP, WANT_KEEP, WANT_RUN };

int local_init(struct core *core)
{
	uint32_t n = core->config->n_groups;

	core->local = calloc(n ? n : 1, sizeof(*core->local));
	if (!core->local)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++) {
		core->local[i].release_us = -1;
		core->local[i].res = calloc(core->config->groups[i].n_resources + 1, 1);
		core->local[i].unfit_res =
			calloc(core->config->groups[i].n_resources + 1, sizeof(bool));
		if (!core->local[i].res || !core->local[i].unfit_res)
			return -ENOMEM;
	}
	return 0;
}

void local_fini(struct core *core)
{
	for (uint32_t i = 0; core->local && i < core->config->n_groups; i++) {
		free(core->local[i].res);
		free(core->local[i].unfit_res);
		free(core->local[i].failed_text);
	}
	free(core->local);
	core->local = NULL;
}

void core_found(struct core *core, uint32_t group, const bool *resource_runs)
{
	struct local_group *local = &core->local[group];
	uint32_t n = core->config->groups[group].n_resources;
	uint32_t n_running = 0;

	for (uint32_t i = 0; i < n; i++) {
		local->res[i] = resource_runs[i] ? LOCAL_RES_UNKNOWN : LOCAL_RES_STOPPED;
		n_running += resource_runs[i];
	}
	local->is_found = n_running == n;
	local->state = n_running == 0 ? LOCAL_IDLE : n_running == n ? LOCAL_RUNNING : LOCAL_DIRTY;
}

enum core_found local_found(const struct core *core, uint32_t group)
{
	switch (core->local[group].state) {
	case LOCAL_IDLE: return CORE_FOUND_NOTHING;
	case LOCAL_RUNNING: return CORE_FOUND_ALL;
	default: return CORE_FOUND_SOMETHING;
	}
}

bool local_all_idle(const struct core *core)
{
	for (uint32_t i = 0; i < core->config->n_groups; i++) {
		if (core->local[i].state != LOCAL_IDLE)
			return false;
	}
	return true;
}

void local_forget_reports(struct core *core)
{
	for (uint32_t i = 0; i < core->config->n_groups; i++) {
		core->local[i].reported = 0;
		core->local[i].fit_said_us = 0;
	}
}

/* ---- operations ---- */

static bool is_pipelined(const struct core *core, uint32_t group, uint32_t resource)
{
	return core->config->groups[group].resources[resource].pipelined;
}

static bool must_wait(const struct core *core, uint32_t group, uint32_t resource)
{
	const struct local_group *local = &core->local[group];

	return local->in_flight > 0 && (local->is_serial || !is_pipelined(core, group, resource));
}

static void start_some(struct core *core, uint32_t group)
{
	struct local_group *local = &core->local[group];
	uint32_t n = core->config->groups[group].n_resources;

	while (local->next < n && !local->has_failed) {
		uint32_t resource = local->next;

		if (must_wait(core, group, resource))
			return;
		local->next++;
		local->in_flight++;
		local->is_serial = !is_pipelined(core, group, resource);
		local->res[resource] = LOCAL_RES_STARTING;
		effect_op(core, CORE_OP_START, group, resource);
	}
	if (local->next == n && local->in_flight == 0 && !local->has_failed)
		local->state = LOCAL_RUNNING;
}

static void stop_some(struct core *core, uint32_t group)
{
	struct local_group *local = &core->local[group];

	while (local->next > 0) {
		uint32_t resource = local->next - 1;

		if (local->res[resource] == LOCAL_RES_STOPPED ||
			local->res[resource] == LOCAL_RES_STOPPING) {
			local->next--;
			continue;
		}
		if (must_wait(core, group, resource))
			return;
		local->next--;
		local->in_flight++;
		local->is_serial = !is_pipelined(core, group, resource);
		local->res[resource] = LOCAL_RES_STOPPING;
		effect_op(core, CORE_OP_STOP, group, resource);
	}
	if (local->in_flight == 0)
		local->state = local->stop_failed ? LOCAL_DIRTY : LOCAL_IDLE;
}

static void failure_clear(struct local_group *local)
{
	local->has_failed = false;
	local->unfit = false;
	free(local->failed_text);
	local->failed_text = NULL;
}

static void failure_set(struct local_group *local, uint32_t resource, bool unfit, const char *text)
{
	if (local->has_failed)
		return; /* the first one is the cause, the others its consequences */
	local->has_failed = true;
	local->unfit = unfit;
	local->failed_resource = resource;
	local->failed_text = calloc(1, CORE_TEXT_SIZE);
	if (!local->failed_text || !text)
		return;
	for (size_t i = 0; text[i] && i + 1 < CORE_TEXT_SIZE; i++) {
		unsigned char c = (unsigned char)text[i];

		local->failed_text[i] = c < ' ' || c == 0x7f ? ' ' : text[i];
	}
}

static void unfit_set(struct local_group *local, uint32_t resource, bool is_unfit)
{
	if (local->unfit_res[resource] == is_unfit)
		return;
	local->unfit_res[resource] = is_unfit;
	local->n_unfit += is_unfit ? 1 : UINT32_MAX;
}

static void start_begin(struct core *core, uint32_t group)
{
	struct local_group *local = &core->local[group];

	failure_clear(local);
	local->start_gen = core->state.groups[group].gen;
	local->state = LOCAL_STARTING;
	local->next = 0;
	local->in_flight = 0;
	local->retries = 0;
	local->cancel_sent = false;
	local->set_us = local->announced_us = 0;
	start_some(core, group);
}

static void stop_begin(struct core *core, uint32_t group)
{
	struct local_group *local = &core->local[group];

	local->state = LOCAL_STOPPING;
	local->next = core->config->groups[group].n_resources;
	local->in_flight = 0;
	local->stop_failed = false;
	local->is_found = false;
	local->stop_begun_us = core->event->now_us;
	stop_some(core, group);
}

static void stop_retry_later(struct core *core, struct local_group *local)
{
	unsigned doublings =
		local->retries < STOP_RETRY_DOUBLINGS ? local->retries : STOP_RETRY_DOUBLINGS;

	local->retry_us = core->event->now_us + ((int64_t)STOP_RETRY_US << doublings);
	if (local->retries < UINT8_MAX)
		local->retries++;
}

static enum want wanted(const struct core *core, uint32_t group)
{
	const struct group_rec *rec = &core->state.groups[group];
	bool may_keep = !core->is_leaving && core->event->now_us < core->keep_until_us;

	if (core_may_act(core))
		return rec->owner == core->self &&
				       (rec->state == GROUP_STARTING || rec->state == GROUP_ONLINE)
			       ? WANT_RUN
			       : WANT_STOP;
	if (core->phase == CORE_JOINING || core->phase == CORE_MEMBER)
		return may_keep ? WANT_KEEP : WANT_STOP;
	return WANT_STOP;
}

void local_op_done(struct core *core, const struct core_event *event)
{
	uint32_t group = event->op_done.group, resource = event->op_done.resource;
	struct local_group *local = &core->local[group];
	bool is_ok = event->op_done.rc == 0;

	if (local->in_flight == 0)
		return; /* nobody asked */
	local->in_flight--;
	if (event->op_done.op == CORE_OP_START) {
		local->res[resource] = is_ok ? LOCAL_RES_RUNNING : LOCAL_RES_FAILED;
		if (!is_ok)
			failure_set(local, resource, event->op_done.rc == -ENETDOWN,
				event->op_done.text);
		if (event->op_done.rc == -ENETDOWN)
			unfit_set(local, resource, true);
		if (event->op_done.set_us > local->set_us)
			local->set_us = event->op_done.set_us;
		if (event->op_done.announced_us > local->announced_us)
			local->announced_us = event->op_done.announced_us;
	} else {
		local->res[resource] = is_ok ? LOCAL_RES_STOPPED : LOCAL_RES_UNKNOWN;
		if (!is_ok && !local->stop_failed) {
			failure_clear(local); /* what went before matters less than this */
			failure_set(local, resource, false, event->op_done.text);
			local->stop_failed = true;
		}
	}
	if (local->state == LOCAL_STARTING && wanted(core, group) == WANT_RUN)
		start_some(core, group);
	else if (local->state == LOCAL_STOPPING)
		stop_some(core, group);
	if (local->state == LOCAL_DIRTY)
		stop_retry_later(core, local);
	core_touch_local(core, group);
}

void local_resource_failed(struct core *core, const struct core_event *event)
{
	struct local_group *local = &core->local[event->resource.group];

	if (event->resource.unfit)
		unfit_set(local, event->resource.resource, true);
	if (local->state != LOCAL_RUNNING && local->state != LOCAL_STARTING)
		return;
	if (local->res[event->resource.resource] == LOCAL_RES_RUNNING)
		local->res[event->resource.resource] = LOCAL_RES_FAILED;
	failure_set(local, event->resource.resource, event->resource.unfit, event->resource.text);
	core_touch_local(core, event->resource.group);
}

void local_resource_fit(struct core *core, const struct core_event *event)
{
	struct local_group *local = &core->local[event->resource.group];

	unfit_set(local, event->resource.resource, false);
	core_touch_local(core, event->resource.group);
}

/* ---- results ---- */

static void report(struct core *core, uint32_t group, struct msg *msg)
{
	struct local_group *local = &core->local[group];
	int64_t now = core->event->now_us;

	msg->group = group;
	msg->gen = core->state.groups[group].gen;
	if (local->reported == msg->type && local->reported_gen == msg->gen &&
		now < local->reported_us + REPORT_AGAIN_US)
		return;
	local->reported = msg->type;
	local->reported_gen = msg->gen;
	local->reported_us = now;
	msg->wall_ms = core->event->wall_ms;
	if (local->has_failed) {
		msg->resource = local->failed_resource;
		msg->unfit = local->unfit && local->n_unfit > 0;
		if (local->failed_text)
			memcpy(msg->text, local->failed_text, sizeof(msg->text));
	}
	effect_send(core, msg);
}

static int64_t since(int64_t at_us, int64_t from_us)
{
	return at_us >= from_us && at_us != 0 ? at_us - from_us : -1;
}

static void report_started(struct core *core, uint32_t group)
{
	const struct local_group *local = &core->local[group];
	struct msg msg = {.type = MSG_STARTED};

	msg.phase_us[PHASE_RELEASE] =
		core->state.groups[group].origin == CORE_NO_NODE ? -1 : local->release_us;
	msg.phase_us[PHASE_QUORUM] = since(local->quorum_us, local->proof_us);
	msg.phase_us[PHASE_DECIDED] = since(local->decided_us, local->proof_us);
	msg.phase_us[PHASE_ADDRESS] = since(local->set_us, local->proof_us);
	msg.phase_us[PHASE_ANNOUNCED] = since(local->announced_us, local->proof_us);
	msg.phase_us[PHASE_ALL] = since(core->event->now_us, local->proof_us);
	report(core, group, &msg);
}

static void report_stopped(struct core *core, uint32_t group)
{
	const struct local_group *local = &core->local[group];
	struct msg msg = {.type = MSG_STOPPED};

	for (unsigned i = 0; i < PHASES; i++)
		msg.phase_us[i] = -1;
	msg.phase_us[PHASE_RELEASE] = since(core->event->now_us, local->stop_begun_us);
	report(core, group, &msg);
}

static void report_fit(struct core *core, uint32_t group)
{
	const struct group_rec *rec = &core->state.groups[group];
	struct local_group *local = &core->local[group];
	struct msg msg = {.type = MSG_FIT};

	if (!(rec->unfit_on & node_bit(core->self)) || local->n_unfit > 0 ||
		core->event->now_us < local->fit_said_us + REPORT_AGAIN_US)
		return;
	local->fit_said_us = core->event->now_us;
	msg.group = group;
	msg.gen = rec->gen;
	effect_send(core, &msg);
}

/* ---- wanted and given ---- */

static void adopt(struct core *core, uint32_t group)
{
	struct local_group *local = &core->local[group];

	local->is_found = false;
	for (uint32_t i = 0; i < core->config->groups[group].n_resources; i++) {
		local->res[i] = LOCAL_RES_RUNNING;
		effect_op(core, CORE_OP_ADOPT, group, i);
	}
}

static void sync_run(struct core *core, uint32_t group)
{
	struct local_group *local = &core->local[group];
	const struct group_rec *rec = &core->state.groups[group];
	struct msg msg = {.type = rec->state == GROUP_STARTING ? MSG_START_FAILED : MSG_FAILED};

	if (local->is_found && local->state == LOCAL_RUNNING)
		adopt(core, group);
	switch (local->state) {
	case LOCAL_IDLE:
	case LOCAL_DIRTY:
		/* After a failure the state must see it before there is another try. */
		if (rec->state == GROUP_STARTING &&
			(!local->has_failed || local->start_gen != rec->gen)) {
			/* Since it was given to us, another node may have come and hold it. */
			if (local->state == LOCAL_IDLE && may_start_on(rec, core->self))
				start_begin(core, group);
			else if (local->state == LOCAL_DIRTY &&
				 core->event->now_us >= local->retry_us)
				stop_begin(core, group);
			break;
		}
		msg.is_clean = local->state == LOCAL_IDLE;
		report(core, group, &msg);
		break;
	case LOCAL_STARTING:
		if (local->has_failed && local->in_flight == 0)
			stop_begin(core, group);
		else if (!local->has_failed)
			start_some(
				core, group); /* the start was held up while quorum was not known */
		break;
	case LOCAL_RUNNING:
		if (local->has_failed && rec->state == GROUP_STARTING)
			stop_begin(core, group);
		else if (local->has_failed)
			report(core, group, &msg);
		else if (rec->state == GROUP_STARTING)
			report_started(core, group);
		break;
	case LOCAL_STOPPING: break;
	}
}

/* Without quorum others may take over at any moment: what is quick to stop (addresses) goes at once
 * and does not wait for what is slow. */
static void drop_at_once(struct core *core, uint32_t group)
{
	struct local_group *local = &core->local[group];

	if (local->state != LOCAL_STOPPING && local->state != LOCAL_STARTING)
		return;
	for (uint32_t i = core->config->groups[group].n_resources; i-- > 0;) {
		if (!is_pipelined(core, group, i) || local->res[i] == LOCAL_RES_STOPPED ||
			local->res[i] == LOCAL_RES_STARTING || local->res[i] == LOCAL_RES_STOPPING)
			continue;
		if (local->in_flight == 0)
			local->is_serial = false;
		local->in_flight++;
		local->res[i] = LOCAL_RES_STOPPING;
		effect_op(core, CORE_OP_STOP, group, i);
	}
}

static void cancel_starts(struct core *core, uint32_t group)
{
	struct local_group *local = &core->local[group];

	if (local->cancel_sent)
		return;
	local->cancel_sent = true;
	failure_set(local, local->next ? local->next - 1 : 0, false, "the start was called off");
	for (uint32_t i = 0; i < core->config->groups[group].n_resources; i++) {
		if (local->res[i] == LOCAL_RES_STARTING)
			effect_op(core, CORE_OP_CANCEL, group, i);
	}
}

static void sync_stop(struct core *core, uint32_t group)
{
	struct local_group *local = &core->local[group];
	const struct group_rec *rec = &core->state.groups[group];
	struct msg msg = {.type = MSG_STOP_FAILED};

	switch (local->state) {
	case LOCAL_IDLE:
		failure_clear(local);
		if (core_may_act(core) && (rec->may_run_on & node_bit(core->self)))
			report_stopped(core, group);
		break;
	case LOCAL_STARTING:
		if (local->in_flight > 0)
			cancel_starts(core, group);
		else
			stop_begin(core, group);
		break;
	case LOCAL_DIRTY:
		if (core_may_act(core) && local->stop_failed &&
			(rec->owner != core->self || rec->state == GROUP_STOPPING))
			report(core, group, &msg);
		if (core->event->now_us < local->retry_us)
			break;
		failure_clear(local);
		stop_begin(core, group);
		break;
	case LOCAL_RUNNING: stop_begin(core, group); break;
	case LOCAL_STOPPING: break;
	}
}

void local_sync(struct core *core, uint32_t group)
{
	enum local_state before = core->local[group].state;

	switch (wanted(core, group)) {
	case WANT_RUN: sync_run(core, group); break;
	case WANT_STOP:
		sync_stop(core, group);
		if (!core_may_act(core))
			drop_at_once(core, group);
		break;
	case WANT_KEEP: break;
	}
	if (core_may_act(core))
		report_fit(core, group);
	if (core->local[group].state != before)
		core_touch_local(core, group);
}

/* Retries of stops, and results that got lost on the way. */
void local_tick(struct core *core)
{
	for (uint32_t i = 0; i < core->config->n_groups; i++)
		core_touch_local(core, i);
}
