/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test-belief.c - what a blkdev believes of its backend (rule 7.9): lines that are
 * sealed and untrue, stored once by another process or kept by the backend itself.
 * Afterwards requests are answered again, or end; they never hang.
 */
#include <config.h>

#include <errno.h>

#include "base/bytes.h"
#include "unit.h"

#define NEWER (1ull << 32) /* of an epoch: the backend's next incarnation */

static struct pair p;

static void open_two_queues(int i)
{
	struct pair_options o = way(i);

	o.queues = 2;
	o.heartbeat_ms = 20;
	o.dead_after = 50;
	pair_open(&p, &o);
}

static struct cbd_grant_line grant_of(struct cbd_queue *q)
{
	struct cbd_grant_line g;

	unit_ok(cbd_line_get(p.ct, queue_grant(q), &g));
	return g;
}

/* A write on Q; its result.  A test that waits for ever says which. */
static int write_on(struct cbd_queue *q, uint64_t offset)
{
	static unsigned char buf[4096];
	struct cbd_io io = {
		.op = CBD_OP_WRITE, .buf = buf, .length = sizeof(buf), .offset = offset
	};
	struct cbd_completion c;

	unit_fill(buf, sizeof(buf), offset);
	ck_assert_int_eq(cbd_queue_submit(q, &io, 1), 1);
	ck_assert_msg(cbd_queue_poll(q, &c, 1, 1, UNIT_WAIT_S * 1000 * (int)test_factor()) == 1,
		      "queue %u: its write hangs", q->index);
	return c.result;
}

static void writes_pass(void)
{
	for (unsigned i = 0; i < p.o.queues; i++) {
		struct cbd_queue *q = cbd_blkdev_queue(p.blkdev, i);

		ck_assert_int_eq(write_on(q, i * 8192), 0);
		unit_ok(cbd_queue_flush(q));
	}
}

/* A grant with another epoch on the first queue, which follows it; the backend has
 * stood still meanwhile, and stores its own line at its next beat. */
static void follow_forged(struct cbd_grant_line g)
{
	server_stop(&p);
	unit_ok(cbd_line_put(p.ct, queue_grant(p.q), &g));
	unit_wait(queue_epoch(p.q) == g.epoch);
	server_start(&p);
}

START_TEST(forged_grant)
{
	struct cbd_grant_line g;
	uint64_t epoch;

	open_two_queues(_i % WAYS);
	g = grant_of(p.q);
	epoch = g.epoch;
	g.epoch += _i / WAYS ? 7 : NEWER;
	follow_forged(g);
	/* the queue with the honest grant first: it has nothing to do with the lie */
	ck_assert_int_eq(write_on(cbd_blkdev_queue(p.blkdev, 1), 65536), 0);
	writes_pass();
	ck_assert_uint_gt(queue_epoch(p.q), epoch);
	ck_assert_uint_eq(queue_epoch(p.q) >> 32, epoch >> 32);
	pair_close(&p);
}
END_TEST

/* The same with requests in flight in the epoch that was true. */
START_TEST(forged_grant_in_flight)
{
	static unsigned char buf[4][4096];
	struct cbd_grant_line g;

	open_two_queues(_i);
	server_stop(&p);
	for (unsigned i = 0; i < 4; i++) {
		unit_fill(buf[i], 4096, i);
		pair_submit(&p, i % 2 ? CBD_OP_READ : CBD_OP_WRITE, buf[i], i * 4096, 4096, i);
	}
	g = grant_of(p.q);
	g.epoch += NEWER;
	follow_forged(g);
	for (unsigned i = 0; i < 4; i++)
		ck_assert_int_eq(pair_reap(&p).result, 0);
	for (unsigned i = 0; i < 4; i++)
		ck_assert_mem_eq(buf[i], unit_disk_data(&p.disk) + i * 4096, 4096);
	writes_pass();
	pair_close(&p);
}
END_TEST

