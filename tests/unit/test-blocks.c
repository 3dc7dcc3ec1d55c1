/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test-blocks.c - BLOCK_STATUS (rule 15): what an engine tells comes to the client; peers
 * that do not know the operation; and what is not believed of an answer.
 */
#include <config.h>

#include <errno.h>

#include "blkdev/blocks.h"
#include "drive.h"
#include "ring/copy.h"

#define PAGE 4096u
#define HOLE (CBD_BLOCK_HOLE | CBD_BLOCK_ZERO)
#define DISK (1u << 20)

static struct cbd_block_status got[600];

static void check_block(unsigned i, uint64_t length, unsigned flags)
{
	ck_assert_msg(got[i].length == length && got[i].flags == flags,
		      "block %u: %llu bytes, flags %u; not %llu, %u", i,
		      (unsigned long long)got[i].length, got[i].flags, (unsigned long long)length,
		      flags);
}

static int status(uint64_t offset, uint64_t length, unsigned n)
{
	memset(got, 0xee, sizeof(got));
	return cbd_queue_block_status(p.q, length, offset, got, n);
}

static void zero(unsigned page, unsigned n)
{
	unit_ok(cbd_queue_write_zeroes(p.q, n * PAGE, page * PAGE, 0));
}

/* ----------------------------------------------------------------- answers */

/* Whole, cut at any byte, one at a time, empty. */
START_TEST(answers)
{
	struct pair_options o = way(_i);
	struct cbd_blkdev_geometry g;

	pair_open(&p, &o);
	cbd_blkdev_geometry(p.blkdev, &g, sizeof(g));
	ck_assert(g.block_status);
	zero(2, 3);
	zero(10, 1);
	ck_assert_int_eq(status(0, DISK, 600), 5);
	check_block(0, 2 * PAGE, 0);
	check_block(1, 3 * PAGE, HOLE);
	check_block(2, 5 * PAGE, 0);
	check_block(3, PAGE, HOLE);
	check_block(4, DISK - 11 * PAGE, 0);
	ck_assert_uint_eq(got[0].reserved, 0);
	/* nothing behind the answer is touched */
	ck_assert_uint_eq(got[5].flags, 0xeeeeeeee);
	ck_assert_int_eq(status(2 * PAGE + 1, 3 * PAGE + 510, 600), 2);
	check_block(0, 3 * PAGE - 1, HOLE);
	check_block(1, 511, 0);
	ck_assert_int_eq(status(0, DISK, 1), 1);
	check_block(0, 2 * PAGE, 0);
	ck_assert_int_eq(status(2 * PAGE, DISK - 2 * PAGE, 2), 2);
	check_block(1, 5 * PAGE, 0);
	ck_assert_int_eq(status(DISK - 1, 1, 1), 1);
	check_block(0, 1, 0);
	ck_assert_int_eq(status(DISK, 0, 1), 0);
	/* counted is what was told of, not what was asked about */
	ck_assert_uint_eq(p.q->counted.now.ops[CBD_OP_BLOCK_STATUS].bytes,
			  DISK + 3 * PAGE + 510 + 2 * PAGE + 8 * PAGE + 1);
	/* what is written is data at once */
	unit_fill(buf[0], 8192, 3);
	unit_ok(cbd_queue_write(p.q, buf[0], 8192, 3 * PAGE, 0));
	ck_assert_int_eq(status(2 * PAGE, 3 * PAGE, 600), 2);
	check_block(0, PAGE, HOLE);
	check_block(1, 2 * PAGE, 0);
	pair_close(&p);
}
END_TEST

/* An answer has room for 512, and a hundred requests for one after the other. */
START_TEST(many)
{
	struct pair_options o = way(_i);
	unsigned found = 0;

	o.disk_size = 5u << 20;
	pair_open(&p, &o);
	pthread_mutex_lock(&p.disk.lock);
	for (unsigned page = 0; page < 1280; page += 2)
		memset(p.disk.data + page * PAGE, 0, PAGE);
	pthread_mutex_unlock(&p.disk.lock);
	ck_assert_int_eq(status(0, o.disk_size, 600), CBD_MAX_RUNS);
	for (unsigned i = 0; i < CBD_MAX_RUNS; i++)
		check_block(i, PAGE, i % 2 ? 0 : HOLE);
	ck_assert_int_eq(status(CBD_MAX_RUNS * PAGE, 100 * PAGE, 600), 100);
	for (uint64_t at = 0; at < o.disk_size; found++) {
		ck_assert_int_eq(status(at, o.disk_size - at, 1), 1);
		check_block(0, PAGE, found % 2 ? 0 : HOLE);
		at += got[0].length;
	}
	ck_assert_uint_eq(found, 1280);
	pair_close(&p);
}
END_TEST

