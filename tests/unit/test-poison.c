/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test-poison.c - one page of shared memory is poisoned, as one side sees it:
 * the request that needs it ends with EIO, the rest goes on, nobody dies
 * (rule 12).  A page of an empty file gives the same SIGBUS.
 */
#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "unit.h"

static struct pair p;

static void poison(void *place)
{
	uintptr_t page = (uintptr_t)place & ~(uintptr_t)(CBD_PAGE_SIZE - 1);
	int fd = memfd_create("poison", MFD_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	ck_assert_ptr_eq(mmap((void *)page, CBD_PAGE_SIZE, PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_FIXED, fd, 0),
			 (void *)page);
	close(fd);
}

enum region { DATA, SE_RING, CE_RING, GRANT_PAGE, LEAVE_PAGE, REGIONS };

/* Of the first queue's channel, in the mapping of T. */
static void *place(struct cbd_transport *t, enum region region)
{
	struct cbd_channel ch;

	cbd_channel_init(&ch, t, 0, p.q->ch.id);
	switch (region) {
	case DATA:
		return ch.data;
	case SE_RING:
		return ch.se;
	case CE_RING:
		return ch.ce;
	case GRANT_PAGE:
		return cbd_channel_backend_line(&ch, CBD_CHANNEL_GRANT);
	default:
		return cbd_channel_blkdev_line(&ch, CBD_CHANNEL_LEAVE);
	}
}

static int run(struct cbd_queue *q, enum cbd_op op, void *buf)
{
	if (op == CBD_OP_READ)
		return cbd_queue_read(q, buf, 8192, 4096);
	if (op == CBD_OP_WRITE)
		return cbd_queue_write(q, buf, 8192, 4096, 0);
	return cbd_queue_flush(q);
}

/* All the data area is used in turn, so every request meets the page once. */
static bool fails_at_last(enum cbd_op op)
{
	unsigned char buf[8192] = { 0 };

	for (unsigned i = 0; i < 200; i++) {
		int r = run(p.q, op, buf);

		ck_assert_msg(r == 0 || r == -EIO, "%d: %s", r, cbd_errmsg());
		if (r == -EIO)
			return true;
	}
	return false;
}

static void open_two_queues(int i)
{
	struct pair_options o = way(i % WAYS);

	o.queues = 2;
	o.handlers = 2;
	o.heartbeat_ms = 20;
	o.dead_after = 200;
	pair_open(&p, &o);
}

START_TEST(rings_and_data)
{
	static const enum region regions[] = { DATA, SE_RING, CE_RING };
	enum region region = regions[_i / WAYS % 3];
	bool backend = _i / WAYS / 3;
	unsigned char buf[8192];

	open_two_queues(_i);
	poison(place(backend ? p.bt : p.ct, region));
	if (region == DATA) {
		/* a flush needs no data */
		ck_assert(fails_at_last(CBD_OP_WRITE) || fails_at_last(CBD_OP_READ));
		unit_ok(run(p.q, CBD_OP_FLUSH, NULL));
	} else {
		ck_assert(fails_at_last(CBD_OP_FLUSH));
	}
	/* the other channel is whole */
	unit_ok(run(cbd_blkdev_queue(p.blkdev, 1), CBD_OP_READ, buf));
	ck_assert_mem_eq(buf, p.disk.data + 4096, 8192);
	unit_ok(run(cbd_blkdev_queue(p.blkdev, 1), CBD_OP_WRITE, buf));
	pair_close(&p);
}
END_TEST

/* The blkdev cannot read its grant, or say that it leaves. */
START_TEST(pages_of_the_blkdev)
{
	unsigned char buf[8192];

	open_two_queues(_i);
	poison(place(p.ct, _i / WAYS ? LEAVE_PAGE : GRANT_PAGE));
	if (_i / WAYS == 0)
		ck_assert(fails_at_last(CBD_OP_READ));
	else
		fails_at_last(CBD_OP_READ);
	unit_ok(run(cbd_blkdev_queue(p.blkdev, 1), CBD_OP_READ, buf));
	pair_close(&p);
}
END_TEST

/* The backend cannot keep what it has granted: it ends, and says so. */
START_TEST(pages_of_the_backend)
{
	open_two_queues(_i);
	poison(place(p.bt, GRANT_PAGE));
	unit_wait(cbd_flag_get(&p.server_ended));
	server_stop(&p);
	ck_assert_int_eq(p.server_error, -EIO);
	pair_close(&p);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("poison");
	TCase *t = tcase_create("one page");

	tcase_set_timeout(t, UNIT_TIMEOUT);
	if (!UNIT_TSAN) { /* as for other faults: see unit.h */
		tcase_add_loop_test(t, rings_and_data, 0, WAYS * 3 * 2);
		tcase_add_loop_test(t, pages_of_the_blkdev, 0, WAYS * 2);
		tcase_add_loop_test(t, pages_of_the_backend, 0, WAYS);
	}
	suite_add_tcase(s, t);
	return unit_main(s);
}
