/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test-blkdev.c - block I/O through the public interface, both ends in one
 * process: data against a shadow, threads and queues, refusals, results and
 * attaching.  What goes wrong later is test-recovery's affair.
 */
#include <config.h>

#include <errno.h>

#include "blkdev/blkdev.h"
#include "unit.h"

static struct pair p;

/* ------------------------------------------------------------------- data */

START_TEST(every_operation)
{
	struct pair_options o = way(_i);
	struct worker w = { .seed = 11, .count = unit_share(600) };

	pair_open(&p, &o);
	w.q = p.q;
	w.size = p.disk.size;
	work(&w);
	ck_assert_int_eq(w.error, 0);
	pair_close(&p);
}
END_TEST

#define THREADS 8

/* What is left over would keep others from being woken. */
static void nobody_waits(const struct cbd_queue *q)
{
	ck_assert(!q->waiters.leader);
	ck_assert_uint_eq(q->waiters.n_awake, 0);
	ck_assert_ptr_null(q->waiters.asleep);
}

/* Each thread has its part of the disk; their requests share the queues. */
static void run_threads(unsigned queues, unsigned count)
{
	struct worker w[THREADS];
	pthread_t thread[THREADS];
	uint64_t size = p.disk.size / THREADS - 1000;

	for (unsigned i = 0; i < THREADS; i++) {
		w[i] = (struct worker){ .q = cbd_blkdev_queue(p.blkdev, i % queues),
					.start = i * (p.disk.size / THREADS) + 77,
					.size = size,
					.seed = i,
					.count = unit_share(count) };
		ck_assert_int_eq(pthread_create(&thread[i], NULL, work, &w[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(thread[i], NULL);
		ck_assert_int_eq(w[i].error, 0);
	}
	for (unsigned i = 0; i < queues; i++)
		nobody_waits(cbd_blkdev_queue(p.blkdev, i));
}

START_TEST(threads_on_one_queue)
{
	struct pair_options o = way(_i % WAYS);

	/* deep, and so shallow that all wait for one tag */
	o.depth = _i / WAYS ? 1 : 0;
	pair_open(&p, &o);
	run_threads(1, 150);
	pair_close(&p);
}
END_TEST

START_TEST(threads_on_queues)
{
	struct pair_options o = way(_i);

	o.queues = 4;
	o.handlers = 2;
	pair_open(&p, &o);
	ck_assert_uint_eq(cbd_blkdev_queues(p.blkdev), 4);
	ck_assert_ptr_null(cbd_blkdev_queue(p.blkdev, 4));
	run_threads(4, 150);
	pair_close(&p);
}
END_TEST

START_TEST(one_thread_on_queues)
{
	struct pair_options o = way(_i);
	unsigned char *buf = new_buffer(4 * 20 * 4096, 5);
	struct cbd_completion c[8];

	o.queues = 4;
	o.handlers = 3;
	pair_open(&p, &o);
	for (unsigned i = 0; i < 80; i++) {
		struct cbd_io io = { .op = CBD_OP_WRITE,
				     .buf = buf + i * 4096,
				     .offset = i * 4096,
				     .length = 4096,
				     .cookie = (void *)(uintptr_t)i };

		ck_assert_int_eq(cbd_queue_submit(cbd_blkdev_queue(p.blkdev, i % 4), &io, 1), 1);
	}
	for (unsigned k = 0; k < 4; k++)
		for (unsigned n = 0, got; n < 20; n += got) {
			got = (unsigned)cbd_queue_poll(cbd_blkdev_queue(p.blkdev, k), c, 1, 8,
						       UNIT_WAIT_S * 1000 * (int)test_factor());
			ck_assert_uint_gt(got, 0);
			for (unsigned i = 0; i < got; i++) {
				ck_assert_int_eq(c[i].result, 0);
				ck_assert_uint_eq((uintptr_t)c[i].cookie % 4, k);
			}
		}
	ck_assert_mem_eq(unit_disk_data(&p.disk), buf, 4 * 20 * 4096);
	pair_close(&p);
	free(buf);
}
END_TEST

/* Bigger than the data area, than all channels, and not aligned to anything. */
START_TEST(large_requests)
{
	struct pair_options o = way(_i);
	size_t size = 64u << 20;
	unsigned char *buf = new_buffer(size, 6);

	o.disk_size = size + 4096;
	pair_open(&p, &o);
	unit_ok(cbd_queue_write(p.q, buf, size, 1111, 0));
	ck_assert_mem_eq(unit_disk_data(&p.disk) + 1111, buf, size);
	memset(buf, 0, size);
	unit_ok(cbd_queue_read(p.q, buf, size, 1111));
	ck_assert_mem_eq(unit_disk_data(&p.disk) + 1111, buf, size);
	unit_ok(cbd_queue_write_zeroes(p.q, size, 1111, 0));
	ck_assert(cbd_is_zero(unit_disk_data(&p.disk) + 1111, size));
	ck_assert(!cbd_is_zero(unit_disk_data(&p.disk), 1111));
	pair_close(&p);
	free(buf);
}
END_TEST

/* ------------------------------------------------------------------- async */

START_TEST(each_cookie_once)
{
	struct pair_options o = way(_i);
	unsigned char buf[40][512] = { { 0 } };
	bool seen[40] = { false };

	pair_open(&p, &o);
	for (unsigned i = 0; i < 40; i++)
		pair_submit(&p, CBD_OP_READ, buf[i], i * 1000, 512, i);
	for (unsigned i = 0; i < 40; i++) {
		struct cbd_completion c = pair_reap(&p);
		unsigned n = (unsigned)(uintptr_t)c.cookie;

		ck_assert(!seen[n]);
		seen[n] = true;
		ck_assert_int_eq(c.result, 0);
		ck_assert_mem_eq(buf[n], unit_disk_data(&p.disk) + n * 1000, 512);
	}
	pair_reap_none(&p);
	pair_close(&p);
}
END_TEST

START_TEST(poll_timeouts)
{
	struct pair_options o = stepping(0);
	struct cbd_completion c;
	unsigned char buf[512] = { 0 };
	uint64_t before;

	pair_open(&p, &o);
	for (int in_flight = 0; in_flight < 2; in_flight++) {
		ck_assert_int_eq(cbd_queue_poll(p.q, &c, 0, 1, 0), 0);
		before = cbd_now_ns();
		ck_assert_int_eq(cbd_queue_poll(p.q, &c, 1, 1, 30), 0);
		ck_assert_uint_ge(cbd_now_ns() - before, 30000000);
		if (!in_flight)
			pair_submit(&p, CBD_OP_READ, buf, 0, 512, 1);
	}
	server_start(&p);
	ck_assert_int_eq(cbd_queue_poll(p.q, &c, 1, 1, -1), 1);
	ck_assert_int_eq(c.result, 0);
	pair_close(&p);
}
END_TEST

static void *poll_for_ever(void *arg)
{
	struct cbd_completion *c = arg;

	return (void *)(uintptr_t)cbd_queue_poll(p.q, c, 1, 1, -1);
}

/* Threads that wait with nothing in flight get what others submit later, one
 * each. */
START_TEST(poll_before_submit)
{
	struct pair_options o = way(0);
	struct cbd_completion c[4];
	pthread_t thread[4];
	unsigned char buf[512] = { 0 };
	unsigned cookies = 0;
	void *got;

	pair_open(&p, &o);
	for (int i = 0; i < 4; i++)
		pthread_create(&thread[i], NULL, poll_for_ever, &c[i]);
	for (unsigned i = 0; i < 4; i++)
		pair_submit(&p, CBD_OP_READ, buf, 0, 512, 1u << i);
	for (int i = 0; i < 4; i++) {
		pthread_join(thread[i], &got);
		ck_assert_uint_eq((uintptr_t)got, 1);
		cookies |= (unsigned)(uintptr_t)c[i].cookie;
	}
	ck_assert_uint_eq(cookies, 15);
	pair_close(&p);
}
END_TEST

/* Closed with requests under way: they are drained, and nothing leaks. */
START_TEST(close_drains)
{
	struct pair_options o = way(_i);
	unsigned char *buf = new_buffer(64 * 4096, 8);

	pair_open(&p, &o);
	for (unsigned i = 0; i < 64; i++)
		pair_submit(&p, CBD_OP_WRITE, buf + i * 4096, i * 4096, 4096, i);
	cbd_blkdev_close(p.blkdev);
	p.blkdev = NULL;
	server_stop(&p);
	ck_assert_mem_eq(unit_disk_data(&p.disk), buf, 64 * 4096);
	pair_close(&p);
	free(buf);
}
END_TEST

static void *close_it(void *arg)
{
	cbd_blkdev_close(arg);
	return NULL;
}

static uint64_t beat_of(unsigned slot)
{
	struct cbd_beat_line beat;

	unit_ok(cbd_line_get(p.ct, cbd_blkdev_line(p.ct, slot, CBD_BLKDEV_INFO, CBD_BLKDEV_BEAT),
			     &beat));
	return beat.counter;
}

/* A disk that takes its time at the end: who waits for it is alive. */
START_TEST(close_beats)
{
	struct pair_options o = way(_i);
	unsigned char buf[512];
	unsigned slot;
	uint64_t beat;
	pthread_t thread;

	o.dead_after = 1000; /* the bound of the drain: later than that of this test */
	pair_open(&p, &o);
	server_stop(&p);
	pair_submit(&p, CBD_OP_READ, buf, 0, 512, 1);
	slot = cbd_blkdev_id(p.blkdev);
	ck_assert_int_eq(pthread_create(&thread, NULL, close_it, p.blkdev), 0);
	p.blkdev = NULL;
	beat = beat_of(slot);
	unit_wait(beat_of(slot) > beat + 3);
	server_start(&p);
	pthread_join(thread, NULL);
	pair_close(&p);
}
END_TEST

/* ---------------------------------------------------------------- refusals */

START_TEST(nonsense)
{
	struct pair_options o = way(_i);
	unsigned char buf[4096];
	uint64_t size;

	pair_open(&p, &o);
	size = p.disk.size;
	unit_fails(cbd_queue_read(p.q, buf, 512, size), EINVAL);
	unit_fails(cbd_queue_read(p.q, buf, 513, size - 512), EINVAL);
	unit_fails(cbd_queue_write(p.q, buf, 512, size - 511, 0), EINVAL);
	unit_fails(cbd_queue_write(p.q, buf, 512, UINT64_MAX, 0), EINVAL);
	unit_fails(cbd_queue_write(p.q, buf, 512, UINT64_MAX - 511, 0), EINVAL);
	unit_fails(cbd_queue_discard(p.q, size + 1, 0, 0), EINVAL);
	unit_fails(cbd_queue_discard(p.q, UINT64_MAX, 1, 0), EINVAL);
	unit_fails(cbd_queue_write_zeroes(p.q, 1, size, 0), EINVAL);
	unit_fails(cbd_queue_read(p.q, NULL, 512, 0), EINVAL);
	unit_fails(cbd_queue_write(p.q, buf, 512, 0, 8), EINVAL);
	unit_fails(cbd_queue_execute(p.q, &(struct cbd_io){ .length = 1 }), EINVAL);
	unit_fails(cbd_queue_execute(p.q, &(struct cbd_io){ .op = (enum cbd_op)6 }), EINVAL);
	unit_fails(cbd_queue_submit(p.q, &(struct cbd_io){ .op = (enum cbd_op)77 }, 1), EINVAL);
	pair_reap_none(&p);
	for (unsigned op = 0; op < UNIT_OPS; op++)
		ck_assert_uint_eq(unit_disk_ops(&p.disk, op), 0);
	/* the last bytes, and none at all */
	unit_ok(cbd_queue_read(p.q, buf, 512, size - 512));
	ck_assert_mem_eq(buf, unit_disk_data(&p.disk) + size - 512, 512);
	unit_ok(cbd_queue_write(p.q, buf, 1, size - 1, 0));
	pair_close(&p);
}
END_TEST

START_TEST(zero_length)
{
	struct pair_options o = stepping(_i);

	pair_open(&p, &o); /* nobody serves: they complete at once */
	unit_ok(cbd_queue_read(p.q, NULL, 0, 0));
	unit_ok(cbd_queue_write(p.q, NULL, 0, p.disk.size, 0));
	unit_ok(cbd_queue_discard(p.q, 0, 0, 0));
	unit_ok(cbd_queue_write_zeroes(p.q, 0, 0, 0));
	unit_fails(cbd_queue_read(p.q, NULL, 0, p.disk.size + 1), EINVAL);
	pair_submit(&p, CBD_OP_READ, NULL, 0, 0, 9);
	ck_assert_uint_eq((uintptr_t)pair_reap(&p).cookie, 9);
	pair_close(&p);
}
END_TEST

START_TEST(read_only)
{
	struct pair_options o = way(0);
	struct cbd_blkdev_geometry g;
	unsigned char buf[512] = { 0 };

	o.read_only = !_i;
	o.disk_read_only = _i;
	pair_open(&p, &o);
	cbd_blkdev_geometry(p.blkdev, &g, sizeof(g));
	ck_assert(g.read_only);
	unit_fails(cbd_queue_write(p.q, buf, 512, 0, 0), EPERM);
	unit_fails(cbd_queue_discard(p.q, 512, 0, 0), EPERM);
	unit_fails(cbd_queue_write_zeroes(p.q, 512, 0, 0), EPERM);
	unit_ok(cbd_queue_read(p.q, buf, 512, 0));
	unit_ok(cbd_queue_flush(p.q));
	pair_close(&p);
}
END_TEST

START_TEST(geometry)
{
	struct cbd_blkdev_geometry g;

	pair_format(&p, &(struct pair_options){ 0 });
	p.geometry.rotational = p.geometry.write_through = true;
	p.geometry.discard = false;
	p.geometry.optimal_block = 65536;
	pair_publish(&p);
	pair_attach(&p);
	cbd_blkdev_geometry(p.blkdev, &g, sizeof(g));
	ck_assert_uint_eq(g.size, p.disk.size);
	ck_assert_uint_eq(g.logical_block, 512);
	ck_assert_uint_eq(g.physical_block, 4096);
	ck_assert_uint_eq(g.optimal_block, 65536);
	ck_assert(g.rotational && g.write_through && g.fast_zero);
	ck_assert(!g.discard && !g.read_only);
	ck_assert_uint_eq(g.max_data % 4096, 0);
	ck_assert_uint_ge(g.max_data, 4096);
	pair_close(&p);
}
END_TEST

/* ------------------------------------------------------- flags and results */

START_TEST(flags_arrive)
{
	struct pair_options o = way(_i);
	unsigned char *buf = new_buffer(600 << 10, 3);

	pair_open(&p, &o);
	unit_ok(cbd_queue_write(p.q, buf, 512, 0, 0));
	ck_assert_uint_eq(unit_disk_flags(&p.disk, CBD_OP_WRITE), 0);
	/* on every part, to the last one */
	unit_ok(cbd_queue_write(p.q, buf, 600 << 10, 0, CBD_IO_FUA));
	ck_assert_uint_eq(unit_disk_flags(&p.disk, CBD_OP_WRITE), CBD_SE_FUA);
	ck_assert_uint_gt(unit_disk_ops(&p.disk, CBD_OP_WRITE), 2);
	unit_ok(cbd_queue_write_zeroes(p.q, 512, 0, CBD_IO_MAY_TRIM | CBD_IO_FAST_ZERO));
	ck_assert_uint_eq(unit_disk_flags(&p.disk, CBD_OP_WRITE_ZEROES),
			  CBD_SE_MAY_TRIM | CBD_SE_FAST_ZERO);
	unit_ok(cbd_queue_write_zeroes(p.q, 512, 0, CBD_IO_FUA));
	ck_assert_uint_eq(unit_disk_flags(&p.disk, CBD_OP_WRITE_ZEROES), CBD_SE_FUA);
	unit_ok(cbd_queue_discard(p.q, 512, 0, CBD_IO_FUA));
	ck_assert_uint_eq(unit_disk_flags(&p.disk, CBD_OP_DISCARD), CBD_SE_FUA);
	unit_ok(cbd_queue_flush(p.q));
	ck_assert_uint_eq(unit_disk_ops(&p.disk, CBD_OP_FLUSH), 1);
	pair_close(&p);
	free(buf);
}
END_TEST

START_TEST(results_pass)
{
	static const struct {
		int disk, user;
	} errors[] = {
		{ EIO, EIO },
		{ ENOSPC, ENOSPC },
		{ EDQUOT, ENOSPC },
		{ EPERM, EPERM },
		{ EROFS, EPERM },
		{ EINVAL, EINVAL },
		{ EOPNOTSUPP, EOPNOTSUPP },
		{ ENOMEM, ENOMEM },
		{ EOVERFLOW, EOVERFLOW },
		{ ESHUTDOWN, ESHUTDOWN },
		{ ENXIO, EIO }, /* unknown */
	};
	struct pair_options o = way(_i);
	unsigned char *buf = new_buffer(600 << 10, 3);

	pair_open(&p, &o);
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		for (unsigned op = CBD_OP_READ; op <= CBD_OP_WRITE_ZEROES; op++) {
			struct cbd_io io = { .op = op, .buf = buf, .length = 600 << 10 };

			unit_disk_fail(&p.disk, op, errors[i].disk);
			unit_fails(cbd_queue_execute(p.q, &io), errors[i].user);
			unit_disk_fail(&p.disk, op, 0);
			unit_ok(cbd_queue_execute(p.q, &io));
		}
	}
	pair_close(&p);
	free(buf);
}
END_TEST

/* The first error of the parts wins, and comes when all are answered. */
START_TEST(first_error)
{
	struct pair_options o = stepping(0);
	struct cbd_request *r[8];
	unsigned char *buf = new_buffer(600 << 10, 3);
	struct cbd_handler *h;

	pair_open(&p, &o);
	h = cbd_backend_handler(p.backend, 0);
	pair_submit(&p, CBD_OP_READ, buf, 0, 600 << 10, 1);
	pair_fetch_all(&p, r, 3);
	cbd_handler_complete(h, r[1], -ENOSPC);
	pair_reap_none(&p);
	cbd_handler_complete(h, r[0], -EPERM);
	pair_reap_none(&p);
	cbd_handler_complete(h, r[2], 0);
	ck_assert_int_eq(pair_reap(&p).result, -ENOSPC);
	pair_close(&p);
	free(buf);
}
END_TEST

/* ------------------------------------------------------------------ attach */

START_TEST(no_backend)
{
	struct cbd_blkdev_options o;
	struct cbd_blkdev *b;

	pair_format(&p, &(struct pair_options){ 0 });
	o = pair_blkdev_options(&p);
	unit_fails(cbd_blkdev_open(p.ct, &o, sizeof(o), &b), ENOENT); /* by name */
	o.backend = "0";
	unit_fails(cbd_blkdev_open(p.ct, &o, sizeof(o), &b), ENOENT); /* not running */
	o.backend = "1";
	unit_fails(cbd_blkdev_open(p.ct, &o, sizeof(o), &b), EINVAL); /* no such slot */
	o.backend = "99999999999999999999";
	unit_fails(cbd_blkdev_open(p.ct, &o, sizeof(o), &b), EINVAL);
	o.backend = "";
	unit_fails(cbd_blkdev_open(p.ct, &o, sizeof(o), &b), ENOENT);
	o.backend = NULL;
	unit_fails(cbd_blkdev_open(p.ct, &o, sizeof(o), &b), EINVAL);
	/* and afterwards one that is there, by either */
	pair_publish(&p);
	for (int i = 0; i < 2; i++) {
		o.backend = i ? "0" : "disk";
		unit_ok(cbd_blkdev_open(p.ct, &o, sizeof(o), &b));
		cbd_blkdev_close(b);
	}
	pair_close(&p);
}
END_TEST

/* Published, but nobody answers. */
START_TEST(silent_backend)
{
	struct cbd_blkdev_options o;
	struct cbd_blkdev *b;

	pair_format(&p, &(struct pair_options){ .heartbeat_ms = 20, .dead_after = 3 });
	pair_publish(&p);
	server_stop(&p);
	o = pair_blkdev_options(&p);
	o.attach_timeout_ms = 50;
	unit_fails(cbd_blkdev_open(p.ct, &o, sizeof(o), &b), ETIMEDOUT);
	o.attach_timeout_ms = 0;
	unit_fails(cbd_blkdev_open(p.ct, &o, sizeof(o), &b), ETIMEDOUT);
	server_start(&p);
	pair_attach(&p); /* what those left is no obstacle */
	unit_ok(cbd_queue_flush(p.q));
	pair_close(&p);
}
END_TEST

/* A backend whose numbers do not fit together is refused. */
START_TEST(senseless_grant)
{
	struct pair_options o = way(_i);
	struct cbd_blkdev_options bo;
	struct cbd_blkdev *b;

	pair_format(&p, &o);
	pair_publish(&p);
	server_stop(&p);
	/* more than the data area of any channel has */
	p.backend->geometry.max_data = 4u << 20;
	unit_ok(cbd_line_put(p.bt,
			     cbd_backend_line(p.bt, 0, CBD_BACKEND_INFO, CBD_BACKEND_GEOMETRY),
			     &p.backend->geometry));
	server_start(&p);
	bo = pair_blkdev_options(&p);
	unit_fails(cbd_blkdev_open(p.ct, &bo, sizeof(bo), &b), EPROTO);
	pair_close(&p);
}
END_TEST

START_TEST(max_blkdevs)
{
	struct cbd_blkdev_options o;
	struct cbd_blkdev *b[3];
	struct cbd_backend_info info;

	pair_format(&p, &(struct pair_options){ .max_blkdevs = (unsigned)_i });
	pair_publish(&p);
	o = pair_blkdev_options(&p);
	unit_ok(cbd_blkdev_open(p.ct, &o, sizeof(o), &b[0]));
	if (_i == 2) {
		unit_ok(cbd_blkdev_open(p.ct, &o, sizeof(o), &b[1]));
		ck_assert_uint_ne(cbd_blkdev_id(b[0]), cbd_blkdev_id(b[1]));
		unit_wait(cbd_backend_get(p.ct, 0, &info, sizeof(info)) == 0 && info.blkdevs == 2);
	}
	unit_fails(cbd_blkdev_open(p.ct, &o, sizeof(o), &b[2]), EBUSY);
	cbd_blkdev_close(b[0]);
	unit_ok(cbd_blkdev_open(p.ct, &o, sizeof(o), &b[0]));
	cbd_blkdev_close(b[0]);
	if (_i == 2)
		cbd_blkdev_close(b[1]);
	unit_wait(cbd_backend_get(p.ct, 0, &info, sizeof(info)) == 0 && info.blkdevs == 0);
	pair_close(&p);
}
END_TEST

START_TEST(allow_hosts)
{
	struct cbd_blkdev_options o;
	struct cbd_blkdev *b;

	pair_format(&p, &(struct pair_options){ .allow_hosts = _i ? 1 : 2 });
	pair_publish(&p); /* on host 0, as the blkdev is */
	o = pair_blkdev_options(&p);
	if (_i) {
		unit_ok(cbd_blkdev_open(p.ct, &o, sizeof(o), &b));
		cbd_blkdev_close(b);
	} else {
		unit_fails(cbd_blkdev_open(p.ct, &o, sizeof(o), &b), EACCES);
	}
	pair_close(&p);
}
END_TEST

START_TEST(too_many_queues)
{
	struct cbd_blkdev_options o;
	struct cbd_blkdev *b, *c;

	pair_format(&p, &(struct pair_options){ .max_blkdevs = 3 });
	pair_publish(&p);
	o = pair_blkdev_options(&p);
	o.queues = 5;
	unit_fails(cbd_blkdev_open(p.ct, &o, sizeof(o), &b), EINVAL); /* of 4 channels */
	o.queues = 3;
	unit_ok(cbd_blkdev_open(p.ct, &o, sizeof(o), &b));
	o.queues = 2;
	unit_fails(cbd_blkdev_open(p.ct, &o, sizeof(o), &c), EBUSY); /* 1 is left */
	o.queues = 1;
	unit_ok(cbd_blkdev_open(p.ct, &o, sizeof(o), &c));
	cbd_blkdev_close(c);
	cbd_blkdev_close(b);
	o.depth = 17;
	unit_fails(cbd_blkdev_open(p.ct, &o, sizeof(o), &b), EINVAL);
	o.depth = 16;
	unit_ok(cbd_blkdev_open(p.ct, &o, sizeof(o), &b));
	cbd_blkdev_close(b);
	pair_close(&p);
}
END_TEST

START_TEST(attach_many_times)
{
	struct pair_options o = way(_i);
	struct cbd_channel_info info;
	unsigned char buf[4096];
	uint64_t epoch = 0;

	o.queues = 4;
	pair_format(&p, &o);
	pair_publish(&p);
	for (unsigned i = 0; i < 100; i++) {
		pair_attach(&p);
		ck_assert_uint_gt(pair_epoch(&p), epoch); /* never used twice */
		epoch = pair_epoch(&p);
		unit_ok(cbd_queue_read(cbd_blkdev_queue(p.blkdev, i % 4), buf, 4096, 0));
		ck_assert_mem_eq(buf, unit_disk_data(&p.disk), 4096);
		cbd_blkdev_close(p.blkdev);
		p.blkdev = NULL;
	}
	for (unsigned c = 0; c < 4; c++) {
		unit_ok(cbd_channel_get(p.ct, 0, c, &info, sizeof(info)));
		ck_assert_int_eq(info.state, CBD_GRANT_FREE);
	}
	pair_close(&p);
}
END_TEST

struct opening {
	struct cbd_blkdev *b;
	unsigned timeout_ms;
	int result;
	bool done;
};

static void *open_soon(void *arg)
{
	struct opening *o = arg;
	struct cbd_blkdev_options options = pair_blkdev_options(&p);

	options.attach_timeout_ms = o->timeout_ms;
	o->result = cbd_blkdev_open(p.ct, &options, sizeof(options), &o->b);
	cbd_flag_set(&o->done, true);
	return NULL;
}

/* A blkdev that has died with a write, *R, under way; the backend serves on. */
static struct cbd_blkdev *die_in_a_write(const struct pair_options *o, unsigned char *buf,
					 struct cbd_request **r)
{
	struct cbd_blkdev *dead;

	pair_open(&p, o);
	dead = p.blkdev;
	pair_submit(&p, CBD_OP_WRITE, buf, 0, 512, 1);
	pair_fetch_all(&p, r, 1);
	cbd_lock_release(&dead->claim.lock); /* all that its death changes */
	server_start(&p);
	return dead;
}

/* It lowered the incarnation in its slot, so the next owner gets its number. */
static void lower_incarnation(const struct cbd_blkdev *dead)
{
	struct cbd_state_line s;
	void *place = cbd_blkdev_info_at(p.ct, dead->slot, CBD_BLKDEV_STATE);

	unit_ok(cbd_line_get(p.ct, place, &s));
	s.incarnation--;
	unit_ok(cbd_line_put(p.ct, place, &s));
}

/* A dead blkdev of this host is found out when the next one comes, which gets
 * a place after what the dead one had under way was answered; until then its
 * opening fails, in the time that it was given.  So it is when the dead one has lied
 * about its incarnation: the answer to its request is not the next one's. */
START_TEST(dead_blkdev)
{
	struct pair_options o = stepping(_i / 2);
	struct opening opening = { .timeout_ms = 100 };
	uint64_t until = cbd_now_ns() + 5000000000ull * test_factor();
	unsigned char *buf = new_buffer(512, 5);
	struct cbd_request *r[1];
	struct cbd_blkdev *dead;
	pthread_t thread;
	bool in_time;

	dead = die_in_a_write(&o, buf, r);
	if (_i % 2)
		lower_incarnation(dead);
	ck_assert_int_eq(pthread_create(&thread, NULL, open_soon, &opening), 0);
	while (!cbd_flag_get(&opening.done) && cbd_now_ns() < until)
		cbd_sleep_us(1000);
	in_time = cbd_flag_get(&opening.done);
	server_stop(&p);
	pair_complete(&p, r[0]);
	server_start(&p);
	pthread_join(thread, NULL);
	ck_assert_int_eq(opening.result, -ETIMEDOUT);
	ck_assert(in_time);
	pair_attach(&p);
	server_start(&p);
	unit_ok(cbd_queue_read(p.q, buf, 512, 0));
	cbd_blkdev_close(dead); /* frees its memory, touches nothing */
	unit_ok(cbd_queue_read(p.q, buf, 512, 0));
	pair_close(&p);
	free(buf);
}
END_TEST

/* Without a time of its own the next one waits as long as the backend beats and
 * drains, though that takes longer than a suspicion. */
START_TEST(slow_drain)
{
	struct pair_options o = stepping(_i);
	struct opening opening = { .timeout_ms = 0 };
	unsigned char *buf = new_buffer(512, 5);
	struct cbd_request *r[1];
	struct cbd_blkdev *dead;
	pthread_t thread;
	uint64_t until;

	dead = die_in_a_write(&o, buf, r);
	until = cbd_now_ns() + 2 * cbd_suspect_ns(p.ct);
	ck_assert_int_eq(pthread_create(&thread, NULL, open_soon, &opening), 0);
	unit_wait(cbd_now_ns() > until);
	ck_assert(!cbd_flag_get(&opening.done));
	server_stop(&p);
	pair_complete(&p, r[0]);
	server_start(&p);
	pthread_join(thread, NULL);
	ck_assert_int_eq(opening.result, 0);
	p.blkdev = opening.b;
	cbd_blkdev_close(dead);
	pair_close(&p);
	free(buf);
}
END_TEST

static TCase *new_case(Suite *s, const char *name)
{
	TCase *t = tcase_create(name);

	tcase_set_timeout(t, UNIT_TIMEOUT);
	suite_add_tcase(s, t);
	return t;
}

static void data_cases(Suite *s)
{
	TCase *t = new_case(s, "data");

	tcase_add_loop_test(t, every_operation, 0, WAYS);
	tcase_add_loop_test(t, threads_on_one_queue, 0, 2 * WAYS);
	tcase_add_loop_test(t, threads_on_queues, 0, WAYS);
	tcase_add_loop_test(t, one_thread_on_queues, 0, WAYS);
	tcase_add_loop_test(t, large_requests, 0, WAYS);
	t = new_case(s, "async");
	tcase_add_loop_test(t, each_cookie_once, 0, WAYS);
	tcase_add_test(t, poll_timeouts);
	tcase_add_test(t, poll_before_submit);
	tcase_add_loop_test(t, close_drains, 0, WAYS);
	tcase_add_loop_test(t, close_beats, 0, WAYS);
	t = new_case(s, "refusals");
	tcase_add_loop_test(t, nonsense, 0, WAYS);
	tcase_add_loop_test(t, zero_length, 0, WAYS);
	tcase_add_loop_test(t, read_only, 0, 2);
	tcase_add_test(t, geometry);
	t = new_case(s, "results");
	tcase_add_loop_test(t, flags_arrive, 0, WAYS);
	tcase_add_loop_test(t, results_pass, 0, WAYS);
	tcase_add_test(t, first_error);
}

static void life_cases(Suite *s)
{
	TCase *t = new_case(s, "attach");

	tcase_add_test(t, no_backend);
	tcase_add_test(t, silent_backend);
	tcase_add_loop_test(t, senseless_grant, 0, WAYS);
	tcase_add_loop_test(t, max_blkdevs, 1, 3);
	tcase_add_loop_test(t, allow_hosts, 0, 2);
	tcase_add_test(t, too_many_queues);
	tcase_add_loop_test(t, attach_many_times, 1, WAYS);
	tcase_add_loop_test(t, dead_blkdev, 0, 2 * WAYS);
	tcase_add_loop_test(t, slow_drain, 0, WAYS);
}

int main(void)
{
	Suite *s = suite_create("blkdev");

	data_cases(s);
	life_cases(s);
	return unit_main(s);
}
