/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * disk-psync.c - engine "psync": system calls in the handler's thread.
 *
 * Works on every kernel and is the fastest for data in the page cache.  One
 * request at a time for each handler: --handlers gives parallel I/O.
 */
#include <config.h>

#include <errno.h>
#include <stdlib.h>

#include "disk.h"

static int psync_open(struct disk *d, unsigned depth, struct disk_queue **queue)
{
	(void)d;
	(void)depth;
	*queue = calloc(1, sizeof(**queue));
	return *queue == NULL ? -ENOMEM : 0;
}

static void psync_close(struct disk_queue *q)
{
	free(q);
}

static void psync_submit(struct disk_queue *q, struct disk_io *io)
{
	q->events.done(q->events.opaque, io, disk_execute(q, io->request));
}

const struct disk_engine disk_psync = {
	.name = "psync",
	.open = psync_open,
	.close = psync_close,
	.submit = psync_submit,
	.block_status = disk_block_status,
};
