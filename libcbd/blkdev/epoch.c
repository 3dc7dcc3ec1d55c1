/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * epoch.c - the epochs of a queue: read the grant line, follow it into a new epoch, ask
 * to leave one (rules 6 and 7).  Owns the leave line, and most changes of the queue's
 * state (state.c has the table); stopped and broken are set in parts.c, which ends the
 * requests.
 *
 * A look at the grant also publishes: what was in flight goes into a new epoch, and what
 * was submitted while the grant was away into the same one (publish.c).
 *
 * What a dying backend leaves behind: its grant, in force until the next backend stores
 * another one; and perhaps a late store of an older grant, which counts only when it stays
 * (rule 7.9).
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

/* Published or arrived in the epoch that ends: to be published in the next one. */
static void ready_part(struct cbd_queue *q, struct cbd_part *p)
{
	cbd_part_retry(q, p, 0);
	p->held_beat = 0;
	if (p->busy) {
		p->state = CBD_PART_READY; /* the thread that copies it goes on from there */
		return;
	}
	if (!p->pending) {
		/* timed out.  The old epoch was drained, if this grant is true; if not, the
		 * backend has the request still */
		cbd_part_leave_behind(q, p);
		return;
	}
	/* a flush that was in flight at a loss: executed again it might succeed without
	 * what was lost (rule 8) */
	if (p->se.op == CBD_OP_FLUSH && cbd_flush_failed(q->b, p->pending)) {
		cbd_part_end(q, p, -EIO);
		return;
	}
	p->state = CBD_PART_READY;
}

static void publish_all_unlocks(struct cbd_queue *q)
{
	struct cbd_part *list[CBD_MAX_DEPTH];
	unsigned n = 0;

	for (unsigned tag = 0; tag < q->parts.depth; tag++)
		if (q->parts.all[tag].state == CBD_PART_READY)
			list[n++] = &q->parts.all[tag];
	qsort(list, n, sizeof(list[0]), by_order);
	cbd_parts_publish_unlocks(q, list, n);
}

/*
 * Rule 7.8: the grant names another generation than the one that is known.  The line is
 * stored before the grants, so it has this generation or a later one; if it is damaged
 * the next look at the grant finds that out again.
 */
static void geometry_check(struct cbd_queue *q, uint32_t generation)
{
	struct cbd_blkdev *b = q->b;
	struct cbd_geometry_line g;
	uint64_t was;

	if (cbd_word_load(&b->geometry.generation) == generation ||
	    cbd_line_get(b->t, cbd_backend_info_at(b->t, b->backend, CBD_BACKEND_GEOMETRY), &g) <
		    0 ||
	    g.size == 0 || g.size > INT64_MAX)
		return;
	pthread_mutex_lock(&b->lock);
	was = b->geometry.size;
	cbd_shared_set(&b->geometry.size, g.size);
	cbd_word_store(&b->geometry.generation, g.generation);
	if (g.flags & CBD_GEOMETRY_READ_ONLY)
		cbd_flag_set(&b->read_only, true);
	pthread_mutex_unlock(&b->lock);
	if (g.size != was)
		cbd_queue_note(q, g.size > was ? CBD_LOG_INFO : CBD_LOG_WARNING,
			       "backend %u: the disk has %llu bytes now, it had %llu", b->backend,
			       (unsigned long long)g.size, (unsigned long long)was);
}

void cbd_blkdev_find_peer(struct cbd_blkdev *b)
{
	struct cbd_claim_line claim;
	bool same;

	same = cbd_claim_owner(b->t, CBD_SIDE_BACKEND, b->backend, &claim) >= 0 &&
	       memcmp(claim.boot_id, b->t->identity.boot_id, 16) == 0;
	cbd_flag_set(&b->same_boot, same);
}

/* Backends move from host to host: with one of this boot somebody ends a sleep, with
 * another one the sleep has to be short. */
static unsigned longest_sleep_us(const struct cbd_blkdev *b)
{
	return cbd_flag_get(&b->same_boot) ? CBD_WAIT_QUEUE_LOCAL_US : CBD_WAIT_QUEUE_REMOTE_US;
}

