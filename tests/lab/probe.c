/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Asks an address on a fixed clock and measures how long it did not answer.
 *
 * Open loop: probe k leaves at start + k x interval, whatever became of the ones before. An outage
 * is the time between two consecutive replies as they arrived; a run that began or ended without
 * replies says so ("open" gaps count too). A probe that itself ran late tells how late. Run by
 * labnet.py in the client's namespace; SIGINT and SIGTERM end it early, with the result.
 */
#include "tests/lab/probe.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define GAP_INTERVALS 10 /* shorter ones are not listed */
#define BURST_MAX 64     /* overdue probes sent at once; more are skipped */
#define STRAGGLERS_NS 300000000
#define TAG_TIMER UINT64_MAX
#define TAG_SIGNAL (UINT64_MAX - 1)

static int64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t probe_now_ns(void)
{
	return clock_ns(CLOCK_BOOTTIME);
}

int64_t probe_realtime_offset_ns(void)
{
	return clock_ns(CLOCK_REALTIME) - clock_ns(CLOCK_BOOTTIME);
}

int probe_watch(struct probe *probe, int fd, uint32_t events, uint64_t tag)
{
	struct epoll_event event = {.events = events, .data.u64 = tag};

	return epoll_ctl(probe->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

void probe_send_failed(struct probe *probe, int error)
{
	probe->send_errors++;
	probe->send_errno = error;
}

static void gap_add(struct probe *probe, int64_t start_ns, int64_t end_ns, bool open)
{
	int64_t offset = probe_realtime_offset_ns();
	struct probe_gap gap = {start_ns, end_ns, start_ns + offset, end_ns + offset, open};

	if (end_ns - start_ns > probe->longest.end_ns - probe->longest.start_ns)
		probe->longest = gap;
	if (end_ns - start_ns <= GAP_INTERVALS * probe->options.interval_ns)
		return;
	if (probe->n_gaps < PROBE_GAPS_MAX)
		probe->gaps[probe->n_gaps] = gap;
	probe->n_gaps++;
}

void probe_reply(struct probe *probe, uint64_t number, int64_t sent_ns, int64_t at_ns)
{
	uint64_t bit = (uint64_t)1 << (number % 64);
	uint64_t *word = &probe->seen[number % PROBE_WINDOW / 64];

	if (number >= probe->next || probe->next - number > PROBE_WINDOW)
		return; /* too old to tell a duplicate */
	if (*word & bit) {
		probe->duplicates++;
		return;
	}
	*word |= bit;
	probe->received++;
	probe->rtt_sum_ns += at_ns - sent_ns;
	if (at_ns - sent_ns > probe->rtt_max_ns)
		probe->rtt_max_ns = at_ns - sent_ns;
	if (probe->last_reply_ns == 0)
		gap_add(probe, probe->start_ns, at_ns, true);
	else if (at_ns > probe->last_reply_ns)
		gap_add(probe, probe->last_reply_ns, at_ns, false);
	if (at_ns > probe->last_reply_ns)
		probe->last_reply_ns = at_ns;
}

static uint64_t total(const struct probe *probe)
{
	if (probe->options.duration_ns == 0)
		return UINT64_MAX;
	return (uint64_t)(probe->options.duration_ns / probe->options.interval_ns);
}

/* Sends what is due by now. */
static void send_due(struct probe *probe)
{
	int64_t interval_ns = probe->options.interval_ns;
	int64_t now_ns = probe_now_ns();
	uint64_t due = (uint64_t)((now_ns - probe->start_ns) / interval_ns) + 1;

	if (due > total(probe))
		due = total(probe);
	if (probe->options.announce && probe->next == 0) {
		printf("started\n");
		fflush(stdout);
	}
	if (due > probe->next + BURST_MAX) {
		probe->skipped += due - BURST_MAX - probe->next;
		probe->next = due - BURST_MAX;
	}
	while (probe->next < due) {
		uint64_t number = probe->next++;
		int64_t late_ns = now_ns - probe->start_ns - (int64_t)number * interval_ns;
		uint64_t kept_out = probe->skipped + probe->send_errors;

		if (late_ns > probe->latest_ns)
			probe->latest_ns = late_ns;
		probe->seen[number % PROBE_WINDOW / 64] &= ~((uint64_t)1 << (number % 64));
		probe->kind->send(probe, number, now_ns);
		probe->sent += probe->skipped + probe->send_errors == kept_out;
		probe->last_send_ns = now_ns;
	}
}

static int timer_open(struct probe *probe)
{
	int64_t interval_ns = probe->options.interval_ns;
	struct itimerspec spec = {
		.it_interval = {interval_ns / 1000000000, interval_ns % 1000000000},
		.it_value = {probe->start_ns / 1000000000, probe->start_ns % 1000000000},
	};
	int fd = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);

	if (fd < 0 || timerfd_settime(fd, TFD_TIMER_ABSTIME, &spec, NULL) < 0)
		return -errno;
	return probe_watch(probe, fd, EPOLLIN, TAG_TIMER) < 0 ? -errno : fd;
}

static int signals_open(struct probe *probe)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	return probe_watch(probe, fd, EPOLLIN, TAG_SIGNAL) < 0 ? -errno : fd;
}

