/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * progress.h - one line on the terminal that tells how far long work is.
 *
 * The line is on stderr, written over itself, and gone at the end.  Where stderr is no
 * terminal, or one that cannot go back (TERM=dumb), or that of another job, nothing is
 * written.  Work of less than a quarter of a second has no line.
 *
 * Owns the line and the thread that writes it; its words are the program's.
 */
#ifndef CBD_PROGRESS_H
#define CBD_PROGRESS_H

#include <stddef.h>

/* Write the words of now into TEXT.  Called by the thread of the line, several times a second. */
typedef void progress_text_fn(void *opaque, char *text, size_t size);

/* Not while there is a line. */
void progress_start(progress_text_fn *text, void *opaque);

/* Remove the line and show it no more: before a message.  Any thread, between progress_start()
 * and progress_end(); once is enough. */
void progress_stop(void);

/* Who has started it, at the end of the work: progress_stop(), and end the thread. */
void progress_end(void);

#endif