/* Beside reads and writes, by submission and completion. */
START_TEST(asynchronous)
{
	struct pair_options o = stepping(_i);
	struct cbd_request *r[2];
	struct cbd_completion c;
	struct cbd_io io = { .op = CBD_OP_BLOCK_STATUS,
			     .offset = 100,
			     .length = 1000,
			     .blocks = got,
			     .n_blocks = 7,
			     .cookie = &io };

	pair_open(&p, &o);
	/* a write that overlaps is in flight: a status waits for it no more than a read */
	pair_submit(&p, CBD_OP_WRITE, buf[0], 0, 512, 1);
	ck_assert_int_eq(cbd_queue_submit(p.q, &io, 1), 1);
	pair_fetch_all(&p, r, 2);
	ck_assert_int_eq(r[1]->op, CBD_OP_BLOCK_STATUS);
	ck_assert_uint_eq(r[1]->offset, 100);
	ck_assert_uint_eq(r[1]->length, 1000);
	ck_assert_ptr_null(r[1]->buf);
	ck_assert_uint_eq(cbd_request_add_blocks(r[1], 10, HOLE), 990);
	ck_assert_uint_eq(cbd_request_add_blocks(r[0], 10, HOLE), 0); /* a write has none */
	cbd_handler_complete(cbd_backend_handler(p.backend, 0), r[1], 0);
	c = pair_reap(&p);
	ck_assert_ptr_eq(c.cookie, &io);
	ck_assert_int_eq(c.result, 1);
	check_block(0, 10, HOLE);
	pair_complete(&p, r[0]);
	ck_assert_uint_eq((uintptr_t)pair_reap(&p).cookie, 1);
	pair_close(&p);
}
END_TEST

static struct cbd_request *submit_and_fetch(uint64_t offset, uint64_t length, unsigned n)
{
	struct cbd_io io = { .op = CBD_OP_BLOCK_STATUS,
			     .offset = offset,
			     .length = length,
			     .blocks = got,
			     .n_blocks = n };
	struct cbd_request *r;

	memset(got, 0xee, sizeof(got));
	ck_assert_int_eq(cbd_queue_submit(p.q, &io, 1), 1);
	pair_fetch_all(&p, &r, 1);
	return r;
}

static void complete(struct cbd_request *r, int result)
{
	cbd_handler_complete(cbd_backend_handler(p.backend, 0), r, result);
}

/* What an engine says: neighbours become one, and what is too much is left out. */
START_TEST(told_by_the_engine)
{
	struct pair_options o = stepping(_i);
	struct cbd_request *r;

	pair_open(&p, &o);
	r = submit_and_fetch(0, 1000, 2);
	ck_assert_uint_eq(cbd_request_add_blocks(r, 100, 0), 900);
	ck_assert_uint_eq(cbd_request_add_blocks(r, 100, 0), 800);
	ck_assert_uint_eq(cbd_request_add_blocks(r, 0, CBD_BLOCK_ZERO), 800);
	ck_assert_uint_eq(cbd_request_add_blocks(r, 50, CBD_BLOCK_ZERO), 750);
	ck_assert_uint_eq(cbd_request_add_blocks(r, 50, CBD_BLOCK_ZERO), 700);
	ck_assert_uint_eq(cbd_request_add_blocks(r, 50, HOLE), 0); /* no room */
	/* what is said now is of bytes behind those */
	ck_assert_uint_eq(cbd_request_add_blocks(r, 50, CBD_BLOCK_ZERO), 0);
	complete(r, 0);
	ck_assert_int_eq(pair_reap(&p).result, 2);
	check_block(0, 200, 0);
	check_block(1, 100, CBD_BLOCK_ZERO);

	/* behind the range; a flag of later times; an extent that is used again */
	r = submit_and_fetch(DISK - 1000, 1000, 600);
	ck_assert_uint_eq(cbd_request_add_blocks(r, 10, HOLE | 8), 990);
	ck_assert_uint_eq(cbd_request_add_blocks(r, UINT64_MAX, CBD_BLOCK_HOLE), 0);
	ck_assert_uint_eq(cbd_request_add_blocks(r, 1, 0), 0);
	complete(r, 0);
	ck_assert_int_eq(pair_reap(&p).result, 2);
	check_block(0, 10, 0);
	check_block(1, 990, CBD_BLOCK_HOLE);

	/* nothing at all; it cannot; it fails */
	complete(submit_and_fetch(7, 1000, 600), 0);
	ck_assert_int_eq(pair_reap(&p).result, 1);
	check_block(0, 1000, 0);
	complete(submit_and_fetch(7, 1001, 600), -EOPNOTSUPP);
	ck_assert_int_eq(pair_reap(&p).result, 1);
	check_block(0, 1001, 0);
	complete(submit_and_fetch(7, 1002, 600), -EIO);
	ck_assert_int_eq(pair_reap(&p).result, -EIO);
	pair_close(&p);
}
END_TEST

