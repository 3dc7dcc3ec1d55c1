/* SPDX-License-Identifier: BSD-3-Clause */
/* pause.c - see pause.h. */
#include <config.h>

#include <sched.h>
#include <time.h>
#include <unistd.h>

#include "../libcbd/memory/wait-times.h"
#include "pause.h"

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void pause_init(struct pause *p, enum cbd_poll poll)
{
	*p = (struct pause){
		.poll = poll,
		.one_cpu = sysconf(_SC_NPROCESSORS_ONLN) == 1,
		.yield_us = poll == CBD_POLL_SLEEP ? 0 : CBD_YIELD_START_US,
	};
}

void pause_hit(struct pause *p)
{
	if (p->poll == CBD_POLL_ADAPTIVE && p->since_ns != 0 && p->yield_us < CBD_YIELD_MOST_US &&
	    p->last_ns - p->since_ns > p->yield_us * 500ull)
		p->yield_us += p->yield_us / 2;
	p->since_ns = 0;
}

static bool may_spin(const struct pause *p, uint64_t waited_ns)
{
	if (p->one_cpu)
		return false;
	return p->poll == CBD_POLL_BUSY ||
	       waited_ns < (p->poll == CBD_POLL_SLEEP ? CBD_SPIN_SLEEP_NS : CBD_SPIN_NS);
}

bool pause_stay_awake(struct pause *p)
{
	uint64_t waited;

	p->last_ns = now_ns();
	if (p->since_ns == 0)
		p->since_ns = p->last_ns;
	waited = p->last_ns - p->since_ns;
	if (may_spin(p, waited))
		return true;
	if (p->poll == CBD_POLL_BUSY || waited < p->yield_us * 1000ull) {
		sched_yield();
		return true;
	}
	if (p->poll == CBD_POLL_ADAPTIVE && p->yield_us > CBD_YIELD_LEAST_US)
		p->yield_us -= p->yield_us / 4;
	p->since_ns = 0;
	return false;
}

void pause_falls_asleep(struct pause *p)
{
	p->slept_ns = now_ns();
}

void pause_wakes_up(struct pause *p)
{
	uint64_t slept = now_ns() - p->slept_ns;

	p->in_vain = p->poll != CBD_POLL_BUSY && slept > CBD_SPIN_NS + CBD_YIELD_LEAST_US * 1000ull;
}

bool pause_is_in_vain(const struct pause *p)
{
	return p->in_vain;
}
