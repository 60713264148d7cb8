/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Files in the state folder, written by a thread of its own: a slow or full disk never holds up
 * the loop. What cannot be written is said once, and the cluster goes on without it.
 */
#ifndef CLUSTERD_STATEFILE_H
#define CLUSTERD_STATEFILE_H

#include <stddef.h>

struct statefile;

#define STATEFILE_JOBS_MAX 1024        /* beyond: further appends are dropped */
#define STATEFILE_APPEND_MAX (1 << 20) /* a file is begun anew beyond, the old one kept as .1 */
#define STATEFILE_OLD_SUFFIX ".1"
#define STATEFILE_READ_MAX (8 << 20) /* bytes */

int statefile_new(const char *dir, struct statefile **ret_statefile);
void statefile_free(struct statefile *statefile); /* writes what is waiting, up to 2 s */

/* The whole file, atomically: a reader sees the old or the new one. Takes the place of one of the
 * same name that still waits. */
void statefile_replace(struct statefile *statefile, const char *name, const char *text);
/* One line; text is without newline. A torn line that a crash or a full disk left is ended first,
 * so that it spoils no other. name: a literal, here and above. */
void statefile_append(struct statefile *statefile, const char *name, const char *text);
/* malloc'd text, or NULL with errno (EFBIG, EINVAL: too long, no file). Reads at once: at start
 * only. */
char *statefile_read(const struct statefile *statefile, const char *name);

#endif
