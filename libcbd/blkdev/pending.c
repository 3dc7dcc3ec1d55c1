/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pending.c - the users' requests while they are inside: those that wait for a tag or
 * an extent, those that are done and not reaped.  Parts of them are parts.c's.
 */
#include <config.h>

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#include "blkdev/blkdev.h"

/* As many stay allocated as have been inside at the same time. */
struct cbd_pending *cbd_pending_get(struct cbd_queue *q, const struct cbd_io *io)
{
	struct cbd_pending *p = q->pending.spare;

	if (p)
		q->pending.spare = p->next;
	else
		p = malloc(sizeof(*p));
	if (!p)
		return NULL;
	/* Field by field: gcc clears a struct of this size by "rep stos", which takes as
	 * long as all else that a submission does outside of the ring. */
	p->io = *io;
	p->parts = 0;
	p->result = 0;
	p->why = NULL;
	p->done = false;
	p->waiter = NULL;
	p->next = NULL;
	p->q = NULL;
	p->overlap = (struct cbd_overlap_node){ 0 };
	p->generation = 0;
	p->losses = 0;
	p->timed_ns = 0;
	return p;
}

void cbd_pending_put(struct cbd_queue *q, struct cbd_pending *p)
{
	p->next = q->pending.spare;
	q->pending.spare = p;
}

void cbd_pending_enqueue(struct cbd_queue *q, struct cbd_pending *p)
{
	*q->pending.waiting_tail = p;
	q->pending.waiting_tail = &p->next;
}

void cbd_pending_dequeue(struct cbd_queue *q)
{
	q->pending.waiting = q->pending.waiting->next;
	if (!q->pending.waiting)
		q->pending.waiting_tail = &q->pending.waiting;
}

/* ------------------------------------------------- order of writes (rule 13) */

/* The writes that are inside, and those that were freed, are of all queues.  With one queue
 * its own lock guards them, which every caller holds; it is not taken twice. */
static void lock_writes(struct cbd_blkdev *b)
{
	if (b->n_queues > 1)
		pthread_mutex_lock(&b->writes_lock);
}

static void unlock_writes(struct cbd_blkdev *b)
{
	if (b->n_queues > 1)
		pthread_mutex_unlock(&b->writes_lock);
}

/* False: P is a write that overlaps an earlier one which is not complete.  It is in no
 * list of the queue until that one has freed it. */
bool cbd_pending_may_start(struct cbd_queue *q, struct cbd_pending *p)
{
	bool may_start;

	if (!cbd_op_writes(p->io.op))
		return true;
	p->q = q;
	lock_writes(q->b);
	may_start = cbd_overlap_add(&q->b->writes, &p->overlap, p->io.offset, p->io.length);
	unlock_writes(q->b);
	return may_start;
}

/* Its queue may be another than that of the write it waited for, and is not locked
 * then. */
static void freed(void *opaque, struct cbd_overlap_node *n)
{
	struct cbd_pending *p = (struct cbd_pending *)((char *)n -
						       offsetof(struct cbd_pending, overlap));
	struct cbd_queue *completing = opaque, *q = p->q;

	p->next = NULL;
	*q->pending.freed_tail = p;
	q->pending.freed_tail = &p->next;
	cbd_flag_set(&q->pending.has_freed, true);
	if (q != completing)
		cbd_flag_set(&q->b->freed_elsewhere, true);
}

static void end_write(struct cbd_queue *q, struct cbd_pending *p)
{
	if (!p->q)
		return; /* no write, or one without bytes */
	lock_writes(q->b);
	cbd_overlap_remove(&q->b->writes, &p->overlap, freed, q);
	unlock_writes(q->b);
}

/*
 * Writes that may be executed now join those that wait for a tag.  After a time-out they
 * end with EIO like those that are submitted then (rule 9): what they waited for may
 * still be executed.
 */
void cbd_pending_take_freed(struct cbd_queue *q)
{
	struct cbd_pending *p, *next;

	if (!cbd_flag_get(&q->pending.has_freed))
		return;
	lock_writes(q->b);
	p = q->pending.freed;
	q->pending.freed = NULL;
	q->pending.freed_tail = &q->pending.freed;
	cbd_flag_set(&q->pending.has_freed, false);
	unlock_writes(q->b);
	for (; p; p = next) {
		next = p->next;
		p->next = NULL;
		p->since_beating = cbd_shared_get(&q->b->beating_ns); /* its own time */
		if (cbd_shared_get(&q->b->timed_out))
			cbd_pending_fail(p, -EIO, "an overlapping write may still be executed");
		cbd_pending_enqueue(q, p);
	}
}

