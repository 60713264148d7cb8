/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Control requests: reads them, hands orders to the core, and turns its replies into JSON. An order
 * with "wait" that takes too long is answered "timeout"; what was ordered goes on.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clusterd/daemon.h"

#define WAIT_DEFAULT_MS 60000
#define WAIT_MAX_MS 3600000
#define ORDER_MS 10000 /* for the cluster to take notice of an order */
#define PENDING_MAX CONTROL_CLIENTS_MAX

struct pending {
	struct requests *requests;
	uint64_t id;
	bool is_used, wait;
	int64_t begun_ns;
	struct loop_timer *timer;
};

struct requests {
	struct daemon *daemon;
	struct pending pending[PENDING_MAX];
};

int requests_new(struct daemon *daemon, struct requests **ret_requests)
{
	struct requests *requests = calloc(1, sizeof(*requests));

	if (!requests)
		return -ENOMEM;
	requests->daemon = daemon;
	*ret_requests = requests;
	return 0;
}

void requests_free(struct requests *requests)
{
	if (!requests)
		return;
	for (unsigned i = 0; i < PENDING_MAX; i++)
		loop_timer_del(requests->daemon->loop, &requests->pending[i].timer);
	free(requests);
}

static struct pending *pending_find(struct requests *requests, uint64_t id)
{
	for (unsigned i = 0; i < PENDING_MAX; i++) {
		if (requests->pending[i].is_used && requests->pending[i].id == id)
			return &requests->pending[i];
	}
	return NULL;
}

static void pending_drop(struct pending *pending)
{
	loop_timer_del(pending->requests->daemon->loop, &pending->timer);
	pending->is_used = false;
}

/* Nobody is there for the answer any more: the core need not keep it in mind either. */
static void pending_abandon(struct pending *pending)
{
	struct core_event event = {.type = CORE_EV_ADMIN_GONE, .gone_request_id = pending->id};

	pending_drop(pending);
	daemon_step(pending->requests->daemon, &event);
}

static void on_timeout(void *ctx)
{
	struct pending *pending = ctx;

	control_reply_error(pending->requests->daemon->control, pending->id, "timeout",
		"not done in the time given; it goes on, see clusterctl status");
	pending_abandon(pending);
}

/* A client that went away, without having waited for the answer, leaves its place behind. */
static struct pending *pending_place(struct requests *requests)
{
	for (unsigned i = 0; i < PENDING_MAX; i++) {
		struct pending *pending = &requests->pending[i];

		if (pending->is_used && !control_awaits(requests->daemon->control, pending->id))
			pending_abandon(pending);
		if (!pending->is_used)
			return pending;
	}
	return NULL;
}

static bool pending_add(struct requests *requests, uint64_t id, bool wait, int64_t timeout_ms)
{
	struct pending *pending = pending_place(requests);

	if (!pending)
		return false;
	*pending = (struct pending){.requests = requests, .id = id, .wait = wait};
	pending->begun_ns = clock_boottime_ns();
	if (loop_timer_add(requests->daemon->loop, timeout_ms * 1000000, on_timeout, pending,
		    "request timeout", &pending->timer) < 0)
		return false;
	pending->is_used = true;
	return true;
}

static void answer(struct daemon *daemon, uint64_t id, json_t *reply)
{
	if (reply)
		control_reply(daemon->control, id, reply);
	else
		control_reply_error(daemon->control, id, "internal",
			"clusterd has no memory left for the answer");
}

static void invalid(struct daemon *daemon, uint64_t id, const char *text)
{
	control_reply_error(daemon->control, id, "invalid", text);
}

