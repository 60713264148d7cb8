/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The probe's parts: bookkeeping of replies and gaps (probe.c), and one file per kind of probe.
 *
 * All times are CLOCK_BOOTTIME in ns. A kind never waits: it sends when told, and calls probe_reply
 * when the event loop hands it an answer.
 */
#ifndef TESTS_LAB_PROBE_H
#define TESTS_LAB_PROBE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#define PROBE_GAPS_MAX 256         /* listed; all are counted */
#define PROBE_WINDOW 65536         /* probes back in which a duplicate is recognized */
#define PROBE_FLIGHTS_MAX 2000     /* connections */
#define PROBE_FLIGHT_NS 1000000000 /* life of a connection */

struct probe_gap {
	int64_t start_ns, end_ns;
	int64_t start_realtime_ns, end_realtime_ns;
	bool open; /* no reply at its start, or at its end: the run was too short to tell */
};

struct probe_options {
	struct sockaddr_storage address;
	socklen_t address_len;
	const char *text; /* the address as given */
	const char *path;
	int64_t interval_ns, duration_ns; /* duration 0: until a signal */
	bool json, announce;
};

struct probe {
	struct probe_options options;
	const struct probe_kind *kind;
	void *state; /* the kind's */
	int epoll_fd;

	uint64_t next;    /* number of the next probe */
	uint64_t skipped; /* not sent: we were late by more than a burst, or no connection was free
			   */
	uint64_t sent, received, duplicates, send_errors;
	int send_errno; /* of the latest */
	int64_t start_ns, last_send_ns, last_reply_ns, end_ns;
	int64_t latest_ns; /* how late the latest send was */
	int64_t rtt_sum_ns, rtt_max_ns;

	uint64_t n_gaps;
	struct probe_gap longest;
	struct probe_gap gaps[PROBE_GAPS_MAX];
	uint64_t seen[PROBE_WINDOW / 64];
};

struct probe_kind {
	const char *name;
	int (*open)(struct probe *probe); /* 0 or -errno */
	void (*send)(struct probe *probe, uint64_t number, int64_t now_ns);
	void (*ready)(struct probe *probe, uint64_t tag, uint32_t events); /* tag: as registered */
	void (*close)(struct probe *probe);
};

extern const struct probe_kind probe_icmp, probe_http, probe_tcp;

int64_t probe_now_ns(void);
int64_t probe_realtime_offset_ns(void); /* add to a boottime to get CLOCK_REALTIME */
int probe_watch(struct probe *probe, int fd, uint32_t events, uint64_t tag);
void probe_reply(struct probe *probe, uint64_t number, int64_t sent_ns, int64_t at_ns);
void probe_send_failed(struct probe *probe, int error);

#endif
