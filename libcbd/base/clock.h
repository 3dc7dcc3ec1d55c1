/* SPDX-License-Identifier: BSD-3-Clause */
/* clock.h - the clocks of this host, and sleep. */
#ifndef CBD_CLOCK_H
#define CBD_CLOCK_H

#include <stdint.h>

/* CLOCK_MONOTONIC; the lease of a handler uses cbd_boottime_ns(), which also
 * counts while the machine is suspended. */
uint64_t cbd_now_ns(void);
uint64_t cbd_boottime_ns(void);

/* CLOCK_MONOTONIC as of the last tick: up to 10 ms behind cbd_now_ns(), never
 * before it, and a quarter of its price.  For what lasts seconds. */
uint64_t cbd_coarse_ns(void);
void cbd_sleep_us(unsigned us);

#endif
