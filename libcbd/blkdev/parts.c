/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * parts.c - the parts of requests: split a request, give each part a tag and an
 * extent, copy a write's payload, publish the SE, give tag and extent back.
 *
 * A part is free, ready (tag and extent taken), published, arrived (its CE
 * was read), and free again.  A new epoch makes published and arrived ones
 * ready again.  Tag and extent are given back only when the CE was read or
 * the epoch was left with a drain (rule 5).
 *
 * Fast path: cbd_queue_issue -> part_take -> cbd_part_publish -> part_fill ->
 * part_send.
 */
#include <config.h>

#include <errno.h>

#include "blkdev/blkdev.h"
#include "memory/fault.h"
#include "blkdev/split.h"
#include "base/step.h"

/* ---------------------------------------------------------------- publish */

static void part_send(struct cbd_queue *q, struct cbd_part *p)
{
	if (q->parts.n_free + 1 == q->parts.depth)
		q->cursors.moved_ns =
			cbd_coarse_ns(); /* the first in flight: nothing is late yet */
	p->state = CBD_PART_PUBLISHED;
	p->se.position = q->cursors.se_next++;
	cbd_step("io-se");
	if (cbd_channel_send_se(&q->ch, &p->se) < 0) {
		cbd_queue_break(q, -EIO);
		return;
	}
	cbd_step("io-se-sent");
	if (cbd_flag_get(&q->b->same_boot))
		cbd_channel_wake(cbd_channel_blkdev_line(&q->ch, CBD_CHANNEL_SE_BELL),
				 cbd_channel_backend_line(&q->ch, CBD_CHANNEL_HANDLER_SLEEPS));
}

/*
 * Copy a write's payload into its extent, without the lock when it is much.  The
 * CRC is that of the user's buffer, seeded by the epoch, so a new epoch asks for
 * another.  A new epoch may come meanwhile, with another data area: it is looked up
 * before.
 */
static int part_fill(struct cbd_queue *q, struct cbd_part *p)
{
	uint64_t epoch = q->ch.epoch;
	uint32_t seed = q->ch.se_seed;
	char *to = q->ch.data + p->se.data_offset;
	bool crc = q->b->data_crc, unlock = p->se.length > CBD_COPY_LOCKED;
	int r;

	p->busy = true;
	if (unlock)
		pthread_mutex_unlock(&q->lock);
	if (crc)
		p->se.data_crc = cbd_channel_payload_crc(seed, p->buf, p->se.length);
	cbd_step("io-fill");
	r = cbd_fault_store(&q->ch.t->mem, to, p->buf, p->se.length);
	if (unlock)
		pthread_mutex_lock(&q->lock);
	p->busy = false;
	p->fill_epoch = epoch;
	return r;
}

void cbd_part_publish(struct cbd_queue *q, struct cbd_part *p)
{
	p->state = CBD_PART_READY;
	while (q->attached && !q->broken && p->se.op == CBD_OP_WRITE &&
	       p->fill_epoch != q->ch.epoch) {
		if (part_fill(q, p) < 0) {
			cbd_part_end(q, p, -EIO);
			return;
		}
	}
	if (q->broken)
		cbd_part_end(q, p, q->broken);
	else if (q->attached && p->state == CBD_PART_READY)
		part_send(q, p);
	/* else: whoever enters the next epoch publishes it */
}

/* ------------------------------------------------------------------ parts */

static uint32_t most_bytes(const struct cbd_queue *q, enum cbd_op op)
{
	const struct cbd_geometry_line *g = &q->b->geometry;

	return op == CBD_OP_READ || op == CBD_OP_WRITE ? g->max_data : g->max_range;
}

/* Whether the part needs room in the data area. */
static bool has_data(enum cbd_op op)
{
	return op == CBD_OP_READ || op == CBD_OP_WRITE;
}

/* Take a tag and an extent for the next piece; NULL when either is short. */
static struct cbd_part *part_take(struct cbd_queue *q, struct cbd_pending *io)
{
	uint32_t length = cbd_split_first(io->at, io->left, most_bytes(q, io->io.op));
	uint32_t units = has_data(io->io.op) ? (length + CBD_UNIT_SIZE - 1) / CBD_UNIT_SIZE : 0;
	int extent = units ? cbd_extent_alloc(&q->parts.extents, units) : -1;
	struct cbd_part *p;
	unsigned tag;

	if (units && extent < 0)
		return NULL;
	tag = q->parts.free_tags[--q->parts.n_free];
	p = &q->parts.all[tag];
	p->generation++;
	p->pending = io;
	p->buf = io->io.buf ? (char *)io->io.buf + (io->at - io->io.offset) : NULL;
	p->extent = extent;
	p->units = units;
	p->order = q->parts.order++;
	p->fill_epoch = 0;
	p->resends = 0;
	p->retry_until_ns = 0;
	p->se = (struct cbd_se){
		.tid = (uint32_t)p->generation << 16 | tag,
		.op = io->io.op,
		.flags = io->io.flags,
		.offset = io->at,
		.length = length,
		.data_offset = units ? (uint64_t)extent * CBD_UNIT_SIZE : 0,
	};
	io->at += length;
	io->left -= length;
	io->parts++;
	return p;
}

