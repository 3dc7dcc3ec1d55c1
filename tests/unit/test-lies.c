/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test-lies.c - peers that lie: a blkdev that sends nonsense, a backend that
 * answers what was never asked; and the channel's states then.
 */
#include <config.h>

#include <errno.h>
#include <time.h>

#include "drive.h"

static const enum cbd_coherence kinds[] = { CBD_COHERENCE_HARDWARE, CBD_COHERENCE_SOFTWARE };

START_TEST(more_than_depth)
{
	struct cbd_channel liar;
	struct cbd_request *r[8];
	uint64_t epoch;
	unsigned n;

	drive_open(kinds[_i], 4, 2);
	liar = p.q->ch;
	epoch = liar.epoch;
	for (uint64_t at = 0; at < 4; at++)
		unit_ok(cbd_channel_send_se(&liar, &(struct cbd_se){ .position = at,
								     .tid = (uint32_t)at,
								     .op = CBD_OP_READ,
								     .length = 512 }));
	/* a look may bring one at a time */
	for (n = 0; n < 2 || !drive_broken();)
		n += pair_fetch(&p, r + n, 8 - n);
	ck_assert_uint_eq(n, 2);
	ck_assert_uint_eq(pair_fetch(&p, r + n, 8), 0);
	ck_assert_uint_eq(p.backend->channels[liar.id].grant.state, CBD_GRANT_LEAVING);
	for (unsigned i = 0; i < n; i++)
		pair_complete(&p, r[i]);
	/* the blkdev was asked to leave, and leaves */
	drive_sane();
	ck_assert_uint_ne(p.q->ch.epoch, epoch);
	ck_assert_uint_eq(p.q->counted.now.epochs.left, 1);
	pair_close(&p);
}
END_TEST

#define DISK (1u << 20)
#define BIG UINT64_MAX

