/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * reap.c - the way out: read CEs in order, copy a read's payload out, give tag
 * and extent back, complete requests.
 *
 * Fast path: cbd_reap_ring -> gather -> copy_out -> arrived -> cbd_part_end.
 */
#include <config.h>

#include <errno.h>
#include <string.h>

#include "blkdev/blkdev.h"
#include "base/error.h"
#include "memory/fault.h"
#include "base/step.h"

#define BATCH 32
#define INVALIDATE_BATCH 8  /* lines that are dropped under one fence */
#define RETRY_NS 5000000ull /* read a bad payload again for so long */
#define BAD_MOST 16	    /* bad payloads in BAD_NS: the epoch is left */
#define BAD_NS 1000000000ull

/* --------------------------------------------------------------- payload */

/* From DATA, the data area of the epoch.  -EAGAIN: its CRC does not match (yet). */
static int copy_payload(const struct cbd_queue *q, const struct cbd_part *p, const char *data,
			uint32_t seed)
{
	int r = cbd_fault_load(&q->ch.t->mem, p->buf, data + p->se.data_offset, p->se.length);

	if (r < 0 || !q->b->data_crc)
		return r;
	/* the private copy, not what lies in shared memory by now */
	return cbd_channel_payload_crc(seed, p->buf, p->se.length) == p->ce.data_crc ? 0 : -EAGAIN;
}

static bool needs_copy(const struct cbd_part *p)
{
	return p->pending && p->se.op == CBD_OP_READ && p->ce.result == CBD_RESULT_OK;
}

static uint32_t bytes_to_copy(struct cbd_part **batch, unsigned n)
{
	uint32_t bytes = 0;

	for (unsigned i = 0; i < n; i++)
		bytes += needs_copy(batch[i]) ? batch[i]->se.length : 0;
	return bytes;
}

/* Copy read data out, without the lock when it is much; results in R.  The
 * heartbeat thread may enter a new epoch meanwhile: what belongs to this one is
 * looked up before. */
static void copy_out(struct cbd_queue *q, struct cbd_part **batch, unsigned n, int *r)
{
	const char *data = q->ch.data;
	uint32_t seed = q->ch.ce_seed;
	bool unlock = bytes_to_copy(batch, n) > CBD_COPY_LOCKED;
	bool mine[BATCH];

	for (unsigned i = 0; i < n; i++) {
		r[i] = 0;
		mine[i] = needs_copy(batch[i]);
		if (mine[i])
			batch[i]->busy = true;
	}
	if (unlock)
		pthread_mutex_unlock(&q->lock);
	for (unsigned i = 0; i < n; i++)
		if (mine[i])
			r[i] = copy_payload(q, batch[i], data, seed);
	if (unlock)
		pthread_mutex_lock(&q->lock);
	/* not those of others: a write of this batch may be filled for the
	 * next epoch by now */
	for (unsigned i = 0; i < n; i++)
		if (mine[i])
			batch[i]->busy = false;
}

/* ------------------------------------------------------------------- CEs */

/* The part that this CE answers; NULL: none, the channel is not sane. */
static struct cbd_part *part_of(struct cbd_queue *q, const struct cbd_ce *ce)
{
	unsigned tag = ce->tid & 0xffff;
	struct cbd_part *p = tag < q->parts.depth ? &q->parts.all[tag] : NULL;

	if (!p || p->state != CBD_PART_PUBLISHED || p->se.tid != ce->tid)
		return NULL;
	return p;
}

/* Drop the lines of the next CEs under one fence, as many as may be there. */
static unsigned invalidate_ces(struct cbd_queue *q)
{
	uint64_t out = q->cursors.se_next - q->cursors.ce_next;
	unsigned n = out < INVALIDATE_BATCH ? (unsigned)out : INVALIDATE_BATCH;
	struct cbd_fault f;

	if (!q->ch.t->mem.software || !CBD_FAULT_TRY(&f))
		return n; /* whoever receives finds the fault */
	for (unsigned i = 0; i < n; i++)
		cbd_channel_invalidate_ce(&q->ch, q->cursors.ce_next + i);
	cbd_invalidate_done(&q->ch.t->mem);
	cbd_fault_end(&f);
	return n;
}

/*
 * Strictly in order, each CE once; none is looked for when each SE has its answer.
 * PEEKED: a copy of the first one, which was seen without the lock, or NULL.
 * Returns the number of parts in BATCH.
 */
static unsigned gather(struct cbd_queue *q, struct cbd_part **batch, const struct cbd_ce *peeked)
{
	unsigned n = 0, dropped = 0;

	while (n < BATCH && q->cursors.se_next != q->cursors.ce_next) {
		struct cbd_ce ce;
		struct cbd_part *p;
		int r;

		if (n == 0 && peeked) {
			ce = *peeked;
			r = cbd_channel_accept_ce(&q->ch, q->cursors.ce_next, &ce);
		} else {
			if (dropped == 0)
				dropped = invalidate_ces(q);
			dropped--;
			r = cbd_channel_receive_invalidated_ce(&q->ch, q->cursors.ce_next, &ce);
		}
		if (r < 0)
			cbd_queue_break(q, -EIO);
		if (r <= 0)
			break;
		p = part_of(q, &ce);
		if (!p) {
			cbd_leave(q, CBD_LEAVE_UNKNOWN_TID);
			break;
		}
		q->cursors.ce_next++;
		p->ce = ce;
		p->state = CBD_PART_ARRIVED;
		batch[n++] = p;
	}
	return q->broken ? 0 : n;
}

