/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * disk.h - the disks that this nbdkit serves: its attachments to backends.
 *
 * Owns when to attach and detach.  Knows nothing of NBD requests; those go
 * straight from cbd.c to libcbd.
 */
#ifndef CBD_PLUGIN_DISK_H
#define CBD_PLUGIN_DISK_H

#include <stdbool.h>
#include <stdint.h>

#include <cbd.h>

enum disk_state { DISK_ATTACHING, DISK_READY, DISK_DETACHING };

/* One attachment.  Fields up to `geometry` are fixed while it is READY; the
 * others belong to disk.c. */
struct disk {
	struct cbd_blkdev *blkdev;
	unsigned backend; /* its id */
	bool read_only;
	struct cbd_blkdev_geometry geometry;

	struct disk *next;
	enum disk_state state;
	uint64_t identity; /* of the backend's disk when it was looked up */
	unsigned users;
	unsigned turn;
};

/*
 * Attach to one backend for as long as nbdkit runs; before the fork.  NULL:
 * nbdkit_error() was called.  disk_start() follows in the process that serves.
 */
struct disk *disk_open(struct cbd_transport *t, const struct cbd_blkdev_options *options);
int disk_start(struct disk *d);
void disk_close(struct disk *d);

/*
 * Attach to a backend unless this process is attached to it already; any
 * thread.  May block for as long as an attach or a detach takes.  NULL:
 * nbdkit_error() was called.  The last disk_put() detaches.
 */
struct disk *disk_get(struct cbd_transport *t, const struct cbd_blkdev_options *options,
		      const struct cbd_backend_info *backend);
void disk_put(struct disk *d);

/* A queue for the next connection: each queue in turn.  Any thread. */
struct cbd_queue *disk_queue(struct disk *d);

#endif
