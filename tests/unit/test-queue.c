/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test-queue.c - the states of a queue and who changes them; messages of a queue; what
 * a queue learns when its backend moves to another host.
 */
#include <config.h>

#include <errno.h>

#include "blkdev/blkdev.h"
#include "unit.h"

static struct pair p;

/* As the leader and the heartbeat thread do. */
static enum cbd_epoch_check look_at_grant(void)
{
	enum cbd_epoch_check r;

	pthread_mutex_lock(&p.q->lock);
	r = cbd_grant_check_unlocks(p.q);
	cbd_queue_unlock_and_tell(p.q);
	return r;
}

static void leave(enum cbd_leave_reason reason)
{
	pthread_mutex_lock(&p.q->lock);
	cbd_leave(p.q, reason);
	cbd_queue_unlock_and_tell(p.q);
}

/* ------------------------------------------------------------------ states */

/* Everything but the last state can be left, and nothing ends in the first. */
START_TEST(table)
{
	for (int from = 0; from < CBD_QUEUE_STATES; from++) {
		ck_assert(!cbd_queue_may_become(from, CBD_QUEUE_NEW));
		ck_assert_int_eq(cbd_queue_may_become(from, CBD_QUEUE_BROKEN),
				 from != CBD_QUEUE_BROKEN);
		ck_assert_int_eq(cbd_queue_may_become(from, CBD_QUEUE_ATTACHED),
				 from != CBD_QUEUE_BROKEN);
	}
	ck_assert(!cbd_queue_may_become(CBD_QUEUE_NEW, CBD_QUEUE_STOPPED));
	ck_assert(!cbd_queue_may_become(CBD_QUEUE_STOPPED, CBD_QUEUE_UNGRANTED));
}
END_TEST

/* The blkdev asks for a new epoch, and the backend grants it. */
START_TEST(left_and_entered)
{
	struct pair_options o = stepping(_i);
	struct cbd_request *r[1];
	uint64_t epoch;

	pair_open(&p, &o);
	epoch = p.q->ch.epoch;
	ck_assert_int_eq(queue_state(p.q), CBD_QUEUE_ATTACHED);
	ck_assert_int_eq(look_at_grant(), CBD_EPOCH_SAME);
	leave(CBD_LEAVE_BAD_RATE);
	ck_assert_int_eq(queue_state(p.q), CBD_QUEUE_LEAVING);
	ck_assert_int_eq(look_at_grant(), CBD_EPOCH_SAME);
	ck_assert_int_eq(queue_state(p.q), CBD_QUEUE_LEAVING);
	unit_wait(pair_fetch(&p, r, 1) == 0 && look_at_grant() == CBD_EPOCH_CHANGED);
	ck_assert_int_eq(queue_state(p.q), CBD_QUEUE_ATTACHED);
	ck_assert_uint_gt(p.q->ch.epoch, epoch);
	pair_close(&p);
}
END_TEST

static void store_grant_state(enum cbd_grant_state state)
{
	void *place = cbd_channel_backend_line(&p.q->ch, CBD_CHANNEL_GRANT);
	struct cbd_grant_line g;

	unit_ok(cbd_line_get(p.ct, place, &g));
	g.state = state;
	unit_ok(cbd_line_put(p.ct, place, &g));
}

/* The handler asks for it, by the grant. */
START_TEST(drained)
{
	struct pair_options o = stepping(_i);
	struct cbd_leave_line l;

	pair_open(&p, &o);
	store_grant_state(CBD_GRANT_LEAVING);
	ck_assert_int_eq(look_at_grant(), CBD_EPOCH_SAME);
	ck_assert_int_eq(queue_state(p.q), CBD_QUEUE_DRAINING);
	unit_ok(cbd_line_get(p.ct, cbd_channel_blkdev_line(&p.q->ch, CBD_CHANNEL_LEAVE), &l));
	ck_assert_uint_eq(l.epoch, p.q->ch.epoch);
	store_grant_state(CBD_GRANT_GRANTED); /* a line that was reverted */
	ck_assert_int_eq(look_at_grant(), CBD_EPOCH_SAME);
	ck_assert_int_eq(queue_state(p.q), CBD_QUEUE_LEAVING);
	pair_close(&p);
}
END_TEST

