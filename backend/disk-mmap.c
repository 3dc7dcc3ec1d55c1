/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * disk-mmap.c - engine "mmap": disks that are memory, by loads and stores.
 *
 * Owns the mapping of the disk, one for all handlers, and when a disk counts as
 * memory.  A read or write is a copy in the handler's thread and no system call.
 * Whatever a copy cannot do - a page that is poisoned, cut off by truncation,
 * or cannot be allocated because the file system is full - is executed once
 * more by disk-io.c, which knows what it means: mapping and system calls are
 * coherent.  So are flushes, discards and zeroes, which always go there.
 *
 * Two changes in flight that overlap take effect in either order, but each block
 * whole, as system calls give it: handlers take a lock of the place.  Nothing
 * helps a block that was being written when the process was killed: it is torn
 * until the client submits the write again.  cbd-backend(8) says so.
 *
 * A devdax device is memory and nothing else: there are no system calls to fall back to,
 * so what a copy cannot do there is an error, and zeroes are stored.
 *
 * What makes writes durable depends on the mapping.  With MAP_SYNC (DAX, see
 * mmap(2)) the file system keeps its own part durable, and stores that go around
 * the cache or are written back by libpmem are on the medium.  Without it the
 * pages belong to the page cache: msync(2).
 */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include "disk.h"
#include "../common/log.h"

#define PAGE 4096u

/* Places of the disk share a lock when they are a multiple of 64 pieces apart. */
#define STRIPES 64u
#define PIECE_SHIFT 16

struct mmap_queue {
	struct disk_queue base;
	char *map;
	bool persistent; /* MAP_SYNC */
};

/* The mapping of the disk; this program has one disk. */
static struct {
	pthread_mutex_t lock;
	unsigned users;
	char *base;
	uint64_t length; /* the disk's when it was mapped: it may grow */
	bool persistent;
	pthread_mutex_t stripes[STRIPES];
} mapping = { .lock = PTHREAD_MUTEX_INITIALIZER };

bool disk_is_memory(const struct disk *d)
{
	struct statx stx;
	struct statfs fs;

	if (d->block_device || d->direct || d->nbd != NULL)
		return false;
	if (d->devdax)
		return true;
	if (statx(d->fd, "", AT_EMPTY_PATH, 0, &stx) == 0 && (stx.stx_attributes & STATX_ATTR_DAX))
		return true;
	return fstatfs(d->fd, &fs) == 0 && (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC);
}

/* ------------------------------------------------------------- the mapping */

static void *map(const struct disk *d, uint64_t length, int flags)
{
	int protection = PROT_READ | (d->read_only ? 0 : PROT_WRITE);

	return mmap(NULL, length, protection, flags, d->fd, 0);
}

/* Nothing is touched in advance: in a sparse file that would allocate it. */
static int map_disk(const struct disk *d)
{
	void *base;

	/* the device is as large as it is: a reconfiguration ends its mappings */
	mapping.length = disk_size(d);
	base = map(d, mapping.length, MAP_SHARED_VALIDATE | MAP_SYNC);
	mapping.persistent = base != MAP_FAILED;
	if (base == MAP_FAILED)
		base = map(d, mapping.length, MAP_SHARED);
	if (base == MAP_FAILED)
		return -errno;
	madvise(base, mapping.length, MADV_HUGEPAGE);
	madvise(base, mapping.length, MADV_DONTDUMP);
	mapping.base = base;
	for (unsigned i = 0; i < STRIPES; i++)
		pthread_mutex_init(&mapping.stripes[i], NULL);
	log_debug("%s: mapped%s", d->name, mapping.persistent ? ", with MAP_SYNC" : "");
	return 0;
}

/* Address space is short in a process with a limit of its own. */
int disk_map_error(const struct disk *d)
{
	uint64_t length = disk_size(d);
	void *base = map(d, length, MAP_SHARED);

	if (base == MAP_FAILED)
		return -errno;
	munmap(base, length);
	return 0;
}

static int mapping_get(const struct disk *d)
{
	int err = 0;

	pthread_mutex_lock(&mapping.lock);
	if (mapping.users == 0)
		err = map_disk(d);
	if (err == 0)
		mapping.users++;
	pthread_mutex_unlock(&mapping.lock);
	return err;
}

static void mapping_put(void)
{
	pthread_mutex_lock(&mapping.lock);
	if (--mapping.users == 0)
		munmap(mapping.base, mapping.length);
	pthread_mutex_unlock(&mapping.lock);
}

static int check_disk(const struct disk *d)
{
	const char *why = NULL;

	if (d->block_device)
		why = "is a block device, whose writes would bypass its errors: use psync or uring";
	else if (d->direct)
		why = "a mapping cannot go around the page cache (--direct)";
	if (why == NULL)
		return 0;
	log_error("%s: engine mmap: %s", d->name, why);
	return -1;
}

