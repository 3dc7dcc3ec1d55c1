/* SPDX-License-Identifier: BSD-3-Clause */
/* split.c - see split.h. */
#include <config.h>

#include "cbd-format.h"
#include "blkdev/split.h"

uint32_t cbd_split_first(uint64_t offset, uint64_t length, uint32_t most)
{
	uint64_t n;

	if (length <= most - offset % CBD_UNIT_SIZE)
		return (uint32_t)length;
	/* what lies behind the last boundary goes to the next part */
	n = most - offset % CBD_UNIT_SIZE;
	return (uint32_t)n;
}