/* Requests wait while nothing is granted, and go on with the same grant. */
START_TEST(ungranted)
{
	struct pair_options o = stepping(_i);
	unsigned char buf[512];
	struct cbd_request *r[1];

	pair_open(&p, &o);
	store_grant_state(CBD_GRANT_FREE);
	ck_assert_int_eq(look_at_grant(), CBD_EPOCH_UNCLEAR);
	ck_assert_int_eq(queue_state(p.q), CBD_QUEUE_UNGRANTED);
	pair_submit(&p, CBD_OP_READ, buf, 0, 512, 1);
	ck_assert_uint_eq(pair_fetch(&p, r, 1), 0);
	store_grant_state(CBD_GRANT_GRANTED);
	ck_assert_int_eq(look_at_grant(), CBD_EPOCH_SAME);
	ck_assert_int_eq(queue_state(p.q), CBD_QUEUE_ATTACHED);
	pair_fetch_all(&p, r, 1);
	pair_complete(&p, r[0]);
	ck_assert_int_eq(pair_reap(&p).result, 0);
	pair_close(&p);
}
END_TEST

/* The backend stops in order, which changes nothing; it is cleared for good; another one
 * comes; then one with another disk. */
START_TEST(stopped_and_started)
{
	struct pair_options o = stepping(_i);
	unsigned char buf[512] = { 0 };
	struct cbd_request *r[1];

	pair_open(&p, &o);
	pair_submit(&p, CBD_OP_WRITE, buf, 0, 512, 1);
	pair_fetch_all(&p, r, 1);
	cbd_backend_drain(p.backend);
	pair_complete(&p, r[0]);
	unit_wait(pair_fetch(&p, r, 1) == 0 && cbd_backend_drained(p.backend));
	ck_assert_int_eq(look_at_grant(), CBD_EPOCH_SAME);
	ck_assert_int_eq(queue_state(p.q), CBD_QUEUE_ATTACHED);
	ck_assert_int_eq(pair_reap(&p).result, 0);
	cbd_backend_close(p.backend);
	p.backend = NULL;
	unit_ok(cbd_clear(p.ct, CBD_OBJECT_BACKEND, 0, NULL, 0));
	look_at_grant();
	ck_assert_int_eq(queue_state(p.q), CBD_QUEUE_CLOSING);
	unit_fails(cbd_queue_read(p.q, buf, 512, 0), ESHUTDOWN);
	ck_assert_ptr_nonnull(strstr(cbd_errmsg(), "has cleared the backend"));
	ck_assert_int_eq(queue_state(p.q), CBD_QUEUE_STOPPED);
	pair_crash(&p);
	unit_wait(look_at_grant() == CBD_EPOCH_CHANGED && queue_state(p.q) == CBD_QUEUE_ATTACHED);
	p.geometry.disk_id[3]++;
	pair_crash(&p);
	for (unsigned i = 0; i < 20; i++)
		look_at_grant();
	ck_assert_int_eq(queue_state(p.q), CBD_QUEUE_UNGRANTED); /* it waits for its own disk */
	p.geometry.disk_id[3]--;
	pair_crash(&p);
	unit_wait(look_at_grant() == CBD_EPOCH_CHANGED && queue_state(p.q) == CBD_QUEUE_ATTACHED);
	pair_close(&p);
}
END_TEST

/* One that comes after a backend that was cleared serves from when it has granted: the
 * next beat, at which this side would look by itself, is long after that.  _i: by which
 * call, and whether the queue has ended or has only seen the clear. */
