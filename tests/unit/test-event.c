/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test-event.c - the file descriptors for event loops: readable when there is something,
 * not before, and each time.
 */
#include <config.h>

#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "backend/backend.h"
#include "blkdev/blkdev.h"
#include "unit.h"

static struct pair p;
static unsigned char buf[16 * 512];

static bool readable(int fd, int timeout_ms)
{
	struct pollfd f = { .fd = fd, .events = POLLIN };

	return poll(&f, 1, timeout_ms) == 1;
}

/* The backend takes the blkdev for one of another host: it does not ring. */
static void stop_ringing(void)
{
	for (unsigned i = 0; i < p.backend->handlers[0].n_active; i++)
		p.backend->handlers[0].active[i]->same_boot = false;
}

/* As if the other side were on another host: nobody rings. */
static void part_hosts(void)
{
	cbd_flag_set(&p.blkdev->same_boot, false);
	stop_ringing();
}

/* Ways of memory, on one host and on two. */
#define PLACES (2 * WAYS)

static void open_place(int i)
{
	struct pair_options o = stepping(i % WAYS);

	pair_open(&p, &o);
	if (i >= WAYS)
		part_hosts();
}

/* What a loop does before it waits: reap all there is, and arm. */
static unsigned reap_and_arm(void)
{
	struct cbd_completion c;
	unsigned n = 0;
	int r;

	do {
		while (cbd_queue_poll(p.q, &c, 0, 1, 0) == 1)
			n++;
		r = cbd_queue_arm(p.q);
		unit_ok(r);
	} while (r > 0);
	return n;
}

/* An armed descriptor with nothing to come may fire for nothing (a bell that rang for an
 * earlier arm was seen late), but not for ever. */
static bool falls_silent(int fd)
{
	for (unsigned i = 0; i < 100 && readable(fd, 0); i++)
		if (reap_and_arm() != 0)
			return false;
	return !readable(fd, 0);
}

START_TEST(queue)
{
	struct cbd_request *r[2];
	int fd;

	open_place(_i);
	unit_fails(cbd_queue_arm(p.q), EINVAL);
	fd = cbd_queue_fd(p.q);
	unit_ok(fd);
	ck_assert_int_eq(cbd_queue_fd(p.q), fd);
	ck_assert(!readable(fd, 0));
	for (unsigned round = 0; round < 3; round++) {
		pair_submit(&p, CBD_OP_READ, buf, 0, 512, 1);
		pair_submit(&p, CBD_OP_READ, buf + 512, 512, 512, 2);
		pair_fetch_all(&p, r, 2);
		ck_assert_uint_eq(reap_and_arm(), 0);
		ck_assert(falls_silent(fd));
		pair_complete(&p, r[1]);
		pair_complete(&p, r[0]);
		ck_assert_uint_eq(pair_fetch(&p, r, 1), 0); /* it rings */
		ck_assert(readable(fd, 20000));
		unit_wait(cbd_channel_has_ce(&p.q->ch, p.q->cursors.ce_next + 1));
		ck_assert_uint_eq(reap_and_arm(), 2);
		ck_assert(falls_silent(fd));
	}
	pair_close(&p);
}
END_TEST

/* What completes without an answer of the backend fires too. */
START_TEST(at_once)
{
	int fd;

	open_place(_i);
	fd = cbd_queue_fd(p.q);
	unit_ok(fd);
	ck_assert_uint_eq(reap_and_arm(), 0);
	pair_submit(&p, CBD_OP_READ, NULL, 0, 0, 1);
	ck_assert(readable(fd, 0));
	ck_assert_int_eq(cbd_queue_arm(p.q), 1);
	ck_assert_uint_eq(reap_and_arm(), 1);
	ck_assert(!readable(fd, 0));
	pair_submit(&p, CBD_OP_READ, buf, 0, 512, 1);
	ck_assert_int_eq(cbd_queue_arm(p.q), 0);
	pthread_mutex_lock(&p.q->lock);
	cbd_queue_break(p.q, -EIO);
	pthread_mutex_unlock(&p.q->lock);
	ck_assert(readable(fd, 0));
	pair_close(&p);
}
END_TEST

static void *execute(void *unused)
{
	(void)unused;
	return (void *)(intptr_t)cbd_queue_read(p.q, buf + 1024, 512, 1024);
}

