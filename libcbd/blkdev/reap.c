/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * reap.c - the way out: read CEs in order, copy the payloads of reads out, look at the
 * grant, end the parts.
 *
 * What is read from shared memory for a batch of CEs has one recovery point, unless the
 * payloads are long: those are copied without the queue's lock, and have their own.
 *
 * Fast path: cbd_reap_ring_unlocks -> read_batch_unlocks -> read_shared -> read_inside ->
 * gather_inside, invalidate_all_inside, copy_all_inside; then cbd_grant_recheck_unlocks
 * (epoch.c); then end_parts_unlocks -> arrived_unlocks -> cbd_part_end (parts.c).
 */
#include <config.h>

#include <errno.h>
#include <string.h>

#include "blkdev/blkdev.h"
#include "blkdev/blocks.h"
#include "base/error.h"
#include "memory/fault.h"
#include "ring/copy.h"
#include "base/step.h"

#define BATCH 32
#define INVALIDATE_BATCH 8  /* lines that are invalidated under one fence */
#define FETCHED 4096u	    /* payloads up to this are fetched while the one before is copied */
#define RETRY_NS 5000000ull /* a bad payload is read again for so long */
#define BAD_MOST 16	    /* bad payloads in BAD_NS: the epoch is left (rule 6) */
#define BAD_NS 1000000000ull

/* What is read next; a SIGBUS is judged by it. */
enum stage { READ_RING, INVALIDATE_PAYLOADS, COPY_PAYLOADS, READ_GRANT };

/* Parts whose CEs were read together. */
struct batch {
	unsigned n;
	enum stage stage;
	unsigned at;	  /* ..._PAYLOADS: the part whose payload it is */
	bool long_copy;	  /* the lock is dropped for ..._PAYLOADS */
	bool unknown_tid; /* a CE answers nothing that was asked */
	const char *data; /* data area and CRC seed of the epoch: another thread may enter a
			   * new one while the lock is dropped */
	uint32_t seed;
	struct cbd_grant_line grant; /* as it was after the copies */
	struct cbd_part *part[BATCH];
	bool has_payload[BATCH];
	/* 0, or the blocks of a BLOCK_STATUS; -EAGAIN: its CRC does not match (yet); -EIO:
	 * SIGBUS */
	int copied[BATCH];
};

/* ------------------------------------------------------------------- CEs */

/* The part that a CE answers; NULL: none, so the channel is not sane. */
static struct cbd_part *part_of(struct cbd_queue *q, const struct cbd_ce *ce)
{
	unsigned tag = ce->tid & 0xffff;
	struct cbd_part *p = tag < q->parts.depth ? &q->parts.all[tag] : NULL;

	if (!p || p->state != CBD_PART_PUBLISHED || p->se.tid != ce->tid)
		return NULL;
	return p;
}

/* The lines of the next CEs under one fence, as many as may be there. */
static unsigned invalidate_inside(const struct cbd_queue *q)
{
	uint64_t due = q->cursors.se_next - q->cursors.ce_next;
	unsigned n = due < INVALIDATE_BATCH ? (unsigned)due : INVALIDATE_BATCH;

	if (!q->ch.t->mem.software)
		return n;
	for (unsigned i = 0; i < n; i++)
		cbd_channel_invalidate_ce(&q->ch, q->cursors.ce_next + i);
	cbd_invalidate_done(&q->ch.t->mem);
	return n;
}

static void take_ce(struct cbd_queue *q, struct batch *b, struct cbd_part *p,
		    const struct cbd_ce *ce)
{
	q->cursors.ce_next++;
	p->ce = *ce;
	p->state = CBD_PART_ARRIVED;
	p->out = false;
	b->part[b->n++] = p;
}

/* Strictly in order, each CE once; while every SE has its answer none is looked for. */
static void gather_inside(struct cbd_queue *q, struct batch *b, const struct cbd_ce *seen)
{
	unsigned invalidated = 0;

	while (b->n < BATCH && q->cursors.se_next != q->cursors.ce_next) {
		struct cbd_ce ce;
		struct cbd_part *p;

		if (b->n == 0 && seen) {
			ce = *seen;
		} else {
			if (invalidated == 0)
				invalidated = invalidate_inside(q);
			invalidated--;
			if (!cbd_channel_await_ce_inside(&q->ch, q->cursors.ce_next, &ce))
				return;
		}
		if (!cbd_channel_accept_ce(&q->ch, q->cursors.ce_next, &ce))
			return;
		p = part_of(q, &ce);
		if (!p) {
			b->unknown_tid = true;
			return;
		}
		take_ce(q, b, p, &ce);
	}
}