static void order(struct daemon *daemon, uint64_t id, enum core_verb verb, const json_t *request)
{
	const json_t *name = json_object_get(request, "name");
	const json_t *to = json_object_get(request, "to");
	const json_t *wait = json_object_get(request, "wait");
	const json_t *timeout = json_object_get(request, "timeout_ms");
	struct core_event event = {.type = CORE_EV_ADMIN};
	json_int_t timeout_ms =
		json_is_integer(timeout) ? json_integer_value(timeout) : WAIT_DEFAULT_MS;

	if (!json_is_string(name) || (to && !json_is_null(to) && !json_is_string(to)) ||
		(wait && !json_is_boolean(wait)) || (timeout && !json_is_integer(timeout)) ||
		timeout_ms < 1 || timeout_ms > WAIT_MAX_MS) {
		invalid(daemon, id,
			"\"name\" and \"to\" must be strings, \"wait\" true or false, "
			"\"timeout_ms\" "
			"1 to 3600000");
		return;
	}
	if (!daemon->core) {
		control_reply_error(daemon->control, id, "no-quorum",
			"clusterd has not reached corosync yet: systemctl status corosync");
		return;
	}
	if (!pending_add(daemon->requests, id, json_is_true(wait),
		    json_is_true(wait) ? timeout_ms : ORDER_MS)) {
		control_reply_error(daemon->control, id, "internal", "too many requests at once");
		return;
	}
	event.admin.request_id = id;
	event.admin.verb = verb;
	event.admin.name = json_string_value(name);
	event.admin.to = verb == CORE_FAILOVER ? json_string_value(to) : NULL;
	event.admin.wait = json_is_true(wait);
	daemon_step(daemon, &event);
}

static void history(struct daemon *daemon, uint64_t id, const json_t *request)
{
	const json_t *limit = json_object_get(request, "limit");

	if (limit && (!json_is_integer(limit) || json_integer_value(limit) < 0)) {
		invalid(daemon, id, "\"limit\" must be a whole number");
		return;
	}
	answer(daemon, id, history_json(daemon->history, (size_t)json_integer_value(limit)));
}

void requests_handle(void *ctx, uint64_t request_id, const json_t *request)
{
	struct daemon *daemon = ctx;
	const char *verb = json_string_value(json_object_get(request, "verb"));
	char text[256];

	if (strcmp(verb, "status") == 0) {
		answer(daemon, request_id, status_json(daemon));
	} else if (strcmp(verb, "facts") == 0) {
		if (daemon->membership)
			answer(daemon, request_id, facts_json(daemon));
		else
			control_reply_error(daemon->control, request_id, "refused",
				"clusterd is not connected to corosync: systemctl status corosync");
	} else if (strcmp(verb, "history") == 0) {
		history(daemon, request_id, request);
	} else if (strcmp(verb, "failover") == 0) {
		order(daemon, request_id, CORE_FAILOVER, request);
	} else if (strcmp(verb, "online") == 0) {
		order(daemon, request_id, CORE_ONLINE, request);
	} else if (strcmp(verb, "offline") == 0) {
		order(daemon, request_id, CORE_OFFLINE, request);
	} else {
		snprintf(text, sizeof(text),
			"unknown verb \"%.64s\"; clusterctl and clusterd may be "
			"of different versions",
			verb);
		invalid(daemon, request_id, text);
	}
}

static const char *code_of(enum core_reply_code code)
{
	switch (code) {
	case CORE_REPLY_NOT_FOUND: return "not-found";
	case CORE_REPLY_REFUSED: return "refused";
	case CORE_REPLY_NO_QUORUM: return "no-quorum";
	case CORE_REPLY_FAILED: return "failed";
	case CORE_REPLY_OK: break;
	}
	return "internal";
}

void requests_answer(struct daemon *daemon, const struct core_effect *effect)
{
	struct pending *pending = pending_find(daemon->requests, effect->reply.request_id);
	/* Not the core's, which may be past a switch that this reply came before. */
	const struct core_config *config = &daemon->config->core;
	uint8_t owner = effect->reply.owner;
	double took_ms;

	if (!pending)
		return; /* answered "timeout" already */
	took_ms = (double)(clock_boottime_ns() - pending->begun_ns) / 1e6;
	if (effect->reply.code != CORE_REPLY_OK) {
		control_reply_error(daemon->control, pending->id, code_of(effect->reply.code),
			effect->reply.text);
	} else {
		answer(daemon, pending->id,
			json_pack("{s:b, s:s, s:s?, s:s, s:o}", "ok", 1, "group",
				config->groups[effect->reply.group].name, "owner",
				owner == CORE_NO_NODE ? NULL : config->nodes[owner].name, "state",
				group_state_name(effect->reply.state), "took_ms",
				pending->wait ? json_real(took_ms) : json_null()));
	}
	pending_drop(pending);
}
