/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test-recovery.c - a backend that drains, dies, comes back, lost data or is
 * another disk; time-outs; memory that is gone; and what races with copies.
 */
#include <config.h>

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include "unit.h"

static struct pair p;

/* ------------------------------------------------------------------- drain */

static bool tick_until_drained(void)
{
	unit_ok(cbd_backend_tick(p.backend));
	return cbd_backend_drained(p.backend);
}

/* A loss is seen with the new grant, before or while the flush is sent. */
static bool flush_fails(void)
{
	return cbd_queue_flush(p.q) == -EIO;
}

START_TEST(drained_in_order)
{
	struct pair_options o = stepping(_i);
	struct cbd_request *r[4];
	unsigned char buf[4][512];
	struct cbd_blkdev_options bo;
	struct cbd_blkdev *b;

	pair_open(&p, &o);
	for (unsigned i = 0; i < 3; i++)
		pair_submit(&p, CBD_OP_READ, buf[i], i * 512, 512, i);
	pair_fetch_all(&p, r, 2);
	pair_complete(&p, r[0]);
	cbd_backend_drain(p.backend);
	ck_assert_uint_eq(pair_fetch(&p, r + 2, 1), 0); /* fetches no more */
	ck_assert(!cbd_backend_drained(p.backend));
	pair_complete(&p, r[1]);
	unit_wait(pair_fetch(&p, r + 2, 1) == 0 && tick_until_drained());
	/* what it did is answered, the rest waits for the next one */
	ck_assert_int_eq(pair_reap(&p).result, 0);
	ck_assert_int_eq(pair_reap(&p).result, 0);
	ck_assert_mem_eq(buf[1], unit_disk_data(&p.disk) + 512, 512);
	pair_reap_none(&p);
	bo = pair_blkdev_options(&p);
	unit_fails(cbd_blkdev_open(p.ct, &bo, sizeof(bo), &b), ENOENT);
	pair_submit(&p, CBD_OP_WRITE, buf[3], 4096, 512, 3);
	pair_submit(&p, CBD_OP_FLUSH, NULL, 0, 0, 4);
	/* everything is synced: another boot has lost nothing */
	p.geometry.verifier += 0x10000;
	pair_crash(&p);
	server_start(&p);
	for (unsigned i = 0; i < 3; i++)
		ck_assert_int_eq(pair_reap(&p).result, 0);
	ck_assert_uint_eq(p.blkdev->losses, 0);
	ck_assert_mem_eq(buf[2], unit_disk_data(&p.disk) + 1024, 512);
	/* but the boot after that has, unless it stops in order too */
	ck_assert_int_eq(cbd_queue_write(p.q, buf[3], 512, 8192, 0), 0);
	p.geometry.verifier += 0x10000;
	pair_crash(&p);
	server_start(&p);
	unit_wait(flush_fails());
	pair_close(&p);
}
END_TEST

/* ------------------------------------------------------------ crash, return */

static bool attached_again(uint64_t epoch)
{
	struct cbd_completion c;
	uint64_t now;

	if (cbd_queue_poll(p.q, &c, 1, 1, 2) != 0)
		return false;
	now = pair_epoch(&p);
	return now != 0 && now != epoch;
}

