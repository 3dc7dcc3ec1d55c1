/* SPDX-License-Identifier: BSD-3-Clause */
/* test-batch.c - many requests in one call, and completions of many. */
#include <config.h>

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/uio.h>

#include "unit.h"

static struct pair p;

/* N reads of 512 bytes each, with cookies 0 to N - 1. */
static void reads(struct cbd_io *ios, unsigned n, unsigned char *buf)
{
	for (unsigned i = 0; i < n; i++)
		ios[i] = (struct cbd_io){ .op = CBD_OP_READ,
					  .buf = buf + 512 * i,
					  .offset = 512 * i,
					  .length = 512,
					  .cookie = (void *)(uintptr_t)i };
}

#define MANY 40 /* more than a ring of 16 takes */

START_TEST(many)
{
	struct pair_options o = way(_i);
	unsigned char buf[MANY * 512];
	struct cbd_io ios[MANY];
	struct cbd_completion c[MANY];
	uint64_t seen = 0;

	pair_open(&p, &o);
	reads(ios, MANY, buf);
	ck_assert_int_eq(cbd_queue_submit(p.q, ios, MANY), MANY);
	ck_assert_int_eq(cbd_queue_poll(p.q, c, MANY, MANY, 20000), MANY);
	for (unsigned i = 0; i < MANY; i++) {
		ck_assert_int_eq(c[i].result, 0);
		seen |= 1ull << (uintptr_t)c[i].cookie;
	}
	ck_assert_uint_eq(seen, (1ull << MANY) - 1);
	ck_assert_mem_eq(buf, unit_disk_data(&p.disk), sizeof(buf));
	pair_reap_none(&p);
	ck_assert_int_eq(cbd_queue_submit(p.q, ios, 0), 0);
	pair_close(&p);
}
END_TEST

/* The one that is refused, and what is behind it, is not taken; the message is its own. */
START_TEST(partly_taken)
{
	struct pair_options o = way(_i);
	unsigned char buf[5 * 512];
	struct cbd_io ios[5];
	struct cbd_completion c[5];

	pair_open(&p, &o);
	reads(ios, 5, buf);
	ios[3].offset = p.disk.size;
	ck_assert_int_eq(cbd_queue_submit(p.q, ios, 5), 3);
	ck_assert_ptr_nonnull(strstr(cbd_errmsg(), "beyond the end"));
	unit_fails(cbd_queue_submit(p.q, ios + 3, 2), EINVAL);
	ck_assert_int_eq(cbd_queue_submit(p.q, ios + 4, 1), 1);
	ck_assert_int_eq(cbd_queue_poll(p.q, c, 4, 5, 20000), 4);
	ios[0].reserved[0] = 1;
	unit_fails(cbd_queue_submit(p.q, ios, 1), EINVAL);
	pair_reap_none(&p);
	pair_close(&p);
}
END_TEST

/* Bounded memory: what is not reaped counts, whether it is done or not. */
START_TEST(limit)
{
	struct pair_options o = stepping(_i);
	struct cbd_io ios[MANY];
	struct cbd_completion c[MANY];
	unsigned char buf[MANY * 512];

	o.max_requests = 30;
	pair_open(&p, &o);
	reads(ios, MANY, buf);
	for (unsigned i = 20; i < 30; i++)
		ios[i].length = 0; /* done at once */
	ck_assert_int_eq(cbd_queue_submit(p.q, ios, MANY), 30);
	unit_fails(cbd_queue_submit(p.q, ios, 1), EAGAIN);
	ck_assert_ptr_nonnull(strstr(cbd_errmsg(), "not reaped"));
	ck_assert_int_eq(cbd_queue_poll(p.q, c, 0, 4, 0), 4);
	ck_assert_int_eq(cbd_queue_submit(p.q, ios, MANY), 4);
	/* a call that waits for its own request needs no such bound */
	unit_ok(cbd_queue_read(p.q, NULL, 0, 0));
	pair_close(&p);
}
END_TEST

