/* SPDX-License-Identifier: BSD-3-Clause */
/* clock.h - the clocks of this host, and sleep. */
#ifndef CBD_CLOCK_H
#define CBD_CLOCK_H

#include <stdint.h>

/* CLOCK_MONOTONIC; and CLOCK_BOOTTIME, which also counts while the machine is
 * suspended: a handler's right to answer expires by that one. */
uint64_t cbd_now_ns(void);
uint64_t cbd_boottime_ns(void);

/* The time of the day, since 1970: for people. */
uint64_t cbd_day_ns(void);

/* CLOCK_MONOTONIC as of the last tick: up to 10 ms less than cbd_now_ns(), never more,
 * at a quarter of its price.  For periods of seconds. */
uint64_t cbd_coarse_ns(void);

/* A signal may end it early. */
void cbd_sleep_us(unsigned us);

#endif
