/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * attachment.c - the blkdevs that are attached to a backend, and its replies to their
 * requests.
 *
 * Owns the state of each attachment, and the reply lines; the table below says what may
 * become what, docs/design.md who does it and why.
 */
#include <config.h>

#include <assert.h>
#include <string.h>

#include "backend/attachment.h"
#include "base/error.h"
#include "base/step.h"

/* ----------------------------------------------------------------- states */

#define BIT(state) (1u << (state))

static const unsigned attachment_may_become[CBD_ATT_STATES] = {
	[CBD_ATT_NONE] = BIT(CBD_ATT_LIVE),
	[CBD_ATT_LIVE] = BIT(CBD_ATT_DETACHING) | BIT(CBD_ATT_DYING) | BIT(CBD_ATT_STAYING),
	[CBD_ATT_DETACHING] = BIT(CBD_ATT_NONE),
	[CBD_ATT_DYING] = BIT(CBD_ATT_NONE),
	[CBD_ATT_STAYING] = BIT(CBD_ATT_NONE),
};

void cbd_attachment_become(struct cbd_attachment *att, enum cbd_attachment_state to)
{
	assert(attachment_may_become[att->state] & BIT(to));
	att->state = to;
}

bool cbd_attachment_is_leaving(const struct cbd_attachment *att)
{
	return att->state == CBD_ATT_DETACHING || att->state == CBD_ATT_DYING ||
	       att->state == CBD_ATT_STAYING;
}

void cbd_attachment_begin(struct cbd_backend *b, unsigned d, const struct cbd_request_line *q,
			  const struct cbd_claim_line *claim)
{
	struct cbd_attachment *att = &b->att[d];

	cbd_attachment_become(att, CBD_ATT_LIVE);
	att->incarnation = q->incarnation;
	att->host = q->host;
	/* the payload CRC is the backend's decision: a blkdev that cannot do it gives up */
	att->features = b->features & (q->features | CBD_FEATURE_DATA_CRC);
	memcpy(att->owner, claim->owner, 16);
}

/* ---------------------------------------------------------------- replies */

void *cbd_backend_reply(const struct cbd_backend *b, unsigned d)
{
	return cbd_backend_reply_at(b->t, b->id, d);
}

void cbd_reply_put(struct cbd_backend *b, unsigned d, const struct cbd_request_line *q,
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

void cbd_reply_refuse(struct cbd_backend *b, unsigned d, const struct cbd_request_line *q,
		      enum cbd_refusal reason, unsigned channels)
{
	cbd_log(CBD_LOG_INFO, "backend %u: blkdev %u of host %u refused: %s", b->id, d, q->host,
		refusal_text(reason));
	cbd_reply_put(b, d, q,
		      (struct cbd_reply_line){ .state = CBD_REPLY_REFUSED,
					       .reason = (uint16_t)reason,
					       .channels = (uint16_t)channels });
}

bool cbd_reply_is_given(const struct cbd_backend *b, unsigned d, const struct cbd_request_line *q)
{
	const struct cbd_reply_line *a = &b->replies[d];

	return a->state != CBD_REPLY_NONE && a->incarnation == q->incarnation &&
	       a->sequence == q->sequence;
}

void cbd_reply_grant(struct cbd_backend *b, unsigned d, const struct cbd_request_line *q)
{
	struct cbd_reply_line answer = { .state = CBD_REPLY_GRANTED,
					 .features = b->att[d].features };

	for (unsigned c = 0; c < b->t->header.channels; c++) {
		const struct cbd_bchannel *bc = &b->channels[c];

		if (!cbd_pool_is_of(bc, d))
			continue;
		answer.channel_map[c / 8] |= (uint8_t)(1u << c % 8);
		answer.channels++;
		answer.depth = bc->grant.depth;
	}
	cbd_reply_put(b, d, q, answer);
}

/* --------------------------------------------------------------- its end */

void cbd_attachment_stop(struct cbd_backend *b, unsigned d, enum cbd_attachment_state state)
{
	cbd_attachment_become(&b->att[d], state);
	cbd_step("stop-begun");
	for (unsigned c = 0; c < b->t->header.channels; c++)
		if (cbd_pool_is_of(&b->channels[c], d))
			cbd_backend_stop_channel(&b->channels[c]);
}

bool cbd_attachment_retired(const struct cbd_backend *b, unsigned d)
{
	for (unsigned c = 0; c < b->t->header.channels; c++)
		if (cbd_pool_is_of(&b->channels[c], d) && !cbd_pool_is_retired(&b->channels[c]))
			return false;
	return true;
}

void cbd_attachment_end(struct cbd_backend *b, unsigned d)
{
	bool stays = b->att[d].state == CBD_ATT_STAYING;

	cbd_step("channels-drained");
	for (unsigned c = 0; c < b->t->header.channels; c++)
		if (cbd_pool_is_of(&b->channels[c], d))
			cbd_grant_take_back(b, &b->channels[c], stays);
	cbd_step("channels-freed");
	cbd_attachment_become(&b->att[d], CBD_ATT_NONE);
	if (stays)
		cbd_log(CBD_LOG_INFO,
			"backend %u: blkdev %u stays attached and waits for the next backend "
			"process",
			b->id, d);
	else
		cbd_log(CBD_LOG_INFO, "backend %u: blkdev %u has left", b->id, d);
}
