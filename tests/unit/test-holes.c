/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test-holes.c - which blocks of a file cbd-backend tells to be holes, with an lseek(2) of
 * the test's own: one that is slow, fails, or is asked while the file changes.
 */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../../backend/disk.h"
#include "unit.h"

#define PAGE 4096u
#define HOLE (CBD_BLOCK_HOLE | CBD_BLOCK_ZERO)

static unsigned data_calls, hole_calls;
static unsigned slow_us; /* each call takes so long */
static uint64_t time_ns; /* only that passes: a busy machine would cut answers short */
static int error;	 /* each call fails with it */
static off_t truncate_to = -1;
static int fd;

int clock_gettime(clockid_t clock, struct timespec *now)
{
	(void)clock;
	*now = (struct timespec){ .tv_sec = 1000 + (time_t)(time_ns / 1000000000),
				  .tv_nsec = (long)(time_ns % 1000000000) };
	return 0;
}

off_t lseek(int file, off_t offset, int whence)
{
	off_t r;

	data_calls += whence == SEEK_DATA;
	hole_calls += whence == SEEK_HOLE;
	time_ns += slow_us * UINT64_C(1000);
	if (error) {
		errno = error;
		return -1;
	}
	r = syscall(SYS_lseek, file, offset, whence);
	if (truncate_to >= 0)
		ck_assert_int_eq(ftruncate(fd, truncate_to), 0);
	return r;
}

/* ----------------------------------------------------------------- a disk */

static struct disk *disk;
static struct disk_queue queue;
static struct cbd_hrequest request;
static struct cbd_run run[CBD_MAX_RUNS];
static char path[UNIT_PATH];
static unsigned answers;

static void on_done(void *opaque, struct disk_io *io, int result)
{
	(void)opaque;
	ck_assert_ptr_eq(io->request, &request.pub);
	ck_assert_int_eq(result, 0);
	answers++;
}

static void open_disk(unsigned pages)
{
	const struct disk_options o = { 0 };

	unit_path(path);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, pages * PAGE), 0);
	disk = disk_open(path, &o);
	ck_assert_ptr_nonnull(disk);
	if (!disk->geometry.block_status) { /* as clients of this file system are told */
		disk_close(disk);
		close(fd);
		fprintf(stderr, "%s: its file system does not tell holes\n", path);
		exit(EXIT_SUCCESS);
	}
	queue = (struct disk_queue){ .disk = disk, .events = { .done = on_done } };
}

static void close_disk(void)
{
	disk_close(disk);
	close(fd);
	unlink(path);
}

static void fill_page(unsigned page)
{
	char buf[PAGE];

	memset(buf, 7, PAGE);
	ck_assert_int_eq(pwrite(fd, buf, PAGE, (off_t)page * PAGE), PAGE);
}

/* The number of runs; at least one. */
static unsigned ask(uint64_t offset, uint64_t length, unsigned room)
{
	struct disk_io io = { .request = &request.pub };
	unsigned before = answers;

	request = (struct cbd_hrequest){
		.pub = { .op = CBD_OP_BLOCK_STATUS, .offset = offset, .length = (uint32_t)length },
		.se = { .op = CBD_SE_OP_BLOCK_STATUS,
			.length = (uint32_t)length,
			.room = room * (uint32_t)sizeof(run[0]) },
		.runs = run,
	};
	disk_block_status(&queue, &io);
	ck_assert_uint_eq(answers, before + 1);
	ck_assert_uint_ge(request.n_runs, 1);
	return request.n_runs;
}

static void check_run(unsigned i, uint64_t length, unsigned flags)
{
	ck_assert_uint_lt(i, request.n_runs);
	ck_assert_msg(run[i].length == length && run[i].flags == flags,
		      "run %u: %u bytes, flags %u; not %llu, %u", i, run[i].length, run[i].flags,
		      (unsigned long long)length, flags);
}

/* ------------------------------------------------------------------ tests */

START_TEST(holes_and_data)
{
	open_disk(16);
	ck_assert_uint_eq(ask(0, 16 * PAGE, 9), 1);
	check_run(0, 16 * PAGE, HOLE);
	fill_page(2);
	fill_page(3);
	fill_page(15);
	ck_assert_uint_eq(ask(0, 16 * PAGE, 9), 4);
	check_run(0, 2 * PAGE, HOLE);
	check_run(1, 2 * PAGE, 0);
	check_run(2, 11 * PAGE, HOLE);
	check_run(3, PAGE, 0);
	/* cut anywhere */
	ck_assert_uint_eq(ask(1, 2 * PAGE, 9), 2);
	check_run(0, 2 * PAGE - 1, HOLE);
	check_run(1, 1, 0);
	ck_assert_uint_eq(ask(3 * PAGE + 5, 10, 9), 1);
	check_run(0, 10, 0);
	ck_assert_uint_eq(ask(16 * PAGE - 1, 1, 9), 1);
	check_run(0, 1, 0);
	ck_assert_uint_eq(ask(0, 16 * PAGE, 1), 1);
	check_run(0, 2 * PAGE, HOLE);
	ck_assert_uint_eq(ask(0, 16 * PAGE, 2), 2);
	close_disk();
}
END_TEST