/* The backend's state line names its next incarnation while a blkdev attaches. */
START_TEST(forged_state_at_attach)
{
	struct pair_options o = way(_i);
	struct cbd_state_line s;
	void *place;

	o.queues = 2;
	o.heartbeat_ms = 1000; /* the backend stores its line again that much later */
	pair_format(&p, &o);
	pair_publish(&p);
	place = cbd_backend_info_at(p.ct, 0, CBD_BACKEND_STATE);
	unit_wait(cbd_line_get(p.ct, cbd_backend_info_at(p.ct, 0, CBD_BACKEND_BEAT), &s) == 0 &&
		  !cbd_is_zero(&s, sizeof(s)));
	unit_ok(cbd_line_get(p.ct, place, &s));
	s.incarnation++;
	unit_ok(cbd_line_put(p.ct, place, &s));
	pair_attach(&p);
	writes_pass();
	pair_close(&p);
}
END_TEST

/* "The backend was cleared", of the epoch in force or of a later one. */
START_TEST(forged_close)
{
	struct cbd_grant_line g;

	open_two_queues(_i % WAYS);
	server_stop(&p);
	g = grant_of(p.q);
	g.state = CBD_GRANT_CLOSED;
	g.epoch += _i / WAYS ? NEWER : 0;
	unit_ok(cbd_line_put(p.ct, queue_grant(p.q), &g));
	unit_wait(write_on(p.q, 0) == -ESHUTDOWN);
	server_start(&p);
	unit_wait(write_on(p.q, 0) == 0);
	writes_pass();
	pair_close(&p);
}
END_TEST

/* A grant that makes no sense, once. */
START_TEST(forged_nonsense)
{
	struct cbd_grant_line g;

	open_two_queues(_i);
	server_stop(&p);
	g = grant_of(p.q);
	g.epoch += NEWER;
	g.depth = 0;
	unit_ok(cbd_line_put(p.ct, queue_grant(p.q), &g));
	cbd_sleep_us(100000); /* several looks, none of which may believe it */
	server_start(&p);
	writes_pass();
	pair_close(&p);
}
END_TEST

/* The backend itself says so, and goes on saying it: the queue ends, nothing hangs. */
START_TEST(kept_nonsense)
{
	struct cbd_bchannel *bc;

	open_two_queues(_i);
	server_stop(&p);
	bc = &p.backend->channels[p.q->ch.id];
	bc->grant.epoch += NEWER;
	bc->grant.depth = 0;
	unit_ok(cbd_backend_put_grant(p.backend, bc));
	server_start(&p);
	unit_wait(queue_state(p.q) == CBD_QUEUE_BROKEN);
	ck_assert_int_eq(write_on(p.q, 0), -EIO);
	pair_close(&p);
}
END_TEST

/* The control side alone: nothing is answered. */
static bool has_gone_back(uint64_t epoch)
{
	unit_ok(cbd_backend_tick(p.backend));
	return queue_epoch(p.q) != epoch || queue_state(p.q) == CBD_QUEUE_BROKEN;
}

/* Each time that the queue has come back, another grant is forged: it ends. */
START_TEST(forged_again_and_again)
{
	static unsigned char buf[512];

	open_two_queues(_i);
	server_stop(&p);
	pair_submit(&p, CBD_OP_READ, buf, 0, 512, 1);
	for (unsigned i = 0; i <= CBD_MAX_LEAVES; i++) {
		struct cbd_grant_line g = grant_of(p.q);

		g.epoch += NEWER << i; /* it has not been drained, so G may be what was forged */
		unit_ok(cbd_line_put(p.ct, queue_grant(p.q), &g));
		unit_wait(queue_epoch(p.q) == g.epoch);
		unit_wait(has_gone_back(g.epoch));
	}
	ck_assert_int_eq(pair_reap(&p).result, -EIO);
	pair_close(&p);
}
END_TEST

/* ------------------------------------------------------- lines of the past */

/* The late store of a backend that was replaced: its grant, and its answers, are of no
 * use in the new epoch, however long nobody corrects the line. */
