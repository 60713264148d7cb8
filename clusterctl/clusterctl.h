/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the verbs of clusterctl share: the table's row, the exit statuses, talking to clusterd.
 *
 * Each verb is one file with one `struct verb`; main.c lists them.
 */
#ifndef CLUSTERCTL_CLUSTERCTL_H
#define CLUSTERCTL_CLUSTERCTL_H

#include <jansson.h>

/* Exit statuses, documented in clusterctl(8). */
enum ctl_exit {
	CTL_DONE = 0,
	CTL_REFUSED = 1,     /* refused, or done but failed */
	CTL_USAGE = 2,       /* wrong command line */
	CTL_UNREACHABLE = 3, /* clusterd doesn't run, doesn't answer, or we aren't root */
	CTL_NO_QUORUM = 4,
	CTL_TIMEOUT = 5, /* --wait ran out */
};

struct verb {
	const char *name;
	const char *summary; /* NULL: not listed */
	const char *help;    /* what --help prints */
	/* argv[0] is the verb. Returns an exit status. */
	enum ctl_exit (*run)(int argc, char **argv);
};

extern const struct verb verb_status, verb_failover, verb_online, verb_offline, verb_history,
	verb_check, verb_corosync_conf, verb_complete;

/* "clusterctl: " and the text, to stderr. */
void ctl_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The same, and where to read more; CTL_USAGE. fmt NULL: getopt has said it. */
enum ctl_exit ctl_usage(const struct verb *verb, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* Prints the verb's help; CTL_DONE. */
enum ctl_exit ctl_help(const struct verb *verb);

/* client.c: sends the request (takes over the reference) and waits for the answer. CTL_DONE with
 * *ret_reply, an object with "ok": true; anything else was told to the user, and *ret_reply is not
 * written. The answer of a daemon that hangs is given up after timeout_ms. */
#define CLIENT_TIMEOUT_MS 10000
enum ctl_exit client_ask(json_t *request, int timeout_ms, json_t **ret_reply);

#endif