/* Parts whose payload did not check are tried again beside new ones. */
static unsigned gather_retries(struct cbd_queue *q, struct cbd_part **batch, unsigned n)
{
	for (unsigned tag = 0; tag < q->parts.depth && n < BATCH; tag++) {
		struct cbd_part *p = &q->parts.all[tag];

		if (p->state == CBD_PART_ARRIVED && p->retry_until_ns)
			batch[n++] = p;
	}
	return n;
}

/* Rule 10: one is an accident, many are a channel that is not sane. */
static void note_bad(struct cbd_queue *q)
{
	uint64_t now = cbd_now_ns();

	q->counters.bad_payloads++;
	if (now - q->reap.bad_since_ns > BAD_NS) {
		q->reap.bad_since_ns = now;
		q->reap.bad_payloads = 0;
	}
	if (++q->reap.bad_payloads == BAD_MOST)
		cbd_leave(q, CBD_LEAVE_BAD_RATE);
}

/* Copied and submitted again, three times, then EIO (rule 10). */
static void resend(struct cbd_queue *q, struct cbd_part *p)
{
	cbd_part_retry(q, p, 0);
	note_bad(q);
	if (p->resends++ == CBD_MAX_RESENDS || !p->pending) {
		cbd_part_end(q, p, -EIO);
		return;
	}
	q->counters.resends++;
	p->fill_epoch = 0;
	cbd_part_publish(q, p);
}

static void bad_payload(struct cbd_queue *q, struct cbd_part *p)
{
	uint64_t now = cbd_now_ns();

	if (!p->retry_until_ns)
		cbd_part_retry(q, p, now + RETRY_NS);
	else if (now >= p->retry_until_ns)
		resend(q, p);
}

static bool is_write(enum cbd_op op)
{
	return op == CBD_OP_WRITE || op == CBD_OP_DISCARD || op == CBD_OP_WRITE_ZEROES;
}

/* A part with its answer, the epoch still in force. */
static void arrived(struct cbd_queue *q, struct cbd_part *p, int copied)
{
	int result = cbd_result_to_errno(p->ce.result);

	if (copied == -EAGAIN) {
		bad_payload(q, p);
		return;
	}
	if (p->ce.result == CBD_RESULT_BADCRC) {
		resend(q, p);
		return;
	}
	/* the answer of a backend that another one has replaced: not for
	 * the user, the next epoch executes it again */
	if (result == 0 && is_write(p->se.op) && !cbd_written(q))
		return;
	cbd_part_end(q, p, copied < 0 ? copied : result);
}

/* The epoch or the queue ended while these were copied, and whoever ended it
 * passed them by. */
static void publish_left(struct cbd_queue *q, struct cbd_part **batch, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct cbd_part *p = batch[i];

		if (p->busy || p->state == CBD_PART_FREE)
			continue;
		if (q->broken)
			cbd_part_end(q, p, q->broken);
		else if (p->state == CBD_PART_READY && q->attached)
			cbd_part_publish(q, p);
		else if (p->state == CBD_PART_ARRIVED)
			cbd_part_retry(q, p, cbd_now_ns() + RETRY_NS); /* its answer stands */
	}
}

/*
 * The grant is read again between the copy and the
 * completion: were it no longer ours, what was copied might be another's
 * (rule 5); then the parts are published again in the next epoch.
 */
bool cbd_reap_ring(struct cbd_queue *q, const struct cbd_ce *peeked)
{
	struct cbd_part *batch[BATCH];
	uint64_t epoch = q->ch.epoch;
	unsigned n;
	int r[BATCH];

	if (!q->attached)
		return false;
	n = gather(q, batch, peeked);
	if (q->parts.n_retries)
		n = gather_retries(q, batch, n);
	if (n == 0) {
		/* closed in order, and all that it did was read */
		if (q->closing && q->attached)
			cbd_queue_break(q, -ESHUTDOWN);
		return false;
	}
	cbd_step("io-reap");
	copy_out(q, batch, n, r);
	cbd_step("io-reaped");
	q->cursors.moved_ns = cbd_coarse_ns();
	q->epoch.leaves = 0;
	if (!cbd_grant_recheck(q) || q->ch.epoch != epoch) {
		publish_left(q, batch, n);
		/* when the grant cannot be read: rest, and look again */
		return q->broken || q->ch.epoch != epoch;
	}
	for (unsigned i = 0; i < n; i++) {
		/* resending drops the lock, and the epoch may end meanwhile */
		if (q->ch.epoch != epoch || batch[i]->state != CBD_PART_ARRIVED)
			continue;
		arrived(q, batch[i], r[i]);
	}
	cbd_queue_issue(q);
	return true;
}
