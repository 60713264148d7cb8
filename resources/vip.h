/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What all virtual IPs of a daemon share: its netlink sockets, its announcements, its ears.
 *
 * The daemon makes one and puts it into struct resource_host; it must outlive all resources.
 */
#ifndef RESOURCES_VIP_H
#define RESOURCES_VIP_H

struct loop;
struct netlink;
struct vip_engine;

/* 0 or -errno (-EPERM: without CAP_NET_ADMIN and CAP_NET_RAW). */
int vip_engine_new(struct loop *loop, struct vip_engine **ret_engine);
/* What is set stays set. */
void vip_engine_free(struct vip_engine *engine);

struct netlink *vip_engine_netlink(struct vip_engine *engine);

#endif