START_TEST(old_genuine_grant)
{
	static unsigned char buf[2][512];
	struct cbd_grant_line old;
	struct cbd_completion c;
	struct cbd_ce answer;
	uint64_t epoch, beats;

	open_two_queues(_i);
	old = grant_of(p.q);
	epoch = queue_epoch(p.q);
	pair_crash(&p);
	unit_wait(queue_epoch(p.q) != epoch);
	epoch = queue_epoch(p.q);
	unit_ok(cbd_line_put(p.ct, queue_grant(p.q), &old));
	pair_submit(&p, CBD_OP_READ, buf[0], 0, 512, 1);
	/* an answer to it from the old epoch, sealed as it was then */
	pthread_mutex_lock(&p.q->lock);
	answer = (struct cbd_ce){ .count = 0, .tid = p.q->parts.all[0].se.tid };
	pthread_mutex_unlock(&p.q->lock);
	{
		struct cbd_channel zombie;

		cbd_channel_init(&zombie, p.bt, 0, p.q->ch.id);
		cbd_channel_enter(&zombie, old.epoch);
		unit_ok(cbd_channel_send_ce(&zombie, &answer));
	}
	beats = pair_beats(&p);
	while (pair_beats(&p) < beats + 10)
		ck_assert_int_eq(cbd_queue_poll(p.q, &c, 1, 1, 5), 0);
	ck_assert_uint_eq(queue_epoch(p.q), epoch);
	server_start(&p);
	ck_assert_int_eq(pair_reap(&p).result, 0);
	ck_assert_uint_eq(queue_epoch(p.q), epoch);
	writes_pass();
	pair_close(&p);
}
END_TEST

static void check_grant(struct cbd_queue *q)
{
	pthread_mutex_lock(&q->lock);
	cbd_grant_check_unlocks(q);
	pthread_mutex_unlock(&q->lock);
}

static int poll_once(struct cbd_queue *q, struct cbd_completion *c)
{
	return cbd_queue_poll(q, c, 1, 1, 2);
}

/* One queue knows the new backend; the grant of the other one is of the old one still,
 * whose answer comes: it is not passed on, and the new backend executes the write. */
START_TEST(answer_of_a_replaced_backend)
{
	static unsigned char buf[512];
	struct pair_options o = stepping(_i);
	struct cbd_grant_line old, new;
	struct cbd_request *r[1];
	struct cbd_completion c;

	o.queues = 2;
	pair_open(&p, &o);
	old = grant_of(p.q);
	pair_submit(&p, CBD_OP_WRITE, buf, 0, 512, 1);
	pair_fetch_all(&p, r, 1);
	pair_complete(&p, r[0]);
	p.geometry.verifier += 0x10000;
	pair_crash(&p);
	new = grant_of(p.q);
	unit_ok(cbd_line_put(p.ct, queue_grant(p.q), &old));
	check_grant(cbd_blkdev_queue(p.blkdev, 1));
	for (unsigned i = 0; i < 5; i++)
		ck_assert_int_eq(poll_once(p.q, &c), 0);
	unit_ok(cbd_line_put(p.ct, queue_grant(p.q), &new));
	server_start(&p);
	ck_assert_int_eq(pair_reap(&p).result, 0);
	ck_assert_uint_eq(unit_disk_ops(&p.disk, CBD_OP_WRITE), 2);
	ck_assert_uint_eq(p.blkdev->losses, 0);
	unit_ok(cbd_queue_flush(p.q));
	pair_close(&p);
}
END_TEST

/* Two queues, the second of which follows a forged grant of a newer backend; it is
 * returned. */
static struct cbd_queue *open_with_forged_other(struct pair_options o)
{
	struct cbd_queue *other;
	struct cbd_grant_line g;

	o.queues = 2;
	pair_open(&p, &o);
	other = cbd_blkdev_queue(p.blkdev, 1);
	g = grant_of(other);
	g.epoch += NEWER;
	g.verifier += 0x10000;
	unit_ok(cbd_line_put(p.ct, queue_grant(other), &g));
	check_grant(other);
	return other;
}

/* The same, and the backend goes on beating without a new grant for that channel: what
 * the other queue believes is not true of this one, so the answer counts, as one that
 * may be lost. */
