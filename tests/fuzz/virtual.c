/* SPDX-License-Identifier: BSD-3-Clause */
/* virtual.c - see virtual.h.  The linker's --wrap puts these functions in the place of
 * those of libc. */
#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/step.h"
#include "virtual.h"

#define CALL_NS 200 /* what reading the clock takes: so that who spins makes progress */

static bool on, inside_idle;
static uint64_t now, limit;
static void (*other_side)(void);
static void *(*beat_fn)(void *);
static struct cbd_blkdev *beating;
static unsigned beats_left;

void (*virtual_on_step)(void);

int __real_clock_gettime(clockid_t clock, struct timespec *ts);
int __real_nanosleep(const struct timespec *ts, struct timespec *left);
int __real_sched_yield(void);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
			  void *arg);
int __real_pthread_join(pthread_t thread, void **result);
int __real_pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex,
				  const struct timespec *until);
long __real_syscall(long number, ...);

int __wrap_clock_gettime(clockid_t clock, struct timespec *ts);
int __wrap_nanosleep(const struct timespec *ts, struct timespec *left);
int __wrap_sched_yield(void);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
			  void *arg);
int __wrap_pthread_join(pthread_t thread, void **result);
int __wrap_pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex,
				  const struct timespec *until);
long __wrap_syscall(long number, ...);
void __wrap_cbd_step(const char *name);

void virtual_fail(const char *format, ...)
{
	va_list args;

	on = false;
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, "\n");
	abort();
}

void virtual_begin(uint64_t limit_ns, void (*idle)(void))
{
	now = 1000 * VIRTUAL_S;
	limit = now + limit_ns;
	other_side = idle;
	inside_idle = false;
	on = true;
}

void virtual_end(void)
{
	on = false;
}

uint64_t virtual_now_ns(void)
{
	return now;
}

static void advance(uint64_t ns)
{
	now += ns;
	if (now >= limit)
		virtual_fail("HANG: something waits in vain for %llu s of virtual time",
			     (unsigned long long)((now - 1000 * VIRTUAL_S) / VIRTUAL_S));
}

void virtual_sleep(uint64_t ns)
{
	advance(ns);
	if (!other_side || inside_idle)
		return;
	inside_idle = true;
	other_side();
	inside_idle = false;
}

static uint64_t ns_of(const struct timespec *ts)
{
	return (uint64_t)ts->tv_sec * VIRTUAL_S + (uint64_t)ts->tv_nsec;
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *ts)
{
	if (!on)
		return __real_clock_gettime(clock, ts);
	advance(CALL_NS);
	ts->tv_sec = (time_t)(now / VIRTUAL_S);
	ts->tv_nsec = (long)(now % VIRTUAL_S);
	return 0;
}

int __wrap_nanosleep(const struct timespec *ts, struct timespec *left)
{
	if (!on)
		return __real_nanosleep(ts, left);
	virtual_sleep(ns_of(ts));
	return 0;
}

int __wrap_sched_yield(void)
{
	if (!on)
		return __real_sched_yield();
	virtual_sleep(1000);
	return 0;
}

/* Of futexes alone: a wait lasts as long as it may, because nobody else runs. */
long __wrap_syscall(long number, ...)
{
	const struct timespec *ts;
	va_list args;
	long a[6];

	va_start(args, number);
	for (unsigned i = 0; i < 6; i++)
		a[i] = va_arg(args, long);
	va_end(args);
	if (!on || (number != SYS_futex && number != SYS_futex_waitv))
		return __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
	ts = (const struct timespec *)a[3];
	if (number == SYS_futex && !ts)
		return 0; /* a wake */
	if (number == SYS_futex)
		virtual_sleep(ns_of(ts));
	else
		virtual_sleep(ns_of(ts) > now ? ns_of(ts) - now : 0);
	errno = ETIMEDOUT;
	return -1;
}

/* --------------------------------------------------------- heartbeat thread */

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
			  void *arg)
{
	if (!on)
		return __real_pthread_create(thread, attr, fn, arg);
	beat_fn = fn;
	beating = arg;
	*thread = pthread_self();
	return 0;
}

int __wrap_pthread_join(pthread_t thread, void **result)
{
	return on ? 0 : __real_pthread_join(thread, result);
}

/* Where the thread waits for its next beat. */
int __wrap_pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex,
				  const struct timespec *until)
{
	if (!on)
		return __real_pthread_cond_timedwait(cond, mutex, until);
	if (beats_left == 0) {
		beating->stop = true;
		return 0;
	}
	beats_left--;
	return ETIMEDOUT;
}

bool virtual_beat(struct cbd_blkdev *b)
{
	if (b->lost)
		return false;
	beats_left = 1;
	beat_fn(b);
	b->stop = false;
	return !b->lost;
}

void __wrap_cbd_step(const char *name)
{
	(void)name;
	if (on && virtual_on_step)
		virtual_on_step();
}