static const struct nonsense {
	struct cbd_se se;
	uint32_t result;
} nonsenses[] = {
	{ { .op = 0, .length = 512 }, CBD_RESULT_NOTSUP },
	{ { .op = 7, .length = 512 }, CBD_RESULT_NOTSUP },
	{ { .op = 0xffff, .length = 512 }, CBD_RESULT_NOTSUP },
	{ { .op = 0x101, .length = 512 }, CBD_RESULT_NOTSUP },
	{ { .op = CBD_OP_READ, .length = 512, .flags = 8 }, CBD_RESULT_INVAL },
	{ { .op = CBD_OP_FLUSH, .flags = 0x8000 }, CBD_RESULT_INVAL },
	{ { .op = CBD_OP_READ, .length = 0 }, CBD_RESULT_INVAL },
	{ { .op = CBD_OP_WRITE, .length = 0 }, CBD_RESULT_INVAL },
	{ { .op = CBD_OP_DISCARD, .length = 0 }, CBD_RESULT_INVAL },
	{ { .op = CBD_OP_WRITE_ZEROES, .length = 0 }, CBD_RESULT_INVAL },
	{ { .op = CBD_OP_READ, .length = UINT32_MAX }, CBD_RESULT_INVAL },
	{ { .op = CBD_OP_WRITE, .length = UINT32_MAX }, CBD_RESULT_INVAL },
	{ { .op = CBD_OP_WRITE, .length = 0x80000000u }, CBD_RESULT_INVAL },
	{ { .op = CBD_OP_READ, .length = 512u << 10 }, CBD_RESULT_INVAL }, /* > max_data */
	{ { .op = CBD_OP_DISCARD, .length = UINT32_MAX }, CBD_RESULT_INVAL },
	{ { .op = CBD_OP_READ, .length = 512, .offset = DISK }, CBD_RESULT_INVAL },
	{ { .op = CBD_OP_READ, .length = 513, .offset = DISK - 512 }, CBD_RESULT_INVAL },
	{ { .op = CBD_OP_WRITE, .length = 512, .offset = BIG }, CBD_RESULT_INVAL },
	{ { .op = CBD_OP_WRITE, .length = 512, .offset = BIG - 511 }, CBD_RESULT_INVAL },
	{ { .op = CBD_OP_DISCARD, .length = 4096, .offset = BIG - 4095 }, CBD_RESULT_INVAL },
	{ { .op = CBD_OP_WRITE_ZEROES, .length = 1, .offset = DISK }, CBD_RESULT_INVAL },
	{ { .op = CBD_OP_READ, .length = 512, .data_offset = 512 }, CBD_RESULT_INVAL },
	{ { .op = CBD_OP_WRITE, .length = 512, .data_offset = 4095 }, CBD_RESULT_INVAL },
	{ { .op = CBD_OP_READ, .length = 512, .data_offset = 1u << 20 }, CBD_RESULT_INVAL },
	{ { .op = CBD_OP_WRITE, .length = 512, .data_offset = BIG - 4095 }, CBD_RESULT_INVAL },
	{ { .op = CBD_OP_READ, .length = 512, .data_offset = 1ull << 63 }, CBD_RESULT_INVAL },
	{ { .op = CBD_OP_BLOCK_STATUS, .length = 512 }, CBD_RESULT_INVAL }, /* without room */
	{ { .op = CBD_OP_BLOCK_STATUS, .length = 512, .room = 7 }, CBD_RESULT_INVAL },
	{ { .op = CBD_OP_BLOCK_STATUS, .length = 512, .room = 12 }, CBD_RESULT_INVAL },
	{ { .op = CBD_OP_BLOCK_STATUS, .length = 512, .room = 4104 }, CBD_RESULT_INVAL },
	{ { .op = CBD_OP_BLOCK_STATUS, .length = 512, .room = 0xfffffff8 }, CBD_RESULT_INVAL },
	{ { .op = CBD_OP_BLOCK_STATUS, .length = 0, .room = 8 }, CBD_RESULT_INVAL },
	{ { .op = CBD_OP_BLOCK_STATUS, .length = DISK + 1, .room = 8 }, CBD_RESULT_INVAL },
	{ { .op = CBD_OP_BLOCK_STATUS, .length = 0x80000001, .room = 8 }, CBD_RESULT_INVAL },
	{ { .op = CBD_OP_BLOCK_STATUS, .length = 512, .offset = BIG, .room = 8 },
	  CBD_RESULT_INVAL },
	{ { .op = CBD_OP_BLOCK_STATUS, .length = 512, .room = 8, .data_offset = 8 },
	  CBD_RESULT_INVAL },
	{ { .op = CBD_OP_BLOCK_STATUS, .length = 512, .room = 8, .data_offset = 1u << 20 },
	  CBD_RESULT_INVAL },
	{ { .op = CBD_OP_BLOCK_STATUS, .length = 512, .room = 8, .data_offset = BIG - 4095 },
	  CBD_RESULT_INVAL },
	{ { .op = CBD_OP_BLOCK_STATUS,
	    .length = 512,
	    .room = 8,
	    .data_offset = (1u << 20) - 4 * 4096 },
	  CBD_RESULT_INVAL },
	/* the last page of the data area, and one byte more than it has */
	{ { .op = CBD_OP_READ, .length = 4097, .data_offset = (1u << 20) - 4 * 4096 - 4096 },
	  CBD_RESULT_INVAL },
};

#define N_NONSENSES (sizeof(nonsenses) / sizeof(nonsenses[0]))

START_TEST(nonsense)
{
	struct cbd_channel liar;
	struct cbd_request *r[4];
	struct cbd_ce ce;

	drive_open(kinds[_i], 16, 16);
	liar = p.q->ch;
	ck_assert_uint_eq(liar.data_size, (1u << 20) - 4 * 4096);
	for (size_t i = 0; i < N_NONSENSES; i++) {
		struct cbd_se se = nonsenses[i].se;

		se.position = i;
		se.tid = (uint32_t)i;
		unit_ok(cbd_channel_send_se(&liar, &se));
		ck_assert_msg(pair_fetch(&p, r, 4) == 0, "%zu: accepted", i);
		ck_assert_msg(drive_receive_ce(&liar, i, &ce) == 1, "%zu: no answer", i);
		ck_assert_msg(ce.result == nonsenses[i].result, "%zu: %u", i, ce.result);
		ck_assert_uint_eq(ce.tid, i);
		ck_assert_uint_eq(ce.length, 0);
	}
	ck_assert(!drive_broken()); /* nonsense is answered; the ring is sound */
	/* so that it was the nonsense: the same entry without any */
	unit_ok(cbd_channel_send_se(&liar,
				    &(struct cbd_se){ .position = N_NONSENSES,
						      .op = CBD_OP_READ,
						      .length = 4096,
						      .offset = DISK - 4096,
						      .data_offset = (1u << 20) - 5 * 4096 }));
	ck_assert_uint_eq(pair_fetch(&p, r, 4), 1);
	pair_complete(&p, r[0]);
	ck_assert_int_eq(drive_receive_ce(&liar, N_NONSENSES, &ce), 1);
	ck_assert_uint_eq(ce.result, CBD_RESULT_OK);
	pair_close(&p);
}
END_TEST

