/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The config file: reading (libconfig), checking, canonical print.
 *
 * config_load collects every error of a file before it gives up. What depends on this machine
 * (an interface, a name that should resolve) is a warning, never an error. The canonical print
 * parses to the same config; its digest is what nodes compare.
 */
#ifndef CLUSTERD_CONFIG_H
#define CLUSTERD_CONFIG_H

#include <stdio.h>

#include "clusterd/core/types.h"
#include "resources/resource.h"

#define CONFIG_MAX_LINKS 8 /* corosync's knet limit */

#define CONFIG_STRING_MAX 4095         /* bytes of one value */
#define CONFIG_FILE_MAX (16 << 20)     /* bytes, with all included files */
#define CONFIG_REPORT_ERRORS_MAX 200   /* with text; the rest is counted only */
#define CONFIG_REPORT_WARNINGS_MAX 100 /* likewise */

/* Findings in the order of the file, those of included files last. Start with all zero but file. */
struct config_report {
	const char *file; /* the one that lines given to config_report_add belong to */
	uint32_t n_errors, n_warnings;
	/* "FILE:LINE: object: what and what to do\n" each, NULL if none. A warning says
	 * "FILE:LINE: warning: object: ..."; without a line: "FILE: object: ...". */
	char *text;
	size_t len;
	/* config_report.c's own: where each finding stands in text. */
	size_t size;
	struct config_finding *findings;
	uint32_t n_findings;
};

/* is_warning: depends on this machine. The text is without FILE:LINE and newline. line 0: none;
 * object NULL: the whole file. Control characters come out as '?', long texts are cut. */
void config_report_add(struct config_report *report, bool is_warning, int line, const char *object,
	const char *fmt, ...) __attribute__((format(printf, 5, 6)));
void config_report_fini(struct config_report *report);

struct config_resource {
	char name[CORE_NAME_SIZE];
	const struct resource_type *type;
	struct param_value *params; /* as many as the type has keys */
	int line;
};

struct config_group {
	struct config_resource *resources; /* as many as core.groups[i].n_resources */
	int line;
};

struct config_node {
	char *addresses[CONFIG_MAX_LINKS]; /* one per link; none: what the name resolves to */
	uint32_t n_addresses;
	int line;
};

struct config {
	struct core_config core;
	bool unsafe_without_fencing;
	struct config_node nodes[CORE_MAX_NODES]; /* beside core.nodes */
	struct config_group *groups;              /* beside core.groups */
};

/* 0, or -EINVAL with the report telling why (an unreadable file too). *ret_config is written on
 * success only; free with config_free. The report may hold warnings in both cases. */
int config_load(const char *file, struct config **ret_config, struct config_report *report);
/* The same from memory; file names it in the report. */
int config_parse(const char *file, const char *text, struct config **ret_config,
	struct config_report *report);
void config_free(struct config *config);
/* Warns of nodes without an address whose name does not resolve here. Asks the resolver and may
 * wait for it: for `clusterd -n`, never on the loop. */
void config_check_names(const struct config *config, struct config_report *report);

/* Canonical form, malloc'd; NULL without memory. A key that is left out and one that is written
 * with its default's value print the same: not at all. core.text is this without the nodes'
 * addresses, which serve corosync-conf alone and must not keep nodes apart. */
char *config_print(const struct config *config);

/* What differs first between two core.texts, for people: "group web: failback = true in the
 * cluster, false in the node's file". theirs may be any bytes up to its NUL. "" if they are equal.
 */
void config_difference(const char *theirs, const char *ours, char *ret_text, size_t size);

/* Value of a key of the resource's type; the key must exist in its table. */
const struct param_value *config_param(const struct config_resource *conf, const char *key);

#endif
