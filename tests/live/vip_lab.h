/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A stage for the vip tests: two network namespaces, "lan0" here and "peer0" there, joined by a
 * veth pair; a sniffer on peer0; a resource host that writes down what it is told.
 *
 * The namespaces live as long as the test's processes; nothing is left behind.
 */
#ifndef TESTS_LIVE_VIP_LAB_H
#define TESTS_LIVE_VIP_LAB_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <cmocka.h>

#include "clusterd/config.h"
#include "clusterd/loop.h"
#include "resources/netlink.h"
#include "resources/resource.h"
#include "resources/vip.h"

extern const struct resource_type vip_type;

#define LAB_VIPS_MAX 1000
#define LAB_FRAMES_MAX 16384
#define LAB_NOTES_MAX 64
#define LAB_TEXT_SIZE 256
#define LAB_LIMIT_MS 10000 /* generous: what is waited for comes much sooner */
#define LAB_SKIPPED 77

enum frame_kind { FRAME_OTHER, FRAME_ARP_REQUEST, FRAME_ARP_REPLY, FRAME_NA };

struct lab_frame {
	int64_t at_ns; /* CLOCK_REALTIME */
	size_t len;
	uint8_t bytes[96];
};

struct lab_vip {
	struct config_resource conf;
	struct param_value params[2];
	char address[64], interface[16];
	struct resource *res;
	unsigned n_done;
	uint64_t op; /* of the last result */
	int rc;
	char text[LAB_TEXT_SIZE];
	unsigned n_failed, n_unfit, n_fit;
};

struct lab {
	struct loop *loop;
	struct vip_engine *engine;
	struct resource_host host;
	struct lab_vip vips[LAB_VIPS_MAX];
	unsigned n_vips, n_done;
	uint64_t next_op;

	char notes[LAB_NOTES_MAX][LAB_TEXT_SIZE];
	unsigned n_notes; /* all of them, also those that did not fit */

	pid_t peer; /* holds the other namespace */
	int sniffer;
	struct lab_frame frames[LAB_FRAMES_MAX];
	unsigned n_frames;

	bool (*condition)(struct lab *lab);
	bool is_met;
	int64_t give_up_ns;
	unsigned wanted; /* for conditions */
	struct lab_vip *of;
};

/* False, and said so: no root here. */
bool lab_is_possible(void);

/* For cmocka; *state is the struct lab. */
int lab_setup(void **state);
int lab_teardown(void **state);

/* A shell command, here or in the peer's namespace; must succeed. */
void lab_run(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void lab_run_peer(struct lab *lab, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Does the command's output contain the text? */
bool lab_shows(const char *command, const char *text);

/* interface NULL: none is given. */
struct lab_vip *lab_vip_new(struct lab *lab, const char *address, const char *interface);
void lab_vip_free(struct lab_vip *vip);

/* Turns the loop until the condition holds; false: it did not within limit_ms. */
bool lab_wait(struct lab *lab, bool (*condition)(struct lab *lab), int limit_ms);
void lab_turn(struct lab *lab, int for_ms);

/* Calls the operation and waits for its result, which is returned. */
int lab_op(struct lab *lab, struct lab_vip *vip, void (*op)(struct resource *, uint64_t));
int lab_start(struct lab *lab, struct lab_vip *vip);
int lab_stop(struct lab *lab, struct lab_vip *vip);
int lab_probe(struct lab *lab, struct lab_vip *vip);

/* An announcement of the address, with every field as it must be; else FRAME_OTHER. */
enum frame_kind lab_frame_kind(const struct lab_frame *frame, const char *address);
unsigned lab_frames_of(const struct lab *lab, const char *address, enum frame_kind kind);

/* Sends a frame out of peer0. */
void lab_inject(struct lab *lab, const void *frame, size_t len);
unsigned lab_notes_with(const struct lab *lab, const char *text);

#endif
