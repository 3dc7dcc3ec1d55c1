/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * disk.c - open a disk, lock it, find out what it is like.
 *
 * Owns the file descriptor, the lock and the geometry.  It does no I/O for
 * clients (disk-io.c) and does not tell which disk it is (disk-identity.c).
 */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "disk.h"
#include "../common/log.h"
#include "nbd.h"

#define SECTOR 512u
#define PAGE 4096u
#define MAX_DIRECT 65536u

/* A killed backend holds its lock until the kernel has finished its I/O. */
#define LOCK_WAIT_MS 2000
#define LOCK_RETRY_MS 1

/* ----------------------------------------------------------------- open */

static int check_type(const struct disk *d, mode_t mode)
{
	const char *what = "is neither a regular file nor a block device";

	if (S_ISREG(mode) || S_ISBLK(mode) || (S_ISCHR(mode) && d->devdax))
		return 0;
	if (S_ISDIR(mode))
		what = "is a directory";
	else if (S_ISCHR(mode))
		what = "is a character device, and no devdax one";
	log_error("%s: %s", d->name, what);
	return -EINVAL;
}

/* Checked before open(2), which does not return for a FIFO without a writer. */
static int check_before_open(struct disk *d)
{
	struct stat st;

	d->path = realpath(d->name, NULL);
	if (d->path == NULL || stat(d->path, &st) < 0) {
		log_error("%s: %s", d->name, strerror(errno));
		return -errno;
	}
	d->devdax = S_ISCHR(st.st_mode) && disk_devdax_is(st.st_rdev);
	if (check_type(d, st.st_mode) < 0)
		return -EINVAL;
	d->block_device = S_ISBLK(st.st_mode);
	d->device = d->block_device || d->devdax ? st.st_rdev : st.st_dev;
	return 0;
}

static int open_flags(const struct disk *d, const struct disk_options *o)
{
	int flags = O_CLOEXEC | (o->read_only ? O_RDONLY : O_RDWR);

	if (o->direct)
		flags |= O_DIRECT;
	if (d->write_through)
		flags |= O_DSYNC;
	return flags;
}

/* Sleep before the next try; false: the time for tries is over. */
static bool wait_for_lock(unsigned *waited_ms)
{
	const struct timespec pause = { .tv_nsec = LOCK_RETRY_MS * 1000000l };

	if (*waited_ms >= LOCK_WAIT_MS)
		return false;
	nanosleep(&pause, NULL);
	*waited_ms += LOCK_RETRY_MS;
	return true;
}

static void open_failed(const struct disk *d)
{
	if (errno == EBUSY)
		log_error("%s: is in use, mounted or by another process%s", d->name, d->holder);
	else if (d->devdax && (errno == ENXIO || errno == ENODEV))
		log_error("%s: %s; is it in devdax mode? (daxctl list)", d->name, strerror(errno));
	else if (errno == EINVAL && (d->flags & O_DIRECT))
		log_error("%s: direct I/O is not supported there", d->name);
	else if (!d->read_only && (errno == EACCES || errno == EPERM || errno == EROFS))
		log_error("%s: %s (--read-only may do)", d->name, strerror(errno));
	else
		log_error("%s: %s", d->name, strerror(errno));
}

static int open_file(struct disk *d, const struct disk_options *o)
{
	struct stat st;
	int read_only = 0;

	d->flags = open_flags(d, o);
	d->fd = open(d->path, d->flags);
	if (d->fd < 0) {
		open_failed(d);
		return -errno;
	}
	if (fstat(d->fd, &st) < 0 || S_ISBLK(st.st_mode) != d->block_device ||
	    (d->devdax && st.st_rdev != d->device) || check_type(d, st.st_mode) < 0) {
		log_error("%s: changes while it is being opened", d->name);
		return -EINVAL;
	}
	if (d->block_device && !o->read_only && ioctl(d->fd, BLKROGET, &read_only) == 0 &&
	    read_only) {
		log_error("%s: is a read-only device (--read-only may do)", d->name);
		return -EROFS;
	}
	return 0;
}

