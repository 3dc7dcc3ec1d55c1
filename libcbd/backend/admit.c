/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * admit.c - requests of blkdevs: attach, detach, leave; grants and epochs
 * (rules 2 to 7).
 *
 * Owns the states of the pool's channels and of the attachments; the two tables
 * below say what may become what, docs/design.md who does it and why.  Every step is
 * written to the slot's own lines before the next one, so that the next backend can
 * rebuild all of it from there.
 */
#include <config.h>

#include <assert.h>
#include <string.h>

#include "backend/backend.h"
#include "base/error.h"
#include "memory/fault.h"
#include "slots/host.h"
#include "base/step.h"

void *cbd_backend_reply(const struct cbd_backend *b, unsigned d)
{
	return cbd_backend_reply_at(b->t, b->id, d);
}

static void *blkdev_line(const struct cbd_backend *b, unsigned d, unsigned line)
{
	return cbd_blkdev_info_at(b->t, d, line);
}

/* ----------------------------------------------------------------- states */

#define BIT(state) (1u << (state))

static const unsigned pool_may_become[CBD_POOL_STATES] = {
	[CBD_POOL_FREE] = BIT(CBD_POOL_SERVED) | BIT(CBD_POOL_QUARANTINED),
	[CBD_POOL_SERVED] = BIT(CBD_POOL_ASKED) | BIT(CBD_POOL_STOPPING),
	[CBD_POOL_ASKED] = BIT(CBD_POOL_STOPPING),
	[CBD_POOL_STOPPING] = BIT(CBD_POOL_SERVED) | BIT(CBD_POOL_FREE) | BIT(CBD_POOL_CLOSED),
	[CBD_POOL_QUARANTINED] = BIT(CBD_POOL_SERVED) | BIT(CBD_POOL_FREE),
	[CBD_POOL_CLOSED] = 0,
};

static const unsigned attachment_may_become[CBD_ATT_STATES] = {
	[CBD_ATT_NONE] = BIT(CBD_ATT_LIVE),
	[CBD_ATT_LIVE] = BIT(CBD_ATT_DETACHING) | BIT(CBD_ATT_DYING) | BIT(CBD_ATT_STAYING),
	[CBD_ATT_DETACHING] = BIT(CBD_ATT_NONE),
	[CBD_ATT_DYING] = BIT(CBD_ATT_NONE),
	[CBD_ATT_STAYING] = BIT(CBD_ATT_NONE),
};

static void channel_become(struct cbd_bchannel *bc, enum cbd_pool_state to)
{
	assert(pool_may_become[cbd_hchannel_pool(&bc->hc)] & BIT(to));
	cbd_word_store(&bc->hc.pool, to);
}

static void attachment_become(struct cbd_attachment *att, enum cbd_attachment_state to)
{
	assert(attachment_may_become[att->state] & BIT(to));
	att->state = to;
}

static bool is_in(const struct cbd_bchannel *bc, enum cbd_pool_state state)
{
	return cbd_hchannel_pool(&bc->hc) == state;
}

bool cbd_backend_serves(const struct cbd_bchannel *bc)
{
	return is_in(bc, CBD_POOL_SERVED) || is_in(bc, CBD_POOL_ASKED) ||
	       is_in(bc, CBD_POOL_STOPPING);
}

static bool is_retired(const struct cbd_bchannel *bc)
{
	return cbd_hchannel_work(&bc->hc) == CBD_WORK_RETIRED;
}

/* ----------------------------------------------------------------- grants */

int cbd_backend_put_grant(struct cbd_backend *b, struct cbd_bchannel *bc)
{
	return cbd_line_put(b->t, cbd_channel_backend_line(&bc->hc.ch, CBD_CHANNEL_GRANT),
			    &bc->grant);
}

static void set_grant_state(struct cbd_backend *b, struct cbd_bchannel *bc,
			    enum cbd_grant_state state)
{
	pthread_mutex_lock(&b->verifier_lock);
	bc->grant.state = (uint16_t)state;
	cbd_backend_put_grant(b, bc);
	pthread_mutex_unlock(&b->verifier_lock);
}

