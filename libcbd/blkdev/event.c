/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * event.c - the file descriptor of a queue, for event loops: when it is armed, and when it
 * becomes readable.  The thread behind it is ring/watcher.c's; the protocol that a program
 * keeps is told in cbd.h at cbd_queue_arm().
 *
 * The sleep flag of the channel has one owner at a time: the thread that leads, or, when
 * none does, the thread that holds the queue's lock.  So an armed queue that gets a leader
 * is not watched any more (the leader completes what comes, which fires), and is watched
 * again when the leader leaves.
 */
#include <config.h>

#include <errno.h>

#include "blkdev/blkdev.h"
#include "base/error.h"
#include "memory/fault.h"
#include "memory/wait-times.h"

static bool in_flight(const struct cbd_queue *q)
{
	return q->parts.n_free != q->parts.depth || q->pending.waiting;
}

static void put_sleeps(struct cbd_queue *q, uint32_t value)
{
	struct cbd_fault f;

	if (!CBD_FAULT_TRY(&f))
		return;
	cbd_word_store(cbd_channel_blkdev_line(&q->ch, CBD_CHANNEL_BLKDEV_SLEEPS), value);
	cbd_store_load_fence();
	cbd_fault_end(&f);
}

void cbd_event_fire(struct cbd_queue *q)
{
	if (!q->event.armed)
		return;
	q->event.armed = false;
	cbd_watcher_fire(q->event.watcher);
}

/* What the thread is to wait for: nothing while somebody leads, without an epoch, or in one
 * that was left. */
static unsigned entry(struct cbd_queue *q, struct cbd_watched *e)
{
	if (q->waiters.leader || !cbd_queue_may_leave(q))
		return 0;
	if (cbd_flag_get(&q->b->same_boot)) {
		e->bell = cbd_channel_backend_line(&q->ch, CBD_CHANNEL_CE_BELL);
		return 1;
	}
	e->line = &q->ch.ce[q->cursors.ce_next & (q->ch.slots - 1)];
	e->position = q->cursors.ce_next;
	e->epoch = q->ch.epoch;
	return in_flight(q);
}

void cbd_event_watch(struct cbd_queue *q)
{
	struct cbd_watched e = { .bell = NULL };
	unsigned n;

	if (!q->event.armed)
		return;
	n = entry(q, &e);
	cbd_watcher_arm(q->event.watcher, &e, n,
			q->parts.n_retries ? CBD_WAIT_RETRY_US
			: in_flight(q)	   ? CBD_ARMED_US
					   : 0);
	if (n == 0)
		return;
	if (e.bell)
		put_sleeps(q, 1);
	if (cbd_answer_is_there(q))
		cbd_event_fire(q);
}

void cbd_event_submitted(struct cbd_queue *q)
{
	if (q->event.armed && !cbd_flag_get(&q->b->same_boot))
		cbd_event_watch(q);
}

void cbd_event_disarm(struct cbd_queue *q)
{
	if (!q->event.armed)
		return;
	q->event.armed = false;
	cbd_watcher_disarm(q->event.watcher);
	if (!q->waiters.leader && cbd_queue_has_epoch(q) && cbd_flag_get(&q->b->same_boot))
		put_sleeps(q, 0);
}

int cbd_event_arm(struct cbd_queue *q)
{
	if (!q->event.watcher)
		return cbd_error(EINVAL, "queue %u: no file descriptor to arm: none was asked for",
				 q->index);
	if (q->pending.done)
		return 1;
	q->event.armed = true;
	cbd_event_watch(q);
	return q->event.armed ? 0 : 1;
}

int cbd_event_open(struct cbd_queue *q)
{
	int r = 0;

	if (!q->event.watcher)
		r = cbd_watcher_start(&q->event.watcher, &q->b->t->mem, 1, q->b->poll,
				      CBD_WAIT_QUEUE_REMOTE_US);
	return r < 0 ? r : cbd_watcher_fd(q->event.watcher);
}

void cbd_event_close(struct cbd_queue *q)
{
	cbd_watcher_stop(q->event.watcher);
	q->event.watcher = NULL;
	q->event.armed = false;
}
