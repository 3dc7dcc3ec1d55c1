/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * durability.c - what was acknowledged and not flushed, and who is told when it is
 * lost (rule 8).  Owns the counts of writes, flushes and losses, and the connections.
 */
#include <config.h>

#include <errno.h>
#include <stdlib.h>

#include "blkdev/blkdev.h"
#include "base/error.h"

/* Locks of the queue, which found it, and of the blkdev held. */
static void count_loss(struct cbd_queue *q)
{
	struct cbd_blkdev *b = q->b;

	b->losses++;
	b->flushed = b->written;
	cbd_queue_note(q, CBD_LOG_ERROR,
		       "backend %u: writes that were not flushed may be lost; the next flush of "
		       "each connection fails",
		       b->backend);
}

/*
 * The backend has acknowledged a write.  False when another queue has seen a newer
 * backend since: what the old process wrote may be lost without being counted as
 * written, so the write is to be executed again.  When another queue has seen a failed
 * sync of this backend, the write may be lost too, and was not counted at that time.
 */
bool cbd_written(struct cbd_queue *q)
{
	struct cbd_blkdev *b = q->b;
	bool current;

	pthread_mutex_lock(&b->lock);
	current = q->epoch.backend_incarnation == b->backend_incarnation;
	if (current)
		b->written++;
	if (current && q->epoch.verifier != b->verifier)
		count_loss(q);
	pthread_mutex_unlock(&b->lock);
	return current;
}

static struct cbd_connection *connection_of(struct cbd_blkdev *b, const struct cbd_pending *p)
{
	return p->io.connection ? p->io.connection : &b->own;
}

/* A flush covers the writes that were complete when it was submitted.  The first one
 * after a loss fails, on each connection that was open at the loss. */
void cbd_flush_submitted(struct cbd_blkdev *b, struct cbd_pending *p)
{
	struct cbd_connection *c = connection_of(b, p);

	pthread_mutex_lock(&b->lock);
	p->generation = b->written;
	p->losses = b->losses;
	if (c->losses != b->losses) {
		c->losses = b->losses;
		cbd_pending_fail(p, -EIO, CBD_WHY_LOSS);
	}
	pthread_mutex_unlock(&b->lock);
}

/* Was something lost since the flush was submitted? */
bool cbd_flush_failed(struct cbd_blkdev *b, const struct cbd_pending *p)
{
	bool failed;

	pthread_mutex_lock(&b->lock);
	failed = p->losses != b->losses;
	pthread_mutex_unlock(&b->lock);
	return failed;
}

/* A flush that was in flight at a loss fails too. */
void cbd_flush_done(struct cbd_queue *q, struct cbd_pending *p)
{
	struct cbd_blkdev *b = q->b;

	pthread_mutex_lock(&b->lock);
	if (p->losses != b->losses) {
		connection_of(b, p)->losses = b->losses;
		cbd_pending_fail(p, -EIO, CBD_WHY_LOSS);
	} else if (p->result == 0 && p->generation > b->flushed) {
		b->flushed = p->generation;
	}
	pthread_mutex_unlock(&b->lock);
}

void cbd_verifier_seen(struct cbd_queue *q, uint32_t incarnation, uint64_t verifier, bool lost,
		       bool in_flight)
{
	struct cbd_blkdev *b = q->b;

	pthread_mutex_lock(&b->lock);
	if ((int32_t)(incarnation - b->backend_incarnation) >= 0) {
		b->backend_incarnation = incarnation;
		b->verifier = verifier;
	}
	/* each queue sees the change by itself, so one loss may be counted twice: one
	 * flush too many fails, never one too few */
	if (lost && (in_flight || b->written != b->flushed))
		count_loss(q);
	pthread_mutex_unlock(&b->lock);
}

struct cbd_connection *cbd_connection_open(struct cbd_blkdev *b)
{
	struct cbd_connection *c;

	if (!b) {
		cbd_error(EINVAL, "no blkdev given");
		return NULL;
	}
	c = calloc(1, sizeof(*c));
	if (!c) {
		cbd_error(ENOMEM, "connection: out of memory");
		return NULL;
	}
	c->b = b;
	pthread_mutex_lock(&b->lock);
	c->losses = b->losses;
	pthread_mutex_unlock(&b->lock);
	return c;
}

void cbd_connection_close(struct cbd_connection *c)
{
	free(c);
}