START_TEST(exactly_once)
{
	struct pair_options o = stepping(_i);
	struct cbd_request *r[5];
	unsigned char *buf = new_buffer(5 * 4096, 9);
	uint64_t epoch;
	bool seen[5] = { false };

	pair_open(&p, &o);
	epoch = pair_epoch(&p);
	for (unsigned i = 0; i < 4; i++)
		pair_submit(&p, CBD_OP_WRITE, buf + i * 4096, i * 4096, 4096, i);
	pair_fetch_all(&p, r, 3);
	pair_complete(&p, r[0]);
	ck_assert_uint_eq((uintptr_t)pair_reap(&p).cookie, 0);
	/* 1: executed, its answer is lost; 2: taken; 3, and 4 with the tag of
	 * 0: published only */
	pair_submit(&p, CBD_OP_WRITE, buf + 4 * 4096, 4 * 4096, 4096, 4);
	unit_disk_run(&p.disk, r[1]);
	pair_crash(&p);
	unit_wait(attached_again(epoch));
	ck_assert_uint_gt(pair_epoch(&p) >> 32, epoch >> 32);
	pair_fetch_all(&p, r, 4);
	for (unsigned i = 0; i < 4; i++) {
		ck_assert_uint_eq(r[i]->offset, (i + 1) * 4096); /* in order */
		pair_complete(&p, r[i]);
	}
	for (unsigned i = 0; i < 4; i++) {
		struct cbd_completion c = pair_reap(&p);

		ck_assert(!seen[(uintptr_t)c.cookie]);
		seen[(uintptr_t)c.cookie] = true;
		ck_assert_int_eq(c.result, 0);
	}
	ck_assert(!seen[0]);
	pair_reap_none(&p);
	ck_assert_uint_eq(pair_fetch(&p, r, 4), 0);
	ck_assert_mem_eq(unit_disk_data(&p.disk), buf, 5 * 4096);
	pair_close(&p);
	free(buf);
}
END_TEST

/* I/O goes on while backends die under it. */
static bool io_runs;

static void *read_and_write(void *arg)
{
	struct worker *w = arg;

	while (cbd_flag_get(&io_runs) && w->error == 0)
		work(w);
	return NULL;
}

START_TEST(crashes_under_load)
{
	struct pair_options o = way(_i);
	struct worker w[4];
	pthread_t thread[4];

	o.queues = 2;
	o.heartbeat_ms = 20;
	pair_open(&p, &o);
	io_runs = true;
	for (unsigned i = 0; i < 4; i++) {
		w[i] = (struct worker){ .q = cbd_blkdev_queue(p.blkdev, i % 2),
					.start = i << 18,
					.size = 200000,
					.seed = i,
					.count = 20 };
		pthread_create(&thread[i], NULL, read_and_write, &w[i]);
	}
	for (unsigned i = 0; i < 20; i++) {
		unsigned done = unit_disk_ops(&p.disk, CBD_OP_READ);

		unit_wait(unit_disk_ops(&p.disk, CBD_OP_READ) > done + 3);
		pair_crash(&p);
		server_start(&p);
	}
	cbd_flag_set(&io_runs, false);
	for (unsigned i = 0; i < 4; i++) {
		pthread_join(thread[i], NULL);
		ck_assert_int_eq(w[i].error, 0);
	}
	ck_assert_uint_eq(p.blkdev->losses, 0);
	pair_close(&p);
}
END_TEST

START_TEST(another_disk)
{
	struct pair_options o = stepping(_i % WAYS);
	struct cbd_disk_geometry right;
	struct cbd_request *r[1];
	unsigned char buf[512] = { 0 };

	pair_open(&p, &o);
	right = p.geometry;
	pair_submit(&p, CBD_OP_WRITE, buf, 0, 512, 1);
	if (_i / WAYS)
		p.geometry.disk_id[3]++;
	else
		p.geometry.logical_block = 4096;
	pair_crash(&p);
	/* nothing is submitted to it: neither what was in flight nor what comes */
	pair_submit(&p, CBD_OP_READ, buf, 0, 512, 2);
	for (unsigned i = 0; i < 20; i++) {
		pair_reap_none(&p);
		unit_ok(cbd_backend_tick(p.backend));
		ck_assert_uint_eq(pair_fetch(&p, r, 1), 0);
		usleep(5000);
	}
	/* the right one is there again, and serves them */
	p.geometry = right;
	pair_crash(&p);
	server_start(&p);
	ck_assert_int_eq(pair_reap(&p).result, 0);
	ck_assert_int_eq(pair_reap(&p).result, 0);
	pair_close(&p);
}
END_TEST

/* -------------------------------------------------------------- durability */

static int flush_of(struct cbd_connection *c)
{
	return cbd_queue_execute(p.q, &(struct cbd_io){ .op = CBD_OP_FLUSH, .connection = c });
}

static void new_verifier(void)
{
	uint64_t epoch = pair_epoch(&p);

	p.geometry.verifier += 0x10000;
	pair_crash(&p);
	server_start(&p);
	unit_wait(attached_again(epoch));
}

