/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * disk.h - a disk, and the one small interface that every disk engine has.
 *
 * A disk is a regular file, a block device or a devdax device behind one file
 * descriptor, or what an NBD server has (nbd.h).  The file descriptor carries the disk's lock, so all I/O of all handlers goes
 * through it, and it is never registered with io_uring, which would keep the
 * lock beyond the life of the process.
 *
 * An engine executes requests of libcbd on a disk.  Each handler thread has a
 * queue of its own in the engine and is the only one to call it; what the
 * handlers share is struct disk, constant once it is open.
 *
 * To add an engine: one file disk-NAME.c with a struct disk_engine, and its
 * name in disk-engine.c and options.c.  To add an operation: docs/design.md.
 *
 * "Rule N", in all files of this folder, is rule N of docs/protocol.md.
 */
#ifndef CBD_BACKEND_DISK_H
#define CBD_BACKEND_DISK_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <cbd.h>

/* ------------------------------------------------------------------ disk */

struct disk_io;
struct nbd;

/* Ranges of the disk that are being changed, in the order of arrival.  Only
 * with --direct; see disk-range.c. */
struct disk_ranges {
	pthread_mutex_t lock;
	struct disk_io *first, *last;
};

/* A piece of the disk that is known to be data; see disk-blocks.c. */
struct disk_data {
	pthread_mutex_t lock;
	uint64_t start, end; /* end 0: none is */
	uint64_t until_ns;   /* known until then */
	unsigned changes;    /* discards and writes of zeroes that were done */
};

struct disk {
	const char *name; /* as it was given, for messages */
	char holder[96];  /* who has its lock, as the end of a message; or "" */
	char *path;	  /* absolute */
	int fd;		  /* the one that is locked and does all I/O */
	int backing_fd;	  /* of a loop device: its file, for the lock; or -1 */
	bool block_device;
	bool devdax;
	struct nbd *nbd; /* of an NBD server (nbd.h), or NULL: then fd is only a lock */
	bool moved;	 /* another host served it last */
	dev_t device;	 /* the device, or that of the file system */
	bool read_only;
	bool write_through;		   /* opened with O_DSYNC */
	uint32_t direct;		   /* alignment of O_DIRECT, 0 without it */
	uint32_t granule;		   /* alignment of fallocate() and BLKDISCARD */
	int flags;			   /* of open(2), for when it is locked */
	struct cbd_disk_geometry geometry; /* its size: for the main thread */
	/* Written by the main thread, read by all: disk_size(), disk_end(). */
	_Atomic uint64_t size, end; /* end <= size */
	struct disk_ranges ranges;
	struct disk_data data;
};

struct disk_options {
	bool read_only;
	bool write_through;
	bool direct;
};

/*
 * Open a disk and find out what it is, while another process may have its lock.
 * NAME has to outlive the disk.  Returns NULL after a message.
 */
struct disk *disk_open(const char *name, const struct disk_options *options);

/*
 * Take the disk's lock, before any request is executed; and find out again what may
 * have changed meanwhile.  Waits a short time for a lock that a dying process may
 * still hold.  Returns 0, or a negative errno after a message (-EBUSY: somebody has
 * it).  disk_unlock() gives it back, as disk_close() does, and keeps the disk open.
 */
int disk_lock(struct disk *d);
void disk_unlock(struct disk *d);

/*
 * Another program may have made the disk larger or smaller meanwhile.  Larger: the
 * size that is served follows.  Smaller: it stays, and disk_end() tells where the disk
 * ends, so that requests beyond it get an error.  Returns 1 when one of the two has
 * changed, 0, or a negative errno after a message.
 */
int disk_look_at_size(struct disk *d);

/* The same for a disk that does not show its size without being asked: ask, without waiting
 * for the answer.  disk_has_news() tells once when it is time for disk_look_at_size(). */
void disk_ask_size(struct disk *d);
bool disk_has_news(struct disk *d);

/* Whether what executes the requests has not answered any for MS milliseconds.  Never of a
 * kernel, which ends what it has begun. */
bool disk_is_silent(const struct disk *d, unsigned ms);

/* Whether NAME is an NBD URI and not a path. */
bool disk_is_uri(const char *name);

/* What is served, and how much of it is there.  Any thread. */
uint64_t disk_size(const struct disk *d);
uint64_t disk_end(const struct disk *d);

/* Drop what this host has in its page cache: another host has written to the
 * disk since. */
void disk_forget(struct disk *d);

/* Bring all that was written to stable storage; logs a failure. */
int disk_settle(struct disk *d);
void disk_close(struct disk *d);

