/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * admit.c - requests of blkdevs: attach, detach, leave (rules 2 to 6), at each tick.
 *
 * Decides; channels and attachments are changed by grants.c and attachment.c.  Every
 * step is written to the slot's own lines before the next one, so that the next backend
 * can rebuild all of it from there.
 */
#include <config.h>

#include <string.h>

#include "backend/adopt.h"
#include "backend/attachment.h"
#include "base/error.h"
#include "memory/fault.h"

/* -------------------------------------------------------------- admission */

/* Rule 2: proven, not merely silent. */
static bool is_dead(const struct cbd_backend *b, unsigned d)
{
	const struct cbd_attachment *att = &b->att[d];
	struct cbd_claim_line claim;

	if (!cbd_claim_raised(b->t, CBD_SIDE_BLKDEV, d, att->host, &claim))
		return true;
	return claim.state == CBD_CLAIM_RAISED && memcmp(claim.owner, att->owner, 16) != 0;
}

enum place {
	PLACE_FREE,
	PLACE_SOON, /* when those that leave have left */
	PLACE_NONE, /* the maximum of blkdevs is attached */
};

/*
 * Is there a place for one more?  A blkdev of a host is admitted only when the
 * channels of every dead one of that host are retired (rule 2): else an old write
 * could land after a new one.
 */
static enum place find_place(struct cbd_backend *b, const struct cbd_request_line *q)
{
	unsigned live = 0, leaving = 0;
	bool wait = false;

	for (unsigned o = 0; o < b->t->header.blkdevs; o++) {
		struct cbd_attachment *att = &b->att[o];

		if (att->state == CBD_ATT_LIVE && is_dead(b, o))
			cbd_attachment_stop(b, o, CBD_ATT_DYING);
		live += att->state == CBD_ATT_LIVE;
		leaving += cbd_attachment_is_leaving(att);
		wait |= cbd_attachment_is_leaving(att) && att->host == q->host;
	}
	if (live >= b->max_blkdevs)
		return PLACE_NONE;
	return wait || live + leaving >= b->max_blkdevs ? PLACE_SOON : PLACE_FREE;
}

static unsigned free_channels(const struct cbd_backend *b)
{
	unsigned n = 0;

	for (unsigned c = 0; c < b->t->header.channels; c++)
		n += cbd_pool_is_in(&b->channels[c], CBD_POOL_FREE);
	return n;
}