void cbd_epoch_enter(struct cbd_queue *q, const struct cbd_grant_line *g)
{
	cbd_queue_become(q, CBD_QUEUE_ATTACHED);
	q->error = 0;
	cbd_channel_enter(&q->ch, g->epoch);
	cbd_count_add(&q->counted.now.epochs.epochs, 1);
	/* while it had no epoch another blkdev may have had the channel */
	cbd_counters_afresh(&q->counted);
	q->ch.data = q->ch.base + (size_t)g->data_page * CBD_PAGE_SIZE;
	q->ch.data_size = (uint64_t)g->data_pages * CBD_PAGE_SIZE;
	q->epoch.backend_incarnation = (uint32_t)(g->epoch >> 32);
	q->epoch.verifier = g->verifier;
	q->epoch.block_status = g->features & CBD_FEATURE_BLOCK_STATUS;
	cbd_flag_set(&q->b->block_status, q->epoch.block_status);
	cbd_shared_set(&q->cursors.se_next, 0); /* by definition (rule 4) */
	q->cursors.ce_next = 0;
	q->cursors.moved_ns = cbd_now_ns();
	q->epoch.doubt.since_beat = 0;
	cbd_wait_bound(&q->lead.wait, longest_sleep_us(q->b));
}

/* ------------------------------------------------------------------ leave */

/* It names the epoch that was left last, so it asks for something only while that one
 * is in force. */
static struct cbd_leave_line leave_line(const struct cbd_queue *q)
{
	return (struct cbd_leave_line){ .epoch = q->epoch.left_epoch,
					.incarnation = q->b->state.incarnation,
					.reason = q->epoch.leave_reason };
}

static void *leave_place(const struct cbd_queue *q)
{
	return cbd_channel_blkdev_line(&q->ch, CBD_CHANNEL_LEAVE);
}

void cbd_leave_assert(struct cbd_queue *q)
{
	struct cbd_leave_line line = leave_line(q);

	/* without an epoch the channel, and its leave line, may be another blkdev's */
	if (cbd_queue_has_epoch(q) || q->state == CBD_QUEUE_RETURNING)
		cbd_line_assert(q->b->t, leave_place(q), &line);
}

static const char *reason_text(enum cbd_leave_reason reason)
{
	switch (reason) {
	case CBD_LEAVE_BAD_ENTRY:
		return "an entry is damaged or lost";
	case CBD_LEAVE_UNKNOWN_TID:
		return "an answer to a request that was not asked";
	case CBD_LEAVE_STALLED:
		return "nothing is answered";
	case CBD_LEAVE_BAD_RATE:
		return "too many damaged payloads";
	default:
		return "unknown reason";
	}
}

/* WHY: for people. */
static void ask_to_leave(struct cbd_queue *q, const char *why)
{
	struct cbd_leave_line line = leave_line(q);

	cbd_queue_note(q, CBD_LOG_WARNING, "backend %u: channel %u: asking for a new epoch: %s",
		       q->b->backend, q->ch.id, why);
	cbd_step("leave");
	if (cbd_line_put(q->b->t, leave_place(q), &line) < 0)
		cbd_queue_break(q, -EIO);
	cbd_step("leave-written");
	cbd_ring_doorbell(q->b);
}

/* Of the epoch in force.  False: it is one too many, and the queue has ended. */
static bool count_leave(struct cbd_queue *q, enum cbd_leave_reason reason)
{
	q->epoch.left_epoch = q->ch.epoch;
	q->epoch.leave_reason = reason;
	cbd_count_add(&q->counted.now.epochs.left, 1);
	/* a slow disk is no reason to end requests; how long they wait for a backend that
	 * does nothing else, cbd_queue_timeouts() bounds */
	if (reason == CBD_LEAVE_STALLED) {
		q->epoch.stalls++;
		return true;
	}
	if (q->epoch.leaves++ < CBD_MAX_LEAVES)
		return true;
	cbd_queue_note(q, CBD_LOG_ERROR,
		       "backend %u: channel %u: %u epochs in a row had to be left: its "
		       "requests end with EIO",
		       q->b->backend, q->ch.id, CBD_MAX_LEAVES + 1);
	cbd_queue_break(q, -EIO);
	return false;
}

