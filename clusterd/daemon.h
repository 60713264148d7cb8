/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The daemon: what its files share. It feeds events to the core and carries out the effects;
 * it decides nothing itself.
 */
#ifndef CLUSTERD_DAEMON_H
#define CLUSTERD_DAEMON_H

#include <jansson.h>

#include "clusterd/config.h"
#include "clusterd/control.h"
#include "clusterd/core/core.h"
#include "clusterd/loop.h"
#include "clusterd/membership.h"
#include "clusterd/runner.h"
#include "clusterd/statefile.h"

struct daemon;
struct history;
struct requests;
struct resource_set;

struct daemon {
	const char *config_file, *state_dir;
	struct loop *loop;
	struct runner *runner;
	struct control *control;
	struct membership *membership; /* NULL: no corosync */
	struct membership *opening;    /* not yet connected; or NULL */
	struct core *core;             /* NULL until corosync was seen for the first time */
	struct config *config;         /* the active one */
	struct config *loaded;         /* read, not yet in force; or NULL */
	struct resource_set *resources;
	struct statefile *statefile;
	struct history *history;
	struct requests *requests;
	struct loop_timer *timers[CORE_TIMERS];
	struct loop_timer *connect_timer, *watchdog_timer, *stop_timer;
	struct core_effects effects;
	struct event_queue *events;
	int64_t started_ns;
	int64_t lost_ns;     /* the latest tie to corosync; 0: none was */
	int64_t shutdown_ns; /* when corosync asked to stop */
	bool is_stepping, is_stopping, corosync_stops, connect_noted, found_stopped;
	bool reload_failed; /* the file on disk has errors */
	int exit_code;
};

/* daemon.c */
int daemon_run(const char *config_file, const char *state_dir, struct config *config);
void daemon_step(struct daemon *daemon, struct core_event *event); /* fills in the times */
/* For results that may come from within an effect: queued, the text copied. */
void daemon_queue(struct daemon *daemon, const struct core_event *event, const char *text);
/* Of the queued, those of groups that are gone are dropped, the others follow their groups. */
void daemon_queue_switch(struct daemon *daemon, const struct config *from, const struct config *to);
void daemon_rejoin(struct daemon *daemon, const char *why);
/* In order: what runs here is handed over or stopped first. The first call counts. */
void daemon_stop(struct daemon *daemon, int exit_code);
void daemon_fail(struct daemon *daemon, int exit_code); /* at once; what runs, runs on */

/* connect.c: corosync */
/* Also anew, when it was lost; and to end a daemon that never saw corosync. */
void connect_start(struct daemon *daemon);
/* Fills in the nodes' corosync ids, as far as they are known. false: not our own. */
bool connect_name_nodes(struct daemon *daemon, struct config *config);

/* effects.c */
void effects_run(struct daemon *daemon);

/* requests.c: control requests on their way through the core */
int requests_new(struct daemon *daemon, struct requests **ret_requests);
void requests_free(struct requests *requests);
void requests_handle(void *daemon, uint64_t request_id, const json_t *request);
void requests_answer(struct daemon *daemon, const struct core_effect *effect);

/* status.c */
json_t *status_json(const struct daemon *daemon); /* NULL: no memory; so below */
json_t *facts_json(const struct daemon *daemon);  /* only with a membership */

/* json_text.c */
/* A string for people; bytes that are not UTF-8, such as the head of a cut character, as '?'. */
json_t *json_text(const char *text);

/* history.c */
int history_new(struct statefile *statefile, struct history **ret_history);
void history_free(struct history *history);
void history_add(
	struct history *history, const struct daemon *daemon, const struct core_record *record);
json_t *history_json(const struct history *history, size_t limit);

/* saved.c: which groups the operator has set offline */
void saved_load(const struct daemon *daemon, uint64_t *ret_version, bool *ret_offline);
void saved_write(const struct daemon *daemon);

/* resource_set.c. What was found running and stopped since counts as not found. */
int resource_set_new(struct daemon *daemon, struct resource_set **ret_set);
void resource_set_free(struct resource_set *set);
/* Asks every resource whether it runs; fn follows when all have answered. */
void resource_set_probe(struct resource_set *set, void (*fn)(struct daemon *daemon));
bool resource_set_is_busy(const struct resource_set *set); /* an operation is under way */
const bool *resource_set_found(const struct resource_set *set, uint32_t group);
void resource_set_op(struct resource_set *set, enum core_op op, uint32_t group, uint32_t resource);
/* Index of the group in `in` that is the same as group i of `of`, or UINT32_MAX. */
uint32_t resource_set_same_group(const struct config *in, const struct config *of, uint32_t i);
/* Groups that are the same in `to` keep their resources, running or not. */
int resource_set_switch(
	struct resource_set *set, const struct config *from, const struct config *to);

/* notify.c: systemd, if it started us */
void notify_ready(void);
void notify_reloading(void);
void notify_stopping(void);
void notify_watchdog(void);
int64_t notify_watchdog_interval_ns(void); /* 0: none wanted */

#endif
