/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The resource type "vip": an IPv4 or IPv6 address that the node which holds its group answers for.
 *
 *   { name = "web-ip"; type = "vip"; address = "10.77.0.50/24"; interface = "eth0"; }
 *
 * Without interface it goes to the one that has another address of the same subnet. A start on a
 * node without such an interface, or without carrier there, fails with -ENETDOWN, and fit() follows
 * when that has changed. Always stateless: to hold an address changes nothing but who answers. The
 * work is done by vip_engine.c; called through the registry.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "clusterd/config.h"
#include "resources/vip_check.h"
#include "resources/vip_engine.h"

/* registry.c declares what it lists. */
extern const struct resource_type vip_type;

static const struct param_spec vip_params[] = {
	{.key = "address",
		.kind = PARAM_STRING,
		.required = true,
		.expects = "an address with prefix, such as 10.77.0.50/24 or fd77::50/64"},
	{.key = "interface",
		.kind = PARAM_STRING,
		.expects = "the name of a network interface, such as eth0"},
	{.key = NULL},
};

static struct vip *vip_of(struct resource *res)
{
	return (struct vip *)(void *)res;
}

static bool vip_is_stateless(const struct config_resource *conf)
{
	(void)conf;
	return true;
}

static const char *vip_unique_key(const struct config_resource *conf, char *buf, size_t size)
{
	const char *text = config_param(conf, "address")->str;
	char reterr[CORE_TEXT_SIZE], print[ADDRESS_TEXT_SIZE];
	struct ip_address address;

	if (!text || address_parse(text, &address, reterr, sizeof(reterr)) < 0)
		return NULL;
	address_print_bare(&address, print);
	if (strlen(print) >= size)
		return NULL;
	return strcpy(buf, print);
}

static int vip_create(const struct resource_host *host, const struct config_resource *conf,
	struct resource **ret_res)
{
	char reterr[CORE_TEXT_SIZE];
	const char *interface = config_param(conf, "interface")->str;
	struct vip *vip;
	int rc;

	if (!host->vips)
		return -EOPNOTSUPP;
	vip = calloc(1, sizeof(*vip));
	if (!vip)
		return -ENOMEM;
	vip->res = (struct resource){.type = &vip_type, .conf = conf, .host = host};
	/* A copy: at a reload the resource stays and the config goes. */
	vip->interface = interface ? strdup(interface) : NULL;
	rc = interface && !vip->interface ? -ENOMEM : 0;
	if (rc == 0)
		rc = address_parse(
			config_param(conf, "address")->str, &vip->address, reterr, sizeof(reterr));
	if (rc == 0)
		rc = vip_engine_add(host->vips, vip);
	if (rc < 0) {
		free(vip->interface);
		free(vip);
		return rc;
	}
	*ret_res = &vip->res;
	return 0;
}

static void vip_free(struct resource *res)
{
	struct vip *vip = vip_of(res);

	vip_engine_remove(vip);
	free(vip->interface);
	free(vip);
}

static void vip_start(struct resource *res, uint64_t op)
{
	vip_engine_submit(vip_of(res), VIP_START, op);
}

static void vip_stop(struct resource *res, uint64_t op)
{
	vip_engine_submit(vip_of(res), VIP_STOP, op);
}

static void vip_probe(struct resource *res, uint64_t op)
{
	int rc = vip_engine_probe(vip_of(res));

	res->host->done(res->host->ctx, res, op, rc,
		rc < 0 ? "the kernel's list of addresses could not be read" : NULL);
}

static void vip_adopt(struct resource *res)
{
	vip_engine_submit(vip_of(res), VIP_ADOPT, 0);
}

static void vip_cancel(struct resource *res)
{
	struct vip *vip = vip_of(res);
	uint64_t op = vip->op;

	if (vip_engine_cancel(vip))
		res->host->done(res->host->ctx, res, op, -ECANCELED, "canceled");
}

const struct resource_type vip_type = {
	.name = "vip",
	.pipelined = true,
	.params = vip_params,
	.check = vip_check,
	.is_stateless = vip_is_stateless,
	.unique_key = vip_unique_key,
	.create = vip_create,
	.free = vip_free,
	.start = vip_start,
	.stop = vip_stop,
	.probe = vip_probe,
	.adopt = vip_adopt,
	.cancel = vip_cancel,
};