/* Fill in disk_id and verifier of the geometry (disk-identity.c). */
int disk_identify(struct disk *d);

/* An open file, and what messages call it. */
struct disk_file {
	const char *name;
	int fd;
};

/* Type and id of the file system of F; the id is the same after it was mounted
 * again (disk-filesystem.c).  Returns 0, or a negative errno after a message. */
int disk_filesystem(const struct disk_file *f, uint32_t *type, uint64_t *id);

/* devdax (disk-devdax.c): whether a character device is one; what it is like; its size now,
 * 0 when that cannot be told; a text that names it, on any host and after a boot. */
bool disk_devdax_is(dev_t device);
int disk_devdax_geometry(struct disk *d);
uint64_t disk_devdax_size(const struct disk *d);
void disk_devdax_name(const struct disk *d, char *name, size_t size);

/* Of bytes that nobody chooses in order to deceive. */
uint64_t disk_digest(uint64_t seed, const void *data, size_t length);

/*
 * Read attribute ATTRIBUTE of a block device, or of the whole disk when a
 * partition has none, from sysfs.  Without the newline.  False when there is
 * none.
 */
bool disk_sysfs(dev_t device, const char *attribute, char *value, size_t size);

/* The same as a number; 0 when there is none. */
unsigned long long disk_sysfs_number(dev_t device, const char *attribute);

/* ---------------------------------------------------------------- engine */

/* One request on its way through an engine.  Owned by the worker. */
struct disk_io {
	struct cbd_request *request;

	/* For the engine, zeroed before submit. */
	uint32_t finished; /* bytes */
	bool syncing;	   /* the operation is done, its fdatasync is not */
	unsigned failures; /* of the queue, at submit */

	/* For the worker: a list, and the place among the disk's ranges. */
	struct disk_io *next;
	struct disk_io *range_next, *range_prev;
	uint64_t range_start, range_end;
	bool range_exclusive;
};

struct disk_engine;

/* A pipe's worth of memory that the kernel can copy into and out of; see
 * disk-io.c. */
struct disk_bounce {
	int fd; /* -1: not made yet */
	void *map;
};

/*
 * What the worker is told, always from within submit or reap of the same
 * thread.
 *
 * done: the request is finished with 0 or a negative errno; io belongs to the
 *     worker again.  Exactly once for each io that was submitted.
 * lost: what was acknowledged and not flushed may be gone, for that reason.
 *     Before the done of the request that found out.
 */
struct disk_events {
	void (*done)(void *opaque, struct disk_io *io, int result);
	void (*lost)(void *opaque, int error);
	void *opaque;
};

/* What the queues of all engines begin with. */
struct disk_queue {
	const struct disk_engine *engine;
	struct disk *disk;
	struct disk_events events;
	struct disk_bounce bounce;
	int witness;	   /* sees errors that another sync was told of; -1: none */
	unsigned failures; /* of syncs */
};

struct disk_engine {
	const char *name; /* for --engine */

	/*
	 * Tell whether this kernel has what the engine needs.  Returns 0 or a
	 * negative errno.  Called by the main thread, before the others.
	 * Optional: without it the engine works everywhere.
	 */
	int (*probe)(void);

	/*
	 * Tell whether the engine serves this disk as it was opened.  Returns 0, or -1
	 * after log_error().  Called by the main thread, before the others.  Optional.
	 */
	int (*check)(const struct disk *d);

	/*
	 * Make a queue for up to DEPTH requests at a time.  Called by the
	 * handler's thread, which makes all calls on the queue.  The engine
	 * allocates it, with struct disk_queue as the first member, which the
	 * caller fills in.  Returns 0 or a negative errno.  Required.
	 */
	int (*open)(struct disk *d, unsigned depth, struct disk_queue **queue);

	/* Free a queue that has nothing in flight.  Required. */
	void (*close)(struct disk_queue *q);

	/*
	 * Begin one request; it was validated, and no other request that
	 * changes its range is in flight where that matters (--direct).
	 * `done` may be called before this returns.  Never blocks for other
	 * requests.  Required.
	 */
	void (*submit)(struct disk_queue *q, struct disk_io *io);

	/*
	 * The same of a BLOCK_STATUS, which submit never gets: tell what the range is, from
	 * its start on and as far as that takes no longer than another request, by
	 * cbd_request_add_blocks() in this thread; then `done`, from within this call or reap.
	 * With 0 the client asks on behind what was told; where nothing was told, all is data,
	 * as it is with -EOPNOTSUPP.  Zeroes are what reads give after each request
	 * that was done before this one was submitted, on this queue or another.  Optional:
	 * without it, or without block_status in the disk's geometry, all is data, and
	 * clients do not ask.
	 */
	void (*block_status)(struct disk_queue *q, struct disk_io *io);

