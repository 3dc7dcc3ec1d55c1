/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test-payload.c - payload that is damaged on its way, late, or without CRC.
 */
#include <config.h>

#include <errno.h>

#include "drive.h"

static const enum cbd_coherence kinds[] = { CBD_COHERENCE_HARDWARE, CBD_COHERENCE_SOFTWARE };

static unsigned char want[8192];

static void corrupt_payload(void)
{
	p.q->ch.data[p.q->parts.all[0].se.data_offset + 4000] ^= 0x10;
}

/* The handler gives the payload some milliseconds, then answers BADCRC. */
static void wait_badcrc(void)
{
	uint64_t count = drive_channel()->count;

	unit_wait(drive_fetch_none() && drive_channel()->count == count + 1);
}

START_TEST(bad_write_payload)
{
	drive_open(kinds[_i], 4, 1);
	unit_fill(buf[0], 8192, 8);
	pair_submit(&p, CBD_OP_WRITE, buf[0], 0, 8192, 1);
	corrupt_payload();
	wait_badcrc();
	pair_reap_none(&p); /* copied and submitted again */
	ck_assert_uint_eq(p.q->counted.now.events.resends, 1);
	drive_ok(1);
	ck_assert_mem_eq(unit_disk_data(&p.disk), buf[0], 8192);
	ck_assert_uint_eq(p.disk.ops[CBD_OP_WRITE], 1);
	drive_sane();
	pair_close(&p);
}
END_TEST

/* Late is not bad: a payload that becomes visible is taken. */
START_TEST(late_write_payload)
{
	struct cbd_request *r[1];

	drive_open(kinds[_i], 4, 1);
	unit_fill(buf[0], 8192, 8);
	pair_submit(&p, CBD_OP_WRITE, buf[0], 0, 8192, 1);
	corrupt_payload();
	ck_assert_uint_eq(pair_fetch(&p, r, 1), 0);
	drive_channel()->retries->retry_until_ns += 20000000000ull;
	ck_assert_uint_eq(pair_fetch(&p, r, 1), 0);
	corrupt_payload(); /* back again */
	pair_fetch_all(&p, r, 1);
	pair_complete(&p, r[0]);
	ck_assert_int_eq(pair_reap(&p).result, 0);
	ck_assert_uint_eq(p.q->counted.now.events.resends, 0);
	ck_assert_mem_eq(unit_disk_data(&p.disk), buf[0], 8192);
	pair_close(&p);
}
END_TEST

START_TEST(persistent_bad_write)
{
	struct cbd_completion c;

	drive_open(kinds[_i], 4, 1);
	memcpy(want, unit_disk_data(&p.disk), 8192);
	pair_submit(&p, CBD_OP_WRITE, buf[0], 0, 8192, 1);
	for (unsigned i = 0; i <= CBD_MAX_RESENDS; i++) {
		corrupt_payload();
		wait_badcrc();
		if (i < CBD_MAX_RESENDS)
			pair_reap_none(&p);
	}
	c = pair_reap(&p);
	ck_assert_int_eq(c.result, -EIO);
	ck_assert_uint_eq(p.q->counted.now.events.bad_payloads, 4);
	ck_assert_uint_eq(p.disk.ops[CBD_OP_WRITE], 0);
	ck_assert_mem_eq(unit_disk_data(&p.disk), want, 8192);
	drive_sane();
	pair_close(&p);
}
END_TEST

/* Serve one read and corrupt what it brings. */
static void serve_corrupted(void)
{
	struct cbd_request *r[1];

	pair_fetch_all(&p, r, 1);
	pair_complete(&p, r[0]);
	corrupt_payload();
}

START_TEST(bad_read_payload)
{
	drive_open(kinds[_i], 4, 1);
	pair_submit(&p, CBD_OP_READ, buf[0], 0, 8192, 1);
	serve_corrupted();
	unit_wait(drive_reap_none() && p.q->counted.now.events.resends == 1);
	drive_ok(1);
	ck_assert_mem_eq(unit_disk_data(&p.disk), buf[0], 8192);
	drive_sane();
	pair_close(&p);
}
END_TEST

/* Serve one read of a disk that is memory; a store of the channel's former owner comes
 * between the copy and the answer. */
static void serve_overwritten(void)
{
	struct cbd_request *r[1];

	pair_fetch_all(&p, r, 1);
	unit_ok(cbd_request_store(r[0], unit_disk_data(&p.disk) + r[0]->offset));
	corrupt_payload();
	cbd_handler_complete(cbd_backend_handler(p.backend, 0), r[0], 0);
}