/* ------------------------------------------------------------- completion */

/* Of a BLOCK_STATUS those that it was told of: the range may go on far behind them. */
static uint64_t bytes_of(const struct cbd_pending *p)
{
	uint64_t bytes = 0;

	if (p->io.op != CBD_OP_BLOCK_STATUS)
		return p->io.length;
	for (int i = 0; i < p->result; i++)
		bytes += p->io.blocks[i].length;
	return bytes;
}

static void count(struct cbd_queue *q, const struct cbd_pending *p)
{
	struct cbd_counter_block *k = &q->counted.now;

	cbd_counters_end(k, p->io.op, bytes_of(p), p->result < 0);
	if (p->timed_ns)
		cbd_counters_time(k, p->io.op, cbd_now_ns() - p->timed_ns);
}

void cbd_pending_complete(struct cbd_queue *q, struct cbd_pending *p)
{
	if (p->io.op == CBD_OP_FLUSH)
		cbd_flush_done(q, p);
	end_write(q, p);
	count(q, p);
	p->done = true;
	if (p->waiter) {
		cbd_waiter_done(q, p->waiter);
		return;
	}
	p->next = NULL;
	*q->pending.done_tail = p;
	q->pending.done_tail = &p->next;
	cbd_event_fire(q);
	for (struct cbd_waiter *w = q->waiters.asleep; w; w = w->next)
		if (!w->pending && w->word == CBD_WAITER_ASLEEP) {
			cbd_wake(q, w, CBD_WAITER_WOKEN);
			break;
		}
}

struct cbd_pending *cbd_pending_reap(struct cbd_queue *q)
{
	struct cbd_pending *p = q->pending.done;

	if (!p)
		return NULL;
	q->pending.done = p->next;
	if (!q->pending.done)
		q->pending.done_tail = &q->pending.done;
	return p;
}

/* The part of a request that has no tag yet is not tried. */
static void forget_rest(struct cbd_queue *q, struct cbd_pending *p, int result, const char *why)
{
	p->left = 0;
	cbd_pending_fail(p, result, why);
	if (p->parts == 0)
		cbd_pending_complete(q, p);
}

void cbd_pending_give_up(struct cbd_queue *q, struct cbd_pending *p)
{
	cbd_pending_dequeue(q);
	forget_rest(q, p, p->result, p->why);
}

void cbd_pending_end_waiting(struct cbd_queue *q, int error, const char *why)
{
	struct cbd_pending *p;

	while ((p = q->pending.waiting)) {
		cbd_pending_dequeue(q);
		forget_rest(q, p, error, why);
	}
}

const char *cbd_pending_is_late(const struct cbd_queue *q, const struct cbd_pending *p,
				uint64_t now_ns, bool patient)
{
	uint64_t most = q->b->timeout_s * 1000000000ull, since = p->since_beating;

	if (most)
		return now_ns - p->since_ns >= most ? CBD_WHY_TIMEOUT : NULL;
	if (since < q->parts.oldest_beating)
		since = q->parts.oldest_beating;
	if (!patient && cbd_shared_get(&q->b->beating_ns) - since >= CBD_ANSWER_MOST_NS)
		return CBD_WHY_SILENT;
	return NULL;
}

void cbd_pending_timeouts(struct cbd_queue *q, uint64_t now_ns, bool patient)
{
	struct cbd_pending **place = &q->pending.waiting, *p;
	const char *why;

	while ((p = *place)) {
		why = cbd_pending_is_late(q, p, now_ns, patient);
		if (!why) {
			place = &p->next;
			continue;
		}
		*place = p->next;
		cbd_count_add(&q->counted.now.events.time_outs, 1);
		forget_rest(q, p, -EIO, why);
	}
	q->pending.waiting_tail = place;
}

void cbd_pendings_init(struct cbd_requests *r)
{
	r->waiting_tail = &r->waiting;
	r->done_tail = &r->done;
	r->freed_tail = &r->freed;
}

static void free_list(struct cbd_pending *p)
{
	while (p) {
		struct cbd_pending *next = p->next;

		free(p);
		p = next;
	}
}

void cbd_pendings_free(struct cbd_requests *r)
{
	free_list(r->done);
	free_list(r->spare);
}