/* Parts whose payload did not check are tried again beside new ones. */
static void gather_retries(struct cbd_queue *q, struct batch *b)
{
	for (unsigned tag = 0; tag < q->parts.depth && b->n < BATCH; tag++) {
		struct cbd_part *p = &q->parts.all[tag];

		if (p->state == CBD_PART_ARRIVED && p->retry_until_ns)
			b->part[b->n++] = p;
	}
}

/* --------------------------------------------------------------- payloads */

/* Bytes that the blkdev reads: of an answer to a BLOCK_STATUS none, where their number
 * makes no sense. */
static uint32_t payload_of(const struct cbd_part *p)
{
	if (p->se.op == CBD_OP_READ)
		return p->se.length;
	return p->ce.length <= p->se.room && p->ce.length % sizeof(struct cbd_run) == 0
		       ? p->ce.length
		       : 0;
}

static void find_payloads(struct batch *b)
{
	uint32_t bytes = 0;

	for (unsigned i = 0; i < b->n; i++) {
		const struct cbd_part *p = b->part[i];

		b->copied[i] = 0;
		b->has_payload[i] = p->pending && cbd_op_brings(p->se.op) &&
				    p->ce.result == CBD_RESULT_OK;
		bytes += b->has_payload[i] ? payload_of(p) : 0;
	}
	b->long_copy = bytes > CBD_COPY_LOCKED;
}

/* What is believed of them is decided on the private copy. */
static int copy_blocks_inside(const struct cbd_queue *q, const struct batch *b,
			      const struct cbd_part *p)
{
	struct cbd_run runs[CBD_MAX_RUNS];
	uint32_t crc = b->seed, bytes = payload_of(p);

	if (bytes > 0)
		cbd_copy_out(&q->ch.t->mem, (char *)runs, b->data + p->se.data_offset, bytes,
			     q->b->data_crc ? &crc : NULL);
	if (bytes > 0 && q->b->data_crc && crc != p->ce.data_crc)
		return -EAGAIN;
	return (int)cbd_blocks_take(runs, bytes / sizeof(runs[0]), p->se.length,
				    p->pending->io.blocks);
}

/* The CRC is that of the private copy, not of what lies in shared memory by now. */
static int copy_inside(const struct cbd_queue *q, const struct batch *b, const struct cbd_part *p)
{
	uint32_t crc = b->seed;

	if (p->se.op == CBD_OP_BLOCK_STATUS)
		return copy_blocks_inside(q, b, p);
	cbd_part_load_inside(&q->ch.t->mem, p, b->data + p->se.data_offset,
			     q->b->data_crc ? &crc : NULL);
	return !q->b->data_crc || crc == p->ce.data_crc ? 0 : -EAGAIN;
}

/* Under one fence, which waits for all of them as long as for one. */
static void invalidate_all_inside(const struct cbd_queue *q, struct batch *b)
{
	const struct cbd_mem *m = &q->ch.t->mem;

	for (; b->at < b->n; b->at++) {
		const struct cbd_part *p = b->part[b->at];

		cbd_signal_fence(); /* AT is what a SIGBUS finds */
		if (b->has_payload[b->at])
			cbd_mem_invalidate_start(m, b->data + p->se.data_offset, payload_of(p));
	}
	cbd_invalidate_done(m);
}

/* The next payload comes from memory while this one is copied. */
static void fetch_next(const struct cbd_queue *q, const struct batch *b)
{
	const struct cbd_part *next = b->at + 1 < b->n ? b->part[b->at + 1] : NULL;

	if (q->ch.t->mem.software && next && b->has_payload[b->at + 1] &&
	    payload_of(next) <= FETCHED)
		cbd_mem_fetch(&q->ch.t->mem, b->data + next->se.data_offset, payload_of(next));
}

static void copy_all_inside(const struct cbd_queue *q, struct batch *b)
{
	for (; b->at < b->n; b->at++) {
		cbd_signal_fence();
		if (!b->has_payload[b->at] || b->copied[b->at] < 0)
			continue;
		fetch_next(q, b);
		b->copied[b->at] = copy_inside(q, b, b->part[b->at]);
	}
}

/* ------------------------------------------------------------------ batch */