/* The description FD replaces that of d->fd; the number, which engines know, stays. */
static int replace_fd(const struct disk *d, int fd)
{
	int r = dup3(fd, d->fd, O_CLOEXEC) < 0 ? -errno : 0;

	close(fd);
	return r;
}

/* O_EXCL keeps out a mount, and the disk that this is a partition of.  It is of the
 * description, so there is a new one, of the same device. */
static int open_exclusively(const struct disk *d, unsigned *waited_ms)
{
	struct stat st;
	int fd;

	do
		fd = open(d->path, d->flags | O_EXCL);
	while (fd < 0 && errno == EBUSY && wait_for_lock(waited_ms));
	if (fd < 0) {
		open_failed(d);
		return -errno;
	}
	if (fstat(fd, &st) == 0 && S_ISBLK(st.st_mode) && st.st_rdev == d->device)
		return replace_fd(d, fd);
	log_error("%s: is another device by now", d->name);
	close(fd);
	return -ENODEV;
}

/* Hosts that a test makes of one machine do not see each other's locks. */
static void lock_as_test_host(struct flock *lock)
{
#ifdef CBD_TEST_HOOKS
	const char *boot = getenv("CBD_TEST_BOOT_ID");
	unsigned hash = 0;

	if (boot == NULL)
		return;
	while (*boot != 0)
		hash = hash * 31 + (unsigned char)*boot++;
	lock->l_start = hash;
	lock->l_len = 1;
#else
	(void)lock;
#endif
}

static short lock_type(const struct disk *d)
{
	return d->read_only ? F_RDLCK : F_WRLCK;
}

static int take_lock(int fd, struct flock *lock, unsigned *waited_ms)
{
	int err;

	do {
		err = fcntl(fd, F_OFD_SETLK, lock) < 0 ? -errno : 0;
		if (err == -EACCES) /* the other name of the same */
			err = -EAGAIN;
	} while (err == -EAGAIN && wait_for_lock(waited_ms));
	return err;
}

/*
 * Rule 7 of docs/protocol.md: a lock on the whole disk, on the open file
 * description that does the I/O.  It ends when the last I/O through it has ended
 * and not before, even if this process is killed.  Readers share.
 */
static int lock_file(const struct disk *d, unsigned *waited_ms)
{
	struct flock lock = { .l_type = lock_type(d), .l_whence = SEEK_SET };
	int err;

	lock_as_test_host(&lock);
	err = take_lock(d->fd, &lock, waited_ms);
	if (err == -EAGAIN)
		log_error("%s: is in use by another process%s", d->name, d->holder);
	else if (err < 0)
		log_error("%s: cannot be locked: %s", d->name, strerror(-err));
	return err;
}

/* The path is that of the time when the device was set up. */
static int open_backing(const struct disk *d)
{
	struct loop_info64 loop;
	char path[PATH_MAX];
	struct stat st;
	int fd;

	if (!d->block_device || !disk_sysfs(d->device, "loop/backing_file", path, sizeof(path)))
		return -1;
	fd = open(path, O_CLOEXEC | (d->read_only ? O_RDONLY : O_RDWR));
	if (fd >= 0 && ioctl(d->fd, LOOP_GET_STATUS64, &loop) == 0 && fstat(fd, &st) == 0 &&
	    st.st_dev == loop.lo_device && st.st_ino == loop.lo_inode)
		return fd;
	log_debug("%s: the file behind it, %s, is not found", d->name, path);
	if (fd >= 0)
		close(fd);
	return -1;
}

/* A process that writes to the file behind a loop device writes to the disk. The lock
 * covers the range of the file that the device shows, so that two partitions are two
 * disks. */
