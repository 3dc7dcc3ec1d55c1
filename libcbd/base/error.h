/* SPDX-License-Identifier: BSD-3-Clause */
/* error.h - messages of failures (thread-local) and of events (log). */
#ifndef CBD_ERROR_H
#define CBD_ERROR_H

#include "cbd.h"

/* Keep the message for cbd_errmsg() and return -err.  "%m" in FORMAT is the text of
 * ERR. */
int cbd_error(int err, const char *format, ...) __attribute__((format(printf, 2, 3)));

void cbd_log(enum cbd_log_level level, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* The result in a CE as an errno, and back. */
int cbd_result_to_errno(uint32_t result);  /* 0 or negative */
uint32_t cbd_result_from_errno(int error); /* 0 or negative */

#endif
