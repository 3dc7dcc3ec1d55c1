/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * parts.c - the parts of requests: cut a request, give each part a tag and an extent,
 * take both back, and end what will not be answered.  Owns the tags and the data area.
 *
 * A part is free, ready (tag and extent taken), published, arrived (its CE was read),
 * and free again.  A new epoch makes published and arrived ones ready again.  A part that
 * has timed out by then is behind instead; so is one that times out in the new epoch
 * before it is published there.  Tag and extent are given back only when the CE was read
 * or the epoch was left with a drain (rule 5).
 */
#include <config.h>

#include <errno.h>

#include "blkdev/blkdev.h"
#include "blkdev/blocks.h"
#include "blkdev/split.h"

static uint32_t most_bytes(const struct cbd_queue *q, enum cbd_op op)
{
	const struct cbd_geometry_line *g = &q->b->geometry;

	if (op == CBD_OP_BLOCK_STATUS)
		return CBD_MAX_STATUS;
	return op == CBD_OP_READ || op == CBD_OP_WRITE ? g->max_data : g->max_range;
}

/* Of the data area, for the answer to a BLOCK_STATUS; 0: it is another operation. */
static uint32_t room_of(const struct cbd_io *io)
{
	uint32_t n = io->n_blocks < CBD_MAX_RUNS ? io->n_blocks : CBD_MAX_RUNS;

	return io->op == CBD_OP_BLOCK_STATUS ? n * (uint32_t)sizeof(struct cbd_run) : 0;
}

/* What a part of LENGTH bytes needs of the data area. */
static uint32_t units_of(const struct cbd_io *io, uint32_t length)
{
	uint32_t bytes = io->op == CBD_OP_READ || io->op == CBD_OP_WRITE ? length : room_of(io);

	return (bytes + CBD_UNIT_SIZE - 1) / CBD_UNIT_SIZE;
}

/* Take a tag and an extent for the next piece of IO; NULL when either is short. */
struct cbd_part *cbd_part_take(struct cbd_queue *q, struct cbd_pending *io)
{
	uint32_t length = cbd_split_first(io->at, io->left, most_bytes(q, io->io.op));
	uint32_t units = units_of(&io->io, length);
	struct cbd_part *p;
	int extent = -1;
	unsigned tag;

	if (q->parts.n_free == 0)
		return NULL;
	if (units && (extent = cbd_extent_alloc(&q->parts.extents, units)) < 0)
		return NULL;
	/* from now on an answer may be late */
	if (cbd_parts_await_nothing(&q->parts))
		q->cursors.moved_ns = cbd_coarse_ns();
	tag = q->parts.free_tags[--q->parts.n_free];
	p = &q->parts.all[tag];
	p->generation++;
	p->state = CBD_PART_READY;
	p->pending = io;
	p->buf = io->io.buf ? (char *)io->io.buf + (io->at - io->io.offset) : NULL;
	p->vector = io->vector;
	cbd_vector_skip(&io->vector, length);
	p->extent = extent;
	p->units = units;
	p->order = q->parts.order++;
	p->out = false;
	p->fill_epoch = 0;
	p->resends = 0;
	p->retry_until_ns = 0;
	p->held_beat = 0;
	p->se = (struct cbd_se){
		.tid = (uint32_t)p->generation << 16 | tag,
		.op = io->io.op,
		.flags = io->io.flags,
		.offset = io->at,
		.length = length,
		.data_offset = units ? (uint64_t)extent * CBD_UNIT_SIZE : 0,
		.room = room_of(&io->io),
	};
	io->at += length;
	/* a BLOCK_STATUS has one part: its answer may end before the range does */
	io->left = io->io.op == CBD_OP_BLOCK_STATUS ? 0 : io->left - length;
	io->parts++;
	return p;
}