START_TEST(writes_to_read_only)
{
	static const enum cbd_op ops[] = { CBD_OP_WRITE, CBD_OP_DISCARD, CBD_OP_WRITE_ZEROES };
	struct cbd_request *r[4];
	struct cbd_channel liar;
	struct cbd_ce ce;

	pair_open(&p, &(struct pair_options){
			      .kind = kinds[_i], .disk_read_only = true, .stepping = true });
	liar = p.q->ch;
	for (unsigned i = 0; i < 3; i++) {
		unit_ok(cbd_channel_send_se(
			&liar, &(struct cbd_se){ .position = i, .op = ops[i], .length = 512 }));
		ck_assert_uint_eq(pair_fetch(&p, r, 4), 0);
		ck_assert_int_eq(drive_receive_ce(&liar, i, &ce), 1);
		ck_assert_uint_eq(ce.result, CBD_RESULT_PERM);
	}
	pair_close(&p);
}
END_TEST

/* ------------------------------------------------------------------- leave */

/* The backend answers what was never asked. */
static void send_bogus(uint32_t tid)
{
	struct cbd_hchannel *hc = drive_channel();

	ck_assert_uint_eq(hc->count, p.q->cursors.ce_next);
	unit_ok(cbd_channel_send_ce(&hc->ch, &(struct cbd_ce){ .count = hc->count++, .tid = tid }));
}

static struct cbd_leave_line leave_line(void)
{
	struct cbd_leave_line l;

	unit_ok(cbd_line_get(p.ct, cbd_channel_blkdev_line(&p.q->ch, CBD_CHANNEL_LEAVE), &l));
	return l;
}

START_TEST(unknown_tid)
{
	struct cbd_request *r[4];
	uint64_t epoch;
	uint32_t tid;

	drive_open(kinds[_i], 4, 4);
	epoch = p.q->ch.epoch;
	unit_fill(buf[0], 8192, 77);
	pair_submit(&p, CBD_OP_WRITE, buf[0], 0, 8192, 1);
	pair_submit(&p, CBD_OP_READ, buf[1], 65536, 8192, 2);
	pair_fetch_all(&p, r, 2);
	tid = p.q->parts.all[0].se.tid;
	/* the right tag of another life, and tags that do not exist */
	send_bogus(_i ? tid ^ 0x10000 : 0xffff);
	pair_reap_none(&p);
	ck_assert_uint_eq(p.q->counted.now.epochs.left, 1);
	ck_assert_uint_eq(leave_line().epoch, epoch);
	ck_assert_uint_eq(leave_line().reason, CBD_LEAVE_UNKNOWN_TID);
	/* no new epoch before what was taken is answered */
	for (int i = 0; i < 20; i++)
		ck_assert_uint_eq(pair_fetch(&p, r + 2, 2), 0);
	pair_reap_none(&p);
	ck_assert_uint_eq(p.q->ch.epoch, epoch);
	pair_complete(&p, r[0]);
	pair_complete(&p, r[1]);
	/* both are executed again, in order, and then they are answered */
	unit_wait(drive_reap_none() && pair_fetch(&p, r, 1) == 1);
	ck_assert_uint_gt(p.q->ch.epoch, epoch);
	ck_assert_int_eq(r[0]->op, CBD_OP_WRITE);
	pair_fetch_all(&p, r + 1, 1);
	ck_assert_int_eq(r[1]->op, CBD_OP_READ);
	pair_complete(&p, r[1]);
	pair_complete(&p, r[0]);
	ck_assert_uint_eq((uintptr_t)pair_reap(&p).cookie, 2);
	ck_assert_uint_eq((uintptr_t)pair_reap(&p).cookie, 1);
	ck_assert_mem_eq(unit_disk_data(&p.disk), buf[0], 8192);
	ck_assert_mem_eq(unit_disk_data(&p.disk) + 65536, buf[1], 8192);
	drive_sane();
	pair_close(&p);
}
END_TEST

