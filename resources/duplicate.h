/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Listens for other machines that use an address we hold: their ARP and Neighbour Advertisements.
 *
 * It only hears; nothing is ever sent. One socket per link and family that was used, filtered in
 * the kernel.
 */
#ifndef RESOURCES_DUPLICATE_H
#define RESOURCES_DUPLICATE_H

#include <stdint.h>

#include "resources/address.h"

struct loop;
struct duplicates;

#define DUPLICATES_FRAMES_PER_S 3200 /* of one link; more are lost unread */

/* A machine with this MAC says that it has the address. May well be one of our own links. */
typedef void (*duplicate_fn)(
	void *ctx, const struct ip_address *address, const uint8_t mac[6], int ifindex);

int duplicates_new(
	struct loop *loop, duplicate_fn fn, void *ctx, struct duplicates **ret_duplicates);
void duplicates_free(struct duplicates *duplicates);

/* Counted: as many unwatch as watch that succeeded. 0 or -errno. */
int duplicates_watch(struct duplicates *duplicates, int ifindex, uint8_t family);
void duplicates_unwatch(struct duplicates *duplicates, int ifindex, uint8_t family);

#endif