START_TEST(refused)
{
	struct pair_options o = way(_i);
	struct cbd_io io = { .op = CBD_OP_BLOCK_STATUS, .length = 512, .blocks = got };

	pair_open(&p, &o);
	unit_fails(status(0, DISK + 1, 1), EINVAL);
	unit_fails(status(DISK, 1, 1), EINVAL);
	unit_fails(status(UINT64_MAX, 1, 1), EINVAL);
	unit_fails(cbd_queue_execute(p.q, &io), EINVAL);
	io.n_blocks = 1;
	io.blocks = NULL;
	unit_fails(cbd_queue_submit(p.q, &io, 1), EINVAL);
	io.blocks = got;
	io.reserved1 = 1;
	unit_fails(cbd_queue_execute(p.q, &io), EINVAL);
	ck_assert_uint_eq(unit_disk_ops(&p.disk, CBD_OP_BLOCK_STATUS), 0);
	pair_close(&p);
}
END_TEST

/* It reads: also where writes are refused. */
START_TEST(read_only)
{
	struct pair_options o = way(_i);

	o.disk_read_only = o.read_only = true;
	pair_open(&p, &o);
	ck_assert_int_eq(status(0, DISK, 600), 1);
	pair_close(&p);
}
END_TEST

/* ---------------------------------------------- peers that do not know of it */

static void knows_nothing(void)
{
	struct cbd_blkdev_geometry g;
	unsigned asked = unit_disk_ops(&p.disk, CBD_OP_BLOCK_STATUS);

	ck_assert_int_eq(status(5, DISK - 5, 600), 1);
	check_block(0, DISK - 5, 0);
	cbd_blkdev_geometry(p.blkdev, &g, sizeof(g));
	ck_assert(!g.block_status);
	ck_assert_uint_eq(unit_disk_ops(&p.disk, CBD_OP_BLOCK_STATUS), asked);
}

/* One whose disk cannot tell, or of a version before this one, offers nothing; the next
 * one in its place does, and the one after that does not again. */
START_TEST(old_backend)
{
	struct pair_options o = way(_i);

	pair_format(&p, &o);
	p.geometry.block_status = false;
	pair_publish(&p);
	pair_attach(&p);
	memset(p.disk.data, 0, PAGE);
	ck_assert_uint_eq(p.backend->access.features & CBD_FEATURE_BLOCK_STATUS, 0);
	knows_nothing();
	p.geometry.block_status = true;
	pair_crash(&p);
	server_start(&p);
	unit_ok(cbd_queue_flush(p.q)); /* it has followed */
	ck_assert_int_eq(status(0, DISK, 600), 2);
	check_block(0, PAGE, HOLE);
	p.geometry.block_status = false;
	pair_crash(&p);
	server_start(&p);
	unit_ok(cbd_queue_flush(p.q));
	knows_nothing();
	pair_close(&p);
}
END_TEST

