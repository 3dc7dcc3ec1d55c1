/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * publish.c - the way in: copy the payloads of writes into their extents, store the
 * SEs, wake the handler.
 *
 * What is submitted together is a batch: one recovery point for its accesses to shared
 * memory, and one fence before the look at the handler's sleep flag (rule 11).  A long
 * payload is copied without the queue's lock; until then nothing of a batch is held back.
 *
 * Fast path: cbd_queue_issue_unlocks -> take_all_unlocks -> cbd_part_take (parts.c), then
 * add_unlocks, which collects a batch; then send -> send_shared -> send_inside ->
 * fill_inside, store_entries_inside.
 */
#include <config.h>

#include <errno.h>

#include "blkdev/blkdev.h"
#include "memory/fault.h"
#include "ring/copy.h"
#include "base/step.h"

#define BATCH 32

/* Parts that are published together; the queue's lock is held from the first to the
 * last. */
struct batch {
	unsigned n, n_failed;
	unsigned at; /* of the copies: the part whose payload is being copied */
	bool copied; /* all of them: SEs are being stored */
	bool wake;   /* the handler is on this host */
	struct cbd_part *part[BATCH];
	int error[BATCH];
};

static bool needs_fill(const struct cbd_queue *q, const struct cbd_part *p)
{
	return p->se.op == CBD_OP_WRITE && p->fill_epoch != q->ch.epoch;
}

/* Inside a recovery point.  The CRC is that of the user's buffer, seeded by the epoch, so
 * a new epoch asks for another. */
static void fill_inside(const struct cbd_queue *q, struct cbd_part *p, uint32_t seed, char *data)
{
	uint32_t crc = seed;

	cbd_step("io-fill");
	cbd_part_store_inside(&q->ch.t->mem, p, data + p->se.data_offset,
			      q->b->data_crc ? &crc : NULL);
	p->se.data_crc = q->b->data_crc ? crc : 0;
}

static int fill_shared(const struct cbd_queue *q, struct cbd_part *p, uint32_t seed, char *data)
{
	struct cbd_fault f;

	if (!CBD_FAULT_TRY(&f))
		return -EIO;
	fill_inside(q, p, seed, data);
	cbd_fault_end(&f);
	return 0;
}

/* A long payload.  Another thread may enter a new epoch meanwhile, with another data
 * area, so all that belongs to the epoch is read before. */
static int fill_unlocks(struct cbd_queue *q, struct cbd_part *p)
{
	uint64_t epoch = q->ch.epoch;
	uint32_t seed = q->ch.se_seed;
	char *data = q->ch.data;
	int r;

	p->busy = true;
	pthread_mutex_unlock(&q->lock);
	r = fill_shared(q, p, seed, data);
	/* when the grant is lost and found meanwhile another thread publishes the part, and
	 * a fence of that thread is not for what this one has stored */
	cbd_mem_store_done(&q->ch.t->mem);
	pthread_mutex_lock(&q->lock);
	p->busy = false;
	p->fill_epoch = epoch;
	return r;
}

/* ------------------------------------------------------------------ batch */

/* One fence for all payloads, and one for all SEs: the handler takes the SEs by their
 * positions, in whichever order they get into memory. */
static void store_entries_inside(struct cbd_queue *q, struct batch *b)
{
	cbd_mem_store_done(&q->ch.t->mem);
	for (unsigned i = 0; i < b->n; i++) {
		struct cbd_part *p = b->part[i];

		if (b->error[i] < 0)
			continue;
		p->state = CBD_PART_PUBLISHED;
		p->out = true;
		p->se.position = q->cursors.se_next;
		/* before the SE is there: a leader that sees its CE sees this too */
		cbd_shared_set(&q->cursors.se_next, p->se.position + 1);
		cbd_step("io-se");
		cbd_channel_start_se_inside(&q->ch, &p->se);
		cbd_step("io-se-sent");
	}
	cbd_mem_store_done(&q->ch.t->mem);
}

static void send_inside(struct cbd_queue *q, struct batch *b)
{
	for (; b->at < b->n; b->at++) {
		struct cbd_part *p = b->part[b->at];

		cbd_signal_fence(); /* AT is what a SIGBUS finds */
		if (!needs_fill(q, p))
			continue;
		fill_inside(q, p, q->ch.se_seed, q->ch.data);
		p->fill_epoch = q->ch.epoch;
	}
	b->copied = true;
	cbd_signal_fence();
	store_entries_inside(q, b);
	if (b->wake)
		cbd_channel_wake_inside(cbd_channel_blkdev_line(&q->ch, CBD_CHANNEL_SE_BELL),
					cbd_channel_backend_line(&q->ch,
								 CBD_CHANNEL_HANDLER_SLEEPS));
}