/* An arrived part whose payload did not check is read again until UNTIL_NS; 0: it is not. */
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
	q->parts.n_behind -= p->state == CBD_PART_BEHIND;
	p->state = CBD_PART_FREE;
	p->pending = NULL;
	q->parts.free_tags[q->parts.n_free++] = (uint16_t)(p - q->parts.all);
}

static void add_timed_out(struct cbd_queue *q, int n)
{
	pthread_mutex_lock(&q->b->lock);
	cbd_shared_set(&q->b->timed_out, q->b->timed_out + (uint64_t)n);
	pthread_mutex_unlock(&q->b->lock);
}

static const char *why_disk(int result)
{
	switch (result) {
	case -ENOSPC:
		return "the backend's disk: no space left";
	case -EPERM:
		return "the backend's disk is read-only";
	case -EOPNOTSUPP:
		return "the backend's disk cannot do that";
	case -ENOMEM:
		return "the backend: out of memory";
	case -EIO:
		return "the backend's disk: input/output error";
	case -ESHUTDOWN:
		return "the backend is stopping";
	default:
		return "the backend refused the request";
	}
}

/* Why the whole queue has ended. */
const char *cbd_why_ended(const struct cbd_queue *q)
{
	if (q->state == CBD_QUEUE_STOPPED)
		return "the administrator has cleared the backend";
	if (q->error == -ESHUTDOWN)
		return "the blkdev is closed";
	if (cbd_flag_get(&q->b->lost))
		return "the blkdev's slot or the shared memory is lost";
	if (cbd_flag_get(&q->b->impatient))
		return "this program was told to stop waiting for the backend";
	return "the channel keeps failing, or the shared memory is poisoned or gone";
}

/* Why a part ends with RESULT: see where cbd_part_end() is called. */
static const char *why_part(const struct cbd_queue *q, const struct cbd_part *p, int result)
{
	bool answered = p->state == CBD_PART_ARRIVED;

	if (cbd_queue_has_ended(q) && result == q->error)
		return cbd_why_ended(q);
	if (answered && p->ce.result != CBD_RESULT_OK && p->ce.result != CBD_RESULT_BADCRC)
		return why_disk(result);
	if (p->resends > CBD_MAX_RESENDS)
		return "its payload did not match its CRC, also when it was sent again";
	return "the shared memory is poisoned or gone";
}

void cbd_part_end(struct cbd_queue *q, struct cbd_part *p, int result)
{
	struct cbd_pending *io = p->pending;
	const char *why = result < 0 ? why_part(q, p, result) : NULL;

	part_release(q, p);
	if (!io) {
		/* the user had EIO when it timed out; by now it is over (rule 9) */
		add_timed_out(q, -1);
		return;
	}
	if (result > 0)
		io->result = result; /* the blocks of a BLOCK_STATUS, which has no other part */
	else
		cbd_pending_fail(io, result, why);
	io->parts--;
	if (io->parts == 0 && io->left == 0)
		cbd_pending_complete(q, io);
}

void cbd_part_end_as_data(struct cbd_queue *q, struct cbd_part *p)
{
	int n = 0;

	if (p->pending) /* else it has timed out */
		n = (int)cbd_blocks_take(NULL, 0, p->se.length, p->pending->io.blocks);
	cbd_part_end(q, p, n);
}

void cbd_part_leave_behind(struct cbd_queue *q, struct cbd_part *p)
{
	q->parts.n_behind += p->state != CBD_PART_BEHIND;
	p->state = CBD_PART_BEHIND;
}

void cbd_parts_end_behind(struct cbd_queue *q)
{
	for (unsigned tag = 0; tag < q->parts.depth; tag++)
		if (q->parts.all[tag].state == CBD_PART_BEHIND)
			cbd_part_end(q, &q->parts.all[tag], -EIO);
}

/* --------------------------------------------------------------- failure */

/*
 * A queue that fails without a drain leaves writes that the backend may still execute:
 * like those that timed out they keep this blkdev's queues from writing (rule 9), for
 * ever, because no CE of theirs will be read.
 */