static void leave(struct cbd_queue *q, enum cbd_leave_reason reason, const char *why)
{
	if (!cbd_queue_may_leave(q) || !count_leave(q, reason))
		return;
	if (q->state == CBD_QUEUE_ATTACHED)
		cbd_queue_become(q, CBD_QUEUE_LEAVING);
	ask_to_leave(q, why);
}

void cbd_leave(struct cbd_queue *q, enum cbd_leave_reason reason)
{
	leave(q, reason, reason_text(reason));
}

/* ------------------------------------------------------------------ grant */

static void ungranted(struct cbd_queue *q)
{
	if (!cbd_queue_has_epoch(q) && q->state != CBD_QUEUE_RETURNING)
		return;
	cbd_queue_become(q, CBD_QUEUE_UNGRANTED);
}

/*
 * Rule 7.9.  A grant that no backend in force would store may be the store of another
 * process, or a line that came late: then the backend stores its own again at its next
 * beat.  True: it has stayed unchanged through such a beat, so the backend means it.
 */
static bool has_stayed(struct cbd_queue *q, const struct cbd_grant_line *g)
{
	struct cbd_doubt *d = &q->epoch.doubt;

	if (d->since_beat && memcmp(&d->grant, g, sizeof(*g)) == 0)
		return cbd_beats_suffice(q->b, d->since_beat);
	d->grant = *g;
	d->since_beat = cbd_beat_now(q->b);
	/* the next look is a whole one, which ends the doubt when the line is as before: so
	 * the short look at each batch of answers need not know of doubts */
	q->epoch.checked.epoch = 0;
	return false;
}

/*
 * The grant of the epoch in force was found.  Parts that are behind are over when it is
 * certain that the backend means this epoch, because then it has drained the one before:
 * the same proof as for a grant that is doubted, in the other direction.
 */
static void end_behind_unlocks(struct cbd_queue *q)
{
	if (q->parts.n_behind == 0)
		return;
	if (!q->epoch.stays_since)
		q->epoch.stays_since = cbd_beat_now(q->b);
	if (!cbd_beats_suffice(q->b, q->epoch.stays_since) ||
	    cbd_word_load(&q->b->beating_incarnation) != q->epoch.backend_incarnation)
		return;
	cbd_parts_end_behind(q);
	cbd_queue_issue_unlocks(q); /* tags and extents are free */
}

static void forget_doubt(struct cbd_queue *q)
{
	q->epoch.doubt.since_beat = 0;
}

static void nonsense(struct cbd_queue *q, const struct cbd_grant_line *g)
{
	if (!has_stayed(q, g))
		return;
	cbd_queue_note(q, CBD_LOG_ERROR, "%s; its requests end with EIO", cbd_errmsg());
	cbd_queue_break(q, -EIO);
}

/*
 * The backend means the epoch of G, which this queue has left behind: it had followed a
 * grant that was not true, or had been told that the backend is gone.  Its cursors of
 * that epoch are lost, so it asks for another one.
 */
static void go_back(struct cbd_queue *q, const struct cbd_grant_line *g)
{
	bool lost = g->verifier != q->epoch.verifier;

	if (cbd_grant_valid(q, g) < 0) {
		nonsense(q, g);
		return;
	}
	cbd_queue_note(q, CBD_LOG_WARNING,
		       "backend %u: channel %u: a late or forged grant was followed; returning "
		       "to the one that the backend keeps storing",
		       q->b->backend, q->ch.id);
	forget_doubt(q);
	cbd_queue_become(q, CBD_QUEUE_RETURNING);
	q->error = 0;
	if (q->ch.epoch != g->epoch && q->ch.epoch != q->epoch.returned)
		q->epoch.left_behind = q->ch.epoch;
	q->epoch.drains = false;
	cbd_channel_enter(&q->ch, g->epoch);
	q->epoch.returned = g->epoch;
	q->epoch.backend_incarnation = (uint32_t)(g->epoch >> 32);
	q->epoch.verifier = g->verifier;
	cbd_verifier_seen(q, q->epoch.backend_incarnation, g->verifier, lost, false);
	if (count_leave(q, CBD_LEAVE_BAD_ENTRY))
		ask_to_leave(q, "the positions in the rings of this one are lost");
}