/* From the batch's stage on: to the end, or with a long copy until the lock is to be dropped
 * or taken again. */
static void read_inside(struct cbd_queue *q, struct batch *b, const struct cbd_ce *seen)
{
	if (b->stage == READ_RING) {
		gather_inside(q, b, seen);
		if (q->parts.n_retries)
			gather_retries(q, b);
		find_payloads(b);
		b->stage = INVALIDATE_PAYLOADS;
		cbd_signal_fence();
		if (b->n == 0 || b->long_copy)
			return;
	}
	if (b->stage == INVALIDATE_PAYLOADS) {
		invalidate_all_inside(q, b);
		b->at = 0;
		b->stage = COPY_PAYLOADS;
		cbd_signal_fence();
	}
	if (b->stage == COPY_PAYLOADS) {
		cbd_step("io-reap");
		copy_all_inside(q, b);
		cbd_step("io-reaped");
		b->stage = READ_GRANT;
		cbd_signal_fence();
		if (b->long_copy)
			return;
	}
	cbd_line_load(&q->ch.t->mem, cbd_channel_backend_line(&q->ch, CBD_CHANNEL_GRANT),
		      &b->grant);
}

/* A SIGBUS in a payload is the error of its part.  False: it was in the ring. */
static bool read_shared(struct cbd_queue *q, struct batch *b, const struct cbd_ce *seen)
{
	struct cbd_fault f;

	while (!CBD_FAULT_TRY(&f)) {
		if (b->stage == READ_RING)
			return false;
		if (b->stage == READ_GRANT) {
			b->grant.epoch = 0; /* matches nothing: it is read again, and judged */
			return true;
		}
		if (b->at < b->n)
			b->copied[b->at++] = -EIO;
	}
	read_inside(q, b, seen);
	cbd_fault_end(&f);
	return true;
}

static void set_busy(struct batch *b, bool busy)
{
	for (unsigned i = 0; i < b->n; i++)
		if (b->has_payload[i]) /* not those of others: a write of this batch may be
					* copied for the next epoch by now */
			b->part[i]->busy = busy;
}

/* False: nothing is there, or the queue has ended. */
static bool read_batch_unlocks(struct cbd_queue *q, struct batch *b, const struct cbd_ce *seen)
{
	b->n = b->at = 0;
	b->stage = READ_RING;
	b->unknown_tid = false;
	b->data = q->ch.data;
	b->seed = q->ch.ce_seed;
	if (!read_shared(q, b, seen))
		cbd_queue_break(q, -EIO);
	if (b->unknown_tid)
		cbd_leave(q, CBD_LEAVE_UNKNOWN_TID);
	if (b->n == 0 || cbd_queue_has_ended(q))
		return false;
	if (b->long_copy) {
		set_busy(b, true);
		pthread_mutex_unlock(&q->lock);
		read_shared(q, b, NULL);
		pthread_mutex_lock(&q->lock);
		set_busy(b, false);
		read_shared(q, b, NULL);
	}
	return true;
}

/* ---------------------------------------------------------------- results */

/* Rule 10: one bad payload is an accident, many are a channel that is not sane. */
static void count_bad_payload(struct cbd_queue *q)
{
	uint64_t now = cbd_now_ns();

	cbd_count_add(&q->counted.now.events.bad_payloads, 1);
	if (now - q->reap.bad_since_ns > BAD_NS) {
		q->reap.bad_since_ns = now;
		q->reap.bad_payloads = 0;
	}
	if (++q->reap.bad_payloads == BAD_MOST)
		cbd_leave(q, CBD_LEAVE_BAD_RATE);
}

/* Copied and submitted again, three times, then EIO (rule 10). */
static void resend_unlocks(struct cbd_queue *q, struct cbd_part *p)
{
	cbd_part_retry(q, p, 0);
	count_bad_payload(q);
	if (p->state == CBD_PART_FREE)
		return; /* too many epochs were left: the queue broke, and P ended with it */
	if (p->resends++ == CBD_MAX_RESENDS || !p->pending) {
		cbd_part_end(q, p, -EIO);
		return;
	}
	cbd_count_add(&q->counted.now.events.resends, 1);
	p->fill_epoch = 0;
	cbd_part_publish_unlocks(q, p);
}

