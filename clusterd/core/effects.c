/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Appends effects to the step under way. Called by every file of the core. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clusterd/core/internal.h"

struct core_effect *effect_add(struct core *core, enum core_effect_type type)
{
	struct core_effects *effects = core->effects;
	struct core_effect *effect;

	if (effects->n == effects->size) {
		uint32_t size = effects->size ? effects->size * 2 : 64;
		struct core_effect *list = realloc(effects->list, size * sizeof(*list));

		if (!list)
			abort(); /* half a step done would be worse than a restart */
		effects->list = list;
		effects->size = size;
	}
	effect = &effects->list[effects->n++];
	memset(effect, 0, sizeof(*effect));
	effect->type = type;
	return effect;
}

void effect_send(struct core *core, struct msg *msg)
{
	struct buf buf = {0};
	struct core_effect *effect;

	msg->incarnation = core->incarnation;
	msg->config_digest = core->config->digest;
	msg_encode(msg, &buf);
	if (!buf_ok(&buf))
		abort();
	effect = effect_add(core, CORE_DO_SEND);
	effect->send.data = buf.data;
	effect->send.len = buf.len;
}

void effect_op(struct core *core, enum core_op op, uint32_t group, uint32_t resource)
{
	struct core_effect *effect = effect_add(core, CORE_DO_OP);

	effect->op.op = op;
	effect->op.group = group;
	effect->op.resource = resource;
}

void effect_timer(struct core *core, enum core_timer timer, int64_t at_us)
{
	struct core_effect *effect = effect_add(core, CORE_DO_TIMER);

	effect->timer.timer = timer;
	effect->timer.at_us = at_us;
}

static char *format(const char *fmt, va_list args)
{
	char text[2 * CORE_TEXT_SIZE];
	size_t len;
	char *copy;

	vsnprintf(text, sizeof(text), fmt, args);
	len = strlen(text) + 1;
	copy = malloc(len);
	if (!copy)
		abort();
	memcpy(copy, text, len);
	return copy;
}

void effect_note(
	struct core *core, enum core_note_level level, bool is_replicated, const char *fmt, ...)
{
	struct core_effect *effect = effect_add(core, CORE_DO_NOTE);
	va_list args;

	effect->note.level = level;
	effect->note.is_replicated = is_replicated;
	va_start(args, fmt);
	effect->note.text = format(fmt, args);
	va_end(args);
}

void effect_reply(struct core *core, uint64_t request_id, enum core_reply_code code, uint32_t group,
	const char *fmt, ...)
{
	struct core_effect *effect = effect_add(core, CORE_DO_REPLY);
	va_list args;

	effect->reply.request_id = request_id;
	effect->reply.code = code;
	effect->reply.group = group;
	effect->reply.owner = CORE_NO_NODE;
	if (group < core->config->n_groups) {
		effect->reply.owner = core->state.groups[group].owner;
		effect->reply.state = core->state.groups[group].state;
	}
	if (!fmt)
		return;
	va_start(args, fmt);
	effect->reply.text = format(fmt, args);
	va_end(args);
}

void core_effects_clear(struct core_effects *effects)
{
	for (uint32_t i = 0; i < effects->n; i++) {
		struct core_effect *effect = &effects->list[i];

		switch (effect->type) {
		case CORE_DO_SEND: free(effect->send.data); break;
		case CORE_DO_NOTE: free(effect->note.text); break;
		case CORE_DO_REPLY: free(effect->reply.text); break;
		case CORE_DO_RECORD: free(effect->record); break;
		case CORE_DO_COMPARE: free(effect->compare.text); break;
		default: break;
		}
	}
	effects->n = 0;
}

void core_effects_fini(struct core_effects *effects)
{
	core_effects_clear(effects);
	free(effects->list);
	*effects = (struct core_effects){0};
}