static bool is_complete(const struct probe *probe)
{
	return probe->next >= total(probe) &&
	       (probe->received >= probe->sent ||
		       probe_now_ns() - probe->last_send_ns > STRAGGLERS_NS);
}

/* Told to end: no more is sent. False: nothing was. */
static bool finish(struct probe *probe, int signal_fd)
{
	struct signalfd_siginfo info;

	probe->options.duration_ns = (int64_t)probe->next * probe->options.interval_ns;
	return read(signal_fd, &info, sizeof(info)) == sizeof(info) && probe->next > 0;
}

static int run(struct probe *probe)
{
	int signal_fd, timer_fd;
	bool ended = false;

	/* The first tick is in the future, so that the first probe is on time too. */
	probe->start_ns = probe_now_ns() + 1000000;
	signal_fd = signals_open(probe);
	timer_fd = timer_open(probe);
	if (signal_fd < 0 || timer_fd < 0)
		return signal_fd < 0 ? signal_fd : timer_fd;
	while (!ended && !is_complete(probe)) {
		struct epoll_event events[64];
		int n = epoll_wait(probe->epoll_fd, events, 64, -1);

		if (n < 0 && errno != EINTR)
			return -errno;
		for (int i = 0; i < n; i++) {
			uint64_t tag = events[i].data.u64, ticks;

			if (tag == TAG_SIGNAL) /* what was sent may still be answered */
				ended = !finish(probe, signal_fd);
			else if (tag != TAG_TIMER)
				probe->kind->ready(probe, tag, events[i].events);
			else if (read(timer_fd, &ticks, sizeof(ticks)) == sizeof(ticks))
				send_due(probe);
		}
	}
	close(timer_fd);
	close(signal_fd);
	probe->end_ns = probe_now_ns();
	if (probe->next == 0)
		return 0;
	if (probe->last_reply_ns == 0)
		gap_add(probe, probe->start_ns, probe->last_send_ns, true);
	else if (probe->last_send_ns > probe->last_reply_ns)
		gap_add(probe, probe->last_reply_ns, probe->last_send_ns, true);
	return 0;
}

static double ms(int64_t ns)
{
	return (double)ns / 1e6;
}

static void print_gap(const struct probe_gap *gap)
{
	printf("{\"ms\":%.3f,\"open\":%s,\"start_boottime_ns\":%lld,\"end_boottime_ns\":%lld,"
	       "\"start_realtime_ns\":%lld,\"end_realtime_ns\":%lld}",
		ms(gap->end_ns - gap->start_ns), gap->open ? "true" : "false",
		(long long)gap->start_ns, (long long)gap->end_ns, (long long)gap->start_realtime_ns,
		(long long)gap->end_realtime_ns);
}

static void print_json(const struct probe *probe)
{
	uint64_t listed = probe->n_gaps < PROBE_GAPS_MAX ? probe->n_gaps : PROBE_GAPS_MAX;

	printf("{\"address\":\"%s\",\"mode\":\"%s\",\"interval_us\":%lld,", probe->options.text,
		probe->kind->name, (long long)(probe->options.interval_ns / 1000));
	printf("\"start_boottime_ns\":%lld,\"end_boottime_ns\":%lld,", (long long)probe->start_ns,
		(long long)probe->end_ns);
	printf("\"sent\":%llu,\"received\":%llu,\"lost\":%llu,\"duplicates\":%llu,\"skipped\":%llu,"
	       "\"send_errors\":%llu,",
		(unsigned long long)probe->sent, (unsigned long long)probe->received,
		(unsigned long long)(probe->sent - probe->received),
		(unsigned long long)probe->duplicates, (unsigned long long)probe->skipped,
		(unsigned long long)probe->send_errors);
	printf("\"rtt_mean_ms\":%.3f,\"rtt_max_ms\":%.3f,\"latest_send_ms\":%.3f,",
		probe->received ? ms(probe->rtt_sum_ns) / (double)probe->received : 0.0,
		ms(probe->rtt_max_ns), ms(probe->latest_ns));
	printf("\"longest_gap_ms\":%.3f,\"longest_gap\":",
		ms(probe->longest.end_ns - probe->longest.start_ns));
	print_gap(&probe->longest);
	printf(",\"gaps_total\":%llu,\"gaps\":[", (unsigned long long)probe->n_gaps);
	for (uint64_t i = 0; i < listed; i++) {
		printf("%s", i ? "," : "");
		print_gap(&probe->gaps[i]);
	}
	printf("]}\n");
}

static void print_time(int64_t realtime_ns)
{
	time_t seconds = realtime_ns / 1000000000;
	struct tm tm;
	char text[16];

	localtime_r(&seconds, &tm);
	strftime(text, sizeof(text), "%H:%M:%S", &tm);
	printf("%s.%03d", text, (int)(realtime_ns % 1000000000 / 1000000));
}

