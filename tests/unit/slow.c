/* SPDX-License-Identifier: BSD-3-Clause */
/* slow.c - see slow.h. */
#include <config.h>

#include "slow.h"

#define SECOND 1000000000ull

struct pair p;

void slow_open(struct pair_options o)
{
	o.heartbeat_ms = 20;
	o.dead_after = 50;
	pair_open(&p, &o);
	server_stop(&p);
}

bool slow_tick(void)
{
	unit_ok(cbd_backend_tick(p.backend));
	return true;
}

void slow_silent_for(unsigned seconds)
{
	pthread_mutex_lock(&p.q->lock);
	p.q->cursors.moved_ns -= seconds * SECOND;
	pthread_mutex_unlock(&p.q->lock);
}

uint64_t slow_beating_ns(void)
{
	return cbd_shared_get(&p.blkdev->beating_ns);
}

/* The heartbeat thread of the blkdev adds to the same word, and may overwrite what is stored
 * here: then it is stored again.  Else the first round that adds looks at all queues with
 * it, and when the second one adds, that look is over. */
void slow_beats_for(unsigned seconds, bool (*beat)(void))
{
	uint64_t to = slow_beating_ns() + seconds * SECOND, was;

	do {
		cbd_shared_set(&p.blkdev->beating_ns, to);
		for (unsigned i = 0; i < 2; i++) {
			was = slow_beating_ns();
			unit_wait(beat() && slow_beating_ns() != was);
		}
	} while (slow_beating_ns() < to);
}

bool slow_reaped(struct cbd_completion *c)
{
	return cbd_queue_poll(p.q, c, 1, 1, 1) == 1;
}

void slow_expect_nothing(bool (*beat)(void), unsigned ms)
{
	uint64_t end = cbd_now_ns() + ms * 1000000ull;
	struct cbd_completion c;

	while (cbd_now_ns() < end) {
		beat();
		ck_assert_msg(!slow_reaped(&c), "a request ended with %d", c.result);
	}
}
