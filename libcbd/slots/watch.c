/* SPDX-License-Identifier: BSD-3-Clause */
/* watch.c - see watch.h. */
#include <config.h>

#include "slots/watch.h"

/* The first sample, or the first after the observer was suspended: how long the
 * counter stood is not known. */
static enum cbd_liveness begin_again(struct cbd_watch *w, uint64_t counter, uint64_t now_ns)
{
	bool moved = w->sampled_ns && counter != w->counter;
	uint64_t gap = w->sampled_ns ? now_ns - w->sampled_ns : 0;

	*w = (struct cbd_watch){
		.counter = counter,
		.sampled_ns = now_ns,
		.moved = moved,
		.interval_ns = !moved && gap <= CBD_BUSY_NS ? gap : 0,
	};
	return moved ? CBD_ALIVE : CBD_UNDECIDED;
}

enum cbd_liveness cbd_watch_sample(struct cbd_watch *w, uint64_t counter, uint64_t now_ns,
				   uint64_t interval_ns, unsigned dead_after)
{
	uint64_t since = now_ns - w->sampled_ns;

	if (interval_ns < w->interval_ns)
		interval_ns = w->interval_ns;
	if (!w->sampled_ns || since > 2 * interval_ns + interval_ns / 2)
		return begin_again(w, counter, now_ns);
	if (counter != w->counter) {
		*w = (struct cbd_watch){ .counter = counter, .sampled_ns = now_ns, .moved = true };
		return CBD_ALIVE;
	}
	if (since >= interval_ns) {
		w->sampled_ns = now_ns;
		w->unchanged++;
	}
	if (w->unchanged >= dead_after)
		return CBD_SUSPECT;
	return w->moved ? CBD_ALIVE : CBD_UNDECIDED;
}
