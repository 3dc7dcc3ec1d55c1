/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wait.h - how a side that waits for the other one spends the time: it spins, then
 * yields, then sleeps with growing intervals; and futexes on words in shared memory.
 *
 * How long it yields is learnt: a turn that found something while it was awake makes it
 * longer, a sleep makes it shorter.  A side does not spin where that takes the CPU from
 * somebody who would give it back: on one CPU, and while the last yield let others run
 * for a short time (the other side, or those who wait for it).  Others who keep the CPU
 * for long do not count: they would take it for milliseconds at each yield.
 *
 * A lone request spins at first even where others share the CPU, and again from time to
 * time: two threads that yield to each other stay on one CPU, while one that spins makes
 * the scheduler move the other to a CPU that is free.
 */
#ifndef CBD_WAIT_H
#define CBD_WAIT_H

#include "cbd.h"
#include "memory/wait-times.h"

struct cbd_wait {
	enum cbd_poll poll;
	bool one_cpu;		 /* the other side could not run while this one spins */
	bool crowded;		 /* the last yield let others run, who soon gave back */
	uint64_t crowd_ns;	 /* time of the last such yield */
	uint64_t crowd_since_ns; /* time of the first, with at most short breaks since */
	bool alone;		 /* set by the owner: there is one request, or none */
	unsigned yield_us;	 /* how long to yield before the first sleep: learnt */
	unsigned turns;		 /* since the last hit */
	uint64_t since_ns;	 /* time of the first of them */
	uint64_t last_ns;	 /* and of the last */
	unsigned sleep_us;	 /* the next sleep */
	unsigned most_us;	 /* the longest sleep */
	/* counted, for people; with one writer, others may read */
	bool asleep;	   /* the last turn was a sleep */
	uint64_t poll_ns;  /* awake, up to the last turn of each wait */
	uint64_t sleep_ns; /* asleep */
	uint64_t sleeps;
};

/* -EINVAL: a number that is no policy. */
int cbd_poll_check(enum cbd_poll poll);

/* MOST_US bounds each sleep. */
void cbd_wait_init(struct cbd_wait *w, enum cbd_poll poll, unsigned most_us);

/* Another bound from now on: the other side is another one, on another host perhaps. */
void cbd_wait_bound(struct cbd_wait *w, unsigned most_us);

/* Something was found: the wait is over. */
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

/* The caller has slept since SINCE_NS (cbd_now_ns(); 0: since cbd_wait_next() said so). */
void cbd_wait_slept(struct cbd_wait *w, uint64_t since_ns);

/*
 * Let others run.  Returns what it cost the caller, in nanoseconds: the time of the call
 * when there were no others or when they kept the CPU for long, CBD_SWITCHES_NS when they
 * soon gave it back.  Several threads may call it at once for one W, and no other of
 * these functions.
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
