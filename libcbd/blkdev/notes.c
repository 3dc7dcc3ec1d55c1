/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * notes.c - messages for the user's log function.  It is called without any lock of
 * libcbd, so what is found with a queue's lock held is noted in the queue, and told by
 * the next public call or heartbeat that unlocks it and has nothing more to do there.
 */
#include <config.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blkdev/blkdev.h"
#include "base/error.h"

#define LONGEST 512

struct cbd_note {
	struct cbd_note *next;
	enum cbd_log_level level;
	char text[LONGEST];
};

/* Without memory for it the message is lost, and nothing else. */
void cbd_queue_note(struct cbd_queue *q, enum cbd_log_level level, const char *format, ...)
{
	struct cbd_note *note = malloc(sizeof(*note)), **last = &q->notes;
	va_list args;

	if (!note)
		return;
	note->next = NULL;
	note->level = level;
	va_start(args, format);
	vsnprintf(note->text, sizeof(note->text), format, args);
	va_end(args);
	while (*last)
		last = &(*last)->next;
	*last = note;
}

static void tell(struct cbd_note *note)
{
	while (note) {
		struct cbd_note *next = note->next;

		cbd_log(note->level, "%s", note->text);
		free(note);
		note = next;
	}
}

void cbd_queue_unlock_and_tell(struct cbd_queue *q)
{
	struct cbd_note *notes = q->notes;

	q->notes = NULL;
	pthread_mutex_unlock(&q->lock);
	if (notes)
		tell(notes);
}
