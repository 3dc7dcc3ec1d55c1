/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test-writes.c - overlapping writes of one blkdev take effect in the order of their
 * submission (rule 13), on whatever queues, over a crash and after a time-out.
 */
#include <config.h>

#include <errno.h>

#include "unit.h"

static struct pair p;
static unsigned char old[8192], newer[8192], other[512], back[8192];

static struct cbd_queue *queue(unsigned i)
{
	return cbd_blkdev_queue(p.blkdev, i);
}

static void submit(unsigned q, enum cbd_op op, void *buf, uint64_t offset, uint64_t length)
{
	struct cbd_io io = {
		.op = op, .buf = buf, .offset = offset, .length = length, .cookie = buf
	};

	ck_assert_int_eq(cbd_queue_submit(queue(q), &io, 1), 1);
}

static struct cbd_completion reap(unsigned q)
{
	struct cbd_completion c;

	ck_assert_int_eq(cbd_queue_poll(queue(q), &c, 1, 1,
					UNIT_WAIT_S * 1000 * (int)test_factor()),
			 1);
	return c;
}

static void open_queues(struct pair_options o, unsigned queues)
{
	o.queues = queues;
	pair_open(&p, &o);
	unit_fill(old, sizeof(old), 1);
	unit_fill(newer, sizeof(newer), 2);
	unit_fill(other, sizeof(other), 3);
}

static void open_pair(struct pair_options o)
{
	open_queues(o, 2);
}

/* Q is the queue of the newer write: the same one, or another. */
static void one_waits(unsigned q)
{
	struct cbd_request *r[3];

	submit(0, CBD_OP_WRITE, old, 0, 8192);
	submit(q, CBD_OP_WRITE, newer, 4096, 4096);
	submit(q, CBD_OP_WRITE, other, 8192, 512); /* overlaps none */
	pair_fetch_all(&p, r, 2);
	ck_assert_uint_eq(r[0]->offset + r[1]->offset, 8192); /* the first and the third */
	pair_complete(&p, r[r[0]->offset == 0]);
	ck_assert_int_eq(reap(q).result, 0);
	ck_assert_uint_eq(pair_fetch(&p, r + 2, 1), 0);
	pair_complete(&p, r[r[0]->offset != 0]);
	ck_assert_int_eq(reap(0).result, 0);
	pair_fetch_all(&p, r, 1);
	ck_assert_uint_eq(r[0]->offset, 4096);
	pair_complete(&p, r[0]);
	ck_assert_int_eq(reap(q).result, 0);
	ck_assert_mem_eq(unit_disk_data(&p.disk), old, 4096);
	ck_assert_mem_eq(unit_disk_data(&p.disk) + 4096, newer, 4096);
}

START_TEST(newer_waits)
{
	open_pair(stepping(_i % WAYS));
	one_waits(_i / WAYS);
	one_waits(_i / WAYS); /* nothing is left of the first round */
	pair_close(&p);
}
END_TEST

/* Zeroes and discards are writes too; reads and flushes wait for none. */
START_TEST(all_that_write)
{
	static const enum cbd_op ops[] = { CBD_OP_WRITE, CBD_OP_WRITE_ZEROES, CBD_OP_DISCARD };
	struct cbd_request *r[3];

	open_pair(stepping(0));
	submit(0, ops[_i / 3], old, 0, 4096);
	submit(1, ops[_i % 3], newer, 0, 4096);
	submit(1, CBD_OP_READ, back, 0, 4096);
	submit(1, CBD_OP_FLUSH, NULL, 0, 0);
	pair_fetch_all(&p, r, 3);
	for (unsigned i = 0; i < 3; i++)
		pair_complete(&p, r[i]);
	ck_assert_int_eq(reap(0).result, 0);
	pair_fetch_all(&p, r, 1);
	ck_assert_int_eq(r[0]->op, ops[_i % 3]);
	pair_complete(&p, r[0]);
	for (unsigned i = 0; i < 3; i++)
		ck_assert_int_eq(reap(1).result, 0);
	pair_close(&p);
}
END_TEST

