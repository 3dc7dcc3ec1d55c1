/* SPDX-License-Identifier: BSD-3-Clause */
/* adopt.h - see adopt.c.  The control thread's. */
#ifndef CBD_ADOPT_H
#define CBD_ADOPT_H

#include "backend/backend.h"

/* At the start: read all grant lines, take over or free all channels. */
void cbd_backend_adopt(struct cbd_backend *b);

/* At each beat: the same for lines that were damaged then. */
void cbd_adopt_late(struct cbd_backend *b);

/* The blkdev of slot D, if it lives and the backend before served it. */
void cbd_adopt_blkdev(struct cbd_backend *b, unsigned d);

#endif
