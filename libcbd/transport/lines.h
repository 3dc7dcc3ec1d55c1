/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lines.h - control lines: sealed, stored, read and compared; text in several.
 * Whose a line is, and when it is written, is for its owner to know.
 */
#ifndef CBD_LINES_H
#define CBD_LINES_H

#include "transport/transport.h"

/*
 * Read a control line: invalidate and copy it, check the CRC of the copy.  A line that
 * is being stored looks damaged for a moment, so it is read up to 16 times.  An
 * all-zero line is valid and empty.  -EBADMSG: damaged; -EIO: the memory is poisoned
 * or gone; both with a message.
 */
int cbd_line_get(const struct cbd_transport *t, const void *line, void *copy);

/* Seal COPY and store it.  Only the one writer of the line may call this. */
int cbd_line_put(const struct cbd_transport *t, void *line, void *copy);

/* At each beat of the writer: if the line in memory is not COPY, store it again. */
int cbd_line_assert(const struct cbd_transport *t, void *line, void *copy);

/* Store an all-zero line, which is valid and empty. */
int cbd_line_wipe(const struct cbd_transport *t, void *line);

/* Seal a line that lies at OFFSET of a transport with this uuid seed. */
void cbd_line_seal(uint32_t seed, uint64_t offset, struct cbd_line *line);

/* Seal COPY; 1: the line in memory differs from it, 0: it does not, -EIO. */
int cbd_line_differs(const struct cbd_transport *t, const void *line, void *copy);

/*
 * Text in COUNT lines from LINE on, cut off where they end.  Each calls STORE for every
 * line; _put stores them, _assert stores those that differ.  _get needs room for COUNT *
 * CBD_TEXT_SIZE + 1 bytes; what is no valid UTF-8 or cannot be printed becomes '?',
 * because any host can write there and the text ends in logs and JSON.
 */
typedef int cbd_line_fn(const struct cbd_transport *t, void *line, void *copy);
int cbd_text_each(const struct cbd_transport *t, char *line, unsigned count, const char *text,
		  cbd_line_fn *store);
int cbd_text_put(const struct cbd_transport *t, char *line, unsigned count, const char *text);
int cbd_text_assert(const struct cbd_transport *t, char *line, unsigned count, const char *text);
void cbd_text_get(const struct cbd_transport *t, const char *line, unsigned count, char *text);

#endif