START_TEST(lost_writes)
{
	struct pair_options o = way(_i);
	unsigned char buf[512] = { 0 };
	struct cbd_connection *a, *b, *late;

	pair_open(&p, &o);
	a = cbd_connection_open(p.blkdev);
	b = cbd_connection_open(p.blkdev);
	unit_ok(cbd_queue_write(p.q, buf, 512, 0, 0));
	new_verifier();
	late = cbd_connection_open(p.blkdev); /* after the loss: not its affair */
	unit_fails(flush_of(a), EIO);
	unit_ok(flush_of(a));
	unit_ok(flush_of(late));
	unit_fails(flush_of(b), EIO);
	unit_fails(flush_of(NULL), EIO); /* the blkdev's own */
	unit_ok(flush_of(b));
	unit_ok(flush_of(NULL));
	/* the same again, with something new to lose */
	unit_ok(cbd_queue_discard(p.q, 512, 0, 0));
	new_verifier();
	unit_fails(flush_of(late), EIO);
	unit_fails(flush_of(a), EIO);
	unit_ok(flush_of(a));
	cbd_connection_close(a);
	cbd_connection_close(b);
	cbd_connection_close(late);
	pair_close(&p);
}
END_TEST

START_TEST(nothing_lost)
{
	struct pair_options o = way(_i);
	unsigned char buf[512] = { 0 };

	pair_open(&p, &o);
	/* reads, and what was flushed, cannot be lost */
	unit_ok(cbd_queue_read(p.q, buf, 512, 0));
	new_verifier();
	unit_ok(cbd_queue_flush(p.q));
	unit_ok(cbd_queue_write(p.q, buf, 512, 0, 0));
	unit_ok(cbd_queue_flush(p.q));
	new_verifier();
	unit_ok(cbd_queue_flush(p.q));
	/* nor anything while the verifier stays: the same boot's page cache */
	unit_ok(cbd_queue_write(p.q, buf, 512, 0, 0));
	pair_crash(&p);
	server_start(&p);
	unit_ok(cbd_queue_flush(p.q));
	pair_close(&p);
}
END_TEST

/* A client that connects again, as QEMU does when nbdkit was killed, may have something to
 * lose of which this blkdev knows nothing, until a flush has come after its beginning. */
START_TEST(came_again)
{
	struct pair_options o = way(_i);
	struct cbd_connection *a, *b;

	pair_open(&p, &o);
	a = cbd_connection_open(p.blkdev);
	new_verifier();
	b = cbd_connection_open(p.blkdev); /* after the loss */
	unit_ok(flush_of(b));
	unit_fails(flush_of(a), EIO);
	unit_ok(flush_of(a));
	unit_ok(flush_of(NULL)); /* the program's own has no life before */
	/* any flush covers all of the disk */
	cbd_connection_close(b);
	b = cbd_connection_open(p.blkdev);
	unit_ok(flush_of(a));
	new_verifier();
	unit_ok(flush_of(b));
	/* and one that was before the beginning covers nothing of it */
	cbd_connection_close(b);
	unit_ok(flush_of(a));
	b = cbd_connection_open(p.blkdev);
	new_verifier();
	unit_ok(flush_of(a));
	unit_fails(flush_of(b), EIO);
	unit_ok(flush_of(b));
	cbd_connection_close(a);
	pair_close(&p);
	cbd_connection_close(b); /* after its blkdev */
}
END_TEST

/* A flush is executed again where there was nothing to lose. */
START_TEST(flush_in_flight_at_no_loss)
{
	struct pair_options o = stepping(_i);
	unsigned char buf[512] = { 0 };
	struct cbd_request *r[1];

	pair_open(&p, &o);
	server_start(&p);
	unit_ok(cbd_queue_write(p.q, buf, 512, 0, 0));
	unit_ok(cbd_queue_flush(p.q));
	server_stop(&p);
	pair_submit(&p, CBD_OP_FLUSH, NULL, 0, 0, 1);
	pair_fetch_all(&p, r, 1);
	p.geometry.verifier += 0x10000;
	pair_crash(&p);
	server_start(&p);
	ck_assert_int_eq(pair_reap(&p).result, 0);
	pair_close(&p);
}
END_TEST

