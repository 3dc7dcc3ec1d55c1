/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * actors.h - the programs that run on simulated hosts: a backend with a disk, a client
 * with a shadow copy of its part of it, and what an operator does.
 */
#ifndef CBD_SIM_ACTORS_H
#define CBD_SIM_ACTORS_H

#include "sim.h"

#define DISK_BLOCKS 256 /* of 512 bytes */
#define DISK_BLOCK 512
#define PART_BLOCKS 32 /* of one client */

/* The disk: what each block holds is told by a number. */
struct actor_disk {
	uint64_t block[DISK_BLOCKS];
	struct sim_proc *holder; /* has the disk lock */
	uint64_t writes, reads;
};

/* What a block may hold. */
struct shadow_block {
	uint64_t is;	  /* as last acknowledged, or seen */
	uint64_t may[16]; /* writes whose end is not known */
	unsigned n_may;
};

struct actor_backend {
	struct actor_disk *disk;
	unsigned id;
	unsigned handlers, max_blkdevs;
	bool takeover;	       /* from the process of this host that serves */
	uint64_t fenced_hosts; /* bit i: host slot i is said to be off */
	bool wanted_stop;      /* the director: stop in order */
	/* told by it */
	bool serving, lost;
	struct cbd_backend *b;
	bool stop_handlers;
	unsigned running_handlers;
};

struct actor_client {
	struct shadow_block *shadow; /* PART_BLOCKS of them */
	unsigned first;		     /* block of the disk */
	unsigned backend;
	unsigned requests; /* to do; 0: until told */
	unsigned threads;
	bool one_queue; /* else one or two */
	bool waits;	/* for an answer as long as a suspicion takes; else 5 s */
	bool wanted_stop;
	unsigned op;	/* enum cbd_op: these alone; 0: any */
	unsigned again; /* how often it tries to attach once more */
	bool hard;	/* errors of I/O are allowed: the director has made one */
	/* told by it */
	bool attached;
	unsigned done, errors;
	unsigned slow; /* requests that took 1 ms and more */
	uint64_t resends, bad_payloads, leaves;
	uint64_t epochs; /* of all queues */
	struct cbd_blkdev *b;
	bool failed;
	unsigned running;
	uint64_t tag;
};

extern int actor_errors; /* of the last one that ended: for messages */

int actor_format(struct sim_proc *p, void *arg); /* struct cbd_format_options */
int actor_backend(struct sim_proc *p, void *arg);
int actor_client(struct sim_proc *p, void *arg);

struct actor_clear {
	enum cbd_object object;
	unsigned id;
	uint64_t hosts_gone; /* as fenced_hosts */
};
int actor_clear(struct sim_proc *p, void *arg);
int actor_check(struct sim_proc *p, void *arg); /* bool *repair; the number of problems */
int actor_join(struct sim_proc *p, void *arg);	/* the slot */

/* Spawn and wait for the end. */
int actor_run(struct sim_host *h, const char *name, int (*fn)(struct sim_proc *, void *),
	      void *arg);
bool actor_wait(struct sim_proc *p, uint64_t ns); /* has it ended? */

/* The content of a block with this number. */
void actor_fill(void *block, uint64_t number, unsigned at);

#endif