/* A thread in a call that waits reads the answers of all; the loop hears of its own. */
START_TEST(beside_a_leader)
{
	struct cbd_request *r[2];
	pthread_t thread;
	void *result;
	int fd;

	open_place(_i);
	fd = cbd_queue_fd(p.q);
	unit_ok(fd);
	ck_assert_int_eq(pthread_create(&thread, NULL, execute, NULL), 0);
	pair_fetch_all(&p, r, 1);
	unit_wait(cbd_flag_get(&p.q->waiters.leader));
	pair_submit(&p, CBD_OP_READ, buf, 0, 512, 1);
	pair_fetch_all(&p, r + 1, 1);
	ck_assert_int_eq(cbd_queue_arm(p.q), 0);
	/* the leader leaves: somebody else has to look from now on */
	pair_complete(&p, r[0]);
	ck_assert_uint_eq(pair_fetch(&p, r, 1), 0);
	pthread_join(thread, &result);
	ck_assert_int_eq((int)(intptr_t)result, 0);
	if (!readable(fd, 0)) {
		pair_complete(&p, r[1]);
		ck_assert_uint_eq(pair_fetch(&p, r, 1), 0);
		ck_assert(readable(fd, 20000));
	}
	pair_close(&p);
}
END_TEST

static unsigned fetch_and_arm(struct cbd_handler *h, struct cbd_request **r, unsigned max)
{
	unsigned n = 0;
	int armed;

	do {
		n += cbd_handler_fetch(h, r + n, max - n);
		armed = cbd_handler_arm(h);
		unit_ok(armed);
	} while (armed > 0);
	return n;
}

/* A CE that answers nothing, sealed, is there: nobody reads it, so it is no reason to
 * look again. */
START_TEST(unasked)
{
	struct cbd_ce answer = { .count = 0, .tid = 0x10000 };
	struct cbd_channel ch;

	open_place(_i);
	unit_ok(cbd_queue_fd(p.q));
	cbd_channel_init(&ch, p.bt, 0, p.q->ch.id);
	cbd_channel_enter(&ch, pair_epoch(&p));
	unit_ok(cbd_channel_send_ce(&ch, &answer));
	ck_assert_int_eq(cbd_queue_arm(p.q), 0);
	pair_close(&p);
}
END_TEST

/* The CE for which an epoch is left lies in the ring until the drain is over, which takes
 * as long as the disk does: a loop that arms meanwhile must not turn without a pause. */
START_TEST(left_and_drained)
{
	struct cbd_ce answer = { .count = 0, .tid = 0xffff };
	struct cbd_request *r[1], *none[1];
	struct cbd_completion c;
	struct cbd_channel ch;

	open_place(_i);
	unit_ok(cbd_queue_fd(p.q));
	pair_submit(&p, CBD_OP_READ, buf, 0, 512, 1);
	pair_fetch_all(&p, r, 1);
	cbd_channel_init(&ch, p.bt, 0, p.q->ch.id);
	cbd_channel_enter(&ch, pair_epoch(&p));
	unit_ok(cbd_channel_send_ce(&ch, &answer));
	unit_wait(pair_fetch(&p, none, 1) == 0 && cbd_queue_poll(p.q, &c, 1, 1, 2) == 0 &&
		  queue_state(p.q) == CBD_QUEUE_DRAINING);
	ck_assert_int_eq(cbd_queue_arm(p.q), 0);
	pair_complete(&p, r[0]);
	pair_close(&p);
}
END_TEST

/* A write waits for one of another queue (rule 13): the descriptor of its own queue, armed
 * before there was anything to wait for, tells of its end. */
START_TEST(freed_by_another_queue)
{
	struct pair_options o = stepping(_i % WAYS);
	struct cbd_io io = { .op = CBD_OP_WRITE, .buf = buf, .length = 512 };
	struct cbd_completion c;
	struct cbd_request *r[1];
	struct cbd_queue *other;
	int fd;

	o.queues = 2;
	pair_open(&p, &o);
	if (_i >= WAYS)
		part_hosts();
	other = cbd_blkdev_queue(p.blkdev, 1);
	fd = cbd_queue_fd(other);
	unit_ok(fd);
	pair_submit(&p, CBD_OP_WRITE, buf, 0, 512, 1);
	pair_fetch_all(&p, r, 1);
	ck_assert_int_eq(cbd_queue_submit(other, &io, 1), 1);
	ck_assert_int_eq(cbd_queue_poll(other, &c, 0, 1, 0), 0);
	unit_ok(cbd_queue_arm(other));
	pair_complete(&p, r[0]);
	ck_assert_int_eq(pair_reap(&p).result, 0);
	pair_fetch_all(&p, r, 1);
	pair_complete(&p, r[0]);
	ck_assert(readable(fd, UNIT_WAIT_S * 1000 * (int)test_factor()));
	ck_assert_int_eq(cbd_queue_poll(other, &c, 1, 1, -1), 1);
	ck_assert_int_eq(c.result, 0);
	pair_close(&p);
}
END_TEST

