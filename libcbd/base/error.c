/* SPDX-License-Identifier: BSD-3-Clause */
/* error.c - messages of failures and of events; numbers of results. */
#include <config.h>

#include <cbd-format.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/error.h"

static __thread char message[512];

static cbd_log_fn *log_fn;
static void *log_opaque;

const char *cbd_version(void)
{
	return CBD_VERSION_STRING;
}

unsigned cbd_version_number(void)
{
	return CBD_VERSION;
}

const char *cbd_errmsg(void)
{
	return message;
}

int cbd_error(int err, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	errno = err;
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	return -err;
}

void cbd_set_log(cbd_log_fn *fn, void *opaque)
{
	log_fn = fn;
	log_opaque = opaque;
}

void cbd_log(enum cbd_log_level level, const char *format, ...)
{
	char text[512];
	va_list args;

	if (!log_fn)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	log_fn(log_opaque, level, text);
}

static const struct {
	uint32_t result;
	int error;
} results[] = {
	{ CBD_RESULT_OK, 0 },	      { CBD_RESULT_IO, EIO },
	{ CBD_RESULT_NOSPC, ENOSPC }, { CBD_RESULT_PERM, EPERM },
	{ CBD_RESULT_INVAL, EINVAL }, { CBD_RESULT_NOTSUP, EOPNOTSUPP },
	{ CBD_RESULT_NOMEM, ENOMEM }, { CBD_RESULT_OVERFLOW, EOVERFLOW },
	{ CBD_RESULT_BADCRC, EIO },   { CBD_RESULT_SHUTDOWN, ESHUTDOWN },
};

#define N_RESULTS (sizeof(results) / sizeof(results[0]))

int cbd_result_to_errno(uint32_t result)
{
	for (size_t i = 0; i < N_RESULTS; i++)
		if (results[i].result == result)
			return -results[i].error;
	return -EIO;
}

uint32_t cbd_result_from_errno(int error)
{
	for (size_t i = 0; i < N_RESULTS; i++)
		if (results[i].error == -error)
			return results[i].result;
	if (error == -EDQUOT)
		return CBD_RESULT_NOSPC;
	if (error == -EROFS || error == -EACCES)
		return CBD_RESULT_PERM;
	return CBD_RESULT_IO;
}