static void bad_payload_unlocks(struct cbd_queue *q, struct cbd_part *p)
{
	uint64_t now = cbd_now_ns();

	cbd_count_add(&q->counted.now.events.retries, 1);
	if (!p->retry_until_ns)
		cbd_part_retry(q, p, now + RETRY_NS);
	else if (now >= p->retry_until_ns)
		resend_unlocks(q, p);
}

/*
 * A backend that another queue knows as replaced has acknowledged a write: the answer is
 * held, and the next epoch executes it again.  When that does not come although the
 * backend goes on beating, the other queue was wrong, or right for its own channel only
 * (rule 7.9): the answer counts, as of a write that may be lost.
 */
static bool is_held(struct cbd_queue *q, struct cbd_part *p)
{
	bool certain = q->state == CBD_QUEUE_CLOSING || cbd_beats_suffice(q->b, p->held_beat);

	if (cbd_written(q, certain) == CBD_WRITTEN)
		return false;
	if (!p->held_beat)
		p->held_beat = cbd_beat_now(q->b);
	cbd_part_retry(q, p, UINT64_MAX);
	return true;
}

/* A part with its answer, its epoch still in force.  False: the answer is held. */
static bool arrived_unlocks(struct cbd_queue *q, struct cbd_part *p, int copied)
{
	int result = cbd_result_to_errno(p->ce.result);

	if (copied == -EAGAIN)
		bad_payload_unlocks(q, p);
	else if (p->ce.result == CBD_RESULT_BADCRC)
		resend_unlocks(q, p);
	else if (result == 0 && cbd_op_writes(p->se.op) && is_held(q, p))
		return false;
	else if (result == -EOPNOTSUPP && p->se.op == CBD_OP_BLOCK_STATUS)
		cbd_part_end_as_data(q, p);
	else
		cbd_part_end(q, p, copied ? copied : result);
	return true;
}

/* While these were copied the epoch or the queue ended, or the grant could not be read:
 * the thread that ended it passed over the parts that were being copied. */
static void put_back_unlocks(struct cbd_queue *q, struct batch *b)
{
	for (unsigned i = 0; i < b->n; i++) {
		struct cbd_part *p = b->part[i];

		if (p->busy || p->state == CBD_PART_FREE)
			continue;
		if (cbd_queue_has_ended(q))
			cbd_part_end(q, p, q->error);
		else if (p->state == CBD_PART_READY && cbd_queue_has_epoch(q))
			cbd_part_publish_unlocks(q, p);
		else if (p->state == CBD_PART_ARRIVED)
			cbd_part_retry(q, p, cbd_now_ns() + RETRY_NS); /* its answer stands */
	}
}

/* False: all of their answers are held. */
static bool end_parts_unlocks(struct cbd_queue *q, struct batch *b, uint64_t epoch)
{
	unsigned held = 0;

	for (unsigned i = 0; i < b->n; i++) {
		/* resending drops the lock, and the epoch may end meanwhile */
		if (q->ch.epoch != epoch || b->part[i]->state != CBD_PART_ARRIVED)
			continue;
		held += !arrived_unlocks(q, b->part[i], b->copied[i]);
	}
	return held < b->n;
}

/*
 * The grant is read again between the copies and the completions: were the channel
 * another blkdev's by now, what was copied might be that one's data (rule 5).  Then the
 * parts are published again in the next epoch.
 */
bool cbd_reap_ring_unlocks(struct cbd_queue *q, const struct cbd_ce *seen)
{
	uint64_t epoch = q->ch.epoch;
	struct batch b;
	bool moved;

	if (!cbd_queue_has_epoch(q))
		return false;
	if (!read_batch_unlocks(q, &b, seen)) {
		/* the administrator has cleared the backend, and all its answers were read */
		if (q->state == CBD_QUEUE_CLOSING)
			cbd_queue_stop(q);
		return false;
	}
	if (cbd_grant_recheck_unlocks(q, &b.grant) != CBD_EPOCH_SAME || q->ch.epoch != epoch) {
		put_back_unlocks(q, &b);
		/* while the grant cannot be read there is nothing to do but to wait */
		return cbd_queue_has_ended(q) || q->ch.epoch != epoch;
	}
	moved = end_parts_unlocks(q, &b, epoch);
	if (moved) { /* only now: an answer that cannot be accepted is no movement */
		q->cursors.moved_ns = cbd_coarse_ns();
		q->epoch.leaves = q->epoch.stalls = 0;
	}
	cbd_queue_issue_unlocks(q);
	return moved;
}
