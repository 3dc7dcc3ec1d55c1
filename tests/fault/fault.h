/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fault.h - what the files of the fault driver share: options, time, random
 * numbers, the end of a failed run.
 *
 * One thread does everything but the watchdog's work.
 */
#ifndef FAULT_H
#define FAULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../factor.h"

#define BLOCK 4096u
#define MS UINT64_C(1000000) /* nanoseconds */

struct options {
	const char *transport, *disk, *tmp; /* paths; tmp is a folder */
	const char *engine;		    /* psync, uring, mmap */
	bool software, data_crc;
	bool hosts; /* backend and nbdkit on two, which can be booted */
	unsigned queues, handlers;
	unsigned connections, depth; /* depth: requests in flight of each */
	unsigned rounds;
	unsigned heartbeat_ms, dead_after;
	const char *only;	       /* names of faults, separated by commas; NULL: all */
	const char *line;	       /* name of the line to damage; NULL: any */
	uint64_t first_blocks, blocks; /* of the disk: at first, now */
	uint64_t seed;
	bool quick; /* for times: verify at the end only */
};
extern struct options options;

#define MOST_BLOCKS (2 * options.first_blocks) /* to which the disk grows */

/* The round, for messages. */
extern unsigned current_round;

/* How long an owner may be silent before it is suspect. */
uint64_t suspicion_ns(void);

uint64_t now_ns(void);

struct random {
	uint64_t state;
};
uint64_t next(struct random *r);
uint64_t below(struct random *r, uint64_t limit);
uint64_t between(struct random *r, uint64_t low, uint64_t high); /* both included */
bool one_in(struct random *r, unsigned n);

/* Of the choice of faults and moments. */
extern struct random driver_random;

/* Tells, shows the state of the transport and of the processes, ends them, and
 * exits. */
void die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* What an idle machine does within SECONDS is done within that time on this one. */
static inline uint64_t patience_ns(unsigned seconds)
{
	return seconds * 1000 * MS * test_factor();
}

/* watchdog.c: what is under way, and how many seconds it may take on an idle machine; NULL: nothing. */
void watchdog_start(void);
void watch(const char *what, unsigned seconds);

/* state.c: does cbdctl find what there has to be?  Dies if not. */
void state_check(void);

#endif