START_TEST(flush_in_flight_at_loss)
{
	struct pair_options o = stepping(_i);
	unsigned char buf[512] = { 0 };
	struct cbd_request *r[2];
	struct cbd_completion c;
	uint64_t epoch;

	pair_open(&p, &o);
	server_start(&p);
	unit_ok(cbd_queue_write(p.q, buf, 512, 0, 0));
	server_stop(&p);
	epoch = pair_epoch(&p);
	pair_submit(&p, CBD_OP_FLUSH, NULL, 0, 0, 1);
	pair_fetch_all(&p, r, 1);
	p.geometry.verifier += 0x10000;
	pair_crash(&p);
	c = pair_reap(&p);
	ck_assert_int_eq(c.result, -EIO);
	ck_assert_uint_ne(pair_epoch(&p), epoch);
	ck_assert_uint_eq(pair_fetch(&p, r, 1), 0); /* and is not tried again */
	server_start(&p);
	unit_ok(cbd_queue_flush(p.q)); /* it was told once */
	pair_close(&p);
}
END_TEST

/* A sync that fails without anybody dying. */
START_TEST(failed_sync)
{
	struct pair_options o = stepping(_i);
	unsigned char buf[512] = { 0 };
	struct cbd_connection *a;
	struct cbd_request *r[1];

	pair_open(&p, &o);
	a = cbd_connection_open(p.blkdev);
	server_start(&p);
	unit_ok(cbd_queue_write(p.q, buf, 512, 0, 0));
	server_stop(&p);
	pair_submit(&p, CBD_OP_FLUSH, NULL, 0, 0, 1);
	pair_fetch_all(&p, r, 1);
	cbd_backend_data_lost(p.backend);
	cbd_handler_complete(cbd_backend_handler(p.backend, 0), r[0], -EIO);
	ck_assert_int_eq(pair_reap(&p).result, -EIO);
	server_start(&p);
	unit_ok(flush_of(NULL)); /* this one was told */
	unit_fails(flush_of(a), EIO);
	unit_ok(flush_of(a));
	cbd_connection_close(a);
	pair_close(&p);
}
END_TEST

static void check_grant(struct cbd_queue *q)
{
	pthread_mutex_lock(&q->lock);
	cbd_grant_check_unlocks(q);
	pthread_mutex_unlock(&q->lock);
}

/*
 * Two queues.  One has looked at its grant and is about to acknowledge a write;
 * the other one sees the loss when nothing seems to be unflushed.  The flush
 * that follows, on the queue that knows the new verifier, must not pass.
 */
START_TEST(loss_seen_by_another_queue)
{
	struct pair_options o = stepping(_i);
	struct cbd_queue *other;

	o.queues = 2;
	pair_open(&p, &o);
	other = cbd_blkdev_queue(p.blkdev, 1);
	check_grant(other);
	cbd_backend_data_lost(p.backend);
	check_grant(p.q);
	pthread_mutex_lock(&other->lock);
	ck_assert_int_eq(cbd_written(other, false),
			 CBD_WRITTEN); /* as cbd_reap_ring() does after its look */
	pthread_mutex_unlock(&other->lock);
	server_start(&p);
	unit_fails(cbd_queue_flush(p.q), EIO);
	check_grant(other);
	unit_ok(cbd_queue_flush(p.q)); /* it was told once */
	pair_close(&p);
}
END_TEST

static void damage_grant(void)
{
	struct cbd_line line;
	void *place = cbd_channel_backend_line(&p.q->ch, CBD_CHANNEL_GRANT);

	cbd_line_load(&p.ct->mem, place, &line);
	line.crc ^= 1;
	cbd_line_store(&p.ct->mem, place, &line);
}

/* As long as the grant cannot be read nobody knows whose the data is, nor
 * whether something was lost: nothing completes on a guess (rules 5, 8). */