START_TEST(served_after_clear)
{
	bool submits = _i & 1, ended = _i & 2;
	struct pair_options o = way(0);
	char buf[512] = { 0 };

	o.heartbeat_ms = 2000;
	o.dead_after = 2; /* a clear watches for so long */
	pair_open(&p, &o);
	server_stop(&p);
	cbd_backend_close(p.backend);
	p.backend = NULL;
	unit_ok(cbd_clear(p.ct, CBD_OBJECT_BACKEND, 0, NULL, 0));
	unit_wait(look_at_grant() == CBD_EPOCH_SAME && queue_state(p.q) == CBD_QUEUE_CLOSING);
	if (ended)
		unit_fails(cbd_queue_flush(p.q), ESHUTDOWN);
	pair_crash(&p);
	server_start(&p);
	if (submits) {
		pair_submit(&p, CBD_OP_WRITE, buf, 0, 512, 1);
		ck_assert_int_eq(pair_reap(&p).result, 0);
	} else {
		unit_ok(cbd_queue_write(p.q, buf, 512, 0, 0));
	}
	pair_close(&p);
}
END_TEST

/* ---------------------------------------------------------------- messages */

static unsigned told, told_locked;

/* Others may have it for a moment; the thread that calls has it for ever. */
static bool gets_free(pthread_mutex_t *lock)
{
	for (unsigned i = 0; i < 5000; i++) {
		if (pthread_mutex_trylock(lock) == 0) {
			pthread_mutex_unlock(lock);
			return true;
		}
		cbd_sleep_us(1000);
	}
	return false;
}

static void log_and_look(void *opaque, enum cbd_log_level level, const char *message)
{
	(void)level;
	if (!strstr(message, opaque))
		return;
	if (!gets_free(&p.q->lock) || !gets_free(&p.blkdev->lock) || !gets_free(&p.blkdev->lines))
		__atomic_add_fetch(&told_locked, 1, __ATOMIC_SEQ_CST);
	__atomic_add_fetch(&told, 1, __ATOMIC_SEQ_CST);
}

/* Before the pair, and so its threads, are there. */
static void listen(const char *text)
{
	told = told_locked = 0;
	cbd_set_log(log_and_look, (void *)(uintptr_t)text);
}

static void told_once(void)
{
	ck_assert_uint_eq(__atomic_load_n(&told, __ATOMIC_SEQ_CST), 1);
	ck_assert_uint_eq(__atomic_load_n(&told_locked, __ATOMIC_SEQ_CST), 0);
}

/* The user's function may call the library, so no lock of it is held. */
START_TEST(loss_is_told_without_locks)
{
	struct pair_options o = way(_i);
	unsigned char buf[512] = { 0 };

	listen("may be lost; the next flush");
	pair_open(&p, &o);
	unit_ok(cbd_queue_write(p.q, buf, 512, 0, 0));
	cbd_backend_data_lost(p.backend);
	unit_fails(cbd_queue_flush(p.q), EIO);
	unit_wait(__atomic_load_n(&told, __ATOMIC_SEQ_CST) > 0);
	told_once();
	pair_close(&p);
}
END_TEST

/* A backend beats before it grants.  After one that was cleared the log says that it is
 * back only when its requests are served. */
START_TEST(back_is_told_when_served)
{
	struct pair_options o = way(_i);
	char buf[512] = { 0 };
	uint64_t beats;

	listen("is back, after ");
	pair_open(&p, &o);
	server_stop(&p);
	cbd_backend_close(p.backend);
	p.backend = NULL;
	unit_ok(cbd_clear(p.ct, CBD_OBJECT_BACKEND, 0, NULL, 0));
	unit_wait(cbd_blkdev_suspects(p.blkdev));
	unit_ok(cbd_backend_open(p.bt, &(struct cbd_backend_options){ .name = "disk" },
				 sizeof(struct cbd_backend_options), &p.backend));
	server_start(&p);
	unit_wait(!cbd_blkdev_suspects(p.blkdev));
	beats = pair_beats(&p);
	unit_wait(pair_beats(&p) > beats + 1);
	unit_fails(cbd_queue_flush(p.q), ESHUTDOWN);
	ck_assert_uint_eq(__atomic_load_n(&told, __ATOMIC_SEQ_CST), 0);
	server_stop(&p);
	unit_ok(cbd_backend_publish(p.backend, &p.geometry, sizeof(p.geometry)));
	server_start(&p);
	unit_wait(__atomic_load_n(&told, __ATOMIC_SEQ_CST) > 0);
	unit_ok(cbd_queue_write(p.q, buf, 512, 0, 0));
	pair_close(&p);
	told_once();
}
END_TEST