START_TEST(answer_that_was_held)
{
	static unsigned char buf[512];
	struct pair_options o = stepping(_i);
	struct cbd_request *r[1];
	struct cbd_completion c;

	open_with_forged_other(o);
	pair_submit(&p, CBD_OP_WRITE, buf, 0, 512, 1);
	pair_fetch_all(&p, r, 1);
	pair_complete(&p, r[0]);
	ck_assert_int_eq(poll_once(p.q, &c), 0);
	cbd_shared_set(&p.blkdev->backend_beats, p.blkdev->backend_beats + CBD_DOUBT_BEATS - 1);
	ck_assert_int_eq(poll_once(p.q, &c), 0);
	cbd_shared_set(&p.blkdev->backend_beats, p.blkdev->backend_beats + 1);
	ck_assert_int_eq(pair_reap(&p).result, 0);
	ck_assert_uint_eq(p.blkdev->losses, 1);
	/* once: the next ones are not held */
	pair_submit(&p, CBD_OP_WRITE, buf, 0, 512, 2);
	pair_fetch_all(&p, r, 1);
	pair_complete(&p, r[0]);
	ck_assert_int_eq(pair_reap(&p).result, 0);
	pair_close(&p);
}
END_TEST

/* The blkdev has seen N beats more, of this incarnation. */
static void see_beats(uint64_t epoch, unsigned n)
{
	cbd_word_store(&p.blkdev->beating_incarnation, (uint32_t)(epoch >> 32));
	cbd_shared_set(&p.blkdev->backend_beats, p.blkdev->backend_beats + n);
}

/* An old grant stays, whatever its cause, while the backend that replaced its own one
 * beats: only beats of the backend that granted it say that it is meant. */
START_TEST(beats_of_another_backend)
{
	struct pair_options o = stepping(_i);
	struct cbd_grant_line old;
	uint64_t epoch;

	pair_open(&p, &o);
	old = grant_of(p.q);
	pair_crash(&p);
	check_grant(p.q);
	epoch = queue_epoch(p.q);
	ck_assert_uint_gt(epoch >> 32, old.epoch >> 32);
	unit_ok(cbd_line_put(p.ct, queue_grant(p.q), &old));
	check_grant(p.q);
	see_beats(epoch, 2 * CBD_DOUBT_BEATS);
	check_grant(p.q);
	ck_assert_uint_eq(queue_epoch(p.q), epoch);
	ck_assert_int_eq(queue_state(p.q), CBD_QUEUE_ATTACHED);
	see_beats(old.epoch, 1);
	check_grant(p.q);
	ck_assert_uint_eq(queue_epoch(p.q), old.epoch);
	ck_assert_int_eq(queue_state(p.q), CBD_QUEUE_RETURNING);
	pair_close(&p);
}
END_TEST

/* An old grant is there, the true one again, and then the old one: it was not there all the
 * time, also when only the short look at an answer has found that. */
START_TEST(doubt_begins_anew)
{
	static unsigned char buf[512];
	struct pair_options o = stepping(_i);
	struct cbd_grant_line old, own;
	struct cbd_request *r[1];
	struct cbd_completion c;

	pair_open(&p, &o);
	old = own = grant_of(p.q);
	old.epoch--;
	check_grant(p.q); /* from here on the short look is enough */
	pair_submit(&p, CBD_OP_READ, buf, 0, 512, 1);
	pair_fetch_all(&p, r, 1);
	unit_ok(cbd_line_put(p.ct, queue_grant(p.q), &old));
	check_grant(p.q);
	unit_ok(cbd_line_put(p.ct, queue_grant(p.q), &own));
	pair_complete(&p, r[0]);
	ck_assert_int_eq(poll_once(p.q, &c), 1);
	see_beats(own.epoch, CBD_DOUBT_BEATS);
	unit_ok(cbd_line_put(p.ct, queue_grant(p.q), &old));
	check_grant(p.q);
	ck_assert_int_eq(queue_state(p.q), CBD_QUEUE_ATTACHED);
	see_beats(own.epoch, CBD_DOUBT_BEATS);
	check_grant(p.q);
	ck_assert_int_eq(queue_state(p.q), CBD_QUEUE_RETURNING);
	pair_close(&p);
}
END_TEST

