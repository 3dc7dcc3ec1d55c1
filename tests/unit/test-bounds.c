/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test-bounds.c - how long a request waits for a backend that beats and does not
 * answer: each way of not answering has an end (docs/protocol.md, "What waits for
 * what").  The test is the backend: it beats and grants by hand, or lets the real one
 * tick without its handlers.  Time passes by moving what the queue has noted.
 */
#include <config.h>

#include <errno.h>
#include <time.h>

#include "slow.h"

#define SECOND 1000000000ull

static unsigned char buf[512];

/* The backend beats and does nothing else. */
static bool beat_only(void)
{
	void *place = cbd_backend_info_at(p.ct, 0, CBD_BACKEND_BEAT);
	struct cbd_beat_line beat;

	unit_ok(cbd_line_get(p.ct, place, &beat));
	beat.counter++;
	unit_ok(cbd_line_put(p.ct, place, &beat));
	return true;
}

static bool silent_since(unsigned seconds)
{
	uint64_t since = cbd_now_ns() - seconds * SECOND;

	pthread_mutex_lock(&p.q->lock);
	if (p.q->cursors.moved_ns > since)
		p.q->cursors.moved_ns = since;
	pthread_mutex_unlock(&p.q->lock);
	return true;
}

static void expect_eio(bool (*beat)(void))
{
	struct cbd_completion c = { .result = 1 };

	unit_wait(beat() && slow_reaped(&c));
	ck_assert_int_eq(c.result, -EIO);
}

/* SECONDS without an answer, told again and again: on a busy machine a beat may be so late
 * that the backend is suspected, and the time before that counts for nothing. */
static void expect_eio_since(unsigned seconds, bool (*beat)(void))
{
	struct cbd_completion c = { .result = 1 };

	unit_wait(beat() && silent_since(seconds) && slow_reaped(&c));
	ck_assert_int_eq(c.result, -EIO);
}

/* "I drain", for ever. */
START_TEST(drains_for_ever)
{
	struct cbd_bchannel *bc;

	slow_open(way(_i));
	bc = &p.backend->channels[p.q->ch.id];
	pair_submit(&p, CBD_OP_WRITE, buf, 0, 512, 1);
	bc->grant.state = CBD_GRANT_LEAVING;
	unit_ok(cbd_backend_put_grant(p.backend, bc));
	unit_wait(slow_tick() && queue_state(p.q) == CBD_QUEUE_DRAINING);
	slow_silent_for(60); /* a disk may be as slow as that */
	slow_expect_nothing(slow_tick, 100);
	slow_beats_for(301, slow_tick);
	expect_eio(slow_tick);
	/* it may still be executed (rule 9) */
	unit_fails(cbd_queue_write(p.q, buf, 512, 0, 0), EIO);
	/* and when the backend comes to its senses all is well again */
	bc->grant.state = CBD_GRANT_GRANTED;
	unit_ok(cbd_backend_put_grant(p.backend, bc));
	server_start(&p);
	unit_wait(cbd_queue_write(p.q, buf, 512, 0, 0) == 0);
	pair_close(&p);
}
END_TEST

static bool damage(void)
{
	struct cbd_line line;

	/* no tick: it would store the grant again, and a look may fall between */
	beat_only();
	cbd_line_load(&p.ct->mem, queue_grant(p.q), &line);
	line.crc = (uint32_t)cbd_now_ns();
	cbd_line_store(&p.ct->mem, queue_grant(p.q), &line);
	return true;
}

/* A CE that answers nothing, sealed: it is the next one, and there is no SE for it. */
static void answer_unasked(void)
{
	struct cbd_ce answer = { .count = 1, .tid = 0x10000 };
	struct cbd_channel ch;

	cbd_channel_init(&ch, p.bt, 0, p.q->ch.id);
	cbd_channel_enter(&ch, queue_epoch(p.q));
	unit_ok(cbd_channel_send_ce(&ch, &answer));
}

static uint64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * SECOND + (uint64_t)ts.tv_nsec;
}

/* Nothing completes in a poll, which sleeps for most of its time. */
static void poll_sleeps(void)
{
	uint64_t since = cpu_ns();
	struct cbd_completion c;

	ck_assert_int_eq(cbd_queue_poll(p.q, &c, 1, 1, 200), 0);
	ck_assert_uint_lt(cpu_ns() - since, 100000000);
}

/* The answer is there, and the grant that would say whose it is stays damaged.  The second
 * way: one more CE follows, which answers nothing that was asked. */
START_TEST(grant_stays_damaged)
{
	struct cbd_request *r[1];

	slow_open(way(_i % WAYS));
	pair_submit(&p, CBD_OP_READ, buf, 0, 512, 1);
	pair_fetch_all(&p, r, 1);
	damage();
	pair_complete(&p, r[0]);
	slow_expect_nothing(damage, 50);
	if (_i / WAYS) {
		answer_unasked();
		poll_sleeps();
		damage();
	}
	slow_silent_for(6);
	slow_expect_nothing(damage, 100);
	ck_assert_uint_eq(queue_leaves(p.q), 1);
	expect_eio_since(31 + 2, damage);
	pair_close(&p);
}
END_TEST

