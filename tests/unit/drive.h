/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * drive.h - a pair in stepping mode that the test drives by hand, side by side,
 * so that it can put anything between two steps.
 */
#ifndef CBD_DRIVE_H
#define CBD_DRIVE_H

#include "unit.h"

extern struct pair p;
extern unsigned char buf[64][8192];

void drive_open(enum cbd_coherence kind, unsigned ring_slots, unsigned depth);

/* The backend's side of the queue's channel, and whether it has found the ring
 * broken. */
struct cbd_hchannel *drive_channel(void);
bool drive_broken(void);

/* Fetch, complete and poll once; true when a completion came.  And until one comes. */
bool drive_once(struct cbd_completion *c);
struct cbd_completion drive_until(void);

/* The next completion is of COOKIE, and good. */
void drive_ok(uintptr_t cookie);

/* True: for conditions.  There is nothing to be fetched. */
bool drive_fetch_none(void);

/* True.  There is no completion; long enough to read the grant, as a waiting queue
 * does. */
bool drive_reap_none(void);

/* Whatever happened before: I/O goes on. */
void drive_sane(void);

/* As a blkdev reads it, past the queue. */
int drive_receive_ce(struct cbd_channel *ch, uint64_t count, struct cbd_ce *ce);

#endif
