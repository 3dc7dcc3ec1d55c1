/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * heartbeat.h - liveness by counters, and the clocks of this host.
 *
 * An observer counts its own samples of a counter on its own clock; clocks of
 * two hosts are never compared (rule 1).  Owns no shared memory.
 */
#ifndef CBD_HEARTBEAT_H
#define CBD_HEARTBEAT_H

#include <stdbool.h>
#include <stdint.h>

#include "cbd.h"

/* CLOCK_MONOTONIC; the lease of a handler uses cbd_boottime_ns(), which also
 * counts while the machine is suspended. */
uint64_t cbd_now_ns(void);
uint64_t cbd_boottime_ns(void);

/* CLOCK_MONOTONIC as of the last tick: up to 10 ms behind cbd_now_ns(), never
 * before it, and a quarter of its price.  For what lasts seconds. */
uint64_t cbd_coarse_ns(void);
void cbd_sleep_us(unsigned us);

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