/* By the thread that reaps, and by the heartbeat thread. */
START_TEST(leave_is_told_without_locks)
{
	struct pair_options o = stepping(0);
	unsigned char buf[512];

	listen("asking for a new epoch");
	pair_open(&p, &o);
	pair_submit(&p, CBD_OP_READ, buf, 0, 512, 1);
	if (_i) {
		pthread_mutex_lock(&p.q->lock);
		p.q->cursors.moved_ns -= 6000000000ull; /* as if nothing had come */
		pthread_mutex_unlock(&p.q->lock);
		unit_ok(cbd_blkdev_start(p.blkdev));
		/* the backend beats */
		unit_wait(cbd_backend_tick(p.backend) >= 0 &&
			  __atomic_load_n(&told, __ATOMIC_SEQ_CST) > 0);
	} else {
		struct cbd_ce ce = { .tid = ~p.q->parts.all[0].se.tid };

		unit_ok(cbd_channel_send_ce(&p.q->ch, &ce));
		pair_reap_none(&p);
	}
	told_once();
	pair_close(&p);
}
END_TEST

/* LEAVING in a grant whose epoch the blkdev has not left: the reason is the backend's. */
START_TEST(leave_that_the_backend_wants)
{
	struct pair_options o = stepping(0);

	listen("new epoch: the backend asks for it");
	pair_open(&p, &o);
	store_grant_state(CBD_GRANT_LEAVING);
	look_at_grant();
	look_at_grant();
	told_once();
	pair_close(&p);
}
END_TEST

/* -------------------------------------------------------------- other host */

/* As the identity of the blkdev's host, and so of the claim's, changes. */
static void move_backend(void)
{
	unit_reboot(p.ct);
	pair_crash(&p);
	unit_wait(look_at_grant() == CBD_EPOCH_CHANGED);
}

/* Nobody rings a bell across hosts: the longest sleep is the delay of a request. */
START_TEST(sleeps_follow_the_backend)
{
	struct pair_options o = stepping(_i);

	pair_open(&p, &o);
	ck_assert_uint_eq(p.q->lead.wait.most_us, CBD_WAIT_QUEUE_LOCAL_US);
	move_backend();
	ck_assert(!p.blkdev->same_boot);
	ck_assert_uint_eq(p.q->lead.wait.most_us, CBD_WAIT_QUEUE_REMOTE_US);
	move_backend();
	ck_assert(p.blkdev->same_boot);
	ck_assert_uint_eq(p.q->lead.wait.most_us, CBD_WAIT_QUEUE_LOCAL_US);
	pair_close(&p);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("queue");
	TCase *t = tcase_create("queue");

	tcase_set_timeout(t, UNIT_TIMEOUT);
	suite_add_tcase(s, t);
	tcase_add_test(t, table);
	tcase_add_loop_test(t, left_and_entered, 0, WAYS);
	tcase_add_loop_test(t, drained, 0, WAYS);
	tcase_add_loop_test(t, ungranted, 0, WAYS);
	tcase_add_loop_test(t, served_after_clear, 0, 4);
	tcase_add_loop_test(t, stopped_and_started, 0, WAYS);
	tcase_add_loop_test(t, loss_is_told_without_locks, 0, WAYS);
	tcase_add_loop_test(t, back_is_told_when_served, 0, WAYS);
	tcase_add_loop_test(t, leave_is_told_without_locks, 0, 2);
	tcase_add_test(t, leave_that_the_backend_wants);
	tcase_add_loop_test(t, sleeps_follow_the_backend, 0, WAYS);
	return unit_main(s);
}