static void fill_grant(struct cbd_backend *b, struct cbd_bchannel *bc)
{
	struct cbd_grant_line *g = &bc->grant;
	const struct cbd_channel *ch = &bc->hc.ch;

	/* rule 3: never 0, never used twice */
	g->epoch = (uint64_t)b->state.incarnation << 32 | ++bc->grants;
	g->state = CBD_GRANT_GRANTED;
	g->ring_slots = (uint16_t)ch->slots;
	g->data_page = (uint32_t)((ch->data - ch->base) / CBD_PAGE_SIZE);
	g->data_pages = (uint32_t)(ch->data_size / CBD_PAGE_SIZE);
	g->disk_identity = b->identity.disk_identity;
	g->verifier = b->identity.verifier;
	g->geometry_generation = b->geometry.generation;
	g->features = b->features;
}

static struct cbd_handler *least_loaded(struct cbd_backend *b)
{
	struct cbd_handler *least = &b->handlers[0];

	for (unsigned i = 1; i < b->n_handlers; i++)
		if (b->handlers[i].assigned < least->assigned)
			least = &b->handlers[i];
	return least;
}

static void describe_disk(const struct cbd_backend *b, struct cbd_hchannel *hc)
{
	hc->data_crc = b->features & CBD_FEATURE_DATA_CRC;
	cbd_shared_set(&hc->disk_size, b->geometry.size);
	hc->max_data = b->geometry.max_data;
	hc->max_range = b->geometry.max_range;
	hc->read_only = b->geometry.flags & CBD_GEOMETRY_READ_ONLY;
}

/* A new epoch for the blkdev, queue and depth that bc->grant names.  The
 * handler looks for its SE 0 before the blkdev can know of it. */
static int grant(struct cbd_backend *b, struct cbd_bchannel *bc, unsigned host)
{
	struct cbd_hchannel *hc = &bc->hc;
	struct cbd_handler *h = hc->h ? hc->h : least_loaded(b);
	int r;

	describe_disk(b, hc);
	hc->same_boot = cbd_host_is_local(b->t, host);
	r = cbd_hchannel_prepare(hc, bc->grant.depth);
	if (r < 0)
		return r;
	pthread_mutex_lock(&b->verifier_lock);
	fill_grant(b, bc);
	pthread_mutex_unlock(&b->verifier_lock);
	cbd_channel_enter(&hc->ch, bc->grant.epoch);
	if (!hc->h)
		h->assigned++;
	channel_become(bc, CBD_POOL_SERVED);
	cbd_handler_give(h, hc);
	cbd_step("grant-given");
	pthread_mutex_lock(&b->verifier_lock);
	r = cbd_backend_put_grant(b, bc);
	pthread_mutex_unlock(&b->verifier_lock);
	cbd_step("grant-written");
	return r;
}

/* Its handler has retired it: nobody serves it any more. */
static void take_back(struct cbd_backend *b, struct cbd_bchannel *bc, bool stays)
{
	bc->hc.h->assigned--;
	bc->hc.h = NULL;
	cbd_hchannel_work_become(&bc->hc, CBD_WORK_NONE);
	cbd_channel_write_back_bells(&bc->hc.ch,
				     cbd_channel_backend_line(&bc->hc.ch, CBD_CHANNEL_CE_BELL));
	cbd_hchannel_free(&bc->hc);
	channel_become(bc, b->draining ? CBD_POOL_CLOSED : CBD_POOL_FREE);
	/* of a blkdev that stays the grant does too: it waits for the grant of the next
	 * backend */
	if (!stays)
		set_grant_state(b, bc, CBD_GRANT_FREE);
}

void cbd_backend_stop_channel(struct cbd_bchannel *bc)
{
	if (!is_in(bc, CBD_POOL_STOPPING))
		channel_become(bc, CBD_POOL_STOPPING);
	cbd_handler_wake(bc->hc.h);
}

static bool is_of(const struct cbd_bchannel *bc, unsigned d)
{
	return cbd_backend_serves(bc) && bc->grant.blkdev == d;
}

/* ---------------------------------------------------------------- replies */

static void reply(struct cbd_backend *b, unsigned d, const struct cbd_request_line *q,
		  struct cbd_reply_line answer)
{
	answer.incarnation = q->incarnation;
	answer.sequence = q->sequence;
	answer.backend_incarnation = b->state.incarnation;
	b->replies[d] = answer;
	cbd_step("reply");
	cbd_line_put(b->t, cbd_backend_reply(b, d), &b->replies[d]);
	cbd_step("reply-written");
}

static const char *refusal_text(enum cbd_refusal reason)
{
	switch (reason) {
	case CBD_REFUSED_BUSY:
		return "the maximum of blkdevs is attached";
	case CBD_REFUSED_HOST:
		return "its host is not admitted";
	case CBD_REFUSED_CHANNELS:
		return "too few channels are free";
	case CBD_REFUSED_STOPPING:
		return "stopping";
	default:
		return "the request makes no sense";
	}
}

