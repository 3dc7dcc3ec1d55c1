/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * log.h - what the daemons tell people.
 *
 * Owns where messages go (stderr, later syslog) and which are shown.  It does
 * not own what is said: every message reads "object: reason".
 */
#ifndef CBD_LOG_H
#define CBD_LOG_H

#include <stdbool.h>

/* Another program than cbd-backend, before its first message: how messages begin. */
void log_name(const char *name);

/* Show debug messages too.  Before any thread is started. */
void log_verbose(void);

/* From here on to syslog instead of stderr.  Only while no other thread
 * logs. */
void log_to_syslog(void);

/* From here on at most some messages of a kind, see log-limit.h: in the process that
 * serves.  At its end, with no other thread, what was held back is told. */
void log_begin_limit(void);
void log_end_limit(void);

/* Any thread; no newline at the end of the format. */
void log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_warning(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_debug(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Take the messages of libcbd as well. */
void log_library(void);

#endif
