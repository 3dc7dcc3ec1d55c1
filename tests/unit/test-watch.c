/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test-watch.c - liveness: a counter that moves, stands still, or is seldom looked at.
 */
#include <config.h>

#include <pthread.h>
#include <signal.h>
#include <sys/time.h>

#include "machines.h"

static struct pair p;

START_TEST(watch_counts_samples)
{
	struct cbd_watch w = { .counter = 0 };
	const uint64_t ms = 1000000;
	uint64_t now = 1000 * ms;

	/* interval 10 ms, 3 unchanged samples */
	ck_assert_int_eq(cbd_watch_sample(&w, 5, now, 10 * ms, 3), CBD_UNDECIDED);
	ck_assert_int_eq(cbd_watch_sample(&w, 6, now += 10 * ms, 10 * ms, 3), CBD_ALIVE);
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(cbd_watch_sample(&w, 6, now += 10 * ms, 10 * ms, 3), CBD_ALIVE);
	ck_assert_int_eq(cbd_watch_sample(&w, 6, now += 10 * ms, 10 * ms, 3), CBD_SUSPECT);
	/* more looks do not make more samples */
	ck_assert_int_eq(cbd_watch_sample(&w, 7, now += 10 * ms, 10 * ms, 3), CBD_ALIVE);
	for (int i = 0; i < 25; i++)
		ck_assert_int_eq(cbd_watch_sample(&w, 7, now += ms, 10 * ms, 3), CBD_ALIVE);
	/* a gap of my own starts the count again */
	ck_assert_int_eq(cbd_watch_sample(&w, 7, now += 1000 * ms, 10 * ms, 3), CBD_UNDECIDED);
	ck_assert_int_eq(cbd_watch_sample(&w, 7, now += 10 * ms, 10 * ms, 3), CBD_UNDECIDED);
	ck_assert_int_eq(cbd_watch_sample(&w, 7, now += 10 * ms, 10 * ms, 3), CBD_UNDECIDED);
	ck_assert_int_eq(cbd_watch_sample(&w, 7, now += 10 * ms, 10 * ms, 3), CBD_SUSPECT);
	/* any change is life, also to a lower number */
	ck_assert_int_eq(cbd_watch_sample(&w, 1, now += 10 * ms, 10 * ms, 3), CBD_ALIVE);
}
END_TEST

START_TEST(watch_transport)
{
	struct cbd_backend_info backend;
	struct cbd_blkdev_info blkdev;
	struct cbd_host_info host;

	pair_open(&p, &(struct pair_options){ .heartbeat_ms = HEARTBEAT_MS });
	unit_ok(cbd_backend_get(p.ct, 0, &backend, sizeof(backend)));
	ck_assert_int_eq(backend.liveness, CBD_UNDECIDED);
	unit_ok(cbd_transport_watch(p.ct));
	unit_ok(cbd_backend_get(p.ct, 0, &backend, sizeof(backend)));
	unit_ok(cbd_blkdev_get(p.ct, 0, &blkdev, sizeof(blkdev)));
	unit_ok(cbd_host_get(p.ct, 0, &host, sizeof(host)));
	ck_assert_int_eq(backend.liveness, CBD_ALIVE);
	ck_assert_int_eq(blkdev.liveness, CBD_ALIVE);
	ck_assert_int_eq(host.liveness, CBD_ALIVE);
	ck_assert_str_eq(backend.name, "disk");
	ck_assert_uint_eq(backend.size, p.disk.size);
	ck_assert_uint_eq(blkdev.queues, 1);
	/* silent is suspect, not dead: its lock is held */
	server_stop(&p);
	unit_ok(cbd_transport_watch(p.ct));
	unit_ok(cbd_backend_get(p.ct, 0, &backend, sizeof(backend)));
	ck_assert_int_eq(backend.liveness, CBD_SUSPECT);
	server_start(&p);
	unit_ok(cbd_transport_watch(p.ct));
	unit_ok(cbd_backend_get(p.ct, 0, &backend, sizeof(backend)));
	ck_assert_int_eq(backend.liveness, CBD_ALIVE);
	pair_close(&p);
}
END_TEST

