/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See core_fixture.h. */
#include <assert.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/core_fixture.h"

static const char *const message_names[MSG_TYPES] = {
	[MSG_HELLO] = "HELLO",
	[MSG_SNAPSHOT] = "SNAPSHOT",
	[MSG_FORM] = "FORM",
	[MSG_CONFIG] = "CONFIG",
	[MSG_DIFFERS] = "DIFFERS",
	[MSG_STARTED] = "STARTED",
	[MSG_START_FAILED] = "START_FAILED",
	[MSG_FAILED] = "FAILED",
	[MSG_STOPPED] = "STOPPED",
	[MSG_STOP_FAILED] = "STOP_FAILED",
	[MSG_FIT] = "FIT",
	[MSG_ADMIN] = "ADMIN",
	[MSG_LEAVING] = "LEAVING",
	[MSG_HOLDOFF_OVER] = "HOLDOFF_OVER",
	[MSG_FORGET] = "FORGET",
	[MSG_LOADED] = "LOADED",
};
static const char *const op_names[] = {"start", "stop", "cancel", "adopt"};
static const char *const timer_names[CORE_TIMERS] = {"hello", "form", "tick"};
static const char *const code_names[] = {"OK", "NOT_FOUND", "REFUSED", "NO_QUORUM", "FAILED"};

/* ---- config ---- */

static void resources_make(struct core_group *group, const char *words)
{
	group->resources = calloc(CORE_MAX_NODES, sizeof(*group->resources));
	assert(group->resources);
	while (*words) {
		size_t len = strcspn(words, " ");
		struct core_resource *resource = &group->resources[group->n_resources++];

		assert(group->n_resources <= CORE_MAX_NODES && len < CORE_NAME_SIZE);
		resource->pipelined = words[len - 1] == '*';
		memcpy(resource->name, words, resource->pipelined ? len - 1 : len);
		words += len;
		words += strspn(words, " ");
	}
}

struct core_config *fx_config(unsigned n_nodes, const struct fx_group *groups)
{
	struct core_config *config = calloc(1, sizeof(*config));
	char text[1024] = "config of ";
	unsigned n_groups = 0;

	assert(config);
	while (groups[n_groups].name)
		n_groups++;
	config->groups = calloc(n_groups + 1u, sizeof(*config->groups));
	assert(config->groups);
	snprintf(config->cluster_name, sizeof(config->cluster_name), "lab");
	config->n_nodes = n_nodes;
	for (unsigned i = 0; i < n_nodes; i++) {
		snprintf(config->nodes[i].name, CORE_NAME_SIZE, "n%u", i + 1);
		config->nodes[i].nodeid = i + 1;
	}
	config->n_groups = n_groups;
	for (unsigned i = 0; i < n_groups; i++) {
		struct core_group *group = &config->groups[i];

		snprintf(group->name, sizeof(group->name), "%s", groups[i].name);
		for (const char *p = groups[i].preferred; p && *p; p++)
			group->preferred[group->n_preferred++] = (uint8_t)(*p - '1');
		group->failback = groups[i].failback;
		resources_make(group, groups[i].resources);
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s (%s) ",
			groups[i].name, groups[i].resources);
		group->digest = core_digest(groups[i].resources, strlen(groups[i].resources));
	}
	config->text = strdup(text);
	assert(config->text);
	config->text_len = strlen(text);
	config->digest = core_digest(text, strlen(text));
	return config;
}

void fx_config_free(struct core_config *config)
{
	for (uint32_t i = 0; i < config->n_groups; i++)
		free(config->groups[i].resources);
	free(config->groups);
	free(config->text);
	free(config);
}

/* ---- the story ---- */