/* A SIGBUS in a payload is the error of its part, one in the ring that of the queue. */
static bool send_shared(struct cbd_queue *q, struct batch *b)
{
	struct cbd_fault f;

	while (!CBD_FAULT_TRY(&f)) {
		if (b->copied)
			return false;
		b->error[b->at++] = -EIO;
		b->n_failed++;
	}
	send_inside(q, b);
	cbd_fault_end(&f);
	return true;
}

static void end_failed(struct cbd_queue *q, struct batch *b)
{
	for (unsigned i = 0; i < b->n; i++)
		if (b->error[i] < 0)
			cbd_part_end(q, b->part[i], b->error[i]);
}

/* False: parts have failed, and what they had taken is free again. */
static bool send(struct cbd_queue *q, struct batch *b)
{
	bool sound;

	if (b->n == 0)
		return true;
	b->at = b->n_failed = 0;
	b->copied = false;
	b->wake = cbd_flag_get(&q->b->same_boot);
	if (!send_shared(q, b))
		cbd_queue_break(q, -EIO);
	sound = b->n_failed == 0 || cbd_queue_has_ended(q);
	if (!sound)
		end_failed(q, b);
	b->n = 0;
	return sound;
}

/* Publish P with the batch, or before it is full what is in the batch: whenever the lock
 * is to be dropped. */
static void add_unlocks(struct cbd_queue *q, struct batch *b, struct cbd_part *p)
{
	p->state = CBD_PART_READY;
	if (p->se.length > CBD_COPY_LOCKED && needs_fill(q, p))
		send(q, b);
	while (cbd_queue_has_epoch(q) && p->se.length > CBD_COPY_LOCKED && needs_fill(q, p)) {
		if (fill_unlocks(q, p) < 0) {
			cbd_part_end(q, p, -EIO);
			return;
		}
	}
	if (cbd_queue_has_ended(q)) {
		cbd_part_end(q, p, q->error);
		return;
	}
	/* without an epoch: the thread that enters the next one publishes it */
	if (!cbd_queue_has_epoch(q) || p->state != CBD_PART_READY)
		return;
	if (p->se.op == CBD_OP_BLOCK_STATUS && !q->epoch.block_status) {
		cbd_part_end_as_data(q, p); /* the backend of this epoch does not know it */
		return;
	}
	b->error[b->n] = 0;
	b->part[b->n++] = p;
	if (b->n == BATCH)
		send(q, b);
}

void cbd_parts_publish_unlocks(struct cbd_queue *q, struct cbd_part **parts, unsigned n)
{
	uint64_t epoch = q->ch.epoch;
	struct batch b;

	b.n = 0;
	/* the lock may be dropped for each: see whether another thread has published it,
	 * or is about to */
	for (unsigned i = 0; i < n && cbd_queue_has_epoch(q) && q->ch.epoch == epoch; i++)
		if (parts[i]->state == CBD_PART_READY && !parts[i]->busy)
			add_unlocks(q, &b, parts[i]);
	send(q, &b);
}

void cbd_part_publish_unlocks(struct cbd_queue *q, struct cbd_part *p)
{
	struct batch b;

	b.n = 0;
	add_unlocks(q, &b, p);
	send(q, &b);
}

/* The lock may be dropped for each part, so the list is looked at anew each time. */
static struct cbd_pending *next_waiting(struct cbd_queue *q)
{
	cbd_pending_take_freed(q); /* also what the one before has freed by its end */
	return q->pending.waiting;
}

static void take_all_unlocks(struct cbd_queue *q, struct batch *b)
{
	struct cbd_pending *io;

	while ((io = next_waiting(q))) {
		struct cbd_part *p;

		if (cbd_queue_has_ended(q)) {
			cbd_pending_end_waiting(q, q->error, cbd_why_ended(q));
			continue;
		}
		if (io->result < 0) {
			cbd_pending_give_up(q, io); /* a part has failed: the rest is not tried */
			continue;
		}
		p = cbd_part_take(q, io);
		if (!p)
			return;
		if (io->left == 0 || io->io.op == CBD_OP_FLUSH)
			cbd_pending_dequeue(q);
		add_unlocks(q, b, p);
	}
}

void cbd_queue_issue_unlocks(struct cbd_queue *q)
{
	struct batch b;

	b.n = 0;
	do
		take_all_unlocks(q, &b);
	while (!send(q, &b));
}

void cbd_blkdev_issue_freed(struct cbd_blkdev *b)
{
	do {
		cbd_flag_set(&b->freed_elsewhere, false);
		for (unsigned i = 0; i < b->n_queues; i++) {
			struct cbd_queue *q = &b->queues[i];

			if (!cbd_flag_get(&q->pending.has_freed))
				continue;
			pthread_mutex_lock(&q->lock);
			cbd_queue_issue_unlocks(q);
			cbd_wake_one(q);
			cbd_event_submitted(q);
			cbd_queue_unlock_and_tell(q);
		}
	} while (cbd_flag_get(&b->freed_elsewhere));
}
