/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * watch.h - liveness by counters.
 *
 * An observer counts its own samples of a counter on its own clock; clocks of
 * two hosts are never compared (rule 1).  Owns no shared memory.
 */
#ifndef CBD_WATCH_H
#define CBD_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "cbd.h"

struct cbd_watch {
	uint64_t counter;
	uint64_t sampled_ns; /* 0: never */
	unsigned unchanged;
	bool moved;
};

/*
 * Count a sample; call it more often than INTERVAL_NS if you like, it counts
 * one an interval.  A gap of more than two intervals between my own samples
 * starts the count again.  CBD_SUSPECT after DEAD_AFTER unchanged ones.
 */
enum cbd_liveness cbd_watch_sample(struct cbd_watch *w, uint64_t counter, uint64_t now_ns,
				   uint64_t interval_ns, unsigned dead_after);

#endif
