/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * overlap.h - overlapping writes of one blkdev take effect in the order of their
 * submission (rule 13).
 *
 * A write (WRITE, WRITE_ZEROES, DISCARD) that overlaps an earlier one which is not
 * complete waits for it; writes that overlap none stay parallel.  Owns the list of
 * the writes that are inside, not their memory, and has no lock: its user holds one.
 */
#ifndef CBD_OVERLAP_H
#define CBD_OVERLAP_H

#include <stdbool.h>
#include <stdint.h>

/* One write, from its submission to its completion; part of its owner's record. */
struct cbd_overlap_node {
	uint64_t first, last; /* bytes, inclusive */
	unsigned waits_for;   /* earlier overlapping writes that are not complete */
	bool has_waiters;     /* a later write counts this one in its waits_for */
	struct cbd_overlap_node *earlier, *later;
};

/* A grain is the piece of the disk that one counter stands for: a write of up to 64
 * KiB touches two at most, and few writes that do not overlap share one. */
#define CBD_OVERLAP_GRAIN_BITS 16
#define CBD_OVERLAP_GRAINS 1024u /* counters; grains that are so far apart share one */

struct cbd_overlap {
	struct cbd_overlap_node *newest;
	uint32_t inside[CBD_OVERLAP_GRAINS]; /* writes that touch a grain of the counter */
	unsigned wide; /* writes that touch more grains than there are counters */
};

/*
 * A write of LENGTH bytes (above 0) at OFFSET is submitted.  Returns whether it may be
 * executed at once; false: it waits, until cbd_overlap_remove() of the last earlier write that
 * it overlaps tells.
 */
bool cbd_overlap_add(struct cbd_overlap *o, struct cbd_overlap_node *n, uint64_t offset,
		     uint64_t length);

/*
 * A write is complete, also one that has failed.  FREED is called for each write that may be
 * executed now, in the order of their submission; it must not call these functions.
 */
typedef void cbd_overlap_fn(void *opaque, struct cbd_overlap_node *n);
void cbd_overlap_remove(struct cbd_overlap *o, struct cbd_overlap_node *n, cbd_overlap_fn *freed,
			void *opaque);

#endif
