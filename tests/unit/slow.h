/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * slow.h - a pair whose backend beats and is slow, or never answers.  Nothing waits for
 * minutes: time passes by moving what the blkdev has noted of it.
 */
#ifndef CBD_SLOW_H
#define CBD_SLOW_H

#include "unit.h"

extern struct pair p;

/* Without a server thread; 20 ms a heartbeat, and a second until a suspicion. */
void slow_open(struct pair_options o);

/* True, for conditions: the backend beats, and its control side does its work. */
bool slow_tick(void);

/* No answer has come for SECONDS. */
void slow_silent_for(unsigned seconds);

/* The time in which the backend has beaten, as the blkdev counts it. */
uint64_t slow_beating_ns(void);

/* The backend has beaten for SECONDS; BEAT makes it beat. */
void slow_beats_for(unsigned seconds, bool (*beat)(void));

/* Whether a request has completed; it waits for a millisecond. */
bool slow_reaped(struct cbd_completion *c);

/* No request completes for MS. */
void slow_expect_nothing(bool (*beat)(void), unsigned ms);

#endif
