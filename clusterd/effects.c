/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Carries out what the core decided. Called by daemon_step. */
#include <errno.h>
#include <string.h>

#include "clusterd/daemon.h"
#include "clusterd/log.h"

#define COROSYNC_WAITS_NS 5000000000 /* its cfg.shutdown_timeout, by default */

static void on_core_timer(struct daemon *daemon, enum core_timer timer)
{
	struct core_event event = {.type = CORE_EV_TIMER, .timer = timer};

	daemon_step(daemon, &event);
}

static void on_hello_timer(void *ctx)
{
	on_core_timer(ctx, CORE_TIMER_HELLO);
}

static void on_form_timer(void *ctx)
{
	on_core_timer(ctx, CORE_TIMER_FORM);
}

static void on_tick_timer(void *ctx)
{
	on_core_timer(ctx, CORE_TIMER_TICK);
}

static void run_timer(struct daemon *daemon, const struct core_effect *effect)
{
	static const loop_fn fns[CORE_TIMERS] = {on_hello_timer, on_form_timer, on_tick_timer};
	enum core_timer timer = effect->timer.timer;
	int64_t delay_ns;

	loop_timer_del(daemon->loop, &daemon->timers[timer]);
	if (effect->timer.at_us == 0)
		return;
	delay_ns = effect->timer.at_us * 1000 - clock_boottime_ns();
	if (loop_timer_add(daemon->loop, delay_ns > 0 ? delay_ns : 0, fns[timer], daemon,
		    "core timer", &daemon->timers[timer]) < 0)
		daemon_fail(daemon, 1);
}

static void run_send(struct daemon *daemon, const struct core_effect *effect)
{
	int rc;

	if (!daemon->membership)
		return;
	rc = membership_send(daemon->membership, effect->send.data, effect->send.len);
	if (rc == -EMSGSIZE)
		log_error("a message of %zu bytes is too long for the cluster: the config is too "
			  "large; use fewer groups",
			effect->send.len);
	else if (rc < 0)
		daemon_rejoin(daemon, "corosync takes no more messages");
}

static void run_note(const struct core_effect *effect)
{
	static const int priorities[] = {
		[CORE_NOTE_INFO] = LOG_NOTICE,
		[CORE_NOTE_WARNING] = LOG_WARNING,
		[CORE_NOTE_ERROR] = LOG_ERR,
	};

	log_write(priorities[effect->note.level], "%s", effect->note.text);
}

static void run_compare(struct daemon *daemon, const struct core_effect *effect)
{
	struct core_event event = {.type = CORE_EV_COMPARED};
	char text[CORE_TEXT_SIZE];

	if (effect->compare.text[0])
		config_difference(
			effect->compare.text, daemon->config->core.text, text, sizeof(text));
	else
		strcpy(text, "the cluster's config is too long to be sent; compare the files");
	daemon_queue(daemon, &event, text);
}

static void run_switch(struct daemon *daemon)
{
	struct config *old = daemon->config;
	int rc = resource_set_switch(daemon->resources, old, daemon->loaded);

	daemon_queue_switch(daemon, old, daemon->loaded);
	daemon->config = daemon->loaded;
	daemon->loaded = NULL;
	config_free(old);
	if (rc < 0)
		daemon_fail(daemon, 1);
}

static void run_left(struct daemon *daemon)
{
	log_notice("nothing of the cluster runs here any more");
	if (daemon->corosync_stops && daemon->membership &&
		clock_boottime_ns() - daemon->shutdown_ns > COROSYNC_WAITS_NS) {
		log_warning("corosync did not wait so long and runs on, so clusterd is needed: it "
			    "ends with a failure, to be started anew");
		daemon->exit_code = 1;
	}
	daemon_fail(daemon, daemon->exit_code);
}

void effects_run(struct daemon *daemon)
{
	for (uint32_t i = 0; i < daemon->effects.n; i++) {
		const struct core_effect *effect = &daemon->effects.list[i];

		switch (effect->type) {
		case CORE_DO_SEND: run_send(daemon, effect); break;
		case CORE_DO_OP:
			resource_set_op(daemon->resources, effect->op.op, effect->op.group,
				effect->op.resource);
			break;
		case CORE_DO_TIMER: run_timer(daemon, effect); break;
		case CORE_DO_NOTE: run_note(effect); break;
		case CORE_DO_REPLY: requests_answer(daemon, effect); break;
		case CORE_DO_RECORD: history_add(daemon->history, daemon, effect->record); break;
		case CORE_DO_SAVE: saved_write(daemon); break;
		case CORE_DO_SWITCH: run_switch(daemon); break;
		case CORE_DO_COMPARE: run_compare(daemon, effect); break;
		case CORE_DO_LEFT: run_left(daemon); break;
		}
	}
	core_effects_clear(&daemon->effects);
}
