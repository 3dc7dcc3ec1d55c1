/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * copy.h - payload between private memory and a data area, with its CRC.
 *
 * Both sides copy like this.  Inside a recovery point (memory/fault.h): the data area
 * may be poisoned or cut off.
 */
#ifndef CBD_COPY_H
#define CBD_COPY_H

#include "memory/coherence.h"

/*
 * Copy LEN bytes into a data area and write them back, or out of one, where they were
 * invalidated: cbd_mem_invalidate_start(), for all payloads that are read together, then
 * cbd_invalidate_done().  Each invalidation serves one copy.  CRC: NULL, or the seed of the
 * direction, which becomes the CRC of the payload.  It is taken of the private side, never
 * of what lies in shared memory by then, piece by piece, while a piece is in the
 * first-level cache.
 */
void cbd_copy_in(const struct cbd_mem *m, char *to, const char *from, size_t len, uint32_t *crc);
void cbd_copy_out(const struct cbd_mem *m, char *to, const char *from, size_t len, uint32_t *crc);

#endif
