/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test-sync.c - who learns of a page that the kernel could not write.  The
 * kernel's part is played here: one error, told once on each open file
 * description, of which all syncs of the disk use one.
 */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "../../backend/disk.h"
#include "unit.h"

#define FDS 1024

static unsigned errors, told[FDS];
static bool o_dsync;

static int tell(int fd)
{
	ck_assert(fd >= 0 && fd < FDS);
	if (told[fd] == errors)
		return 0;
	told[fd] = errors;
	errno = EIO;
	return -1;
}

int fdatasync(int fd)
{
	return tell(fd);
}

int sync_file_range(int fd, off_t from, off_t to, unsigned flags)
{
	(void)from;
	(void)to;
	ck_assert_uint_eq(flags, SYNC_FILE_RANGE_WAIT_BEFORE);
	return tell(fd);
}

ssize_t pwritev2(int fd, const struct iovec *iov, int count, off_t offset, int flags)
{
	ssize_t n = pwritev(fd, iov, count, offset);

	return (o_dsync || (flags & RWF_DSYNC)) && tell(fd) < 0 ? -1 : n;
}

/* ----------------------------------------------------------------- a disk */

#define SIZE 65536
#define QUEUES 2

static struct disk *disk;
static const struct disk_engine *engine;
static struct disk_queue *queue[QUEUES];
static struct cbd_request request;
static char path[UNIT_PATH], payload[4096];
static unsigned losses;
static int result;

static void on_done(void *opaque, struct disk_io *io, int r)
{
	(void)opaque;
	(void)io;
	result = r;
}

static void on_lost(void *opaque, int error)
{
	(void)opaque;
	ck_assert_int_eq(error, -EIO);
	losses++;
}

static int run(unsigned q)
{
	struct disk_io io = { .request = &request };

	result = 1;
	engine->submit(queue[q], &io);
	if (engine->kick)
		engine->kick(queue[q]);
	while (result == 1)
		engine->reap(queue[q], true);
	return result;
}

/* What is durable when it succeeds: a flush, a write with FUA, and every write
 * with --write-through. */
enum { FLUSH, FUA, WRITE_THROUGH, KINDS };

static void open_disk(const char *name, int kind)
{
	const struct disk_options o = { .write_through = kind == WRITE_THROUGH };
	const struct disk_events events = { .done = on_done, .lost = on_lost };
	int fd;

	engine = disk_engine_find(name);
	if (!engine)
		return;
	unit_path(path);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	ck_assert_int_eq(ftruncate(fd, SIZE), 0);
	close(fd);
	disk = disk_open(path, &o);
	ck_assert_ptr_nonnull(disk);
	o_dsync = o.write_through;
	for (unsigned i = 0; i < QUEUES; i++)
		ck_assert_int_eq(disk_queue_open(engine, disk, 8, &events, &queue[i]), 0);
	request = (struct cbd_request){ .op = kind == FLUSH ? CBD_OP_FLUSH : CBD_OP_WRITE,
					.flags = kind == FUA ? CBD_SE_FUA : 0,
					.length = kind == FLUSH ? 0 : sizeof(payload),
					.buf = payload };
	for (unsigned i = 0; i < QUEUES; i++)
		ck_assert_int_eq(run(i), 0);
}

static void close_disk(void)
{
	for (unsigned i = 0; i < QUEUES; i++)
		disk_queue_close(queue[i]);
	disk_close(disk);
	unlink(path);
}

static const char *const engines[] = { "psync", "uring", "mmap" };

#define ENGINES (int)(sizeof(engines) / sizeof(engines[0]))

/* Two syncs at the same time; the other one, of whichever queue, was told. */
START_TEST(another_sync_was_told)
{
	int kind = _i / ENGINES;

	open_disk(engines[_i % ENGINES], kind);
	if (!engine)
		return; /* this kernel has no io_uring */
	errors++;
	tell(disk->fd);
	for (unsigned i = 0; i < QUEUES; i++) {
		losses = 0;
		ck_assert_int_eq(run(i), -EIO);
		ck_assert_uint_eq(losses, kind == WRITE_THROUGH ? 0 : 1);
		ck_assert_int_eq(run(i), 0); /* once */
	}
	close_disk();
}
END_TEST

static unsigned failed;

static void count_failed(void *opaque, struct disk_io *io, int r)
{
	(void)opaque;
	(void)io;
	failed += r == -EIO;
	result++;
}

/* Of several in flight in one queue each may have lost its page. */
START_TEST(many_in_flight)
{
	struct disk_io io[4];

	open_disk("uring", _i);
	if (!engine)
		return;
	queue[0]->events.done = count_failed;
	result = 0;
	failed = losses = 0;
	errors++;
	tell(disk->fd);
	for (unsigned i = 0; i < 4; i++) {
		io[i] = (struct disk_io){ .request = &request };
		engine->submit(queue[0], &io[i]);
	}
	engine->kick(queue[0]);
	while (result < 4)
		engine->reap(queue[0], true);
	ck_assert_uint_eq(failed, 4);
	ck_assert_uint_eq(losses, _i == WRITE_THROUGH ? 0 : 1);
	close_disk();
}
END_TEST

/* The sync that was told itself does not fail the next one as well. */
START_TEST(told_once)
{
	open_disk("psync", _i);
	errors++;
	losses = 0;
	ck_assert_int_eq(run(0), -EIO);
	ck_assert_uint_eq(losses, _i == WRITE_THROUGH ? 0 : 1);
	ck_assert_int_eq(run(0), 0);
	close_disk();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("sync");
	TCase *t = tcase_create("sync");

	tcase_set_timeout(t, UNIT_TIMEOUT);
	suite_add_tcase(s, t);
	tcase_add_loop_test(t, another_sync_was_told, 0, ENGINES * KINDS);
	tcase_add_loop_test(t, many_in_flight, 0, KINDS);
	tcase_add_loop_test(t, told_once, 0, KINDS);
	return unit_main(s);
}
