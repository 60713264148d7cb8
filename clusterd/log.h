/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Logging over libqb: to the terminal in the foreground (with milliseconds), to syslog otherwise.
 */
#ifndef CLUSTERD_LOG_H
#define CLUSTERD_LOG_H

#include <stdbool.h>
#include <syslog.h>

void log_init(const char *name, bool foreground, bool verbose);
void log_fini(void);

/* Priorities of syslog(3). */
void log_write(int priority, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_write(LOG_ERR, __VA_ARGS__)
#define log_warning(...) log_write(LOG_WARNING, __VA_ARGS__)
#define log_notice(...) log_write(LOG_NOTICE, __VA_ARGS__)
#define log_info(...) log_write(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_write(LOG_DEBUG, __VA_ARGS__)

#endif
