/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * counters.c - what a backend's handlers have counted, for people: stored by the control
 * thread, of each channel that is served and of all together.
 */
#include <config.h>

#include "backend/backend.h"

static struct cbd_counter_head head_of(const struct cbd_backend *b)
{
	return (struct cbd_counter_head){ .uptime_ns = b->counting_ns,
					  .incarnation = b->state.incarnation };
}

static void put_channel(struct cbd_backend *b, struct cbd_bchannel *bc)
{
	struct cbd_counter_head head = head_of(b);

	head.uptime_ns = bc->hc.counting_ns;
	head.slot = bc->grant.blkdev;
	head.queue = bc->grant.queue;
	head.blkdev_incarnation = bc->grant.incarnation;
	cbd_counters_put(b->t, cbd_channel_backend_line(&bc->hc.ch, CBD_CHANNEL_COUNTERS),
			 &bc->hc.counted, head);
}

static void add_waits(struct cbd_counter_wait_line *l, const struct cbd_wait *w)
{
	l->poll_ns += cbd_count_get(&w->poll_ns);
	l->sleep_ns += cbd_count_get(&w->sleep_ns);
	l->sleeps += cbd_count_get(&w->sleeps);
}

void cbd_backend_put_counters(struct cbd_backend *b)
{
	struct cbd_counter_block *sum = &b->counted.now;

	*sum = b->ended;
	for (unsigned c = 0; c < b->t->header.channels; c++) {
		struct cbd_bchannel *bc = &b->channels[c];

		if (!cbd_backend_serves(bc))
			continue;
		put_channel(b, bc);
		cbd_counters_add(sum, &bc->hc.counted.now);
	}
	for (unsigned i = 0; i < b->n_handlers; i++)
		add_waits(&sum->waits, &b->handlers[i].wait);
	sum->events.losses = cbd_count_get(&b->losses);
	cbd_counters_put(b->t, cbd_side_counters_at(b->t, CBD_SIDE_BACKEND, b->id), &b->counted,
			 head_of(b));
}