START_TEST(damaged_grant)
{
	struct pair_options o = stepping(_i);
	unsigned char buf[512] = { 0 };
	struct cbd_request *r[3];

	pair_open(&p, &o);
	pair_submit(&p, CBD_OP_READ, buf, 0, 512, 1);
	pair_submit(&p, CBD_OP_FLUSH, NULL, 0, 0, 2);
	pair_fetch_all(&p, r, 2);
	pair_complete(&p, r[0]);
	pair_complete(&p, r[1]);
	damage_grant();
	pair_reap_none(&p);
	ck_assert_uint_eq(p.q->parts.n_free, p.q->parts.depth - 2);
	server_start(&p); /* its next beat stores the line again */
	ck_assert_int_eq(pair_reap(&p).result, 0);
	ck_assert_int_eq(pair_reap(&p).result, 0);
	ck_assert_mem_eq(buf, unit_disk_data(&p.disk), 512);
	pair_close(&p);
}
END_TEST

/* The slot was cleared and is another host's by now: closing writes nothing there. */
START_TEST(closed_after_the_slot)
{
	struct pair_options o = stepping(_i);
	struct cbd_claim_line claim = { .state = CBD_CLAIM_RAISED }, own;
	struct cbd_state_line before, after;
	void *place;

	pair_open(&p, &o);
	own = p.blkdev->claim.line;
	own.state = CBD_CLAIM_DEAD;
	unit_ok(cbd_line_put(p.ct,
			     cbd_side_claim_at(p.ct, CBD_SIDE_BLKDEV, p.blkdev->slot,
					       (unsigned)p.ct->host),
			     &own));
	place = cbd_blkdev_line(p.bt, p.blkdev->slot, CBD_BLKDEV_INFO, CBD_BLKDEV_STATE);
	claim.generation = p.blkdev->claim.line.generation + 1;
	unit_ok(cbd_line_put(p.ct, cbd_blkdev_line(p.ct, p.blkdev->slot, CBD_BLKDEV_CLAIMS, 1),
			     &claim));
	unit_ok(cbd_line_get(p.bt, place, &before));
	cbd_blkdev_close(p.blkdev);
	p.blkdev = NULL;
	unit_ok(cbd_line_get(p.bt, place, &after));
	ck_assert_mem_eq(&before, &after, sizeof(before));
	pair_close(&p);
}
END_TEST

/* As if nothing had come for so long. */
static void silent_for(unsigned seconds)
{
	uint64_t beats;

	pthread_mutex_lock(&p.q->lock);
	p.q->cursors.moved_ns -= seconds * 1000000000ull;
	pthread_mutex_unlock(&p.q->lock);
	beats = pair_beats(&p);
	unit_wait(pair_beats(&p) > beats + 2);
}

/* Heartbeats that are slow to tell: it is not the channel that is broken. */
START_TEST(crash_before_suspicion)
{
	struct pair_options o = way(_i);
	unsigned char buf[512] = { 0 };

	o.dead_after = 1000;
	pair_open(&p, &o);
	server_stop(&p);
	cbd_backend_close(p.backend);
	pair_submit(&p, CBD_OP_READ, buf, 0, 512, 1);
	silent_for(6);
	silent_for(31);
	pair_publish(&p);
	ck_assert_int_eq(pair_reap(&p).result, 0);
	ck_assert_mem_eq(buf, p.disk.data, 512);
	pair_close(&p);
}
END_TEST

/* The program is told to end, and its backend is gone for good. */
START_TEST(waits_no_longer)
{
	struct pair_options o = way(_i);
	unsigned char buf[512] = { 0 };

	pair_open(&p, &o);
	cbd_blkdev_stop_waiting(p.blkdev);
	unit_ok(cbd_queue_write(p.q, buf, 512, 0, 0)); /* a living one is waited for */
	server_stop(&p);
	cbd_backend_close(p.backend);
	p.backend = NULL;
	unit_fails(cbd_queue_write(p.q, buf, 512, 0, 0), EIO);
	unit_fails(cbd_queue_read(p.q, buf, 512, 0), EIO);
	pair_close(&p);
}
END_TEST

/* Nobody polls: nothing is wrong, and nothing is executed again. */
START_TEST(answers_that_wait)
{
	struct pair_options o = way(_i);
	unsigned char buf[2][512];

	pair_open(&p, &o);
	pair_submit(&p, CBD_OP_READ, buf[0], 0, 512, 1);
	pair_submit(&p, CBD_OP_READ, buf[1], 0, 512, 2);
	unit_wait(unit_disk_ops(&p.disk, CBD_OP_READ) == 2);
	silent_for(6);
	silent_for(31);
	ck_assert_uint_eq(unit_disk_ops(&p.disk, CBD_OP_READ), 2);
	ck_assert_int_eq(pair_reap(&p).result, 0);
	ck_assert_int_eq(pair_reap(&p).result, 0);
	pair_close(&p);
}
END_TEST