static int arm_bell(const uint32_t **bell, uint32_t *value)
{
	struct cbd_completion c;

	ck_assert_int_eq(cbd_queue_poll(p.q, &c, 0, 1, 0), 0);
	return cbd_queue_arm_bell(p.q, bell, value);
}

/* Whether the descriptor tells before its time (CBD_ARMED_US). */
static bool tells_early(int fd, uint64_t armed_ns)
{
	return readable(fd, 20) && cbd_now_ns() - armed_ns < CBD_ARMED_US * 1000ull;
}

/* The caller waits for the bell: of an answer on the same host the bell tells, and wakes no
 * thread behind the descriptor; of all else the descriptor tells. */
START_TEST(own_bell)
{
	struct cbd_request *r[1];
	const uint32_t *bell;
	uint64_t armed_ns;
	uint32_t value;
	int fd;

	open_place(_i);
	unit_fails(cbd_queue_arm_bell(p.q, &bell, &value), EINVAL);
	fd = cbd_queue_fd(p.q);
	unit_ok(fd);
	unit_fails(cbd_queue_arm_bell(p.q, NULL, &value), EINVAL);
	unit_fails(cbd_queue_arm_bell(p.q, &bell, NULL), EINVAL);
	for (unsigned round = 0; round < 3; round++) {
		pair_submit(&p, CBD_OP_READ, buf, 0, 512, 1);
		pair_fetch_all(&p, r, 1);
		armed_ns = cbd_now_ns();
		ck_assert_int_eq(arm_bell(&bell, &value), 0);
		ck_assert_int_eq(bell != NULL, _i < (int)WAYS);
		ck_assert(bell == NULL || *bell == value);
		pair_complete(&p, r[0]);
		ck_assert_uint_eq(pair_fetch(&p, r, 1), 0); /* it rings */
		unit_wait(bell != NULL ? *bell != value : readable(fd, 0));
		unit_wait(cbd_channel_has_ce(&p.q->ch, p.q->cursors.ce_next));
		ck_assert(bell == NULL || !tells_early(fd, armed_ns));
		ck_assert_int_eq(cbd_queue_arm_bell(p.q, &bell, &value), 1);
		ck_assert_uint_eq(reap_and_arm(), 1);
	}
	pair_submit(&p, CBD_OP_READ, buf, 0, 512, 1);
	ck_assert_int_eq(arm_bell(&bell, &value), 0);
	pthread_mutex_lock(&p.q->lock);
	cbd_queue_break(p.q, -EIO);
	pthread_mutex_unlock(&p.q->lock);
	ck_assert(readable(fd, 0));
	pair_close(&p);
}
END_TEST

/* ------------------------------------------ armed, and then the epoch is another one */

static void leave(struct cbd_queue *q)
{
	pthread_mutex_lock(&q->lock);
	cbd_leave(q, CBD_LEAVE_STALLED);
	cbd_queue_unlock_and_tell(q);
}

static void stop(struct cbd_queue *q)
{
	pthread_mutex_lock(&q->lock);
	cbd_queue_stop(q);
	cbd_queue_unlock_and_tell(q);
}

/* Nobody polls: the heartbeat thread enters the epoch that comes after OLD. */
static void await_epoch_after(struct cbd_queue *q, uint64_t old)
{
	struct cbd_request *none[1];

	unit_wait(pair_fetch(&p, none, 1) == 0 && queue_epoch(q) != old &&
		  queue_state(q) == CBD_QUEUE_ATTACHED);
}

/* The loop learns of its answer, while the backend only beats. */
static void expect_answer(struct cbd_queue *q, int fd)
{
	struct cbd_request *none[1];
	struct cbd_completion c;

	unit_wait(pair_fetch(&p, none, 1) == 0 && readable(fd, 0));
	ck_assert_int_eq(cbd_queue_poll(q, &c, 1, 1, -1), 1);
	ck_assert_int_eq(c.result, 0);
}

/* The queue is armed with nothing in flight, before or after its epoch has ended; then, in
 * the next epoch, another thread submits.  Where the hosts were two, they are one then. */