/* A forged grant on a queue, which then breaks: what it believed is of no weight for the
 * answers of the other one. */
START_TEST(broken_queue_believes_nothing)
{
	static unsigned char buf[512];
	struct pair_options o = stepping(_i);
	struct cbd_request *r[1];
	struct cbd_queue *other = open_with_forged_other(o);
	struct cbd_completion c;

	pthread_mutex_lock(&other->lock);
	cbd_queue_break(other, -EIO);
	cbd_queue_unlock_and_tell(other);
	pair_submit(&p, CBD_OP_WRITE, buf, 0, 512, 1);
	pair_fetch_all(&p, r, 1);
	pair_complete(&p, r[0]);
	ck_assert_int_eq(poll_once(p.q, &c), 1);
	ck_assert_int_eq(c.result, 0);
	ck_assert_uint_eq(p.blkdev->losses, 0);
	pair_close(&p);
}
END_TEST

/* The answer to a write on the first queue comes while another queue believes in a newer
 * backend: it is held until that one is not heard of in three beats. */
static void write_is_held(void)
{
	static unsigned char buf[512];
	struct cbd_request *r[1];
	struct cbd_completion c;

	pair_submit(&p, CBD_OP_WRITE, buf, 0, 512, 1);
	pair_fetch_all(&p, r, 1);
	pair_complete(&p, r[0]);
	ck_assert_int_eq(poll_once(p.q, &c), 0);
	see_beats(queue_epoch(p.q), CBD_DOUBT_BEATS);
	ck_assert_int_eq(pair_reap(&p).result, 0);
}

/* What the other queue believed was wrong, and it went back.  Then a backend of that very
 * incarnation comes, and is true: the first queue's disbelief must be over. */
START_TEST(belief_that_came_back)
{
	struct pair_options o = stepping(_i);
	struct cbd_grant_line own, newer;
	struct cbd_queue *other;

	o.queues = 2;
	pair_open(&p, &o);
	other = cbd_blkdev_queue(p.blkdev, 1);
	own = newer = grant_of(other);
	newer.epoch += NEWER;
	unit_ok(cbd_line_put(p.ct, queue_grant(other), &newer));
	check_grant(other);
	write_is_held();
	unit_ok(cbd_line_put(p.ct, queue_grant(other), &own));
	check_grant(other);
	see_beats(own.epoch, CBD_DOUBT_BEATS);
	check_grant(other);
	ck_assert_int_eq(queue_state(other), CBD_QUEUE_RETURNING);
	newer.epoch++;
	unit_ok(cbd_line_put(p.ct, queue_grant(other), &newer));
	check_grant(other);
	ck_assert_uint_eq(queue_epoch(other), newer.epoch);
	write_is_held();
	pair_close(&p);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("belief");
	TCase *t = tcase_create("belief");

	tcase_set_timeout(t, UNIT_TIMEOUT);
	tcase_add_loop_test(t, forged_grant, 0, 2 * WAYS);
	tcase_add_loop_test(t, forged_grant_in_flight, 0, WAYS);
	tcase_add_loop_test(t, forged_state_at_attach, 0, WAYS);
	tcase_add_loop_test(t, forged_close, 0, 2 * WAYS);
	tcase_add_loop_test(t, forged_nonsense, 0, WAYS);
	tcase_add_loop_test(t, kept_nonsense, 0, WAYS);
	tcase_add_loop_test(t, forged_again_and_again, 0, WAYS);
	tcase_add_loop_test(t, old_genuine_grant, 0, WAYS);
	tcase_add_loop_test(t, answer_of_a_replaced_backend, 0, WAYS);
	tcase_add_loop_test(t, answer_that_was_held, 0, WAYS);
	tcase_add_loop_test(t, beats_of_another_backend, 0, WAYS);
	tcase_add_loop_test(t, broken_queue_believes_nothing, 0, WAYS);
	tcase_add_loop_test(t, belief_that_came_back, 0, WAYS);
	tcase_add_loop_test(t, doubt_begins_anew, 0, WAYS);
	suite_add_tcase(s, t);
	return unit_main(s);
}
