/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test-patience.c - a backend that is honest and slow is waited for: what bounds the
 * wait for one that lies (test-bounds) must not end the requests of these.  Time passes
 * by moving what the blkdev has noted.
 */
#include <config.h>

#include <errno.h>

#include "slow.h"

#define SECOND 1000000000ull
#define NEWER (1ull << 32) /* of an epoch: the backend's next incarnation */

static unsigned char buf[1 << 20];

static struct cbd_grant_line grant_now(void)
{
	struct cbd_grant_line g;

	unit_ok(cbd_line_get(p.ct, queue_grant(p.q), &g));
	return g;
}

/* The user's time-out is an hour, so it is an hour. */
START_TEST(long_timeout)
{
	struct pair_options o = way(_i);

	o.timeout_s = 3600;
	slow_open(o);
	pair_submit(&p, CBD_OP_READ, buf, 0, 512, 1);
	slow_beats_for(301, slow_tick);
	slow_expect_nothing(slow_tick, 100);
	server_start(&p);
	ck_assert_int_eq(pair_reap(&p).result, 0);
	pair_close(&p);
}
END_TEST

/* One request of many parts, each answered 100 s after the one before: a write of zeroes
 * on a slow disk. */
START_TEST(one_long_request)
{
	struct pair_options o = way(_i);
	struct cbd_request *r[1];
	unsigned parts = 0;

	o.depth = 1;
	slow_open(o);
	pair_submit(&p, CBD_OP_READ, buf, 0, sizeof(buf), 1);
	for (uint64_t done = 0; done < sizeof(buf); parts++) {
		pair_fetch_all(&p, r, 1);
		done += r[0]->length;
		slow_beats_for(100, slow_tick);
		pair_complete(&p, r[0]);
		if (done < sizeof(buf))
			pair_reap_none(&p);
	}
	ck_assert_uint_ge(parts, 4);
	ck_assert_int_eq(pair_reap(&p).result, 0);
	pair_close(&p);
}
END_TEST

/* The same of many requests that wait for a tag. */
START_TEST(many_requests)
{
	struct pair_options o = way(_i);
	struct cbd_request *r[1];

	o.depth = 1;
	slow_open(o);
	for (unsigned i = 0; i < 5; i++)
		pair_submit(&p, CBD_OP_READ, buf + i * 512, i * 512, 512, i);
	for (unsigned i = 0; i < 5; i++) {
		pair_fetch_all(&p, r, 1);
		slow_beats_for(100, slow_tick);
		pair_complete(&p, r[0]);
		ck_assert_int_eq(pair_reap(&p).result, 0);
	}
	pair_close(&p);
}
END_TEST

/* A write that waited for another one (rule 13) for long has its own time: also on a queue
 * where a request that is as old as the write is not answered. */
START_TEST(write_after_write)
{
	struct pair_options o = way(_i);
	struct cbd_request *r[2], *write;
	struct cbd_io read = { .buf = buf, .length = 512, .op = CBD_OP_READ };
	struct cbd_io later = { .buf = buf, .length = 512, .op = CBD_OP_WRITE, .cookie = &later };
	struct cbd_completion c = { .result = 1 };
	struct cbd_queue *other;

	o.queues = 2;
	slow_open(o);
	other = cbd_blkdev_queue(p.blkdev, 1);
	ck_assert_int_eq(cbd_queue_submit(other, &read, 1), 1);
	pair_submit(&p, CBD_OP_WRITE, buf, 0, 512, 2);
	ck_assert_int_eq(cbd_queue_submit(other, &later, 1), 1);
	pair_fetch_all(&p, r, 2);
	slow_beats_for(200, slow_tick);
	write = r[r[1]->op == CBD_OP_WRITE];
	pair_complete(&p, write);
	ck_assert_int_eq(pair_reap(&p).result, 0);
	r[0] = r[r[0] == write];
	pair_fetch_all(&p, &r[1], 1); /* the write that has waited */
	slow_beats_for(200, slow_tick);
	unit_wait(slow_tick() && cbd_queue_poll(other, &c, 1, 1, 1) == 1);
	ck_assert_ptr_null(c.cookie);
	ck_assert_int_eq(c.result, -EIO);
	ck_assert_int_eq(cbd_queue_poll(other, &c, 0, 1, 0), 0);
	pair_complete(&p, r[0]);
	pair_complete(&p, r[1]);
	ck_assert_int_eq(cbd_queue_poll(other, &c, 1, 1, -1), 1);
	ck_assert_ptr_eq(c.cookie, &later);
	ck_assert_int_eq(c.result, 0);
	pair_close(&p);
}
END_TEST