START_TEST(least_and_most)
{
	struct pair_options o = stepping(_i);
	struct cbd_request *r[4];
	struct cbd_io ios[4];
	struct cbd_completion c[4];
	unsigned char buf[4 * 512];

	pair_open(&p, &o);
	reads(ios, 4, buf);
	unit_fails(cbd_queue_poll(p.q, c, 3, 2, 0), EINVAL);
	ck_assert_int_eq(cbd_queue_submit(p.q, ios, 4), 4);
	pair_fetch_all(&p, r, 4);
	ck_assert_int_eq(cbd_queue_poll(p.q, c, 0, 4, -1), 0);
	ck_assert_int_eq(cbd_queue_poll(p.q, c, 2, 4, 20), 0);
	pair_complete(&p, r[1]);
	ck_assert_int_eq(cbd_queue_poll(p.q, c, 2, 4, 20), 1); /* the time is over */
	ck_assert_uint_eq((uintptr_t)c[0].cookie, 1);
	pair_complete(&p, r[0]);
	pair_complete(&p, r[2]);
	pair_complete(&p, r[3]);
	ck_assert_int_eq(cbd_queue_poll(p.q, c, 2, 2, -1), 2);
	ck_assert_int_eq(cbd_queue_poll(p.q, c, 0, 4, 0), 1);
	pair_close(&p);
}
END_TEST

/* What an operation does not need may be anything. */
START_TEST(not_looked_at)
{
	struct pair_options o = way(_i);
	struct cbd_io io = { .op = CBD_OP_FLUSH,
			     .offset = UINT64_MAX - 5,
			     .length = UINT64_MAX,
			     .buf = (void *)16 };

	pair_open(&p, &o);
	unit_ok(cbd_queue_execute(p.q, &io));
	ck_assert_int_eq(cbd_queue_submit(p.q, &io, 1), 1);
	ck_assert_int_eq(pair_reap(&p).result, 0);
	ck_assert_uint_eq(unit_disk_ops(&p.disk, CBD_OP_FLUSH), 2);
	io.op = CBD_OP_DISCARD;
	io.offset = 512;
	io.length = 512;
	unit_ok(cbd_queue_execute(p.q, &io));
	io.op = CBD_OP_WRITE_ZEROES;
	unit_ok(cbd_queue_execute(p.q, &io));
	pair_close(&p);
}
END_TEST

/* ----------------------------------------------------------------- iovecs */

#define PIECES 7

/* BUF in pieces of odd sizes, some of them empty. */
static void cut(struct iovec *iov, unsigned char *buf, size_t size)
{
	static const size_t lengths[PIECES - 1] = { 1, 0, 4095, 70001, 0, 300000 };
	size_t at = 0;

	for (unsigned i = 0; i < PIECES; i++) {
		size_t n = i < PIECES - 1 ? lengths[i] : size - at;

		iov[i] = (struct iovec){ buf + at, n };
		at += n;
	}
}

/* More than one part, and pieces that end inside of parts and of lines. */
START_TEST(pieces)
{
	struct pair_options o = way(_i);
	const size_t size = 600001;
	unsigned char *out = new_buffer(size, 5), *in = new_buffer(size, 6);
	struct iovec iov[PIECES];
	struct cbd_io io = { .op = CBD_OP_WRITE, .offset = 777, .length = size };
	struct cbd_completion c;

	pair_open(&p, &o);
	cut(iov, out, size);
	io.iov = iov;
	io.iovcnt = PIECES;
	unit_ok(cbd_queue_execute(p.q, &io));
	ck_assert_mem_eq(unit_disk_data(&p.disk) + 777, out, size);
	cut(iov, in, size);
	io.op = CBD_OP_READ;
	ck_assert_int_eq(cbd_queue_submit(p.q, &io, 1), 1);
	ck_assert_int_eq(cbd_queue_poll(p.q, &c, 1, 1, 20000), 1);
	ck_assert_int_eq(c.result, 0);
	ck_assert_ptr_null(c.message);
	ck_assert_mem_eq(in, out, size);
	pair_close(&p);
	free(in);
	free(out);
}
END_TEST

