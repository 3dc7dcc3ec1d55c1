/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * extent.h - allocator of a channel's data area, private to the blkdev.
 *
 * Units of CBD_UNIT_SIZE; an extent is contiguous, so that a disk can read and
 * write it in one piece.  Extents come back in any order: a slow request
 * never keeps others from space.  Not thread-safe: its queue's lock guards it.
 */
#ifndef CBD_EXTENT_H
#define CBD_EXTENT_H

#include <stdbool.h>
#include <stdint.h>

#include "cbd-format.h"

#define CBD_MAX_UNITS (CBD_MAX_CHANNEL_SIZE / CBD_UNIT_SIZE)

struct cbd_extents {
	uint32_t units;
	uint32_t free;
	bool rotate;
	uint32_t hint;			   /* where the next search starts */
	uint64_t used[CBD_MAX_UNITS / 64]; /* bit set: taken, or beyond the end */
};

/*
 * ROTATE: an extent that was given back is used again as late as can be, else as
 * soon as can be.  In hardware mode the second is right: it is in the caches of
 * both sides.  In software mode the first: the caches are gone around, and stores
 * to lines that another CPU has cached take longer (measured: 0.3 us for 4 KiB).
 */
void cbd_extents_init(struct cbd_extents *e, uint32_t units, bool rotate);

/* First unit of COUNT contiguous ones, or -1. */
int cbd_extent_alloc(struct cbd_extents *e, uint32_t count);
void cbd_extent_free(struct cbd_extents *e, uint32_t first, uint32_t count);

#endif