/* The handler sits in a sync of another queue that takes long (engine psync), then in the
 * next one: it finds that this channel is to be left before it fetches from it.  So each
 * leave comes after twice the time (5 s, 10 s, ... 160 s, and no longer then). */
START_TEST(nothing_is_fetched)
{
	struct pair_options o = way(_i);

	slow_open(o);
	pair_submit(&p, CBD_OP_READ, buf, 0, 512, 1);
	for (unsigned n = 1; n <= 7; n++) {
		struct cbd_request *r[1];
		uint64_t epoch = queue_epoch(p.q);

		if (n > 1 && n < 7) {
			/* longer than it was before, shorter than it is now */
			slow_silent_for(3 << (n - 1));
			slow_expect_nothing(slow_tick, 60);
			ck_assert_uint_eq(queue_leaves(p.q), n - 1);
		}
		slow_silent_for(200);
		unit_wait(slow_tick() && queue_leaves(p.q) == n);
		slow_expect_nothing(slow_tick, 1); /* the queue is not broken */
		unit_wait(slow_tick() && grant_now().state == CBD_GRANT_LEAVING);
		/* the sync is over: a round */
		ck_assert_uint_eq(cbd_handler_fetch(cbd_backend_handler(p.backend, 0), r, 1), 0);
		unit_wait(slow_tick() && queue_epoch(p.q) != epoch);
		slow_expect_nothing(slow_tick, 30);
	}
	server_start(&p);
	ck_assert_int_eq(pair_reap(&p).result, 0);
	pair_close(&p);
}
END_TEST

/* A queue that goes back waits for the drain as any other does, however slow the disk. */
START_TEST(returns_to_a_slow_drain)
{
	struct cbd_request *r[1];
	struct cbd_grant_line g;

	slow_open(way(_i));
	pair_submit(&p, CBD_OP_READ, buf, 0, 512, 1);
	pair_fetch_all(&p, r, 1);
	g = grant_now();
	g.epoch += NEWER;
	unit_ok(cbd_line_put(p.ct, queue_grant(p.q), &g));
	unit_wait(queue_epoch(p.q) == g.epoch);
	unit_wait(slow_tick() && queue_state(p.q) == CBD_QUEUE_RETURNING);
	unit_wait(slow_tick() && grant_now().state == CBD_GRANT_LEAVING);
	slow_expect_nothing(slow_tick, 50);
	slow_silent_for(60);
	slow_expect_nothing(slow_tick, 100);
	pair_complete(&p, r[0]);
	server_start(&p);
	ck_assert_int_eq(pair_reap(&p).result, 0);
	pair_close(&p);
}
END_TEST

/* Time in a drain is none of silence, also when the grant is away for a moment after it. */
START_TEST(ungranted_after_a_slow_drain)
{
	struct cbd_request *r[1];
	struct cbd_grant_line g;
	uint64_t end;

	slow_open(way(_i));
	pair_submit(&p, CBD_OP_READ, buf, 0, 512, 1);
	pair_fetch_all(&p, r, 1);
	slow_silent_for(6);
	unit_wait(slow_tick() && queue_state(p.q) == CBD_QUEUE_DRAINING);
	slow_silent_for(60);
	slow_expect_nothing(slow_tick, 100);
	g = grant_now();
	g.state = CBD_GRANT_FREE;
	unit_ok(cbd_line_put(p.ct, queue_grant(p.q), &g));
	/* some rounds without a beat of the backend, which would store its line again */
	for (end = cbd_now_ns() + 100000000; cbd_now_ns() < end;) {
		struct cbd_completion c;

		ck_assert_msg(!slow_reaped(&c), "a request ended with %d", c.result);
	}
	ck_assert_int_eq(queue_state(p.q), CBD_QUEUE_UNGRANTED);
	pair_complete(&p, r[0]);
	server_start(&p);
	ck_assert_int_eq(pair_reap(&p).result, 0);
	pair_close(&p);
}
END_TEST