/* ---------------------------------------------------------------- time-outs */

START_TEST(timeouts)
{
	struct pair_options o = stepping(_i);
	unsigned char buf[4][512] = { { 0 } }, *before;
	struct cbd_request *r[4];

	o.timeout_s = 1;
	pair_open(&p, &o);
	before = new_buffer(512, 77);
	memcpy(buf[1], before, 512);
	unit_ok(cbd_blkdev_start(p.blkdev));
	pair_submit(&p, CBD_OP_WRITE, buf[0], 0, 512, 0);
	pair_submit(&p, CBD_OP_READ, buf[1], 4096, 512, 1);
	pair_fetch_all(&p, r, 2);
	ck_assert_int_eq(pair_reap(&p).result, -EIO);
	ck_assert_int_eq(pair_reap(&p).result, -EIO);
	/* until they are answered: writes end, reads go on */
	unit_fails(cbd_queue_write(p.q, buf[2], 512, 8192, 0), EIO);
	pair_submit(&p, CBD_OP_READ, buf[3], 512, 512, 3);
	pair_fetch_all(&p, r + 2, 1);
	pair_complete(&p, r[2]);
	ck_assert_int_eq(pair_reap(&p).result, 0);
	ck_assert_mem_eq(buf[3], unit_disk_data(&p.disk) + 512, 512);
	/* one of two is not enough */
	pair_complete(&p, r[1]);
	pair_reap_none(&p);
	unit_fails(cbd_queue_write(p.q, buf[2], 512, 8192, 0), EIO);
	ck_assert_uint_eq(p.q->parts.n_free, p.q->parts.depth - 1);
	pair_complete(&p, r[0]);
	pair_reap_none(&p); /* no second completion */
	ck_assert_uint_eq(p.q->parts.n_free, p.q->parts.depth);
	ck_assert_mem_eq(buf[1], before, 512); /* a late read is not delivered */
	server_start(&p);
	unit_ok(cbd_queue_write(p.q, buf[2], 512, 8192, 0));
	pair_close(&p);
	free(before);
}
END_TEST

/* Also what never got a tag, and with no backend at all. */
START_TEST(timeouts_without_tag)
{
	struct pair_options o = stepping(0);
	unsigned char buf[512] = { 0 };
	struct cbd_request *r[2];

	o.timeout_s = 1;
	o.depth = 1;
	pair_open(&p, &o);
	unit_ok(cbd_blkdev_start(p.blkdev));
	for (unsigned i = 0; i < 3; i++)
		pair_submit(&p, CBD_OP_READ, buf, 0, 512, i);
	if (_i) {
		cbd_backend_close(p.backend);
		p.backend = NULL;
	} else {
		pair_fetch_all(&p, r, 1);
	}
	for (unsigned i = 0; i < 3; i++)
		ck_assert_int_eq(pair_reap(&p).result, -EIO);
	pair_reap_none(&p);
	if (!_i)
		pair_complete(&p, r[0]);
	pair_close(&p);
}
END_TEST

/* -------------------------------------------------------------- memory gone */

/* A truncated file: EIO, and the process lives. */
START_TEST(truncated)
{
	struct pair_options o = way(_i % WAYS);
	unsigned char *buf = new_buffer(600 << 10, 4);

	pair_open(&p, &o);
	unit_ok(cbd_queue_write(p.q, buf, 600 << 10, 0, 0));
	/* everything, or the channels only */
	ck_assert_int_eq(truncate(p.path, _i / WAYS ? (off_t)p.bt->header.channel_area.offset : 0),
			 0);
	unit_fails(cbd_queue_write(p.q, buf, 600 << 10, 0, 0), EIO);
	unit_fails(cbd_queue_read(p.q, buf, 512, 0), EIO);
	unit_fails(cbd_queue_flush(p.q), EIO);
	pair_close(&p);
	free(buf);
}
END_TEST