static uint64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

/* The entry for which an epoch is left stays in the ring, perhaps for long:
 * whoever waits does not take it for something new all the time. */
START_TEST(unknown_tid_is_slept_through)
{
	struct cbd_request *r[1];
	struct cbd_completion c;
	uint64_t cpu;

	drive_open(kinds[_i], 4, 4);
	pair_submit(&p, CBD_OP_READ, buf[0], 0, 512, 1);
	pair_fetch_all(&p, r, 1);
	send_bogus(0xffff);
	pair_reap_none(&p);
	cpu = cpu_ns();
	ck_assert_int_eq(cbd_queue_poll(p.q, &c, 1, 1, 400), 0);
	ck_assert_uint_lt(cpu_ns() - cpu, 200000000);
	pair_complete(&p, r[0]);
	pair_close(&p);
}
END_TEST

/* An answer twice: the second one finds its tag free. */
START_TEST(answered_twice)
{
	struct cbd_request *r[4];
	uint32_t tid;

	drive_open(kinds[_i], 4, 4);
	pair_submit(&p, CBD_OP_READ, buf[0], 0, 512, 1);
	tid = p.q->parts.all[0].se.tid;
	pair_fetch_all(&p, r, 1);
	pair_complete(&p, r[0]);
	ck_assert_int_eq(pair_reap(&p).result, 0);
	send_bogus(tid);
	pair_submit(&p, CBD_OP_READ, buf[0], 0, 512, 2);
	ck_assert_uint_ne(p.q->parts.all[0].se.tid, tid);
	pair_reap_none(&p);
	ck_assert_uint_eq(p.q->counted.now.epochs.left, 1);
	drive_ok(2);
	drive_sane();
	pair_close(&p);
}
END_TEST

/* The same while its tag is free and another request is in flight. */
START_TEST(answered_again)
{
	struct cbd_request *r[4];
	uint32_t tid;

	drive_open(kinds[_i], 4, 4);
	pair_submit(&p, CBD_OP_READ, buf[0], 0, 512, 1);
	tid = p.q->parts.all[0].se.tid;
	pair_submit(&p, CBD_OP_READ, buf[1], 4096, 512, 2);
	pair_fetch_all(&p, r, 2);
	pair_complete(&p, r[0]);
	ck_assert_uint_eq((uintptr_t)pair_reap(&p).cookie, 1);
	ck_assert_int_eq(p.q->parts.all[0].state, CBD_PART_FREE);
	send_bogus(tid);
	pair_reap_none(&p);
	ck_assert_uint_eq(p.q->counted.now.epochs.left, 1);
	pair_complete(&p, r[1]);
	drive_ok(2);
	drive_sane();
	pair_close(&p);
}
END_TEST

/* A few times in a row, then EIO: never a hang. */
START_TEST(keeps_failing)
{
	struct cbd_completion c;
	struct cbd_request *r[4];

	drive_open(kinds[_i], 4, 4);
	pair_submit(&p, CBD_OP_WRITE, buf[0], 0, 512, 1);
	pair_fetch_all(&p, r, 1);
	for (unsigned leave = 1; leave <= CBD_MAX_LEAVES; leave++) {
		send_bogus(0xffff);
		pair_reap_none(&p);
		ck_assert_uint_eq(p.q->counted.now.epochs.left, leave);
		pair_complete(&p, r[0]);
		/* drained, granted anew and published again */
		unit_wait(drive_reap_none() && pair_fetch(&p, r, 1) == 1);
	}
	send_bogus(0xffff);
	c = pair_reap(&p);
	ck_assert_int_eq(c.result, -EIO);
	pair_complete(&p, r[0]);
	unit_fails(cbd_queue_read(p.q, buf[0], 512, 0), EIO);
	pair_close(&p);
}
END_TEST