/* A backend that dies in the store of its beat line is silent like any other. */
START_TEST(dies_in_its_beat)
{
	void *place;
	struct cbd_line line;

	slow_open(way(_i));
	place = cbd_backend_info_at(p.ct, 0, CBD_BACKEND_BEAT);
	cbd_line_load(&p.ct->mem, place, &line);
	line.crc++;
	cbd_line_store(&p.ct->mem, place, &line);
	unit_wait(cbd_flag_get(&p.blkdev->suspect));
	pair_close(&p);
}
END_TEST

/* True, for conditions. */
static bool look_at_grant(void)
{
	pthread_mutex_lock(&p.q->lock);
	cbd_grant_check_unlocks(p.q);
	pthread_mutex_unlock(&p.q->lock);
	return true;
}

/* The blkdev has seen the backend of EPOCH beat so often that it has stored its lines. */
static void see_beats(uint64_t epoch)
{
	cbd_word_store(&p.blkdev->beating_incarnation, (uint32_t)(epoch >> 32));
	cbd_shared_set(&p.blkdev->backend_beats, p.blkdev->backend_beats + CBD_DOUBT_BEATS);
}

/*
 * Lines of a replaced backend that come late, its beat too: that one and the return of the
 * true one are more beats than there were.  The queue goes back to what is not in force; when
 * the true grant is there again its epoch has not been drained, so what has timed out in it
 * is not over.
 */
START_TEST(epoch_that_was_left_behind)
{
	struct pair_options o = stepping(_i);
	struct cbd_grant_line old, new;
	struct cbd_request *r[1];

	o.timeout_s = 1;
	pair_open(&p, &o);
	old = grant_now();
	pair_crash(&p);
	new = grant_now();
	look_at_grant();
	ck_assert_uint_eq(queue_epoch(p.q), new.epoch);
	pair_submit(&p, CBD_OP_WRITE, buf, 0, 512, 1);
	pair_fetch_all(&p, r, 1); /* the disk has it, and takes its time */
	pthread_mutex_lock(&p.q->lock);
	cbd_queue_timeouts(p.q, cbd_now_ns() + 2 * SECOND, false);
	pthread_mutex_unlock(&p.q->lock);
	ck_assert_int_eq(pair_reap(&p).result, -EIO);
	unit_fails(cbd_queue_write(p.q, buf, 512, 0, 0), EIO);
	unit_ok(cbd_line_put(p.ct, queue_grant(p.q), &old));
	for (unsigned i = 0; i < 3; i++) {
		look_at_grant();
		see_beats(old.epoch);
	}
	unit_ok(cbd_line_put(p.ct, queue_grant(p.q), &new));
	look_at_grant();
	/* it is not over: the backend still has it */
	ck_assert_uint_eq(p.blkdev->timed_out, 1);
	ck_assert_uint_eq(p.q->parts.n_free, p.q->parts.depth - 1);
	pair_complete(&p, r[0]);
	server_start(&p);
	for (unsigned i = 0; p.blkdev->timed_out; i++) {
		ck_assert_uint_lt(i, 1000);
		look_at_grant();
		pthread_mutex_lock(&p.q->lock);
		cbd_reap_late_unlocks(p.q);
		pthread_mutex_unlock(&p.q->lock);
		see_beats(new.epoch);
		cbd_sleep_us(2000);
	}
	unit_ok(cbd_queue_write(p.q, buf, 512, 0, 0));
	pair_close(&p);
}
END_TEST

/* The user's time-out of the queue's requests is over. */
static void time_out(void)
{
	pthread_mutex_lock(&p.q->lock);
	cbd_queue_timeouts(p.q, cbd_now_ns() + 2 * SECOND, false);
	pthread_mutex_unlock(&p.q->lock);
	ck_assert_int_eq(pair_reap(&p).result, -EIO);
}