/* Who beats is who granted it: no backend stores a grant of another one again. */
static bool is_meant(struct cbd_queue *q, const struct cbd_grant_line *g)
{
	return has_stayed(q, g) &&
	       cbd_word_load(&q->b->beating_incarnation) == (uint32_t)(g->epoch >> 32);
}

/* Older than the epoch that was followed last. */
static enum cbd_epoch_check older_grant(struct cbd_queue *q, const struct cbd_grant_line *g)
{
	if (cbd_grant_is_own(q, g) ? !is_meant(q, g) : !has_stayed(q, g))
		return CBD_EPOCH_SAME; /* the late store of a backend that was replaced */
	if (!cbd_grant_is_own(q, g)) {
		ungranted(q);
		return CBD_EPOCH_UNCLEAR;
	}
	go_back(q, g);
	return CBD_EPOCH_CHANGED;
}

/* Rule 7.3: enter the epoch of a grant, unless it is of no use. */
static void follow_grant_unlocks(struct cbd_queue *q, const struct cbd_grant_line *g)
{
	uint32_t incarnation = (uint32_t)(g->epoch >> 32);
	bool lost = g->verifier != q->epoch.verifier;

	if (cbd_grant_valid(q, g) < 0) {
		nonsense(q, g);
		return;
	}
	if (g->disk_identity != q->b->disk_identity) {
		ungranted(q); /* rule 7.7: its requests wait for their own disk */
		return;
	}
	geometry_check(q, g->geometry_generation);
	/* what was not answered is executed again: only what was acknowledged can be lost */
	cbd_verifier_seen(q, incarnation, g->verifier, lost, false);
	cbd_blkdev_find_peer(q->b);
	for (unsigned tag = 0; tag < q->parts.depth; tag++)
		if (q->parts.all[tag].state != CBD_PART_FREE)
			ready_part(q, &q->parts.all[tag]);
	cbd_epoch_enter(q, g);
	publish_all_unlocks(q);
	cbd_queue_issue_unlocks(q);
}

/* A write that is not answered may have been executed before the sync that failed, and
 * will be acknowledged after the loss was seen. */
static bool writes_in_flight(const struct cbd_queue *q)
{
	for (unsigned tag = 0; tag < q->parts.depth; tag++) {
		const struct cbd_part *p = &q->parts.all[tag];

		if ((p->state == CBD_PART_PUBLISHED || p->state == CBD_PART_ARRIVED) &&
		    cbd_op_writes(p->se.op))
			return true;
	}
	return false;
}

/* What the grant of the epoch in force says of the queue. */
static enum cbd_queue_state state_of(const struct cbd_queue *q, const struct cbd_grant_line *g)
{
	if (g->epoch == q->epoch.returned)
		return g->state == CBD_GRANT_CLOSED ? CBD_QUEUE_STOPPED : CBD_QUEUE_RETURNING;
	if (g->state == CBD_GRANT_LEAVING)
		return CBD_QUEUE_DRAINING;
	if (g->state == CBD_GRANT_CLOSED)
		return CBD_QUEUE_CLOSING;
	return cbd_queue_has_left(q) ? CBD_QUEUE_LEAVING : CBD_QUEUE_ATTACHED;
}

