/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * disk-range.c - the range lock of --direct: who may change which blocks.
 *
 * A list in the order of arrival.  A request is ready when nothing before it
 * overlaps in a way that matters: whole blocks may be written side by side (an
 * overlap of two writes in flight has no order on any disk), a
 * read-modify-write only alone, or it would write back what it read before.
 * Nobody sleeps here: the worker asks again.  Since a request waits only for
 * earlier ones, and one that is ready waits for none, no cycle can form.
 */
#include <config.h>

#include "disk.h"

static bool changes(const struct cbd_request *r)
{
	return r->op == CBD_OP_WRITE || r->op == CBD_OP_WRITE_ZEROES || r->op == CBD_OP_DISCARD;
}

/* In whole blocks; an empty range overlaps with nothing. */
static void set_range(const struct disk *d, struct disk_io *io)
{
	const struct cbd_request *r = io->request;
	uint64_t mask = d->direct - 1;
	uint64_t end = r->offset + r->length;

	if (!changes(r))
		r = NULL;
	io->range_start = r == NULL ? 0 : r->offset & ~mask;
	io->range_end = r == NULL ? 0 : (end + mask) & ~mask;
	io->range_exclusive = r != NULL && ((r->offset | end) & mask) != 0;
}

void disk_range_add(struct disk *d, struct disk_io *io)
{
	if (d->direct == 0)
		return;
	set_range(d, io);
	pthread_mutex_lock(&d->ranges.lock);
	io->range_next = NULL;
	io->range_prev = d->ranges.last;
	if (io->range_prev != NULL)
		io->range_prev->range_next = io;
	else
		d->ranges.first = io;
	d->ranges.last = io;
	pthread_mutex_unlock(&d->ranges.lock);
}

static bool conflict(const struct disk_io *a, const struct disk_io *b)
{
	return (a->range_exclusive || b->range_exclusive) && a->range_start < b->range_end &&
	       b->range_start < a->range_end;
}

bool disk_range_ready(struct disk *d, const struct disk_io *io)
{
	const struct disk_io *earlier;

	if (d->direct == 0)
		return true;
	pthread_mutex_lock(&d->ranges.lock);
	for (earlier = io->range_prev; earlier != NULL; earlier = earlier->range_prev)
		if (conflict(earlier, io))
			break;
	pthread_mutex_unlock(&d->ranges.lock);
	return earlier == NULL;
}

void disk_range_remove(struct disk *d, struct disk_io *io)
{
	if (d->direct == 0)
		return;
	pthread_mutex_lock(&d->ranges.lock);
	if (io->range_prev != NULL)
		io->range_prev->range_next = io->range_next;
	else
		d->ranges.first = io->range_next;
	if (io->range_next != NULL)
		io->range_next->range_prev = io->range_prev;
	else
		d->ranges.last = io->range_prev;
	pthread_mutex_unlock(&d->ranges.lock);
}
