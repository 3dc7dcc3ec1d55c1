/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wait.h - one policy for both sides: spin for a while, then yield, then
 * sleep with growing intervals; and futexes on words in shared memory.
 *
 * Adaptive: a turn that found something while it was awake makes the next
 * wait longer before it sleeps, a sleep makes it shorter.  Nothing is spun where
 * that takes the CPU from somebody who would give it back: on one CPU, and while the
 * last yield let others run for a short time (the other side, or those who wait for
 * it).  Others who keep the CPU for long are no reason: it is not to be given to them
 * before it has to be.
 *
 * With one request alone it spins at first even so, and again every now and then: two
 * that share a CPU politely stay there, while one that spins makes the scheduler move
 * the other to a CPU that is free.
 */
#ifndef CBD_WAIT_H
#define CBD_WAIT_H

#include "cbd.h"

struct cbd_wait {
	enum cbd_poll poll;
	bool one_cpu;		 /* the other side could not run while this one spins */
	bool crowded;		 /* the last yield let others run who soon gave back */
	uint64_t crowd_ns;	 /* when the last one was that did */
	uint64_t crowd_since_ns; /* and the first of them, with short breaks */
	bool alone;		 /* set by the owner: there is one request, or none */
	unsigned awake_us;	 /* how long to stay awake: the adaptive part */
	unsigned turns;		 /* since the last hit */
	uint64_t since_ns;	 /* when the first of them was */
	uint64_t last_ns;	 /* and the last */
	unsigned sleep_us;	 /* the next interval */
	unsigned most_us;	 /* longest interval */
};

void cbd_wait_init(struct cbd_wait *w, enum cbd_poll poll, unsigned most_us);

/* Something was found. */
void cbd_wait_hit(struct cbd_wait *w);

/*
 * What the next turn of waiting is: CBD_WAIT_SPIN, to look again at once;
 * CBD_WAIT_YIELD, for cbd_wait_yield(); else how many microseconds the caller shall
 * sleep, on whatever wakes it.
 */
unsigned cbd_wait_next(struct cbd_wait *w);
unsigned cbd_wait_next_at(struct cbd_wait *w, uint64_t now); /* as if it were NOW */
#define CBD_WAIT_SPIN 0u
#define CBD_WAIT_YIELD 0xffffffffu

/*
 * Lets others run.  Returns what it cost the caller, in nanoseconds: the time of the
 * call when there were no others, two switches when there were, all of the time when
 * they kept the CPU for long.  The only function of these that several threads may
 * call at once.
 */
uint64_t cbd_wait_yield(struct cbd_wait *w);

/* Sleep until *word differs from VALUE, somebody wakes it, or the time is
 * over.  The word may lie in shared memory. */
void cbd_futex_wait(const uint32_t *word, uint32_t value, unsigned us);
void cbd_futex_wake(const uint32_t *word);

/* The same between threads of this process alone: cheaper.  The word may be gone by
 * the time of a wake. */
void cbd_futex_wait_private(const uint32_t *word, uint32_t value, unsigned us);
void cbd_futex_wake_private(const uint32_t *word);

/* The same for several words; COUNT beyond what the kernel takes sleeps for
 * 1 ms at most. */
struct cbd_futex {
	const uint32_t *word;
	uint32_t value;
};
#define CBD_FUTEX_MAX 128 /* FUTEX_WAITV_MAX of Linux */
void cbd_futex_wait_any(const struct cbd_futex *f, unsigned count, unsigned us);

#endif