static void end_part(struct cbd_queue *q, struct cbd_part *p)
{
	bool drained = q->error == -ESHUTDOWN, out = p->out || p->state == CBD_PART_ARRIVED;

	if (!p->pending && !drained) {
		part_release(q, p);
		return;
	}
	if (p->pending && out && !drained && cbd_op_writes(p->se.op))
		add_timed_out(q, 1);
	cbd_part_end(q, p, q->error);
}

/* All that is inside ends with the queue's error. */
static void end_all(struct cbd_queue *q)
{
	for (unsigned tag = 0; tag < q->parts.depth; tag++) {
		struct cbd_part *p = &q->parts.all[tag];

		/* one that is copied without the lock is ended by its thread */
		if (p->state != CBD_PART_FREE && !p->busy)
			end_part(q, p);
	}
	cbd_pending_end_waiting(q, q->error, cbd_why_ended(q));
}

void cbd_queue_break(struct cbd_queue *q, int error)
{
	if (q->state != CBD_QUEUE_BROKEN) {
		cbd_queue_become(q, CBD_QUEUE_BROKEN);
		q->error = error;
		cbd_belief_drop(q);
	}
	end_all(q);
}

void cbd_queue_stop(struct cbd_queue *q)
{
	if (!cbd_queue_has_ended(q)) {
		cbd_queue_become(q, CBD_QUEUE_STOPPED);
		q->error = -ESHUTDOWN;
	}
	end_all(q);
}

/*
 * Of a part that is published the user gets EIO now; tag and extent stay taken until the CE
 * is read (rule 9).  One that is ready, and was published in an epoch before, is behind: the
 * grant of this epoch may be forged, and the backend has the part still (rule 7.9).
 */
static void part_timeout(struct cbd_queue *q, struct cbd_part *p, const char *why)
{
	struct cbd_pending *io = p->pending;

	p->pending = NULL;
	if (io->result == 0)
		cbd_count_add(&q->counted.now.events.time_outs, 1);
	add_timed_out(q, 1);
	if (p->state == CBD_PART_READY && p->out)
		cbd_part_leave_behind(q, p);
	else if (p->state == CBD_PART_READY)
		cbd_part_end(q, p, -EIO); /* the backend never saw it */
	cbd_pending_fail(io, -EIO, why);
	if (--io->parts == 0 && io->left == 0)
		cbd_pending_complete(q, io);
}

/* The order of the part that has waited for longest; UINT64_MAX: none waits. */
static uint64_t oldest(const struct cbd_queue *q)
{
	uint64_t order = UINT64_MAX;

	for (unsigned tag = 0; tag < q->parts.depth; tag++) {
		const struct cbd_part *p = &q->parts.all[tag];

		if (p->state != CBD_PART_FREE && p->pending && p->order < order)
			order = p->order;
	}
	return order;
}

/*
 * The oldest part was answered: the disk is at work, and gets to the others in their
 * turn.  (Any answer as the sign of that would let a backend that lies keep a request for
 * ever.)
 */
static void look_at_oldest(struct cbd_queue *q)
{
	uint64_t order = oldest(q);

	if (order == q->parts.oldest)
		return;
	q->parts.oldest = order;
	q->parts.oldest_beating = cbd_shared_get(&q->b->beating_ns);
}

void cbd_queue_timeouts(struct cbd_queue *q, uint64_t now_ns, bool patient)
{
	const char *why;

	look_at_oldest(q);
	cbd_pending_timeouts(q, now_ns, patient);
	for (unsigned tag = 0; tag < q->parts.depth; tag++) {
		struct cbd_part *p = &q->parts.all[tag];

		if (p->state != CBD_PART_FREE && !p->busy && p->pending &&
		    (why = cbd_pending_is_late(q, p->pending, now_ns, patient)))
			part_timeout(q, p, why);
	}
	q->parts.oldest = oldest(q); /* what has timed out is no progress */
}
