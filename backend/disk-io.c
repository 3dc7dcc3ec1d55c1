/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * disk-io.c - execute one request with system calls in the calling thread.
 *
 * Owns what each operation means on a file and on a block device, the
 * unaligned requests of --direct, and what a failed sync means.  Engines use
 * it for all requests (psync) or for those that they cannot pass on (uring).
 * It does not own the order of requests: see disk-range.c.
 */
#include <config.h>

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "disk.h"

#define BOUNCE_SIZE (1u << 20)
#define ZEROES_SIZE (1u << 20)
#define MEMORY_ALIGNMENT 4096u /* enough for O_DIRECT anywhere */

/* Never written to, so it costs no memory. */
static char zeroes[ZEROES_SIZE] __attribute__((aligned(MEMORY_ALIGNMENT)));

bool disk_unsupported(int error)
{
	return error == -EOPNOTSUPP || error == -ENOSYS || error == -ENOTTY || error == -ENODEV;
}

/* -------------------------------------------------- whole reads and writes */

static_assert(sizeof(long) == sizeof(off_t), "an offset is one argument of syscall(2)");

/*
 * Not pread(3) and pwrite(3): those are points where a thread may be cancelled.  The C
 * library marks each with locked instructions, which wait for the stores around the cache
 * that libcbd has just made (docs/performance.md).  No thread is cancelled here.
 */
static ssize_t read_some(int fd, void *buf, size_t length, uint64_t offset)
{
	return syscall(SYS_pread64, fd, buf, length, offset);
}

static ssize_t write_some(int fd, const void *buf, size_t length, uint64_t offset, int flags)
{
	struct iovec iov = { .iov_base = (void *)buf, .iov_len = length };

	/* without flags the simpler call is the faster one */
	return flags == 0 ? syscall(SYS_pwrite64, fd, buf, length, offset)
			  : pwritev2(fd, &iov, 1, (off_t)offset, flags);
}

