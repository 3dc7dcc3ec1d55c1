/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * watch.h - liveness by counters.
 *
 * The observer samples a counter of its peer and judges by its own clock; clocks of two
 * hosts are never compared (rule 1.4).  Owns no shared memory.
 */
#ifndef CBD_WATCH_H
#define CBD_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "cbd.h"

/* A gap between two samples of one observer up to which its machine is taken to be
 * busy: with a load of 20 on 2 CPUs a thread waits up to 0.2 s for its turn.  A longer
 * gap is that of a machine or process that was stopped. */
#define CBD_BUSY_NS 500000000ull

#define CBD_WATCH_MOST_NS 180000000000ull /* of a watch: three silences of a suspect at most */

struct cbd_watch {
	uint64_t counter;
	uint64_t sampled_ns;  /* 0: never */
	uint64_t interval_ns; /* at least; 0: as the header says */
	unsigned unchanged;
	bool moved; /* the counter has changed since the first sample */
};

/* How long to sample at most: a suspicion, should each interval be as long as a busy
 * machine can make it, and the count start once again. */
static inline uint64_t cbd_watch_most_ns(uint64_t interval_ns, unsigned dead_after)
{
	uint64_t most = 2 * (interval_ns + CBD_BUSY_NS) * (dead_after + 2);

	return most < CBD_WATCH_MOST_NS ? most : CBD_WATCH_MOST_NS;
}

/*
 * Take a sample; of those within one INTERVAL_NS only one counts.  CBD_SUSPECT after
 * DEAD_AFTER samples in which the counter has not changed.  When the observer itself
 * took no sample for more than 2.5 intervals the count starts again; on a busy
 * machine, where such gaps may have no end, the gap becomes the interval.
 */
enum cbd_liveness cbd_watch_sample(struct cbd_watch *w, uint64_t counter, uint64_t now_ns,
				   uint64_t interval_ns, unsigned dead_after);

#endif