static int mmap_open(struct disk *d, unsigned depth, struct disk_queue **queue)
{
	struct mmap_queue *m;
	int err;

	(void)depth;
	m = calloc(1, sizeof(*m));
	err = m == NULL ? -ENOMEM : mapping_get(d);
	if (err < 0) {
		free(m);
		return err;
	}
	m->map = mapping.base;
	m->persistent = mapping.persistent;
	*queue = &m->base;
	return 0;
}

static void mmap_close(struct disk_queue *q)
{
	mapping_put();
	free(q);
}

/* ------------------------------------------------------------------ order */

/* The stripes of a change, one bit each; none for a handler that is alone. */
static uint64_t stripes_of(const struct cbd_request *r)
{
	uint64_t first = r->offset >> PIECE_SHIFT;
	uint64_t count = ((r->offset + r->length - 1) >> PIECE_SHIFT) - first + 1;
	uint64_t ones = count < STRIPES ? (1ull << count) - 1 : ~0ull;
	unsigned turn = first % STRIPES;

	if (mapping.users < 2 || r->op == CBD_OP_READ || r->op == CBD_OP_FLUSH)
		return 0;
	return ones << turn | (turn > 0 ? ones >> (STRIPES - turn) : 0);
}

/* Always in the same order: no two handlers wait for each other. */
static void lock_stripes(uint64_t stripes)
{
	for (; stripes != 0; stripes &= stripes - 1)
		pthread_mutex_lock(&mapping.stripes[__builtin_ctzll(stripes)]);
}

static void unlock_stripes(uint64_t stripes)
{
	for (; stripes != 0; stripes &= stripes - 1)
		pthread_mutex_unlock(&mapping.stripes[__builtin_ctzll(stripes)]);
}

/* --------------------------------------------------------------- requests */

static int sync_pages(struct disk_queue *q, char *from, size_t length)
{
	size_t before = (uintptr_t)from & (PAGE - 1);
	int err = msync(from - before, length + before, MS_SYNC) < 0 ? -errno : 0;

	if (err < 0)
		disk_sync_failed(q, err);
	return err < 0 ? err : disk_synced(q);
}

static int mmap_write(struct disk_queue *q, const struct cbd_request *r)
{
	struct mmap_queue *m = (struct mmap_queue *)q;
	char *place = m->map + r->offset;
	int err = m->persistent ? cbd_request_persist(r, place) : cbd_request_load(r, place);

	if (err < 0)
		return err;
	if (!m->persistent && disk_wants_sync(q->disk, r))
		return sync_pages(q, place, r->length);
	return 0;
}

/* Of a devdax device; never written to. */
static char zeroes[64u << 10];

static int store_zeroes(char *place, uint32_t length)
{
	int err = 0;

	while (err == 0 && length > 0) {
		uint32_t n = length < sizeof(zeroes) ? length : (uint32_t)sizeof(zeroes);
		const struct cbd_request piece = {
			.op = CBD_OP_WRITE,
			.buf = zeroes,
			.length = n,
		};

		err = cbd_request_persist(&piece, place);
		place += n;
		length -= n;
	}
	return err;
}

/* Every store is as durable as the memory is: there is nothing to flush, and nothing that
 * could be freed. */
static int execute_devdax(struct disk_queue *q, const struct cbd_request *r)
{
	char *place = ((struct mmap_queue *)q)->map + r->offset;

	switch (r->op) {
	case CBD_OP_READ:
		return cbd_request_store(r, place);
	case CBD_OP_WRITE:
		return cbd_request_persist(r, place);
	case CBD_OP_WRITE_ZEROES:
		return r->flags & CBD_IO_FAST_ZERO ? -EOPNOTSUPP : store_zeroes(place, r->length);
	default:
		return 0;
	}
}

/* With --write-through the file is O_DSYNC: system calls are durable.  What the disk
 * has grown by is not mapped. */
static int execute(struct disk_queue *q, const struct cbd_request *r)
{
	struct mmap_queue *m = (struct mmap_queue *)q;
	int err = -EFAULT;

	if (q->disk->devdax)
		return execute_devdax(q, r);
	if (r->offset + r->length > mapping.length)
		return disk_execute(q, r);
	if (r->op == CBD_OP_READ)
		err = cbd_request_store(r, m->map + r->offset);
	else if (r->op == CBD_OP_WRITE)
		err = mmap_write(q, r);
	return err == -EFAULT ? disk_execute(q, r) : err;
}

static void mmap_submit(struct disk_queue *q, struct disk_io *io)
{
	uint64_t stripes = stripes_of(io->request);
	int result;

	lock_stripes(stripes);
	result = execute(q, io->request);
	unlock_stripes(stripes);
	q->events.done(q->events.opaque, io, result);
}

const struct disk_engine disk_mmap = {
	.name = "mmap",
	.check = check_disk,
	.open = mmap_open,
	.close = mmap_close,
	.submit = mmap_submit,
	.block_status = disk_block_status,
};