static void print_text(const struct probe *probe)
{
	uint64_t listed = probe->n_gaps < PROBE_GAPS_MAX ? probe->n_gaps : PROBE_GAPS_MAX;

	printf("%s: %llu probes sent, %llu answered, %llu lost; longest gap %.1f ms\n",
		probe->options.text, (unsigned long long)probe->sent,
		(unsigned long long)probe->received,
		(unsigned long long)(probe->sent - probe->received),
		ms(probe->longest.end_ns - probe->longest.start_ns));
	for (uint64_t i = 0; i < listed; i++) {
		const struct probe_gap *gap = &probe->gaps[i];

		printf("  no answer from ");
		print_time(gap->start_realtime_ns);
		printf(" to ");
		print_time(gap->end_realtime_ns);
		printf(": %.1f ms%s\n", ms(gap->end_ns - gap->start_ns),
			gap->open ? " (the probe's start or end)" : "");
	}
	if (probe->send_errors)
		printf("  %llu could not be sent: %s\n", (unsigned long long)probe->send_errors,
			strerror(probe->send_errno));
	if (probe->skipped)
		printf("  %llu skipped: this machine is too busy\n",
			(unsigned long long)probe->skipped);
}

static int usage(void)
{
	fprintf(stderr,
		"usage: probe [--mode icmp|http|tcp] [--port N] [--path /] [--interval-us N]\n"
		"             [--for SECONDS] [--json] [--announce] ADDRESS\n"
		"  --announce: a line \"started\" once probes are on their way\n");
	return 2;
}

static int set_address(struct probe_options *options, const char *text, uint16_t port)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)&options->address;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&options->address;

	options->text = text;
	if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(port);
		options->address_len = sizeof(*v4);
		return 0;
	}
	if (inet_pton(AF_INET6, text, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons(port);
		options->address_len = sizeof(*v6);
		return 0;
	}
	fprintf(stderr, "probe: %s: not an IPv4 or IPv6 address\n", text);
	return -EINVAL;
}

static const struct probe_kind *find_kind(const char *name)
{
	const struct probe_kind *const kinds[] = {&probe_icmp, &probe_http, &probe_tcp};

	for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (strcmp(kinds[i]->name, name) == 0)
			return kinds[i];
	return NULL;
}

/* True if the whole text is a number within the bounds. */
static bool number(const char *text, double min, double max, double *ret)
{
	char *end;
	double value = strtod(text, &end);

	if (end == text || *end || !(value >= min && value <= max))
		return false;
	*ret = value;
	return true;
}

/* 0, or the exit code after a message. */
static int parse_args(int argc, char *argv[], struct probe *probe)
{
	static const struct option longs[] = {{"mode", required_argument, NULL, 'm'},
		{"path", required_argument, NULL, 'p'}, {"port", required_argument, NULL, 'P'},
		{"interval-us", required_argument, NULL, 'i'},
		{"for", required_argument, NULL, 'f'}, {"json", no_argument, NULL, 'j'},
		{"announce", no_argument, NULL, 'a'}, {0}};
	double port = 80, interval_us = 1000, seconds = 0;
	bool good = true;
	int c;

	probe->kind = &probe_icmp;
	probe->options.path = "/";
	while ((c = getopt_long(argc, argv, "", longs, NULL)) >= 0) {
		switch (c) {
		case 'm': probe->kind = find_kind(optarg); break;
		case 'p': probe->options.path = optarg; break;
		case 'P': good = good && number(optarg, 1, 65535, &port); break;
		case 'i': good = good && number(optarg, 50, 60e6, &interval_us); break;
		case 'f': good = good && number(optarg, 0.001, 1e6, &seconds); break;
		case 'j': probe->options.json = true; break;
		case 'a': probe->options.announce = true; break;
		default: return usage();
		}
	}
	if (!good || !probe->kind || optind + 1 != argc)
		return usage();
	probe->options.interval_ns = (int64_t)(interval_us * 1e3);
	probe->options.duration_ns = (int64_t)(seconds * 1e9);
	return set_address(&probe->options, argv[optind], (uint16_t)port) < 0 ? 2 : 0;
}

int main(int argc, char *argv[])
{
	struct probe *probe = calloc(1, sizeof(*probe));
	int rc;

	if (!probe)
		return 1;
	rc = parse_args(argc, argv, probe);
	if (rc) {
		free(probe);
		return rc;
	}
	probe->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	rc = probe->epoll_fd < 0 ? -errno : probe->kind->open(probe);
	if (rc == 0)
		rc = run(probe);
	if (rc < 0)
		fprintf(stderr, "probe: %s: %s\n", probe->options.text, strerror(-rc));
	else if (probe->options.json)
		print_json(probe);
	else
		print_text(probe);
	probe->kind->close(probe);
	if (probe->epoll_fd >= 0)
		close(probe->epoll_fd);
	free(probe);
	return rc < 0 ? 1 : 0;
}
