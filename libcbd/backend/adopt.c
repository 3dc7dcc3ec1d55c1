/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * adopt.c - what a backend finds of the one before: blkdevs that live get all their
 * channels, under new epochs (rule 7.2); what nobody can be using is free.
 */
#include <config.h>

#include <string.h>

#include "backend/adopt.h"
#include "backend/attachment.h"
#include "base/error.h"

enum found {
	FOUND_NOBODY,
	FOUND_USER,    /* it lives and is attached to this backend */
	FOUND_UNKNOWN, /* it may be: its lines or its claim cannot be read */
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
	    cbd_line_get(b->t, cbd_blkdev_info_at(b->t, d, CBD_BLKDEV_REQUEST), q) < 0 ||
	    cbd_line_get(b->t, cbd_blkdev_info_at(b->t, d, CBD_BLKDEV_STATE), &s) < 0)
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

	cbd_attachment_begin(b, d, q, claim);
	for (unsigned c = 0; c < b->t->header.channels; c++) {
		struct cbd_bchannel *bc = &b->channels[c];

		if (!(map[c / 8] & 1u << c % 8))
			continue;
		bc->grant.blkdev = (uint16_t)d;
		bc->grant.incarnation = q->incarnation;
		bc->grant.queue = (uint16_t)queue++;
		bc->grant.depth = (uint16_t)depth;
		if (cbd_grant_give(b, bc, q->host) < 0) {
			cbd_attachment_stop(b, d, CBD_ATT_DYING); /* then it is tried again */
			return;
		}
	}
	cbd_reply_grant(b, d, q);
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
void cbd_adopt_blkdev(struct cbd_backend *b, unsigned d)
{
	const struct cbd_reply_line *a = &b->replies[d];
	struct cbd_request_line q;
	struct cbd_claim_line claim;
	uint8_t map[32];
	unsigned n = 0;

	if (b->att[d].state != CBD_ATT_NONE || judge(b, d, &q, &claim) != FOUND_USER ||
	    q.queues == 0 || q.depth > b->t->header.ring_slots)
		return;
	if (cbd_reply_is_given(b, d, &q)) {
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
		if (cbd_pool_is_in(bc, CBD_POOL_FREE))
			cbd_pool_become(bc, CBD_POOL_QUARANTINED);
		if (bc->grant.state != CBD_GRANT_QUARANTINED)
			cbd_grant_set_state(b, bc, CBD_GRANT_QUARANTINED);
		return;
	}
	if (cbd_pool_is_in(bc, CBD_POOL_QUARANTINED))
		cbd_pool_become(bc, CBD_POOL_FREE);
	cbd_grant_set_state(b, bc, CBD_GRANT_FREE);
}

static void adopt_all(struct cbd_backend *b)
{
	for (unsigned d = 0; d < b->t->header.blkdevs; d++)
		cbd_adopt_blkdev(b, d);
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
void cbd_adopt_late(struct cbd_backend *b)
{
	for (unsigned c = 0; c < b->t->header.channels && !b->draining; c++)
		if (cbd_pool_is_in(&b->channels[c], CBD_POOL_QUARANTINED)) {
			adopt_all(b);
			return;
		}
}