static void refuse(struct cbd_backend *b, unsigned d, const struct cbd_request_line *q,
		   enum cbd_refusal reason, unsigned channels)
{
	cbd_log(CBD_LOG_INFO, "backend %u: blkdev %u of host %u refused: %s", b->id, d, q->host,
		refusal_text(reason));
	reply(b, d, q,
	      (struct cbd_reply_line){ .state = CBD_REPLY_REFUSED,
				       .reason = (uint16_t)reason,
				       .channels = (uint16_t)channels });
}

static bool answered(const struct cbd_backend *b, unsigned d, const struct cbd_request_line *q)
{
	const struct cbd_reply_line *a = &b->replies[d];

	return a->state != CBD_REPLY_NONE && a->incarnation == q->incarnation &&
	       a->sequence == q->sequence;
}

static void reply_granted(struct cbd_backend *b, unsigned d, const struct cbd_request_line *q)
{
	struct cbd_reply_line answer = { .state = CBD_REPLY_GRANTED, .features = b->features };

	for (unsigned c = 0; c < b->t->header.channels; c++) {
		const struct cbd_bchannel *bc = &b->channels[c];

		if (!is_of(bc, d))
			continue;
		answer.channel_map[c / 8] |= (uint8_t)(1u << c % 8);
		answer.channels++;
		answer.depth = bc->grant.depth;
	}
	reply(b, d, q, answer);
}

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

static void begin_stop(struct cbd_backend *b, unsigned d, enum cbd_attachment_state state)
{
	attachment_become(&b->att[d], state);
	cbd_step("stop-begun");
	for (unsigned c = 0; c < b->t->header.channels; c++)
		if (is_of(&b->channels[c], d))
			cbd_backend_stop_channel(&b->channels[c]);
}

static bool all_retired(const struct cbd_backend *b, unsigned d)
{
	for (unsigned c = 0; c < b->t->header.channels; c++)
		if (is_of(&b->channels[c], d) && !is_retired(&b->channels[c]))
			return false;
	return true;
}

static void end_attachment(struct cbd_backend *b, unsigned d)
{
	bool stays = b->att[d].state == CBD_ATT_STAYING;

	cbd_step("channels-drained");
	for (unsigned c = 0; c < b->t->header.channels; c++)
		if (is_of(&b->channels[c], d))
			take_back(b, &b->channels[c], stays);
	cbd_step("channels-freed");
	attachment_become(&b->att[d], CBD_ATT_NONE);
	if (stays)
		cbd_log(CBD_LOG_INFO, "backend %u: blkdev %u waits for the next one", b->id, d);
	else
		cbd_log(CBD_LOG_INFO, "backend %u: blkdev %u has left", b->id, d);
}

enum place {
	PLACE_FREE,
	PLACE_SOON, /* when those that leave have left */
	PLACE_NONE, /* the maximum of blkdevs is attached */
};

static bool is_leaving(const struct cbd_attachment *att)
{
	return att->state == CBD_ATT_DETACHING || att->state == CBD_ATT_DYING ||
	       att->state == CBD_ATT_STAYING;
}

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
			begin_stop(b, o, CBD_ATT_DYING);
		live += att->state == CBD_ATT_LIVE;
		leaving += is_leaving(att);
		wait |= is_leaving(att) && att->host == q->host;
	}
	if (live >= b->max_blkdevs)
		return PLACE_NONE;
	return wait || live + leaving >= b->max_blkdevs ? PLACE_SOON : PLACE_FREE;
}

static unsigned free_channels(const struct cbd_backend *b)
{
	unsigned n = 0;

	for (unsigned c = 0; c < b->t->header.channels; c++)
		n += is_in(&b->channels[c], CBD_POOL_FREE);
	return n;
}

static int grant_all(struct cbd_backend *b, unsigned d, const struct cbd_request_line *q)
{
	unsigned queue = 0, depth = q->depth ? q->depth : b->t->header.ring_slots;

	for (unsigned c = 0; c < b->t->header.channels && queue < q->queues; c++) {
		struct cbd_bchannel *bc = &b->channels[c];
		int r;

		if (!is_in(bc, CBD_POOL_FREE))
			continue;
		bc->grant.blkdev = (uint16_t)d;
		bc->grant.incarnation = q->incarnation;
		bc->grant.queue = (uint16_t)queue++;
		bc->grant.depth = (uint16_t)depth;
		r = grant(b, bc, q->host);
		if (r < 0)
			return r;
	}
	return 0;
}

