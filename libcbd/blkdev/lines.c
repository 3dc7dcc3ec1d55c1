/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lines.c - the lines that a blkdev writes in its slot: state, request, doorbell,
 * beat; and its counters, there and in its channels.
 */
#include <config.h>

#include "blkdev/blkdev.h"
#include "slots/host.h"

void *cbd_blkdev_info(const struct cbd_blkdev *b, unsigned line)
{
	return cbd_blkdev_info_at(b->t, b->slot, line);
}

int cbd_blkdev_put_state(struct cbd_blkdev *b, enum cbd_slot_state state)
{
	b->state.state = state;
	return cbd_line_put(b->t, cbd_blkdev_info(b, CBD_BLKDEV_STATE), &b->state);
}

int cbd_ring_doorbell(struct cbd_blkdev *b)
{
	int r;

	pthread_mutex_lock(&b->lines);
	b->doorbell.count++;
	r = cbd_line_put(b->t, cbd_blkdev_info(b, CBD_BLKDEV_DOORBELL), &b->doorbell);
	pthread_mutex_unlock(&b->lines);
	return r;
}

int cbd_blkdev_put_request(struct cbd_blkdev *b, enum cbd_request_state state)
{
	int r;

	pthread_mutex_lock(&b->lines);
	b->request.state = state;
	b->request.sequence++;
	r = cbd_line_put(b->t, cbd_blkdev_info_at(b->t, b->slot, CBD_BLKDEV_REQUEST), &b->request);
	pthread_mutex_unlock(&b->lines);
	return r < 0 ? r : cbd_ring_doorbell(b);
}

/* Who counts, and since when; the rest is filled in when it is stored. */
static struct cbd_counter_head head_of(const struct cbd_blkdev *b)
{
	return (struct cbd_counter_head){ .uptime_ns = b->counting_ns,
					  .incarnation = b->state.incarnation };
}

static void take_waits(struct cbd_queue *q)
{
	q->counted.now.waits.poll_ns = q->lead.wait.poll_ns;
	q->counted.now.waits.sleep_ns = q->lead.wait.sleep_ns;
	q->counted.now.waits.sleeps = q->lead.wait.sleeps;
}

void cbd_queue_put_counters(struct cbd_queue *q)
{
	struct cbd_counter_head head = head_of(q->b);

	head.slot = (uint16_t)q->b->slot;
	head.queue = (uint16_t)q->index;
	head.blkdev_incarnation = head.incarnation;
	take_waits(q);
	cbd_counters_put(q->b->t, cbd_channel_blkdev_line(&q->ch, CBD_CHANNEL_COUNTERS),
			 &q->counted, head);
}

void cbd_blkdev_put_counters(struct cbd_blkdev *b)
{
	struct cbd_counter_block *sum = &b->counted.now;

	cbd_counters_forget(sum);
	for (unsigned i = 0; i < b->n_queues; i++) {
		struct cbd_queue *q = &b->queues[i];

		pthread_mutex_lock(&q->lock);
		take_waits(q);
		cbd_counters_add(sum, &q->counted.now);
		pthread_mutex_unlock(&q->lock);
	}
	sum->epochs.silent_ns = b->silent_sum_ns;
	pthread_mutex_lock(&b->lock);
	sum->events.losses = b->losses;
	pthread_mutex_unlock(&b->lock);
	cbd_counters_put(b->t, cbd_side_counters_at(b->t, CBD_SIDE_BLKDEV, b->slot), &b->counted,
			 head_of(b));
}

/* Rule 1.5: owners store their control lines again when they were lost. */
int cbd_blkdev_beat(struct cbd_blkdev *b)
{
	int r;

	pthread_mutex_lock(&b->lines);
	b->beat.counter++;
	r = cbd_claim_check(&b->claim);
	if (r == 0)
		r = cbd_line_put(b->t, cbd_blkdev_info(b, CBD_BLKDEV_BEAT), &b->beat);
	if (r == 0)
		r = cbd_line_assert(b->t, cbd_blkdev_info(b, CBD_BLKDEV_STATE), &b->state);
	if (r == 0)
		r = cbd_line_assert(b->t, cbd_blkdev_info(b, CBD_BLKDEV_REQUEST), &b->request);
	if (r == 0)
		r = cbd_line_assert(b->t, cbd_blkdev_info(b, CBD_BLKDEV_DOORBELL), &b->doorbell);
	if (r == 0)
		r = cbd_host_beat(b->t);
	pthread_mutex_unlock(&b->lines);
	return r;
}