static int lock_backing(const struct disk *d, unsigned *waited_ms)
{
	struct flock lock = { .l_type = lock_type(d), .l_whence = SEEK_SET };
	char path[PATH_MAX];
	int err;

	if (d->backing_fd < 0 || !disk_sysfs(d->device, "loop/backing_file", path, sizeof(path)))
		return 0;
	lock.l_start = disk_sysfs_number(d->device, "loop/offset");
	lock.l_start += disk_sysfs_number(d->device, "start") * SECTOR;
	lock.l_len = d->geometry.size;
	err = take_lock(d->backing_fd, &lock, waited_ms);
	if (err == -EAGAIN)
		log_error("%s: the file behind it, %s, is in use by another process%s", d->name,
			  path, d->holder);
	else if (err < 0)
		log_error("%s: %s: cannot be locked: %s", d->name, path, strerror(-err));
	return err;
}

/* ------------------------------------------------------------- geometry */

static bool power_of_two(uint64_t n)
{
	return n != 0 && (n & (n - 1)) == 0;
}

/* The blocks of a file do not depend on --direct: clients take a disk whose
 * blocks have changed for another one. */
static int file_geometry(struct disk *d)
{
	struct cbd_disk_geometry *g = &d->geometry;
	struct stat st;

	if (fstat(d->fd, &st) < 0) {
		log_error("%s: %s", d->name, strerror(errno));
		return -errno;
	}
	g->size = st.st_size;
	g->logical_block = SECTOR;
	g->physical_block = PAGE;
	g->optimal_block = PAGE;
	if (power_of_two(st.st_blksize) && st.st_blksize > PAGE)
		g->optimal_block = st.st_blksize;
	g->rotational = disk_sysfs_number(d->device, "queue/rotational") != 0;
	g->discard = !d->read_only;
	g->fast_zero = !d->read_only;
	g->block_status = disk_has_holes(d);
	d->granule = 1;
	return 0;
}

static int device_geometry(struct disk *d)
{
	struct cbd_disk_geometry *g = &d->geometry;
	unsigned physical = 0, optimal = 0;
	unsigned short rotational = 0;
	int logical = 0;

	if (ioctl(d->fd, BLKGETSIZE64, &g->size) < 0 || ioctl(d->fd, BLKSSZGET, &logical) < 0 ||
	    !power_of_two(logical)) {
		log_error("%s: does not tell its size: %s", d->name, strerror(errno));
		return -EINVAL;
	}
	if (ioctl(d->fd, BLKPBSZGET, &physical) < 0 || !power_of_two(physical))
		physical = logical;
	if (ioctl(d->fd, BLKIOOPT, &optimal) < 0 || !power_of_two(optimal))
		optimal = physical;
	g->logical_block = logical;
	g->physical_block = physical;
	g->optimal_block = optimal > PAGE ? optimal : PAGE;
	g->rotational = ioctl(d->fd, BLKROTATIONAL, &rotational) == 0 && rotational != 0;
	g->discard = !d->read_only && disk_sysfs_number(d->device, "queue/discard_max_bytes") > 0;
	g->fast_zero = !d->read_only &&
		       disk_sysfs_number(d->device, "queue/write_zeroes_max_bytes") > 0;
	d->granule = logical > (int)PAGE ? (uint32_t)logical : PAGE;
	return 0;
}

static int check_size(const struct disk *d)
{
	uint64_t size = d->geometry.size;

	if (size == 0) {
		log_error("%s: is empty", d->name);
		return -EINVAL;
	}
	if (size % SECTOR != 0) {
		log_error("%s: size %llu is not a multiple of %u", d->name,
			  (unsigned long long)size, SECTOR);
		return -EINVAL;
	}
	return 0;
}

/* The first size of a read that the kernel takes.  Few file systems tell their
 * alignment in another way. */
