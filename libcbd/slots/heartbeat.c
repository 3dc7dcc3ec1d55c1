/* SPDX-License-Identifier: BSD-3-Clause */
/* heartbeat.c - see heartbeat.h. */
#include <config.h>

#include <time.h>

#include "slots/heartbeat.h"

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

void cbd_sleep_us(unsigned us)
{
	struct timespec ts = { .tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000l };

	nanosleep(&ts, NULL);
}

enum cbd_liveness cbd_watch_sample(struct cbd_watch *w, uint64_t counter, uint64_t now_ns,
				   uint64_t interval_ns, unsigned dead_after)
{
	uint64_t since = now_ns - w->sampled_ns;

	if (!w->sampled_ns || since > 2 * interval_ns + interval_ns / 2) {
		/* first sample, or I was away myself: nothing is known */
		bool moved = w->sampled_ns && counter != w->counter;

		*w = (struct cbd_watch){ .counter = counter, .sampled_ns = now_ns, .moved = moved };
		return moved ? CBD_ALIVE : CBD_UNDECIDED;
	}
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
