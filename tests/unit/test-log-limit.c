/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test-log-limit.c - a flood of messages: how many are written, and that each of the
 * others is counted in one "more like this".
 */
#include <config.h>

#include <semaphore.h>
#include <stdio.h>
#include <time.h>

#include "log-limit.h"
#include "unit.h"

#define WINDOW_MS 200
#define FLOOD 20000u

static struct {
	unsigned lines, reports;
	unsigned long long held; /* sum of the reports */
	char last[1000];
} seen;

static void write_line(int priority, const char *message)
{
	unsigned long long more;

	(void)priority;
	seen.lines++;
	snprintf(seen.last, sizeof(seen.last), "%s", message);
	if (sscanf(message, "%llu more like this", &more) == 1) {
		seen.held += more;
		/* the test may look meanwhile */
		__atomic_add_fetch(&seen.reports, 1, __ATOMIC_RELEASE);
	}
}

static void say(const char *format, unsigned n)
{
	char text[100];

	snprintf(text, sizeof(text), format, n);
	log_limit(write_line, 3, text);
}

/* As its lock orders it; the thread of the limiter may write meanwhile. */
static unsigned reports(void)
{
	return __atomic_load_n(&seen.reports, __ATOMIC_ACQUIRE);
}

START_TEST(few_are_written)
{
	log_limit_start(write_line, WINDOW_MS);
	for (unsigned i = 0; i < 10; i++)
		say("channel %u: is bad", i);
	log_limit_end();
	ck_assert_uint_eq(seen.lines, 10);
	ck_assert_uint_eq(seen.reports, 0);
}
END_TEST

/* The end of the burst is told without another message. */
START_TEST(a_burst_ends)
{
	log_limit_start(write_line, WINDOW_MS);
	for (unsigned i = 0; i < 25; i++)
		say("blkdev %u of host 7: refused", i);
	unit_wait(reports() > 0);
	log_limit_end();
	ck_assert_uint_eq(seen.held + seen.lines - seen.reports, 25);
	ck_assert_uint_le(seen.lines, 14);
	ck_assert_ptr_nonnull(strstr(seen.last, "s: blkdev "));
}
END_TEST

/* At the end of the program too. */
START_TEST(the_end_tells)
{
	log_limit_start(write_line, 3600000);
	for (unsigned i = 0; i < 25; i++)
		say("blkdev %u: refused", i);
	ck_assert_uint_eq(seen.lines, 10);
	log_limit_end();
	ck_assert_uint_eq(seen.lines, 11);
	/* in how many seconds depends on the machine */
	ck_assert_ptr_eq(strstr(seen.last, "15 more like this in "), seen.last);
	ck_assert_ptr_nonnull(strstr(seen.last, " s: blkdev 24: refused"));
	say("blkdev %u: refused", 1);
	ck_assert_uint_eq(seen.lines, 12);
}
END_TEST

static void *flood(void *format)
{
	for (unsigned i = 0; i < FLOOD; i++)
		say(format, i);
	return NULL;
}

/* Each message is written or counted, once; one kind does not hide another. */
START_TEST(threads_flood)
{
	char *formats[] = { "read %u bytes: Input/output error", "channel %u: left",
			    "claim %u: dead", "read %u bytes: Input/output error" };
	pthread_t thread[4];

	log_limit_start(write_line, 3600000);
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&thread[i], NULL, flood, formats[i]), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
	log_limit_end();
	ck_assert_uint_eq(seen.lines, 33);
	ck_assert_uint_eq(seen.reports, 3);
	ck_assert_uint_eq(seen.held, 4 * FLOOD - 30);
}
END_TEST

static _Thread_local bool is_late;
static sem_t has_read, may_go_on;

int __real_clock_gettime(clockid_t clock, struct timespec *ts);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ts);

/* A thread that is late does not run for a moment after it has read the clock. */
int __wrap_clock_gettime(clockid_t clock, struct timespec *ts)
{
	int r = __real_clock_gettime(clock, ts);
	struct timespec end;

	if (is_late) {
		is_late = false;
		sem_post(&has_read);
		/* when it holds the lock, the others cannot go on either */
		__real_clock_gettime(CLOCK_REALTIME, &end);
		end.tv_sec++;
		sem_timedwait(&may_go_on, &end);
	}
	return r;
}

static void *say_late(void *unused)
{
	(void)unused;
	is_late = true;
	say("blkdev %u: refused", 0);
	return NULL;
}

/* A thread that is late does not end the window that another one has begun meanwhile. */
START_TEST(late_thread)
{
	const struct timespec moment = { .tv_nsec = 10000000 };
	pthread_t thread;

	sem_init(&has_read, 0, 0);
	sem_init(&may_go_on, 0, 0);
	log_limit_start(write_line, 3600000);
	ck_assert_int_eq(pthread_create(&thread, NULL, say_late, NULL), 0);
	sem_wait(&has_read);
	nanosleep(&moment, NULL); /* the clock of the limiter counts milliseconds */
	for (unsigned i = 1; i <= 10; i++)
		say("blkdev %u: refused", i);
	sem_post(&may_go_on);
	pthread_join(thread, NULL);
	ck_assert_uint_eq(seen.lines, 10);
	log_limit_end();
	ck_assert_uint_eq(seen.lines, 11);
	ck_assert_uint_eq(seen.held, 1);
}
END_TEST

/* Words that a peer makes up are no way around it. */
START_TEST(kinds_without_end)
{
	char text[20];

	log_limit_start(write_line, 3600000);
	for (unsigned i = 0; i < FLOOD; i++) {
		snprintf(text, sizeof(text), "name %c%c%c%c", 'a' + i % 26, 'a' + i / 26 % 26,
			 'a' + i / 676 % 26, 'a' + i / 17576);
		log_limit(write_line, 3, text);
	}
	log_limit_end();
	ck_assert_uint_le(seen.lines, 65 * 11);
	ck_assert_uint_eq(seen.held + seen.lines - seen.reports, FLOOD);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("log-limit");
	TCase *t = tcase_create("log-limit");

	tcase_set_timeout(t, UNIT_TIMEOUT);
	tcase_add_test(t, few_are_written);
	tcase_add_test(t, a_burst_ends);
	tcase_add_test(t, the_end_tells);
	tcase_add_test(t, threads_flood);
	tcase_add_test(t, late_thread);
	tcase_add_test(t, kinds_without_end);
	suite_add_tcase(s, t);
	return unit_main(s);
}
