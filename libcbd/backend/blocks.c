/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * blocks.c - what an engine tells of the blocks of its disk: the answer to a
 * BLOCK_STATUS, in the private memory of the channel until it is delivered (payload.c).
 */
#include <config.h>

#include "backend/hchannel.h"

/* The room was validated (handler.c): for one at least. */
static bool add_run(struct cbd_hrequest *r, uint32_t length, uint32_t flags)
{
	if (r->n_runs > 0 && r->runs[r->n_runs - 1].flags == flags) {
		r->runs[r->n_runs - 1].length += length;
		return true;
	}
	if (r->n_runs == r->se.room / sizeof(r->runs[0]))
		return false;
	r->runs[r->n_runs++] = (struct cbd_run){ .length = length, .flags = flags };
	return true;
}

uint64_t cbd_request_add_blocks(struct cbd_request *request, uint64_t length, unsigned flags)
{
	struct cbd_hrequest *r = (struct cbd_hrequest *)request;
	uint32_t left = r->told_all ? 0 : r->se.length - r->told;

	if (length > left)
		length = left;
	if (flags & ~CBD_RUN_FLAGS_KNOWN)
		flags = 0; /* of a later version: whatever it means, it is not said that these
			    * are zeroes */
	if (length > 0 && !add_run(r, (uint32_t)length, flags)) {
		r->told_all = true;
		return 0;
	}
	r->told += (uint32_t)length;
	return left - length;
}