/* A blkdev of a version before this one names the features that it knows. */
START_TEST(old_blkdev)
{
	struct pair_options o = way(_i);
	struct cbd_channel liar;
	struct cbd_request *r[1];
	struct cbd_ce ce;

	o.stepping = true;
	pair_open(&p, &o);
	pthread_mutex_lock(&p.blkdev->lines);
	p.blkdev->request.features = CBD_FEATURE_DATA_CRC;
	unit_ok(cbd_line_put(p.ct, cbd_blkdev_info(p.blkdev, CBD_BLKDEV_REQUEST),
			     &p.blkdev->request));
	pthread_mutex_unlock(&p.blkdev->lines);
	pair_crash(&p);
	pair_submit(&p, CBD_OP_FLUSH, NULL, 0, 0, 1);
	drive_ok(1);
	ck_assert_uint_eq(p.backend->channels[p.q->ch.id].grant.features & CBD_FEATURE_BLOCK_STATUS,
			  0);
	ck_assert_uint_eq(p.backend->replies[p.blkdev->slot].features & CBD_FEATURE_BLOCK_STATUS,
			  0);
	ck_assert_uint_eq(p.backend->access.features & CBD_FEATURE_BLOCK_STATUS,
			  CBD_FEATURE_BLOCK_STATUS);
	/* and the operation is unknown there */
	liar = p.q->ch;
	unit_ok(cbd_channel_send_se(&liar, &(struct cbd_se){ .position = p.q->cursors.se_next,
							     .op = CBD_SE_OP_BLOCK_STATUS,
							     .length = 512,
							     .room = 8 }));
	unit_wait(pair_fetch(&p, r, 1) == 0 &&
		  drive_receive_ce(&liar, p.q->cursors.ce_next, &ce) == 1);
	ck_assert_uint_eq(ce.result, CBD_RESULT_NOTSUP);
	p.q->cursors.se_next++;
	p.q->cursors.ce_next++;
	pair_close(&p);
}
END_TEST

/* In flight when the backend dies: the next one executes it again, or, where it does not
 * know the operation, the blkdev answers. */
START_TEST(over_a_crash)
{
	struct pair_options o = stepping(_i);
	struct cbd_request *r;
	struct cbd_completion c;

	pair_open(&p, &o);
	r = submit_and_fetch(0, DISK, 600);
	cbd_request_add_blocks(r, PAGE, HOLE); /* and dies before it has completed it */
	pair_crash(&p);
	c = drive_until();
	ck_assert_int_eq(c.result, 1);
	check_block(0, DISK, 0);
	ck_assert_uint_eq(unit_disk_ops(&p.disk, CBD_OP_BLOCK_STATUS), 1);

	/* answered, and not read before the next one is there: then that one counts */
	complete(submit_and_fetch(0, DISK, 600), 0);
	memset(p.disk.data, 0, PAGE);
	pair_crash(&p);
	c = drive_until();
	ck_assert_int_eq(c.result, 2);
	check_block(0, PAGE, HOLE);

	submit_and_fetch(0, DISK, 600);
	p.geometry.block_status = false;
	pair_crash(&p);
	c = drive_until();
	ck_assert_int_eq(c.result, 1);
	check_block(0, DISK, 0);
	ck_assert_uint_eq(unit_disk_ops(&p.disk, CBD_OP_BLOCK_STATUS), 2);
	pair_close(&p);
}
END_TEST

/* -------------------------------------------------------------------- lies */

/* All of an answer that makes no sense is data; what makes sense before that counts. */
static const struct lie {
	uint32_t bytes; /* as the CE says */
	struct cbd_run run[4];
	unsigned n;
	struct cbd_block_status is[4];
} lies[] = {
	/* none at all, and lengths of the payload that cannot be */
	{ 0, { { 0 } }, 1, { { 10000, 0, 0 } } },
	{ 7, { { 10000, HOLE } }, 1, { { 10000, 0, 0 } } },
	{ 12, { { 10000, HOLE } }, 1, { { 10000, 0, 0 } } },
	{ 40, { { 10000, HOLE } }, 1, { { 10000, 0, 0 } } }, /* more than there was room for */
	{ 4096, { { 10000, HOLE } }, 1, { { 10000, 0, 0 } } },
	{ UINT32_MAX, { { 10000, HOLE } }, 1, { { 10000, 0, 0 } } },
	{ 0xfffffff8, { { 10000, HOLE } }, 1, { { 10000, 0, 0 } } },
	/* empty runs */
	{ 8, { { 0, HOLE } }, 1, { { 10000, 0, 0 } } },
	{ 16, { { 100, HOLE }, { 0, 0 } }, 1, { { 100, HOLE, 0 } } },
	{ 24, { { 100, HOLE }, { 0, HOLE }, { 100, HOLE } }, 1, { { 100, HOLE, 0 } } },
	/* more than was asked about */
	{ 8, { { 10001, HOLE } }, 1, { { 10000, 0, 0 } } },
	{ 8, { { UINT32_MAX, HOLE } }, 1, { { 10000, 0, 0 } } },
	{ 16, { { 9999, HOLE }, { 2, CBD_RUN_ZERO } }, 2, { { 9999, HOLE, 0 }, { 1, 0, 0 } } },
	{ 16, { { 1, HOLE }, { UINT32_MAX, CBD_RUN_ZERO } }, 2, { { 1, HOLE, 0 }, { 9999, 0, 0 } } },
	{ 24,
	  { { 10000, CBD_RUN_ZERO }, { 10000, HOLE }, { 1, HOLE } },
	  1,
	  { { 10000, CBD_BLOCK_ZERO, 0 } } },
	/* flags that nobody knows */
	{ 8, { { 10000, 4 } }, 1, { { 10000, 0, 0 } } },
	{ 16, { { 100, HOLE | 4 }, { 9900, HOLE } }, 2, { { 100, 0, 0 }, { 9900, HOLE, 0 } } },
	{ 16, { { 100, 0x80000002 }, { 9900, 0 } }, 1, { { 10000, 0, 0 } } },
	/* neighbours, and an answer that ends early: no lies */
	{ 32,
	  { { 1, HOLE }, { 2, HOLE }, { 3, 0 }, { 4, CBD_RUN_HOLE } },
	  3,
	  { { 3, HOLE, 0 }, { 3, 0, 0 }, { 4, CBD_BLOCK_HOLE, 0 } } },
};

