/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lines.h - control lines: sealed, stored, read and compared; text in several.
 * Whose a line is, and when it is written, is for its owner to know.
 */
#ifndef CBD_LINES_H
#define CBD_LINES_H

#include "transport/transport.h"

/*
 * Read a control line: dropped, copied, its CRC checked on the copy, a torn
 * one tried again.  An all-zero line is an empty one.  -EBADMSG: damaged;
 * -EIO: the memory is poisoned or gone.
 */
int cbd_line_get(const struct cbd_transport *t, const void *line, void *copy);

/* Seal COPY and store it.  Only its one writer may. */
int cbd_line_put(const struct cbd_transport *t, void *line, void *copy);

/* A writer's beat: if the line in memory is not COPY, store it again. */
int cbd_line_assert(const struct cbd_transport *t, void *line, void *copy);

/* Seal a line that lies at OFFSET of a transport with this uuid seed. */
void cbd_line_seal(uint32_t seed, uint64_t offset, struct cbd_line *line);

/* 1 when the line in memory is not COPY, which is sealed here; 0; -EIO. */
int cbd_line_differs(const struct cbd_transport *t, const void *line, void *copy);

/* Store TEXT as COUNT text lines from LINE on, and read it back. */
typedef int cbd_line_fn(const struct cbd_transport *t, void *line, void *copy);
int cbd_text_each(const struct cbd_transport *t, char *line, unsigned count, const char *text,
		  cbd_line_fn *store);
int cbd_text_put(const struct cbd_transport *t, char *line, unsigned count, const char *text);
int cbd_text_assert(const struct cbd_transport *t, char *line, unsigned count, const char *text);
void cbd_text_get(const struct cbd_transport *t, const char *line, unsigned count, char *text);

#endif