/* Read the payload again until then; 0: no more. */
void cbd_part_retry(struct cbd_queue *q, struct cbd_part *p, uint64_t until_ns)
{
	q->parts.n_retries += (until_ns != 0) - (p->retry_until_ns != 0);
	p->retry_until_ns = until_ns;
}

static void part_release(struct cbd_queue *q, struct cbd_part *p)
{
	if (p->units)
		cbd_extent_free(&q->parts.extents, (uint32_t)p->extent, p->units);
	cbd_part_retry(q, p, 0);
	p->state = CBD_PART_FREE;
	p->pending = NULL;
	q->parts.free_tags[q->parts.n_free++] = (uint16_t)(p - q->parts.all);
}

void cbd_part_end(struct cbd_queue *q, struct cbd_part *p, int result)
{
	struct cbd_pending *io = p->pending;

	part_release(q, p);
	if (!io) {
		/* it was given up; now it is known to be over (rule 9) */
		pthread_mutex_lock(&q->b->lock);
		cbd_shared_set(&q->b->timed_out, q->b->timed_out - 1);
		pthread_mutex_unlock(&q->b->lock);
		return;
	}
	if (result < 0 && io->result == 0)
		io->result = result;
	io->parts--;
	if (io->parts == 0 && io->left == 0)
		cbd_pending_complete(q, io);
}

/* Publish what fits.  The lock is dropped while payload is copied, so the list
 * is looked at anew each time. */
void cbd_queue_issue(struct cbd_queue *q)
{
	struct cbd_pending *io;

	while ((io = q->pending.waiting)) {
		struct cbd_part *p;

		if (q->broken && io->result == 0)
			io->result = q->broken;
		if (io->result < 0) {
			/* one part has failed: the rest is not tried */
			io->left = 0;
			cbd_pending_dequeue(q);
			if (io->parts == 0)
				cbd_pending_complete(q, io);
			continue;
		}
		if (q->parts.n_free == 0 || !(p = part_take(q, io)))
			return;
		if (io->left == 0 || io->io.op == CBD_OP_FLUSH)
			cbd_pending_dequeue(q);
		cbd_part_publish(q, p);
	}
}

/* ---------------------------------------------------------------- failure */

static void add_timed_out(struct cbd_queue *q)
{
	pthread_mutex_lock(&q->b->lock);
	cbd_shared_set(&q->b->timed_out, q->b->timed_out + 1);
	pthread_mutex_unlock(&q->b->lock);
}

/*
 * A queue that fails without a drain leaves writes that may still be executed:
 * like those that timed out they keep other queues from writing (rule 9), and
 * nobody will ever tell that they are over.
 */
static void break_part(struct cbd_queue *q, struct cbd_part *p)
{
	bool drained = q->broken == -ESHUTDOWN, out = p->state != CBD_PART_READY;

	if (!p->pending && !drained) {
		part_release(q, p);
		return;
	}
	if (p->pending && out && !drained && p->se.op != CBD_OP_READ && p->se.op != CBD_OP_FLUSH)
		add_timed_out(q);
	cbd_part_end(q, p, q->broken);
}

/* Everything ends with ERROR, now and later: the memory is gone, or the disk
 * is another one, or the channel keeps failing. */
void cbd_queue_break(struct cbd_queue *q, int error)
{
	if (!q->broken)
		q->broken = error;
	for (unsigned tag = 0; tag < q->parts.depth; tag++) {
		struct cbd_part *p = &q->parts.all[tag];

		/* a busy one is ended by the thread that copies */
		if (p->state != CBD_PART_FREE && !p->busy)
			break_part(q, p);
	}
	cbd_queue_issue(q);
}

/* A part that is out: the user gets EIO, tag and data stay taken until the
 * answer (rule 9). */
static void part_timeout(struct cbd_queue *q, struct cbd_part *p)
{
	struct cbd_pending *io = p->pending;

	p->pending = NULL;
	add_timed_out(q);
	if (p->state == CBD_PART_READY)
		cbd_part_end(q, p, -EIO); /* it was never out */
	if (io->result == 0)
		io->result = -EIO;
	if (--io->parts == 0 && io->left == 0)
		cbd_pending_complete(q, io);
}

void cbd_queue_timeouts(struct cbd_queue *q, uint64_t now_ns)
{
	uint64_t most = q->b->timeout_s * 1000000000ull;

	if (!most)
		return;
	cbd_pending_timeouts(q, now_ns, most);
	for (unsigned tag = 0; tag < q->parts.depth; tag++) {
		struct cbd_part *p = &q->parts.all[tag];

		if (p->state != CBD_PART_FREE && !p->busy && p->pending &&
		    now_ns - p->pending->since_ns >= most)
			part_timeout(q, p);
	}
}