static int grant_all(struct cbd_backend *b, unsigned d, const struct cbd_request_line *q)
{
	unsigned queue = 0, depth = q->depth ? q->depth : b->t->header.ring_slots;

	for (unsigned c = 0; c < b->t->header.channels && queue < q->queues; c++) {
		struct cbd_bchannel *bc = &b->channels[c];
		int r;

		if (!cbd_pool_is_in(bc, CBD_POOL_FREE))
			continue;
		bc->grant.blkdev = (uint16_t)d;
		bc->grant.incarnation = q->incarnation;
		bc->grant.queue = (uint16_t)queue++;
		bc->grant.depth = (uint16_t)depth;
		r = cbd_grant_give(b, bc, q->host);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Did the owner of the claim write the request?  The claim of a new owner may stand
 * beside the request line of the owner before, which is not to be granted. */
static bool is_bound(struct cbd_backend *b, unsigned d, const struct cbd_request_line *q,
		     const struct cbd_claim_line *claim)
{
	struct cbd_state_line s;

	return claim->state == CBD_CLAIM_RAISED &&
	       cbd_line_get(b->t, cbd_blkdev_info_at(b->t, d, CBD_BLKDEV_STATE), &s) == 0 &&
	       s.incarnation == q->incarnation && memcmp(s.owner, claim->owner, 16) == 0;
}

/* True: not decided yet. */
static bool admit(struct cbd_backend *b, unsigned d, const struct cbd_request_line *q)
{
	const struct cbd_header *h = &b->t->header;
	struct cbd_claim_line claim;
	enum place place;

	if (q->host >= h->hosts || q->queues == 0 || q->queues > h->channels ||
	    q->depth > h->ring_slots) {
		cbd_reply_refuse(b, d, q, CBD_REFUSED_REQUEST, 0);
		return false;
	}
	/* the line of a blkdev that is gone: nobody waits for an answer */
	if (!cbd_claim_raised(b->t, CBD_SIDE_BLKDEV, d, q->host, &claim) ||
	    !is_bound(b, d, q, &claim))
		return false;
	place = find_place(b, q);
	if (place == PLACE_SOON)
		return true;
	if (b->draining && b->handover)
		return true; /* the next backend answers */
	if (b->draining)
		cbd_reply_refuse(b, d, q, CBD_REFUSED_STOPPING, 0);
	else if (b->allow_hosts && !(b->allow_hosts & 1ull << q->host))
		cbd_reply_refuse(b, d, q, CBD_REFUSED_HOST, 0);
	else if (place == PLACE_NONE)
		cbd_reply_refuse(b, d, q, CBD_REFUSED_BUSY, 0);
	else if (free_channels(b) < q->queues)
		cbd_reply_refuse(b, d, q, CBD_REFUSED_CHANNELS, free_channels(b));
	else {
		cbd_attachment_begin(b, d, q, &claim);
		if (grant_all(b, d, q) < 0) {
			cbd_attachment_stop(b, d, CBD_ATT_DYING);
			cbd_reply_refuse(b, d, q, CBD_REFUSED_CHANNELS, 0);
			return true;
		}
		cbd_reply_grant(b, d, q);
		cbd_log(CBD_LOG_INFO, "backend %u: blkdev %u of host %u attached, %u queue%s",
			b->id, d, q->host, q->queues, q->queues == 1 ? "" : "s");
	}
	return false;
}

/* One blkdev slot; true while something is under way. */
static bool examine(struct cbd_backend *b, unsigned d)
{
	struct cbd_attachment *att = &b->att[d];
	struct cbd_request_line q;
	bool for_me;

	/* a damaged line asks for nothing: a living owner stores it again at its next
	 * beat, and that the owner is dead is seen from its claim */
	if (cbd_line_get(b->t, cbd_blkdev_info_at(b->t, d, CBD_BLKDEV_REQUEST), &q) < 0)
		memset(&q, 0, sizeof(q));
	for_me = q.backend == b->id && q.incarnation != 0;
	if (att->state == CBD_ATT_LIVE && is_dead(b, d))
		cbd_attachment_stop(b, d, CBD_ATT_DYING);
	if (att->state == CBD_ATT_LIVE && for_me && (int32_t)(q.incarnation - att->incarnation) > 0)
		cbd_attachment_stop(b, d, CBD_ATT_DYING); /* another life of the slot */
	if (att->state == CBD_ATT_LIVE && for_me && q.incarnation == att->incarnation &&
	    (q.state == CBD_REQUEST_DETACH || q.state == CBD_REQUEST_ABANDONED))
		cbd_attachment_stop(b, d, CBD_ATT_DETACHING);
	if (att->state == CBD_ATT_LIVE && b->draining)
		cbd_attachment_become(att, CBD_ATT_STAYING); /* its channels are stopping */
	if (cbd_attachment_is_leaving(att)) {
		if (!cbd_attachment_retired(b, d))
			return true;
		cbd_attachment_end(b, d);
	}
	if (!for_me || att->state != CBD_ATT_NONE)
		return false;
	if (cbd_reply_is_given(b, d, &q)) {
		/* granted, and the slot was cleared by mistake: its owner lives and
		 * still asks, so it gets its channels again */
		if (!b->draining)
			cbd_adopt_blkdev(b, d);
		return false;
	}
	if (q.state == CBD_REQUEST_ATTACH)
		return admit(b, d, &q);
	if (q.state == CBD_REQUEST_DETACH)
		cbd_reply_put(b, d, &q, (struct cbd_reply_line){ .state = CBD_REPLY_DETACHED });
	return false;
}

/* ------------------------------------------------------------------ leave */

static bool asks_to_leave(const struct cbd_backend *b, const struct cbd_bchannel *bc)
{
	struct cbd_leave_line leave;

	return cbd_line_get(b->t, cbd_channel_blkdev_line(&bc->hc.ch, CBD_CHANNEL_LEAVE), &leave) ==
		       0 &&
	       leave.epoch == bc->grant.epoch && leave.incarnation == bc->grant.incarnation;
}

/* Rule 6: only if it names the current epoch; stop, drain, grant anew. */
static bool look_at_channel(struct cbd_backend *b, struct cbd_bchannel *bc, bool leaves)
{
	if (!cbd_backend_serves(bc) || b->att[bc->grant.blkdev].state != CBD_ATT_LIVE ||
	    b->draining)
		return false;
	if (cbd_pool_is_retired(bc)) {
		cbd_grant_give(b, bc, b->att[bc->grant.blkdev].host);
		return false;
	}
	if (cbd_pool_is_in(bc, CBD_POOL_STOPPING))
		return true;
	if (cbd_hchannel_work(&bc->hc) == CBD_WORK_BROKEN && cbd_pool_is_in(bc, CBD_POOL_SERVED)) {
		cbd_pool_become(bc, CBD_POOL_ASKED);
		/* LEAVING is a request here: nothing drains until the blkdev answers it */
		cbd_log(CBD_LOG_WARNING,
			"backend %u: channel %u: damaged or too many entries, or the memory is "
			"gone; asking blkdev %u to leave epoch %#llx",
			b->id, bc->hc.ch.id, bc->grant.blkdev, (unsigned long long)bc->grant.epoch);
		cbd_grant_set_state(b, bc, CBD_GRANT_LEAVING);
	}
	if (!leaves || !asks_to_leave(b, bc))
		return false;
	/* LEAVING, after the blkdev has left, tells it that the channel drains: it then
	 * waits for as long as the disk needs */
	cbd_grant_set_state(b, bc, CBD_GRANT_LEAVING);
	cbd_count_add(&b->ended.epochs.left, 1);
	cbd_backend_stop_channel(bc);
	return true;
}

/* ------------------------------------------------------------------- tick */

/*
 * Which doorbells have changed, and for which channels does the blkdev ask to leave?
 * The lines are invalidated in a batch under one fence; of a line whose first word
 * is as it was seen last nothing else is read.
 */
static void sample(struct cbd_backend *b, bool *rung, bool *leaves)
{
	const struct cbd_mem *m = &b->t->mem;
	struct cbd_fault f;
	struct cbd_line copy;

	if (!CBD_FAULT_TRY(&f))
		return; /* the next beat fails on it */
	for (unsigned d = 0; d < b->t->header.blkdevs; d++)
		cbd_line_invalidate_start(m, cbd_blkdev_info_at(b->t, d, CBD_BLKDEV_DOORBELL));
	for (unsigned c = 0; c < b->t->header.channels; c++)
		if (cbd_backend_serves(&b->channels[c]))
			cbd_line_invalidate_start(m, cbd_channel_blkdev_line(&b->channels[c].hc.ch,
									     CBD_CHANNEL_LEAVE));
	cbd_invalidate_done(m);
	for (unsigned d = 0; d < b->t->header.blkdevs; d++)
		rung[d] = !cbd_line_await(m, cbd_blkdev_info_at(b->t, d, CBD_BLKDEV_DOORBELL),
					  b->bells[d], &copy);
	for (unsigned c = 0; c < b->t->header.channels; c++)
		leaves[c] = cbd_backend_serves(&b->channels[c]) &&
			    cbd_line_await(m,
					   cbd_channel_blkdev_line(&b->channels[c].hc.ch,
								   CBD_CHANNEL_LEAVE),
					   b->channels[c].grant.epoch, &copy);
	cbd_fault_end(&f);
}

static void answer_bell(struct cbd_backend *b, unsigned d)
{
	struct cbd_doorbell_line bell;

	if (cbd_line_get(b->t, cbd_blkdev_info_at(b->t, d, CBD_BLKDEV_DOORBELL), &bell) == 0)
		b->bells[d] = bell.count;
}

bool cbd_backend_admit(struct cbd_backend *b, bool beat)
{
	bool rung[CBD_MAX_BLKDEVS] = { false }, leaves[CBD_MAX_CHANNELS] = { false };
	bool busy = false;

	if (beat)
		cbd_adopt_late(b);
	sample(b, rung, leaves);
	for (unsigned d = 0; d < b->t->header.blkdevs; d++) {
		/* the bell before the request: a later request rings again */
		if (rung[d])
			answer_bell(b, d);
		if (beat || rung[d] || b->waiting || b->draining)
			busy |= examine(b, d);
	}
	for (unsigned c = 0; c < b->t->header.channels; c++)
		busy |= look_at_channel(b, &b->channels[c], leaves[c]);
	b->waiting = busy;
	return busy;
}