static void *watch_thread(void *t)
{
	return cbd_transport_watch(t) == 0 ? t : NULL;
}

/* Each has samples of its own; samples that they shared would show under TSan alone. */
START_TEST(watch_by_two_threads)
{
	struct cbd_backend_info backend;
	pthread_t thread;
	void *done;

	pair_open(&p, &(struct pair_options){ .heartbeat_ms = HEARTBEAT_MS });
	ck_assert_int_eq(pthread_create(&thread, NULL, watch_thread, p.ct), 0);
	unit_ok(cbd_transport_watch(p.ct));
	ck_assert_int_eq(pthread_join(thread, &done), 0);
	ck_assert_ptr_nonnull(done);
	unit_ok(cbd_backend_get(p.ct, 0, &backend, sizeof(backend)));
	ck_assert_int_eq(backend.liveness, CBD_ALIVE);
	pair_close(&p);
}
END_TEST

/* Each sample of a busy machine comes too late: its gaps are the intervals then. */
START_TEST(watch_on_a_busy_machine)
{
	struct cbd_watch w = { .counter = 0 };
	const uint64_t ms = 1000000;
	uint64_t now = 1000 * ms;

	ck_assert_int_eq(cbd_watch_sample(&w, 5, now, 10 * ms, 3), CBD_UNDECIDED);
	ck_assert_int_eq(cbd_watch_sample(&w, 5, now += 40 * ms, 10 * ms, 3), CBD_UNDECIDED);
	ck_assert_int_eq(cbd_watch_sample(&w, 5, now += 90 * ms, 10 * ms, 3), CBD_UNDECIDED);
	ck_assert_int_eq(cbd_watch_sample(&w, 5, now += 40 * ms, 10 * ms, 3), CBD_UNDECIDED);
	ck_assert_int_eq(cbd_watch_sample(&w, 5, now += 40 * ms, 10 * ms, 3), CBD_SUSPECT);
	/* its own interval again as soon as there is life */
	ck_assert_int_eq(cbd_watch_sample(&w, 6, now += 40 * ms, 10 * ms, 3), CBD_ALIVE);
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(cbd_watch_sample(&w, 6, now += 10 * ms, 10 * ms, 3), CBD_ALIVE);
	ck_assert_int_eq(cbd_watch_sample(&w, 6, now += 10 * ms, 10 * ms, 3), CBD_SUSPECT);
}
END_TEST

static void hog_after(unsigned us)
{
	const struct itimerval timer = { .it_value = { .tv_usec = us } };

	setitimer(ITIMER_REAL, &timer, NULL);
}

/* Keeps the watching thread from its work for most of the time. */
static void hog(int signal)
{
	(void)signal;
	cbd_sleep_us(20000);
	hog_after(1000);
}

/* 2 * (3 + 2) * 0.501 s is the most */
START_TEST(watch_ends)
{
	struct cbd_backend_info backend;
	uint64_t begun;

	pair_format(&p, &(struct pair_options){ .heartbeat_ms = 1, .dead_after = DEAD_AFTER });
	pair_publish(&p);
	server_stop(&p);
	ck_assert(signal(SIGALRM, hog) != SIG_ERR);
	hog_after(1000);
	begun = cbd_now_ns();
	unit_ok(cbd_transport_watch(p.ct));
	ck_assert(signal(SIGALRM, SIG_IGN) != SIG_ERR);
	ck_assert_uint_lt(cbd_now_ns() - begun, 15000000000ull * test_factor());
	unit_ok(cbd_backend_get(p.ct, 0, &backend, sizeof(backend)));
	ck_assert_int_eq(backend.liveness, CBD_SUSPECT);
	pair_close(&p);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("watch");
	TCase *t;

	t = tcase_create("watch");
	tcase_set_timeout(t, UNIT_TIMEOUT);
	tcase_add_test(t, watch_counts_samples);
	tcase_add_test(t, watch_transport);
	tcase_add_test(t, watch_by_two_threads);
	tcase_add_test(t, watch_on_a_busy_machine);
	tcase_add_test(t, watch_ends);
	suite_add_tcase(s, t);
	return unit_main(s);
}
