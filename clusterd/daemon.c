/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The daemon's life: sets up its parts, finds out what runs already, joins; reloads on SIGHUP; on
 * SIGTERM hands its groups over and ends. Called by main.
 */
#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "clusterd/daemon.h"
#include "clusterd/log.h"

#define STOP_MAX_NS 80000000000 /* systemd gives 90 s by default */
#define EVENTS_MAX 65536        /* results of one step that wait for the next */

struct event_queue {
	struct {
		struct core_event event;
		char *text;
		bool is_void; /* its group is gone */
	} * list;
	size_t n, size;
	size_t next; /* the first one that has not been stepped yet */
};

/* ---- events ---- */

static void step_one(struct daemon *daemon, struct core_event *event)
{
	event->now_us = clock_boottime_ns() / 1000;
	event->wall_ms = clock_realtime_ms();
	if (!daemon->core)
		return;
	core_step(daemon->core, event, &daemon->effects);
	effects_run(daemon);
}

/* Texts of the event belong to the queue; the core copies what it keeps. */
static void step_queued(struct daemon *daemon)
{
	struct event_queue *events = daemon->events;

	for (events->next = 0; events->next < events->n;) {
		struct core_event event = events->list[events->next].event;
		char *text = events->list[events->next].text;
		bool is_void = events->list[events->next].is_void;

		events->next++;
		if (event.type == CORE_EV_OP_DONE)
			event.op_done.text = text;
		else if (event.type == CORE_EV_COMPARED)
			event.compared = text ? text : "";
		else
			event.resource.text = text;
		if (!is_void)
			step_one(daemon, &event);
		free(text);
	}
	events->n = events->next = 0;
}

void daemon_step(struct daemon *daemon, struct core_event *event)
{
	assert(!daemon->is_stepping);
	daemon->is_stepping = true;
	step_one(daemon, event);
	step_queued(daemon);
	daemon->is_stepping = false;
}

void daemon_queue(struct daemon *daemon, const struct core_event *event, const char *text)
{
	struct event_queue *events = daemon->events;

	if (events->n == events->size) {
		size_t size = events->size ? events->size * 2 : 64;
		void *list = size <= EVENTS_MAX
				     ? realloc(events->list, size * sizeof(*events->list))
				     : NULL;

		if (!list) {
			log_error("out of memory for results: this node gives up");
			abort();
		}
		events->list = list;
		events->size = size;
	}
	events->list[events->n].event = *event;
	events->list[events->n].text = text ? strdup(text) : NULL;
	events->list[events->n].is_void = false;
	events->n++;
	if (daemon->is_stepping)
		return; /* from within an effect: the step under way takes it up */
	daemon->is_stepping = true;
	step_queued(daemon);
	daemon->is_stepping = false;
}

void daemon_queue_switch(struct daemon *daemon, const struct config *from, const struct config *to)
{
	struct event_queue *events = daemon->events;

	for (size_t i = events->next; i < events->n; i++) {
		struct core_event *event = &events->list[i].event;
		uint32_t *group;

		if (event->type == CORE_EV_OP_DONE)
			group = &event->op_done.group;
		else if (event->type == CORE_EV_RESOURCE_FAILED ||
			 event->type == CORE_EV_RESOURCE_FIT)
			group = &event->resource.group;
		else
			continue;
		if (events->list[i].is_void)
			continue;
		*group = resource_set_same_group(to, from, *group);
		events->list[i].is_void = *group == UINT32_MAX;
	}
}

/* ---- ends ---- */

void daemon_fail(struct daemon *daemon, int exit_code)
{
	daemon->exit_code = exit_code;
	loop_stop(daemon->loop);
}

void daemon_rejoin(struct daemon *daemon, const char *why)
{
	struct core_event event = {.type = CORE_EV_LOST};

	log_error("the tie to corosync is lost: %s", why);
	/* At once: what it still had to tell is of a ring that we are no longer part of. */
	membership_close(daemon->membership);
	daemon->membership = NULL;
	daemon->lost_ns = clock_boottime_ns();
	daemon_queue(daemon, &event, NULL);
	if (!daemon->is_stopping)
		connect_start(daemon);
}

static void on_stop_deadline(void *ctx)
{
	log_error("the orderly stop took too long; what is left running here is named by "
		  "clusterctl status on the other nodes");
	daemon_fail(ctx, 1);
}

void daemon_stop(struct daemon *daemon, int exit_code)
{
	struct core_event event = {.type = CORE_EV_LEAVE};

	if (daemon->is_stopping)
		return;
	daemon->is_stopping = true;
	daemon->exit_code = exit_code;
	notify_stopping();
	if (loop_timer_add(daemon->loop, STOP_MAX_NS, on_stop_deadline, daemon, "stop deadline",
		    &daemon->stop_timer) < 0)
		daemon_fail(daemon, 1);
	loop_timer_del(daemon->loop, &daemon->connect_timer);
	if (daemon->core)
		daemon_queue(daemon, &event, NULL);
	else
		connect_start(daemon);
}

static void on_stop_signal(void *ctx, int signal)
{
	struct daemon *daemon = ctx;

	(void)signal;
	if (!daemon->is_stopping)
		log_notice("stopping: handing over what runs here");
	daemon_stop(daemon, 0);
}