/* Two queues; on the first one the backend has fetched a write, *R.  The other one is
 * returned. */
static struct cbd_queue *open_with_a_write(struct pair_options o, struct cbd_request **r)
{
	o.timeout_s = 1;
	o.queues = 2;
	pair_open(&p, &o);
	pair_submit(&p, CBD_OP_WRITE, buf, 0, 512, 1);
	pair_fetch_all(&p, r, 1);
	return cbd_blkdev_queue(p.blkdev, 1);
}

/*
 * A write has timed out, and a grant is forged on its channel: the backend still has the
 * write, and executes it when it likes.  So no queue may write, and its extent stays taken,
 * until the backend has answered or drained it and means the next epoch.
 */
START_TEST(forged_after_a_timeout)
{
	struct cbd_io write = { .op = CBD_OP_WRITE, .buf = buf, .length = 512 };
	struct pair_options o = stepping(_i);
	struct cbd_grant_line own, forged;
	struct cbd_request *r[1];
	struct cbd_queue *other;

	other = open_with_a_write(o, r);
	time_out();
	own = forged = grant_now();
	forged.epoch += _i % 2 ? NEWER : 7;
	unit_ok(cbd_line_put(p.ct, queue_grant(p.q), &forged));
	look_at_grant();
	ck_assert_uint_eq(queue_epoch(p.q), forged.epoch);
	unit_fails(cbd_queue_submit(other, &write, 1), EIO);
	ck_assert_uint_eq(p.q->parts.n_free, p.q->parts.depth - 1);
	look_at_grant();
	if (forged.epoch - own.epoch >= NEWER) { /* these beats are of another backend */
		see_beats(own.epoch);
		look_at_grant();
		unit_fails(cbd_queue_submit(other, &write, 1), EIO);
	}
	/* the backend stores its own grant again, and the forged one comes back: it was not
	 * there all the time */
	unit_ok(cbd_line_put(p.ct, queue_grant(p.q), &own));
	look_at_grant();
	see_beats(own.epoch);
	unit_ok(cbd_line_put(p.ct, queue_grant(p.q), &forged));
	look_at_grant();
	unit_fails(cbd_queue_submit(other, &write, 1), EIO);
	unit_ok(cbd_line_put(p.ct, queue_grant(p.q), &own));
	look_at_grant();
	see_beats(own.epoch);
	look_at_grant();
	ck_assert_uint_eq(queue_epoch(p.q), own.epoch);
	see_beats(own.epoch);
	look_at_grant();
	unit_fails(cbd_queue_submit(other, &write, 1), EIO);
	pair_complete(&p, r[0]);
	server_start(&p);
	unit_wait(look_at_grant() && queue_state(p.q) == CBD_QUEUE_ATTACHED);
	unit_fails(cbd_queue_submit(other, &write, 1), EIO);
	look_at_grant();
	see_beats(own.epoch);
	look_at_grant();
	unit_ok(cbd_queue_write(other, buf, 512, 0, 0));
	ck_assert_uint_eq(p.q->parts.n_free, p.q->parts.depth);
	pair_close(&p);
}
END_TEST

/* A grant that no backend has stored, which the queue follows. */
static struct cbd_grant_line follow_forged(void)
{
	struct cbd_grant_line own = grant_now(), forged = own;

	forged.epoch += NEWER;
	unit_ok(cbd_line_put(p.ct, queue_grant(p.q), &forged));
	look_at_grant();
	ck_assert_uint_eq(queue_epoch(p.q), forged.epoch);
	return own;
}

/* The queue goes back to the grant OWN, and its backend answers R and serves. */
static void return_to(struct cbd_grant_line *own, struct cbd_request *r)
{
	unit_ok(cbd_line_put(p.ct, queue_grant(p.q), own));
	look_at_grant();
	see_beats(own->epoch);
	look_at_grant();
	ck_assert_uint_eq(queue_epoch(p.q), own->epoch);
	pair_complete(&p, r);
	server_start(&p);
	unit_wait(look_at_grant() && queue_state(p.q) == CBD_QUEUE_ATTACHED);
}

