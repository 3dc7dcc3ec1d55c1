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
 *
 * What there is to wait for changes while the queue is armed: an epoch is left, another one
 * is entered, the backend moves from or to this host, requests are submitted.  The threads
 * that may change it, that of the heartbeat and those that submit, compare it with what the
 * watcher was told.
 *
 * A caller that can wait for a futex by itself takes the bell (cbd_queue_arm_bell).  The
 * watcher then has the time alone, and no bell wakes its thread.  What else would have told
 * the watcher of another thing to wait for fires: only the caller can take another bell.
 */
#include <config.h>

#include <errno.h>
#include <string.h>

#include "blkdev/blkdev.h"
#include "base/error.h"
#include "memory/fault.h"
#include "memory/wait-times.h"

/* Something that will complete.  Parts that are behind complete nothing, and the heartbeat
 * thread ends them. */
static bool in_flight(const struct cbd_queue *q)
{
	return !cbd_parts_await_nothing(&q->parts) || q->pending.waiting;
}

/* False: the memory is gone. */
static bool sample(const uint32_t *bell, uint32_t *value)
{
	struct cbd_fault f;

	if (!CBD_FAULT_TRY(&f))
		return false;
	*value = cbd_word_load(bell);
	cbd_fault_end(&f);
	return true;
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

/* What the thread is to wait for.  EPOCH 0: for nothing, while somebody leads, without an
 * epoch, or in one that was left. */
static struct cbd_watched entry(const struct cbd_queue *q)
{
	struct cbd_watched e = { .bell = NULL };

	if (q->waiters.leader || !cbd_queue_may_leave(q))
		return e;
	if (cbd_flag_get(&q->b->same_boot)) {
		e.bell = cbd_channel_backend_line(&q->ch, CBD_CHANNEL_CE_BELL);
	} else if (in_flight(q)) {
		e.line = &q->ch.ce[q->cursors.ce_next & (q->ch.slots - 1)];
		e.position = q->cursors.ce_next;
	} else {
		return e;
	}
	e.epoch = q->ch.epoch; /* with a bell too: the sleep flag is set in each epoch */
	return e;
}

/* When it is to fire at the latest; 0: never. */
static unsigned latest_us(const struct cbd_queue *q)
{
	if (q->parts.n_retries)
		return CBD_WAIT_RETRY_US;
	return in_flight(q) ? CBD_ARMED_US : 0;
}

static void watch(struct cbd_queue *q)
{
	struct cbd_watched e = entry(q);
	bool tells = e.epoch != 0 && !q->event.own_bell;

	q->event.watched = e;
	q->event.latest_us = latest_us(q);
	cbd_watcher_arm(q->event.watcher, &e, tells, q->event.latest_us);
	if (e.epoch == 0)
		return;
	if (e.bell)
		put_sleeps(q, 1);
	if (cbd_answer_is_there(q))
		cbd_event_fire(q);
}

void cbd_event_watch(struct cbd_queue *q)
{
	if (!q->event.armed)
		return;
	if (q->event.own_bell)
		cbd_event_fire(q);
	else
		watch(q);
}

static bool watches_entry(const struct cbd_queue *q)
{
	struct cbd_watched e = entry(q);

	return memcmp(&e, &q->event.watched, sizeof(e)) == 0;
}

/* With a bell there is nothing to tell the thread. */
void cbd_event_submitted(struct cbd_queue *q)
{
	if (q->event.armed && (!cbd_flag_get(&q->b->same_boot) || !watches_entry(q)))
		cbd_event_watch(q);
}

/*
 * Only what has changed: to arm the watcher again forgets that it has fired, and puts its
 * time off.  What it had fired for is found again: an answer by the look that follows, all
 * else by the time at the latest.  A leader does it when it leaves.
 */
void cbd_event_review(struct cbd_queue *q)
{
	if (!q->event.armed || q->waiters.leader)
		return;
	if (!watches_entry(q) || latest_us(q) != q->event.latest_us)
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

static int arm(struct cbd_queue *q)
{
	if (q->pending.done)
		return 1;
	q->event.armed = true;
	watch(q);
	return q->event.armed ? 0 : 1;
}

static int no_watcher(const struct cbd_queue *q)
{
	return cbd_error(EINVAL, "queue %u: no file descriptor to arm: none was asked for",
			 q->index);
}

int cbd_event_arm(struct cbd_queue *q)
{
	if (!q->event.watcher)
		return no_watcher(q);
	q->event.own_bell = false;
	return arm(q);
}

/* The value is from before the sleep flag is set, and from before the look at the ring. */
int cbd_event_arm_bell(struct cbd_queue *q, const uint32_t **bell, uint32_t *value)
{
	if (!q->event.watcher)
		return no_watcher(q);
	*bell = entry(q).bell;
	if (*bell && !sample(*bell, value))
		return 1; /* the owner of the memory finds that out */
	q->event.own_bell = *bell;
	return arm(q);
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