static void attach(struct cbd_backend *b, unsigned d, const struct cbd_request_line *q,
		   const struct cbd_claim_line *claim)
{
	struct cbd_attachment *att = &b->att[d];

	attachment_become(att, CBD_ATT_LIVE);
	att->incarnation = q->incarnation;
	att->host = q->host;
	memcpy(att->owner, claim->owner, 16);
}

/* Did the owner of the claim write the request?  The claim of a new owner may stand
 * beside the request line of the owner before, which is not to be granted. */
static bool is_bound(struct cbd_backend *b, unsigned d, const struct cbd_request_line *q,
		     const struct cbd_claim_line *claim)
{
	struct cbd_state_line s;

	return claim->state == CBD_CLAIM_RAISED &&
	       cbd_line_get(b->t, blkdev_line(b, d, CBD_BLKDEV_STATE), &s) == 0 &&
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
		refuse(b, d, q, CBD_REFUSED_REQUEST, 0);
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
		refuse(b, d, q, CBD_REFUSED_STOPPING, 0);
	else if (b->allow_hosts && !(b->allow_hosts & 1ull << q->host))
		refuse(b, d, q, CBD_REFUSED_HOST, 0);
	else if (place == PLACE_NONE)
		refuse(b, d, q, CBD_REFUSED_BUSY, 0);
	else if (free_channels(b) < q->queues)
		refuse(b, d, q, CBD_REFUSED_CHANNELS, free_channels(b));
	else {
		attach(b, d, q, &claim);
		if (grant_all(b, d, q) < 0) {
			begin_stop(b, d, CBD_ATT_DYING);
			refuse(b, d, q, CBD_REFUSED_CHANNELS, 0);
			return true;
		}
		reply_granted(b, d, q);
		cbd_log(CBD_LOG_INFO, "backend %u: blkdev %u of host %u attached, %u queue%s",
			b->id, d, q->host, q->queues, q->queues == 1 ? "" : "s");
	}
	return false;
}

static void adopt_blkdev(struct cbd_backend *b, unsigned d);

/* One blkdev slot; true while something is under way. */
static bool examine(struct cbd_backend *b, unsigned d)
{
	struct cbd_attachment *att = &b->att[d];
	struct cbd_request_line q;
	bool for_me;

	/* a damaged line asks for nothing: a living owner stores it again at its next
	 * beat, and that the owner is dead is seen from its claim */
	if (cbd_line_get(b->t, blkdev_line(b, d, CBD_BLKDEV_REQUEST), &q) < 0)
		memset(&q, 0, sizeof(q));
	for_me = q.backend == b->id && q.incarnation != 0;
	if (att->state == CBD_ATT_LIVE && is_dead(b, d))
		begin_stop(b, d, CBD_ATT_DYING);
	if (att->state == CBD_ATT_LIVE && for_me && (int32_t)(q.incarnation - att->incarnation) > 0)
		begin_stop(b, d, CBD_ATT_DYING); /* another life of the slot */
	if (att->state == CBD_ATT_LIVE && for_me && q.incarnation == att->incarnation &&
	    (q.state == CBD_REQUEST_DETACH || q.state == CBD_REQUEST_ABANDONED))
		begin_stop(b, d, CBD_ATT_DETACHING);
	if (att->state == CBD_ATT_LIVE && b->draining)
		attachment_become(att, CBD_ATT_STAYING); /* its channels are stopping */
	if (is_leaving(att)) {
		if (!all_retired(b, d))
			return true;
		end_attachment(b, d);
	}
	if (!for_me || att->state != CBD_ATT_NONE)
		return false;
	if (answered(b, d, &q)) {
		/* granted, and the slot was cleared by mistake: its owner lives and
		 * still asks, so it gets its channels again */
		if (!b->draining)
			adopt_blkdev(b, d);
		return false;
	}
	if (q.state == CBD_REQUEST_ATTACH)
		return admit(b, d, &q);
	if (q.state == CBD_REQUEST_DETACH)
		reply(b, d, &q, (struct cbd_reply_line){ .state = CBD_REPLY_DETACHED });
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
	if (is_retired(bc)) {
		grant(b, bc, b->att[bc->grant.blkdev].host);
		return false;
	}
	if (is_in(bc, CBD_POOL_STOPPING))
		return true;
	if (cbd_hchannel_work(&bc->hc) == CBD_WORK_BROKEN && is_in(bc, CBD_POOL_SERVED)) {
		channel_become(bc, CBD_POOL_ASKED);
		cbd_log(CBD_LOG_WARNING, "backend %u: channel %u: bad entries; asking to leave",
			b->id, bc->hc.ch.id);
		set_grant_state(b, bc, CBD_GRANT_LEAVING);
	}
	if (!leaves || !asks_to_leave(b, bc))
		return false;
	/* tells the blkdev that the channel drains, so that it waits for as long as
	 * the disk needs */
	set_grant_state(b, bc, CBD_GRANT_LEAVING);
	cbd_backend_stop_channel(bc);
	return true;
}

