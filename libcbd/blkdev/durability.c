/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * durability.c - what was acknowledged and not flushed, and who is told when it is
 * lost (rule 8).  Owns the counts of writes, flushes and losses, and the list of connections.
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

/* With the blkdev's lock: the newest of what the queues believe.  A queue may come to
 * believe in an older one again (rule 7.9), so it is not only ever raised. */
static void find_newest(struct cbd_blkdev *b)
{
	struct cbd_belief newest = { .order = 0 };

	for (unsigned i = 0; i < b->n_queues; i++) {
		const struct cbd_belief *k = &b->queues[i].belief;

		int32_t later = (int32_t)(k->incarnation - newest.incarnation);

		if (k->order &&
		    (!newest.order || later > 0 || (later == 0 && k->order > newest.order)))
			newest = *k;
	}
	b->newest = newest;
}

static void believe(struct cbd_queue *q, uint32_t incarnation, uint64_t verifier)
{
	q->belief = (struct cbd_belief){ ++q->b->believed, incarnation, verifier };
	find_newest(q->b);
}

void cbd_belief_drop(struct cbd_queue *q)
{
	struct cbd_blkdev *b = q->b;

	pthread_mutex_lock(&b->lock);
	q->belief.order = 0;
	find_newest(b);
	pthread_mutex_unlock(&b->lock);
}

/*
 * When another queue has followed a newer backend, this one's grant follows in a moment,
 * and the write is better executed again: what the old process wrote may be lost.  When
 * another queue has seen a failed sync of this backend, or the write counts although
 * another queue knows a newer one, it may be lost, and was not counted at that time.
 */
enum cbd_written cbd_written(struct cbd_queue *q, bool certain)
{
	struct cbd_blkdev *b = q->b;
	bool counts;

	pthread_mutex_lock(&b->lock);
	counts = certain || !b->newest.order ||
		 q->epoch.backend_incarnation == b->newest.incarnation ||
		 q->epoch.disbelieved == b->newest.order;
	if (counts)
		b->written++;
	if (counts && b->newest.order && q->epoch.verifier != b->newest.verifier)
		count_loss(q);
	if (counts && q->epoch.backend_incarnation != b->newest.incarnation)
		q->epoch.disbelieved = b->newest.order;
	pthread_mutex_unlock(&b->lock);
	return counts ? CBD_WRITTEN : CBD_WRITTEN_REPLACED;
}

static struct cbd_connection *connection_of(struct cbd_blkdev *b, const struct cbd_pending *p)
{
	return p->io.connection ? p->io.connection : &b->own;
}

/*
 * Who opens a connection may have had one before, to a process that is dead: QEMU, which
 * connects again.  What that one acknowledged and nobody has flushed is lost with the page
 * cache too, and no count of this blkdev knows of it.  So a connection is in doubt when the
 * verifier changes before a flush that was submitted after its beginning has succeeded.  A
 * flush of any connection covers all of the disk.
 */
static void doubt_connections(struct cbd_blkdev *b)
{
	for (struct cbd_connection *c = b->connections; c; c = c->next) {
		if (b->flushes_done <= c->opened)
			c->doubtful = true;
	}
}

/* Whether C has to be told of a loss; then it is told now. */
static bool take_report(struct cbd_connection *c)
{
	bool lost = c->losses != c->b->losses || c->doubtful;

	c->losses = c->b->losses;
	c->doubtful = false;
	return lost;
}

/* A flush covers the writes that were complete when it was submitted.  The first one
 * after a loss fails, on each connection that was open at the loss. */
void cbd_flush_submitted(struct cbd_blkdev *b, struct cbd_pending *p)
{
	pthread_mutex_lock(&b->lock);
	p->generation = b->written;
	p->losses = b->losses;
	p->number = ++b->flushes;
	if (take_report(connection_of(b, p)))
		cbd_pending_fail(p, -EIO, CBD_WHY_LOSS);
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
	struct cbd_connection *c = connection_of(b, p);

	pthread_mutex_lock(&b->lock);
	if (p->losses != b->losses || c->doubtful) {
		take_report(c);
		cbd_pending_fail(p, -EIO, CBD_WHY_LOSS);
	} else if (p->result == 0) {
		if (p->generation > b->flushed)
			b->flushed = p->generation;
		if (p->number > b->flushes_done)
			b->flushes_done = p->number;
	}
	pthread_mutex_unlock(&b->lock);
}

void cbd_verifier_seen(struct cbd_queue *q, uint32_t incarnation, uint64_t verifier, bool lost,
		       bool in_flight)
{
	struct cbd_blkdev *b = q->b;
	bool news;

	pthread_mutex_lock(&b->lock);
	news = !b->newest.order || b->newest.verifier != verifier;
	believe(q, incarnation, verifier);
	/* each queue sees the change by itself, so one loss may be counted twice: one
	 * flush too many fails, never one too few */
	if (lost && (in_flight || b->written != b->flushed))
		count_loss(q);
	/* not once more for each queue: connections that begin in between are in no doubt */
	if (lost && news)
		doubt_connections(b);
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
	c->opened = b->flushes;
	c->link = &b->connections;
	c->next = b->connections;
	if (c->next)
		c->next->link = &c->next;
	b->connections = c;
	pthread_mutex_unlock(&b->lock);
	return c;
}

void cbd_connection_close(struct cbd_connection *c)
{
	struct cbd_blkdev *b = c ? c->b : NULL;

	if (b) {
		pthread_mutex_lock(&b->lock);
		*c->link = c->next;
		if (c->next)
			c->next->link = c->link;
		pthread_mutex_unlock(&b->lock);
	}
	free(c);
}

/* The blkdev ends before them. */
void cbd_connections_forget(struct cbd_blkdev *b)
{
	for (struct cbd_connection *c = b->connections; c; c = c->next)
		c->b = NULL;
}
