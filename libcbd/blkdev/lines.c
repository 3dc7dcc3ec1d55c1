/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lines.c - the lines that a blkdev writes in its slot: state, request, doorbell,
 * beat, and the page of counters.
 */
#include <config.h>

#include "blkdev/blkdev.h"
#include "memory/fault.h"
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

void cbd_blkdev_put_counters(struct cbd_blkdev *b)
{
	struct cbd_counters sum = { .errors = 0 };
	const size_t words = sizeof(sum) / sizeof(uint64_t);
	struct cbd_fault f;

	for (unsigned i = 0; i < b->n_queues; i++) {
		struct cbd_queue *q = &b->queues[i];
		const uint64_t *from = (const uint64_t *)&q->counters;
		uint64_t *to = (uint64_t *)&sum;

		pthread_mutex_lock(&q->lock);
		for (size_t w = 0; w < words; w++)
			to[w] += from[w];
		pthread_mutex_unlock(&q->lock);
	}
	if (!CBD_FAULT_TRY(&f))
		return;
	cbd_mem_store(&b->t->mem, cbd_blkdev_line(b->t, b->slot, CBD_BLKDEV_COUNTERS, 0), &sum,
		      sizeof(sum));
	cbd_fault_end(&f);
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
