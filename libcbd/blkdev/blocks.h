/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * blocks.h - what a backend says of the blocks of its disk, and what of that is believed.
 */
#ifndef CBD_BLOCKS_H
#define CBD_BLOCKS_H

#include <cbd-format.h>

#include "cbd.h"

/*
 * The N runs of an answer about LENGTH bytes, in private memory, become blocks, of which there
 * is room for N and at least for one.  Returns how many, at least 1: they are not
 * empty, and together not longer than LENGTH.
 */
unsigned cbd_blocks_take(const struct cbd_run *runs, unsigned n, uint32_t length,
			 struct cbd_block_status *blocks);

#endif
