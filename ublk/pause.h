/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pause.h - how the thread of a queue spends the time until a request or an answer comes:
 * it looks again at once, then yields, then sleeps.
 *
 * The policy and the times are those of libcbd (memory/wait.h), for a thread that looks at
 * two sides.  How long it yields is learnt: what comes after a long wait, while the thread
 * is awake, makes it longer, a sleep makes it shorter.  And whether it pays to stay awake at
 * all: not after a sleep that was longer than the thread would have stayed awake at the least.
 *
 * Two kinds of waits, for requests and for answers, learn apart: one is as long as a program
 * takes to come again, the other as long as a disk takes.
 */
#ifndef CBD_UBLK_PAUSE_H
#define CBD_UBLK_PAUSE_H

#include <stdbool.h>
#include <stdint.h>

#include <cbd.h>

struct pause {
	enum cbd_poll poll;
	bool one_cpu;	   /* the other side could not run while this one spins */
	unsigned yield_us; /* learnt */
	uint64_t since_ns; /* the wait began; 0: none */
	uint64_t last_ns;  /* it was awake last */
	uint64_t slept_ns; /* since when it sleeps */
	bool in_vain;	   /* to stay awake: by the last sleep */
};

void pause_init(struct pause *p, enum cbd_poll poll);

/* Something has come: the wait is over. */
void pause_hit(struct pause *p);

/* After a look that found nothing.  True: look again; false: it is time to sleep. */
bool pause_stay_awake(struct pause *p);

/* Around a sleep, however that has begun. */
void pause_falls_asleep(struct pause *p);
void pause_wakes_up(struct pause *p);

/* Whether to sleep at once, without a look before. */
bool pause_is_in_vain(const struct pause *p);

#endif
