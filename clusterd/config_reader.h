/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the parts of the config reader share; nobody else includes this.
 *
 * A reader lives as long as libconfig's tree: settings serve as places (file and line) for findings
 * until the last check is done. A finding never stops the reading; it only counts.
 */
#ifndef CLUSTERD_CONFIG_READER_H
#define CLUSTERD_CONFIG_READER_H

#include <limits.h>
#include <stdarg.h>

#include <libconfig.h>

#include "clusterd/config.h"

#define CONFIG_OBJECT_SIZE (CORE_NAME_SIZE + 32) /* "resource NAME" and the like */

/* One holder of something that only one may have. */
struct config_holder {
	const char *key; /* what is held; libconfig's, or owned */
	char *owned;
	const char *kind; /* "node", "group", "resource" */
	const char *name; /* may be NULL */
	const config_setting_t *at;
	uint32_t order; /* of reading */
	uint32_t group; /* of groups and resources */
};

struct config_holders {
	struct config_holder *list;
	uint32_t n, size;
};

struct config_reader {
	config_t lib;
	const char *file;
	char *dir; /* of file; libconfig looks for included files there; NULL: from memory */
	char included[PATH_MAX];
	struct config_report *report;
	struct config *config;
	bool no_memory;
	const char *node_names[CORE_MAX_NODES]; /* as written; NULL: has none */
	bool nodes_known;                       /* node_names is complete */
	struct config_holders node_holders, name_holders, address_holders;
};

/* config_report.c */
void config_report_vadd(struct config_report *report, bool is_warning, int line, const char *object,
	const char *fmt, va_list args);
/* Sorts by file and line, and says how many findings were left out. */
void config_report_finish(struct config_report *report);
/* Makes text fit for terminals and JSON: printable, valid UTF-8, never longer. */
void config_text_clean(char *text);

/* config_scan.c: what libconfig accepts silently, or dies of. False: do not hand it to libconfig.
 */
bool config_scan(const char *file, const char *dir, const char *text, struct config_report *report);
/* A whole file in memory, NUL-terminated, malloc'd. 0 or -errno, -EFBIG over max bytes. */
int config_slurp(const char *file, size_t max, char **ret_text, size_t *ret_len);

/* Name of an included file: in the folder of the config. dir may be NULL. */
const char *config_join(const char *dir, const char *name, char *buf, size_t size);

/* config_value.c: places, findings, values with their wanted types. */
const char *config_place(
	struct config_reader *reader, const config_setting_t *at, char *buf, size_t size);
void config_set_place(struct config_reader *reader, const config_setting_t *at);
void config_error_at(struct config_reader *reader, const config_setting_t *at, const char *object,
	const char *fmt, ...) __attribute__((format(printf, 4, 5)));
void config_wrong_type(struct config_reader *reader, const config_setting_t *setting,
	const char *object, const char *wanted);
const char *config_nearest(const char *word, const char *const *words);
/* Reports each key of a group that is not in keys (ends with NULL). */
void config_check_keys(struct config_reader *reader, const config_setting_t *group,
	const char *object, const char *const *keys);
/* True with *ret set if the setting is of the wanted type and in its bounds. */
bool config_get_string(struct config_reader *reader, const config_setting_t *setting,
	const char *object, const char **ret);
bool config_get_bool(struct config_reader *reader, const config_setting_t *setting,
	const char *object, bool *ret);
bool config_get_int(struct config_reader *reader, const config_setting_t *setting,
	const char *object, int64_t min, int64_t max, int64_t *ret);
bool config_get_valid_name(struct config_reader *reader, const config_setting_t *setting,
	const char *object, const char **ret);
/* Name of an object: "name" of the group, checked. object becomes "KIND NAME" or "KIND #n". */
const char *config_get_name(struct config_reader *reader, const config_setting_t *group,
	const char *kind, unsigned index, char object[static CONFIG_OBJECT_SIZE]);

/* config_groups.c */
void config_read_groups(struct config_reader *reader, const config_setting_t *groups);

/* config_unique.c */
void config_hold(struct config_reader *reader, struct config_holders *holders, const char *kind,
	const char *name, const char *key, const config_setting_t *at, uint32_t group);
/* The same, but key is copied. */
void config_hold_copy(struct config_reader *reader, struct config_holders *holders,
	const char *kind, const char *name, const char *key, const config_setting_t *at);
void config_check_unique(struct config_reader *reader);
void config_holders_fini(struct config_holders *holders);

/* config_print.c: core.text and all digests. 0 or -ENOMEM. */
int config_fill_digests(struct config *config);

#endif
