/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * shadow.h - what may be in each 4 KiB block of the disk.
 *
 * A block has candidates: what was acknowledged last, and all that may have
 * landed on it since: requests in flight, those whose connection was lost, and
 * those that overlapped. A request that is acknowledged overrules what was
 * settled before it was sent. Each 512 bytes of a written block tell block,
 * sector, generation (one for each request) and seed, so that a torn block
 * shows.
 */
#ifndef SHADOW_H
#define SHADOW_H

#include "fault.h"

enum change { CHANGE_WRITE, CHANGE_ZERO, CHANGE_TRIM };

struct range {
	uint64_t first, count; /* blocks */
};

/* Of a disk that grows to MOST blocks. */
void shadow_init(uint64_t most);

/* Can the blocks bear one more candidate? */
bool shadow_has_room(struct range range);

/* A change is sent; returns its generation.  `fua` as asked for. */
uint64_t shadow_begin(enum change change, struct range range);
void shadow_acknowledge(enum change change, struct range range, uint64_t generation, bool fua);

/* No answer will come; it happened or not, and will not happen any more. */
void shadow_lost(struct range range, uint64_t generation);

/* What a write of this generation carries. */
void shadow_fill(struct range range, uint64_t generation, unsigned char *buf);

/* Moments, for flushes and reads. */
uint64_t shadow_moment(void);

/* All that was acknowledged before MOMENT is durable. */
void shadow_flushed(uint64_t moment);

/* What a read, or the disk itself, shows.  Blocks that were changed since
 * MOMENT are passed by; of the others the content is known from now on. Dies
 * when it is impossible.  Returns how many blocks were checked. */
uint64_t shadow_observe(struct range range, const unsigned char *buf, uint64_t moment,
			const char *where);

/* Of all blocks: durable content, and more than one candidate. */
void shadow_count(uint64_t *durable, uint64_t *open);

#endif