START_TEST(bad_pieces)
{
	struct pair_options o = stepping(0);
	unsigned char buf[1024];
	struct iovec iov[2] = { { buf, 512 }, { buf + 512, 512 } };
	const struct cbd_io good = { .op = CBD_OP_READ, .length = 1024, .iov = iov, .iovcnt = 2 };
	struct cbd_io io = good;

	pair_open(&p, &o);
	io.length = 1023;
	unit_fails(cbd_queue_submit(p.q, &io, 1), EINVAL);
	io.length = 1025;
	unit_fails(cbd_queue_submit(p.q, &io, 1), EINVAL);
	io = good;
	io.buf = buf;
	unit_fails(cbd_queue_submit(p.q, &io, 1), EINVAL);
	io = good;
	io.iov = NULL;
	unit_fails(cbd_queue_submit(p.q, &io, 1), EINVAL);
	io = good;
	io.iovcnt = 0;
	unit_fails(cbd_queue_submit(p.q, &io, 1), EINVAL);
	io.iovcnt = IOV_MAX + 1;
	unit_fails(cbd_queue_submit(p.q, &io, 1), EINVAL);
	iov[1].iov_len = SIZE_MAX; /* 512 and this are less than 512 */
	unit_fails(cbd_queue_submit(p.q, &good, 1), EINVAL);
	pair_reap_none(&p);
	pair_close(&p);
}
END_TEST

/* --------------------------------------------------------------- messages */

static void tells(const char *text, const char *part)
{
	ck_assert_msg(text && strstr(text, part), "'%s' does not say '%s'", text, part);
}

START_TEST(messages)
{
	struct pair_options o = way(_i);
	struct cbd_completion c;
	char buf[512];

	pair_open(&p, &o);
	unit_disk_fail(&p.disk, CBD_OP_READ, EIO);
	unit_fails(cbd_queue_read(p.q, buf, 512, 1024), EIO);
	tells(cbd_errmsg(), "backend 0: read 512 bytes at 1024: the backend's disk: input/output");
	pair_submit(&p, CBD_OP_READ, buf, 0, 512, 1);
	c = pair_reap(&p);
	ck_assert_int_eq(c.result, -EIO);
	tells(c.message, "the backend's disk: input/output");
	unit_disk_fail(&p.disk, CBD_OP_WRITE, ENOSPC);
	unit_fails(cbd_queue_write(p.q, buf, 512, 0, 0), ENOSPC);
	tells(cbd_errmsg(), "no space left");
	/* gone for good: everything ends with it */
	server_stop(&p);
	cbd_backend_close(p.backend);
	p.backend = NULL;
	unit_ok(cbd_clear(p.ct, CBD_OBJECT_BACKEND, 0, NULL, 0));
	unit_fails(cbd_queue_flush(p.q), ESHUTDOWN);
	tells(cbd_errmsg(), "backend 0: flush: the administrator has cleared the backend");
	pair_close(&p);
}
END_TEST

START_TEST(timed_out)
{
	struct pair_options o = way(_i);
	struct cbd_completion c;
	char buf[512];

	o.timeout_s = 1;
	pair_open(&p, &o);
	server_stop(&p);
	pair_submit(&p, CBD_OP_READ, buf, 0, 512, 1);
	c = pair_reap(&p);
	ck_assert_int_eq(c.result, -EIO);
	tells(c.message, "time-out");
	server_start(&p);
	pair_close(&p);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("batch");
	TCase *t = tcase_create("batch");

	tcase_set_timeout(t, UNIT_TIMEOUT);
	suite_add_tcase(s, t);
	tcase_add_loop_test(t, many, 0, WAYS);
	tcase_add_loop_test(t, partly_taken, 0, WAYS);
	tcase_add_loop_test(t, limit, 0, WAYS);
	tcase_add_loop_test(t, least_and_most, 0, WAYS);
	tcase_add_loop_test(t, not_looked_at, 0, WAYS);
	tcase_add_loop_test(t, pieces, 0, WAYS);
	tcase_add_test(t, bad_pieces);
	tcase_add_loop_test(t, messages, 0, WAYS);
	tcase_add_loop_test(t, timed_out, 0, WAYS);
	return unit_main(s);
}
