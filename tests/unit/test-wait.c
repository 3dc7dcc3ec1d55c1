/* SPDX-License-Identifier: BSD-3-Clause */
/* test-wait.c - what a side that waits does next. */
#include <config.h>

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include "memory/coherence.h"
#include "unit.h"
#include "memory/wait.h"

#define MOST_US 1000

static struct cbd_wait waits(enum cbd_poll poll)
{
	struct cbd_wait w;

	cbd_wait_init(&w, poll, MOST_US);
	w.one_cpu = false;
	return w;
}

#define NOW 20000000000ull

/* What is next in a wait that has lasted so long. */
static unsigned next_after(struct cbd_wait *w, uint64_t us)
{
	cbd_wait_hit(w);
	w->turns = 1;
	w->since_ns = NOW - us * 1000;
	return cbd_wait_next_at(w, NOW);
}

START_TEST(adaptive_spins_then_yields_then_sleeps)
{
	struct cbd_wait w = waits(CBD_POLL_ADAPTIVE);

	ck_assert_uint_eq(next_after(&w, 0), CBD_WAIT_SPIN);
	ck_assert_uint_eq(next_after(&w, 30), CBD_WAIT_YIELD);
	ck_assert_uint_eq(next_after(&w, 100000), 50);
	/* twice as long each time */
	ck_assert_uint_eq(cbd_wait_next_at(&w, NOW), 100);
	ck_assert_uint_eq(cbd_wait_next_at(&w, NOW), 200);
	for (int i = 0; i < 10; i++)
		ck_assert_uint_le(cbd_wait_next_at(&w, NOW), MOST_US);
}
END_TEST

START_TEST(busy_never_sleeps_and_sleep_hardly_spins)
{
	struct cbd_wait busy = waits(CBD_POLL_BUSY), sleeps = waits(CBD_POLL_SLEEP);

	ck_assert_uint_eq(next_after(&busy, 0), CBD_WAIT_SPIN);
	ck_assert_uint_eq(next_after(&busy, 1000000), CBD_WAIT_SPIN);
	busy.one_cpu = true;
	ck_assert_uint_eq(next_after(&busy, 1000000), CBD_WAIT_YIELD);
	ck_assert_uint_eq(next_after(&sleeps, 30), 50);
}
END_TEST

START_TEST(nothing_is_spun_where_it_takes_the_cpu_from_others)
{
	struct cbd_wait w = waits(CBD_POLL_ADAPTIVE);

	w.crowded = true;
	ck_assert_uint_eq(next_after(&w, 0), CBD_WAIT_YIELD);
	w.crowded = false;
	w.one_cpu = true;
	ck_assert_uint_eq(next_after(&w, 0), CBD_WAIT_YIELD);
	/* who asked to spin, spins */
	w = waits(CBD_POLL_BUSY);
	w.crowded = true;
	ck_assert_uint_eq(next_after(&w, 0), CBD_WAIT_SPIN);
}
END_TEST

START_TEST(one_request_insists_for_a_tenth_of_a_second)
{
	struct cbd_wait w = waits(CBD_POLL_ADAPTIVE);

	w.alone = w.crowded = true;
	w.crowd_since_ns = NOW - 50000000;
	ck_assert_uint_eq(next_after(&w, 0), CBD_WAIT_SPIN);
	w.crowd_since_ns = NOW - 500000000;
	ck_assert_uint_eq(next_after(&w, 0), CBD_WAIT_YIELD);
	w.crowd_since_ns = NOW - 7050000000;
	ck_assert_uint_eq(next_after(&w, 0), CBD_WAIT_SPIN);
	w.crowd_since_ns = NOW - 7050000000;
	w.alone = false;
	ck_assert_uint_eq(next_after(&w, 0), CBD_WAIT_YIELD);
}
END_TEST

static bool stop;

static void on_one_cpu(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((unsigned)sched_getcpu(), &set);
	ck_assert_int_eq(sched_setaffinity(0, sizeof(set), &set), 0);
}

static void *yields(void *arg)
{
	while (!cbd_flag_get(&stop))
		sched_yield();
	return arg;
}

/* Other programs may be on that CPU too and keep it for long: but not each time. */
START_TEST(a_yield_tells_whether_others_ran)
{
	struct cbd_wait w = waits(CBD_POLL_ADAPTIVE);
	pthread_t thread;

	on_one_cpu(); /* a new thread inherits it */
	ck_assert_int_eq(pthread_create(&thread, NULL, yields, NULL), 0);
	while (!w.crowded)
		cbd_wait_yield(&w);
	ck_assert_uint_ne(w.crowd_since_ns, 0);
	ck_assert_uint_le(w.crowd_since_ns, w.crowd_ns);
	cbd_flag_set(&stop, true);
	pthread_join(thread, NULL);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("wait");
	TCase *t = tcase_create("wait");

	tcase_set_timeout(t, UNIT_TIMEOUT);
	tcase_add_test(t, adaptive_spins_then_yields_then_sleeps);
	tcase_add_test(t, busy_never_sleeps_and_sleep_hardly_spins);
	tcase_add_test(t, nothing_is_spun_where_it_takes_the_cpu_from_others);
	tcase_add_test(t, one_request_insists_for_a_tenth_of_a_second);
	tcase_add_test(t, a_yield_tells_whether_others_ran);
	suite_add_tcase(s, t);
	return unit_main(s);
}
