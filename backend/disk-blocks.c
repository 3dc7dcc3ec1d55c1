/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * disk-blocks.c - which blocks of a file are holes: BLOCK_STATUS by lseek(2).
 *
 * Owns whom to ask and what to believe: what is not known for certain is data.
 *
 * A hole that a file system tells of has to be one for reads too, and so for what has
 * been written and not written back yet.  Some file systems have lost data here: ZFS once
 * told holes where a dirty page was, and FUSE asks its server, which does not know what the
 * kernel caches.  So only those are asked that are known to look into the page
 * cache.  A block device has no holes for lseek(2), whatever lies behind it.
 *
 * One SEEK_HOLE may walk over the whole file: on a tmpfs it looks at each page, and it
 * cannot be told to stop.  What it found, data up to a place, is remembered, for a hundred times as
 * long as it took: so asking piece by piece costs a handler 1% of its time at most.  To
 * remember data is safe (a hole that came since is told as data for so long); holes
 * are not remembered.
 */
#include <config.h>

#include <errno.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <time.h>
#include <unistd.h>

#include "disk.h"

#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif

#define HOLE (CBD_BLOCK_HOLE | CBD_BLOCK_ZERO)
#define MOST_NS 500000ull /* of one request; the client asks on */
#define REMEMBER 100	  /* times as long as the walk took */

bool disk_has_holes(const struct disk *d)
{
	static const uint32_t known[] = {
		EXT4_SUPER_MAGIC, /* ext2 and ext3 too */
		XFS_SUPER_MAGIC,  BTRFS_SUPER_MAGIC, F2FS_SUPER_MAGIC,
		TMPFS_MAGIC,	  NFS_SUPER_MAGIC,   OVERLAYFS_SUPER_MAGIC,
	};
	struct statfs fs;

	if (d->block_device || fstatfs(d->fd, &fs) < 0)
		return false;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if ((uint32_t)fs.f_type == known[i])
			return true;
	return false;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}

/* -------------------------------------------------------- data, remembered */

/* A discard or write of zeroes is done: what was data may be a hole. */
void disk_blocks_changed(struct disk *d)
{
	pthread_mutex_lock(&d->data.lock);
	d->data.changes++;
	d->data.end = 0;
	pthread_mutex_unlock(&d->data.lock);
}

static unsigned changes(struct disk *d)
{
	unsigned n;

	pthread_mutex_lock(&d->data.lock);
	n = d->data.changes;
	pthread_mutex_unlock(&d->data.lock);
	return n;
}

/* Where the data that is known to lie at AT ends; AT: none is known. */
static uint64_t recall(struct disk *d, uint64_t at)
{
	uint64_t end = at;

	pthread_mutex_lock(&d->data.lock);
	if (at >= d->data.start && at < d->data.end && now_ns() < d->data.until_ns)
		end = d->data.end;
	pthread_mutex_unlock(&d->data.lock);
	return end;
}

/* Data from START to END, as it was seen between BEGAN_NS and now; with SINCE changes
 * before. */
static void remember(struct disk *d, uint64_t start, uint64_t end, uint64_t began_ns,
		     unsigned since)
{
	uint64_t now = now_ns();

	pthread_mutex_lock(&d->data.lock);
	if (d->data.changes == since) {
		d->data.start = start;
		d->data.end = end;
		d->data.until_ns = now + REMEMBER * (now - began_ns);
	}
	pthread_mutex_unlock(&d->data.lock);
}

/* ------------------------------------------------------------------- runs */

struct run {
	uint64_t end;
	unsigned flags;
};

/* No data from AT on: a hole to the end of the file.  A file that was truncated has
 * neither holes nor data behind its end: reads fail there, and so nobody may take it for
 * zeroes. */
static struct run without_data(const struct disk *d, uint64_t at, uint64_t end)
{
	struct stat st;

	if (fstat(d->fd, &st) < 0 || (uint64_t)st.st_size <= at)
		return (struct run){ end, 0 };
	return (struct run){ (uint64_t)st.st_size < end ? (uint64_t)st.st_size : end, HOLE };
}

static struct run run_of_data(struct disk *d, uint64_t at, uint64_t end)
{
	unsigned since = changes(d);
	uint64_t began = now_ns();
	off_t hole = lseek(d->fd, (off_t)at, SEEK_HOLE);

	/* an error, or a hole where data was a moment ago: somebody changes the file */
	if (hole <= (off_t)at)
		return (struct run){ end, 0 };
	remember(d, at, (uint64_t)hole, began, since);
	return (struct run){ (uint64_t)hole < end ? (uint64_t)hole : end, 0 };
}

static struct run run_at(struct disk *d, uint64_t at, uint64_t end)
{
	uint64_t known = recall(d, at);
	off_t data;

	if (known > at)
		return (struct run){ known < end ? known : end, 0 };
	data = lseek(d->fd, (off_t)at, SEEK_DATA);
	if (data < 0 && errno == ENXIO)
		return without_data(d, at, end);
	if (data < 0)
		return (struct run){ end, 0 };
	if (data > (off_t)at)
		return (struct run){ (uint64_t)data < end ? (uint64_t)data : end, HOLE };
	return run_of_data(d, at, end);
}

void disk_block_status(struct disk_queue *q, struct disk_io *io)
{
	struct cbd_request *r = io->request;
	uint64_t at = r->offset, end = r->offset + r->length, began = now_ns(), left;

	do {
		struct run run = run_at(q->disk, at, end);

		left = cbd_request_add_blocks(r, run.end - at, run.flags);
		at = run.end;
	} while (left > 0 && now_ns() - began < MOST_NS);
	q->events.done(q->events.opaque, io, 0);
}