START_TEST(damaged_ce)
{
	struct cbd_request *r[4];

	drive_open(kinds[_i], 4, 4);
	unit_fill(buf[0], 512, 5);
	pair_submit(&p, CBD_OP_WRITE, buf[0], 0, 512, 1);
	pair_fetch_all(&p, r, 1);
	pair_complete(&p, r[0]);
	p.q->ch.ce[0].result ^= 1;
	unit_wait(drive_reap_none() && p.q->counted.now.epochs.left == 1);
	ck_assert_uint_eq(leave_line().reason, CBD_LEAVE_BAD_ENTRY);
	drive_ok(1);
	drive_sane();
	pair_close(&p);
}
END_TEST

START_TEST(damaged_se)
{
	drive_open(kinds[_i], 4, 4);
	unit_fill(buf[0], 512, 5);
	pair_submit(&p, CBD_OP_WRITE, buf[0], 0, 512, 1);
	p.q->ch.se[0].length += 512;
	unit_wait(drive_fetch_none() && drive_broken());
	drive_ok(1);
	ck_assert_uint_eq(p.q->counted.now.epochs.left, 1);
	ck_assert_mem_eq(unit_disk_data(&p.disk), buf[0], 512);
	drive_sane();
	pair_close(&p);
}
END_TEST

/* A channel of the backend through its states, with a request in flight where
 * that holds it back. */
START_TEST(channel_states)
{
	struct cbd_hchannel *hc;
	struct cbd_request *r[1];

	drive_open(kinds[_i], 4, 4);
	hc = drive_channel();
	ck_assert_uint_eq(cbd_hchannel_pool(hc), CBD_POOL_SERVED);
	ck_assert_uint_eq(cbd_hchannel_work(hc), CBD_WORK_FETCHING);
	pair_submit(&p, CBD_OP_FLUSH, NULL, 0, 0, 1);
	pair_fetch_all(&p, r, 1);
	pair_submit(&p, CBD_OP_READ, buf[0], 0, 512, 2);
	p.q->ch.se[1].length += 512;
	unit_wait(drive_fetch_none() && drive_broken());
	unit_ok(cbd_backend_tick(p.backend));
	ck_assert_uint_eq(cbd_hchannel_pool(hc), CBD_POOL_ASKED);
	/* the blkdev sees the grant and leaves */
	unit_wait(drive_reap_none() && drive_fetch_none() &&
		  cbd_hchannel_pool(hc) == CBD_POOL_STOPPING);
	ck_assert_uint_eq(cbd_hchannel_work(hc), CBD_WORK_BROKEN);
	pair_complete(&p, r[0]);
	ck_assert_uint_eq(cbd_handler_fetch(cbd_backend_handler(p.backend, 0), r, 1), 0);
	ck_assert_uint_eq(cbd_hchannel_work(hc), CBD_WORK_RETIRED);
	unit_ok(cbd_backend_tick(p.backend));
	ck_assert_uint_eq(cbd_hchannel_pool(hc), CBD_POOL_SERVED);
	ck_assert_uint_eq(cbd_hchannel_work(hc), CBD_WORK_FETCHING);
	drive_ok(1);
	drive_ok(2);
	server_start(&p);
	cbd_blkdev_close(p.blkdev);
	p.blkdev = NULL;
	server_stop(&p);
	ck_assert_uint_eq(cbd_hchannel_pool(hc), CBD_POOL_FREE);
	ck_assert_uint_eq(cbd_hchannel_work(hc), CBD_WORK_NONE);
	pair_close(&p);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("lies");
	TCase *t = tcase_create("lies");

	tcase_set_timeout(t, UNIT_TIMEOUT);
	tcase_add_loop_test(t, more_than_depth, 0, 2);
	tcase_add_loop_test(t, nonsense, 0, 2);
	tcase_add_loop_test(t, writes_to_read_only, 0, 2);
	tcase_add_loop_test(t, unknown_tid, 0, 2);
	tcase_add_loop_test(t, unknown_tid_is_slept_through, 0, 2);
	tcase_add_loop_test(t, answered_twice, 0, 2);
	tcase_add_loop_test(t, answered_again, 0, 2);
	tcase_add_loop_test(t, keeps_failing, 0, 2);
	tcase_add_loop_test(t, damaged_ce, 0, 2);
	tcase_add_loop_test(t, damaged_se, 0, 2);
	tcase_add_loop_test(t, channel_states, 0, 2);
	suite_add_tcase(s, t);
	return unit_main(s);
}
