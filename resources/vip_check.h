/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The config check of the vip type. Called by vip.c.
 */
#ifndef RESOURCES_VIP_CHECK_H
#define RESOURCES_VIP_CHECK_H

struct config_resource;
struct config_report;

void vip_check(const struct config_resource *conf, struct config_report *report);

#endif
