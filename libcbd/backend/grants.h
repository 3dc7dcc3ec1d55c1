/* SPDX-License-Identifier: BSD-3-Clause */
/* grants.h - see grants.c.  The control thread's. */
#ifndef CBD_GRANTS_H
#define CBD_GRANTS_H

#include "backend/backend.h"

/* To a state that the table in grants.c allows. */
void cbd_pool_become(struct cbd_bchannel *bc, enum cbd_pool_state to);
bool cbd_pool_is_in(const struct cbd_bchannel *bc, enum cbd_pool_state state);

/* Is it served for blkdev D?  Has its handler retired it? */
bool cbd_pool_is_of(const struct cbd_bchannel *bc, unsigned d);
bool cbd_pool_is_retired(const struct cbd_bchannel *bc);

void cbd_grant_set_state(struct cbd_backend *b, struct cbd_bchannel *bc,
			 enum cbd_grant_state state);

/* A new epoch for the blkdev, queue and depth that bc->grant names; HOST is the
 * blkdev's.  A negative errno: no memory, or it is gone. */
int cbd_grant_give(struct cbd_backend *b, struct cbd_bchannel *bc, unsigned host);

/* A retired channel is free again, or closed while the backend stops.  STAYS: the blkdev
 * waits for the next backend, so its grant stays. */
void cbd_grant_take_back(struct cbd_backend *b, struct cbd_bchannel *bc, bool stays);

#endif