/* The older one is executed again by the next backend before the newer one is sent. */
START_TEST(over_a_crash)
{
	struct cbd_request *r[2];

	open_pair(stepping(_i));
	submit(0, CBD_OP_WRITE, old, 0, 4096);
	submit(1, CBD_OP_WRITE, newer, 0, 4096);
	pair_fetch_all(&p, r, 1);
	pair_crash(&p);
	submit(1, CBD_OP_READ, back, 65536, 512); /* the queue looks at its grant */
	cbd_queue_poll(queue(0), &(struct cbd_completion){ .result = 0 }, 0, 1, 0);
	server_start(&p);
	ck_assert_int_eq(reap(0).result, 0);
	ck_assert_int_eq(reap(1).result, 0);
	ck_assert_int_eq(reap(1).result, 0);
	server_stop(&p);
	ck_assert_mem_eq(unit_disk_data(&p.disk), newer, 4096);
	pair_close(&p);
}
END_TEST

/* The older one may still be executed: the newer one must not be.  On another
 * queue, or on the only one. */
START_TEST(after_a_timeout)
{
	struct pair_options o = stepping(0);
	struct cbd_request *r[1];
	unsigned q = !_i;

	o.timeout_s = 1;
	open_queues(o, q + 1);
	unit_ok(cbd_blkdev_start(p.blkdev));
	submit(0, CBD_OP_WRITE, old, 0, 4096);
	submit(q, CBD_OP_WRITE, newer, 0, 4096);
	pair_fetch_all(&p, r, 1);
	ck_assert_int_eq(reap(0).result, -EIO);
	ck_assert_int_eq(reap(q).result, -EIO);
	pair_complete(&p, r[0]);
	server_start(&p);
	unit_wait(cbd_queue_write(queue(q), newer, 4096, 0, 0) == 0);
	pair_close(&p);
}
END_TEST

/* Threads write one block, on two queues or on one; the last word is that of the last to be
 * asked. */
struct writer {
	unsigned queue, rounds;
};

static void *write_rounds(void *arg)
{
	const struct writer *w = arg;
	unsigned char block[4096];

	for (unsigned i = 0; i < w->rounds; i++) {
		memset(block, (int)(w->queue * 100 + i % 100), sizeof(block));
		if (cbd_queue_write(queue(w->queue), block, sizeof(block), 0, 0) < 0)
			return arg;
	}
	return NULL;
}

START_TEST(some_threads)
{
	struct pair_options o = way(_i % WAYS);
	unsigned queues = _i / WAYS ? 1 : 2;
	struct writer w[4];
	pthread_t thread[4];
	void *failed;

	open_queues(o, queues);
	for (unsigned i = 0; i < 4; i++) {
		w[i] = (struct writer){ i % queues, unit_share(1000) };
		ck_assert_int_eq(pthread_create(&thread[i], NULL, write_rounds, &w[i]), 0);
	}
	for (unsigned i = 0; i < 4; i++) {
		pthread_join(thread[i], &failed);
		ck_assert_ptr_null(failed);
	}
	ck_assert_ptr_null(p.blkdev->writes.newest);
	/* one whole block of one of them */
	unit_ok(cbd_queue_read(queue(0), back, 4096, 0));
	for (unsigned i = 1; i < 4096; i++)
		ck_assert_int_eq(back[i], back[0]);
	pair_close(&p);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("writes");
	TCase *t = tcase_create("writes");

	tcase_set_timeout(t, UNIT_TIMEOUT);
	tcase_add_loop_test(t, newer_waits, 0, 2 * WAYS);
	tcase_add_loop_test(t, all_that_write, 0, 9);
	tcase_add_loop_test(t, over_a_crash, 0, WAYS);
	tcase_add_loop_test(t, after_a_timeout, 0, 2);
	tcase_add_loop_test(t, some_threads, 0, 2 * WAYS);
	suite_add_tcase(s, t);
	return unit_main(s);
}
