/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * blocks.c - see blocks.h.
 *
 * The peer may say anything.  What makes no sense counts as data: to read data where
 * there are zeroes costs time, and to take data for zeroes loses it (rule 15 of
 * docs/protocol.md).
 */
#include <config.h>

#include "blkdev/blocks.h"

/* LENGTH bytes behind the N blocks that are there: one more, or the last one grows. */
static unsigned append(struct cbd_block_status *blocks, unsigned n, uint32_t length, uint32_t flags)
{
	if (n > 0 && blocks[n - 1].flags == flags) {
		blocks[n - 1].length += length;
		return n;
	}
	blocks[n] = (struct cbd_block_status){ .length = length, .flags = flags };
	return n + 1;
}

unsigned cbd_blocks_take(const struct cbd_run *runs, unsigned n, uint32_t length,
			 struct cbd_block_status *blocks)
{
	uint32_t left = length;
	unsigned taken = 0;

	for (unsigned i = 0; i < n && left > 0 && runs[i].length > 0; i++) {
		bool sane = runs[i].length <= left && !(runs[i].flags & ~CBD_RUN_FLAGS_KNOWN);
		uint32_t bytes = runs[i].length <= left ? runs[i].length : left;

		taken = append(blocks, taken, bytes, sane ? runs[i].flags : 0);
		left -= bytes;
	}
	return taken > 0 ? taken : append(blocks, 0, length, 0);
}
