/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * errors.h - what the programs of this folder share.  Each misuses the public interface
 * in one way, with the shared library as any program has it: every wrong call has to
 * end with an error and a message, and what was there before goes on.
 *
 * Transports lie in memory without a name, so that a crash leaves nothing behind.
 */
#ifndef CBD_ERRORS_H
#define CBD_ERRORS_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <cbd.h>

/* CALL returns -ERROR and leaves a message with TEXT in it, or the program ends. */
#define fails(call, error, text) \
	(errors_forget(), errors_check_failure(__LINE__, #call, (call), error, text))

/* CALL returns 0 or more. */
#define works(call) errors_check_success(__LINE__, #call, (call))

/* CONDITION holds. */
#define holds(condition) errors_check_success(__LINE__, #condition, (condition) ? 0 : -EILSEQ)

/* Leave another message than the one that the next call is asked for. */
void errors_forget(void);
void errors_check_failure(int line, const char *call, int result, int error, const char *text);
int errors_check_success(int line, const char *call, int result);

/* First call of main(): a hang ends the program. */
void errors_start(void);

/* A transport with 2 backends of 2 channels, 4 blkdevs and 4 hosts; its path, which is
 * good in this process. */
const char *errors_format(void);

/* SIZE bytes in memory, with nothing in them; the path. */
const char *errors_file(size_t size);

struct cbd_transport *errors_open(const char *path, unsigned flags);

/* A backend in slot 0 of T with a disk of 1 MiB, "disk", in a thread of its own. */
struct server;
struct server *errors_serve(struct cbd_transport *t);
void errors_serve_end(struct server *s);

/* A blkdev with one queue on that backend, which has begun to beat. */
struct cbd_blkdev *errors_attach(struct cbd_transport *t, bool read_only);

#endif