/* ------------------------------------------------------------------ adopt */

enum found {
	FOUND_NOBODY,
	FOUND_USER,    /* it lives and is attached to this backend */
	FOUND_UNKNOWN, /* it may be: its lines or its claim are damaged */
};

/* Does the blkdev of slot D use channels of this backend? */
static enum found judge(struct cbd_backend *b, unsigned d, struct cbd_request_line *q,
			struct cbd_claim_line *claim)
{
	struct cbd_state_line s;
	int owner = cbd_claim_owner(b->t, CBD_SIDE_BLKDEV, d, claim);

	if (owner < 0)
		return FOUND_NOBODY;
	if (claim->state != CBD_CLAIM_RAISED ||
	    cbd_line_get(b->t, blkdev_line(b, d, CBD_BLKDEV_REQUEST), q) < 0 ||
	    cbd_line_get(b->t, blkdev_line(b, d, CBD_BLKDEV_STATE), &s) < 0)
		return FOUND_UNKNOWN;
	/* the lines are of an owner before the one that has the claim */
	if (memcmp(s.owner, claim->owner, 16) != 0 || s.incarnation != q->incarnation)
		return FOUND_NOBODY;
	if (q->backend != b->id || q->state != CBD_REQUEST_ATTACH || (int)q->host != owner)
		return FOUND_NOBODY;
	return FOUND_USER;
}

/* The channels of blkdev D by the grants of the backend before this one: for when
 * its reply line is damaged or was not written. */
static unsigned map_from_grants(const struct cbd_backend *b, unsigned d,
				const struct cbd_request_line *q, uint8_t map[32])
{
	unsigned n = 0;

	memset(map, 0, 32);
	for (unsigned c = 0; c < b->t->header.channels; c++) {
		const struct cbd_grant_line *g = &b->channels[c].grant;

		if (g->state == CBD_GRANT_FREE || g->blkdev != d ||
		    g->incarnation != q->incarnation || g->queue != n)
			continue;
		map[c / 8] |= (uint8_t)(1u << c % 8);
		n++;
	}
	return n;
}

static void take_over(struct cbd_backend *b, unsigned d, const struct cbd_request_line *q,
		      const struct cbd_claim_line *claim, const uint8_t map[32])
{
	unsigned depth = q->depth ? q->depth : b->t->header.ring_slots, queue = 0;

	attach(b, d, q, claim);
	for (unsigned c = 0; c < b->t->header.channels; c++) {
		struct cbd_bchannel *bc = &b->channels[c];

		if (!(map[c / 8] & 1u << c % 8))
			continue;
		bc->grant.blkdev = (uint16_t)d;
		bc->grant.incarnation = q->incarnation;
		bc->grant.queue = (uint16_t)queue++;
		bc->grant.depth = (uint16_t)depth;
		if (grant(b, bc, q->host) < 0) {
			begin_stop(b, d, CBD_ATT_DYING); /* then it is tried again */
			return;
		}
	}
	reply_granted(b, d, q);
	cbd_log(CBD_LOG_INFO, "backend %u: blkdev %u of host %u goes on", b->id, d, q->host);
}

/* Rule 7.7: the last grant of its channels tells which disk it is attached to.  That
 * of a channel which was given to others since tells nothing: then the blkdev itself
 * compares. */
static bool expects_another_disk(const struct cbd_backend *b, unsigned d,
				 const struct cbd_request_line *q, const uint8_t map[32])
{
	for (unsigned c = 0; c < b->t->header.channels; c++) {
		const struct cbd_grant_line *g = &b->channels[c].grant;

		if (map[c / 8] >> c % 8 & 1 && g->epoch != 0 && g->blkdev == d &&
		    g->incarnation == q->incarnation &&
		    g->disk_identity != b->identity.disk_identity)
			return true;
	}
	return false;
}

/* Rule 7.2: every living blkdev gets its channels, all of them, under new
 * epochs.  One that has no answer yet is admitted like any other. */
