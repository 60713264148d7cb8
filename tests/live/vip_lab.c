/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The stage of the vip tests: namespaces, sniffer, a host that writes down. Called by vip_test.c
 * and vip_load_test.c.
 */
#include "tests/live/vip_lab.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/if_packet.h>
#include <linux/sockios.h>

static struct lab_vip *lab_vip_of(struct lab *lab, const struct resource *res)
{
	for (unsigned i = 0; i < lab->n_vips; i++)
		if (lab->vips[i].res == res)
			return &lab->vips[i];
	fail_msg("a resource that is not ours");
	return NULL;
}

/* Without a search: it is called a thousand times in the test that counts milliseconds. */
static void on_done(void *ctx, struct resource *res, uint64_t op, int rc, const char *text)
{
	struct lab *lab = ctx;
	struct lab_vip *vip = &lab->vips[res->index];

	lab->n_done++;
	vip->n_done++;
	vip->op = op;
	vip->rc = rc;
	snprintf(vip->text, sizeof(vip->text), "%s", text ? text : "");
}

static void on_failed(void *ctx, struct resource *res, bool node_unfit, const char *text)
{
	struct lab_vip *vip = lab_vip_of(ctx, res);

	vip->n_failed++;
	vip->n_unfit += node_unfit;
	snprintf(vip->text, sizeof(vip->text), "%s", text);
}

static void on_fit(void *ctx, struct resource *res)
{
	lab_vip_of(ctx, res)->n_fit++;
}

static void on_note(void *ctx, struct resource *res, const char *text)
{
	struct lab *lab = ctx;

	(void)res;
	if (lab->n_notes < LAB_NOTES_MAX)
		snprintf(lab->notes[lab->n_notes], LAB_TEXT_SIZE, "%s", text);
	lab->n_notes++;
}

unsigned lab_notes_with(const struct lab *lab, const char *text)
{
	unsigned n = 0;

	for (unsigned i = 0; i < lab->n_notes && i < LAB_NOTES_MAX; i++)
		n += strstr(lab->notes[i], text) != NULL;
	return n;
}

static void run(const char *prefix, const char *fmt, va_list args)
{
	char command[512];
	int len = snprintf(command, sizeof(command), "%s", prefix);

	vsnprintf(command + len, sizeof(command) - (size_t)len, fmt, args);
	if (system(command) != 0)
		fail_msg("failed: %s", command);
}

void lab_run(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	run("", fmt, args);
	va_end(args);
}

void lab_run_peer(struct lab *lab, const char *fmt, ...)
{
	char prefix[64];
	va_list args;

	snprintf(prefix, sizeof(prefix), "nsenter -t %d -n ", (int)lab->peer);
	va_start(args, fmt);
	run(prefix, fmt, args);
	va_end(args);
}

bool lab_shows(const char *command, const char *text)
{
	static const size_t size = 1 << 20;
	char *out = malloc(size);
	FILE *pipe = popen(command, "r");
	bool shows;
	size_t len;

	assert_non_null(out);
	assert_non_null(pipe);
	len = fread(out, 1, size - 1, pipe);
	out[len] = '\0';
	assert_int_equal(pclose(pipe), 0);
	shows = strstr(out, text) != NULL;
	free(out);
	return shows;
}

struct lab_vip *lab_vip_new(struct lab *lab, const char *address, const char *interface)
{
	struct lab_vip *vip = &lab->vips[lab->n_vips];

	assert_true(lab->n_vips < LAB_VIPS_MAX);
	snprintf(vip->address, sizeof(vip->address), "%s", address);
	vip->params[0] = (struct param_value){.set = true, .str = vip->address};
	if (interface) {
		snprintf(vip->interface, sizeof(vip->interface), "%s", interface);
		vip->params[1] = (struct param_value){.set = true, .str = vip->interface};
	}
	vip->conf = (struct config_resource){.type = &vip_type, .params = vip->params};
	snprintf(vip->conf.name, sizeof(vip->conf.name), "ip%u", lab->n_vips);
	assert_int_equal(vip_type.create(&lab->host, &vip->conf, &vip->res), 0);
	vip->res->index = lab->n_vips++;
	return vip;
}

