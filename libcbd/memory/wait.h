/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wait.h - one waiting policy for queues and handlers: spin for a while, then
 * yield, then sleep with growing intervals; and futexes on words in shared memory.
 *
 * The time awake adapts: it grows when something came shortly before the thread
 * would have slept, and shrinks with each sleep.
 *
 * A thread does not spin where that keeps the CPU from a thread that would soon give
 * it back: with one CPU, and while the last yield let other threads run for a short
 * time (the peer, or threads that wait for it).  Threads that keep the CPU for long do
 * not count: the scheduler takes the CPU for them when their turn comes.
 *
 * A request alone is an exception: its thread spins at first even so, and again for a
 * tenth of each second.  Two threads that yield to each other stay on one CPU; when one
 * of them spins, the scheduler moves the other to a CPU that is free.
 */
#ifndef CBD_WAIT_H
#define CBD_WAIT_H

#include "cbd.h"

struct cbd_wait {
	enum cbd_poll poll;
	bool one_cpu;		 /* while this thread spins the peer cannot run */
	bool crowded;		 /* the last yield let threads run that soon gave the CPU back */
	uint64_t crowd_ns;	 /* when the last such yield was */
	uint64_t crowd_since_ns; /* when the first of them was, without a pause of 10 ms since */
	bool alone;		 /* set by the owner: there is one request, or none */
	unsigned awake_us;	 /* how long to stay awake: the adaptive part */
	unsigned turns;		 /* of waiting, since cbd_wait_hit() */
	uint64_t since_ns;	 /* when the first of these turns was */
	uint64_t last_ns;	 /* and the last one */
	unsigned sleep_us;	 /* the next interval */
	unsigned most_us;	 /* longest interval */
};

void cbd_wait_init(struct cbd_wait *w, enum cbd_poll poll, unsigned most_us);

/* The caller has found what it waited for. */
void cbd_wait_hit(struct cbd_wait *w);

/*
 * What the caller shall do next: CBD_WAIT_SPIN, look again at once;
 * CBD_WAIT_YIELD, call cbd_wait_yield(); else sleep so many microseconds, on a futex
 * or an event that ends the sleep early.
 */
unsigned cbd_wait_next(struct cbd_wait *w);
unsigned cbd_wait_next_at(struct cbd_wait *w, uint64_t now); /* as if it were NOW */
#define CBD_WAIT_SPIN 0u
#define CBD_WAIT_YIELD 0xffffffffu

/*
 * Let other threads run.  Returns what that cost the caller, in nanoseconds: the time
 * of the call when there were none, two switches when there were, all of the time when
 * they kept the CPU for long.  The only function here that several threads may call at
 * once for the same cbd_wait.
 */
uint64_t cbd_wait_yield(struct cbd_wait *w);

/* Sleep until *word differs from VALUE, cbd_futex_wake() of the word, or the end of US
 * microseconds.  The word may lie in memory that processes of this host share. */
void cbd_futex_wait(const uint32_t *word, uint32_t value, unsigned us);
void cbd_futex_wake(const uint32_t *word);

/* The same between threads of one process, which is cheaper.  A word that has been
 * freed meanwhile may be woken: its address is only looked up. */
void cbd_futex_wait_private(const uint32_t *word, uint32_t value, unsigned us);
void cbd_futex_wake_private(const uint32_t *word);

/* Sleep until one of several words differs or is woken.  With more words than the
 * kernel takes, or a kernel without futex_waitv(2), it sleeps for 1 ms at most. */
struct cbd_futex {
	const uint32_t *word;
	uint32_t value;
};
#define CBD_FUTEX_MAX 128 /* FUTEX_WAITV_MAX of Linux */
void cbd_futex_wait_any(const struct cbd_futex *f, unsigned count, unsigned us);

#endif