/* While requests are under way on both sides. */
START_TEST(truncated_in_flight)
{
	struct pair_options o = stepping(_i);
	unsigned char *buf = new_buffer(600 << 10, 4);
	struct cbd_request *r[4];

	pair_open(&p, &o);
	unit_ok(cbd_blkdev_start(p.blkdev));
	pair_submit(&p, CBD_OP_READ, buf, 0, 600 << 10, 1);
	pair_submit(&p, CBD_OP_WRITE, buf, 0, 512, 2);
	pair_fetch_all(&p, r, 3);
	ck_assert_int_eq(truncate(p.path, 0), 0);
	for (unsigned i = 0; i < 3; i++)
		pair_complete(&p, r[i]);
	cbd_handler_fetch(cbd_backend_handler(p.backend, 0), r, 4);
	ck_assert_int_eq(pair_reap(&p).result, -EIO);
	ck_assert_int_eq(pair_reap(&p).result, -EIO);
	cbd_handler_wait(cbd_backend_handler(p.backend, 0), 100);
	unit_wait(cbd_backend_tick(p.backend) < 0);
	pair_close(&p);
	free(buf);
}
END_TEST

/* ------------------------------------------------- a copy that takes its time */

/*
 * A user's buffer whose first touch stops the thread that copies to it, until
 * the test lets it go on: what happens meanwhile on other threads is no race.
 */
static unsigned char *slow;
static bool touched, go_on;

static void on_touch(int sig)
{
	(void)sig;
	cbd_flag_set(&touched, true);
	while (!cbd_flag_get(&go_on))
		cbd_sleep_us(100);
	mprotect(slow, 8192, PROT_READ | PROT_WRITE);
}