/* Each answer is bounded, and asks no more of the kernel than it can tell. */
START_TEST(ten_thousand_holes)
{
	unsigned found = 0, asked = 0;

	open_disk(20000);
	for (unsigned page = 1; page < 20000; page += 2)
		fill_page(page);
	for (uint64_t at = 0; at < 20000ull * PAGE; asked++) {
		unsigned n = ask(at, 20000ull * PAGE - at, CBD_MAX_RUNS);

		ck_assert_uint_le(n, CBD_MAX_RUNS);
		for (unsigned i = 0; i < n; i++, found++) {
			check_run(i, PAGE, found % 2 ? 0 : HOLE);
			at += run[i].length;
		}
	}
	ck_assert_uint_eq(found, 20000);
	ck_assert_uint_ge(asked, 20000 / CBD_MAX_RUNS);
	ck_assert_uint_le(data_calls + hole_calls, 3 * 20000 / 2 + 2 * asked);
	close_disk();
}
END_TEST

/* A kernel that takes long for each hole: what was found by then is told. */
START_TEST(takes_no_longer)
{
	open_disk(64);
	for (unsigned page = 1; page < 64; page += 2)
		fill_page(page);
	slow_us = 1000;
	ck_assert_uint_lt(ask(0, 64 * PAGE, CBD_MAX_RUNS), 10);
	ck_assert_uint_lt(data_calls + hole_calls, 10);
	close_disk();
}
END_TEST

/* Data that took long to walk over is not walked over again for each piece; until
 * something was punched. */
START_TEST(remembers_data)
{
	open_disk(64);
	for (unsigned page = 0; page < 60; page++)
		fill_page(page);
	slow_us = 100000;
	ask(0, PAGE, 9);
	slow_us = 0;
	ck_assert_uint_eq(hole_calls, 1);
	ck_assert_uint_eq(ask(PAGE, 63 * PAGE, 9), 2);
	check_run(0, 59 * PAGE, 0);
	check_run(1, 4 * PAGE, HOLE);
	ck_assert_uint_eq(hole_calls, 1);
	ck_assert_int_eq(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4 * PAGE, PAGE),
			 0);
	disk_blocks_changed(disk);
	ck_assert_uint_eq(ask(0, 64 * PAGE, 9), 4);
	check_run(1, PAGE, HOLE);
	/* holes are asked for each time */
	fill_page(62);
	ck_assert_uint_eq(ask(60 * PAGE, 4 * PAGE, 9), 3);
	check_run(1, PAGE, 0);
	close_disk();
}
END_TEST

/* It does not know, or is not asked by a file system that lies: nothing is a hole. */
START_TEST(errors_are_data)
{
	static const int errors[] = { EINVAL, EIO, EOPNOTSUPP, EOVERFLOW };

	open_disk(16);
	error = errors[_i];
	ck_assert_uint_eq(ask(5, 15 * PAGE, 9), 1);
	check_run(0, 15 * PAGE, 0);
	close_disk();
}
END_TEST

/* What was cut off has to be read to be found missing: it is no hole. */
START_TEST(shrunk)
{
	open_disk(16);
	fill_page(0);
	ck_assert_int_eq(ftruncate(fd, 8 * PAGE), 0);
	ck_assert_uint_eq(ask(0, 16 * PAGE, 9), 3);
	check_run(0, PAGE, 0);
	check_run(1, 7 * PAGE, HOLE);
	check_run(2, 8 * PAGE, 0);
	ck_assert_uint_eq(ask(8 * PAGE, PAGE, 9), 1);
	check_run(0, PAGE, 0);
	ck_assert_uint_eq(ask(12 * PAGE, 4 * PAGE, 9), 1);
	check_run(0, 4 * PAGE, 0);
	ck_assert_int_eq(ftruncate(fd, PAGE / 2), 0);
	ck_assert_uint_eq(ask(0, 16 * PAGE, 9), 1);
	check_run(0, 16 * PAGE, 0);
	close_disk();
}
END_TEST

/* It shrinks while the kernel is being asked. */
START_TEST(shrinks)
{
	open_disk(16);
	if (_i == 0)
		fill_page(12);
	truncate_to = 2 * PAGE;
	ask(4 * PAGE, 12 * PAGE, 9);
	for (unsigned i = _i == 0; i < request.n_runs; i++)
		ck_assert_uint_eq(run[i].flags, 0);
	/* a hole in front of the data is what the kernel has found before */
	if (_i == 0)
		check_run(0, 8 * PAGE, HOLE);
	close_disk();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("holes");
	TCase *t = tcase_create("holes");

	tcase_set_timeout(t, UNIT_TIMEOUT);
	suite_add_tcase(s, t);
	tcase_add_test(t, holes_and_data);
	tcase_add_test(t, ten_thousand_holes);
	tcase_add_test(t, takes_no_longer);
	tcase_add_test(t, remembers_data);
	tcase_add_loop_test(t, errors_are_data, 0, 4);
	tcase_add_test(t, shrunk);
	tcase_add_loop_test(t, shrinks, 0, 2);
	return unit_main(s);
}
