/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A connection per probe: TCP alone (a reply is "connected") or HTTP ("status 200").
 *
 * Connections start on the clock whatever became of the ones before, each lives at most
 * PROBE_FLIGHT_NS, and there are at most PROBE_FLIGHTS_MAX of them. Called by probe.c.
 */
#include "tests/lab/probe.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define NONE (-1)
#define STATUS_LINE "HTTP/1.1 200" /* the digit of the minor version is free */
#define STATUS_LEN (sizeof(STATUS_LINE) - 1)

struct flight {
	int fd;
	int newer, older; /* in the order of start; free ones are chained by older */
	uint64_t number;
	int64_t sent_ns;
	bool requested;
	unsigned have;
	char status[STATUS_LEN];
};

struct tcp_state {
	int newest, oldest, unused;
	size_t request_len;
	char request[1024];
	struct flight flights[PROBE_FLIGHTS_MAX];
};

static int tcp_open(struct probe *probe)
{
	struct tcp_state *state = calloc(1, sizeof(*state));
	int len;

	if (!state)
		return -ENOMEM;
	probe->state = state;
	state->newest = state->oldest = NONE;
	state->unused = 0;
	for (int i = 0; i < PROBE_FLIGHTS_MAX; i++)
		state->flights[i].older = i + 1 < PROBE_FLIGHTS_MAX ? i + 1 : NONE;
	if (probe->kind != &probe_http)
		return 0;
	len = snprintf(state->request, sizeof(state->request),
		"GET %s HTTP/1.0\r\nHost: %s\r\nUser-Agent: probe\r\n\r\n", probe->options.path,
		probe->options.text);
	if (len < 0 || (size_t)len >= sizeof(state->request))
		return -E2BIG;
	state->request_len = (size_t)len;
	return 0;
}

/* Ends with a reset: thousands of connections in TIME_WAIT would use up the ports. */
static void flight_end(struct tcp_state *state, int index)
{
	struct flight *flight = &state->flights[index];
	struct linger reset = {.l_onoff = 1, .l_linger = 0};

	if (setsockopt(flight->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)) < 0)
		perror("probe: SO_LINGER");
	close(flight->fd);
	if (flight->newer != NONE)
		state->flights[flight->newer].older = flight->older;
	else
		state->newest = flight->older;
	if (flight->older != NONE)
		state->flights[flight->older].newer = flight->newer;
	else
		state->oldest = flight->newer;
	flight->older = state->unused;
	state->unused = index;
}

static void expire(struct tcp_state *state, int64_t now_ns)
{
	while (state->oldest != NONE &&
		now_ns - state->flights[state->oldest].sent_ns >= PROBE_FLIGHT_NS)
		flight_end(state, state->oldest);
}

static void tcp_send(struct probe *probe, uint64_t number, int64_t now_ns)
{
	struct tcp_state *state = probe->state;
	const struct probe_options *options = &probe->options;
	struct flight *flight;
	int index, fd;

	expire(state, now_ns);
	index = state->unused;
	if (index == NONE) {
		probe->skipped++;
		return;
	}
	fd = socket(options->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		probe_send_failed(probe, errno);
		return;
	}
	flight = &state->flights[index];
	state->unused = flight->older;
	*flight = (struct flight){.fd = fd,
		.newer = NONE,
		.older = state->newest,
		.number = number,
		.sent_ns = now_ns};
	if (state->newest != NONE)
		state->flights[state->newest].newer = index;
	else
		state->oldest = index;
	state->newest = index;
	if ((connect(fd, (const struct sockaddr *)&options->address, options->address_len) < 0 &&
		    errno != EINPROGRESS) ||
		probe_watch(probe, fd, EPOLLOUT, (uint64_t)index) < 0) {
		probe_send_failed(probe, errno);
		flight_end(state, index);
	}
}

/* True while the answer is still on its way. */
static bool http_progress(struct probe *probe, int index)
{
	struct tcp_state *state = probe->state;
	struct flight *flight = &state->flights[index];
	ssize_t len;

	if (!flight->requested) {
		flight->requested = true;
		if (send(flight->fd, state->request, state->request_len, MSG_NOSIGNAL) !=
			(ssize_t)state->request_len)
			return false;
		struct epoll_event event = {.events = EPOLLIN, .data.u64 = (uint64_t)index};

		return epoll_ctl(probe->epoll_fd, EPOLL_CTL_MOD, flight->fd, &event) == 0;
	}
	len = recv(flight->fd, flight->status + flight->have, STATUS_LEN - flight->have, 0);
	if (len <= 0)
		return len < 0 && errno == EAGAIN;
	flight->have += (unsigned)len;
	if (flight->have < STATUS_LEN)
		return true;
	flight->status[strlen("HTTP/1.")] = '1';
	if (memcmp(flight->status, STATUS_LINE, STATUS_LEN) == 0)
		probe_reply(probe, flight->number, flight->sent_ns, probe_now_ns());
	return false;
}

static void tcp_ready(struct probe *probe, uint64_t tag, uint32_t events)
{
	struct tcp_state *state = probe->state;
	int index = (int)tag;
	struct flight *flight = &state->flights[index];
	int error = 0;
	socklen_t len = sizeof(error);

	(void)events;
	if (getsockopt(flight->fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 && error == 0) {
		if (probe->kind == &probe_http && http_progress(probe, index))
			return;
		if (probe->kind == &probe_tcp)
			probe_reply(probe, flight->number, flight->sent_ns, probe_now_ns());
	}
	flight_end(state, index);
}

static void tcp_close(struct probe *probe)
{
	struct tcp_state *state = probe->state;

	while (state && state->oldest != NONE)
		flight_end(state, state->oldest);
	free(state);
}

const struct probe_kind probe_http = {
	.name = "http",
	.open = tcp_open,
	.send = tcp_send,
	.ready = tcp_ready,
	.close = tcp_close,
};

const struct probe_kind probe_tcp = {
	.name = "tcp",
	.open = tcp_open,
	.send = tcp_send,
	.ready = tcp_ready,
	.close = tcp_close,
};