static void map_slow(void)
{
	struct sigaction action = { .sa_handler = on_touch };

	touched = go_on = false;
	slow = mmap(NULL, 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(slow, MAP_FAILED);
	sigaction(SIGSEGV, &action, NULL);
}

static void *poll_one(void *arg)
{
	cbd_queue_poll(p.q, arg, 1, 1, 10000 * (int)test_factor());
	return NULL;
}

/* A thread copies the data of a read out, for as long as go_on is false; *C is to be its
 * completion. */
static pthread_t copy_slowly(struct cbd_completion *c)
{
	struct pair_options o = stepping(0);
	struct cbd_request *r[1];
	pthread_t thread;

	pair_open(&p, &o);
	map_slow();
	pair_submit(&p, CBD_OP_READ, slow, 0, 8192, 1);
	pair_fetch_all(&p, r, 1);
	pair_complete(&p, r[0]);
	ck_assert_int_eq(pthread_create(&thread, NULL, poll_one, c), 0);
	unit_wait(cbd_flag_get(&touched));
	return thread;
}

/* The queue breaks while a read is copied out: that one ends too. */
START_TEST(broken_while_copying)
{
	struct cbd_completion c = { .result = 1 };
	pthread_t thread = copy_slowly(&c);

	pthread_mutex_lock(&p.q->lock);
	cbd_queue_break(p.q, -EIO); /* as the heartbeat thread does */
	pthread_mutex_unlock(&p.q->lock);
	cbd_flag_set(&go_on, true);
	pthread_join(thread, NULL);
	ck_assert_int_eq(c.result, -EIO);
	ck_assert_uint_eq(p.q->parts.n_free, p.q->parts.depth);
	pair_close(&p);
	munmap(slow, 8192);
}
END_TEST

/* The backend is replaced while a read is copied out: it is read again. */
START_TEST(new_epoch_while_copying)
{
	struct cbd_completion c = { .result = 1 };
	pthread_t thread = copy_slowly(&c);
	struct cbd_request *r[1];

	pair_crash(&p);
	pthread_mutex_lock(&p.q->lock);
	cbd_grant_check_unlocks(p.q);
	pthread_mutex_unlock(&p.q->lock);
	cbd_flag_set(&go_on, true);
	pair_fetch_all(&p, r, 1); /* rule 5: the first answer did not count */
	pair_complete(&p, r[0]);
	pthread_join(thread, NULL);
	ck_assert_int_eq(c.result, 0);
	ck_assert_mem_eq(slow, unit_disk_data(&p.disk), 8192);
	pair_close(&p);
	munmap(slow, 8192);
}
END_TEST

static void *close_blkdev(void *arg)
{
	(void)arg;
	cbd_blkdev_close(p.blkdev);
	return NULL;
}

/* The heartbeat thread, which reads late answers, keeps out of the ring while a thread
 * that closes the blkdev copies what it has found there. */
START_TEST(late_answers_at_close)
{
	struct pair_options o = stepping(0);
	struct cbd_request *r[2];
	unsigned char buf[512];
	pthread_t thread;
	uint64_t ce_next;

	pair_open(&p, &o);
	map_slow();
	cbd_shared_set(&p.blkdev->timed_out, 1);
	pair_submit(&p, CBD_OP_READ, slow, 0, 8192, 1);
	pair_submit(&p, CBD_OP_READ, buf, 0, 512, 2);
	pair_fetch_all(&p, r, 2);
	pair_complete(&p, r[0]);
	pthread_create(&thread, NULL, close_blkdev, NULL);
	unit_wait(cbd_flag_get(&touched));
	pair_complete(&p, r[1]);
	pthread_mutex_lock(&p.q->lock);
	ce_next = p.q->cursors.ce_next;
	cbd_reap_late_unlocks(p.q); /* as the heartbeat thread does */
	ck_assert_uint_eq(p.q->cursors.ce_next, ce_next);
	pthread_mutex_unlock(&p.q->lock);
	cbd_flag_set(&go_on, true);
	pthread_join(thread, NULL);
	ck_assert_mem_eq(slow, unit_disk_data(&p.disk), 8192);
	ck_assert_mem_eq(buf, unit_disk_data(&p.disk), 512);
	p.blkdev = NULL;
	pair_close(&p);
	munmap(slow, 8192);
}
END_TEST

static TCase *new_case(Suite *s, const char *name)
{
	TCase *t = tcase_create(name);

	tcase_set_timeout(t, UNIT_TIMEOUT);
	suite_add_tcase(s, t);
	return t;
}

int main(void)
{
	Suite *s = suite_create("recovery");
	TCase *t;

	t = new_case(s, "drain and crash");
	tcase_add_loop_test(t, drained_in_order, 0, WAYS);
	tcase_add_loop_test(t, exactly_once, 0, WAYS);
	tcase_add_loop_test(t, crashes_under_load, 0, WAYS);
	tcase_add_loop_test(t, another_disk, 0, 2 * WAYS);
	tcase_add_loop_test(t, crash_before_suspicion, 0, WAYS);
	tcase_add_loop_test(t, answers_that_wait, 0, WAYS);
	tcase_add_loop_test(t, waits_no_longer, 0, WAYS);
	tcase_add_test(t, broken_while_copying);
	tcase_add_test(t, new_epoch_while_copying);
	tcase_add_test(t, late_answers_at_close);
	t = new_case(s, "durability");
	tcase_add_loop_test(t, lost_writes, 0, WAYS);
	tcase_add_loop_test(t, nothing_lost, 0, WAYS);
	tcase_add_loop_test(t, came_again, 0, WAYS);
	tcase_add_loop_test(t, flush_in_flight_at_loss, 0, WAYS);
	tcase_add_loop_test(t, flush_in_flight_at_no_loss, 0, WAYS);
	tcase_add_loop_test(t, failed_sync, 0, WAYS);
	tcase_add_loop_test(t, loss_seen_by_another_queue, 0, WAYS);
	tcase_add_loop_test(t, damaged_grant, 0, WAYS);
	tcase_add_loop_test(t, closed_after_the_slot, 0, WAYS);
	t = new_case(s, "time-outs");
	tcase_add_loop_test(t, timeouts, 0, WAYS);
	tcase_add_loop_test(t, timeouts_without_tag, 0, 2);
	t = new_case(s, "memory gone");
	if (!UNIT_TSAN) {
		tcase_add_loop_test(t, truncated, 0, 2 * WAYS);
		tcase_add_loop_test(t, truncated_in_flight, 0, WAYS);
	}
	return unit_main(s);
}
