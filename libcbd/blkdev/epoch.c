/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * epoch.c - the epochs of a queue: read the grant and follow it into a new epoch, ask
 * to leave one (rules 6 and 7).
 *
 * States of a queue: not attached (no epoch in force: requests wait), attached,
 * closing (the backend stopped in order: what it did is still read), broken.
 * What a dying backend leaves: a grant of an older epoch (ignored).
 */
#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "blkdev/blkdev.h"
#include "base/error.h"
#include "memory/fault.h"
#include "base/step.h"

bool cbd_grant_is_own(const struct cbd_queue *q, const struct cbd_grant_line *g)
{
	return g->epoch != 0 && g->state != CBD_GRANT_FREE && g->blkdev == q->b->slot &&
	       g->incarnation == q->b->state.incarnation && g->queue == q->index;
}

/* What the backend wrote is checked before it is used. */
int cbd_grant_valid(const struct cbd_queue *q, const struct cbd_grant_line *g)
{
	uint64_t start = (uint64_t)g->data_page * CBD_PAGE_SIZE;
	uint64_t size = (uint64_t)g->data_pages * CBD_PAGE_SIZE;
	uint64_t first = (uint64_t)(q->ch.data - q->ch.base);

	if (g->ring_slots != q->ch.slots || g->depth == 0 || g->depth > g->ring_slots ||
	    g->depth < q->parts.depth || (q->parts.all && g->data_pages < q->parts.extents.units) ||
	    start < first || start > q->ch.length || size > q->ch.length - start ||
	    size < q->b->geometry.max_data)
		return cbd_error(EPROTO, "backend %u: channel %u: the grant makes no sense",
				 q->b->backend, q->ch.id);
	return 0;
}

static int by_order(const void *a, const void *b)
{
	const struct cbd_part *x = *(struct cbd_part *const *)a, *y = *(struct cbd_part *const *)b;

	return x->order < y->order ? -1 : x->order > y->order;
}

/* A flush that was in flight at a loss fails: resubmitted, it might succeed
 * without what was lost (rule 8). */
static void ready_part(struct cbd_queue *q, struct cbd_part *p)
{
	cbd_part_retry(q, p, 0);
	if (p->busy) {
		p->state = CBD_PART_READY;
		return;
	}
	if (!p->pending) {
		cbd_part_end(q, p, -EIO); /* timed out; the epoch was drained */
		return;
	}
	if (p->se.op == CBD_OP_FLUSH && cbd_flush_failed(q->b, p->pending)) {
		cbd_part_end(q, p, -EIO);
		return;
	}
	p->state = CBD_PART_READY;
}

static void publish_all(struct cbd_queue *q)
{
	struct cbd_part *list[CBD_MAX_DEPTH];
	uint64_t epoch = q->ch.epoch;
	unsigned n = 0;

	for (unsigned tag = 0; tag < q->parts.depth; tag++)
		if (q->parts.all[tag].state == CBD_PART_READY)
			list[n++] = &q->parts.all[tag];
	qsort(list, n, sizeof(list[0]), by_order);
	/* publishing drops the lock: look again at each */
	for (unsigned i = 0; i < n && q->attached && q->ch.epoch == epoch; i++)
		if (list[i]->state == CBD_PART_READY && !list[i]->busy)
			cbd_part_publish(q, list[i]);
}

void cbd_blkdev_find_peer(struct cbd_blkdev *b)
{
	struct cbd_claim_line claim;
	bool same;

	same = cbd_claim_owner(b->t, CBD_SIDE_BACKEND, b->backend, &claim) >= 0 &&
	       memcmp(claim.boot_id, b->t->identity.boot_id, 16) == 0;
	cbd_flag_set(&b->same_boot, same);
}

/* Enter the epoch of a checked grant: both cursors are 0 by definition. */
void cbd_epoch_enter(struct cbd_queue *q, const struct cbd_grant_line *g)
{
	cbd_channel_enter(&q->ch, g->epoch);
	q->ch.data = q->ch.base + (size_t)g->data_page * CBD_PAGE_SIZE;
	q->ch.data_size = (uint64_t)g->data_pages * CBD_PAGE_SIZE;
	q->epoch.backend_incarnation = (uint32_t)(g->epoch >> 32);
	q->epoch.verifier = g->verifier;
	q->cursors.se_next = q->cursors.ce_next = 0;
	q->cursors.moved_ns = cbd_now_ns();
	q->attached = true;
	q->closing = false;
	q->broken = 0;
}

/* Of the epoch that was left last: when it is the one in force, I ask. */
static struct cbd_leave_line leave_line(const struct cbd_queue *q)
{
	return (struct cbd_leave_line){ .epoch = q->epoch.left_epoch,
					.incarnation = q->b->state.incarnation,
					.reason = q->epoch.leave_reason };
}

/* At each beat; the line is mine as long as the channel is. */
void cbd_leave_assert(struct cbd_queue *q)
{
	struct cbd_leave_line line = leave_line(q);

	if (q->attached && !q->broken)
		cbd_line_assert(q->b->t, cbd_channel_blkdev_line(&q->ch, CBD_CHANNEL_LEAVE), &line);
}

