/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * watch.h - liveness by counters.
 *
 * The observer samples a counter of its peer and judges by its own clock; clocks of two
 * hosts are never compared (rule 1).  Owns no shared memory.
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
	bool moved; /* the counter has changed since the first sample */
};

/*
 * Take a sample; of those within one INTERVAL_NS only one counts.  CBD_SUSPECT after
 * DEAD_AFTER samples in which the counter has not changed.  When the observer itself
 * took no sample for more than two intervals the count starts again.
 */
enum cbd_liveness cbd_watch_sample(struct cbd_watch *w, uint64_t counter, uint64_t now_ns,
				   uint64_t interval_ns, unsigned dead_after);

#endif
