/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One scenario while it is played: the world, the script's place, the log as it grows. Shared by
 * runner.c (files and verdict), script.c (the language) and story.c (the log).
 */
#ifndef TESTS_SCENARIOS_STORY_H
#define TESTS_SCENARIOS_STORY_H

#include <stdio.h>

#include "clusterd/config.h"
#include "tests/sim/world.h"

#define STORY_CONFIGS 16
#define STORY_RULES 64
#define STORY_LINES 64
#define STORY_ERROR_SIZE 512

/* What becomes of an operation, until the script says otherwise. */
struct rule {
	int node; /* -1: any */
	char resource[CORE_NAME_SIZE];
	enum core_op op;
	int rc;
	char text[CORE_TEXT_SIZE];
	int64_t took_us; /* 0: as usual */
	int times;       /* left; -1: for good */
};

struct line {
	node_mask nodes; /* 0: a command of the script */
	bool is_replicated;
	char *text;
};

struct story {
	const char *dir;
	struct world world;
	struct config *configs[STORY_CONFIGS];
	char *texts[STORY_RULES]; /* what the script said, kept for those who borrow it */
	unsigned n_configs, n_texts;
	struct rule rules[STORY_RULES];
	unsigned n_rules;
	uint64_t n_requests;
	bool may_end_unsettled;

	/* The lines of this instant, then the log. */
	int64_t instant_us;
	struct line lines[STORY_LINES];
	unsigned n_lines;
	FILE *log;
	char *log_text;
	size_t log_len;

	char error[STORY_ERROR_SIZE]; /* empty: none */
};

extern const struct world_ops story_ops;

int story_init(struct story *story, const char *dir); /* 0 or -EINVAL with error set */
void story_fini(struct story *story);
void story_command(struct story *story, const char *text); /* a line of the script, into the log */
void story_flush(struct story *story);                     /* the instant is over */
const struct config *story_config(struct story *story, const char *file);
void story_fail(struct story *story, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Plays the script; false with error set. */
bool script_play(struct story *story, FILE *script);

#endif