static void adopt_blkdev(struct cbd_backend *b, unsigned d)
{
	const struct cbd_reply_line *a = &b->replies[d];
	struct cbd_request_line q;
	struct cbd_claim_line claim;
	uint8_t map[32];
	unsigned n = 0;

	if (b->att[d].state != CBD_ATT_NONE || judge(b, d, &q, &claim) != FOUND_USER ||
	    q.queues == 0 || q.depth > b->t->header.ring_slots)
		return;
	if (answered(b, d, &q)) {
		if (a->state != CBD_REPLY_GRANTED)
			return;
		memcpy(map, a->channel_map, sizeof(map));
		for (unsigned c = 0; c < b->t->header.channels; c++)
			n += map[c / 8] >> c % 8 & 1;
	} else {
		n = map_from_grants(b, d, &q, map);
	}
	if (expects_another_disk(b, d, &q, map))
		return;
	/* a reply that names a channel which another blkdev has is out of date */
	for (unsigned c = 0; c < b->t->header.channels; c++)
		if (map[c / 8] >> c % 8 & 1 && cbd_backend_serves(&b->channels[c]))
			return;
	if (n == q.queues)
		take_over(b, d, &q, &claim, map);
}

/* A channel that was granted and not taken over: free, unless its blkdev may
 * be using it. */
static void judge_channel(struct cbd_backend *b, struct cbd_bchannel *bc)
{
	struct cbd_request_line q;
	struct cbd_claim_line claim;

	if (cbd_backend_serves(bc) || bc->grant.state == CBD_GRANT_FREE)
		return;
	if (bc->grant.blkdev < b->t->header.blkdevs &&
	    judge(b, bc->grant.blkdev, &q, &claim) == FOUND_UNKNOWN) {
		if (is_in(bc, CBD_POOL_FREE))
			channel_become(bc, CBD_POOL_QUARANTINED);
		if (bc->grant.state != CBD_GRANT_QUARANTINED)
			set_grant_state(b, bc, CBD_GRANT_QUARANTINED);
		return;
	}
	if (is_in(bc, CBD_POOL_QUARANTINED))
		channel_become(bc, CBD_POOL_FREE);
	set_grant_state(b, bc, CBD_GRANT_FREE);
}

static void adopt_all(struct cbd_backend *b)
{
	for (unsigned d = 0; d < b->t->header.blkdevs; d++)
		adopt_blkdev(b, d);
	for (unsigned c = 0; c < b->t->header.channels; c++)
		judge_channel(b, &b->channels[c]);
}

void cbd_backend_adopt(struct cbd_backend *b)
{
	for (unsigned c = 0; c < b->t->header.channels; c++) {
		struct cbd_bchannel *bc = &b->channels[c];

		if (cbd_line_get(b->t, cbd_channel_backend_line(&bc->hc.ch, CBD_CHANNEL_GRANT),
				 &bc->grant) < 0)
			memset(&bc->grant, 0, sizeof(bc->grant));
	}
	adopt_all(b);
}

/* Lines that were damaged at the start are stored again by their owners. */
static void adopt_late(struct cbd_backend *b)
{
	for (unsigned c = 0; c < b->t->header.channels && !b->draining; c++)
		if (is_in(&b->channels[c], CBD_POOL_QUARANTINED)) {
			adopt_all(b);
			return;
		}
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
		cbd_line_invalidate_start(m, blkdev_line(b, d, CBD_BLKDEV_DOORBELL));
	for (unsigned c = 0; c < b->t->header.channels; c++)
		if (cbd_backend_serves(&b->channels[c]))
			cbd_line_invalidate_start(m, cbd_channel_blkdev_line(&b->channels[c].hc.ch,
									     CBD_CHANNEL_LEAVE));
	cbd_invalidate_done(m);
	for (unsigned d = 0; d < b->t->header.blkdevs; d++)
		rung[d] = !cbd_line_await(m, blkdev_line(b, d, CBD_BLKDEV_DOORBELL), b->bells[d],
					  &copy);
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

	if (cbd_line_get(b->t, blkdev_line(b, d, CBD_BLKDEV_DOORBELL), &bell) == 0)
		b->bells[d] = bell.count;
}

bool cbd_backend_admit(struct cbd_backend *b, bool beat)
{
	bool rung[CBD_MAX_BLKDEVS] = { false }, leaves[CBD_MAX_CHANNELS] = { false };
	bool busy = false;

	if (beat)
		adopt_late(b);
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
