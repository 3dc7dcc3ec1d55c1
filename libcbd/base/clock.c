/* SPDX-License-Identifier: BSD-3-Clause */
/* clock.c - see clock.h. */
#include <config.h>

#include <time.h>

#include "base/clock.h"

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

uint64_t cbd_now_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

uint64_t cbd_coarse_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC_COARSE);
}

uint64_t cbd_boottime_ns(void)
{
	return clock_ns(CLOCK_BOOTTIME);
}

uint64_t cbd_day_ns(void)
{
	return clock_ns(CLOCK_REALTIME);
}

void cbd_sleep_us(unsigned us)
{
	struct timespec ts = { .tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000l };

	nanosleep(&ts, NULL);
}