/* The CRC is of what the disk held, not of what lies in the extent. */
START_TEST(overwritten_read_payload)
{
	drive_open(kinds[_i], 4, 1);
	pair_submit(&p, CBD_OP_READ, buf[0], 4096, 20480, 1);
	serve_overwritten();
	unit_wait(drive_reap_none() && p.q->counted.now.events.resends == 1);
	drive_ok(1);
	ck_assert_mem_eq(unit_disk_data(&p.disk) + 4096, buf[0], 20480);
	drive_sane();
	pair_close(&p);
}
END_TEST

START_TEST(persistent_bad_read)
{
	struct cbd_completion c;

	drive_open(kinds[_i], 4, 1);
	pair_submit(&p, CBD_OP_READ, buf[0], 0, 8192, 1);
	for (unsigned i = 1; i <= CBD_MAX_RESENDS; i++) {
		serve_corrupted();
		unit_wait(drive_reap_none() && p.q->counted.now.events.resends == i);
	}
	serve_corrupted();
	c = pair_reap(&p);
	ck_assert_int_eq(c.result, -EIO);
	ck_assert_uint_eq(p.q->counted.now.events.bad_payloads, 4);
	drive_sane();
	pair_close(&p);
}
END_TEST

/* One read that ends with EIO, its payload bad each time. */
static void bad_read(void)
{
	uint64_t resends = p.q->counted.now.events.resends;

	pair_submit(&p, CBD_OP_READ, buf[0], 0, 8192, 1);
	for (unsigned i = 1; i <= CBD_MAX_RESENDS; i++) {
		serve_corrupted();
		unit_wait(drive_reap_none() && p.q->counted.now.events.resends == resends + i);
	}
	serve_corrupted();
	ck_assert_int_eq(pair_reap(&p).result, -EIO);
}

/* A channel whose payloads are bad again and again is left, and used again in the
 * next epoch. */
START_TEST(bad_rate)
{
	struct cbd_leave_line *leave;
	struct cbd_request *r[1];
	uint64_t epoch;

	drive_open(kinds[_i], 4, 1);
	epoch = p.q->ch.epoch;
	leave = cbd_channel_blkdev_line(&p.q->ch, CBD_CHANNEL_LEAVE);
	bad_read();
	ck_assert_uint_eq(p.q->counted.now.epochs.left, 0);
	for (unsigned i = 0; i < 50 && p.q->counted.now.epochs.left == 0; i++)
		bad_read();
	ck_assert_uint_eq(p.q->counted.now.epochs.left, 1);
	ck_assert_uint_eq(leave->epoch, epoch);
	ck_assert_uint_eq(leave->reason, CBD_LEAVE_BAD_RATE);
	/* the backend drains and grants anew before it is asked for more */
	unit_wait(pair_fetch(&p, r, 1) == 0 &&
		  p.backend->channels[p.q->ch.id].grant.epoch != epoch);
	pair_submit(&p, CBD_OP_READ, buf[0], 0, 8192, 1);
	drive_ok(1);
	ck_assert_uint_ne(p.q->ch.epoch, epoch);
	ck_assert_mem_eq(unit_disk_data(&p.disk), buf[0], 8192);
	pair_close(&p);
}
END_TEST

/* Without CRC, in hardware mode, nothing is checked: the disk gets what lies
 * in shared memory, from there. */
START_TEST(without_crc)
{
	struct cbd_request *r[1];

	pair_open(&p, &(struct pair_options){ .stepping = true });
	unit_fill(buf[0], 8192, 8);
	pair_submit(&p, CBD_OP_WRITE, buf[0], 0, 8192, 1);
	corrupt_payload();
	pair_fetch_all(&p, r, 1);
	ck_assert(r[0]->shared);
	ck_assert_ptr_eq(r[0]->buf, drive_channel()->ch.data + p.q->parts.all[0].se.data_offset);
	pair_complete(&p, r[0]);
	ck_assert_int_eq(pair_reap(&p).result, 0);
	ck_assert_mem_ne(unit_disk_data(&p.disk), buf[0], 8192);
	pair_close(&p);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("payload");
	TCase *t = tcase_create("payload");

	tcase_set_timeout(t, UNIT_TIMEOUT);
	tcase_add_loop_test(t, bad_write_payload, 0, 2);
	tcase_add_loop_test(t, late_write_payload, 0, 2);
	tcase_add_loop_test(t, persistent_bad_write, 0, 2);
	tcase_add_loop_test(t, bad_read_payload, 0, 2);
	tcase_add_loop_test(t, overwritten_read_payload, 0, 2);
	tcase_add_loop_test(t, persistent_bad_read, 0, 2);
	tcase_add_loop_test(t, bad_rate, 0, 2);
	tcase_add_test(t, without_crc);
	suite_add_tcase(s, t);
	return unit_main(s);
}