/* The file ends before the end of the disk: another program has truncated it. */
static int read_all(int fd, void *buf, size_t length, uint64_t offset)
{
	while (length > 0) {
		ssize_t n = read_some(fd, buf, length, offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		buf = (char *)buf + n;
		length -= n;
		offset += n;
	}
	return 0;
}

static int write_all(int fd, const void *buf, size_t length, uint64_t offset, int flags)
{
	while (length > 0) {
		ssize_t n = write_some(fd, buf, length, offset, flags);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		buf = (const char *)buf + n;
		length -= n;
		offset += n;
	}
	return 0;
}

/* -------------------------------------------------- unaligned direct I/O */

/* A part of an unaligned request that fits into the bounce memory. */
struct span {
	uint64_t start; /* on the disk, aligned */
	size_t size;	/* aligned */
	size_t skip;	/* bytes before the part of the request */
	size_t bytes;	/* of the request */
};

static struct span span_at(const struct disk *d, uint64_t offset, size_t length)
{
	struct span s = { .start = offset & ~(uint64_t)(d->direct - 1) };

	s.skip = offset - s.start;
	s.bytes = length < BOUNCE_SIZE - s.skip ? length : BOUNCE_SIZE - s.skip;
	s.size = (s.skip + s.bytes + d->direct - 1) & ~(size_t)(d->direct - 1);
	return s;
}

static int bounce_make(struct disk_bounce *b)
{
	if (b->fd >= 0)
		return 0;
	b->fd = memfd_create("cbd-bounce", MFD_CLOEXEC);
	if (b->fd < 0)
		return -ENOMEM;
	b->map = MAP_FAILED;
	if (ftruncate(b->fd, BOUNCE_SIZE) == 0)
		b->map = mmap(NULL, BOUNCE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, b->fd, 0);
	if (b->map != MAP_FAILED)
		return 0;
	close(b->fd);
	b->fd = -1;
	return -ENOMEM;
}

static void bounce_free(struct disk_bounce *b)
{
	if (b->fd < 0)
		return;
	munmap(b->map, BOUNCE_SIZE);
	close(b->fd);
}

/* The payload may lie in shared memory with a poisoned line: the kernel copies
 * it from and to the file behind the bounce memory, because that ends in
 * EFAULT where memcpy() ends in SIGBUS. */
static int bounce_read(struct disk_queue *q, char *buf, size_t length, uint64_t offset)
{
	int err = bounce_make(&q->bounce);

	while (err == 0 && length > 0) {
		struct span s = span_at(q->disk, offset, length);

		err = read_all(q->disk->fd, q->bounce.map, s.size, s.start);
		if (err == 0)
			err = read_all(q->bounce.fd, buf, s.bytes, s.skip);
		buf += s.bytes;
		offset += s.bytes;
		length -= s.bytes;
	}
	return err;
}

/* Read the first and the last block of a span where only a part of them is
 * going to be written. */
static int bounce_edges(struct disk_queue *q, const struct span *s)
{
	uint32_t block = q->disk->direct;
	size_t last = s->size - block;
	bool head = s->skip > 0;
	bool tail = s->skip + s->bytes < s->size;
	int err = 0;

	if (head)
		err = read_all(q->disk->fd, q->bounce.map, block, s->start);
	if (err == 0 && tail && !(head && last == 0))
		err = read_all(q->disk->fd, (char *)q->bounce.map + last, block, s->start + last);
	return err;
}

static int bounce_write(struct disk_queue *q, const char *buf, size_t length, uint64_t offset,
			int flags)
{
	int err = bounce_make(&q->bounce);

	while (err == 0 && length > 0) {
		struct span s = span_at(q->disk, offset, length);

		err = bounce_edges(q, &s);
		if (err == 0)
			err = write_all(q->bounce.fd, buf, s.bytes, s.skip, 0);
		if (err == 0)
			err = write_all(q->disk->fd, q->bounce.map, s.size, s.start, flags);
		buf += s.bytes;
		offset += s.bytes;
		length -= s.bytes;
	}
	return err;
}

static bool aligned(const struct disk *d, const void *buf, size_t length, uint64_t offset)
{
	uint32_t memory = d->direct < MEMORY_ALIGNMENT ? d->direct : MEMORY_ALIGNMENT;

	if (d->direct == 0)
		return true;
	return ((offset | length) & (d->direct - 1)) == 0 && ((uintptr_t)buf & (memory - 1)) == 0;
}

bool disk_aligned(const struct disk *d, const struct cbd_request *r)
{
	return aligned(d, r->buf, r->length, r->offset);
}

static int disk_read(struct disk_queue *q, void *buf, size_t length, uint64_t offset)
{
	if (!aligned(q->disk, buf, length, offset))
		return bounce_read(q, buf, length, offset);
	return read_all(q->disk->fd, buf, length, offset);
}

static int disk_write(struct disk_queue *q, const void *buf, size_t length, uint64_t offset,
		      int flags)
{
	if (!aligned(q->disk, buf, length, offset))
		return bounce_write(q, buf, length, offset, flags);
	return write_all(q->disk->fd, buf, length, offset, flags);
}

/* ------------------------------------------------------------ durability */

bool disk_wants_sync(const struct disk *d, const struct cbd_request *r)
{
	return d->write_through || (r->flags & CBD_IO_FUA) != 0;
}

/*
 * The kernel tells of a page that it could not write once on each open file
 * description.  All syncs are of the disk's one, so of two at the same time the
 * second one succeeds, for pages that are lost.  The witness is a description
 * of this queue alone: waiting there for nothing, beyond the end, tells of every
 * error since the last time.
 */
static int witness_open(struct disk_queue *q)
{
	char path[64];

	q->witness = -1;
	/* direct I/O has its errors where they happen */
	if (q->disk->direct != 0 || q->disk->read_only || q->disk->nbd != NULL || q->disk->devdax)
		return 0;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", q->disk->fd);
	q->witness = open(path, O_RDONLY | O_CLOEXEC);
	return q->witness < 0 ? -errno : 0;
}

static int witness_error(const struct disk_queue *q)
{
	if (q->witness < 0 ||
	    sync_file_range(q->witness, disk_size(q->disk), 1, SYNC_FILE_RANGE_WAIT_BEFORE) == 0)
		return 0;
	return -errno;
}

int disk_synced(struct disk_queue *q)
{
	int err = witness_error(q);

	if (err < 0)
		disk_sync_failed(q, err);
	return err;
}

/* After an error was told, a sync that succeeds proves nothing about the pages
 * that were lost.  What the witness knows by now is told with it. */
void disk_sync_failed(struct disk_queue *q, int error)
{
	witness_error(q);
	q->failures++;
	if (!q->disk->write_through)
		q->events.lost(q->events.opaque, error);
}

int disk_sync(struct disk_queue *q)
{
	int err;

	do
		err = fdatasync(q->disk->fd) < 0 ? -errno : 0;
	while (err == -EINTR);
	if (err < 0)
		disk_sync_failed(q, err);
	return err < 0 ? err : disk_synced(q);
}

/*
 * A write with RWF_DSYNC is a write and then a sync, and the error does not say
 * which of them failed.  A full disk is common enough to find out: when the
 * plain write fails as well, no sync was reached.
 */
int disk_durable_write_failed(struct disk_queue *q, const struct cbd_request *r, int error)
{
	bool reached = error != -EFAULT;

	if (error == -ENOSPC || error == -EDQUOT)
		reached = !q->disk->write_through &&
			  disk_write(q, r->buf, r->length, r->offset, 0) == 0;
	if (reached)
		disk_sync_failed(q, error);
	return error;
}

/* -------------------------------------------------------------- ranges */

static int range_fallocate(const struct disk *d, int mode, uint64_t length, uint64_t offset)
{
	int err;

	do
		err = fallocate(d->fd, mode, offset, length) < 0 ? -errno : 0;
	while (err == -EINTR);
	return err;
}

static int range_write_zeroes(struct disk_queue *q, uint64_t length, uint64_t offset)
{
	int err = 0;

	while (err == 0 && length > 0) {
		size_t n = length < ZEROES_SIZE ? length : ZEROES_SIZE;

		err = disk_write(q, zeroes, n, offset, 0);
		offset += n;
		length -= n;
	}
	return err;
}

#define PUNCH (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)
#define ZERO (FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE)

/* On a block device ZERO always works, slowly if it has to. */
static bool zero_too_slow(const struct disk *d, unsigned flags)
{
	return d->block_device && (flags & CBD_IO_FAST_ZERO) && !d->geometry.fast_zero;
}

/* PUNCH deallocates and reads as zeroes, or is refused. */
static int range_zero(struct disk_queue *q, unsigned flags, uint64_t length, uint64_t offset)
{
	const struct disk *d = q->disk;
	int err = -EOPNOTSUPP;

	if (flags & CBD_IO_MAY_TRIM)
		err = range_fallocate(d, PUNCH, length, offset);
	if (disk_unsupported(err) && !zero_too_slow(d, flags))
		err = range_fallocate(d, ZERO, length, offset);
	if (!disk_unsupported(err))
		return err;
	if (flags & CBD_IO_FAST_ZERO)
		return -EOPNOTSUPP;
	return range_write_zeroes(q, length, offset);
}

/* The part of a range that the kernel can change as a whole.  On a block device
 * these are pages, not sectors: it drops the page cache of the range, and a
 * write to another sector of the same page must not go with it. */
struct middle {
	uint64_t start, end;
};

static struct middle range_middle(const struct disk *d, const struct cbd_request *r)
{
	uint64_t mask = d->granule - 1;
	struct middle m = {
		.start = (r->offset + mask) & ~mask,
		.end = (r->offset + r->length) & ~mask,
	};

	if (m.start > m.end)
		m.start = m.end = r->offset;
	return m;
}

static int disk_zero(struct disk_queue *q, const struct cbd_request *r)
{
	struct middle m = range_middle(q->disk, r);
	int err = 0;

	/* The whole blocks first: when FAST_ZERO is refused there, nothing was changed
	 * yet. */
	if (m.start < m.end)
		err = range_zero(q, r->flags, m.end - m.start, m.start);
	if (err == 0)
		err = range_write_zeroes(q, m.start - r->offset, r->offset);
	if (err == 0)
		err = range_write_zeroes(q, r->offset + r->length - m.end, m.end);
	return err;
}

/* A discard is advice: what the disk cannot discard stays as it is, without an error. */
static int disk_discard(struct disk_queue *q, const struct cbd_request *r)
{
	const struct disk *d = q->disk;
	struct middle m = range_middle(d, r);
	uint64_t range[2] = { m.start, m.end - m.start };
	int err;

	if (m.start == m.end)
		return 0;
	if (!d->block_device)
		err = range_fallocate(d, PUNCH, range[1], range[0]);
	else
		err = ioctl(d->fd, BLKDISCARD, range) < 0 ? -errno : 0;
	return disk_unsupported(err) ? 0 : err;
}

static bool on_granules(const struct disk *d, const struct cbd_request *r)
{
	return ((r->offset | r->length) & (d->granule - 1)) == 0;
}

int disk_fallocate_mode(const struct disk *d, const struct cbd_request *r)
{
	if (r->length == 0 || !on_granules(d, r))
		return -1;
	if (r->op == CBD_OP_DISCARD)
		return d->block_device ? -1 : PUNCH;
	if (r->flags & CBD_IO_MAY_TRIM)
		return PUNCH;
	return zero_too_slow(d, r->flags) ? -1 : ZERO;
}

/* ------------------------------------------------------------- execution */

static int execute_write(struct disk_queue *q, const struct cbd_request *r, uint32_t finished)
{
	bool durable = (r->flags & CBD_IO_FUA) != 0 && !q->disk->write_through;
	int err = disk_write(q, (const char *)r->buf + finished, r->length - finished,
			     r->offset + finished, durable ? RWF_DSYNC : 0);

	if (!disk_wants_sync(q->disk, r))
		return err;
	return err < 0 ? disk_durable_write_failed(q, r, err) : disk_synced(q);
}

static int execute_range(struct disk_queue *q, const struct cbd_request *r)
{
	int err = r->op == CBD_OP_DISCARD ? disk_discard(q, r) : disk_zero(q, r);

	if (err == 0 && disk_wants_sync(q->disk, r))
		err = disk_sync(q);
	return err;
}

/* With --write-through there is nothing to flush: every answer was durable. */
static int execute_flush(struct disk_queue *q)
{
	if (q->disk->write_through || q->disk->read_only)
		return 0;
	return disk_sync(q);
}

int disk_execute_rest(struct disk_queue *q, const struct cbd_request *r, uint32_t finished)
{
	if (r->op == CBD_OP_READ)
		return disk_read(q, (char *)r->buf + finished, r->length - finished,
				 r->offset + finished);
	return execute_write(q, r, finished);
}

int disk_execute(struct disk_queue *q, const struct cbd_request *r)
{
	switch (r->op) {
	case CBD_OP_READ:
	case CBD_OP_WRITE:
		return disk_execute_rest(q, r, 0);
	case CBD_OP_FLUSH:
		return execute_flush(q);
	case CBD_OP_DISCARD:
	case CBD_OP_WRITE_ZEROES:
		return execute_range(q, r);
	default:
		return -EOPNOTSUPP;
	}
}

/* ---------------------------------------------------------------- queues */

int disk_queue_open(const struct disk_engine *engine, struct disk *d, unsigned depth,
		    const struct disk_events *events, struct disk_queue **queue)
{
	int err = engine->open(d, depth, queue);

	if (err < 0)
		return err;
	(*queue)->engine = engine;
	(*queue)->disk = d;
	(*queue)->events = *events;
	(*queue)->bounce.fd = -1;
	err = witness_open(*queue);
	if (err < 0)
		disk_queue_close(*queue);
	return err;
}

void disk_queue_close(struct disk_queue *q)
{
	bounce_free(&q->bounce);
	if (q->witness >= 0)
		close(q->witness);
	q->engine->close(q);
}