static void submitted_later(void (*end)(struct cbd_queue *q), bool arm_first)
{
	struct cbd_request *r[1];
	uint64_t old;
	int fd;

	fd = cbd_queue_fd(p.q);
	unit_ok(fd);
	unit_ok(cbd_blkdev_start(p.blkdev));
	old = queue_epoch(p.q);
	if (!arm_first)
		end(p.q);
	ck_assert_uint_eq(reap_and_arm(), 0);
	if (arm_first)
		end(p.q);
	await_epoch_after(p.q, old);
	pair_submit(&p, CBD_OP_READ, buf, 0, 512, 1);
	pair_fetch_all(&p, r, 1);
	pair_complete(&p, r[0]);
	expect_answer(p.q, fd);
	pair_close(&p);
}

START_TEST(armed_when_left)
{
	open_place(_i);
	submitted_later(leave, false);
}
END_TEST

START_TEST(left_when_armed)
{
	open_place(_i);
	submitted_later(leave, true);
}
END_TEST

START_TEST(armed_when_stopped)
{
	open_place(_i);
	submitted_later(stop, false);
}
END_TEST

/* With something in flight, and the bell is the caller's: he has to arm again. */
START_TEST(own_bell_when_left)
{
	const uint32_t *bell;
	uint32_t value;
	int fd;

	open_place(_i);
	fd = cbd_queue_fd(p.q);
	unit_ok(fd);
	unit_ok(cbd_blkdev_start(p.blkdev));
	ck_assert_int_eq(arm_bell(&bell, &value), 0);
	ck_assert_ptr_nonnull(bell);
	leave(p.q);
	unit_wait(readable(fd, 0));
	pair_close(&p);
}
END_TEST

/* The same, and what comes in the next epoch is a write that another queue frees. */
START_TEST(freed_in_another_epoch)
{
	struct pair_options o = stepping(_i);
	struct cbd_io io = { .op = CBD_OP_WRITE, .buf = buf, .length = 512 };
	struct cbd_completion c;
	struct cbd_request *r[1];
	struct cbd_queue *other;
	uint64_t old;
	int fd;

	o.queues = 2;
	pair_open(&p, &o);
	other = cbd_blkdev_queue(p.blkdev, 1);
	fd = cbd_queue_fd(other);
	unit_ok(fd);
	unit_ok(cbd_blkdev_start(p.blkdev));
	pair_submit(&p, CBD_OP_WRITE, buf, 0, 512, 1);
	pair_fetch_all(&p, r, 1);
	old = queue_epoch(other);
	leave(other);
	ck_assert_int_eq(cbd_queue_submit(other, &io, 1), 1);
	ck_assert_int_eq(cbd_queue_poll(other, &c, 0, 1, 0), 0);
	unit_ok(cbd_queue_arm(other));
	await_epoch_after(other, old);
	pair_complete(&p, r[0]);
	ck_assert_int_eq(pair_reap(&p).result, 0);
	pair_fetch_all(&p, r, 1);
	pair_complete(&p, r[0]);
	expect_answer(other, fd);
	pair_close(&p);
}
END_TEST

/* The blkdev's, in its own eyes: for each epoch it looks whether the backend's is the same. */
static void change_host(void)
{
	pthread_mutex_lock(&p.q->lock);
	p.ct->identity.boot_id[0] ^= 1;
	pthread_mutex_unlock(&p.q->lock);
}

/* Armed idle, then a request comes, and the backend moves to another host: the bell on
 * which the thread sleeps is rung no more. */
START_TEST(backend_moves_away)
{
	struct cbd_request *r[1];
	uint64_t old;
	int fd;

	open_place(_i);
	fd = cbd_queue_fd(p.q);
	unit_ok(fd);
	unit_ok(cbd_blkdev_start(p.blkdev));
	ck_assert_uint_eq(reap_and_arm(), 0);
	pair_submit(&p, CBD_OP_READ, buf, 0, 512, 1);
	pair_fetch_all(&p, r, 1);
	old = queue_epoch(p.q);
	change_host();
	stop_ringing();
	leave(p.q);
	pair_complete(&p, r[0]);
	pair_fetch_all(&p, r, 1);
	ck_assert_uint_ne(queue_epoch(p.q), old);
	change_host();
	stop_ringing();
	pair_complete(&p, r[0]);
	expect_answer(p.q, fd);
	pair_close(&p);
}
END_TEST

