/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * state.c - the states of a queue: the table of what each may become, the one function
 * that changes it, and what is asked of it.  docs/design.md says which function of which
 * thread asks for each change, and when.
 */
#include <config.h>

#include <assert.h>

#include "blkdev/blkdev.h"

#define BIT(state) (1u << (state))

/* What every state in which an epoch is in force may become. */
#define FROM_EPOCH                                                                      \
	(BIT(CBD_QUEUE_ATTACHED) | BIT(CBD_QUEUE_DRAINING) | BIT(CBD_QUEUE_CLOSING) |   \
	 BIT(CBD_QUEUE_UNGRANTED) | BIT(CBD_QUEUE_RETURNING) | BIT(CBD_QUEUE_STOPPED) | \
	 BIT(CBD_QUEUE_BROKEN))

static const unsigned may_become[CBD_QUEUE_STATES] = {
	[CBD_QUEUE_NEW] = BIT(CBD_QUEUE_ATTACHED) | BIT(CBD_QUEUE_BROKEN),
	[CBD_QUEUE_ATTACHED] = FROM_EPOCH | BIT(CBD_QUEUE_LEAVING),
	[CBD_QUEUE_LEAVING] = FROM_EPOCH,
	[CBD_QUEUE_DRAINING] = FROM_EPOCH | BIT(CBD_QUEUE_LEAVING),
	[CBD_QUEUE_CLOSING] = FROM_EPOCH | BIT(CBD_QUEUE_LEAVING),
	[CBD_QUEUE_UNGRANTED] = FROM_EPOCH | BIT(CBD_QUEUE_LEAVING),
	[CBD_QUEUE_RETURNING] = BIT(CBD_QUEUE_ATTACHED) | BIT(CBD_QUEUE_UNGRANTED) |
				BIT(CBD_QUEUE_RETURNING) | BIT(CBD_QUEUE_STOPPED) |
				BIT(CBD_QUEUE_BROKEN),
	[CBD_QUEUE_STOPPED] = BIT(CBD_QUEUE_ATTACHED) | BIT(CBD_QUEUE_RETURNING) |
			      BIT(CBD_QUEUE_BROKEN),
	[CBD_QUEUE_BROKEN] = 0,
};

bool cbd_queue_may_become(enum cbd_queue_state from, enum cbd_queue_state to)
{
	return may_become[from] & BIT(to);
}

void cbd_queue_become(struct cbd_queue *q, enum cbd_queue_state to)
{
	assert(cbd_queue_may_become(q->state, to));
	q->state = to;
}

bool cbd_queue_has_epoch(const struct cbd_queue *q)
{
	return BIT(q->state) & (BIT(CBD_QUEUE_ATTACHED) | BIT(CBD_QUEUE_LEAVING) |
				BIT(CBD_QUEUE_DRAINING) | BIT(CBD_QUEUE_CLOSING));
}

bool cbd_queue_has_left(const struct cbd_queue *q)
{
	return q->epoch.left_epoch == q->ch.epoch;
}

bool cbd_queue_may_leave(const struct cbd_queue *q)
{
	return cbd_queue_has_epoch(q) && !cbd_queue_has_left(q);
}

bool cbd_queue_has_ended(const struct cbd_queue *q)
{
	return q->state == CBD_QUEUE_STOPPED || q->state == CBD_QUEUE_BROKEN;
}

bool cbd_queue_is_cleared(const struct cbd_queue *q)
{
	return q->state == CBD_QUEUE_CLOSING || q->state == CBD_QUEUE_STOPPED;
}
