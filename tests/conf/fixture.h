/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the tests of the config share. Each function fails the test by itself.
 */
#ifndef TESTS_CONF_FIXTURE_H
#define TESTS_CONF_FIXTURE_H

struct config;

/* Into tests/conf of the source tree (srcdir), so that places read "bad/NAME.conf:3". */
void fixture_enter(void);
char *fixture_slurp(const char *path);
/* A text that must be right. */
struct config *fixture_parse(const char *text);
/* Calls check with the path without ".conf", for each such file; returns how many there are. */
unsigned fixture_each_conf(const char *folder, void (*check)(const char *path));

#endif
