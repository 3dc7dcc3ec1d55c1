/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * log.c - messages to stderr while the starter looks on, to syslog afterwards.
 *
 * Owns the choice of where; how much of one kind is log-limit.h's.  See log.h for the
 * form.
 */
#include <config.h>

#include <stdarg.h>
#include <stdio.h>
#include <syslog.h>

#include <cbd.h>

#include "log-limit.h"
#include "log.h"

#define LOG_LINE 1024

/* Set before threads are started, only read by them. */
static bool verbose;
static bool use_syslog;
static const char *program = "cbd-backend";

void log_name(const char *name)
{
	program = name;
}

void log_verbose(void)
{
	verbose = true;
}

void log_to_syslog(void)
{
	openlog(program, LOG_PID, LOG_DAEMON);
	use_syslog = true;
}

static void log_put(int priority, const char *message)
{
	/* One call for one line: lines of several threads do not mix. */
	if (use_syslog)
		syslog(priority, "%s", message);
	else
		fprintf(stderr, "%s: %s\n", program, message);
}

void log_begin_limit(void)
{
	log_limit_start(log_put, LOG_LIMIT_MS);
}

void log_end_limit(void)
{
	log_limit_end();
}

/* Debug messages are not limited: --verbose asks for all of them. */
static void log_write(int priority, const char *message)
{
	if (priority != LOG_DEBUG)
		log_limit(log_put, priority, message);
	else if (verbose)
		log_put(priority, message);
}

static void log_format(int priority, const char *format, va_list args)
{
	char message[LOG_LINE];

	vsnprintf(message, sizeof(message), format, args);
	log_write(priority, message);
}

#define DEFINE_LOG(name, priority)                  \
	void name(const char *format, ...)          \
	{                                           \
		va_list args;                       \
                                                    \
		va_start(args, format);             \
		log_format(priority, format, args); \
		va_end(args);                       \
	}

DEFINE_LOG(log_error, LOG_ERR)
DEFINE_LOG(log_warning, LOG_WARNING)
DEFINE_LOG(log_info, LOG_INFO)
DEFINE_LOG(log_debug, LOG_DEBUG)

static void log_from_library(void *opaque, enum cbd_log_level level, const char *message)
{
	static const int priorities[] = {
		[CBD_LOG_ERROR] = LOG_ERR,
		[CBD_LOG_WARNING] = LOG_WARNING,
		[CBD_LOG_INFO] = LOG_INFO,
		[CBD_LOG_DEBUG] = LOG_DEBUG,
	};

	(void)opaque;
	log_write(priorities[level], message);
}

void log_library(void)
{
	cbd_set_log(log_from_library, NULL);
}