/* Rule 6. */
void cbd_leave(struct cbd_queue *q, enum cbd_leave_reason reason)
{
	struct cbd_leave_line line;

	if (!q->attached || q->epoch.left_epoch == q->ch.epoch)
		return;
	q->epoch.left_epoch = q->ch.epoch;
	q->epoch.leave_reason = reason;
	line = leave_line(q);
	q->counters.leaves++;
	if (q->epoch.leaves++ == CBD_MAX_LEAVES) {
		cbd_log(CBD_LOG_ERROR, "backend %u: channel %u keeps failing; its I/O ends",
			q->b->backend, q->ch.id);
		cbd_queue_break(q, -EIO);
		return;
	}
	cbd_log(CBD_LOG_WARNING, "backend %u: channel %u: leaving the epoch, reason %d",
		q->b->backend, q->ch.id, (int)reason);
	cbd_step("leave");
	if (cbd_line_put(q->b->t, cbd_channel_blkdev_line(&q->ch, CBD_CHANNEL_LEAVE), &line) < 0)
		cbd_queue_break(q, -EIO);
	cbd_step("leave-written");
	cbd_ring_doorbell(q->b);
}

/* Rule 7.3: a new epoch. */
static void follow_grant(struct cbd_queue *q, const struct cbd_grant_line *g)
{
	uint32_t incarnation = (uint32_t)(g->epoch >> 32);
	bool lost = g->verifier != q->epoch.verifier;

	if (cbd_grant_valid(q, g) < 0) {
		cbd_log(CBD_LOG_ERROR, "%s", cbd_errmsg());
		cbd_queue_break(q, -EIO);
		return;
	}
	if (g->disk_identity != q->b->disk_identity) {
		cbd_log(CBD_LOG_ERROR, "backend %u: came back with another disk; I/O ends",
			q->b->backend);
		cbd_queue_break(q, -ESHUTDOWN);
		q->foreign = true;
		return;
	}
	/* what is out is executed again: only the acknowledged can be lost */
	cbd_verifier_seen(q->b, incarnation, g->verifier, lost, false);
	cbd_blkdev_find_peer(q->b);
	for (unsigned tag = 0; tag < q->parts.depth; tag++)
		if (q->parts.all[tag].state != CBD_PART_FREE)
			ready_part(q, &q->parts.all[tag]);
	cbd_epoch_enter(q, g);
	publish_all(q);
	cbd_queue_issue(q);
}

/* A write that is out may have been executed before the sync that failed, and
 * is acknowledged after the loss was seen. */
static bool writes_out(const struct cbd_queue *q)
{
	for (unsigned tag = 0; tag < q->parts.depth; tag++) {
		const struct cbd_part *p = &q->parts.all[tag];

		if ((p->state == CBD_PART_PUBLISHED || p->state == CBD_PART_ARRIVED) &&
		    p->se.op != CBD_OP_READ && p->se.op != CBD_OP_FLUSH)
			return true;
	}
	return false;
}

static void same_epoch(struct cbd_queue *q, const struct cbd_grant_line *g)
{
	if (g->verifier != q->epoch.verifier) {
		/* a sync has failed there (rule 8) */
		q->epoch.verifier = g->verifier;
		cbd_verifier_seen(q->b, q->epoch.backend_incarnation, q->epoch.verifier, true,
				  writes_out(q));
	}
	q->draining = g->state == CBD_GRANT_LEAVING;
	if (q->draining)
		cbd_leave(q, CBD_LEAVE_BAD_ENTRY);
	q->closing = g->state == CBD_GRANT_CLOSED;
}

/* Lost and found: the owner stored the grant again. What was submitted
 * meanwhile is published now. */
static void attach_again(struct cbd_queue *q)
{
	if (q->attached || q->broken)
		return;
	q->attached = true;
	publish_all(q);
}

/* A new epoch that is closed already: its backend stopped in order, and what
 * the one before left is not executed any more. */
static void new_epoch(struct cbd_queue *q, const struct cbd_grant_line *g)
{
	if (g->state == CBD_GRANT_GRANTED || g->state == CBD_GRANT_LEAVING) {
		follow_grant(q, g);
		return;
	}
	if (g->state == CBD_GRANT_CLOSED) {
		q->attached = false;
		cbd_queue_break(q, -ESHUTDOWN);
	}
}

bool cbd_grant_check(struct cbd_queue *q)
{
	struct cbd_grant_line g;
	uint64_t epoch = q->ch.epoch;
	int r;

	if (q->foreign || (q->broken && q->broken != -ESHUTDOWN))
		return false;
	r = cbd_line_get(q->b->t, cbd_channel_backend_line(&q->ch, CBD_CHANNEL_GRANT), &g);
	if (r == -EIO)
		cbd_queue_break(q, -EIO);
	if (r < 0)
		return false; /* damaged: its writer stores it again at its next beat */
	if (g.epoch != 0 && (int64_t)(g.epoch - epoch) < 0)
		return true; /* a zombie's late store */
	if (!cbd_grant_is_own(q, &g)) {
		q->attached = false; /* rule 5; a grant may come */
		return false;
	}
	if (g.epoch != epoch) {
		new_epoch(q, &g);
		return false;
	}
	attach_again(q);
	if (q->ch.epoch == epoch && !q->broken)
		same_epoch(q, &g);
	if (q->ch.epoch != epoch || q->broken)
		return false;
	q->epoch.grant = g;
	q->epoch.quiet = g.state == CBD_GRANT_GRANTED;
	return true;
}

/*
 * Rule 5 in the fast path.  All 64 bytes are those that were checked and had
 * nothing new: the same line, and whole.
 */
bool cbd_grant_recheck(struct cbd_queue *q)
{
	struct cbd_grant_line g;
	struct cbd_fault f;

	if (!q->epoch.quiet || !q->attached || q->broken || q->foreign ||
	    q->epoch.grant.epoch != q->ch.epoch || !CBD_FAULT_TRY(&f))
		return cbd_grant_check(q);
	cbd_line_load(&q->ch.t->mem, cbd_channel_backend_line(&q->ch, CBD_CHANNEL_GRANT), &g);
	cbd_fault_end(&f);
	return memcmp(&g, &q->epoch.grant, sizeof(g)) == 0 || cbd_grant_check(q);
}