#define N_LIES (sizeof(lies) / sizeof(lies[0]))

static void send_lie(const struct lie *l)
{
	struct cbd_hchannel *hc = drive_channel();
	const struct cbd_se *se = &p.q->parts.all[0].se;
	struct cbd_run run[512] = { { 0 } };
	uint32_t crc = hc->ch.ce_seed;

	memcpy(run, l->run, sizeof(l->run));
	cbd_copy_in(&p.bt->mem, hc->ch.data + se->data_offset, (char *)run,
		    l->bytes <= sizeof(run) ? l->bytes : sizeof(run), &crc);
	cbd_mem_store_done(&p.bt->mem);
	unit_ok(cbd_channel_send_ce(&hc->ch, &(struct cbd_ce){ .count = hc->count++,
							       .tid = se->tid,
							       .length = l->bytes,
							       .data_crc = crc }));
}

START_TEST(lies_of_a_backend)
{
	struct pair_options o = stepping(_i);

	o.depth = 1;
	pair_open(&p, &o);
	for (size_t i = 0; i < N_LIES; i++) {
		const struct lie *l = &lies[i];
		struct cbd_request *r = submit_and_fetch(i * 512, 10000, 4);
		struct cbd_completion c;

		send_lie(l);
		c = pair_reap(&p);
		ck_assert_msg(c.result == (int)l->n, "lie %zu: %d blocks", i, c.result);
		for (unsigned k = 0; k < l->n; k++)
			check_block(k, l->is[k].length, l->is[k].flags);
		ck_assert_uint_eq(got[l->n].flags, 0xeeeeeeee);
		/* the backend forgets the request that it has answered */
		cbd_hrequest_put((struct cbd_hrequest *)(void *)r);
	}
	drive_sane();
	pair_close(&p);
}
END_TEST

/* With payload CRC an answer that was changed on its way is asked for again. */
START_TEST(damaged_answer)
{
	struct cbd_request *r;

	drive_open(CBD_COHERENCE_SOFTWARE, 4, 1);
	r = submit_and_fetch(0, DISK, 4);
	cbd_request_add_blocks(r, DISK, 0);
	complete(r, 0);
	p.q->ch.data[p.q->parts.all[0].se.data_offset + 4] ^= HOLE;
	unit_wait(drive_reap_none() && p.q->counted.now.events.resends == 1);
	ck_assert_int_eq(drive_until().result, 1);
	check_block(0, DISK, 0);
	drive_sane();
	pair_close(&p);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("blocks");
	TCase *t = tcase_create("blocks");

	tcase_set_timeout(t, UNIT_TIMEOUT);
	suite_add_tcase(s, t);
	tcase_add_loop_test(t, answers, 0, WAYS);
	tcase_add_loop_test(t, many, 0, WAYS);
	tcase_add_loop_test(t, asynchronous, 0, WAYS);
	tcase_add_loop_test(t, told_by_the_engine, 0, WAYS);
	tcase_add_loop_test(t, refused, 0, WAYS);
	tcase_add_loop_test(t, read_only, 0, WAYS);
	tcase_add_loop_test(t, old_backend, 0, WAYS);
	tcase_add_loop_test(t, old_blkdev, 0, WAYS);
	tcase_add_loop_test(t, over_a_crash, 0, WAYS);
	tcase_add_loop_test(t, lies_of_a_backend, 0, WAYS);
	tcase_add_test(t, damaged_answer);
	return unit_main(s);
}