/* ---- reload ---- */

static void reload(struct daemon *daemon)
{
	struct config_report report = {.file = daemon->config_file};
	struct core_event event = {.type = CORE_EV_CONFIG};
	struct config *config;
	int rc = config_load(daemon->config_file, &config, &report);

	if (report.text)
		log_write(rc < 0 ? LOG_ERR : LOG_WARNING, "%s", report.text);
	config_report_fini(&report);
	daemon->reload_failed = rc < 0;
	if (rc < 0) {
		log_error("%s was not loaded; the config in force stays", daemon->config_file);
		return;
	}
	connect_name_nodes(daemon, config);
	event.config = &config->core;
	if (config->core.digest == daemon->config->core.digest) {
		log_notice("%s: nothing that counts has changed", daemon->config_file);
		event.config = &daemon->config->core;
		config_free(config);
		config = NULL;
	}
	/* The core lets go of the config loaded before with this event. */
	struct config *before = daemon->loaded;

	daemon->loaded = config;
	daemon_step(daemon, &event); /* without a core: it is told when it begins */
	config_free(before);
}

static void on_reload_signal(void *ctx, int signal)
{
	struct daemon *daemon = ctx;

	(void)signal;
	if (daemon->is_stopping)
		return;
	notify_reloading();
	reload(daemon);
	notify_ready();
}

/* ---- begin ---- */

static void on_watchdog(void *ctx)
{
	struct daemon *daemon = ctx;

	notify_watchdog();
	loop_timer_add(daemon->loop, notify_watchdog_interval_ns(), on_watchdog, daemon, "watchdog",
		&daemon->watchdog_timer);
}

static void on_probed(struct daemon *daemon)
{
	connect_start(daemon);
}

static int set_up(struct daemon *daemon)
{
	int rc = loop_new(&daemon->loop);

	if (rc < 0)
		return rc;
	rc = control_new(daemon->loop, requests_handle, daemon, &daemon->control);
	if (rc == -EADDRINUSE) {
		log_error("another clusterd runs on this machine; stop it first");
		return rc;
	}
	if (rc < 0)
		return rc;
	daemon->events = calloc(1, sizeof(*daemon->events));
	if (!daemon->events)
		return -ENOMEM;
	rc = runner_new(daemon->loop, &daemon->runner);
	if (rc == 0)
		rc = statefile_new(daemon->state_dir, &daemon->statefile);
	if (rc == 0)
		rc = history_new(daemon->statefile, &daemon->history);
	if (rc == 0)
		rc = requests_new(daemon, &daemon->requests);
	if (rc == 0)
		rc = resource_set_new(daemon, &daemon->resources);
	if (rc == 0)
		rc = loop_signal_add(daemon->loop, SIGTERM, on_stop_signal, daemon);
	if (rc == 0)
		rc = loop_signal_add(daemon->loop, SIGINT, on_stop_signal, daemon);
	if (rc == 0)
		rc = loop_signal_add(daemon->loop, SIGHUP, on_reload_signal, daemon);
	return rc;
}

static void tear_down(struct daemon *daemon)
{
	if (daemon->membership) {
		membership_leave(daemon->membership);
		if (daemon->corosync_stops)
			membership_allow_shutdown(daemon->membership);
		membership_close(daemon->membership);
	}
	membership_close(daemon->opening);
	requests_free(daemon->requests);
	resource_set_free(daemon->resources);
	runner_free(daemon->runner);
	control_free(daemon->control);
	for (unsigned i = 0; i < CORE_TIMERS; i++)
		loop_timer_del(daemon->loop, &daemon->timers[i]);
	loop_timer_del(daemon->loop, &daemon->connect_timer);
	loop_timer_del(daemon->loop, &daemon->watchdog_timer);
	loop_timer_del(daemon->loop, &daemon->stop_timer);
	core_free(daemon->core);
	core_effects_fini(&daemon->effects);
	history_free(daemon->history);
	statefile_free(daemon->statefile);
	for (size_t i = 0; daemon->events && i < daemon->events->n; i++)
		free(daemon->events->list[i].text);
	if (daemon->events)
		free(daemon->events->list);
	free(daemon->events);
	loop_free(daemon->loop);
	config_free(daemon->loaded);
	config_free(daemon->config);
}

int daemon_run(const char *config_file, const char *state_dir, struct config *config)
{
	struct daemon daemon = {
		.config_file = config_file,
		.state_dir = state_dir,
		.config = config,
		.started_ns = clock_boottime_ns(),
	};
	int rc = set_up(&daemon);

	signal(SIGPIPE, SIG_IGN);
	if (rc == 0) {
		resource_set_probe(daemon.resources, on_probed);
		if (notify_watchdog_interval_ns() > 0)
			on_watchdog(&daemon);
		notify_ready();
		loop_run(daemon.loop);
	} else if (rc != -EADDRINUSE) {
		log_error("cannot start: %s", strerror(-rc));
	}
	if (rc < 0)
		daemon.exit_code = 1;
	tear_down(&daemon);
	return daemon.exit_code;
}