static void tell(struct fx *fx, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void tell(struct fx *fx, const char *fmt, ...)
{
	va_list args;
	int len;

	va_start(args, fmt);
	len = vsnprintf(fx->story + fx->story_len, FX_STORY_SIZE - 1 - fx->story_len, fmt, args);
	va_end(args);
	assert(len > 0 && fx->story_len + (size_t)len + 2 < FX_STORY_SIZE);
	fx->story_len += (size_t)len;
	fx->story[fx->story_len++] = '\n';
	fx->story[fx->story_len] = '\0';
}

static void tell_effect(struct fx *fx, const struct core_effect *effect)
{
	const struct core_group *groups = core_config(fx->core)->groups;
	struct msg msg;
	int rc;

	switch (effect->type) {
	case CORE_DO_SEND:
		rc = msg_decode(&msg, effect->send.data, effect->send.len);
		assert(rc == 0);
		tell(fx, "send %s", message_names[msg.type]);
		break;
	case CORE_DO_OP:
		tell(fx, "%s %s/%s", op_names[effect->op.op], groups[effect->op.group].name,
			groups[effect->op.group].resources[effect->op.resource].name);
		break;
	case CORE_DO_TIMER:
		tell(fx, "timer %s %lld", timer_names[effect->timer.timer],
			(long long)(effect->timer.at_us / 1000));
		break;
	case CORE_DO_NOTE: tell(fx, "note %s", effect->note.text); break;
	case CORE_DO_REPLY:
		tell(fx, "reply %llu %s: %s", (unsigned long long)effect->reply.request_id,
			code_names[effect->reply.code],
			effect->reply.text ? effect->reply.text : "");
		break;
	case CORE_DO_RECORD:
		tell(fx, "record %s %s", groups[effect->record->group].name,
			effect->record->is_online ? "online" : "failed");
		break;
	case CORE_DO_SAVE: tell(fx, "save"); break;
	case CORE_DO_SWITCH: tell(fx, "switch"); break;
	case CORE_DO_COMPARE: tell(fx, "compare"); break;
	case CORE_DO_LEFT: tell(fx, "left"); break;
	}
}

static bool begins_with_one(const char *line, const char *words)
{
	while (*words) {
		size_t len = strcspn(words, "|");

		if (strncmp(line, words, len) == 0)
			return true;
		words += len;
		words += *words == '|';
	}
	return false;
}

const char *fx_lines(struct fx *fx, const char *words)
{
	size_t skip = strchr(words, '|') ? 0 : strlen(words);
	size_t at = 0;

	for (const char *line = fx->story; *line;) {
		size_t len = strcspn(line, "\n") + 1;

		if (begins_with_one(line, words)) {
			memcpy(fx->lines + at, line + skip, len - skip);
			at += len - skip;
		}
		line += len;
	}
	fx->lines[at] = '\0';
	return fx->lines;
}

void fx_forget(struct fx *fx)
{
	fx->story_len = 0;
	fx->story[0] = '\0';
}

void fx_assert_said(struct fx *fx, const char *words, const char *expected)
{
	assert_string_equal(fx_lines(fx, words), expected);
	fx_forget(fx);
}

void fx_assert_timer(struct fx *fx, const char *timer, int64_t after_ms)
{
	int64_t at_ms = after_ms ? fx->now_us / 1000 + after_ms : 0;
	char expected[64];

	snprintf(expected, sizeof(expected), " %s %lld\n", timer, (long long)at_ms);
	if (!strstr(fx_lines(fx, "timer"), expected))
		fail_msg("no timer \"%s\" among:\n%s", expected, fx->lines);
}

/* ---- events ---- */

void fx_event(struct fx *fx, struct core_event event)
{
	core_effects_clear(&fx->effects);
	event.now_us = fx->now_us;
	event.wall_ms = 1700000000000 + fx->now_us / 1000;
	core_step(fx->core, &event, &fx->effects);
	for (uint32_t i = 0; i < fx->effects.n; i++) {
		const struct core_effect *effect = &fx->effects.list[i];
		struct fx_message *sent;

		tell_effect(fx, effect);
		if (effect->type != CORE_DO_SEND)
			continue;
		assert(fx->n_sent < FX_SENT_MAX);
		sent = &fx->sent[fx->n_sent++];
		sent->len = effect->send.len;
		sent->data = malloc(sent->len);
		assert(sent->data);
		memcpy(sent->data, effect->send.data, sent->len);
	}
}

void fx_bytes(struct fx *fx, uint32_t nodeid, const void *data, size_t len)
{
	fx_event(fx, (struct core_event){
			     .type = CORE_EV_MESSAGE,
			     .message = {.nodeid = nodeid, .data = data, .len = len},
		     });
}

void fx_message(struct fx *fx, uint32_t nodeid, struct msg msg)
{
	struct buf buf = {0};

	if (msg.incarnation == 0)
		msg.incarnation = 100u * nodeid;
	if (msg.config_digest == 0)
		msg.config_digest = fx->config->digest;
	msg_encode(&msg, &buf);
	assert(buf_ok(&buf));
	fx_bytes(fx, nodeid, buf.data, buf.len);
	buf_fini(&buf);
}

void fx_hello(struct fx *fx, uint32_t nodeid, uint32_t hello_seq)
{
	unsigned char *found = calloc(1, fx->config->n_groups + 1u);

	assert(found);
	fx_message(fx, nodeid,
		(struct msg){
			.type = MSG_HELLO,
			.hello_seq = hello_seq,
			.loaded = fx->config->digest,
			.blob = found,
			.blob_len = fx->config->n_groups,
		});
	free(found);
}

static struct fx_message oldest_take(struct fx *fx)
{
	struct fx_message oldest = fx->sent[0];

	fx->n_sent--;
	memmove(fx->sent, fx->sent + 1, fx->n_sent * sizeof(fx->sent[0]));
	return oldest;
}

void fx_own(struct fx *fx)
{
	while (fx->n_sent > 0) {
		struct fx_message oldest = oldest_take(fx);

		fx_bytes(fx, fx->nodeid, oldest.data, oldest.len);
		free(oldest.data);
	}
}

void fx_exchange(struct fx *a, struct fx *b)
{
	while (a->n_sent + b->n_sent > 0) {
		struct fx *from = a->n_sent > 0 ? a : b;
		struct fx_message oldest = oldest_take(from);

		fx_bytes(a, from->nodeid, oldest.data, oldest.len);
		fx_bytes(b, from->nodeid, oldest.data, oldest.len);
		free(oldest.data);
	}
}

void fx_own_lost(struct fx *fx)
{
	while (fx->n_sent > 0)
		free(fx->sent[--fx->n_sent].data);
}

void fx_view(struct fx *fx, node_mask daemons, node_mask fresh, node_mask machines)
{
	struct core_event event = {.type = CORE_EV_VIEW};
	struct core_view *view = &event.view;

	view->ring = (struct ring_id){.nodeid = 1, .seq = ++fx->ring_seq};
	for (uint32_t i = 0; i < CORE_MAX_NODES; i++) {
		if (daemons & node_bit(i)) {
			view->members[view->n_members].nodeid = i + 1;
			view->members[view->n_members++].fresh = fresh & node_bit(i);
		}
		if (machines & node_bit(i))
			view->ring_nodes[view->n_ring++] = i + 1;
	}
	fx_event(fx, event);
}

void fx_quorum(struct fx *fx, bool quorate)
{
	fx_event(fx,
		(struct core_event){
			.type = CORE_EV_QUORUM,
			.quorum = {.ring = {.nodeid = 1, .seq = fx->ring_seq}, .quorate = quorate},
		});
}

void fx_timer(struct fx *fx, enum core_timer timer)
{
	fx_event(fx, (struct core_event){.type = CORE_EV_TIMER, .timer = timer});
}

void fx_seconds(struct fx *fx, unsigned seconds)
{
	for (unsigned i = 0; i < seconds; i++) {
		fx->now_us += 1000000;
		fx_timer(fx, CORE_TIMER_TICK);
	}
}

static void resource_find(const struct fx *fx, const char *name, uint32_t *ret_group, uint32_t *ret)
{
	const struct core_config *config = core_config(fx->core);

	for (uint32_t i = 0; i < config->n_groups; i++) {
		for (uint32_t j = 0; j < config->groups[i].n_resources; j++) {
			if (strcmp(config->groups[i].resources[j].name, name) != 0)
				continue;
			*ret_group = i;
			*ret = j;
			return;
		}
	}
	abort(); /* the test names no such resource */
}

void fx_done(struct fx *fx, const char *resource, enum core_op op, int rc, const char *text)
{
	struct core_event event = {
		.type = CORE_EV_OP_DONE, .op_done = {.op = op, .rc = rc, .text = text}};

	resource_find(fx, resource, &event.op_done.group, &event.op_done.resource);
	fx_event(fx, event);
}

void fx_resource(struct fx *fx, enum core_event_type type, const char *resource, bool unfit,
	const char *text)
{
	struct core_event event = {.type = type, .resource = {.unfit = unfit, .text = text}};

	resource_find(fx, resource, &event.resource.group, &event.resource.resource);
	fx_event(fx, event);
}

void fx_admin(struct fx *fx, uint64_t id, enum core_verb verb, const char *name, const char *to,
	bool wait)
{
	fx_event(fx, (struct core_event){
			     .type = CORE_EV_ADMIN,
			     .admin = {.request_id = id,
				     .verb = verb,
				     .name = name,
				     .to = to,
				     .wait = wait},
		     });
}

void fx_simple(struct fx *fx, enum core_event_type type)
{
	fx_event(fx, (struct core_event){.type = type});
}

/* ---- whole stories ---- */

void fx_form(struct fx *fx)
{
	node_mask all = (node_mask)((1ull << fx->config->n_nodes) - 1);

	fx_view(fx, all, all, all);
	fx_quorum(fx, true);
	fx_own(fx);
	for (uint32_t nodeid = 1; nodeid <= fx->config->n_nodes; nodeid++) {
		if (nodeid != fx->nodeid)
			fx_hello(fx, nodeid, 1);
	}
	fx_own(fx);
	assert(core_phase(fx->core) == CORE_MEMBER);
}

void fx_all_done(struct fx *fx)
{
	const struct core_config *config = core_config(fx->core);
	bool any = true;

	for (unsigned rounds = 0; any; rounds++) {
		any = false;
		assert(rounds < 100);
		for (uint32_t i = 0; i < config->n_groups; i++) {
			for (uint32_t j = 0; j < config->groups[i].n_resources; j++) {
				enum local_res res = core_local_resource(fx->core, i, j);
				enum core_op op =
					res == LOCAL_RES_STARTING ? CORE_OP_START : CORE_OP_STOP;

				if (res != LOCAL_RES_STARTING && res != LOCAL_RES_STOPPING)
					continue;
				any = true;
				fx_done(fx, config->groups[i].resources[j].name, op, 0, NULL);
			}
		}
		any = any || fx->n_sent > 0;
		fx_own(fx);
	}
}

const struct group_rec *fx_group_rec(const struct fx *fx, uint32_t group)
{
	return &core_state(fx->core)->groups[group];
}

uint64_t fx_digest(const struct fx *fx)
{
	struct core_state state = *core_state(fx->core);

	state.version = 0;
	return state_digest(&state);
}

void fx_init_saved(struct fx *fx, struct core_config *config, uint32_t nodeid,
	uint64_t saved_version, const bool *offline)
{
	struct core_setup setup = {
		.config = config,
		.own_nodeid = nodeid,
		.incarnation = 100u * nodeid,
		.holdoff_ms = 3000,
		.saved_version = saved_version,
		.offline = offline,
	};
	int rc;

	*fx = (struct fx){.config = config, .nodeid = nodeid, .now_us = 1000000000, .ring_seq = 10};
	fx->story = malloc(FX_STORY_SIZE);
	fx->lines = malloc(FX_STORY_SIZE);
	assert(fx->story && fx->lines);
	fx_forget(fx);
	rc = core_new(&setup, &fx->core);
	assert(rc == 0);
}

void fx_init(struct fx *fx, struct core_config *config, uint32_t nodeid)
{
	fx_init_saved(fx, config, nodeid, 0, NULL);
}

void fx_fini(struct fx *fx)
{
	fx_own_lost(fx);
	core_effects_fini(&fx->effects);
	core_free(fx->core);
	free(fx->story);
	free(fx->lines);
}

struct fx *fx_given(void **ret_state, const struct fx_group *groups)
{
	struct fx *fx = malloc(sizeof(*fx));

	assert(fx);
	fx_init(fx, fx_config(3, groups), 1);
	*ret_state = fx;
	return fx;
}

int fx_online(void **ret_state, const struct fx_group *groups)
{
	struct fx *fx = fx_given(ret_state, groups);

	fx_form(fx);
	fx_all_done(fx);
	fx_forget(fx);
	for (uint32_t i = 0; i < fx->config->n_groups; i++) {
		const struct group_rec *rec = fx_group_rec(fx, i);

		if (rec->owner == 0 && rec->state != GROUP_ONLINE)
			return -1;
	}
	return 0;
}

int fx_strike(void **state)
{
	struct fx *fx = *state;
	struct core_config *config = fx->config;

	fx_fini(fx);
	fx_config_free(config);
	free(fx);
	return 0;
}
