/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a resource type is: one struct of operations and a table of its config keys.
 *
 * A new type is one new file that defines a `const struct resource_type` and one line in
 * registry.c. All operations return at once; an operation's result comes later, or at once
 * from within the call, through host->done. The host never starts a second operation of a
 * resource before the first one's result, but for cancel.
 */
#ifndef CLUSTERD_RESOURCE_H
#define CLUSTERD_RESOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct loop;
struct runner;
struct vip_engine;
struct resource;
struct config_resource;
struct config_report;

enum param_kind { PARAM_STRING, PARAM_INT, PARAM_BOOL };

/* One key of a type. Tables end with a NULL key. Canonical print follows the table's order. */
struct param_spec {
	const char *key;
	enum param_kind kind;
	bool required;
	int64_t min, max;    /* PARAM_INT, both ends included */
	int64_t def;         /* PARAM_INT and PARAM_BOOL, when the key is left out */
	const char *def_str; /* PARAM_STRING, or NULL: none */
	const char *expects; /* for error messages: "an address with prefix, such as 10.0.0.5/24" */
};

/* A key's value in one config; index i belongs to params[i] of the type. */
struct param_value {
	bool set;    /* written in the file */
	int line;    /* where, or the resource's own line */
	int64_t num; /* PARAM_INT, PARAM_BOOL */
	char *str;   /* PARAM_STRING, or NULL */
};

/* What probe answers; negative: -errno, not known. */
enum probe_result { PROBE_STOPPED = 0, PROBE_RUNNING = 1 };

/* The daemon's side, shared by all resources of a node. */
struct resource_host {
	struct loop *loop;
	struct runner *runner;
	struct vip_engine *vips; /* resources/vip.h; NULL: no vip can be created */
	void *ctx;
	/* Result of start, stop (0 or -errno) or probe (enum probe_result or -errno).
	 * text: why, for people; NULL or "" when all is well. Called exactly once an operation.
	 * -ENETDOWN of a start: this node is not fit for it until fit() is called. */
	void (*done)(void *ctx, struct resource *res, uint64_t op, int rc, const char *text);
	/* A running resource has failed. node_unfit: no restart on this node can help until
	 * fit() is called (no carrier, no interface). */
	void (*failed)(void *ctx, struct resource *res, bool node_unfit, const char *text);
	void (*fit)(void *ctx, struct resource *res);
	/* A line of the story that changes nothing: an address was put back, a foreign holder. */
	void (*note)(void *ctx, struct resource *res, const char *text);
};

struct resource {
	const struct resource_type *type;
	const struct config_resource *conf;
	const struct resource_host *host;
	uint32_t group, index; /* the host's, to find its way back */
	/* CLOCK_BOOTTIME, of the latest start, 0 = none: set and announced (vip only). */
	int64_t set_ns, announced_ns;
};

struct resource_type {
	const char *name;
	bool pipelined; /* see struct core_resource */
	const struct param_spec *params;

	/* Checks the values beyond what the table says. Errors and warnings (what depends on
	 * this machine) go to the report with the value's line. */
	void (*check)(const struct config_resource *conf, struct config_report *report);
	/* May it be taken over without a proof that the old instance has stopped? */
	bool (*is_stateless)(const struct config_resource *conf);
	/* What no second resource of the cluster may have, in one spelling: a vip's address as
	 * inet_ntop writes it. NULL: none. buf (size bytes) may hold it. Optional. */
	const char *(*unique_key)(const struct config_resource *conf, char *buf, size_t size);

	/* 0 or -errno, *ret_res written on success only. Every node creates every resource, also
	 * those it does not hold: a vip6 joins its solicited-node group here. */
	int (*create)(const struct resource_host *host, const struct config_resource *conf,
		struct resource **ret_res);
	void (*free)(struct resource *res); /* leaves what runs running; any operation is ended */

	void (*start)(struct resource *res, uint64_t op);
	void (*stop)(struct resource *res, uint64_t op); /* stopping what is stopped succeeds */
	void (*probe)(struct resource *res, uint64_t op);
	/* Adopt: it was found running by probe; watch it as if start had succeeded. */
	void (*adopt)(struct resource *res);
	/* End the operation under way: done comes with -ECANCELED, soon. */
	void (*cancel)(struct resource *res);
};

/* registry.c */
const struct resource_type *resource_type_find(const char *name);
const struct resource_type *const *resource_types(void); /* ends with NULL */

#endif