void lab_vip_free(struct lab_vip *vip)
{
	vip_type.free(vip->res);
	vip->res = NULL;
}

static void on_poll_condition(void *ctx)
{
	struct lab *lab = ctx;

	lab->is_met = lab->condition && lab->condition(lab);
	if (lab->is_met || clock_boottime_ns() > lab->give_up_ns)
		loop_stop(lab->loop);
	else
		assert_int_equal(loop_timer_add(lab->loop, 2000000, on_poll_condition, lab,
					 "lab: condition", NULL),
			0);
}

bool lab_wait(struct lab *lab, bool (*condition)(struct lab *lab), int limit_ms)
{
	lab->condition = condition;
	lab->is_met = false;
	lab->give_up_ns = clock_boottime_ns() + (int64_t)limit_ms * 1000000;
	assert_int_equal(
		loop_timer_add(lab->loop, 0, on_poll_condition, lab, "lab: condition", NULL), 0);
	loop_run(lab->loop);
	return lab->is_met;
}

void lab_turn(struct lab *lab, int for_ms)
{
	(void)lab_wait(lab, NULL, for_ms);
}

static bool is_op_done(struct lab *lab)
{
	return lab->of->n_done == lab->wanted;
}

int lab_op(struct lab *lab, struct lab_vip *vip, void (*op)(struct resource *, uint64_t))
{
	uint64_t id = ++lab->next_op;

	lab->of = vip;
	lab->wanted = vip->n_done + 1;
	op(vip->res, id);
	if (vip->n_done != lab->wanted)
		assert_true(lab_wait(lab, is_op_done, 10000));
	assert_int_equal(vip->op, id);
	return vip->rc;
}

int lab_start(struct lab *lab, struct lab_vip *vip)
{
	return lab_op(lab, vip, vip_type.start);
}

int lab_stop(struct lab *lab, struct lab_vip *vip)
{
	return lab_op(lab, vip, vip_type.stop);
}

int lab_probe(struct lab *lab, struct lab_vip *vip)
{
	return lab_op(lab, vip, vip_type.probe);
}

static void on_sniffed(void *ctx, int fd, int revents)
{
	struct lab *lab = ctx;

	(void)revents;
	for (int i = 0; i < 64; i++) {
		struct lab_frame frame;
		struct sockaddr_ll from;
		struct timespec at;
		socklen_t from_len = sizeof(from);
		ssize_t len = recvfrom(fd, frame.bytes, sizeof(frame.bytes), MSG_DONTWAIT,
			(struct sockaddr *)&from, &from_len);

		if (len < 0)
			return;
		if (from.sll_pkttype == PACKET_OUTGOING || lab->n_frames == LAB_FRAMES_MAX)
			continue;
		/* When it arrived, not when the loop came to read it. */
		assert_int_equal(ioctl(fd, SIOCGSTAMPNS, &at), 0);
		frame.at_ns = (int64_t)at.tv_sec * 1000000000 + at.tv_nsec;
		frame.len = (size_t)len;
		lab->frames[lab->n_frames++] = frame;
	}
}

void lab_inject(struct lab *lab, const void *frame, size_t len)
{
	assert_int_equal(send(lab->sniffer, frame, len, 0), (ssize_t)len);
}

enum frame_kind lab_frame_kind(const struct lab_frame *frame, const char *address)
{
	static const uint8_t zero[6], broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	const uint8_t *b = frame->bytes, *mac = b + 6;
	uint8_t ip[16];

	if (inet_pton(AF_INET, address, ip) == 1) {
		if (frame->len < 42 || b[12] != 0x08 || b[13] != 0x06 || memcmp(b, broadcast, 6) ||
			memcmp(b + 22, mac, 6) || memcmp(b + 28, ip, 4) || memcmp(b + 38, ip, 4))
			return FRAME_OTHER;
		if (b[21] == 1 && memcmp(b + 32, zero, 6) == 0)
			return FRAME_ARP_REQUEST;
		return b[21] == 2 && memcmp(b + 32, mac, 6) == 0 ? FRAME_ARP_REPLY : FRAME_OTHER;
	}
	assert_int_equal(inet_pton(AF_INET6, address, ip), 1);
	if (frame->len < 86 || b[12] != 0x86 || b[13] != 0xdd || b[20] != 58 || b[21] != 255 ||
		b[54] != 136 || memcmp(b + 22, ip, 16) || memcmp(b + 62, ip, 16) || b[58] != 0x20)
		return FRAME_OTHER;
	return b[78] == 2 && memcmp(b + 80, mac, 6) == 0 ? FRAME_NA : FRAME_OTHER;
}