static int find_direct_alignment(struct disk *d)
{
	uint32_t block = SECTOR;
	ssize_t n = -1;
	void *buf;

	if (posix_memalign(&buf, MAX_DIRECT, MAX_DIRECT) != 0)
		return -ENOMEM;
	errno = EINVAL;
	for (; block <= MAX_DIRECT; block *= 2) {
		n = pread(d->fd, buf, block, d->geometry.size > block ? block : 0);
		if (n >= 0 || errno != EINVAL)
			break;
	}
	free(buf);
	if (n < 0)
		return -errno;
	d->direct = block;
	return 0;
}

static int check_direct_size(const struct disk *d)
{
	if (d->direct == 0 || d->geometry.size % d->direct == 0)
		return 0;
	log_error("%s: size %llu is not a multiple of %u, the unit of direct I/O there", d->name,
		  (unsigned long long)d->geometry.size, d->direct);
	return -EINVAL;
}

static int setup_direct(struct disk *d)
{
	int err = find_direct_alignment(d);

	if (err < 0) {
		log_error("%s: cannot be read with direct I/O: %s", d->name, strerror(-err));
		return err;
	}
	return check_direct_size(d);
}

/* What an earlier backend without --write-through has left in the page cache
 * must not be told from what this one makes durable. */
static int setup_write_through(struct disk *d)
{
	d->geometry.write_through = true;
	return disk_settle(d);
}

void disk_forget(struct disk *d)
{
	if (d->nbd != NULL || d->devdax)
		return;
	if (d->block_device)
		ioctl(d->fd, BLKFLSBUF, 0);
	posix_fadvise(d->fd, 0, 0, POSIX_FADV_DONTNEED);
}

int disk_settle(struct disk *d)
{
	if (d->nbd != NULL)
		return nbd_disk_settle(d);
	/* what a copy has stored there needs no more */
	if (d->devdax || d->read_only || fdatasync(d->fd) == 0)
		return 0;
	log_error("%s: cannot be synchronised: %s", d->name, strerror(errno));
	return -errno;
}

uint64_t disk_size(const struct disk *d)
{
	return atomic_load_explicit(&d->size, memory_order_acquire);
}

uint64_t disk_end(const struct disk *d)
{
	return atomic_load_explicit(&d->end, memory_order_relaxed);
}

/* Main thread.  The end first: a handler that sees the size may use all of it. */
static void set_size(struct disk *d, uint64_t end, uint64_t size)
{
	d->geometry.size = size;
	atomic_store_explicit(&d->end, end, memory_order_relaxed);
	atomic_store_explicit(&d->size, size, memory_order_release);
}

static int find_geometry(struct disk *d, const struct disk_options *o)
{
	int err = 0;

	if (d->devdax)
		err = disk_devdax_geometry(d);
	else if (d->nbd == NULL)
		err = d->block_device ? device_geometry(d) : file_geometry(d);
	d->geometry.read_only = d->read_only;
	if (err == 0)
		err = check_size(d);
	if (err == 0 && o->direct)
		err = setup_direct(d);
	if (err == 0 && d->nbd != NULL)
		err = check_direct_size(d);
	if (err == 0 && d->write_through)
		err = setup_write_through(d);
	d->backing_fd = open_backing(d);
	if (err == 0)
		err = disk_identify(d);
	set_size(d, d->geometry.size, d->geometry.size);
	return err;
}

/* ----------------------------------------------------------------- size */

static int read_size(const struct disk *d, uint64_t *size)
{
	struct stat st;
	int err = 0;

	if (d->nbd != NULL)
		*size = nbd_disk_size(d);
	else if (d->devdax)
		*size = disk_devdax_size(d);
	else if (d->block_device)
		err = ioctl(d->fd, BLKGETSIZE64, size) < 0 ? -errno : 0;
	else if (fstat(d->fd, &st) < 0)
		err = -errno;
	else
		*size = st.st_size;
	if (err < 0)
		log_error("%s: does not tell its size: %s", d->name, strerror(-err));
	return err;
}

/* A disk is served in whole units. */
static uint64_t usable(const struct disk *d, uint64_t size)
{
	return size - size % (d->direct > SECTOR ? d->direct : SECTOR);
}

