/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * load.h - the load that cbd-bench puts on a blkdev, and what it measures.
 */
#ifndef CBD_BENCH_LOAD_H
#define CBD_BENCH_LOAD_H

#include <stdbool.h>

#include <cbd.h>

#include "histogram.h"

enum load_kind { LOAD_RANDREAD, LOAD_RANDWRITE, LOAD_RANDRW, LOAD_READ, LOAD_WRITE, LOAD_RW };

struct load_options {
	enum load_kind kind;
	uint64_t block;		/* bytes of a request */
	uint64_t size;		/* bytes of the device that are used */
	unsigned depth;		/* requests in flight of each thread */
	unsigned queues;	/* that are used: 0..queues-1 */
	unsigned threads;	/* of each queue */
	unsigned read_share;	/* percent, of the mixed kinds */
	double seconds, ramp_s; /* measured, and before that */
	unsigned think_ms;	/* pause between two requests of a thread */
	bool verify;
	bool fua;
	uint64_t seed;
	const unsigned *cpus; /* thread i runs on cpus[i % n_cpus] */
	unsigned n_cpus;
};

struct load_result {
	struct histogram read, write; /* ns of each request */
	double seconds;
	double cpu_s; /* of this process, user and system */
	uint64_t sleeps, preempted;
};

/*
 * Run the load.  Returns 0, or -1 after a message on stderr: a request failed,
 * or what was read is not what was written.  With VERIFY the used part of the
 * device is written first, and read again at the end.
 */
int load_run(struct cbd_blkdev *b, const struct load_options *options, struct load_result *result);

/* What load_run() is doing, in a few words for people; from another thread while it runs. */
void load_tell(char *text, size_t size);

#endif