unsigned lab_frames_of(const struct lab *lab, const char *address, enum frame_kind kind)
{
	unsigned n = 0;

	for (unsigned i = 0; i < lab->n_frames; i++)
		n += lab_frame_kind(&lab->frames[i], address) == kind;
	return n;
}

/* A process that holds the peer's namespace until it is killed. */
static pid_t peer_new(void)
{
	int ready[2];
	char byte = 0;
	pid_t pid;

	assert_int_equal(pipe(ready), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		byte = unshare(CLONE_NEWNET) == 0;
		if (write(ready[1], &byte, 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	assert_int_equal(byte, 1);
	close(ready[0]);
	close(ready[1]);
	return pid;
}

/* Opened there, used here. */
static int sniffer_new(pid_t peer)
{
	struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
	struct timespec at;
	char path[64];
	int here = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), there, fd, size = 32 << 20;

	snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)peer);
	there = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(here >= 0 && there >= 0);
	assert_int_equal(setns(there, CLONE_NEWNET), 0);
	fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	address.sll_ifindex = (int)if_nametoindex("peer0");
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)), 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	/* There is nothing to tell yet, but from now on arrivals are stamped. */
	assert_int_equal(ioctl(fd, SIOCGSTAMPNS, &at), -1);
	assert_int_equal(setns(here, CLONE_NEWNET), 0);
	close(here);
	close(there);
	return fd;
}

static bool is_lan_up(struct lab *lab)
{
	(void)lab;
	return lab_shows("ip -o link show lan0", "state UP");
}

bool lab_is_possible(void)
{
	if (geteuid() == 0 && unshare(CLONE_NEWNET) == 0)
		return true;
	printf("skipped: needs root, for network namespaces\n");
	return false;
}

int lab_setup(void **state)
{
	struct lab *lab = calloc(1, sizeof(*lab));

	assert_non_null(lab);
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	lab->peer = peer_new();
	lab_run("ip link set lo up && ip link add lan0 type veth peer name peer0 && "
		"ip link set peer0 netns %d && ip link set lan0 up && "
		"ip address add 10.77.0.1/24 dev lan0 && "
		"ip address add fd77::1/64 dev lan0 nodad",
		(int)lab->peer);
	lab_run_peer(lab, "ip link set peer0 up");
	lab_run_peer(lab, "ip address add 10.77.0.2/24 dev peer0");
	lab_run_peer(lab, "ip address add fd77::2/64 dev peer0 nodad");
	lab->sniffer = sniffer_new(lab->peer);
	assert_int_equal(loop_new(&lab->loop), 0);
	assert_int_equal(vip_engine_new(lab->loop, &lab->engine), 0);
	assert_int_equal(
		loop_fd_add(lab->loop, lab->sniffer, POLLIN, on_sniffed, lab, "lab: sniffer"), 0);
	lab->host = (struct resource_host){.loop = lab->loop,
		.vips = lab->engine,
		.ctx = lab,
		.done = on_done,
		.failed = on_failed,
		.fit = on_fit,
		.note = on_note};
	assert_true(lab_wait(lab, is_lan_up, 5000));
	*state = lab;
	return 0;
}

int lab_teardown(void **state)
{
	struct lab *lab = *state;

	for (unsigned i = 0; i < lab->n_vips; i++)
		if (lab->vips[i].res)
			lab_vip_free(&lab->vips[i]);
	vip_engine_free(lab->engine);
	loop_free(lab->loop);
	close(lab->sniffer);
	kill(lab->peer, SIGKILL);
	assert_int_equal(waitpid(lab->peer, NULL, 0), lab->peer);
	free(lab);
	return 0;
}
