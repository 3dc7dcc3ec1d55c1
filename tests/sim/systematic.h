/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * systematic.h - who dies in the systematic runs, and how the others go on.
 */
#ifndef CBD_SIM_SYSTEMATIC_H
#define CBD_SIM_SYSTEMATIC_H

#include "actors.h"

#define SYSTEMATIC_SIZE (4ull << 20)

/* The host of the victim, the one beside it, that of the others, and one that is off. */
#define VICTIM_HOST (&sim.hosts[1])
#define OTHER_HOST (&sim.hosts[2])
#define THIRD_HOST (&sim.hosts[0])
#define GONE_HOST (&sim.hosts[3])

/*
 * A victim writes control lines.  PREPARE makes what it works on; RUN starts it, lets it
 * die at the store of its number, and returns it when it is dead or has ended in order.
 * RETURN and OTHER: the same once more, on its host and on another one, when the host of
 * the victim is off.  Most stores are those of the victim alone; JOINS: it takes the slot
 * of its host by itself.
 */
struct victim {
	const char *name;
	bool joins;	  /* its host has no slot before */
	bool other_joins; /* OTHER_HOST takes its slot only afterwards */
	bool serves;	  /* a backend: where its host is cleared another one starts */
	void (*prepare)(void);
	struct sim_proc *(*run)(uint64_t store);
	void (*returns)(void);
	void (*other)(void);
};

extern const struct victim systematic_victims[];
extern const unsigned systematic_n_victims;

/* The slots of the hosts; -1: none so far. */
extern int systematic_slots[SIM_HOSTS];
extern bool systematic_repaired; /* check --repair was needed */

/* Format, and join the hosts. */
void systematic_begin(const struct victim *v, bool joins);

/* The operator declares the victim's host gone, or formats; a backend starts where the
 * victim was one or the memory is new. */
void systematic_clear(const struct victim *v);
void systematic_format(void);

/* Clients of all hosts work, with the backend that is there and with a new one, and a
 * check finds nothing, if need be after check --repair. */
void systematic_all_work(void);

#endif