/* It beats, and a new epoch comes each time that one is asked for; no answer does. */
START_TEST(epochs_without_answers)
{
	struct cbd_grant_line g;

	slow_open(way(_i));
	unit_ok(cbd_line_get(p.ct, queue_grant(p.q), &g));
	pair_submit(&p, CBD_OP_READ, buf, 0, 512, 1);
	for (unsigned n = 1; n <= CBD_MAX_LEAVES + 1; n++) {
		slow_silent_for(6 << (n - 1));
		unit_wait(beat_only() && queue_leaves(p.q) == n);
		g.epoch++;
		unit_ok(cbd_line_put(p.ct, queue_grant(p.q), &g));
		unit_wait(beat_only() && pair_epoch(&p) == g.epoch);
	}
	slow_beats_for(301, beat_only);
	expect_eio(beat_only);
	pair_close(&p);
}
END_TEST

static struct cbd_grant_line flood;

static bool next_epoch(void)
{
	flood.epoch++;
	unit_ok(cbd_line_put(p.ct, queue_grant(p.q), &flood));
	return beat_only();
}

/* Nobody asks for it, and a new epoch comes with each beat. */
START_TEST(flood_of_epochs)
{
	slow_open(way(_i));
	unit_ok(cbd_line_get(p.ct, queue_grant(p.q), &flood));
	pair_submit(&p, CBD_OP_READ, buf, 0, 512, 1);
	slow_expect_nothing(next_epoch, 100);
	slow_beats_for(301, next_epoch);
	expect_eio(next_epoch);
	pair_close(&p);
}
END_TEST

static bool toggles;

static bool not_ours(void)
{
	struct cbd_grant_line g = flood;

	toggles = !toggles;
	g.queue += toggles;
	unit_ok(cbd_line_put(p.ct, queue_grant(p.q), &g));
	return beat_only();
}

/* Granted to another queue, and back, and so on: the time goes on. */
START_TEST(grant_comes_and_goes)
{
	slow_open(way(_i));
	unit_ok(cbd_line_get(p.ct, queue_grant(p.q), &flood));
	pair_submit(&p, CBD_OP_READ, buf, 0, 512, 1);
	slow_expect_nothing(not_ours, 100);
	slow_silent_for(6);
	unit_wait(not_ours() && queue_leaves(p.q) == 1);
	expect_eio_since(31 + 2, not_ours);
	pair_close(&p);
}
END_TEST

/* Time in which the backend does not beat counts for nothing. */
START_TEST(silent_backend_is_waited_for)
{
	uint64_t was;

	slow_open(way(_i));
	pair_submit(&p, CBD_OP_READ, buf, 0, 512, 1);
	unit_wait(cbd_flag_get(&p.blkdev->suspect));
	was = slow_beating_ns();
	slow_silent_for(60);
	for (unsigned i = 0; i < 10; i++) {
		struct cbd_completion c;

		ck_assert(!slow_reaped(&c));
		cbd_sleep_us(20000);
	}
	ck_assert_uint_eq(slow_beating_ns(), was);
	server_start(&p);
	ck_assert_int_eq(pair_reap(&p).result, 0);
	pair_close(&p);
}
END_TEST

/* The program is to end: a backend that is there and does not answer has 30 s. */
START_TEST(quits_in_time)
{
	slow_open(way(_i));
	pair_submit(&p, CBD_OP_READ, buf, 0, 512, 1);
	cbd_blkdev_stop_waiting(p.blkdev);
	slow_expect_nothing(slow_tick, 100);
	cbd_shared_set(&p.blkdev->impatient_ns, cbd_now_ns() - 30 * SECOND);
	cbd_blkdev_stop_waiting(p.blkdev); /* the first call counts */
	expect_eio(slow_tick);
	pair_close(&p);
}
END_TEST

/* Nobody polls: an answer that is there is none that is missing. */
START_TEST(answer_is_not_fetched)
{
	slow_open(way(_i));
	server_start(&p);
	pair_submit(&p, CBD_OP_READ, buf, 0, 512, 1);
	unit_wait(unit_disk_ops(&p.disk, CBD_OP_READ) == 1);
	server_stop(&p); /* the CE is there */
	slow_beats_for(301, slow_tick);
	ck_assert_int_eq(pair_reap(&p).result, 0);
	pair_close(&p);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("bounds");
	TCase *t = tcase_create("bounds");

	tcase_set_timeout(t, UNIT_TIMEOUT);
	tcase_add_loop_test(t, drains_for_ever, 0, WAYS);
	tcase_add_loop_test(t, grant_stays_damaged, 0, 2 * WAYS);
	tcase_add_loop_test(t, epochs_without_answers, 0, WAYS);
	tcase_add_loop_test(t, flood_of_epochs, 0, WAYS);
	tcase_add_loop_test(t, grant_comes_and_goes, 0, WAYS);
	tcase_add_loop_test(t, silent_backend_is_waited_for, 0, WAYS);
	tcase_add_loop_test(t, quits_in_time, 0, WAYS);
	tcase_add_loop_test(t, answer_is_not_fetched, 0, WAYS);
	suite_add_tcase(s, t);
	return unit_main(s);
}