static void same_epoch_unlocks(struct cbd_queue *q, const struct cbd_grant_line *g)
{
	bool again = q->state == CBD_QUEUE_UNGRANTED;
	enum cbd_queue_state to = state_of(q, g);

	q->epoch.drains = g->state == CBD_GRANT_LEAVING;
	if (to == CBD_QUEUE_STOPPED)
		cbd_queue_stop(q);
	else if (q->state != to)
		cbd_queue_become(q, to);
	if (again)
		publish_all_unlocks(q); /* what was submitted while the grant was away */
	if (!cbd_queue_has_epoch(q) || q->ch.epoch != g->epoch)
		return;
	geometry_check(q, g->geometry_generation);
	if (g->verifier != q->epoch.verifier) {
		/* a sync has failed there (rule 8) */
		q->epoch.verifier = g->verifier;
		cbd_verifier_seen(q, q->epoch.backend_incarnation, g->verifier, true,
				  writes_in_flight(q));
	}
	/* asked before: then the backend drains; else it asks for this (design.md, "A queue") */
	if (g->state == CBD_GRANT_LEAVING)
		leave(q, CBD_LEAVE_BAD_ENTRY, "the backend asks for it");
	end_behind_unlocks(q);
}

static void new_epoch_unlocks(struct cbd_queue *q, const struct cbd_grant_line *g)
{
	if (g->epoch == q->epoch.left_behind && g->state != CBD_GRANT_CLOSED)
		go_back(q, g); /* it was true: what is in flight there has to be drained */
	else if (g->state == CBD_GRANT_GRANTED || g->state == CBD_GRANT_LEAVING)
		follow_grant_unlocks(q, g);
	else if (g->state == CBD_GRANT_CLOSED)
		cbd_queue_stop(q); /* that backend was cleared: what the one before it left is
				    * not executed any more */
}

/* A grant that is GRANTED and in force needs no second check while its bytes are the
 * same. */
static void remember(struct cbd_queue *q, const struct cbd_grant_line *g)
{
	q->epoch.checked = *g;
	if (g->state != CBD_GRANT_GRANTED)
		q->epoch.checked.epoch = 0;
}

enum cbd_epoch_check cbd_grant_check_unlocks(struct cbd_queue *q)
{
	const void *place = cbd_channel_backend_line(&q->ch, CBD_CHANNEL_GRANT);
	struct cbd_grant_line g;
	uint64_t epoch = q->ch.epoch;
	int r;

	if (q->state == CBD_QUEUE_BROKEN)
		return CBD_EPOCH_CHANGED;
	r = cbd_line_get(q->b->t, place, &g);
	if (r < 0 || g.epoch != epoch)
		q->epoch.stays_since = 0;
	if (r == -EIO)
		cbd_queue_break(q, -EIO);
	if (r < 0) { /* damaged: the backend stores it again at its next beat */
		forget_doubt(q);
		return r == -EIO ? CBD_EPOCH_CHANGED : CBD_EPOCH_UNCLEAR;
	}
	if (memcmp(&q->epoch.doubt.grant, &g, sizeof(g)) != 0)
		forget_doubt(q);
	if (g.epoch != 0 && (int64_t)(g.epoch - epoch) < 0)
		return older_grant(q, &g);
	if (!cbd_grant_is_own(q, &g)) {
		forget_doubt(q);
		ungranted(q); /* rule 5; a new grant may come */
		return CBD_EPOCH_UNCLEAR;
	}
	if (g.epoch != epoch)
		new_epoch_unlocks(q, &g);
	else if (!cbd_queue_has_ended(q))
		same_epoch_unlocks(q, &g);
	else if (g.state != CBD_GRANT_CLOSED && is_meant(q, &g))
		go_back(q, &g); /* it was not cleared */
	if (q->ch.epoch != epoch || cbd_queue_has_ended(q))
		return CBD_EPOCH_CHANGED;
	if (g.epoch != epoch)
		return CBD_EPOCH_UNCLEAR; /* a new epoch that cannot be entered yet */
	forget_doubt(q);
	remember(q, &g);
	return CBD_EPOCH_SAME;
}

enum cbd_epoch_check cbd_grant_recheck_unlocks(struct cbd_queue *q, const struct cbd_grant_line *g)
{
	bool served = q->state == CBD_QUEUE_ATTACHED || q->state == CBD_QUEUE_LEAVING;

	if (served && q->epoch.checked.epoch == q->ch.epoch &&
	    memcmp(g, &q->epoch.checked, sizeof(*g)) == 0)
		return CBD_EPOCH_SAME;
	return cbd_grant_check_unlocks(q);
}