int disk_look_at_size(struct disk *d)
{
	uint64_t size, was = disk_size(d);
	int err = read_size(d, &size);

	if (err < 0)
		return err;
	size = usable(d, size);
	if (size == disk_end(d))
		return 0;
	if (size < was)
		log_error("%s: has shrunk from %llu to %llu bytes; requests beyond them fail",
			  d->name, (unsigned long long)was, (unsigned long long)size);
	else
		log_info("%s: has %llu bytes now", d->name, (unsigned long long)size);
	set_size(d, size, size > was ? size : was);
	return 1;
}

/* ------------------------------------------------------------------ all */

static int check_options(const struct disk *d, const struct disk_options *o)
{
	if (!o->direct || (!disk_is_uri(d->name) && !d->devdax))
		return 0;
	log_error("%s: there is no page cache to go around (--direct)", d->name);
	return -EINVAL;
}

static int open_any(struct disk *d, const struct disk_options *o)
{
	int err = 0;

	if (!disk_is_uri(d->name))
		err = check_before_open(d);
	if (err == 0)
		err = check_options(d, o);
	if (err < 0)
		return err;
	return disk_is_uri(d->name) ? nbd_disk_open(d) : open_file(d, o);
}

struct disk *disk_open(const char *name, const struct disk_options *options)
{
	struct disk *d = calloc(1, sizeof(*d));

	if (d == NULL) {
		log_error("%s: %s", name, strerror(ENOMEM));
		return NULL;
	}
	d->name = name;
	d->fd = d->backing_fd = -1;
	d->read_only = options->read_only;
	d->write_through = options->write_through && !options->read_only;
	pthread_mutex_init(&d->ranges.lock, NULL);
	pthread_mutex_init(&d->data.lock, NULL);
	if (open_any(d, options) < 0 || find_geometry(d, options) < 0) {
		disk_close(d);
		return NULL;
	}
	return d;
}

/* Find out again what the process that held the lock before may have changed. */
static int look_again(struct disk *d)
{
	uint64_t size;
	int err = read_size(d, &size);

	if (err < 0)
		return err;
	set_size(d, size, size);
	err = check_size(d);
	if (err == 0)
		err = check_direct_size(d);
	return err == 0 && d->write_through ? disk_settle(d) : err;
}

int disk_lock(struct disk *d)
{
	unsigned waited_ms = 0;
	int err = d->block_device ? open_exclusively(d, &waited_ms) : 0;

	if (err == 0)
		err = lock_file(d, &waited_ms);
	if (err == 0)
		err = lock_backing(d, &waited_ms);
	if (err == 0 && d->nbd != NULL)
		err = nbd_disk_locked(d);
	if (err == 0)
		err = look_again(d);
	if (err < 0) {
		disk_unlock(d);
		return err == -EAGAIN ? -EBUSY : err;
	}
	log_debug("%s: waited %u ms for its lock", d->name, waited_ms);
	return 0;
}

/* Nothing is in flight.  Of a block device the description goes, which excluded
 * others; in its place is one that does not, or none that does I/O. */
void disk_unlock(struct disk *d)
{
	struct flock lock = { .l_type = F_UNLCK, .l_whence = SEEK_SET };
	int fd;

	if (d->nbd != NULL)
		nbd_disk_unlock(d);
	if (d->backing_fd >= 0)
		close(d->backing_fd);
	d->backing_fd = -1;
	lock_as_test_host(&lock);
	fcntl(d->fd, F_OFD_SETLK, &lock);
	if (!d->block_device)
		return;
	fd = open(d->path, d->flags);
	if (fd < 0)
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (fd >= 0)
		replace_fd(d, fd);
}

void disk_close(struct disk *d)
{
	nbd_disk_close(d);
	if (d->fd >= 0)
		close(d->fd);
	if (d->backing_fd >= 0)
		close(d->backing_fd);
	pthread_mutex_destroy(&d->ranges.lock);
	free(d->path);
	free(d);
}