/*
 * A write was published, a forged grant is followed, and the write times out before it is
 * published again (a thread copies a long payload that comes before it).  The backend has
 * it from the first time: no queue may write, and its extent stays taken.
 */
START_TEST(forged_and_not_published_again)
{
	struct cbd_io write = { .op = CBD_OP_WRITE, .buf = buf, .length = 512 };
	struct pair_options o = stepping(_i);
	struct cbd_grant_line own;
	struct cbd_request *r[1];
	struct cbd_queue *other;

	other = open_with_a_write(o, r);
	own = follow_forged();
	pthread_mutex_lock(&p.q->lock);
	for (unsigned tag = 0; tag < p.q->parts.depth; tag++)
		if (p.q->parts.all[tag].state == CBD_PART_PUBLISHED)
			p.q->parts.all[tag].state = CBD_PART_READY;
	pthread_mutex_unlock(&p.q->lock);
	time_out();
	unit_fails(cbd_queue_submit(other, &write, 1), EIO);
	ck_assert_uint_eq(p.q->parts.n_free, p.q->parts.depth - 1);
	return_to(&own, r[0]);
	unit_fails(cbd_queue_submit(other, &write, 1), EIO);
	look_at_grant();
	see_beats(own.epoch);
	look_at_grant();
	unit_ok(cbd_queue_write(other, buf, 512, 0, 0));
	ck_assert_uint_eq(p.q->parts.n_free, p.q->parts.depth);
	pair_close(&p);
}
END_TEST

/*
 * All tags are behind: an armed descriptor has no reason to fire by itself, and a request
 * waits until the backend means the next epoch.
 */
START_TEST(waits_for_a_tag_behind)
{
	struct pair_options o = stepping(_i);
	struct cbd_completion c = { .result = -1 };
	struct cbd_grant_line own;
	struct cbd_request *r[1];

	o.timeout_s = 1;
	o.depth = 1;
	pair_open(&p, &o);
	pair_submit(&p, CBD_OP_WRITE, buf, 0, 512, 1);
	pair_fetch_all(&p, r, 1);
	time_out();
	own = follow_forged();
	ck_assert_uint_eq(p.q->parts.n_behind, p.q->parts.depth);
	unit_ok(cbd_queue_fd(p.q));
	ck_assert_int_eq(cbd_queue_arm(p.q), 0);
	ck_assert_uint_eq(p.q->event.latest_us, 0);
	pair_submit(&p, CBD_OP_READ, buf, 0, 512, 2);
	ck_assert_ptr_nonnull(p.q->pending.waiting);
	return_to(&own, r[0]);
	look_at_grant();
	ck_assert_ptr_nonnull(p.q->pending.waiting);
	see_beats(own.epoch);
	look_at_grant();
	unit_wait(cbd_queue_poll(p.q, &c, 0, 1, 0) == 1);
	ck_assert_int_eq(c.result, 0);
	pair_close(&p);
}
END_TEST

static void add(Suite *s, const char *name, const TTest *test)
{
	TCase *t = tcase_create(name);

	tcase_set_timeout(t, UNIT_TIMEOUT);
	tcase_add_loop_test(t, test, 0, WAYS);
	suite_add_tcase(s, t);
}

int main(void)
{
	Suite *s = suite_create("patience");

	add(s, "long_timeout", long_timeout);
	add(s, "one_long_request", one_long_request);
	add(s, "many_requests", many_requests);
	add(s, "write_after_write", write_after_write);
	add(s, "nothing_is_fetched", nothing_is_fetched);
	add(s, "returns_to_a_slow_drain", returns_to_a_slow_drain);
	add(s, "ungranted_after_a_slow_drain", ungranted_after_a_slow_drain);
	add(s, "dies_in_its_beat", dies_in_its_beat);
	add(s, "epoch_that_was_left_behind", epoch_that_was_left_behind);
	add(s, "forged_after_a_timeout", forged_after_a_timeout);
	add(s, "forged_and_not_published_again", forged_and_not_published_again);
	add(s, "waits_for_a_tag_behind", waits_for_a_tag_behind);
	return unit_main(s);
}