	/* Everything of this round is submitted: tell the kernel.  Optional. */
	void (*kick)(struct disk_queue *q);

	/*
	 * Call `done` for what the kernel has finished; with WAIT, sleep until
	 * there is something.  Never called with WAIT when nothing is in
	 * flight.  Returns the number of events that were seen.  Optional: not
	 * needed when submit finishes everything.
	 */
	unsigned (*reap)(struct disk_queue *q, bool wait);

	/*
	 * Sleep until reap has something to see, FD is readable, or MAX_MS
	 * milliseconds are over.  Never called when nothing is in flight.
	 * Optional: the worker then looks at both at growing intervals.
	 */
	void (*wait)(struct disk_queue *q, int fd, int max_ms);
};

extern const struct disk_engine disk_psync, disk_uring, disk_mmap, disk_nbd;

/* The engine of --engine NAME, "auto" included, after its probe.  NULL after
 * a message.  Main thread. */
const struct disk_engine *disk_engine_find(const char *name);

/* What "auto" is for this disk, once it is open: ENGINE, or mmap for a disk that
 * is memory. */
const struct disk_engine *disk_engine_best(const struct disk *d, const struct disk_engine *engine);

/* Whether ENGINE serves this disk: 0, or -1 after a message. */
int disk_engine_check(const struct disk *d, const struct disk_engine *engine);

/* A regular file on a file system that is memory itself: its pages are the disk
 * (disk-mmap.c). */
bool disk_is_memory(const struct disk *d);

/* Whether the disk can be mapped: 0 or a negative errno. */
int disk_map_error(const struct disk *d);

int disk_queue_open(const struct disk_engine *engine, struct disk *d, unsigned depth,
		    const struct disk_events *events, struct disk_queue **queue);
void disk_queue_close(struct disk_queue *q);

/* ------------------------------------------- what engines are built from */

/* Execute a request from beginning to end in this thread: any operation, any
 * alignment.  Returns 0 or a negative errno (disk-io.c). */
int disk_execute(struct disk_queue *q, const struct cbd_request *r);

/* The same for a read or write of which FINISHED bytes are done. */
int disk_execute_rest(struct disk_queue *q, const struct cbd_request *r, uint32_t finished);

/* fdatasync, and what follows from its failure and from its success: by
 * themselves for engines that do it in another way, and after a durable write.
 * disk_synced() returns 0, or a negative errno when another sync was told of
 * what this one was to find out.  An engine with several in flight fails all
 * that were submitted before disk_sync_failed(). */
int disk_sync(struct disk_queue *q);
void disk_sync_failed(struct disk_queue *q, int error);
int disk_synced(struct disk_queue *q);

/* Tells of a loss when ERROR, of a durable write, means one.  Returns what the
 * client gets. */
int disk_durable_write_failed(struct disk_queue *q, const struct cbd_request *r, int error);

/* Whether the kernel takes the buffer, offset and length as they are. */
bool disk_aligned(const struct disk *d, const struct cbd_request *r);

/* Whether the request ends with everything it did on stable storage. */
bool disk_wants_sync(const struct disk *d, const struct cbd_request *r);

/* The fallocate() that does a DISCARD or WRITE_ZEROES in one go, or -1. */
int disk_fallocate_mode(const struct disk *d, const struct cbd_request *r);

/* Whether a failure means that there is no such operation here. */
bool disk_unsupported(int error);

/* A BLOCK_STATUS of a file, as the callback of an engine (disk-blocks.c). */
void disk_block_status(struct disk_queue *q, struct disk_io *io);

/* Whether that tells more of this disk than that all is data. */
bool disk_has_holes(const struct disk *d);

/* A discard or write of zeroes was done.  Any thread. */
void disk_blocks_changed(struct disk *d);

/* ---------------------------------------------------------------- ranges */

/*
 * With --direct an unaligned write reads, modifies and writes whole blocks, so
 * no other write of these blocks may be under way, in any handler.  Each
 * request that changes the disk is added, executed when it is ready, and
 * removed afterwards.  First come, first served.  Any thread.
 */
void disk_range_add(struct disk *d, struct disk_io *io);
bool disk_range_ready(struct disk *d, const struct disk_io *io);
void disk_range_remove(struct disk *d, struct disk_io *io);

#endif