START_TEST(handler)
{
	struct cbd_request *r[4];
	struct cbd_handler *h;
	int fd;

	open_place(_i);
	h = cbd_backend_handler(p.backend, 0);
	unit_fails(cbd_handler_arm(h), EINVAL);
	fd = cbd_handler_fd(h);
	unit_ok(fd);
	for (unsigned round = 0; round < 3; round++) {
		unit_ok(cbd_backend_tick(p.backend));
		ck_assert_uint_eq(fetch_and_arm(h, r, 4), 0);
		pair_submit(&p, CBD_OP_READ, buf, 0, 512, 1);
		ck_assert(readable(fd, 20000));
		ck_assert_uint_eq(fetch_and_arm(h, r, 4), 1);
		pair_complete(&p, r[0]);
		ck_assert_uint_eq(cbd_handler_fetch(h, r, 4), 0);
		ck_assert_int_eq(pair_reap(&p).result, 0);
	}
	/* woken: before it has armed, and after */
	ck_assert_uint_eq(fetch_and_arm(h, r, 4), 0);
	cbd_handler_wake(h);
	ck_assert(readable(fd, 0));
	ck_assert_int_eq(cbd_handler_arm(h), 1);
	for (unsigned i = 0; i < 5 && (i == 0 || readable(fd, 0)); i++)
		ck_assert_uint_eq(fetch_and_arm(h, r, 4), 0);
	ck_assert(!readable(fd, 0));
	pair_close(&p);
}
END_TEST

/* ----------------------------------------------------------------- two loops */

#define ROUNDS 3000

static bool stop_server;

static void *serve(void *unused)
{
	struct cbd_handler *h = cbd_backend_handler(p.backend, 0);
	struct cbd_request *r[16];
	int fd = cbd_handler_fd(h);

	(void)unused;
	while (!cbd_flag_get(&stop_server)) {
		unsigned n;

		while ((n = cbd_handler_fetch(h, r, 16)) > 0)
			for (unsigned i = 0; i < n; i++)
				pair_complete(&p, r[i]);
		if (cbd_handler_arm(h) == 0)
			readable(fd, 20000);
	}
	return NULL;
}

/* Nothing is lost: each side waits for the other by nothing but its descriptor. */
START_TEST(two_loops)
{
	uint64_t since = cbd_now_ns(), beaten = 0;
	unsigned done = 0, submitted = 0;
	pthread_t server;
	int fd;

	open_place(_i);
	fd = cbd_queue_fd(p.q);
	unit_ok(fd);
	cbd_flag_set(&stop_server, false);
	ck_assert_int_eq(pthread_create(&server, NULL, serve, NULL), 0);
	while (done < ROUNDS) {
		while (submitted < ROUNDS && submitted - done < 1 + submitted / 500) {
			pair_submit(&p, CBD_OP_READ, buf + submitted % 16 * 512, 0, 512, 1);
			submitted++;
		}
		done += reap_and_arm();
		if (done < submitted)
			ck_assert(readable(fd, 20000));
		if (cbd_now_ns() - beaten > 20000000) {
			beaten = cbd_now_ns();
			unit_ok(cbd_backend_tick(p.backend));
		}
	}
	/* a loss is mended after 100 ms: with one in ten it would take 30 s */
	ck_assert_uint_lt(cbd_now_ns() - since, 20000000000ull);
	cbd_flag_set(&stop_server, true);
	cbd_handler_wake(cbd_backend_handler(p.backend, 0));
	pthread_join(server, NULL);
	pair_close(&p);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("event");
	TCase *t = tcase_create("event");

	tcase_set_timeout(t, UNIT_TIMEOUT);
	suite_add_tcase(s, t);
	tcase_add_loop_test(t, queue, 0, PLACES);
	tcase_add_loop_test(t, at_once, 0, PLACES);
	tcase_add_loop_test(t, own_bell, 0, PLACES);
	tcase_add_loop_test(t, beside_a_leader, 0, PLACES);
	tcase_add_loop_test(t, unasked, 0, PLACES);
	tcase_add_loop_test(t, left_and_drained, 0, PLACES);
	tcase_add_loop_test(t, freed_by_another_queue, 0, PLACES);
	tcase_add_loop_test(t, handler, 0, PLACES);
	tcase_add_loop_test(t, two_loops, 0, PLACES);
	t = tcase_create("epochs");
	tcase_set_timeout(t, UNIT_TIMEOUT);
	suite_add_tcase(s, t);
	tcase_add_loop_test(t, armed_when_left, 0, PLACES);
	tcase_add_loop_test(t, left_when_armed, 0, PLACES);
	tcase_add_loop_test(t, own_bell_when_left, 0, WAYS);
	tcase_add_loop_test(t, armed_when_stopped, 0, WAYS);
	tcase_add_loop_test(t, freed_in_another_epoch, 0, WAYS);
	tcase_add_loop_test(t, backend_moves_away, 0, WAYS);
	return unit_main(s);
}
